//! Outbox entries this core still has to deliver: which of their orders Kafka has acknowledged.
//!
//! The entry itself lives in Redis, written by the reserve script. This file knows when it may be deleted, whole or in
//! part. Never deletes anything itself.

use std::collections::BTreeMap;

use flux_protocol::fence::Spans;
use flux_protocol::outbox_entry::EntryId;
use flux_protocol::time::Instant;

use crate::core::state::product_index::ProductIndex;
use crate::limits::CALL_ORDERS_MAX;

/// Orders of one entry: one reserve call writes it.
const ENTRY_ORDERS_MAX: u32 = CALL_ORDERS_MAX as u32;

const _: () = assert!(ENTRY_ORDERS_MAX <= u64::BITS, "a bit for each order of an entry");

/// An entry's place in [`Entries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryIndex(u32);

/// How this core came to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A reserve call wrote it, and its reply told which orders are in it.
    Reserved,
    /// The records of some orders of a repeated call name it. What else it holds can only be guessed.
    Recorded,
    /// The relay was handed it: its claim goes with it.
    Claimed,
}

/// Not asked for.
const NO_PARTITION: i32 = -1;

#[derive(Clone, Copy, Debug)]
struct Entry {
    product: ProductIndex,
    id: EntryId,
    origin: Origin,
    /// When that was asked of Redis whose answer told of it.
    asked: Instant,
    /// Id and generation of the sale that its orders were reserved in.
    sale: (u64, u32),
    /// The partition that its orders go to, where the relay was handed it; else [`NO_PARTITION`].
    partition: i32,
    /// How many orders it holds.
    orders: u32,
    /// Orders that are neither acknowledged nor left to the relay.
    unsettled: u32,
    /// A bit for each order that Kafka has acknowledged, by its place in the entry.
    acknowledged: u64,
}

/// A change to an outbox that follows from what Kafka said of an entry's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All were acknowledged: the entry goes, and its claim where it has one.
    Whole {
        id: EntryId,
        /// Whether `:claims` names it.
        claimed: bool,
    },
    /// Those that were acknowledged go; the others, if any, move to an entry of their own.
    Part {
        id: EntryId,
        /// How many orders it is known to hold.
        orders: u32,
        /// A bit for each that was acknowledged, by its place in the entry.
        acknowledged: u64,
    },
}

/// What is to be done with an entry once its last order is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryOutcome {
    /// Others of its orders are still under way.
    NotYet,
    /// Change this outbox so.
    Remove(ProductIndex, Removal),
    /// None was acknowledged: it stays as it is, and the relay delivers it.
    Leave,
}

/// The entries under way on this core.
#[derive(Debug, Default)]
pub struct Entries {
    places: Vec<Entry>,
    free: Vec<u32>,
    claimed: usize,
    /// Of those, how many go to each partition; no more of these than of them.
    claimed_by_partition: BTreeMap<i32, usize>,
}

impl Entries {
    /// An entry of `orders` orders of this `sale` and generation is this core's to deliver, as Redis told it when it was `asked`.
    pub fn insert(
        &mut self,
        (product, sale): (ProductIndex, (u64, u32)),
        id: EntryId,
        orders: u32,
        origin: Origin,
        asked: Instant,
    ) -> EntryIndex {
        assert!((1..=ENTRY_ORDERS_MAX).contains(&orders), "an entry holds as many orders as a call at most");
        self.claimed += usize::from(origin == Origin::Claimed);
        let (partition, unsettled, acknowledged) = (NO_PARTITION, orders, 0);
        let entry = Entry { product, id, origin, asked, sale, partition, orders, unsettled, acknowledged };
        match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = entry;
                EntryIndex(place)
            }
            None => {
                self.places.push(entry);
                EntryIndex(self.places.len() as u32 - 1)
            }
        }
    }

    /// The same of one that the relay was handed, whose orders go to `partition`.
    pub fn insert_claimed(
        &mut self,
        of: (ProductIndex, (u64, u32)),
        id: EntryId,
        orders: u32,
        partition: i32,
        asked: Instant,
    ) -> EntryIndex {
        let index = self.insert(of, id, orders, Origin::Claimed, asked);
        self.places[index.0 as usize].partition = partition;
        *self.claimed_by_partition.entry(partition).or_default() += 1;
        index
    }

    /// How many of those that the relay was handed go to each partition; those to which none goes are left out.
    pub fn claimed_by_partition(&self) -> impl Iterator<Item = (i32, usize)> {
        self.claimed_by_partition.iter().map(|(partition, entries)| (*partition, *entries))
    }

    /// Whether an acknowledgement that comes `now` counts. Since then a rebuild may have waited, and looked into the log before the
    /// record stood there.
    pub fn counts_still(&self, index: EntryIndex, now: Instant) -> bool {
        Spans::SHIPPED.may_answer(self.places[index.0 as usize].asked, now)
    }

    /// Of which product an entry is, and of which sale and generation.
    pub fn sale_of(&self, index: EntryIndex) -> (ProductIndex, (u64, u32)) {
        let entry = &self.places[index.0 as usize];
        (entry.product, entry.sale)
    }

    /// The order at `place` of the entry is settled: acknowledged by Kafka, or left to the relay.
    pub fn settle(&mut self, index: EntryIndex, place: u8, acknowledged: bool) -> EntryOutcome {
        let entry = &mut self.places[index.0 as usize];
        assert!(entry.unsettled > 0 && u32::from(place) < entry.orders, "an order of the entry is settled once");
        entry.unsettled -= 1;
        entry.acknowledged |= u64::from(acknowledged) << place;
        if entry.unsettled > 0 {
            return EntryOutcome::NotYet;
        }
        let Entry { product, id, origin, partition, orders, acknowledged, .. } = *entry;
        if let Some(entries) = self.claimed_by_partition.get_mut(&partition) {
            *entries -= 1;
            if *entries == 0 {
                self.claimed_by_partition.remove(&partition);
            }
        }
        self.free.push(index.0);
        self.claimed -= usize::from(origin == Origin::Claimed);
        match acknowledged.count_ones() {
            0 => EntryOutcome::Leave,
            // The script makes sure that no other order is in it.
            all if all == orders && origin != Origin::Recorded => {
                EntryOutcome::Remove(product, Removal::Whole { id, claimed: origin == Origin::Claimed })
            }
            _ => EntryOutcome::Remove(product, Removal::Part { id, orders, acknowledged }),
        }
    }

    pub(crate) fn place_of(&self, index: EntryIndex) -> (ProductIndex, EntryId) {
        let entry = &self.places[index.0 as usize];
        (entry.product, entry.id)
    }

    pub fn products(&self) -> impl Iterator<Item = ProductIndex> {
        self.places.iter().filter(|entry| entry.unsettled > 0).map(|entry| entry.product)
    }

    /// How many of those under way the relay was handed.
    pub fn claimed(&self) -> usize {
        self.claimed
    }

    /// How many entries are under way.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EntryId = EntryId { ms: 5, sequence: 0 };

    fn settled(origin: Origin, acknowledged: &[bool]) -> EntryOutcome {
        let mut entries = Entries::default();
        let entry = entries.insert(
            (ProductIndex::of_place(7), (1, 1)),
            ID,
            acknowledged.len() as u32,
            origin,
            Instant::default(),
        );
        assert_eq!(entries.claimed(), usize::from(origin == Origin::Claimed));
        let mut last = EntryOutcome::NotYet;
        // Kafka's word may come in any order.
        for (place, acknowledged) in acknowledged.iter().enumerate().rev() {
            assert_eq!(last, EntryOutcome::NotYet);
            last = entries.settle(entry, place as u8, *acknowledged);
        }
        assert!(entries.is_empty() && entries.claimed() == 0);
        last
    }

    fn part(orders: u32, acknowledged: u64) -> EntryOutcome {
        EntryOutcome::Remove(ProductIndex::of_place(7), Removal::Part { id: ID, orders, acknowledged })
    }

    #[test]
    fn an_entry_goes_when_every_order_is_acknowledged_and_stays_where_none_is() {
        for claimed in [false, true] {
            let origin = if claimed { Origin::Claimed } else { Origin::Reserved };
            let whole = EntryOutcome::Remove(ProductIndex::of_place(7), Removal::Whole { id: ID, claimed });
            assert_eq!(settled(origin, &[true]), whole);
            assert_eq!(settled(origin, &[true; 64]), whole);
            assert_eq!(settled(origin, &[false; 64]), EntryOutcome::Leave);
        }
    }

    #[test]
    fn orders_that_part_ways_are_told_apart_by_their_places() {
        assert_eq!(settled(Origin::Reserved, &[true, false, true]), part(3, 0b101));
        let mut all_but_last = [true; 64];
        all_but_last[63] = false;
        assert_eq!(settled(Origin::Claimed, &all_but_last), part(64, u64::MAX >> 1));
    }

    #[test]
    fn an_entry_known_by_its_records_is_never_removed_unseen() {
        assert_eq!(settled(Origin::Recorded, &[true, true]), part(2, 0b11));
        assert_eq!(settled(Origin::Recorded, &[false, true]), part(2, 0b10));
        assert_eq!(settled(Origin::Recorded, &[false]), EntryOutcome::Leave);
    }
}
