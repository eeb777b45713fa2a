//! The one partition of the fences' topic, over the wire: what stands in it, in order from the first record on, and records to
//! be written behind it on acks=all.
//!
//! ```text
//! owner                        FenceLog
//!   write(key, value) ──▶                    ─▶ produce, acks=all
//!   poll_event() ◀── Record(offset, key, value), up to the high watermark
//!   poll_event() ◀── Anew: the log is another one, and is read from its beginning
//! ```
//!
//! A broker waits up to [`FETCH_WAIT`] before it answers what is new, so that one answer brings the heartbeats of many edges.
//!
//! Never interprets a record, never commits, never gives word of what was acknowledged: only what is read back counts. Where
//! records of the beginning were deleted it stands still and says so ([`FenceLog::refusal`]): a fence that is gone may be the
//! highest of its product.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::kafka::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use crate::kafka::cluster::ClusterConfig;
use crate::kafka::error_code::UNKNOWN_TOPIC_OR_PARTITION;
use crate::kafka::fetch::{FetchConfig, FetchEvent, Isolation};
use crate::kafka::log_reader::LogReader;
use crate::kafka::metadata::TopicId;
use crate::kafka::producer::{AppendError, Producer, ProducerConfig};
use crate::kafka::records_decode::{Entry, FetchedRecords};
use crate::kafka::sasl::identity::Identity;
use crate::kafka::strands::Strand;
use crate::time::{Instant, Now};

/// What follows the name of the orders' topic in that of the fences'.
const TOPIC_SUFFIX: &str = "-fences";
/// How long a broker may gather what is new.
pub const FETCH_WAIT: Duration = Duration::from_millis(200);
/// With so much it answers at once: at the start, when there is much to read.
const ANSWER_BYTES_MIN: usize = 64 << 10;
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Records that may be on their way.
const RECORDS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 64 << 10;
/// A record that has not left by then says what nobody wants to know any more, or is looked for by whoever wrote it.
const RECORD_AGE_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const PARTITION: i32 = 0;

/// The topic of the fences of those sales whose orders stand in `orders`.
pub fn topic_of(orders: &str) -> String {
    format!("{orders}{TOPIC_SUFFIX}")
}

/// Where the log is.
#[derive(Clone, Debug)]
pub struct FenceLogConfig {
    /// The topic of the orders.
    pub orders: String,
    /// Where to start: any of the brokers. Not empty.
    pub bootstrap: Vec<(String, u16)>,
    /// Who we are, where brokers want a login.
    pub login: Option<Identity>,
    /// Shown in the broker's logs and quotas.
    pub client_id: String,
    /// For jitter.
    pub seed: u64,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceLogEvent {
    /// The topic was made anew, or ends before what was read of it: its records come from the first one on.
    Anew,
    /// A record.
    Record {
        /// Its place.
        offset: i64,
        /// Its key; empty where it has none.
        key: Bytes,
        /// Its value.
        value: Option<Bytes>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct FenceLog {
    topic: String,
    producer: Producer<()>,
    /// Memory for the producer's tokens.
    settled: Vec<()>,
    reader: LogReader,
    /// The log that is read.
    topic_id: Option<TopicId>,
    reading: Option<FetchedRecords>,
    /// Records of its beginning were deleted.
    is_cut: bool,
}

impl FenceLog {
    /// Connects at once, and reads from the beginning.
    pub fn new(config: FenceLogConfig, now: Instant) -> FenceLog {
        let topic = topic_of(&config.orders);
        let FenceLogConfig { bootstrap, login, client_id, seed, .. } = config;
        let cluster = ClusterConfig {
            bootstrap: bootstrap.clone(),
            client_id: client_id.clone(),
            topic: topic.clone(),
            seed,
            login: login.clone(),
        };
        let fetch = FetchConfig {
            // What was acknowledged is there, whatever transaction of a stranger stands before it.
            isolation: Isolation::Uncommitted,
            answer_bytes_min: ANSWER_BYTES_MIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
            buffered_bytes_max: 2 * ANSWER_BYTES_MAX,
            wait: FETCH_WAIT,
            seed: seed.wrapping_add(1),
        };
        let producer = ProducerConfig {
            topic: topic.clone(),
            bootstrap,
            login,
            client_id,
            linger: Duration::ZERO,
            batch_bytes_max: BATCH_BYTES_MAX,
            in_flight_max: 1,
            request_timeout: REQUEST_TIMEOUT,
            records_max: RECORDS_MAX,
            record_age_max: RECORD_AGE_MAX,
            seed: seed.wrapping_add(2),
        };
        FenceLog {
            topic,
            producer: Producer::new(producer, now),
            settled: Vec::new(),
            reader: LogReader::new(cluster, fetch, now),
            topic_id: None,
            reading: None,
            is_cut: false,
        }
    }

    /// Its name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes a record behind what stands there, once. What became of it is known when it is read.
    ///
    /// # Errors
    /// [`AppendError`]: it was not taken.
    pub fn write(&mut self, now: Now, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Result<(), AppendError> {
        self.producer.append_keyed(now.instant, PARTITION, now.wall_ms.cast_signed(), Some(key), (), write)
    }

    /// The next that was read.
    pub fn poll_event(&mut self, now: Instant) -> Option<FenceLogEvent> {
        if self.follow_topic(now) {
            return Some(FenceLogEvent::Anew);
        }
        loop {
            if let Some(entry) = self.reading.as_mut().and_then(Iterator::next) {
                return Some(match entry {
                    Entry::Record(record) => FenceLogEvent::Record {
                        offset: record.offset,
                        key: record.key.unwrap_or_default(),
                        value: record.value,
                    },
                    // As one of a stranger.
                    Entry::Unreadable(unreadable) => {
                        let key = Bytes::from_static(b"?");
                        FenceLogEvent::Record { offset: unreadable.first_offset, key, value: None }
                    }
                });
            }
            let next = self.reader.poll_records().map(|fetched| fetched.records);
            if self.reading.take().is_none() && next.is_none() {
                return self.poll_obstacle(now);
            }
            self.is_cut &= next.is_none();
            self.reading = next;
            // There is room for more.
            self.reader.handle_time(now);
        }
    }

    /// Whether a record written now would leave without waiting for a broker.
    pub fn is_writable(&self) -> bool {
        self.producer.ready()
    }

    /// Records that were written and of which no broker has said yet what became of them.
    pub fn records_under_way(&self) -> usize {
        self.producer.records_held()
    }

    /// Why it cannot be read or written, in one line, where that is known.
    pub fn refusal(&self) -> Option<String> {
        if self.reader.latest_topic_error() == Some(UNKNOWN_TOPIC_OR_PARTITION) {
            return Some(format!("there is no topic {}: a worker makes it", self.topic));
        }
        if self.is_cut {
            return Some(format!(
                "records at the beginning of topic {} were deleted: set cleanup.policy=compact and make it anew",
                self.topic
            ));
        }
        self.reader.refusal().or_else(|| self.producer.refusal())
    }

    /// Reads the topic that there is now; whether another had been read before.
    fn follow_topic(&mut self, now: Instant) -> bool {
        let Some(found) = self.reader.topic_id().filter(|found| self.topic_id != Some(*found)) else { return false };
        let is_another = self.topic_id.replace(found).is_some();
        self.start(now);
        is_another
    }

    /// From the beginning.
    fn start(&mut self, now: Instant) {
        self.reading = None;
        self.is_cut = false;
        self.reader.start(now, PARTITION, 0);
    }

    /// What stands in the way of reading. A log that ends before what was read of it, or that is another below, is read anew.
    fn poll_obstacle(&mut self, now: Instant) -> Option<FenceLogEvent> {
        while let Some(event) = self.reader.poll_event() {
            match event {
                FetchEvent::OffsetOutOfRange { offset: 0, .. } => self.is_cut = true,
                FetchEvent::OffsetOutOfRange { .. } | FetchEvent::Diverged { .. } => {
                    self.start(now);
                    return Some(FenceLogEvent::Anew);
                }
                // Asked again by itself, and told of by the cluster.
                FetchEvent::Damaged { .. } | FetchEvent::Refused { .. } => {}
            }
        }
        None
    }

    fn forget_settled(&mut self) {
        while self.producer.poll_settled(&mut self.settled).is_some() {}
    }
}

impl KafkaClient for FenceLog {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        let first = self.producer.poll_action().map(|action| Strand::First.outer_action(action));
        first.or_else(|| self.reader.poll_action().map(|action| Strand::Second.outer_action(action)))
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        match Strand::of(broker) {
            (Strand::First, inner) => self.producer.handle_broker_open(now, inner),
            (Strand::Second, inner) => self.reader.handle_broker_open(now, inner),
        }
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        match Strand::of(broker) {
            (Strand::First, inner) => {
                let result = self.producer.handle_broker_bytes(now, inner, buffer);
                self.forget_settled();
                result
            }
            (Strand::Second, inner) => self.reader.handle_broker_bytes(now, inner, buffer),
        }
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        match Strand::of(broker) {
            (Strand::First, inner) => self.producer.handle_broker_closed(now, inner),
            (Strand::Second, inner) => self.reader.handle_broker_closed(now, inner),
        }
        self.forget_settled();
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        match Strand::of(broker) {
            (Strand::First, inner) => self.producer.poll_broker_write(inner, out),
            (Strand::Second, inner) => self.reader.poll_broker_write(inner, out),
        }
    }

    fn next_deadline(&self) -> Instant {
        self.producer.next_deadline().min(self.reader.next_deadline())
    }

    fn handle_time(&mut self, now: Instant) {
        self.producer.handle_time(now);
        self.reader.handle_time(now);
        self.forget_settled();
    }
}
