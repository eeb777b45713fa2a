//! Small pieces every order passes: its id, its record, the limiter's decision, its place among those under way.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use flux_benches::{PRODUCT, SALE_ID, TIMESTAMP_MS, group, id, record, run};
use flux_edge::limiter::{Admission, Lease};
use flux_edge::pending::{Orders, Pending, Stage, Ticket};
use flux_edge::product::ProductIndex;
use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::time::Instant;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use smallvec::smallvec;

const USER: &str = "user-001234";
/// Orders under way on a busy core.
const UNDER_WAY: usize = 256;
/// Time from one order to the next: 50,000 a second.
const SPACING: Duration = Duration::from_micros(20);

fn order_id(criterion: &mut Criterion) {
    // What the id is made of, assembled beforehand.
    let mut message = Vec::new();
    for part in [PRODUCT, &SALE_ID.to_string(), USER, "checkout-7f3a9c21"] {
        message.push(part.len() as u8);
        message.extend_from_slice(part.as_bytes());
    }
    let digest = || Sha256::digest(black_box(&message));
    let mut first = [0; 16];
    first.copy_from_slice(&digest()[..16]);
    assert_eq!(id(USER), Uuid::version_8(first));

    let mut group = group(criterion, "order/id");
    group.bench_function("flux", |bencher| bencher.iter(|| id(black_box(USER))));
    group.bench_function("sha2, the digest alone", |bencher| bencher.iter(digest));
}

/// A record as one would declare it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declared<'a> {
    #[serde(serialize_with = "text")]
    order_id: Uuid,
    #[serde(serialize_with = "text")]
    reservation_id: Uuid,
    product_id: &'a str,
    user_id: &'a str,
    quantity: u16,
    sale_id: u64,
    sale_total: u64,
    generation: u32,
    timestamp: u64,
}

fn text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(std::str::from_utf8(&id.text()).expect("ASCII"))
}

fn write_json(criterion: &mut Criterion) {
    let record = record(USER);
    let declared = Declared {
        order_id: record.order_id,
        reservation_id: record.reservation_id,
        product_id: record.product_id,
        user_id: record.user_id,
        quantity: record.quantity,
        sale_id: record.sale_id,
        sale_total: record.sale_total,
        generation: record.generation,
        timestamp: record.timestamp,
    };
    let mut out = Vec::new();
    record.write_json(&mut out);
    assert_eq!(out, serde_json::to_vec(&declared).expect("a record"));

    let mut group = group(criterion, "order/write_json");
    group.bench_function("flux", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&record).write_json(black_box(&mut out));
        });
    });
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| {
            out.clear();
            serde_json::to_writer(black_box(&mut out), black_box(&declared))
        });
    });
}

fn limiter(criterion: &mut Criterion) {
    let start = Instant::from_micros(1_000_000);
    let lease = |tokens, next_due| {
        let mut lease = Lease::default();
        lease.handle_asked(start);
        lease.handle_granted(start, tokens, Duration::MAX, next_due);
        lease
    };
    let mut group = group(criterion, "order/limiter");
    let granted = lease(u64::MAX, Duration::ZERO);
    let empty = lease(0, Duration::MAX);
    for (name, mut lease, expected) in
        [("admitted", granted, Admission::Admitted), ("refused", empty, Admission::Refused)]
    {
        let mut now = start;
        let mut admit = || {
            now = now + SPACING; // the window that demand is counted in rolls on as it does under load
            black_box(&mut lease).admit(now)
        };
        assert_eq!(admit(), expected);
        group.bench_function(name, |bencher| bencher.iter(&mut admit));
    }
}

fn pending(criterion: &mut Criterion) {
    let identifier = |text: &str| Identifier::new(text.as_bytes()).expect("an identifier");
    let (user, key) = (identifier(USER), identifier("checkout-7f3a9c21"));
    let mut number = 0u64;
    let mut order = || {
        number += 1;
        let mut order_id = [0; 16];
        order_id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        Pending {
            product: ProductIndex(0),
            sale: None,
            stage: Stage::Queued,
            wants_json: false,
            rederived: false,
            quantity: 1,
            order_id: Uuid(order_id),
            reservation_id: Uuid(order_id),
            user,
            key,
            received: Instant::default(),
            timestamp_ms: TIMESTAMP_MS,
            waiters: smallvec![Ticket { conn: 1, generation: 0, position: 0 }],
        }
    };
    let mut orders = Orders::default();
    let mut under_way: VecDeque<_> = (0..UNDER_WAY).map(|_| orders.insert(order(), true)).collect();
    let mut replace = || {
        let done = under_way.pop_front().and_then(|index| orders.remove(index));
        let next = order();
        let is_repeat = orders.find(&next.order_id).is_some();
        under_way.push_back(orders.insert(next, true));
        (done.map(|order| order.timestamp_ms), is_repeat)
    };
    assert_eq!(replace(), (Some(TIMESTAMP_MS), false));

    let mut group = group(criterion, "order/pending");
    group.bench_function("find, insert, remove", |bencher| bencher.iter(&mut replace));
}

fn main() {
    run(&[order_id, write_json, limiter, pending]);
}
