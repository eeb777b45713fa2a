//! Small pieces every order passes: its id, its record, the limiter's decision, its place among those under way.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use criterion::Criterion;
use flux_benches::{PRODUCT, SALE_ID, TIMESTAMP_MS, group, id, record, run};
use flux_edge::answer::ReplyTo;
use flux_edge::core::state::orders::{Order, Orders, Stage, Turn, Wish};
use flux_edge::core::state::product_index::ProductIndex;
use flux_edge::core::state::token_lease::{Admission, Tokens};
use flux_edge::sale::Sale;
use flux_edge::slab::Key;
use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::time::Instant;
use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
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

/// The time as it is told, since ours is an argument too.
#[derive(Clone, Default)]
struct Told(Rc<Cell<u64>>);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

/// Ours spends a lease of a bucket that all edges share; `governor`'s bucket (GCRA) is this process' own.
fn limiter(criterion: &mut Criterion) {
    let start = Instant::from_micros(1_000_000);
    let lease = |tokens, next_due| {
        let mut lease = Tokens::default();
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
        group.bench_function(format!("flux, {name}"), |bencher| bencher.iter(&mut admit));
    }
    let plenty = Quota::per_second(NonZeroU32::MAX);
    let none_left = Quota::with_period(Duration::from_secs(1 << 30)).expect("above zero");
    for (name, quota, spent, expected) in [("admitted", plenty, 0, true), ("refused", none_left, 1, false)] {
        let clock = Told::default();
        let bucket = RateLimiter::direct_with_clock(quota, clock.clone());
        let admit = || {
            clock.0.set(clock.0.get() + SPACING.as_nanos() as u64);
            black_box(&bucket).check().is_ok()
        };
        (0..spent).for_each(|_| assert!(admit(), "the bucket was full"));
        assert_eq!(admit(), expected);
        group.bench_function(format!("governor, {name}"), |bencher| bencher.iter(admit));
    }
}

fn pending(criterion: &mut Criterion) {
    let identifier = |text: &str| Identifier::new(text.as_bytes()).expect("an identifier");
    let (user, key) = (identifier(USER), identifier("checkout-7f3a9c21"));
    let number = Cell::new(0u64);
    let wish = Wish { user, key, quantity: 1, wants_json: false, shown: None };
    let sale = Sale { id: SALE_ID, generation: 1, total: 1, rate: 0, burst: 0 };
    let (product, reply_to) =
        (ProductIndex(Key { place: 0, generation: 0 }), ReplyTo { conn: 1, generation: 0, position: 0 });
    let id = || {
        number.set(number.get() + 1);
        let mut order_id = [0; 16];
        order_id[..8].copy_from_slice(&number.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        Uuid(order_id)
    };
    let mut orders = Orders::default();
    let put_in = |orders: &mut Orders, id: Uuid| {
        let index = orders.insert(product, wish, reply_to, Instant::default(), TIMESTAMP_MS, id);
        // As its deadline would take it out.
        orders.by_received.pop_front();
        orders.name(index, sale, id);
        index
    };
    let mut under_way: VecDeque<_> = (0..UNDER_WAY).map(|_| put_in(&mut orders, id())).collect();
    let mut replace = || {
        let done = under_way.pop_front().and_then(|index| orders.remove(index));
        let next = id();
        let is_repeat = orders.find(&next).is_some();
        under_way.push_back(put_in(&mut orders, next));
        (done.map(|order| order.timestamp_ms), is_repeat)
    };
    assert_eq!(replace(), (Some(TIMESTAMP_MS), false));

    let order = || {
        let order_id = id();
        Order {
            product,
            sale: Some(sale),
            stage: Stage::Queued,
            rederived: false,
            wish,
            order_id,
            reservation_id: order_id,
            turn: Turn::None,
            received: Instant::default(),
            timestamp_ms: TIMESTAMP_MS,
            waiters: smallvec![reply_to],
        }
    };
    let mut map: HashMap<Uuid, Order> = HashMap::new();
    let mut ids: VecDeque<Uuid> = (0..UNDER_WAY).map(|_| put(&mut map, order())).collect();
    let mut replace_in_map = || {
        let done = ids.pop_front().and_then(|id| map.remove(&id));
        let next = order();
        let is_repeat = map.contains_key(&next.order_id);
        ids.push_back(put(&mut map, next));
        (done.map(|order| order.timestamp_ms), is_repeat)
    };
    assert_eq!(replace_in_map(), (Some(TIMESTAMP_MS), false));

    let mut group = group(criterion, "order/pending");
    group.bench_function("flux", |bencher| bencher.iter(&mut replace));
    group.bench_function("std's HashMap", |bencher| bencher.iter(&mut replace_in_map));
}

fn put(map: &mut HashMap<Uuid, Order>, order: Order) -> Uuid {
    let id = order.order_id;
    assert!(map.insert(id, order).is_none(), "ids differ");
    id
}

fn main() {
    run(&[order_id, write_json, limiter, pending]);
}
