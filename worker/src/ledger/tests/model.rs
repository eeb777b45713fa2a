//! A model of the ledger's database: what each statement of a batch does, in a few maps, with faults on request.
//!
//! It takes transactions one at a time, as if each held all locks: what only their crossing brings about (deadlocks,
//! keys that appear after they were looked for) is brought about as a fault.

use std::collections::{BTreeMap, HashMap};

use flux_protocol::order::Uuid;
use flux_protocol::postgres::{Param, Row, ServerError, Severity, SqlState, TransactionStatus};

use crate::ledger::LedgerError;
use crate::ledger::reply::{Completed, Prepared, Purpose, Reply};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) sale: (String, i64),
    pub(super) quantity: i64,
    pub(super) reservation: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sale {
    pub(super) total: i64,
    pub(super) sold: i64,
    pub(super) withdrawn: i64,
    /// An event has told of it.
    pub(super) is_announced: bool,
    pub(super) generation: i64,
    /// Up to where a rebuild has counted, in each partition.
    pub(super) counted_to: Option<i64>,
}

impl Sale {
    pub(super) fn of(total: i64) -> Sale {
        Sale { total, sold: 0, withdrawn: 0, is_announced: false, generation: 1, counted_to: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) offsets: HashMap<i32, i64>,
    pub(super) orders: HashMap<Uuid, Order>,
    pub(super) sales: BTreeMap<(String, i64), Sale>,
    pub(super) returns: HashMap<Uuid, (Uuid, i64)>,
    pub(super) rejected: HashMap<(Uuid, Uuid), String>,
    pub(super) dead_letters: BTreeMap<(i32, i64), String>,
}

/// What happens to one run of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The connection breaks before anything arrives.
    LostBefore,
    /// The connection breaks after all of it was carried out.
    LostAfter,
    /// The statement at this place (modulo their number) meets this SQLSTATE.
    Refused(usize, [u8; 5]),
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) committed: Tables,
    open: Option<Tables>,
    /// An order that the database refuses for a reason of its own.
    pub(super) poison: Option<Uuid>,
    /// Somebody has changed the table: no order is taken any more.
    pub(super) refuses_orders: bool,
    /// More orders than this in one COPY take longer than the server allows.
    pub(super) rows_in_time: Option<u64>,
}

impl Model {
    pub(super) fn ask(&mut self, asked: &[Prepared], fault: Fault) -> Result<Reply, LedgerError> {
        let lost = || LedgerError::Lost("by the model".into());
        if fault == Fault::LostBefore {
            self.open = None;
            return Err(lost());
        }
        let mut reply = Reply { completed: vec![], failed: None, status: TransactionStatus::Idle };
        for (at, statement) in asked.iter().enumerate() {
            let outcome = match fault {
                // A key that appears is met by a COPY only.
                Fault::Refused(place, code)
                    if place % asked.len() == at && (&code != b"23505" || statement.copy.is_some()) =>
                {
                    Err(error(code, ""))
                }
                _ => self.one(statement),
            };
            match outcome {
                Ok(completed) => reply.completed.push(completed),
                Err(error) => {
                    reply.failed = Some(*error);
                    break;
                }
            }
        }
        reply.status = match (&self.open, &reply.failed) {
            (None, _) => TransactionStatus::Idle,
            (Some(_), None) => TransactionStatus::Open,
            (Some(_), Some(_)) => TransactionStatus::Failed,
        };
        if reply.failed.is_some() && asked.iter().any(|statement| statement.purpose == Purpose::Commit) {
            // A COMMIT that fails has rolled back.
            self.open = None;
            reply.status = TransactionStatus::Idle;
        }
        if fault == Fault::LostAfter {
            self.open = None;
            return Err(lost());
        }
        Ok(reply)
    }

    fn one(&mut self, statement: &Prepared) -> Result<Completed, Box<ServerError>> {
        match statement.purpose {
            Purpose::Begin => {
                assert!(self.open.is_none(), "BEGIN inside a transaction");
                self.open = Some(self.committed.clone());
                return Ok(Completed::default());
            }
            Purpose::Commit => {
                self.committed = self.open.take().expect("COMMIT inside a transaction");
                return Ok(Completed::default());
            }
            Purpose::Rollback => {
                self.open = None;
                return Ok(Completed::default());
            }
            Purpose::ReadOffset => {
                let offset = self.committed.offsets.get(&i32_of(&statement.params[1]));
                let rows = offset.map(|offset| Row::of(&[Some(&offset.to_string())])).into_iter().collect();
                return Ok(Completed { count: 1, rows });
            }
            Purpose::Sample => {
                assert!(self.open.is_none(), "a look at what is stored needs no transaction");
                let rows = self.committed.orders.values().next().map(|order| {
                    let total = self.committed.sales[&order.sale].total.to_string();
                    let sale = order.sale.1.to_string();
                    Row::of(&[Some(&order.sale.0), Some("user-42"), Some("1"), Some(&sale), Some("1"), Some(&total)])
                });
                return Ok(Completed { count: 1, rows: rows.into_iter().collect() });
            }
            Purpose::Orders if self.refuses_orders => return Err(error(*b"23502", "")),
            Purpose::Orders
                if statement.copy.as_ref().map(|rows| rows.rows()) > self.rows_in_time.or(Some(u64::MAX)) =>
            {
                return Err(error(*b"57014", ""));
            }
            _ => {}
        }
        let poison = self.poison;
        let tables = self.open.as_mut().expect("a statement of a batch outside its transaction");
        carry_out(tables, statement, poison)
    }
}

fn carry_out(tables: &mut Tables, statement: &Prepared, poison: Option<Uuid>) -> Result<Completed, Box<ServerError>> {
    let params = &statement.params;
    let mut completed = Completed::default();
    match statement.purpose {
        Purpose::Fence => {
            let (partition, from, to) = (i32_of(&params[1]), i64_of(&params[2]), i64_of(&params[3]));
            assert!(to > from, "the offset goes forward");
            if tables.offsets.get(&partition) == Some(&from) {
                tables.offsets.insert(partition, to);
                completed.count = 1;
            }
        }
        Purpose::Orders => {
            for fields in copied(statement.copy.as_ref().expect("rows").messages()) {
                let (id, order) = order(&fields);
                if poison == Some(id) {
                    return Err(error(*b"22P05", ""));
                }
                if tables.orders.insert(id, order).is_some() {
                    return Err(error(*b"23505", "orders_pkey"));
                }
                completed.count += 1;
            }
        }
        Purpose::Take => {
            let totals = i64s(&params[2]);
            for (at, key) in keys(params).into_iter().enumerate() {
                let units = i64s(&params[3])[at];
                if units > totals[at] {
                    // The row that is proposed is checked before anybody looks whether there is one.
                    return Err(error(*b"23514", "sales_room"));
                }
                let sale = tables.sales.entry(key.clone()).or_insert(Sale::of(totals[at]));
                if sale.total == totals[at] && sale.sold + units <= sale.total {
                    sale.sold += units;
                    completed.count += 1;
                    let (id, generation) = (key.1.to_string(), sale.generation.to_string());
                    let is_overdrawn = if sale.withdrawn > sale.total - sale.sold { "t" } else { "f" };
                    completed.rows.push(Row::of(&[Some(&key.0), Some(&id), Some(&generation), Some(is_overdrawn)]));
                }
            }
        }
        Purpose::OpenSales => {
            for (key, total) in keys(params).into_iter().zip(i64s(&params[2])) {
                tables.sales.entry(key).or_insert(Sale::of(total));
            }
        }
        Purpose::LockSales => {
            for key in keys(params) {
                let sale = &tables.sales[&key];
                let numbers = [key.1, sale.total, sale.sold, sale.withdrawn, sale.generation];
                let numbers = numbers.map(|number| number.to_string());
                let is_announced = if sale.is_announced { "t" } else { "f" };
                let [id, total, sold, withdrawn, generation] = numbers.each_ref().map(|number| Some(number.as_str()));
                let counted_to = sale.counted_to.map(|end| end.to_string());
                let rest = [withdrawn, Some(is_announced), generation, counted_to.as_deref()];
                completed.rows.push(Row::of(&[&[Some(&*key.0), id, total, sold], &rest[..]].concat()));
            }
        }
        Purpose::KnownOrders => {
            for id in uuids(&params[0]) {
                if let Some(order) = tables.orders.get(id) {
                    let texts = [id.to_string(), order.reservation.to_string(), order.quantity.to_string()];
                    completed.rows.push(Row::of(&[Some(&texts[0]), Some(&texts[1]), Some(&texts[2])]));
                }
            }
        }
        Purpose::KnownRejected => {
            for (order, reservation) in tables.rejected.keys() {
                if uuids(&params[0]).contains(order) {
                    completed.rows.push(Row::of(&[Some(&order.to_string()), Some(&reservation.to_string())]));
                }
            }
        }
        Purpose::Returns => {
            for ((reservation, order), quantity) in
                uuids(&params[0]).iter().zip(uuids(&params[1])).zip(i32s(&params[5]))
            {
                completed.count +=
                    u64::from(tables.returns.insert(*reservation, (*order, i64::from(quantity))).is_none());
            }
        }
        Purpose::Rejected => {
            let Param::Texts(reasons) = &params[2] else { panic!("reasons") };
            for ((order, reservation), reason) in uuids(&params[0]).iter().zip(uuids(&params[1])).zip(reasons) {
                let new = !tables.rejected.contains_key(&(*order, *reservation));
                tables.rejected.entry((*order, *reservation)).or_insert(reason.clone());
                completed.count += u64::from(new);
            }
        }
        Purpose::DeadLetters => {
            let Param::Texts(reasons) = &params[6] else { panic!("reasons") };
            for (offset, reason) in i64s(&params[3]).into_iter().zip(reasons) {
                let old = tables.dead_letters.insert((i32_of(&params[2]), offset), reason.clone());
                completed.count += u64::from(old.is_none());
            }
        }
        Purpose::SaleTotal | Purpose::SaleEvent => {
            let (Param::Text(product), sale) = (&params[0], i64_of(&params[1])) else { panic!("no product") };
            let sale = tables.sales.get_mut(&(product.clone(), sale)).expect("it was opened");
            if statement.purpose == Purpose::SaleEvent {
                sale.is_announced = true;
            } else if !sale.is_announced {
                sale.total = i64_of(&params[2]);
            }
        }
        Purpose::WithdrawLess => {
            let (Param::Text(product), sale) = (&params[0], i64_of(&params[1])) else { panic!("no product") };
            let sale = tables.sales.get_mut(&(product.clone(), sale)).expect("an order was stored of it");
            assert!(sale.withdrawn > sale.total - sale.sold, "asked for in vain");
            (sale.withdrawn, sale.generation) = (sale.total - sale.sold, sale.generation + 1);
        }
        Purpose::Products => {}
        other => panic!("{other:?} is no part of a batch"),
    }
    Ok(completed)
}

/// The rows of a COPY, field by field.
fn copied(mut messages: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut data = Vec::new();
    while let [b'd', a, b, c, d, rest @ ..] = messages {
        let (body, next) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4);
        data.extend_from_slice(body);
        messages = next;
    }
    let mut data = &data[19..];
    let mut take = |bytes: usize| {
        let (head, rest) = data.split_at(bytes);
        data = rest;
        head.to_vec()
    };
    let mut rows = Vec::new();
    loop {
        let columns = i16::from_be_bytes(take(2).try_into().expect("two bytes"));
        if columns < 0 {
            return rows;
        }
        let mut field = || {
            let length = i32::from_be_bytes(take(4).try_into().expect("four bytes"));
            take(length as usize)
        };
        rows.push((0..columns).map(|_| field()).collect());
    }
}

fn order(fields: &[Vec<u8>]) -> (Uuid, Order) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let uuid = |bytes: &[u8]| Uuid(bytes.try_into().expect("sixteen bytes"));
    let sale = i64::from_be_bytes(fields[4][..].try_into().expect("eight bytes"));
    let quantity = i32::from_be_bytes(fields[3][..].try_into().expect("four bytes"));
    let order = Order { sale: (text(&fields[1]), sale), quantity: quantity.into(), reservation: uuid(&fields[6]) };
    (uuid(&fields[0]), order)
}

pub(super) fn error(code: [u8; 5], constraint: &str) -> Box<ServerError> {
    Box::new(ServerError {
        severity: Severity::Error,
        code: SqlState(code),
        message: "by the model".into(),
        detail: String::new(),
        constraint: constraint.into(),
        table: String::new(),
        context: String::new(),
    })
}

fn keys(params: &[Param]) -> Vec<(String, i64)> {
    let Param::Texts(products) = &params[0] else { panic!("products") };
    products.iter().cloned().zip(i64s(&params[1])).collect()
}

fn i32_of(param: &Param) -> i32 {
    let Param::I32(value) = param else { panic!("{param:?} is no integer") };
    *value
}

fn i64_of(param: &Param) -> i64 {
    let Param::I64(value) = param else { panic!("{param:?} is no bigint") };
    *value
}

fn i32s(param: &Param) -> Vec<i32> {
    let Param::I32s(values) = param else { panic!("{param:?} are no integers") };
    values.clone()
}

fn i64s(param: &Param) -> Vec<i64> {
    let Param::I64s(values) = param else { panic!("{param:?} are no bigints") };
    values.clone()
}

fn uuids(param: &Param) -> &[Uuid] {
    let Param::Uuids(values) = param else { panic!("{param:?} are no uuids") };
    values
}
