//! What becomes of each order when the short way is barred: the decision, made with the sales' rows locked.
//!
//! Pure, and order by order in the order of the log: what fits is stored, and nothing that comes later can take its
//! place. It never sees a connection.

use std::collections::{BTreeMap, HashMap, HashSet};

use flux_protocol::order::{OwnedRecord, Uuid};

use crate::batch::{Content, Entry};

/// A sale: product and sale id.
pub type SaleKey = (String, u64);

/// What the ledger holds, read after the sales' rows were locked.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Units that each sale has left to sell.
    pub room: BTreeMap<SaleKey, u64>,
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
}

impl Rejection {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Rejection::NoRoom => "no_room",
            Rejection::KeyReused => "key_reused",
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
}

/// Judges the orders of a span; its other entries are passed over.
pub fn judge(span: &[Entry], mut known: Known) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for (at, entry) in span.iter().enumerate() {
        if let Content::Order(order) = &entry.content {
            judge_order(at, order, &mut known, &mut verdicts);
        }
    }
    verdicts
}

fn judge_order(at: usize, order: &OwnedRecord, known: &mut Known, verdicts: &mut Verdicts) {
    let quantity = u32::from(order.quantity);
    if let Some((reservation, stored_quantity)) = known.orders.get(&order.order_id) {
        if *reservation == order.reservation_id {
            verdicts.redelivered += 1;
            return;
        }
        verdicts.returned.push(at);
        if *stored_quantity != quantity {
            verdicts.rejected.push((at, Rejection::KeyReused));
        }
        return;
    }
    if known.rejected.contains(&(order.order_id, order.reservation_id)) {
        verdicts.redelivered += 1;
        return;
    }
    // A sale that could not be opened has no room; the machine never asks about one.
    let room = known.room.entry((order.product_id.clone(), order.sale_id)).or_default();
    match room.checked_sub(u64::from(quantity)) {
        Some(left) => {
            *room = left;
            known.orders.insert(order.order_id, (order.reservation_id, quantity));
            verdicts.stored.push(at);
        }
        None => {
            known.rejected.insert((order.order_id, order.reservation_id));
            verdicts.rejected.push((at, Rejection::NoRoom));
        }
    }
}
