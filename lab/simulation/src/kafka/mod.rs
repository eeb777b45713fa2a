//! A fake Apache Kafka: brokers, logs, idempotent producers and a group coordinator.
//!
//! The orders' topic, and what others are created, on one or more nodes, as a client of the versions in
//! `flux_protocol::kafka::versions` sees them. A batch is appended by the leader and *replicated* a moment later: only then
//! is it acknowledged to who asked for acks=all, and only then do consumers see it; a leader that goes before that takes it
//! along. It never opens a socket or reads a clock. What is drawn for other topics changes no draw of the orders'.
//!
//! - `wire`: frames in and out; `requests`, `produce`, `fetch`: what each request comes to; `topic`, `log`, `group`: the state they work on;
//!   `compaction`: what a log comes to whose records have keys.
//! - `peer`: connections, and requests that wait; `faults`: what can happen; `observe`: what a checker reads; `others`:
//!   both of these for other topics than the orders', whose `records` have keys.

mod compaction;
mod faults;
mod fetch;
mod group;
mod log;
mod observe;
mod others;
mod peer;
mod produce;
mod records;
mod requests;
#[cfg(test)]
mod tests;
mod topic;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use flux_protocol::time::Instant;

pub use self::compaction::Tombstones;
pub use self::faults::ProduceFault;
use self::group::Group;
pub use self::others::Keyed;
use self::peer::Connection;
use self::topic::{ORDERS, Topic};
use crate::peer::SocketId;
use crate::random::Random;

/// What clients connect to; node n listens on [`PORT`] + n.
pub const HOST: &str = "kafka";
/// The first node's port.
pub const PORT: u16 = 9092;
/// How long a stopped leader's partitions have none.
const ELECTION: Duration = Duration::from_millis(300);
/// Without a word from it for so long, a node is out (`broker.session.timeout.ms`).
const BROKER_SESSION: Duration = Duration::from_secs(9);
/// Replication takes so long at most, as a rule.
const REPLICATION_US: u64 = 2000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    is_down: bool,
    is_paused: bool,
    /// When its partitions get other leaders.
    replaced_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Kafka {
    /// What is drawn for the orders' topic.
    random: Random,
    /// What is drawn for all others.
    random_of_others: Random,
    /// The orders' first.
    topics: Vec<Topic>,
    nodes: Vec<Node>,
    group: Group,
    coordinator: usize,
    producer_ids: i64,
    replication_slowed: Duration,
    /// Of requests for the orders' topic.
    produce_faults: VecDeque<ProduceFault>,
    /// Orders' batches with these bytes in them are refused with this code.
    poison: Option<(Bytes, i16)>,
    damages_next_fetch: bool,
    connections: BTreeMap<SocketId, Connection>,
    outgoing: VecDeque<(SocketId, Bytes)>,
    closing: VecDeque<SocketId>,
    /// When consumers that wait may have something to read.
    next_news: Instant,
    asked: BTreeMap<i16, u64>,
    unknown: Vec<String>,
    /// By order where records of it stand, as far as the log was read for it.
    places: BTreeMap<String, Vec<(usize, i64)>>,
    read_until: BTreeMap<usize, i64>,
}

impl Kafka {
    /// A cluster of so many nodes; the orders' topic has so many partitions, or with 0 is not there until it is created.
    pub fn new(nodes: usize, topic: &str, partitions: usize, random: Random) -> Kafka {
        assert!(nodes > 0, "a cluster has a node");
        let mut kafka = Kafka {
            // Apart from the start: how often one is asked does not show in the other.
            random_of_others: Random::new(!random.clone().bits()),
            random,
            topics: vec![Topic::named(topic)],
            nodes: vec![Node::default(); nodes],
            group: Group::new(),
            coordinator: 0,
            producer_ids: 1000,
            replication_slowed: Duration::ZERO,
            produce_faults: VecDeque::new(),
            poison: None,
            damages_next_fetch: false,
            connections: BTreeMap::new(),
            outgoing: VecDeque::new(),
            closing: VecDeque::new(),
            next_news: Instant::FAR_FUTURE,
            asked: BTreeMap::new(),
            unknown: Vec::new(),
            places: BTreeMap::new(),
            read_until: BTreeMap::new(),
        };
        kafka.create(ORDERS, partitions);
        kafka
    }

    fn random_of(&mut self, topic: usize) -> &mut Random {
        if topic == ORDERS { &mut self.random } else { &mut self.random_of_others }
    }

    /// `wanted`, or the next node that is up; `wanted` where none is.
    fn alive(&self, wanted: usize) -> usize {
        let count = self.nodes.len();
        let is_out = |node: &usize| self.nodes[*node].is_down || self.nodes[*node].is_paused;
        (0..count).map(|step| (wanted + step) % count).find(|node| !is_out(node)).unwrap_or(wanted % count)
    }

    fn can_reach(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.is_down)
    }

    /// The other nodes take over what `node` led; what it had not replicated is lost.
    fn replace(&mut self, now: Instant, node: usize) {
        self.nodes[node].replaced_at = None;
        let successor = self.alive(node + 1);
        if successor == node {
            return; // It is the only one: its partitions wait for it.
        }
        for topic in 0..self.topics.len() {
            for index in 0..self.topics[topic].partitions.len() {
                if self.topics[topic].partitions[index].leader == node {
                    self.lead(now, topic, index, successor);
                }
            }
        }
        if self.coordinator == node {
            self.coordinator = successor;
        }
    }
}
