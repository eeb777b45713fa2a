//! The idempotent producer of one core: acks=all, in order by partition, nothing sent twice into the log.
//!
//! Records are written by their owner straight into the open batch of a partition. A batch leaves when it is full or its
//! linger is over, as soon as the partition's window has a place; requests are gathered by broker. Each record's token
//! comes back exactly once through [`Producer::poll_settled`], with what its owner must now believe: [`Settled`].
//!
//! ```text
//! append ─▶ open batch ─▶ queue of the partition ─▶ produce request ─▶ answer ─▶ poll_settled
//!                              ▲     (partition.rs)   (sending.rs)       │ (verdict.rs)
//!                              └──────────── again, same sequence ◀──────┘
//! ```
//!
//! What is held is bounded: by records ([`ProducerConfig::records_max`]) and by time. A record is sent for the first or
//! another time only while its batch is younger than [`ProducerConfig::record_age_max`]; a request then leaves the
//! process, or its connection is closed, within [`ProducerConfig::request_timeout`] more. A program that fences this
//! producer off waits for the sum.
//!
//! Never gives up a record silently, never compresses, never creates a topic, knows nothing of transactions.

mod broker_times;
mod config;
mod identity;
mod in_flight;
mod leaders;
mod partition;
mod request;
mod sending;
mod topic;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::BytesMut;

pub use self::broker_times::BrokerTime;
use self::broker_times::BrokerTimes;
pub use self::config::ProducerConfig;
use self::identity::Identity;
use self::in_flight::InFlight;
use self::partition::{Finished, Pace, Partition};
pub use self::verdict::Settled;
use super::backoff::SplitMix64;
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Response, Target};
use super::connection::{Answer, RequestError, RequestLimits};
use super::denial;
use super::limits::{BATCH_BYTES_MAX, BATCHES_IN_FLIGHT_MAX};
use super::metadata::TopicId;
use super::records::{NO_TIMESTAMP, VALUE_BYTES_MAX, ValueTooLong};
use super::wire::WireError;
use crate::rare::{Rare, is_taken};
use crate::time::Instant;

/// Why a record was not taken. It left no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// [`ProducerConfig::records_max`] are held.
    #[error("the producer is full")]
    Full,
    /// The topic has no such partition, or is not known yet.
    #[error("no such partition")]
    UnknownPartition,
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("a record of {0} bytes, where at most {VALUE_BYTES_MAX} are allowed")]
    ValueTooLong(usize),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerCounters {
    /// Produce requests.
    pub requests: u64,
    /// Batches, those sent again included.
    pub batches: u64,
    /// Bytes of those batches.
    pub bytes: u64,
    /// Batches that came back with an error or lost their connection.
    pub batches_failed: u64,
    /// Records acknowledged.
    pub records_acknowledged: u64,
    /// Records refused.
    pub records_refused: u64,
    /// Records abandoned.
    pub records_abandoned: u64,
    /// Producer ids taken.
    pub producer_ids: u64,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Identity,
    /// A place in [`Producer::in_flight`].
    Produce(usize),
    Topic(topic::Question),
}

/// See the module. `T` tells its owner which record is meant.
#[derive(Debug)]
pub struct Producer<T> {
    config: ProducerConfig,
    pace: Pace,
    cluster: Cluster<Token>,
    changes_seen: u64,
    random: SplitMix64,
    identity: Identity,
    topic_id: Option<TopicId>,
    partition_count: usize,
    partitions: Vec<Partition<T>>,
    /// Partitions with something to do.
    listed: Vec<usize>,
    current: Option<usize>,
    serial_last: u64,
    in_flight: InFlight,
    /// Of the answer that is being read, by partition.
    codes: Vec<(i32, i16)>,
    finished: Finished<T>,
    topic: topic::Inquiry,
    records_held: usize,
    /// When [`Producer::advance`] has more to do at the latest, if nothing happens.
    wake: Instant,
    /// While not [`Producer::ready`]: when Kafka was heard last before.
    away_since: Option<Instant>,
    /// A broker has refused our times.
    is_untimed: bool,
    /// The error code by which a broker has denied us a right, until one takes what we send.
    denied: Option<i16>,
    times: BrokerTimes,
    counters: ProducerCounters,
}

impl<T: Copy> Producer<T> {
    /// A producer that begins to connect at once.
    ///
    /// # Panics
    /// Where a number of `config` is out of its range: they are constants of the program.
    pub fn new(config: ProducerConfig, now: Instant) -> Producer<T> {
        assert!((1..=BATCH_BYTES_MAX).contains(&config.batch_bytes_max), "batch_bytes_max");
        assert!((1..=BATCHES_IN_FLIGHT_MAX).contains(&config.in_flight_max), "in_flight_max");
        assert!(config.records_max > 0, "records_max");
        let mut random = SplitMix64::new(config.seed);
        let cluster = ClusterConfig {
            bootstrap: config.bootstrap.clone(),
            login: config.login.clone(),
            client_id: config.client_id.clone(),
            topic: config.topic.clone(),
            seed: random.next(),
        };
        let pace = Pace { linger: config.linger, in_flight_max: config.in_flight_max, age_max: config.record_age_max };
        Producer {
            pace,
            cluster: Cluster::new(cluster, now),
            changes_seen: 0,
            random,
            identity: Identity::new(now),
            topic_id: None,
            partition_count: 0,
            partitions: Vec::new(),
            listed: Vec::new(),
            current: None,
            serial_last: 0,
            in_flight: InFlight::default(),
            codes: Vec::new(),
            finished: Finished::new(),
            topic: topic::Inquiry::default(),
            records_held: 0,
            wake: Instant::FAR_FUTURE,
            away_since: Some(now),
            is_untimed: false,
            denied: None,
            times: BrokerTimes::default(),
            counters: ProducerCounters::default(),
            config,
        }
    }

    // What is known.

    /// How many partitions the topic has; `None` until metadata has told.
    pub fn partition_count(&self) -> Option<usize> {
        self.topic_id.map(|_| self.partition_count)
    }

    /// The topic's id, once known.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// The broker's error code for the topic (3: there is no such topic), where the latest metadata had one.
    pub fn topic_error(&self) -> Option<i16> {
        self.cluster.topic_error()
    }

    /// Why brokers do not take us, or not our records, in one line: until they do.
    pub fn refusal(&self) -> Option<String> {
        let denied = || denial::in_words(self.denied?, &self.cluster.who(), "Write", &self.config.topic);
        self.cluster.refusal().or_else(denied).or_else(|| self.cluster.topic_refusal())
    }

    /// Whether a record appended now would leave without waiting for a broker: the topic is known, a leader is connected,
    /// a producer id is held.
    pub fn ready(&self) -> bool {
        self.identity.current().is_some() && self.current.is_some_and(|index| self.is_within_reach(index))
    }

    /// For how long it has not been [`Producer::ready`], counted from when Kafka was last heard; zero while it is.
    pub fn down_for(&self, now: Instant) -> Duration {
        // At least a microsecond: zero is only what is ready.
        self.away_since.map_or(Duration::ZERO, |since| now.since(since).max(Duration::from_micros(1)))
    }

    /// Leaders on whose connection nothing is under way are asked for a sign of life twice a second from now on: where none
    /// comes, new records go to other partitions, and where no other is left the producer is not ready.
    pub fn watch_silence(&mut self) {
        self.cluster.watch_silence(self.config.request_timeout);
    }

    /// The partition that new reserve calls should name. It stays the same until a batch of it leaves, then the next one's
    /// turn comes; those within reach and without trouble first, then those with a leader. While none has one, it is the last that
    /// had: its records wait here, as they do for a leader that is away. `None` until some partition has had a leader.
    pub fn current_partition(&self) -> Option<i32> {
        self.current.map(|index| index as i32)
    }

    /// Whether the topic has this partition.
    pub fn has_partition(&self, partition: i32) -> bool {
        usize::try_from(partition).is_ok_and(|index| index < self.partition_count)
    }

    /// Whether a broker has refused the records' times, so that they travel without any from then on: some clock is wrong.
    pub fn is_untimed(&self) -> bool {
        self.is_untimed
    }

    /// What was told of a broker's clock since the last time, the most exact of it; of brokers that give records their times.
    pub fn poll_broker_time(&mut self) -> Option<BrokerTime> {
        self.times.poll()
    }

    /// How many more records may be appended.
    pub fn room(&self) -> usize {
        self.config.records_max - self.records_held
    }

    /// Records appended and not yet polled as settled: 0 when everything has been told.
    pub fn records_held(&self) -> usize {
        self.records_held
    }

    /// What has been counted.
    pub fn counters(&self) -> ProducerCounters {
        self.counters
    }

    // Records in, outcomes out.

    /// Appends a record without a key: `write` appends its value to the buffer it is given, and does nothing else to it.
    /// `timestamp_ms` is milliseconds since the Unix epoch; once a broker has refused such a time for being too far from its own
    /// clock, records travel without one. Allocates nothing once the pools are warm.
    ///
    /// # Errors
    /// [`AppendError`]: the record was not taken, its token will not come back.
    pub fn append(
        &mut self,
        now: Instant,
        partition: i32,
        timestamp_ms: i64,
        token: T,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), AppendError> {
        self.append_keyed(now, partition, timestamp_ms, None, token, write)
    }

    /// The same under a key, where it is given one.
    ///
    /// # Errors
    /// [`AppendError`], likewise.
    pub fn append_keyed(
        &mut self,
        now: Instant,
        partition: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        token: T,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), AppendError> {
        if !self.has_partition(partition) {
            return Err(AppendError::UnknownPartition);
        }
        if self.room() == 0 {
            return Err(AppendError::Full);
        }
        let timestamp_ms = if self.is_untimed { NO_TIMESTAMP } else { timestamp_ms };
        let index = partition as usize;
        let its = &mut self.partitions[index];
        self.serial_last += 1;
        let (records, tokens) = its.open_batch(now, self.serial_last, &mut self.finished).parts();
        if let Err(ValueTooLong(bytes)) = records.append(timestamp_ms, key, write) {
            its.drop_empty(&mut self.finished);
            return Err(AppendError::ValueTooLong(bytes));
        }
        tokens.push(token);
        self.records_held += 1;
        if records.count() == 1 {
            self.wake = self.wake.min(now + self.pace.linger);
        }
        let is_full = records.len() >= self.config.batch_bytes_max || is_taken(Rare::LoneRecord);
        if !its.listed {
            its.listed = true;
            self.listed.push(index);
        }
        if is_full {
            its.seal();
            self.move_on(index);
            self.send_batches(now);
        }
        Ok(())
    }

    /// What became of a batch. The tokens of its records, in the order they were appended, take the place of what is in
    /// `tokens`. `None`: nothing more for now, and `tokens` is as it was.
    pub fn poll_settled(&mut self, tokens: &mut Vec<T>) -> Option<Settled> {
        let (outcome, mut settled) = self.finished.settled.pop_front()?;
        std::mem::swap(tokens, &mut settled);
        self.finished.keep_tokens(settled);
        self.records_held -= tokens.len();
        let count = tokens.len() as u64;
        match outcome {
            Settled::Acknowledged => self.counters.records_acknowledged += count,
            Settled::Refused(_) => self.counters.records_refused += count,
            Settled::Abandoned => self.counters.records_abandoned += count,
        }
        Some(outcome)
    }
}

impl<T: Copy> KafkaClient for Producer<T> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.cluster.poll_action()
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_open(now, broker);
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        let result = self.cluster.handle_broker_bytes(now, broker, buffer);
        self.advance(now);
        result
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_closed(now, broker);
        self.advance(now);
    }

    /// Where `out` is empty the buffers change places. One comparison where there is nothing.
    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.cluster.poll_broker_write(broker, out);
    }

    fn next_deadline(&self) -> Instant {
        self.wake.min(self.cluster.next_deadline())
    }

    fn handle_time(&mut self, now: Instant) {
        if now < self.next_deadline() {
            return;
        }
        self.cluster.handle_time(now);
        self.advance(now);
    }
}

impl<T: Copy> Producer<T> {
    // Inside.

    /// Takes in what the cluster has to tell, then does all that can be done now.
    fn advance(&mut self, now: Instant) {
        loop {
            while let Some(response) = self.cluster.poll_response() {
                self.handle_response(now, response);
            }
            if self.changes_seen == self.cluster.changes() {
                break;
            }
            self.changes_seen = self.cluster.changes();
            self.follow_leaders(now);
        }
        for index in 0..self.listed.len() {
            self.partitions[self.listed[index]].tidy(now, &self.pace, &mut self.finished);
        }
        self.send_batches(now);
        if self.current.is_none_or(|index| !self.is_healthy(index)) {
            self.choose_partition(self.current.unwrap_or(0));
        }
        if self.ready() {
            self.away_since = None;
        } else {
            self.away_since.get_or_insert(self.cluster.heard());
        }
        self.plan(now);
    }

    /// When there will be something to do without anything happening.
    fn plan(&mut self, now: Instant) {
        let mut wake = Instant::FAR_FUTURE;
        let partitions = &mut self.partitions;
        self.listed.retain(|index| {
            let its = &mut partitions[*index];
            its.listed = !its.is_idle();
            wake = wake.min(its.deadline(now, &self.pace));
            its.listed
        });
        self.wake = wake;
        self.ask_for_identity(now);
    }

    fn handle_response(&mut self, now: Instant, response: Response<Token>) {
        let understood = match response.token {
            Token::Identity => self.handle_identity(now, response.answer),
            Token::Produce(place) => self.handle_produced(now, place, response.answer),
            Token::Topic(question) => self.handle_topic(question, response.answer),
        };
        if understood.is_err() {
            self.cluster.close_broker(now, response.broker);
        }
    }

    fn ask_for_identity(&mut self, now: Instant) {
        let Some(due) = self.identity.due() else {
            return;
        };
        if now < due {
            self.wake = self.wake.min(due);
            return;
        }
        let limits = RequestLimits::within(self.config.request_timeout);
        match self.cluster.request(now, Target::Any, &Identity::request(), Token::Identity, limits) {
            Ok(_) => self.identity.note_asked(),
            // A connection that becomes ready, or an answer, brings us back here.
            Err(RequestError::NotReady | RequestError::Full) => {}
            Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                self.wake = self.wake.min(self.identity.put_off(now, &mut self.random));
            }
        }
    }

    fn handle_identity(&mut self, now: Instant, answer: Option<Answer>) -> Result<(), WireError> {
        let is_new = self.identity.handle_answer(now, answer, &mut self.random, &mut self.denied)?;
        self.counters.producer_ids += u64::from(is_new);
        Ok(())
    }
}
