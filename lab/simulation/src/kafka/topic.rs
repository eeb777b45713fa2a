//! A topic: what it is called, what it was made with, and who leads its partitions. Which of them a request means.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};
use kafka_protocol::messages::TopicName;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::Kafka;
use super::log::{Header, Log};

/// The place of the orders' topic among a cluster's: its name is known from the first, whether or not it exists.
pub(super) const ORDERS: usize = 0;

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) log: Log,
    pub(super) leader: usize,
    pub(super) leader_epoch: i32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// Another one each time that it is made.
    pub(super) id: u128,
    /// None: it does not exist.
    pub(super) partitions: Vec<Partition>,
    /// What it was made with, where that was said: the brokers' defaults hold otherwise.
    pub(super) settings: BTreeMap<String, String>,
}

impl Partition {
    /// Somebody without a producer's id writes a record, which every replica has at once. `value`: `None` is a tombstone.
    pub(super) fn write_stray(&mut self, now: Now, key: Option<&[u8]>, value: Option<&[u8]>) {
        let record = Record {
            transactional: false,
            control: false,
            partition_leader_epoch: 0,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            timestamp: now.wall_ms.cast_signed(),
            offset: 0,
            sequence: -1,
            key: key.map(Bytes::copy_from_slice),
            value: value.map(Bytes::copy_from_slice),
            headers: Default::default(),
            delete_horizon: Default::default(),
        };
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("a record of some bytes");
        let header = Header::read(&bytes).expect("it was made here");
        self.log.append(header, &bytes, self.leader_epoch, now.instant, now.instant);
    }
}

impl Topic {
    /// One that has still to be made.
    pub(super) fn named(name: &str) -> Topic {
        Topic { name: name.to_owned(), id: 0, partitions: Vec::new(), settings: BTreeMap::new() }
    }

    pub(super) fn exists(&self) -> bool {
        !self.partitions.is_empty()
    }

    /// Whether of each key only the last record has to be kept.
    pub(super) fn is_compacted(&self) -> bool {
        self.settings.get("cleanup.policy").is_some_and(|policy| policy.split(',').any(|how| how.trim() == "compact"))
    }
}

impl Kafka {
    /// Makes a topic anew, under an id that it never had, and empty.
    pub(super) fn create(&mut self, topic: usize, partitions: usize) {
        let random = self.random_of(topic);
        let id = u128::from(random.bits()) << 64 | u128::from(random.bits());
        self.topics[topic].id = id;
        self.forget_partitions(topic);
        self.add_partitions(topic, partitions);
    }

    /// The topic is gone, with all that stood in it.
    pub(super) fn forget_partitions(&mut self, topic: usize) {
        self.topics[topic].partitions.clear();
        if topic == ORDERS {
            self.forget_all_places();
        }
    }

    pub(super) fn add_partitions(&mut self, topic: usize, count: usize) {
        for _ in 0..count {
            // Each topic's first leader is another node, as brokers spread them.
            let leader = self.alive((topic + self.topics[topic].partitions.len()) % self.nodes.len());
            self.topics[topic].partitions.push(Partition { log: Log::default(), leader, leader_epoch: 0 });
        }
    }

    /// The place of the topic of this name, whether or not it exists; `None`: nobody ever made it.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    /// The same; a name that nobody has heard of becomes that of a topic which does not exist yet.
    pub(super) fn place_or_new(&mut self, name: &str) -> usize {
        self.place_of(name).unwrap_or_else(|| {
            self.topics.push(Topic::named(name));
            self.topics.len() - 1
        })
    }

    /// A topic's settings, the brokers' defaults among them; `None`: there is no such topic. The orders' topic keeps its
    /// records whatever it was made with, and says so before it is there.
    pub(super) fn settings_of(&self, name: &str) -> Option<Vec<(String, String)>> {
        const WEEK_MS: &str = "604800000";
        let place = self.place_of(name)?;
        let topic = &self.topics[place];
        let is_orders = place == ORDERS;
        if !is_orders && !topic.exists() {
            return None;
        }
        let in_sync = self.nodes.len().saturating_sub(1).max(1).to_string();
        let defaults = [
            ("cleanup.policy", "delete"),
            ("retention.ms", if is_orders { "-1" } else { WEEK_MS }),
            ("retention.bytes", "-1"),
            ("message.timestamp.type", "CreateTime"),
            ("min.insync.replicas", &in_sync),
            ("unclean.leader.election.enable", "false"),
        ];
        let mut settings: Vec<(String, String)> =
            defaults.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if !is_orders {
            settings.retain(|(name, _)| !topic.settings.contains_key(name));
            settings.extend(topic.settings.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Some(settings)
    }

    /// The topic that a request names, by id from some version on, else by name, where it exists.
    pub(super) fn asked_topic(&self, by_id: bool, id: uuid::Uuid, name: &TopicName) -> Option<usize> {
        let is_meant = |topic: &Topic| if by_id { id.as_u128() == topic.id } else { name.0.as_str() == topic.name };
        self.topics.iter().position(|topic| topic.exists() && is_meant(topic))
    }

    /// Kafka's error code for partition `index` asked of `node`, if it cannot serve it.
    pub(super) fn not_served(&self, node: usize, topic: usize, index: i32) -> Option<i16> {
        const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
        const NOT_LEADER_OR_FOLLOWER: i16 = 6;
        match usize::try_from(index).ok().and_then(|index| self.topics[topic].partitions.get(index)) {
            None => Some(UNKNOWN_TOPIC_OR_PARTITION),
            Some(partition) if partition.leader != node => Some(NOT_LEADER_OR_FOLLOWER),
            Some(_) => None,
        }
    }

    /// Another node leads a partition, without what was not replicated.
    pub(super) fn lead(&mut self, now: Instant, topic: usize, index: usize, node: usize) {
        // Whoever waits for the old leader's replicas waits for nothing.
        self.end_waiting_produce(self.topics[topic].partitions[index].leader, topic);
        let partition = &mut self.topics[topic].partitions[index];
        partition.log.lose_unreplicated(now);
        partition.leader = node;
        partition.leader_epoch += 1;
        if topic == ORDERS {
            self.forget_places(index);
        }
    }
}
