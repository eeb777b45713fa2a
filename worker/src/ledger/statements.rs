//! The statements of a batch's transaction, with their values taken from its entries.
//!
//! Pure. Which statements are sent when is decided in [`super::store`]. The numbers of a record fit PostgreSQL's signed
//! types: `TopicRecord::parse` and [`crate::batch`] have checked them, so the casts here lose nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use flux_protocol::order::{OwnedRecord, SaleEvent, Uuid};
use flux_protocol::postgres::{CopyRows, Param};

use super::judge::{SaleKey, Verdicts};
use super::reply::{Prepared, Purpose};
use crate::batch::{Batch, Content, DeadReason, Entry, Origin};

macro_rules! statement {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/statements/", $name, ".sql"))
    };
}
pub(super) use statement;

/// Bytes of an order's row beside its two names: ten lengths, the fixed fields, the field count.
const ROW_BYTES: usize = 10 * 4 + 16 + 4 + 8 + 4 + 16 + 4 + 8 + 8 + 2;
const ORDER_COLUMNS: i16 = 10;

/// A sale as a span speaks of it, with what it takes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    total: i64,
    units: i64,
    /// An event of the span says the total.
    is_announced: bool,
    /// Its records do not agree on the total.
    is_disputed: bool,
}

/// Sales in the order in which their rows are locked.
pub(super) type AskedSales<'a> = BTreeMap<(&'a str, u64), Asked>;

fn ask_order<'a>(sales: &mut AskedSales<'a>, order: &'a OwnedRecord) {
    let total = order.sale_total as i64;
    let asked = sales.entry((&order.product_id, order.sale_id)).or_insert(Asked { total, ..Asked::default() });
    asked.is_disputed |= asked.total != total;
    asked.units += i64::from(order.quantity);
}

/// The event's word on the total goes before that of an order, and the first event's before that of the next.
fn ask_event<'a>(sales: &mut AskedSales<'a>, sale: &'a SaleEvent) {
    let total = sale.sale_total as i64;
    let asked = sales.entry((&sale.product_id, sale.sale_id)).or_insert(Asked { total, ..Asked::default() });
    asked.is_disputed |= asked.total != total;
    if !std::mem::replace(&mut asked.is_announced, true) {
        asked.total = total;
    }
}

/// Whether the records of a span contradict each other: which is right is for the careful way to decide.
pub(super) fn are_disputed(sales: &AskedSales<'_>) -> bool {
    sales.values().any(|asked| asked.is_disputed)
}

/// All sales that a span speaks of, with the units of all its orders.
pub(super) fn sales_of(span: &[Entry]) -> AskedSales<'_> {
    let mut sales = AskedSales::new();
    for entry in span {
        match &entry.content {
            Content::Order(order) => ask_order(&mut sales, order),
            Content::Opened(sale) | Content::Closed(sale) => ask_event(&mut sales, sale),
            Content::Dead(_) => {}
        }
    }
    sales
}

/// The sales of the orders that are to be stored, with their units.
pub(super) fn sales_of_stored<'a>(span: &'a [Entry], stored: &[usize]) -> AskedSales<'a> {
    let mut sales = AskedSales::new();
    for order in stored.iter().filter_map(|at| order_at(span, *at)) {
        ask_order(&mut sales, order);
    }
    sales
}

fn order_at(span: &[Entry], at: usize) -> Option<&OwnedRecord> {
    match &span[at].content {
        Content::Order(order) => Some(order),
        Content::Opened(_) | Content::Closed(_) | Content::Dead(_) => None,
    }
}

pub(super) fn orders_in(span: &[Entry]) -> impl Iterator<Item = (usize, &OwnedRecord)> {
    (0..span.len()).filter_map(|at| Some((at, order_at(span, at)?)))
}

pub(super) fn begin() -> Prepared {
    // Said, because a database's default may be another: what is read after a lock must be what stands then.
    Prepared::new(Purpose::Begin, "BEGIN ISOLATION LEVEL READ COMMITTED", vec![])
}

pub(super) fn commit() -> Prepared {
    Prepared::new(Purpose::Commit, "COMMIT", vec![])
}

pub(super) fn rollback() -> Prepared {
    Prepared::new(Purpose::Rollback, "ROLLBACK", vec![])
}

/// What lets a transaction go on, and how many rows it writes where it may: the offset still stands where it was read, or the
/// dead letters that are replayed are all still there.
pub(super) fn fence(batch: &Batch, span: &Range<usize>) -> (Prepared, u64) {
    if batch.is_replay() {
        let letters = batch.span_letters(span);
        let count = letters.len() as u64;
        let prepared = Prepared::new(
            Purpose::Fence,
            include_str!("../../sql/dead_letters/take.sql"),
            letters_of(batch.origin(), letters),
        );
        return (prepared, count);
    }
    let (from, to) = batch.span_offsets(span);
    (advance(batch.origin(), from, to, batch.span_leader_epoch(span)), 1)
}

/// What tells whether a transaction whose outcome is unknown was committed.
pub(super) fn resolve(batch: &Batch) -> Prepared {
    if batch.is_replay() {
        let letters = letters_of(batch.origin(), batch.span_letters(&batch.span()));
        return Prepared::new(Purpose::ReadOffset, include_str!("../../sql/dead_letters/held.sql"), letters);
    }
    read_offset(batch.origin())
}

fn letters_of(origin: &Origin, offsets: Vec<i64>) -> Vec<Param> {
    vec![Param::Uuid(origin.topic_id), Param::I32(origin.partition), Param::I64s(offsets)]
}

fn advance(origin: &Origin, from: i64, to: i64, leader_epoch: Option<i32>) -> Prepared {
    let mut params = vec![Param::Uuid(origin.topic_id), Param::I32(origin.partition), Param::I64(from), Param::I64(to)];
    params.push(Param::I32(leader_epoch.unwrap_or(-1)));
    Prepared::new(Purpose::Fence, statement!("fence"), params)
}

fn read_offset(origin: &Origin) -> Prepared {
    let params = vec![Param::Uuid(origin.topic_id), Param::I32(origin.partition)];
    Prepared::new(Purpose::ReadOffset, statement!("read_offset"), params)
}

/// Copies the orders at these places of the span.
pub(super) fn copy_orders(origin: &Origin, span: &[Entry], places: impl Iterator<Item = usize> + Clone) -> Prepared {
    let orders = places.filter_map(|at| Some((span[at].offset, order_at(span, at)?)));
    let bytes = orders.clone().map(|(_, order)| ROW_BYTES + order.product_id.len() + order.user_id.len()).sum();
    let mut rows = CopyRows::with_capacity(bytes);
    for (offset, order) in orders {
        rows.row(ORDER_COLUMNS, |fields| {
            fields.uuid(order.order_id);
            fields.bytes(order.product_id.as_bytes());
            fields.bytes(order.user_id.as_bytes());
            fields.i32(i32::from(order.quantity));
            fields.i64(order.sale_id as i64);
            fields.i32(order.generation as i32);
            fields.uuid(order.reservation_id);
            fields.i32(origin.partition);
            fields.i64(offset);
            fields.timestamp_ms(order.timestamp as i64);
        });
    }
    rows.finish();
    Prepared { copy: Some(rows), ..Prepared::new(Purpose::Orders, statement!("copy_orders"), vec![]) }
}

fn keys(sales: &AskedSales<'_>) -> Vec<Param> {
    vec![
        Param::Texts(sales.keys().map(|(product, _)| (*product).to_owned()).collect()),
        Param::I64s(sales.keys().map(|(_, sale)| *sale as i64).collect()),
    ]
}

fn openings(sales: &AskedSales<'_>) -> Vec<Param> {
    let mut params = keys(sales);
    params.push(Param::I64s(sales.values().map(|asked| asked.total).collect()));
    params
}

pub(super) fn take(sales: &AskedSales<'_>) -> Prepared {
    let mut params = openings(sales);
    params.push(Param::I64s(sales.values().map(|asked| asked.units).collect()));
    Prepared::new(Purpose::Take, statement!("take"), params)
}

/// Lets a Take ask for no unit.
pub(super) fn take_nothing(sales: &mut AskedSales<'_>) {
    sales.values_mut().for_each(|asked| asked.units = 0);
}

/// How many sales the Take among these asks for; 0 where there is none.
pub(super) fn sales_asked(asked: &[Prepared]) -> u64 {
    let take = asked.iter().find(|statement| statement.purpose == Purpose::Take);
    match take.and_then(|take| take.params.first()) {
        Some(Param::Texts(products)) => products.len() as u64,
        _ => 0,
    }
}

pub(super) fn open_sales(sales: &AskedSales<'_>) -> Prepared {
    Prepared::new(Purpose::OpenSales, statement!("open_sales"), openings(sales))
}

pub(super) fn lock_sales(origin: &Origin, sales: &AskedSales<'_>) -> Prepared {
    let mut params = keys(sales);
    params.extend([Param::Uuid(origin.topic_id), Param::I32(origin.partition)]);
    Prepared::new(Purpose::LockSales, statement!("lock_sales"), params)
}

pub(super) fn withdraw_less((product, sale): &SaleKey) -> Prepared {
    let params = vec![Param::Text(product.clone()), Param::I64(*sale as i64)];
    Prepared::new(Purpose::WithdrawLess, statement!("withdraw_less"), params)
}

pub(super) fn show_stock(sales: &AskedSales<'_>) -> Prepared {
    Prepared::new(Purpose::Products, statement!("show_stock"), keys(sales))
}

pub(super) fn known_orders(span: &[Entry]) -> [Prepared; 2] {
    let ids: Vec<Uuid> = orders_in(span).map(|(_, order)| order.order_id).collect();
    [
        Prepared::new(Purpose::KnownOrders, statement!("known_orders"), vec![Param::Uuids(ids.clone())]),
        Prepared::new(Purpose::KnownRejected, statement!("known_rejected"), vec![Param::Uuids(ids)]),
    ]
}

pub(super) fn note_returns(span: &[Entry], verdicts: &Verdicts) -> Option<Prepared> {
    let orders: Vec<&OwnedRecord> = verdicts.returned.iter().filter_map(|at| order_at(span, *at)).collect();
    if orders.is_empty() {
        return None;
    }
    let params = vec![
        Param::Uuids(orders.iter().map(|order| order.reservation_id).collect()),
        Param::Uuids(orders.iter().map(|order| order.order_id).collect()),
        Param::Texts(orders.iter().map(|order| order.product_id.clone()).collect()),
        Param::I64s(orders.iter().map(|order| order.sale_id as i64).collect()),
        Param::I32s(orders.iter().map(|order| order.generation as i32).collect()),
        Param::I32s(orders.iter().map(|order| i32::from(order.quantity)).collect()),
        Param::Texts(orders.iter().map(|order| order.user_id.clone()).collect()),
    ];
    Some(Prepared::new(Purpose::Returns, statement!("note_returns"), params))
}

pub(super) fn note_rejected(origin: &Origin, span: &[Entry], verdicts: &Verdicts) -> Option<Prepared> {
    let rows: Vec<(i64, &OwnedRecord, &str)> = verdicts
        .rejected
        .iter()
        .filter_map(|(at, reason)| Some((span[*at].offset, order_at(span, *at)?, reason.as_str())))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let params = vec![
        Param::Uuids(rows.iter().map(|(_, order, _)| order.order_id).collect()),
        Param::Uuids(rows.iter().map(|(_, order, _)| order.reservation_id).collect()),
        Param::Texts(rows.iter().map(|(_, _, reason)| (*reason).to_owned()).collect()),
        Param::Texts(rows.iter().map(|(_, order, _)| order.product_id.clone()).collect()),
        Param::Texts(rows.iter().map(|(_, order, _)| order.user_id.clone()).collect()),
        Param::I32s(rows.iter().map(|(_, order, _)| i32::from(order.quantity)).collect()),
        Param::I64s(rows.iter().map(|(_, order, _)| order.sale_id as i64).collect()),
        Param::I32s(rows.iter().map(|(_, order, _)| order.generation as i32).collect()),
        Param::I64s(rows.iter().map(|(offset, _, _)| *offset).collect()),
        Param::I32(origin.partition),
        Param::I64s(rows.iter().map(|(_, order, _)| order.timestamp as i64).collect()),
    ];
    Some(Prepared::new(Purpose::Rejected, statement!("note_rejected"), params))
}

/// Keeps what is dead by itself, and what contradicts the ledger.
pub(super) fn note_dead_letters(origin: &Origin, span: &[Entry], verdicts: &Verdicts) -> Option<Prepared> {
    let rows: Vec<(&Entry, &DeadReason)> = span
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| match &entry.content {
            Content::Dead(dead) => Some((entry, dead)),
            Content::Order(_) | Content::Opened(_) | Content::Closed(_) => Some((entry, verdicts.contradiction(at)?)),
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    // A fraction of the rows is known to be orders; the statement reads these as NULL.
    let orders = || rows.iter().map(|(_, dead)| dead.order.clone().unwrap_or_default());
    let known = || rows.iter().map(|(_, dead)| dead.order.is_some());
    let params = vec![
        Param::Text(origin.topic.clone()),
        Param::Uuid(origin.topic_id),
        Param::I32(origin.partition),
        Param::I64s(rows.iter().map(|(entry, _)| entry.offset).collect()),
        Param::ByteStrings(rows.iter().map(|(entry, _)| entry.key.clone()).collect()),
        Param::ByteStrings(rows.iter().map(|(entry, _)| entry.value.clone()).collect()),
        Param::Texts(rows.iter().map(|(_, dead)| dead.reason.clone()).collect()),
        Param::Texts(orders().map(|(product, ..)| product).collect()),
        Param::I64s(orders().zip(known()).map(|((_, sale, _), known)| if known { sale as i64 } else { -1 }).collect()),
        Param::I32s(orders().map(|(.., quantity)| i32::from(quantity)).collect()),
    ];
    Some(Prepared::new(Purpose::DeadLetters, statement!("note_dead_letters"), params))
}

pub(super) fn sale_events<'a>(span: &'a [Entry], verdicts: &'a Verdicts) -> impl Iterator<Item = Prepared> + 'a {
    let believed = span.iter().enumerate().filter(|(at, _)| verdicts.contradiction(*at).is_none());
    let events = believed.filter_map(|(_, entry)| match &entry.content {
        Content::Opened(sale) => Some([sale_total(sale), sale_opened(sale)]),
        Content::Closed(sale) => Some([sale_total(sale), sale_closed(sale)]),
        Content::Order(_) | Content::Dead(_) => None,
    });
    events.flatten()
}

fn sale_total(sale: &SaleEvent) -> Prepared {
    let (product, total) = (sale.product_id.clone(), sale.sale_total as i64);
    let params = vec![Param::Text(product), Param::I64(sale.sale_id as i64), Param::I64(total)];
    Prepared::new(Purpose::SaleTotal, statement!("sale_total"), params)
}

fn sale_opened(sale: &SaleEvent) -> Prepared {
    let params = vec![
        Param::Text(sale.product_id.clone()),
        Param::I64(sale.sale_id as i64),
        Param::I64(sale.rate as i64),
        Param::I64(sale.burst as i64),
        Param::Text(sale.seed.clone()),
        Param::I32(sale.generation as i32),
        Param::I64(sale.timestamp as i64),
        Param::I32(i32::from(sale.per_user)),
        Param::I64(sale.opens_at as i64),
        Param::Text(sale.queue.clone()),
    ];
    Prepared::new(Purpose::SaleEvent, statement!("sale_opened"), params)
}

fn sale_closed(sale: &SaleEvent) -> Prepared {
    let params = vec![
        Param::Text(sale.product_id.clone()),
        Param::I64(sale.sale_id as i64),
        Param::I64(sale.withdrawn as i64),
        Param::I32(sale.generation as i32),
        Param::I64(sale.rate as i64),
        Param::I64(sale.burst as i64),
        Param::I64(sale.timestamp as i64),
    ];
    Prepared::new(Purpose::SaleEvent, statement!("sale_closed"), params)
}
