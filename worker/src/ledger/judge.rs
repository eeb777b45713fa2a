//! What becomes of each order when the short way is barred: the decision, made with the sales' rows locked.
//!
//! Pure, and order by order in the order of the log: what fits is stored, and nothing that comes later can take its
//! place. It never sees a connection.
//!
//! A record is not believed against the ledger. A sale's total is what its event said, whatever an order says; where
//! only orders have spoken of it, the first of them, until the event comes. What contradicts that is a dead letter,
//! with its reason; an operator who finds that it was right can have it stored all the same (`flux-worker dead-letters
//! replay`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use flux_protocol::order::{OwnedRecord, SaleEvent, Uuid};
use flux_protocol::planted::{Bug, is_planted};

use crate::batch::{Content, DeadReason, Entry};

/// A sale: product and sale id.
pub type SaleKey = (String, u64);

/// A sale as the ledger has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSale {
    /// Units in all.
    pub total: u64,
    /// Units of stored orders.
    pub sold: u64,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// An event has told of it, or Redis when it was rebuilt: its total is certain. Else only orders have.
    pub is_announced: bool,
    /// The generation in force.
    pub generation: u32,
    /// Where in the span's partition begins what a rebuild did not count when it put that generation in force; `None` where none has
    /// said, or of another topic.
    pub counted_to: Option<i64>,
}

impl KnownSale {
    /// Whether what an older generation did comes too late: its units were given to others, whose 200 counts.
    fn is_too_late(&self, generation: u32, offset: i64) -> bool {
        let is_uncounted = self.counted_to.is_some_and(|end| offset >= end);
        generation < self.generation && is_uncounted && !is_planted(Bug::LateRecordsStored)
    }
}

/// What the ledger holds, read after the sales' rows were locked.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Every sale that the span speaks of.
    pub sales: BTreeMap<SaleKey, KnownSale>,
    /// Reservation and quantity of each order that is stored.
    pub orders: HashMap<Uuid, (Uuid, u32)>,
    /// Orders and reservations that were rejected before.
    pub rejected: HashSet<(Uuid, Uuid)>,
}

/// Why an order is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Its sale's total is stored already.
    NoRoom,
    /// It is stored with another quantity.
    KeyReused,
    /// Of an older generation, and written after a rebuild had counted what was sold: its units were given to others, and its caller
    /// was told nothing better than that nobody knows. Its id is free.
    Late,
}

impl Rejection {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Rejection::NoRoom => "no_room",
            Rejection::KeyReused => "key_reused",
            Rejection::Late => "late",
        }
    }
}

/// The decision. Numbers are places in the span that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// To be stored.
    pub stored: Vec<usize>,
    /// Dropped: the same reservation is stored, or was rejected.
    pub redelivered: u64,
    /// Dropped: another reservation of the order is stored. Its units go back.
    pub returned: Vec<usize>,
    /// Rejected. One that is returned too is here as [`Rejection::KeyReused`].
    pub rejected: Vec<(usize, Rejection)>,
    /// Contradicts the ledger: a dead letter. Ascending.
    pub contradictions: Vec<(usize, DeadReason)>,
    /// Sales of which orders have units that were withdrawn as nobody's.
    pub overdrawn: BTreeSet<SaleKey>,
}

impl Verdicts {
    /// Why the entry at this place contradicts the ledger, if it does.
    pub fn contradiction(&self, at: usize) -> Option<&DeadReason> {
        let found = self.contradictions.binary_search_by_key(&at, |(place, _)| *place).ok()?;
        Some(&self.contradictions[found].1)
    }
}

/// Judges the orders and events of a span; its other entries are passed over.
pub fn judge(span: &[Entry], mut known: Known) -> Verdicts {
    let mut verdicts = Verdicts::default();
    // The events first: what they say of a total holds for the orders before them, too.
    for (at, entry) in span.iter().enumerate() {
        match &entry.content {
            Content::Closed(event) if is_late_close(event, entry.offset, &known) => {
                let reason = "late: a rebuild had counted what was sold before this close was written".to_owned();
                verdicts.contradictions.push((at, DeadReason { reason, order: None }));
            }
            Content::Opened(event) | Content::Closed(event) => judge_event(at, event, &mut known, &mut verdicts),
            Content::Order(_) | Content::Dead(_) => {}
        }
    }
    for (at, entry) in span.iter().enumerate() {
        if let Content::Order(order) = &entry.content {
            judge_order(at, order, entry.offset, &mut known, &mut verdicts);
        }
    }
    verdicts.contradictions.sort_unstable_by_key(|(at, _)| *at);
    verdicts
}

fn is_late_close(event: &SaleEvent, offset: i64, known: &Known) -> bool {
    let sale = known.sales.get(&(event.product_id.clone(), event.sale_id));
    sale.is_some_and(|sale| sale.is_too_late(event.generation, offset))
}

fn judge_event(at: usize, event: &SaleEvent, known: &mut Known, verdicts: &mut Verdicts) {
    let sale = known.sales.entry((event.product_id.clone(), event.sale_id)).or_default();
    let (total, used) = (event.sale_total, sale.sold.max(sale.withdrawn));
    let reason = if sale.is_announced && sale.total != total {
        format!("contradicts the ledger: `saleTotal` is {total}, and the sale was announced with {}", sale.total)
    } else if total < used {
        format!("contradicts the ledger: `saleTotal` is {total}, and {used} units of the sale are sold or withdrawn")
    } else {
        sale.total = total;
        sale.is_announced = true;
        return;
    };
    verdicts.contradictions.push((at, DeadReason { reason, order: None }));
}

fn judge_order(at: usize, order: &OwnedRecord, offset: i64, known: &mut Known, verdicts: &mut Verdicts) {
    let quantity = u32::from(order.quantity);
    // First: rejected for want of room and delivered again after another reservation of the order was stored, it would
    // otherwise be given back as well.
    if known.rejected.contains(&(order.order_id, order.reservation_id)) {
        verdicts.redelivered += 1;
        return;
    }
    let stored = known.orders.get(&order.order_id).copied();
    if stored.is_some_and(|(reservation, _)| reservation == order.reservation_id) {
        verdicts.redelivered += 1;
        return;
    }
    // A sale that could not be opened has no room; the machine never asks about one.
    let sale = known.sales.entry((order.product_id.clone(), order.sale_id)).or_default();
    if order.sale_total != sale.total {
        verdicts.contradictions.push((at, contradiction(order, sale)));
        return;
    }
    if let Some((_, stored_quantity)) = stored {
        if stored_quantity == quantity && is_planted(Bug::SecondReservationDropped) {
            verdicts.redelivered += 1;
            return;
        }
        verdicts.returned.push(at);
        if stored_quantity != quantity {
            verdicts.rejected.push((at, Rejection::KeyReused));
        }
        return;
    }
    if sale.is_too_late(order.generation, offset) {
        known.rejected.insert((order.order_id, order.reservation_id));
        verdicts.rejected.push((at, Rejection::Late));
        return;
    }
    let sold = sale.sold + u64::from(quantity);
    if sold <= sale.total {
        sale.sold = sold;
        if sale.withdrawn > sale.total - sold {
            verdicts.overdrawn.insert((order.product_id.clone(), order.sale_id));
        }
        known.orders.insert(order.order_id, (order.reservation_id, quantity));
        verdicts.stored.push(at);
    } else {
        known.rejected.insert((order.order_id, order.reservation_id));
        verdicts.rejected.push((at, Rejection::NoRoom));
    }
}

/// An order of another total than its sale's. No edge of ours takes units of a sale and writes another total, so its units
/// are none of the sale's where that is announced; where it is not, this may be the order that is right.
fn contradiction(order: &OwnedRecord, sale: &KnownSale) -> DeadReason {
    let (claimed, total) = (order.sale_total, sale.total);
    let (known_by, order) = if sale.is_announced {
        ("the sale was announced with", None)
    } else {
        ("other orders of the sale, of which no event has come, say", Some(order))
    };
    let order = order.map(|order| (order.product_id.clone(), order.sale_id, order.quantity));
    DeadReason { reason: format!("contradicts the ledger: `saleTotal` is {claimed}, and {known_by} {total}"), order }
}
