//! The brokers of one cluster and the leaders of one topic: what a producer and a consumer share.
//!
//! A machine that needs Kafka (producer, consumer, admin) owns a `Cluster<P>` and passes the shell's calls through, all of them
//! those of [`KafkaClient`](super::client::KafkaClient):
//!
//! ```text
//! shell                          machine                                Cluster<P>
//! ─────                          ───────                                ──────────
//! connect / close a socket  ◀──  poll_action()                     ◀──  poll_action()
//! socket opened, closed     ──▶  handle_broker_open/_closed        ──▶  the same
//! bytes have arrived        ──▶  handle_broker_bytes               ──▶  the same, then poll_response() until None
//! what is to be written     ◀──  poll_broker_write                 ◀──  the same
//! the time has come         ──▶  handle_time, next_deadline        ──▶  the same, then poll_response() until None
//! ```
//!
//! **To send a request**, name a [`Target`]: any broker, or a node by its id. [`Cluster::request`] takes any request type of
//! kafka-protocol that [`super::versions`] lists and a token `P`; [`Cluster::request_with`] lets the caller write the body.
//! Nothing is queued: where no connection is ready the error says so, and the caller asks again after one of its
//! `handle_*` calls has raised [`Cluster::changes`]. Each request that was sent comes back **exactly once** through
//! [`Cluster::poll_response`]: with an [`Answer`] to decode (`answer.decode::<MetadataRequest>()`), or lost with its
//! connection, and then what became of it is **unknown**. An answer that does not decode, or that means nonsense: call
//! [`Cluster::close_broker`] with the response's key.
//!
//! **To reach a particular broker** (a partition's leader: [`Cluster::leader`]; a coordinator), call [`Cluster::connect`]
//! with its node id and a [`Lane`], once: the connection is kept, and made again with backoff, until
//! [`Cluster::disconnect`]. Addresses come from metadata; one learned elsewhere (FindCoordinator) is told with
//! [`Cluster::learn_node`]. A broker works on one request of a connection at a time, so a request that may wait (a fetch)
//! must not share a lane with one that must not (a heartbeat).
//!
//! Metadata is asked for by the cluster itself: at the start, when a connection is lost, when it is old, and when
//! [`Cluster::refresh_metadata`] says that something was stale.
//!
//! Never retries a request of its user, never decides what an error code means, never resolves a name.

mod connections;
mod refusal;
mod shell;
mod slot;
mod slots;
mod target;
#[cfg(test)]
mod tests;
mod topology;
mod wanted;

use std::collections::VecDeque;
use std::time::Duration;

use kafka_protocol::protocol::Request;

use self::refusal::Refusal;
use self::slot::{Peer, Purpose};
use self::slots::Slots;
pub use self::target::{Lane, Target};
use self::topology::Topology;
use self::wanted::Wanted;
use super::backoff::SplitMix64;
use super::client::{BrokerAction, BrokerKey};
use super::connection::{Answer, RequestError, RequestLimits};
use super::denial;
use super::metadata::{self, Address, NodeId, Topic};
use super::sasl::identity::Identity;
use super::versions::ApiKeyCode;
use crate::time::Instant;

/// How a cluster is found.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where to start: any of the brokers. Must not be empty.
    pub bootstrap: Vec<(String, u16)>,
    /// Shown in the broker's logs and quotas.
    pub client_id: String,
    /// The one topic whose leaders are followed.
    pub topic: String,
    /// For jitter and for the order in which brokers are tried.
    pub seed: u64,
    /// Who we are, where brokers want a login.
    pub login: Option<Identity>,
}

/// The end of a request.
#[derive(Clone, Debug)]
pub struct Response<P> {
    /// What the caller tied to the request.
    pub token: P,
    /// Over which connection it went.
    pub broker: BrokerKey,
    /// The answer; `None`: the connection was lost first, so what became of the request is unknown.
    pub answer: Option<Answer>,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster<P> {
    config: ClusterConfig,
    random: SplitMix64,
    slots: Slots<P>,
    wanted: Wanted,
    topology: Topology,
    /// How long a sign of life may take before the connection is given up; `None`: none is asked for.
    probe_timeout: Option<Duration>,
    /// When bytes came by any connection last.
    heard: Instant,
    refusal: Refusal,
    changes: u64,
    actions: VecDeque<BrokerAction>,
    responses: VecDeque<Response<P>>,
}

impl<P> Cluster<P> {
    /// A cluster that begins to connect at once.
    ///
    /// # Panics
    /// Where there is no bootstrap broker: the configuration has been checked before.
    pub fn new(mut config: ClusterConfig, now: Instant) -> Cluster<P> {
        let mut random = SplitMix64::new(config.seed);
        let wanted = Wanted::new(std::mem::take(&mut config.bootstrap), now, &mut random);
        let mut cluster = Cluster {
            config,
            random,
            slots: Slots::new(),
            wanted,
            topology: Topology::new(now),
            probe_timeout: None,
            heard: now,
            refusal: Refusal::default(),
            changes: 0,
            actions: VecDeque::new(),
            responses: VecDeque::new(),
        };
        cluster.drive(now);
        cluster
    }

    // What is known.

    /// The topic, once metadata has told of it; kept while brokers are away.
    pub fn topic(&self) -> Option<&Topic> {
        self.topology.topic.as_ref()
    }

    /// The broker's error code for the topic in its latest metadata (3: there is no such topic), or `None`.
    pub fn topic_error(&self) -> Option<i16> {
        self.topology.topic_error
    }

    /// When the metadata that is known was asked for: it tells of that moment or a later one. `None`: none has come.
    pub fn metadata_as_of(&self) -> Option<Instant> {
        self.topology.as_of
    }

    /// The leader of `partition`, where known.
    pub fn leader(&self, partition: i32) -> Option<NodeId> {
        self.topology.leader(partition)
    }

    /// Where a broker listens, where known.
    pub fn address(&self, node: NodeId) -> Option<&Address> {
        self.topology.nodes.get(&node)
    }

    /// Goes up with each connection that becomes ready or ends and with each metadata answer. A client that looked at leaders or
    /// at readiness looks again when it has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a request to `target` would be sent now.
    pub fn is_ready(&self, target: Target) -> bool {
        self.slots.ready(target).is_some()
    }

    /// Whether a request of this kind to `target` would be sent now, and why not.
    ///
    /// # Errors
    /// What [`Cluster::request`] would answer.
    pub fn may_send(&self, target: Target, api_key: ApiKeyCode) -> Result<(), RequestError> {
        self.slots.may_send(target, api_key)
    }

    /// Why a broker does not take us, in one line that names it: until it does, or others do and it is not asked any more.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.in_words()
    }

    /// Who we are to the brokers, in words.
    pub fn who(&self) -> String {
        self.config.login.as_ref().map_or_else(|| "this client".to_owned(), Identity::who)
    }

    /// Why brokers tell nothing of the topic, where an operator can mend that.
    pub fn topic_refusal(&self) -> Option<String> {
        denial::in_words(self.topology.topic_error?, &self.who(), "Describe", &self.config.topic)
    }

    /// From now on connections on which nothing is under way are asked for a sign of life now and then, and given up where
    /// none comes within `timeout`; and one that owes any answer is known to be silent long before that answer is given up.
    /// Without it a broker that has fallen silent is noticed when the next request is given up.
    pub fn watch_silence(&mut self, timeout: Duration) {
        self.probe_timeout = Some(timeout);
    }

    /// Whether the broker behind `target` owes an answer, and has said nothing at all, for longer than
    /// [`SILENCE_MAX`](super::limits::SILENCE_MAX).
    pub fn is_silent(&self, target: Target) -> bool {
        self.slots.is_silent(target)
    }

    /// When any broker was heard last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Requests to `node` over `lane` that have no answer yet.
    pub fn in_flight(&self, node: NodeId, lane: Lane) -> usize {
        self.slots.in_flight(node, lane)
    }

    /// The version in which `target` would get a request; `None` where it is not ready or there is no common one.
    pub fn version(&self, target: Target, api_key: ApiKeyCode) -> Option<i16> {
        self.slots.version(target, api_key)
    }

    // What is wanted.

    /// Tells where a node listens, learned from elsewhere than metadata. `false`: such an address cannot be.
    pub fn learn_node(&mut self, now: Instant, node: NodeId, host: &str, port: i32) -> bool {
        let Some(address) = metadata::address(host, port) else {
            return false;
        };
        self.topology.nodes.insert(node, address);
        self.drive(now);
        true
    }

    /// Keeps a connection to `node` from now on. Harmless where it is kept already.
    pub fn connect(&mut self, now: Instant, node: NodeId, lane: Lane) {
        if self.wanted.add(now, Peer::Node(node, lane)) {
            self.drive(now);
        }
    }

    /// Keeps no connection to `node` any more. One that exists is closed; its requests come back lost.
    pub fn disconnect(&mut self, now: Instant, node: NodeId, lane: Lane) {
        let peer = Peer::Node(node, lane);
        self.wanted.remove(peer);
        if let Some(index) = self.slots.find(|slot| slot.peer == peer) {
            self.close_slot(now, index, true);
            self.drive(now);
        }
    }

    /// Nodes to which a connection is kept over `lane`.
    pub fn connected_nodes(&self, lane: Lane) -> impl Iterator<Item = NodeId> {
        self.wanted.nodes().filter(move |(_, its)| *its == lane).map(|(node, _)| node)
    }

    /// Says that the metadata is stale: asked for again as soon as
    /// [`METADATA_GAP`](super::limits::METADATA_GAP) has passed since the last time.
    pub fn refresh_metadata(&mut self, now: Instant) {
        self.topology.expire(now);
        self.drive(now);
    }

    /// Sends `request`; see the module.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent and no response will come.
    pub fn request<R: Request>(
        &mut self,
        now: Instant,
        target: Target,
        request: &R,
        token: P,
        limits: RequestLimits,
    ) -> Result<BrokerKey, RequestError> {
        let (key, connection) = self.slots.ready_connection(target)?;
        connection.request(now, request, Purpose::User(token), limits)?;
        Ok(key)
    }

    /// Sends a request whose body `write` appends, in the version it is told.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent and no response will come.
    pub fn request_with(
        &mut self,
        now: Instant,
        target: Target,
        api_key: ApiKeyCode,
        token: P,
        limits: RequestLimits,
        write: impl FnOnce(&mut Vec<u8>, i16),
    ) -> Result<BrokerKey, RequestError> {
        let (key, connection) = self.slots.ready_connection(target)?;
        connection.request_with(now, api_key, Purpose::User(token), limits, write)?;
        Ok(key)
    }

    /// The next request that has ended.
    pub fn poll_response(&mut self) -> Option<Response<P>> {
        self.responses.pop_front()
    }

    /// Gives a connection up because of what an answer said; its other requests come back lost.
    pub fn close_broker(&mut self, now: Instant, broker: BrokerKey) {
        if let Some(index) = self.slots.place_of(broker) {
            self.fail_slot(now, index, true);
            self.drive(now);
        }
    }
}
