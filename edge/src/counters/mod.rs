//! What one core counts of its orders. Written by the core alone, read by the core that serves `/metrics`.
//!
//! Every counter is a plain number behind a relaxed atomic: the owner loads, adds and stores, and no other thread
//! writes, so there is no bus lock and no wait. Gauges by product are handed over once a second.

mod counter;
pub mod finding;
pub mod shell;

pub use counter::Counter;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flux_protocol::order::Identifier;
use flux_protocol::queue::{Report, Slot};
use flux_protocol::resp::ErrorKind;

use crate::answer::{Answer, Unavailable};
use crate::counters::finding::Finding;
use crate::counters::shell::ShellCounters;
use crate::identity::REFUSALS;
use crate::limits::shell::GAUGE_AGE_MAX;
use crate::sale::{Sale, SaleState};

/// How an order was answered: the label of `flux_edge_orders_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum OrderOutcome {
    /// 200.
    Accepted,
    /// 200 of an order that had been accepted before.
    Replayed,
    /// 202.
    Pending,
    /// 302 or 429.
    Redirected,
    /// 409, closed sales too.
    SoldOut,
    /// 409.
    Insufficient,
    /// 409.
    LimitReached,
    /// 400, 401, 403, 415 or 422.
    Invalid,
    /// 404.
    UnknownProduct,
    /// 503: Redis.
    UnavailableRedis,
    /// 503: suspended.
    UnavailableSuspended,
    /// 503: Kafka's topic is not known.
    UnavailableKafka,
    /// 503: a queue is full.
    UnavailableFull,
    /// 503: the outbox is full.
    UnavailableOutbox,
    /// 503: draining.
    UnavailableDraining,
    /// 503: the sale changed under the order.
    UnavailableChanged,
    /// 503: another order with the same key is under way.
    UnavailableBusy,
    /// 503: the sale is of another topic.
    UnavailableOtherTopic,
    /// 503: the edge has not lately read that it may sell.
    UnavailableFenced,
    /// 503: Redis did not answer in time.
    Unknown,
    /// 429: their user came too often.
    Limited,
}

/// Names of all [`OrderOutcome`]s, in their order.
pub const ORDER_OUTCOMES: [&str; 21] = [
    "accepted",
    "replayed",
    "pending",
    "redirected",
    "sold_out",
    "insufficient",
    "limit_reached",
    "invalid",
    "unknown_product",
    "unavailable_redis",
    "unavailable_suspended",
    "unavailable_kafka",
    "unavailable_full",
    "unavailable_outbox",
    "unavailable_draining",
    "unavailable_changed",
    "unavailable_busy",
    "unavailable_other_topic",
    "unavailable_fenced",
    "unknown",
    "limited",
];

const _: () = assert!(OrderOutcome::Limited as usize + 1 == ORDER_OUTCOMES.len());

impl OrderOutcome {
    /// How `answer` counts.
    pub fn of(answer: &Answer) -> OrderOutcome {
        match answer {
            Answer::Accepted { replayed: false, .. } => OrderOutcome::Accepted,
            Answer::Accepted { replayed: true, .. } => OrderOutcome::Replayed,
            Answer::Pending { .. } => OrderOutcome::Pending,
            Answer::Redirect(_) | Answer::Waiting(_) | Answer::StatusWaiting | Answer::InQueue { .. } => {
                OrderOutcome::Redirected
            }
            Answer::SoldOut => OrderOutcome::SoldOut,
            Answer::Insufficient { .. } => OrderOutcome::Insufficient,
            Answer::LimitReached => OrderOutcome::LimitReached,
            Answer::UnknownProduct => OrderOutcome::UnknownProduct,
            Answer::Unknown => OrderOutcome::Unknown,
            Answer::Limited { .. } => OrderOutcome::Limited,
            Answer::Unavailable(why) => match why {
                Unavailable::Redis => OrderOutcome::UnavailableRedis,
                Unavailable::Suspended => OrderOutcome::UnavailableSuspended,
                Unavailable::Kafka => OrderOutcome::UnavailableKafka,
                Unavailable::Full => OrderOutcome::UnavailableFull,
                Unavailable::OutboxFull => OrderOutcome::UnavailableOutbox,
                Unavailable::Draining => OrderOutcome::UnavailableDraining,
                Unavailable::Changed => OrderOutcome::UnavailableChanged,
                Unavailable::Busy => OrderOutcome::UnavailableBusy,
                Unavailable::OtherTopic => OrderOutcome::UnavailableOtherTopic,
                Unavailable::Fenced => OrderOutcome::UnavailableFenced,
            },
            Answer::KeyReused
            | Answer::Stock { .. }
            | Answer::Queue(_)
            | Answer::Status { .. }
            | Answer::Document(_) => OrderOutcome::Invalid,
        }
    }
}

/// Upper bounds of the latency histogram's buckets, microseconds; the last bucket has none.
pub const LATENCY_BOUNDS_US: [u64; 15] =
    [100, 250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 50_000, 100_000, 250_000, 500_000, 2_000_000];

/// How long orders took that went to Redis, from reading to answering.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Latency {
    fn observe(&self, span: Duration) {
        let us = span.as_micros() as u64;
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].add(1);
        self.sum_us.add(us);
    }

    /// Counts by bucket, not cumulated, and the sum in microseconds.
    pub fn read(&self) -> ([u64; LATENCY_BOUNDS_US.len() + 1], u64) {
        (std::array::from_fn(|bucket| self.buckets[bucket].get()), self.sum_us.get())
    }
}

/// What a process knows of the fences; of the first core, which reads them for all. Gauges.
#[derive(Debug, Default)]
pub struct FenceCounters {
    /// 1 while the process is current: it has lately read a heartbeat of its own.
    pub is_current: Counter,
    /// The offset up to which the topic was read.
    pub read_to: Counter,
    /// Records that were none of ours.
    pub strangers: Counter,
    /// Fences of more products than are held.
    pub left_out: Counter,
}

/// What one core counts of the fair queues, all of them together.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Places given. This and the next two are visitors, not requests, and count when Redis has taken them in.
    pub places: Counter,
    /// Called visitors who have come.
    pub arrivals: Counter,
    /// Those of them who were given a token.
    pub served: Counter,
    /// Called orders sent away without a token, to try again.
    pub turned_away: Counter,
    /// Calls to Redis.
    pub calls: Counter,
    /// Those that were answered with an error, or whose reply was lost.
    pub calls_failed: Counter,
    /// Called orders that wait for a token. A gauge, as the next.
    pub awaiting_token: Counter,
    /// Orders that wait for their queue's status.
    pub awaiting_status: Counter,
}

impl QueueCounters {
    /// Redis has taken a report in.
    pub(crate) fn told(&self, report: &Report) {
        self.places.add(report.issued.iter().map(|(_, count)| count).sum());
        self.arrivals.add(report.arrived.iter().map(|(_, count)| count).sum());
        self.served.add(report.served);
    }
}

/// The queue of a fair sale as Redis last told it: of all edges, and since the sale was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueGauge {
    /// The slot that is being called.
    pub slot: Slot,
    /// Visitors who have a place and were not called yet.
    pub waiting: u64,
    /// Visitors called.
    pub called: u64,
}

/// One product as one core last saw it.
#[derive(Clone, Copy, Debug)]
pub struct ProductGauge {
    pub name: Identifier,
    /// Its sale, once one was seen.
    pub sale: Option<Sale>,
    /// Its sale's state.
    pub state: SaleState,
    /// Units left; `None` while the sale is suspended: then nobody knows.
    pub stock: Option<u64>,
    pub outbox_entries: u64,
    /// Undelivered orders.
    pub outbox_orders: u64,
    /// How long the oldest entry has been seen standing, milliseconds.
    pub outbox_oldest_ms: u64,
    /// How long ago the last good refresh was asked for, milliseconds; `None`: none yet.
    pub seen_ms: Option<u64>,
    /// Orders that this core has answered with [`OrderOutcome::Accepted`].
    pub accepted: u64,
    /// Its queue, where the sale has a fair one and Redis has told of it.
    pub queue: Option<QueueGauge>,
}

impl ProductGauge {
    /// Whether its figures are those of now.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen_ms.is_some_and(|ms| u128::from(ms) <= GAUGE_AGE_MAX.as_millis())
    }

    /// An open sale as tests need one.
    #[cfg(test)]
    pub(crate) fn example(name: &str) -> ProductGauge {
        ProductGauge {
            name: Identifier::new(name.as_bytes()).expect("an identifier"),
            sale: None,
            state: SaleState::Open,
            stock: Some(41),
            outbox_entries: 1,
            outbox_orders: 2,
            outbox_oldest_ms: 3_500,
            seen_ms: Some(0),
            accepted: 20,
            queue: None,
        }
    }
}

/// What one core counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Orders by [`OrderOutcome`].
    pub orders: [Counter; ORDER_OUTCOMES.len()],
    /// Bearer tokens found valid by their signature, so not those that were remembered.
    pub tokens_verified: Counter,
    /// Orders refused for their bearer token, by [`Refusal`](crate::identity::Refusal).
    pub tokens_refused: [Counter; REFUSALS.len()],
    /// Of orders that did not get their answer from memory.
    pub latency: Latency,
    pub reserve_calls: Counter,
    /// Orders in them.
    pub reserve_orders: Counter,
    /// Leases of tokens.
    pub leases: Counter,
    /// Tokens granted.
    pub tokens: Counter,
    /// Sales seen to become suspended.
    pub suspensions: Counter,
    /// Names taken out of the registry.
    pub names_forgotten: Counter,
    /// Refreshes at which Redis showed an earlier sale or generation than this core had seen.
    pub older_sales: Counter,
    /// Error replies of Redis, by [`ErrorKind`].
    pub redis_errors: [Counter; ErrorKind::COUNT],
    /// 1 while Redis would let no order through: a gauge.
    pub redis_refuses: Counter,
    /// Redis' clock less this edge's, ms, as the bits of an `i64`: a gauge.
    pub redis_clock_skew_ms: Counter,
    /// The clock of the broker that is furthest off less this edge's, ms, as the bits of an `i64`: a gauge.
    pub kafka_clock_skew_ms: Counter,
    /// 1 once a broker has refused records for their times.
    pub records_untimed: Counter,
    /// Records that Kafka refused for certain.
    pub records_refused: Counter,
    /// Records left to the relay: their outcome is unknown to this core.
    pub records_left: Counter,
    /// Orders that this core's relay delivered.
    pub relayed: Counter,
    /// Outbox entries whose undelivered orders were moved to one of their own.
    pub entries_parted: Counter,
    /// Hashes of idempotency records emptied or removed because no repeat can need them any more.
    pub records_retired: Counter,
    /// Outbox entries that could not be read.
    pub relay_unreadable: Counter,
    /// Of fair queues.
    pub queues: QueueCounters,
    /// Of the fences.
    pub fences: FenceCounters,
    /// Orders under way.
    pub orders_pending: Counter,
    /// Records that the producer may still take.
    pub producer_room: Counter,
    /// Why Redis lets no order through, in words for an operator.
    pub redis_refusal: Mutex<Option<String>>,
    /// Why the latest attempt to connect to Redis failed; `None` where it did not.
    pub redis_fault: Mutex<Option<String>>,
    /// Why the latest attempt to connect to a broker of Kafka failed; `None` where it did not.
    pub kafka_fault: Mutex<Option<String>>,
    /// Why a broker of Kafka does not take this edge, in words for an operator.
    pub kafka_refusal: Mutex<Option<String>>,
    /// What Redis' user may not do beside what no order is taken without, and what follows; `None` until it was asked. Only of the first
    /// core.
    pub redis_lacks: Mutex<Option<Vec<String>>>,
    /// Settings of Redis that put something at risk, or are not told; `None` until they were looked at. Only of the first core.
    pub redis_findings: Mutex<Option<Vec<Finding>>>,
    /// The same of the topic.
    pub topic_findings: Mutex<Option<Vec<Finding>>>,
    /// Products in memory. A gauge.
    pub products_known: Counter,
    /// The figures of some of them, once a second.
    pub products: Mutex<Vec<ProductGauge>>,
}

impl Counters {
    pub(crate) fn order_answered(&self, outcome: OrderOutcome, span: Duration) {
        self.orders[outcome as usize].add(1);
        if !span.is_zero() {
            self.latency.observe(span);
        }
    }

    pub(crate) fn reserve_call(&self, orders: usize) {
        self.reserve_calls.add(1);
        self.reserve_orders.add(orders as u64);
    }

    pub(crate) fn lease(&self, granted: u64) {
        self.leases.add(1);
        self.tokens.add(granted);
    }

    pub(crate) fn redis_error(&self, kind: ErrorKind) {
        self.redis_errors[kind as usize].add(1);
    }
}

/// Both halves of what one core counts.
#[derive(Clone, Debug, Default)]
pub struct CoreCounters {
    pub decisions: Arc<Counters>,
    pub shell: Arc<ShellCounters>,
}
