//! Orders: the binary COPY that stores them, and looking for them.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use flux_protocol::order::Uuid;

use super::super::error::SqlError;
use super::super::rows::Order;
use super::super::table::Record;
use super::super::values::{Params, row, sized, text, timestamp};
use super::{Plan, Scope, Steps, done, step};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const COLUMNS: [&str; 10] = [
    "id",
    "product_id",
    "user_id",
    "quantity",
    "sale_id",
    "generation",
    "reservation_id",
    "partition",
    "kafka_offset",
    "created_at",
];
/// COPY reads and checks so many rows before it looks for the first one's key (`MAX_BUFFERED_TUPLES`, `copyfrom.c`; its
/// bound in bytes does not count rows in binary).
const ROWS_BUFFERED: usize = 1000;

/// The steps of a COPY whose data has come.
pub(in super::super) fn read_copy(scope: &mut Scope<'_>, data: Bytes) -> Steps {
    let rows = read_rows(data, scope.now);
    let mut steps = Steps::new();
    for buffered in rows.chunks(ROWS_BUFFERED) {
        if let Some(error) = buffered.iter().find_map(|row| row.as_ref().err()) {
            let error = error.clone();
            steps.push_back(step(move |_| Err(error.clone().into())));
            break;
        }
        for order in buffered.iter().flatten() {
            let order = order.clone();
            steps.push_back(step(move |scope| {
                if scope.database.orders.arbitrate(scope.owner, &order.id)? {
                    return Err(SqlError::duplicate(Order::TABLE).into());
                }
                scope.database.orders.insert(scope.owner, scope.command, order.clone())?;
                scope.output.count += 1;
                Ok(())
            }));
        }
    }
    steps
}

/// Any order of those that are there, with its sale's total.
pub(super) fn sample(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let orders: Vec<Order> = scope.database.orders.scan(scope.owner).cloned().collect();
    let Some(order) = scope.shuffled(orders).pop() else { return done() };
    let sale = scope.database.sales.get(scope.owner, &(order.product_id.clone(), order.sale_id));
    if let Some(total) = sale.map(|sale| sale.total) {
        scope.answer(row![order.product_id, order.user_id, order.quantity, order.sale_id, order.generation, total]);
    }
    done()
}

/// COPY is planned before its data has come; its steps follow from the data.
pub(super) fn copy(_: &mut Scope<'_>, _: &Params) -> Plan {
    done()
}

/// All rows up to the first that cannot be stored whatever the table holds.
fn read_rows(mut data: Bytes, now: i64) -> Vec<Result<Order, SqlError>> {
    let malformed = |what: &str| SqlError::new(b"22P04", what);
    if !data.starts_with(SIGNATURE) || data.len() < SIGNATURE.len() + 8 {
        return vec![Err(malformed("COPY file signature not recognized"))];
    }
    data.advance(SIGNATURE.len());
    let (flags, extension) = (data.get_i32(), data.get_i32());
    if flags != 0 || extension != 0 {
        return vec![Err(SqlError::stranger("flags or an extension in a COPY's header"))];
    }
    let mut rows = Vec::new();
    // Where there is no trailer, the end of the data is as good.
    while !data.is_empty() {
        let row = match data.try_get_i16() {
            Err(_) => Err(malformed("unexpected EOF in COPY data")),
            Ok(-1) if data.is_empty() => break,
            Ok(-1) => Err(malformed("received copy data after EOF marker")),
            Ok(10) => read_row(&mut data, now),
            Ok(count) => Err(malformed(&format!("row field count is {count}, expected 10"))),
        };
        let row = row.and_then(|row| row.check().map(|()| row));
        let is_last = row.is_err();
        rows.push(row);
        if is_last {
            break;
        }
    }
    rows
}

fn read_row(data: &mut Bytes, now: i64) -> Result<Order, SqlError> {
    let mut fields: Vec<Option<Bytes>> = Vec::with_capacity(COLUMNS.len());
    for _ in COLUMNS {
        let length = data.try_get_i32().map_err(|_| SqlError::new(b"22P04", "unexpected EOF in COPY data"))?;
        fields.push(match usize::try_from(length) {
            Ok(length) if length <= data.len() => Some(data.split_to(length)),
            Ok(_) => return Err(SqlError::new(b"22P04", "unexpected EOF in COPY data")),
            Err(_) if length == -1 => None,
            Err(_) => return Err(SqlError::new(b"22P04", "invalid field size")),
        });
    }
    // Every field is received before any is looked at for NULL.
    let field = |at: usize| fields[at].as_deref();
    let uuid = |at| field(at).map(|value| sized(value).map(Uuid)).transpose();
    let text_of = |at| field(at).map(text).transpose();
    let i32_of = |at| field(at).map(|value| sized(value).map(i32::from_be_bytes)).transpose();
    let i64_of = |at| field(at).map(|value| sized(value).map(i64::from_be_bytes)).transpose();
    let (id, product_id, user_id, quantity) = (uuid(0)?, text_of(1)?, text_of(2)?, i32_of(3)?);
    let (sale_id, generation, reservation_id) = (i64_of(4)?, i32_of(5)?, uuid(6)?);
    let (partition, kafka_offset, created_at) = (i32_of(7)?, i64_of(8)?, i64_of(9)?.map(timestamp).transpose()?);
    let null = |at: usize| SqlError::not_null(Order::TABLE, COLUMNS[at]);
    Ok(Order {
        id: id.ok_or_else(|| null(0))?,
        product_id: product_id.ok_or_else(|| null(1))?,
        user_id: user_id.ok_or_else(|| null(2))?,
        quantity: quantity.ok_or_else(|| null(3))?,
        sale_id: sale_id.ok_or_else(|| null(4))?,
        generation: generation.ok_or_else(|| null(5))?,
        reservation_id: reservation_id.ok_or_else(|| null(6))?,
        partition: partition.ok_or_else(|| null(7))?,
        kafka_offset: kafka_offset.ok_or_else(|| null(8))?,
        created_at: created_at.ok_or_else(|| null(9))?,
        stored_at: now,
    })
}

pub(super) fn known_orders(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let asked: BTreeSet<&Uuid> = params.uuids(1)?.iter().collect();
    let rows = asked.into_iter().filter_map(|id| scope.database.orders.get(scope.owner, id));
    let rows = rows.map(|row| row![row.id, row.reservation_id, row.quantity]).collect();
    for row in scope.shuffled(rows) {
        scope.answer(row);
    }
    done()
}

pub(super) fn known_rejected(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let asked: BTreeSet<&Uuid> = params.uuids(1)?.iter().collect();
    let rows = scope.database.rejected.scan(scope.owner).filter(|row| asked.contains(&row.order_id));
    let rows = rows.map(|row| row![row.order_id, row.reservation_id]).collect();
    for row in scope.shuffled(rows) {
        scope.answer(row);
    }
    done()
}

pub(super) fn order_status(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let id = params.uuid(1)?;
    if let Some(product) = scope.database.orders.get(scope.owner, id).map(|row| row.product_id.clone()) {
        scope.answer(vec![Some(product), None]);
        return done();
    }
    let rows = scope.database.rejected.scan(scope.owner).filter(|row| row.order_id == *id);
    let rows = rows.map(|row| (row.rejected_at, row![row.product_id, row.reason])).collect();
    // Those rejected in one transaction are equal.
    let last = scope.shuffled(rows).into_iter().max_by_key(|(at, _)| *at);
    scope.output.rows.extend(last.map(|(_, row)| row));
    done()
}
