//! What an order costs in allocations: none once the pools are warm; a produce request a handful, for its answer.
//!
//! The broker's side is the golden bytes of `data/kafka`: partitions 0 and 1 of the topic `golden`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, KafkaClient};
use flux_protocol::kafka::producer::{Producer, ProducerConfig, Settled};
use flux_protocol::time::Instant;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches a constant-initialised cell of this
// thread only, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const HANDSHAKE: &[u8] = include_bytes!("data/kafka/api_versions_4.bin");
const METADATA: &[u8] = include_bytes!("data/kafka/metadata_12.bin");
const IDENTITY: &[u8] = include_bytes!("data/kafka/init_producer_id_5.bin");
const PRODUCED: &[u8] = include_bytes!("data/kafka/produce_13.bin");

const LINGER: Duration = Duration::from_micros(500);

struct Bench {
    producer: Producer<u64>,
    now: Instant,
    broker: BrokerKey,
    out: Vec<u8>,
    buffer: BytesMut,
    tokens: Vec<u64>,
    unanswered: VecDeque<[u8; 4]>,
}

impl Bench {
    fn new() -> Bench {
        let now = Instant::from_micros(1);
        // The address that the golden metadata names, so that the first connection is the leader's.
        let at = METADATA.windows(9).position(|window| window == b"127.0.0.1").unwrap() + 9;
        let port = i32::from_be_bytes(METADATA[at..at + 4].try_into().unwrap());
        let config = ProducerConfig {
            topic: "golden".to_owned(),
            bootstrap: vec![("127.0.0.1".to_owned(), port as u16)],
            login: None,
            client_id: "test".to_owned(),
            linger: LINGER,
            batch_bytes_max: 256 << 10,
            in_flight_max: 5,
            request_timeout: Duration::from_secs(3),
            records_max: 10_000,
            record_age_max: Duration::from_secs(10),
            seed: 1,
        };
        let mut producer = Producer::new(config, now);
        let Some(BrokerAction::Connect { broker, .. }) = producer.poll_action() else {
            panic!("it does not connect");
        };
        producer.handle_broker_open(now, broker);
        let mut bench = Bench {
            producer,
            now,
            broker,
            out: Vec::new(),
            buffer: BytesMut::new(),
            tokens: Vec::new(),
            unanswered: VecDeque::new(),
        };
        for golden in [HANDSHAKE, METADATA, IDENTITY] {
            bench.answer(golden);
        }
        assert!(bench.producer.ready());
        bench
    }

    /// Takes what goes out; answers the oldest request that has no answer yet.
    fn answer(&mut self, golden: &[u8]) {
        self.out.clear();
        self.producer.poll_broker_write(self.broker, &mut self.out);
        let mut rest = &self.out[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (request, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            self.unanswered.push_back(request[4..8].try_into().unwrap());
            rest = after;
        }
        let correlation_id: [u8; 4] = self.unanswered.pop_front().unwrap();
        self.buffer.clear();
        self.buffer.extend_from_slice(golden);
        self.buffer[4..8].copy_from_slice(&correlation_id);
        self.producer.handle_broker_bytes(self.now, self.broker, &mut self.buffer).unwrap();
    }

    fn append(&mut self, records: u64) {
        for token in 0..records {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&[b'x'; 300]);
            self.producer.append(self.now, (token % 2) as i32, 1_705_234_800_123, token, write).unwrap();
        }
    }

    fn settle(&mut self) -> usize {
        let mut settled = 0;
        while let Some(outcome) = self.producer.poll_settled(&mut self.tokens) {
            assert_eq!(outcome, Settled::Acknowledged);
            settled += self.tokens.len();
        }
        settled
    }

    fn cycle(&mut self, records: u64) {
        self.append(records);
        self.now = self.now + LINGER;
        self.producer.handle_time(self.now);
        self.answer(PRODUCED);
        assert_eq!(self.settle() as u64, records);
    }
}

#[test]
fn an_order_allocates_nothing() {
    let mut bench = Bench::new();
    for _ in 0..20 {
        bench.cycle(200);
    }
    for records in [2, 35, 200] {
        let appended = allocations(|| bench.append(records));
        assert_eq!(appended, 0, "{records} appends");
        let sent = allocations(|| {
            bench.now = bench.now + LINGER;
            bench.producer.handle_time(bench.now);
        });
        assert_eq!(sent, 0, "sending {records}");
        let answered = allocations(|| bench.answer(PRODUCED));
        assert!(answered <= 12, "{answered} for an answer about {records} records");
        let mut settled = 0;
        assert_eq!(allocations(|| settled = bench.settle()), 0);
        assert_eq!(settled as u64, records);
    }
}

#[test]
fn idle_costs_nothing() {
    let mut bench = Bench::new();
    bench.cycle(10);
    let mut out = Vec::new();
    let idle = allocations(|| {
        for _ in 0..1000 {
            bench.producer.poll_broker_write(bench.broker, &mut out);
            bench.producer.handle_time(bench.now);
            assert!(bench.producer.poll_action().is_none());
        }
    });
    assert_eq!((idle, out.capacity()), (0, 0));
}

/// Not a test: what one append, one cycle and one idle look cost. `cargo test … -- --ignored --nocapture`.
#[test]
#[ignore = "measures; nothing to assert"]
fn measure() {
    let mut bench = Bench::new();
    let time = |count: u32, what: &str, mut work: Box<dyn FnMut() + '_>| {
        let start = std::time::Instant::now();
        for _ in 0..count {
            work();
        }
        println!("{what}: {:.1} ns", start.elapsed().as_nanos() as f64 / f64::from(count));
    };
    for records in [2, 36, 200] {
        let bench = &mut bench;
        time(2000, &format!("a cycle of {records} records, all told"), Box::new(move || bench.cycle(records)));
    }
    let bench = &mut bench;
    time(1_000_000, "an idle look at writes and deadline", {
        let mut out = Vec::new();
        Box::new(move || {
            bench.producer.poll_broker_write(bench.broker, &mut out);
            std::hint::black_box(bench.producer.next_deadline());
        })
    });
}
