//! What becomes of outbox entries once Kafka has spoken of their orders: the changes that are to be written to Redis.
//!
//! Never writes them itself (`settle.rs` does), and never waits for their effect.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Instant;

use crate::core::state::entries::{Entries, EntryIndex, EntryOutcome, Removal};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::limits::REMOVAL_DELAY_MAX;

/// The entries that one core has to deliver, and the products whose outboxes are to be changed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) entries: Entries,
    /// Products that have removals. Each once.
    dirty: Vec<ProductIndex>,
    /// Since when.
    since: Option<Instant>,
}

impl Outbox {
    /// The order at `place` of an entry is settled: acknowledged by Kafka, or left to the relay. Whether it is acknowledged in time, and
    /// before its sale was fenced off: one that is not stays in the outbox, and is delivered once more.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        products: &mut Products,
        entry: EntryIndex,
        place: u8,
        acknowledged: bool,
    ) -> bool {
        let (product, sale) = self.entries.sale_of(entry);
        let acknowledged =
            acknowledged && self.entries.counts_still(entry, now) && !products.is_fenced_off(product, sale);
        if acknowledged && is_planted(Bug::EntryGoneWithFirstOrder) {
            self.remove_too_early(now, products, entry);
        }
        if let EntryOutcome::Remove(product, removal) = self.entries.settle(entry, place, acknowledged) {
            self.queue_removal(now, products, product, removal);
        }
        acknowledged
    }

    fn queue_removal(&mut self, now: Instant, products: &mut Products, product: ProductIndex, removal: Removal) {
        let removals = &mut products[product].outbox.removals;
        if removals.is_empty() {
            self.dirty.push(product);
        }
        removals.push(removal);
        self.since.get_or_insert(now);
    }

    /// A planted bug: deletes an entry whatever has become of its orders.
    pub(crate) fn remove_too_early(&mut self, now: Instant, products: &mut Products, entry: EntryIndex) {
        let (product, id) = self.entries.place_of(entry);
        self.queue_removal(now, products, product, Removal::Whole { id, claimed: true });
    }

    /// Whether nothing is to be written.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// When the changes go out by themselves.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.since.map_or(Instant::FAR_FUTURE, |since| since + REMOVAL_DELAY_MAX)
    }

    /// The products whose removals are to be written now; give the list back with [`Outbox::recycle`].
    pub(crate) fn take_dirty(&mut self) -> Vec<ProductIndex> {
        self.since = None;
        std::mem::take(&mut self.dirty)
    }

    /// Gives the list back, for its memory.
    pub(crate) fn recycle(&mut self, mut dirty: Vec<ProductIndex>) {
        dirty.clear();
        self.dirty = dirty;
    }
}
