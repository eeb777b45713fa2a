//! The idempotent producer of one core: acks=all, in order by partition, nothing sent twice into the log.
//!
//! Records are written by their owner straight into the open batch of a partition. A batch leaves when it is full or its
//! linger is over, as soon as the partition's window has a place; requests are gathered by broker. Each record's token
//! comes back exactly once through [`Producer::poll_settled`], with what its owner must now believe: [`Settled`].
//!
//! ```text
//! append ─▶ open batch ─▶ queue of the partition ─▶ produce request ─▶ answer ─▶ poll_settled
//!                              ▲     (partition.rs)                      │ (verdict.rs)
//!                              └──────────── again, same sequence ◀──────┘
//! ```
//!
//! What is held is bounded: by records ([`ProducerConfig::records_max`]) and by time. A record is sent for the first or
//! another time only while its batch is younger than [`ProducerConfig::record_age_max`]; a request then leaves the
//! process, or its connection is closed, within [`ProducerConfig::request_timeout`] more. A program that fences this
//! producer off waits for the sum.
//!
//! Never gives up a record silently, never compresses, never creates a topic, knows nothing of transactions.

mod config;
mod partition;
mod request;
mod topic;
mod verdict;

/// An answer with `code` has come: a right is missing, or the one that was is there.
fn note_denial(denied: &mut Option<i16>, code: i16) {
    if code == 0 {
        *denied = None;
    } else if denial::is_denial(code) {
        *denied = Some(code);
    }
}

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::InitProducerIdRequest;

pub use self::config::ProducerConfig;
use self::partition::{Finished, Next, Pace, Partition};
pub use self::verdict::Settled;
use self::verdict::code::INVALID_TIMESTAMP;
use super::backoff::{SplitMix64, backoff};
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Lane, Response, Target};
use super::connection::{Answer, RequestError, RequestLimits};
use super::denial;
use super::limits::{BATCH_BYTES_MAX, BATCHES_IN_FLIGHT_MAX, BROKER_TIMES_MAX};
use super::metadata::{NodeId, TopicId};
use super::records::{NO_TIMESTAMP, ProducerId, VALUE_BYTES_MAX, ValueTooLong};
use super::versions::key;
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

/// What an acknowledgement tells of a broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerTime {
    /// Whose.
    pub node: NodeId,
    /// It showed this, in milliseconds since the epoch, …
    pub shown_ms: u64,
    /// … between here …
    pub asked: Instant,
    /// … and here.
    pub answered: Instant,
}

/// A produce request in flight: its batches are told by partition and serial. Those of ended requests are empty.
#[derive(Debug)]
struct InFlight {
    node: NodeId,
    asked: Instant,
    batches: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Identity,
    /// A place in [`Producer::requests`].
    Produce(usize),
    Topic(topic::Question),
}

/// The producer id in use, and the way to the next.
#[derive(Debug)]
struct Identity {
    current: Option<ProducerId>,
    wanted: bool,
    in_flight: bool,
    failures: u32,
    not_before: Instant,
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
    requests: Vec<InFlight>,
    requests_free: Vec<usize>,
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
    /// Of each broker what was last told of its clock and not yet taken, the most exact of it.
    times: Vec<BrokerTime>,
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
            identity: Identity { current: None, wanted: true, in_flight: false, failures: 0, not_before: now },
            topic_id: None,
            partition_count: 0,
            partitions: Vec::new(),
            listed: Vec::new(),
            current: None,
            serial_last: 0,
            requests: Vec::new(),
            requests_free: Vec::new(),
            codes: Vec::new(),
            finished: Finished::new(),
            topic: topic::Inquiry::default(),
            records_held: 0,
            wake: Instant::FAR_FUTURE,
            away_since: Some(now),
            is_untimed: false,
            denied: None,
            times: Vec::new(),
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
        self.identity.current.is_some() && self.current.is_some_and(|index| self.is_within_reach(index))
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
        self.times.pop()
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

    /// Appends a record: `write` appends its value to the buffer it is given, and does nothing else to it.
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
        if let Err(ValueTooLong(bytes)) = records.append(timestamp_ms, write) {
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

    /// Error 14 (the coordinator is loading) passes. An id of −1 must never be used: the broker would take duplicates.
    fn handle_identity(&mut self, now: Instant, answer: Option<Answer>) -> Result<(), WireError> {
        self.identity.in_flight = false;
        self.identity.failures = self.identity.failures.saturating_add(1);
        self.identity.not_before = now + backoff(self.identity.failures, &mut self.random);
        let Some(answer) = answer else {
            return Ok(());
        };
        let response = answer.decode::<InitProducerIdRequest>()?;
        note_denial(&mut self.denied, response.error_code);
        if response.error_code != 0 {
            return Ok(());
        }
        if response.producer_id.0 < 0 || response.producer_epoch < 0 {
            return Err(WireError { kind: "InitProducerIdResponse", reason: "no producer id".to_owned() });
        }
        self.identity.current = Some(ProducerId { id: response.producer_id.0, epoch: response.producer_epoch });
        (self.identity.wanted, self.identity.failures, self.identity.not_before) = (false, 0, now);
        self.counters.producer_ids += 1;
        Ok(())
    }

    fn handle_produced(&mut self, now: Instant, place: usize, answer: Option<Answer>) -> Result<(), WireError> {
        let InFlight { node, asked: asked_at, .. } = self.requests[place];
        let mut batches = std::mem::take(&mut self.requests[place].batches);
        let mut codes = std::mem::take(&mut self.codes);
        let asked = batches.iter().map(|(index, _)| *index as i32);
        let read = answer.map(|answer| request::read(&answer, asked, &mut codes));
        let mut stale = false;
        for (at, (index, serial)) in batches.iter().enumerate() {
            let its = &mut self.partitions[*index];
            match &read {
                Some(Ok(_)) => {
                    let (_, code) = codes[at];
                    note_denial(&mut self.denied, code);
                    self.counters.batches_failed += u64::from(code != 0);
                    self.is_untimed |= code == INVALID_TIMESTAMP;
                    let serials = &mut self.serial_last;
                    stale |= its.handle_code(now, *serial, code, serials, &mut self.random, &mut self.finished);
                }
                Some(Err(_)) | None => {
                    self.counters.batches_failed += 1;
                    its.handle_lost(*serial);
                }
            }
        }
        batches.clear();
        self.requests[place].batches = batches;
        self.requests_free.push(place);
        self.codes = codes;
        if stale {
            self.cluster.refresh_metadata(now);
        }
        let appended_ms = read.transpose()?.flatten();
        if let Some(shown_ms) = appended_ms {
            self.note_time(BrokerTime { node, shown_ms, asked: asked_at, answered: now });
        }
        Ok(())
    }

    /// The longer an answer was under way, the less it proves.
    fn note_time(&mut self, time: BrokerTime) {
        let span = |time: &BrokerTime| time.answered.since(time.asked);
        match self.times.iter().position(|known| known.node == time.node) {
            Some(place) if span(&self.times[place]) <= span(&time) => {}
            Some(place) => self.times[place] = time,
            None if self.times.len() < BROKER_TIMES_MAX => self.times.push(time),
            None => {}
        }
    }

    /// Takes over what the cluster knows of the topic, and keeps connections to its leaders and to no other broker.
    fn follow_leaders(&mut self, now: Instant) {
        let Some(topic) = self.cluster.topic() else {
            return;
        };
        let is_another = self.topic_id.replace(topic.id).is_some_and(|known| known != topic.id);
        self.partition_count = topic.partitions.len();
        while self.partitions.len() < self.partition_count {
            self.partitions.push(Partition::new());
        }
        let mut leaders: Vec<NodeId> = Vec::new();
        for (index, its) in self.partitions.iter_mut().enumerate() {
            let leader = topic.partitions.get(index).and_then(|partition| partition.leader);
            its.follow(now, leader);
            leaders.extend(leader);
            if is_another {
                its.leave_session();
            }
        }
        let all_led = leaders.len() >= self.partition_count;
        leaders.sort_unstable();
        leaders.dedup();
        // While an election runs the old leader may well be the new one; and answers that are due are waited for.
        let connected: Vec<NodeId> = self.cluster.connected_nodes(Lane::DATA).collect();
        for node in connected.into_iter().filter(|node| all_led && !leaders.contains(node)) {
            if self.cluster.in_flight(node, Lane::DATA) == 0 {
                self.cluster.disconnect(now, node, Lane::DATA);
            }
        }
        for node in leaders {
            self.cluster.connect(now, node, Lane::DATA);
        }
        match self.current {
            None => {
                let start = self.random.below(self.partition_count as u64) as usize;
                self.choose_partition(start);
            }
            Some(index) if self.partitions[index].leader().is_none() || !self.has_partition(index as i32) => {
                self.choose_partition(index);
            }
            Some(_) => {}
        }
    }

    fn is_within_reach(&self, index: usize) -> bool {
        let leader = self.partitions[index].leader();
        let may_send = |node| self.cluster.may_send(Target::Node(node, Lane::DATA), key::PRODUCE);
        // Full is busy, not out of reach.
        let is_silent = |node| self.cluster.is_silent(Target::Node(node, Lane::DATA));
        leader.is_some_and(|node| matches!(may_send(node), Ok(()) | Err(RequestError::Full)) && !is_silent(node))
    }

    fn is_healthy(&self, index: usize) -> bool {
        !self.partitions[index].is_troubled() && self.is_within_reach(index)
    }

    /// The first partition from `start` on that will do, healthy ones before those that merely have a leader. While there is no
    /// such, as when a broker that stood comes back and leads nothing yet, it stays what it was.
    fn choose_partition(&mut self, start: usize) {
        let turn = || (0..self.partition_count).map(|step| (start + step) % self.partition_count);
        let healthy = turn().find(|index| self.is_healthy(*index));
        let led = || turn().find(|index| self.partitions[*index].leader().is_some());
        let last = self.current.filter(|index| *index < self.partition_count);
        self.current = healthy.or_else(led).or(last);
    }

    fn move_on(&mut self, index: usize) {
        if self.current == Some(index) {
            self.choose_partition(index + 1);
        }
    }

    fn ask_for_identity(&mut self, now: Instant) {
        if !self.identity.wanted || self.identity.in_flight {
            return;
        }
        if now < self.identity.not_before {
            self.wake = self.wake.min(self.identity.not_before);
            return;
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let limits = RequestLimits::within(self.config.request_timeout);
        match self.cluster.request(now, Target::Any, &request, Token::Identity, limits) {
            Ok(_) => self.identity.in_flight = true,
            // A connection that becomes ready, or an answer, brings us back here.
            Err(RequestError::NotReady | RequestError::Full) => {}
            Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                self.identity.failures = self.identity.failures.saturating_add(1);
                self.identity.not_before = now + backoff(self.identity.failures, &mut self.random);
                self.wake = self.wake.min(self.identity.not_before);
            }
        }
    }

    /// Sends every batch that may go, one request after the other, each with at most one batch of a partition.
    fn send_batches(&mut self, now: Instant) {
        while self.send_request(now) {}
        self.ask_for_identity(now);
    }

    /// Sends one request to one broker; `false`: there is none to send.
    fn send_request(&mut self, now: Instant) -> bool {
        let mut target: Option<NodeId> = None;
        let mut place = None;
        for at in 0..self.listed.len() {
            let index = self.listed[at];
            let its = &mut self.partitions[index];
            let Some(leader) = its.leader().filter(|leader| target.is_none_or(|node| node == *leader)) else {
                continue;
            };
            let next = its.next(now, &self.pace);
            if next == Next::Nothing {
                continue;
            }
            if !its.adopt(self.identity.current) {
                self.identity.wanted = true;
                continue;
            }
            let to = Target::Node(leader, Lane::DATA);
            if target.is_none() && self.cluster.may_send(to, key::PRODUCE).is_err() {
                continue;
            }
            let serial = its.send(next);
            target = Some(leader);
            let place = *place.get_or_insert_with(|| {
                self.requests_free.pop().unwrap_or_else(|| {
                    self.requests.push(InFlight { node: leader, asked: now, batches: Vec::new() });
                    self.requests.len() - 1
                })
            });
            self.requests[place].batches.push((index, serial));
            if next == Next::Open {
                self.move_on(index);
            }
        }
        let (Some(node), Some(place)) = (target, place) else {
            return false;
        };
        self.write_request(now, node, place);
        true
    }

    fn write_request(&mut self, now: Instant, node: NodeId, place: usize) {
        let timeout = self.config.request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis() * 3 / 4).unwrap_or(i32::MAX);
        let topic = (self.config.topic.as_str(), self.topic_id.unwrap_or_default());
        (self.requests[place].node, self.requests[place].asked) = (node, now);
        let (partitions, batches) = (&self.partitions, &self.requests[place].batches);
        let views = batches.iter().map(|(index, serial)| (*index as i32, partitions[*index].bytes(*serial)));
        let limits = RequestLimits::within(timeout);
        let target = Target::Node(node, Lane::DATA);
        self.counters.requests += 1;
        self.counters.batches += batches.len() as u64;
        self.counters.bytes += views.clone().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let sent =
            self.cluster.request_with(now, target, key::PRODUCE, Token::Produce(place), limits, |out, version| {
                request::write(out, version, topic, timeout_ms, views);
            });
        assert!(sent.is_ok(), "the cluster has just said that it would send this: {sent:?}");
    }
}
