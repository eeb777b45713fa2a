//! Makes sure that the topic exists, and says what it is: its id and how many partitions it has.
//!
//! The machine looks, creates where it is missing and it was told how, and looks again until the brokers agree. It waits
//! for servers that are not there yet, for as long as it takes. Never changes a topic that exists, never deletes one.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};

use super::backoff::{SplitMix64, backoff};
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Response, Target};
use super::connection::RequestLimits;
use super::metadata::{TopicId, text};
use super::wire::WireError;
use crate::time::Instant;

/// How a missing topic is made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition; −1: the broker's default.
    pub replicas: i16,
    /// Settings that differ from the broker's defaults, such as `min.insync.replicas`.
    pub settings: Vec<(String, String)>,
}

/// The topic as the brokers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its id.
    pub id: TopicId,
    /// Partitions, numbered from 0.
    pub partitions: usize,
    /// Whether this machine has made it.
    pub created: bool,
}

/// What has been found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminEvent {
    /// The topic exists. Nothing more will be said.
    Found(TopicDescription),
    /// There is no such topic, and how to make it was not said. The machine goes on looking.
    Missing,
    /// The brokers refused to tell of it or to make it. The machine tries again, ever more slowly.
    Refused {
        /// Kafka's error code.
        code: i16,
        /// The broker's words, where it had some.
        message: String,
    },
}

/// Kafka's error codes that are decided upon here.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// How long the brokers may take to make a topic.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Looking,
    Creating,
    /// Made by us: only the metadata has to catch up.
    Created,
    Found,
}

/// See the module.
#[derive(Debug)]
pub struct Admin {
    topic: String,
    new: Option<NewTopic>,
    cluster: Cluster<()>,
    changes_seen: u64,
    state: State,
    created: bool,
    told: Option<AdminEvent>,
    failures: u32,
    not_before: Instant,
    random: SplitMix64,
    events: VecDeque<AdminEvent>,
}

impl Admin {
    /// Looks for the topic of `config`; `new` says how to make it where it is missing.
    pub fn new(config: ClusterConfig, new: Option<NewTopic>, now: Instant) -> Admin {
        Admin {
            topic: config.topic.clone(),
            new,
            random: SplitMix64::new(config.seed),
            cluster: Cluster::new(config, now),
            changes_seen: 0,
            state: State::Looking,
            created: false,
            told: None,
            failures: 0,
            not_before: now,
            events: VecDeque::new(),
        }
    }

    /// The next thing that was found out. The same refusal is told once.
    pub fn poll_event(&mut self) -> Option<AdminEvent> {
        self.events.pop_front()
    }
}

impl KafkaClient for Admin {
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

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.cluster.poll_broker_write(broker, out);
    }

    fn next_deadline(&self) -> Instant {
        let waits = self.state == State::Looking && self.misses() && self.cluster.is_ready(Target::Any);
        let retry = if waits { self.not_before } else { Instant::FAR_FUTURE };
        retry.min(self.cluster.next_deadline())
    }

    fn handle_time(&mut self, now: Instant) {
        self.cluster.handle_time(now);
        self.advance(now);
    }
}

impl Admin {
    // Inside.

    /// Why a broker does not take us, in one line: until it does.
    pub fn refusal(&self) -> Option<String> {
        self.cluster.refusal().or_else(|| self.cluster.topic_refusal())
    }

    /// Whether the topic is known to be missing and is to be made.
    fn misses(&self) -> bool {
        self.cluster.topic().is_none()
            && self.cluster.topic_error() == Some(UNKNOWN_TOPIC_OR_PARTITION)
            && self.new.is_some()
    }

    fn advance(&mut self, now: Instant) {
        loop {
            while let Some(response) = self.cluster.poll_response() {
                let broker = response.broker;
                if self.handle_created(now, response).is_err() {
                    self.cluster.close_broker(now, broker);
                }
            }
            if self.changes_seen == self.cluster.changes() {
                break;
            }
            self.changes_seen = self.cluster.changes();
            self.look();
        }
        if self.state == State::Looking && self.misses() && self.not_before <= now {
            self.create(now);
        }
    }

    fn look(&mut self) {
        if self.state == State::Found {
            return;
        }
        if let Some(topic) = self.cluster.topic() {
            self.state = State::Found;
            let (id, partitions) = (topic.id, topic.partitions.len());
            self.tell(AdminEvent::Found(TopicDescription { id, partitions, created: self.created }));
            return;
        }
        match self.cluster.topic_error() {
            Some(UNKNOWN_TOPIC_OR_PARTITION) if self.new.is_none() => self.tell(AdminEvent::Missing),
            None | Some(UNKNOWN_TOPIC_OR_PARTITION) => {}
            Some(code) => self.tell(AdminEvent::Refused { code, message: String::new() }),
        }
    }

    fn tell(&mut self, event: AdminEvent) {
        if self.told.as_ref() != Some(&event) {
            self.told = Some(event.clone());
            self.events.push_back(event);
        }
    }

    fn create(&mut self, now: Instant) {
        let Some(new) = &self.new else {
            return;
        };
        let setting = |(name, value): &(String, String)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(&self.topic)))
            .with_num_partitions(new.partitions)
            .with_replication_factor(new.replicas)
            .with_configs(new.settings.iter().map(setting).collect());
        let timeout_ms = i32::try_from(CREATE_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
        let limits = RequestLimits::within(CREATE_TIMEOUT * 2);
        match self.cluster.request(now, Target::Any, &request, (), limits) {
            Ok(_) => self.state = State::Creating,
            Err(_) => self.wait(now),
        }
    }

    fn wait(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + backoff(self.failures, &mut self.random);
    }

    /// Lost, or an error that may pass: look again, and create again where it is still missing.
    fn handle_created(&mut self, now: Instant, response: Response<()>) -> Result<(), WireError> {
        if self.state == State::Creating {
            self.state = State::Looking;
        }
        self.wait(now);
        self.cluster.refresh_metadata(now);
        let Some(answer) = response.answer else {
            return Ok(());
        };
        let response = answer.decode::<CreateTopicsRequest>()?;
        let [topic] = &response.topics[..] else {
            let reason = "another number of topics than was asked for".to_owned();
            return Err(WireError { kind: "CreateTopicsResponse", reason });
        };
        match topic.error_code {
            0 => {
                self.created = true;
                if self.state == State::Looking {
                    self.state = State::Created;
                }
            }
            TOPIC_ALREADY_EXISTS => {}
            code => {
                let message = topic.error_message.as_ref().map(|message| message.to_string()).unwrap_or_default();
                self.tell(AdminEvent::Refused { code, message });
            }
        }
        Ok(())
    }
}
