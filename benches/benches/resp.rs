//! One reserve call of 35 orders and its two kinds of reply, beside `redis-protocol`.

use std::hint::black_box;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use criterion::Criterion;
use flux_benches::{PRODUCT, SALE_ID, SALE_TOTAL, TIMESTAMP_MS, group, id, per_order, record, run, user};
use flux_edge::answer::ReplyTo;
use flux_edge::core::state::orders::{OrderIndex, Orders, Wish};
use flux_edge::core::state::products::Products;
use flux_edge::core::state::reserve_calls::{CallTerms, ReserveCalls};
use flux_edge::redis::replies::{Code, Head};
use flux_edge::sale::Sale;
use flux_protocol::order::Identifier;
use flux_protocol::resp::{Decoder, Limits, Value, command};
use flux_protocol::time::Instant;
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::encode::extend_encode_borrowed;
use redis_protocol::resp2::types::{BorrowedFrame, RangeFrame};

/// What a call carries under load.
const ORDERS: usize = 35;

/// What a core knows when it writes a reserve call.
struct Core {
    reserve_calls: ReserveCalls,
    products: Products,
    orders: Orders,
    waiting: Vec<OrderIndex>,
}

impl Core {
    fn new() -> Core {
        let identifier = |text: &str| Identifier::new(text.as_bytes()).expect("an identifier");
        let (mut products, mut orders) = (Products::default(), Orders::default());
        let product = products.insert(Instant::default(), identifier(PRODUCT)).expect("room");
        let sale = Sale { id: SALE_ID, generation: 1, total: SALE_TOTAL, rate: 0, burst: 0 };
        products[product].sale = Some(sale);
        let waiting = (0..ORDERS).map(|number| {
            let user = user(number);
            let wish = Wish {
                user: identifier(&user),
                key: identifier("checkout-7f3a9c21"),
                quantity: 1,
                wants_json: true,
                shown: None,
            };
            let reply_to = ReplyTo { conn: number as u32, generation: 0, position: 0 };
            let reservation_id = record(&user).reservation_id;
            let index = orders.insert(product, wish, reply_to, Instant::default(), TIMESTAMP_MS, reservation_id);
            orders.name(index, sale, id(&user));
            index
        });
        let waiting = waiting.collect();
        Core { reserve_calls: ReserveCalls::default(), products, orders, waiting }
    }

    /// From orders in line to the call's bytes, and the call's memory back.
    fn write_call(&mut self, out: &mut Vec<u8>) {
        let terms = CallTerms { partition: 3, outbox_orders_max: 200_000 };
        for index in &self.waiting {
            self.reserve_calls.push(*index, 1);
        }
        out.clear();
        let index = self.reserve_calls.seal(Instant::default(), terms, &self.products, &mut self.orders, out);
        let index = index.expect("orders wait");
        let call = self.reserve_calls.take(index);
        self.reserve_calls.recycle(index, call);
    }
}

fn encode(criterion: &mut Criterion) {
    let mut core = Core::new();
    let mut out = Vec::new();
    core.write_call(&mut out);

    let mut call = BytesMut::from(&out[..]);
    let mut decoder = Decoder::new(Limits::DEFAULT);
    let call = decoder.poll(&mut call).expect("well-formed").expect("complete");
    let arguments = call.items().expect("no error").expect("an array").map(|argument| match argument {
        Value::Bulk(bytes) => bytes,
        other => panic!("not an argument: {other:?}"),
    });
    let arguments: Vec<&[u8]> = arguments.collect();
    let frames: Vec<BorrowedFrame<'_>> = arguments.iter().map(|bytes| BorrowedFrame::BulkString(bytes)).collect();
    let frame = BorrowedFrame::Array(&frames);

    let mut ours = Vec::new();
    command(&mut ours, &arguments);
    let mut theirs = BytesMut::new();
    extend_encode_borrowed(&mut theirs, &frame, false).expect("room");
    assert!(ours == out && theirs == out[..], "three ways to the same bytes");

    let mut group = group(criterion, "resp/encode_reserve");
    group.bench_function("flux, whole call", |bencher| {
        per_order(bencher, ORDERS, || core.write_call(black_box(&mut out)));
    });
    group.bench_function("flux, arguments at hand", |bencher| {
        per_order(bencher, ORDERS, || {
            ours.clear();
            command(black_box(&mut ours), black_box(&arguments));
        });
    });
    group.bench_function("redis-protocol, arguments at hand", |bencher| {
        per_order(bencher, ORDERS, || {
            theirs.clear();
            extend_encode_borrowed(black_box(&mut theirs), black_box(&frame), false)
        });
    });
}

/// Feeds the reply to `ours` and `theirs`, both of which consume it and say how many of its elements they understood.
fn decode(criterion: &mut Criterion, name: &str, reply: &[u8], elements: usize) {
    let mut decoder = Decoder::new(Limits::DEFAULT);
    let mut buffer = BytesMut::new();
    let mut ours = || {
        buffer.extend_from_slice(black_box(reply));
        let reply = decoder.poll(&mut buffer).expect("well-formed").expect("complete");
        let mut items = reply.items().expect("no error").expect("an array");
        let head = Head::read(&mut items).is_some();
        usize::from(head) + items.filter(|item| Code::read(item).is_some()).count()
    };
    let mut buffer = BytesMut::new();
    let mut theirs = || {
        buffer.extend_from_slice(black_box(reply));
        let (frame, length) = decode_range(&buffer).expect("well-formed").expect("complete");
        let RangeFrame::Array(items) = frame else { panic!("not an array: {frame:?}") };
        let text = |item: &RangeFrame| match item {
            RangeFrame::BulkString((from, to)) => Value::Bulk(&buffer[Range { start: *from, end: *to }]),
            other => panic!("not a string: {other:?}"),
        };
        let head = matches!(text(&items[0]), Value::Bulk([b'A' | b'M', ..]));
        let count = usize::from(head) + items[1..].iter().filter(|item| Code::read(&text(item)).is_some()).count();
        buffer.advance(length);
        count
    };
    assert_eq!((ours(), theirs()), (elements, elements), "both understand every element");

    let mut group = group(criterion, name);
    group.bench_function("flux", |bencher| per_order(bencher, ORDERS, &mut ours));
    group.bench_function("redis-protocol", |bencher| per_order(bencher, ORDERS, &mut theirs));
}

/// All 35 accepted: one element.
fn decode_accepted(criterion: &mut Criterion) {
    let mut reply = Vec::new();
    command(&mut reply, &[b"A1705234700123-0"]);
    decode(criterion, "resp/decode_all_accepted", &reply, 1);
}

/// The sale's end: a head and 35 codes.
fn decode_mixed(criterion: &mut Criterion) {
    let mut elements: Vec<&[u8]> = vec![b"M1705234700123-0"];
    elements.extend([&b"+"[..], b"+", b"I1", b"0", b"0"].iter().cycle().take(ORDERS));
    let mut reply = Vec::new();
    command(&mut reply, &elements);
    decode(criterion, "resp/decode_codes", &reply, 1 + ORDERS);
}

fn main() {
    run(&[encode, decode_accepted, decode_mixed]);
}
