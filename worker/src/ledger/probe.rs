//! Is it the record, or is it the table? Before a record is set aside because the database refuses it, the database is
//! asked to take an order that it must take, by the same statements, in a transaction that is undone.
//!
//! The order is one that it has taken before, under an id of its own; where there is none yet, one of our making.
//! Refused as well, it clears the record: a table was changed, and the next record would fare no better.

use flux_protocol::order::{OwnedRecord, Uuid};
use flux_protocol::postgres::{Row, ServerError};

use super::reply::{Prepared, Purpose};
use super::statements::{self, statement};
use crate::batch::{Content, Entry, Origin};

/// Of no order: `order_id` makes version 8 only.
const PROBE_ID: Uuid = Uuid([0xff; 16]);
/// Where nothing was stored yet.
const PROBE_PRODUCT: &str = "flux-probe";
/// Tables whose rows are all made of values that were checked before, or come from these tables themselves: no record is to
/// blame for what they refuse.
const BLAMELESS_TABLES: [&str; 5] = ["offsets", "products", "returns", "rejected", "dead_letters"];

/// Whether it is certain without a probe that no record is to blame.
pub(super) fn is_of_the_table(error: &ServerError) -> bool {
    BLAMELESS_TABLES.contains(&error.table.as_str())
}

/// Asks for an order that was taken before.
pub(super) fn sample() -> Prepared {
    Prepared::new(Purpose::Sample, statement!("sample_order"), vec![])
}

/// The transaction that is tried and undone; it ends open.
pub(super) fn attempt(origin: &Origin, sample: Option<&Row>) -> Vec<Prepared> {
    let order = sample.and_then(stored).unwrap_or_else(|| order(PROBE_PRODUCT.to_owned(), "probe".to_owned()));
    let entry = Entry { offset: 0, leader_epoch: None, key: None, value: None, content: Content::Order(order) };
    let span = std::slice::from_ref(&entry);
    let mut sales = statements::sales_of(span);
    let orders = statements::copy_orders(origin, span, 0..1);
    // A sale may be sold out: nothing is taken of it.
    statements::take_nothing(&mut sales);
    vec![statements::begin(), orders, statements::take(&sales), statements::show_stock(&sales)]
}

fn order(product_id: String, user_id: String) -> OwnedRecord {
    let (quantity, sale_id, sale_total, generation, timestamp) = (1, 1, 1, 1, 1);
    let (order_id, reservation_id) = (PROBE_ID, PROBE_ID);
    OwnedRecord { order_id, reservation_id, product_id, user_id, quantity, sale_id, sale_total, generation, timestamp }
}

fn stored(row: &Row) -> Option<OwnedRecord> {
    let order = order(row.text(0)?.to_owned(), row.text(1)?.to_owned());
    let (quantity, sale_id, generation, sale_total) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
    Some(OwnedRecord { quantity, sale_id, generation, sale_total, ..order })
}
