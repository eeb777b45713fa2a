//! The consumer: membership (`membership`, over [`super::group`]) and reading (`reading`, over [`super::fetch`]) by one
//! [`super::cluster`].
//!
//! ```text
//! owner                                          Consumer
//!   poll_event ◀── Assigned{topic_id, partitions} ──
//!   (asks its ledger where to go on)
//!   start(partitions and offsets) ──▶
//!   poll_records ◀── records, at the owner's pace ──
//!   (stores them) commit(offsets) ──▶                for lag tools only
//!   poll_event ◀── Release ──                        a rebalance: finish what is in hand
//!   release() ──▶
//!   poll_event ◀── Lost ──                           drop what is in hand
//!   leave() ──▶  … ◀── Left ──
//! ```
//!
//! The shell drives sockets through the cluster interface ([`super::cluster`] shows it). Memory is bounded by
//! [`ConsumerConfig`]; what the owner does not take is not fetched again, and nothing more is fetched meanwhile.
//!
//! Never decides where a partition starts, never skips a record silently, never acknowledges anything to anyone.

mod config;
mod event;
mod membership;
mod reading;
#[cfg(test)]
mod tests;
mod token;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;

pub use self::config::ConsumerConfig;
pub use self::event::{Event, Standing};
use self::membership::Membership;
use self::reading::Reading;
use self::token::Token;
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Response, Target};
use super::denial;
use super::fetch::{Fetched, Position};
use super::group::GroupEvent;
use crate::time::Instant;

/// Brokers that have said nothing for so much longer than they should count as out of reach.
const SILENCE_SLACK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    config: ConsumerConfig,
    cluster: Cluster<Token>,
    membership: Membership,
    reading: Reading,
    /// When a broker last answered.
    answered_at: Instant,
    /// Of the last call.
    now: Instant,
    events: VecDeque<Event>,
}

impl Consumer {
    /// Begins to connect and to join at once.
    pub fn new(config: ConsumerConfig, now: Instant) -> Consumer {
        let cluster = Cluster::new(
            ClusterConfig {
                bootstrap: config.bootstrap.clone(),
                login: config.login.clone(),
                client_id: config.client_id.clone(),
                topic: config.topic.clone(),
                seed: config.seed,
            },
            now,
        );
        let membership = Membership::new(&config, now);
        let reading = Reading::new(&config);
        Consumer { config, cluster, membership, reading, answered_at: now, now, events: VecDeque::new() }
    }

    // The owner's side.

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Records that have come. Taking them makes room for more: call [`Consumer::handle_time`] afterwards.
    pub fn poll_records(&mut self) -> Option<Fetched> {
        self.reading.fetcher.poll_records()
    }

    /// Reads assigned partitions, each from its position. All at once is better than one by one: a fetch waits
    /// for new records, and a partition that was started behind it waits as long.
    pub fn start(&mut self, now: Instant, positions: impl IntoIterator<Item = Position>) {
        if self.reading.start(now, positions) {
            self.drive(now);
        }
    }

    /// Fetches no more of a partition until [`Consumer::resume`].
    pub fn pause(&mut self, partition: i32) {
        self.reading.fetcher.pause(partition);
    }

    /// Undoes [`Consumer::pause`].
    pub fn resume(&mut self, now: Instant, partition: i32) {
        self.reading.fetcher.resume(partition);
        self.drive(now);
    }

    /// Commits to Kafka, for lag tools: the next offset to be read by partition.
    pub fn commit(&mut self, now: Instant, offsets: impl IntoIterator<Item = (i32, i64)>) {
        self.membership.group.commit(offsets);
        self.drive(now);
    }

    /// After [`Event::Release`]: nothing is in hand any more.
    pub fn release(&mut self, now: Instant) {
        self.membership.group.release(now);
        self.drive(now);
    }

    /// The owner's ledger says that another member stores these partitions: lets them go and joins again.
    pub fn rejoin(&mut self, now: Instant) {
        self.membership.group.rejoin(now);
        self.drive(now);
    }

    /// Leaves the group; [`Event::Left`] follows within seconds.
    pub fn leave(&mut self, now: Instant) {
        self.reading.fetcher.stop_all();
        self.membership.leave(now, &mut self.cluster);
        self.drive(now);
    }

    /// How it stands with brokers and group: for a readiness check, and for people.
    pub fn standing(&self, now: Instant) -> Standing {
        let silence_max = self.config.heartbeat_interval.max(self.config.fetch_wait) + SILENCE_SLACK;
        let is_coordinated = self.membership.is_coordinated(&self.cluster);
        if !is_coordinated && !self.cluster.is_ready(Target::Any) {
            Standing::NoBroker
        } else if is_coordinated && self.membership.group.is_waiting() {
            // Nothing else is asked meanwhile, so that nobody is silent for too long.
            Standing::Waiting
        } else if now.since(self.answered_at) > silence_max {
            Standing::NoBroker
        } else if !is_coordinated {
            Standing::NoCoordinator
        } else if self.membership.group.is_member() {
            Standing::Member
        } else {
            Standing::Outside
        }
    }

    /// Why brokers do not take us, in one line: until they do.
    pub fn refusal(&self) -> Option<String> {
        self.cluster.refusal().or_else(|| self.cluster.topic_refusal())
    }

    /// The right that a broker denies us now, in words: until one takes what the right is for.
    pub fn denied(&self) -> Option<String> {
        let code = self.membership.group.denied().or(self.reading.fetcher.denied())?;
        self.denial(code)
    }

    /// What an operator has to mend where a broker has answered `code`; `None` where that says something else.
    pub fn denial(&self, code: i16) -> Option<String> {
        denial::in_words(code, &self.cluster.who(), "Read", &self.config.topic)
    }

    /// The broker's error for the topic in its latest metadata (3: no such topic).
    pub fn topic_error(&self) -> Option<i16> {
        self.cluster.topic_error()
    }

    /// Bytes of records that have come and were not taken.
    pub fn buffered_bytes(&self) -> usize {
        self.reading.fetcher.buffered_bytes()
    }

    /// Where an assigned partition ends, whether it is read or not; `None`: no broker has said so lately.
    pub fn end_offset(&self, now: Instant, partition: i32) -> Option<i64> {
        self.reading.ends.end(now, partition)
    }

    /// When records of a partition last came, or the broker said that there are none to come; since it was started.
    /// `None`: it is not started.
    pub fn read_at(&self, partition: i32) -> Option<Instant> {
        self.reading.fetcher.read_at(partition)
    }

    /// Partitions that stand still, because their offset is not in the log.
    pub fn standing_still(&self) -> usize {
        self.reading.fetcher.standing_still()
    }
}

impl KafkaClient for Consumer {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.cluster.poll_action()
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_open(now, broker);
        self.drive(now);
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        let result = self.cluster.handle_broker_bytes(now, broker, buffer);
        self.drive(now);
        result
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_closed(now, broker);
        self.drive(now);
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.cluster.poll_broker_write(broker, out);
    }

    fn next_deadline(&self) -> Instant {
        let membership = self.membership.next_deadline(&self.cluster);
        self.cluster.next_deadline().min(membership).min(self.reading.next_deadline(self.now))
    }

    fn handle_time(&mut self, now: Instant) {
        self.cluster.handle_time(now);
        self.membership.group.handle_time(now);
        self.drive(now);
    }
}

impl Consumer {
    // Inside.

    /// Does everything that can be done now. Each step may make work for an earlier one, so it goes round until nothing
    /// changes; a round without a response ends it.
    fn drive(&mut self, now: Instant) {
        self.now = now;
        let mut response = self.cluster.poll_response();
        loop {
            while let Some(ended) = response {
                self.handle_response(now, ended);
                response = self.cluster.poll_response();
            }
            self.look_at_topic(now);
            self.membership.drive(now, &mut self.cluster, &mut self.events);
            self.take_group_events(now);
            self.reading.drive(now, &mut self.cluster, self.membership.coordinator(), &mut self.events);
            response = self.cluster.poll_response();
            if response.is_none() {
                return;
            }
        }
    }

    fn handle_response(&mut self, now: Instant, response: Response<Token>) {
        if response.answer.is_some() {
            self.answered_at = now;
        }
        let understood = match response.token {
            Token::Group(kind) => self.membership.handle_answer(now, &mut self.cluster, kind, response.answer.as_ref()),
            Token::Fetch(id, topic) => self.reading.handle_fetched(now, id, topic, response.answer),
            Token::Ends(partitions) => {
                self.reading.handle_ends(now, &mut self.cluster, &partitions, response.answer.as_ref())
            }
        };
        if !understood {
            self.cluster.close_broker(now, response.broker);
        }
    }

    fn look_at_topic(&mut self, now: Instant) {
        let Some(topic) = self.cluster.topic() else {
            return;
        };
        let (is, count) = (topic.id, topic.partitions.len());
        if let Some(was) = self.reading.topic().filter(|was| *was != is) {
            self.events.push_back(Event::TopicReplaced { was, is });
            self.reading.stop();
            self.membership.group.rejoin(now);
        }
        self.membership.group.set_partition_count(count);
    }

    fn take_group_events(&mut self, now: Instant) {
        while let Some(event) = self.membership.group.poll_event() {
            match event {
                GroupEvent::Assigned { generation, partitions } => {
                    let Some(topic) = self.cluster.topic() else { continue };
                    let topic_id = topic.id;
                    self.reading.assign(now, topic_id, &partitions);
                    self.events.push_back(Event::Assigned { topic_id, generation, partitions });
                }
                GroupEvent::Release => {
                    self.reading.fetcher.stop_all();
                    self.events.push_back(Event::Release);
                }
                GroupEvent::Lost { reason } => {
                    self.reading.stop();
                    self.reading.ends.watch(now, &[]);
                    self.events.push_back(Event::Lost(reason));
                }
                GroupEvent::Refused { code } => self.events.push_back(Event::Refused { partition: None, code }),
                GroupEvent::Left => {
                    self.reading.stop();
                    self.events.push_back(Event::Left);
                }
            }
        }
    }
}
