//! Rows of `COPY orders … (FORMAT binary)`, beside the same rows by `postgres-protocol`, and all that the worker asks
//! of the ledger for one batch.

use std::hint::black_box;

use bytes::{BufMut, Bytes, BytesMut};
use criterion::Criterion;
use flux_benches::{group, per_order, run, values};
use flux_protocol::order::{OwnedRecord, TopicRecord, Uuid};
use flux_protocol::postgres::CopyRows;
use flux_worker::batch::{Batch, Origin};
use flux_worker::ledger::pace::Pace;
use flux_worker::ledger::store::{Step, Store};
use postgres_protocol::message::frontend::{CopyData, copy_done};
use postgres_protocol::types;

/// One CopyData message of ours takes some 500 of them.
const ROWS: usize = 400;
const PARTITION: i32 = 3;
/// Columns of `worker/sql/statements/copy_orders.sql`.
const COLUMNS: i16 = 10;
/// Microseconds from the Unix epoch to PostgreSQL's.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The worker's rows once more: that they are the same is asserted below.
fn rows(orders: &[OwnedRecord]) -> CopyRows {
    let mut rows = CopyRows::with_capacity(orders.len() * 160);
    for (offset, order) in orders.iter().enumerate() {
        rows.row(COLUMNS, |fields| {
            fields.uuid(order.order_id);
            fields.bytes(order.product_id.as_bytes());
            fields.bytes(order.user_id.as_bytes());
            fields.i32(i32::from(order.quantity));
            fields.i64(order.sale_id as i64);
            fields.i32(order.generation as i32);
            fields.uuid(order.reservation_id);
            fields.i32(PARTITION);
            fields.i64(offset as i64);
            fields.timestamp_ms(order.timestamp as i64);
        });
    }
    rows.finish();
    rows
}

/// The same by the library, which leaves the rows' framing to its caller.
fn rows_of_the_library(orders: &[OwnedRecord]) -> BytesMut {
    fn field(rows: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let at = rows.len();
        rows.put_i32(0);
        write(rows);
        let length = (rows.len() - at - 4) as i32;
        rows[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    let mut rows = BytesMut::with_capacity(orders.len() * 160);
    rows.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for (offset, order) in orders.iter().enumerate() {
        rows.put_i16(COLUMNS);
        field(&mut rows, |out| types::uuid_to_sql(order.order_id.0, out));
        field(&mut rows, |out| types::text_to_sql(&order.product_id, out));
        field(&mut rows, |out| types::text_to_sql(&order.user_id, out));
        field(&mut rows, |out| types::int4_to_sql(i32::from(order.quantity), out));
        field(&mut rows, |out| types::int8_to_sql(order.sale_id as i64, out));
        field(&mut rows, |out| types::int4_to_sql(order.generation as i32, out));
        field(&mut rows, |out| types::uuid_to_sql(order.reservation_id.0, out));
        field(&mut rows, |out| types::int4_to_sql(PARTITION, out));
        field(&mut rows, |out| types::int8_to_sql(offset as i64, out));
        field(&mut rows, |out| types::timestamp_to_sql(order.timestamp as i64 * 1000 - EPOCH_MICROS, out));
    }
    rows.put_i16(-1);
    let mut messages = BytesMut::with_capacity(rows.len() + 16);
    CopyData::new(rows).expect("far below 2 GiB").write(&mut messages);
    copy_done(&mut messages);
    messages
}

fn copy(criterion: &mut Criterion) {
    let values = values(ROWS);
    let origin = Origin { topic: "orders".to_owned(), topic_id: Uuid([7; 16]), partition: PARTITION };
    let mut batch = Batch::new(origin, 0);
    let mut orders = Vec::new();
    for (offset, value) in values.into_iter().enumerate() {
        match TopicRecord::parse(&value) {
            Ok(TopicRecord::Order(order)) => orders.push(order),
            other => panic!("not an order: {other:?}"),
        }
        batch.push(offset as i64, None, Some(Bytes::from(value)));
    }
    let mut ask = || match Store::begin(&mut batch, Pace::default()) {
        (_, Step::Ask(asked)) => asked,
        (_, other) => panic!("nothing to ask: {other:?}"),
    };
    let asked = ask();
    let sent = asked.iter().find_map(|statement| statement.copy.as_ref()).expect("the orders are copied");
    assert_eq!(sent.messages(), rows(&orders).messages());
    assert_eq!(sent.messages(), &rows_of_the_library(&orders)[..]);

    let mut group = group(criterion, "copy/rows");
    group.bench_function("flux", |bencher| per_order(bencher, ROWS, || rows(black_box(&orders))));
    group.bench_function("postgres-protocol", |bencher| {
        per_order(bencher, ROWS, || rows_of_the_library(black_box(&orders)));
    });
    group.bench_function("flux, all the worker asks", |bencher| per_order(bencher, ROWS, &mut ask));
}

fn main() {
    run(&[copy]);
}
