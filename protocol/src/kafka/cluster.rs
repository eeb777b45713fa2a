//! The brokers of one cluster and the leaders of one topic: what a producer and a consumer share.
//!
//! A machine that needs Kafka (producer, consumer, admin) owns a `Cluster<P>` and passes the shell's calls through, all of them
//! those of [`KafkaClient`]:
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

mod slot;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::protocol::Request;

use self::slot::{Peer, Purpose, Slot, Socket};
pub use self::target::{Lane, Target};
use super::backoff::{SplitMix64, backoff};
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::connection::{Answer, BrokerConnection, ConnectionError, RequestError, RequestLimits};
use super::denial;
use super::limits::{
    CONNECT_TIMEOUT, LOGIN_BACKOFF, METADATA_AGE_MAX, METADATA_GAP, METADATA_TIMEOUT, REFUSAL_AGE_MAX,
};
use super::metadata::{self, Address, Metadata, NodeId, Partition, Topic};
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

/// A login that came to nothing.
#[derive(Debug)]
struct Refusal {
    address: Address,
    why: String,
    at: Instant,
}

/// A connection that is kept, and when it may be tried again.
#[derive(Debug)]
struct Wanted {
    peer: Peer,
    failures: u32,
    not_before: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster<P> {
    config: ClusterConfig,
    random: SplitMix64,
    slots: Vec<Slot<P>>,
    wanted: Vec<Wanted>,
    /// The start, and the way back in when all that is known is out of reach.
    bootstrap: Wanted,
    bootstrap_next: usize,
    key_next: u32,
    nodes: BTreeMap<NodeId, Address>,
    topic: Option<Topic>,
    topic_error: Option<i16>,
    metadata_due: Instant,
    metadata_asked: Option<Instant>,
    /// When the latest answer was asked for.
    metadata_as_of: Option<Instant>,
    metadata_in_flight: bool,
    /// How long a sign of life may take before the connection is given up; `None`: none is asked for.
    probe_timeout: Option<Duration>,
    /// When bytes came by any connection last.
    heard: Instant,
    /// Which broker has refused our login last.
    refusal: Option<Refusal>,
    changes: u64,
    actions: VecDeque<BrokerAction>,
    responses: VecDeque<Response<P>>,
}

impl<P> Cluster<P> {
    /// A cluster that begins to connect at once.
    ///
    /// # Panics
    /// Where there is no bootstrap broker: the configuration has been checked before.
    pub fn new(config: ClusterConfig, now: Instant) -> Cluster<P> {
        assert!(!config.bootstrap.is_empty(), "no bootstrap broker");
        let mut random = SplitMix64::new(config.seed);
        let bootstrap_next = random.below(config.bootstrap.len() as u64) as usize;
        let mut cluster = Cluster {
            config,
            random,
            slots: Vec::new(),
            wanted: Vec::new(),
            bootstrap: Wanted { peer: Peer::Bootstrap, failures: 0, not_before: now },
            bootstrap_next,
            key_next: 0,
            nodes: BTreeMap::new(),
            topic: None,
            topic_error: None,
            metadata_due: now,
            metadata_asked: None,
            metadata_as_of: None,
            metadata_in_flight: false,
            probe_timeout: None,
            heard: now,
            refusal: None,
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
        self.topic.as_ref()
    }

    /// The broker's error code for the topic in its latest metadata (3: there is no such topic), or `None`.
    pub fn topic_error(&self) -> Option<i16> {
        self.topic_error
    }

    /// When the metadata that is known was asked for: it tells of that moment or a later one. `None`: none has come.
    pub fn metadata_as_of(&self) -> Option<Instant> {
        self.metadata_as_of
    }

    /// The leader of `partition`, where known.
    pub fn leader(&self, partition: i32) -> Option<NodeId> {
        self.topic.as_ref()?.partitions.get(usize::try_from(partition).ok()?)?.leader
    }

    /// Where a broker listens, where known.
    pub fn address(&self, node: NodeId) -> Option<&Address> {
        self.nodes.get(&node)
    }

    /// Goes up with each connection that becomes ready or ends and with each metadata answer. A client that looked at leaders or
    /// at readiness looks again when it has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a request to `target` would be sent now.
    pub fn is_ready(&self, target: Target) -> bool {
        self.ready_slot(target).is_some()
    }

    /// Whether a request of this kind to `target` would be sent now, and why not.
    ///
    /// # Errors
    /// What [`Cluster::request`] would answer.
    pub fn may_send(&self, target: Target, api_key: ApiKeyCode) -> Result<(), RequestError> {
        match self.ready_slot(target).or_else(|| self.open_slot_of(target)).map(|index| &self.slots[index].socket) {
            Some(Socket::Open(connection)) => connection.may_send(api_key).map(|_| ()),
            Some(Socket::Opening { .. }) | None => Err(RequestError::NotReady),
        }
    }

    /// Why a broker does not take us, in one line that names it: until it does, or others do and it is not asked any more.
    pub fn refusal(&self) -> Option<String> {
        let Refusal { address: Address { host, port }, why, .. } = self.refusal.as_ref()?;
        Some(format!("{host}:{port}: {why}"))
    }

    /// Who we are to the brokers, in words.
    pub fn who(&self) -> String {
        self.config.login.as_ref().map_or_else(|| "this client".to_owned(), Identity::who)
    }

    /// Why brokers tell nothing of the topic, where an operator can mend that.
    pub fn topic_refusal(&self) -> Option<String> {
        denial::in_words(self.topic_error?, &self.who(), "Describe", &self.config.topic)
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
        self.ready_slot(target).is_some_and(|index| self.slots[index].is_silent)
    }

    /// When any broker was heard last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Requests to `node` over `lane` that have no answer yet.
    pub fn in_flight(&self, node: NodeId, lane: Lane) -> usize {
        let peer = Peer::Node(node, lane);
        self.slots.iter().find(|slot| slot.peer == peer).map_or(0, Slot::in_flight)
    }

    /// The version in which `target` would get a request; `None` where it is not ready or there is no common one.
    pub fn version(&self, target: Target, api_key: ApiKeyCode) -> Option<i16> {
        match &self.slots[self.ready_slot(target)?].socket {
            Socket::Open(connection) => connection.version(api_key),
            Socket::Opening { .. } => None,
        }
    }

    // What is wanted.

    /// Tells where a node listens, learned from elsewhere than metadata. `false`: such an address cannot be.
    pub fn learn_node(&mut self, now: Instant, node: NodeId, host: &str, port: i32) -> bool {
        let Some(address) = metadata::address(host, port) else {
            return false;
        };
        self.nodes.insert(node, address);
        self.drive(now);
        true
    }

    /// Keeps a connection to `node` from now on. Harmless where it is kept already.
    pub fn connect(&mut self, now: Instant, node: NodeId, lane: Lane) {
        let peer = Peer::Node(node, lane);
        if !self.wanted.iter().any(|wanted| wanted.peer == peer) {
            self.wanted.push(Wanted { peer, failures: 0, not_before: now });
            self.drive(now);
        }
    }

    /// Keeps no connection to `node` any more. One that exists is closed; its requests come back lost.
    pub fn disconnect(&mut self, now: Instant, node: NodeId, lane: Lane) {
        let peer = Peer::Node(node, lane);
        self.wanted.retain(|wanted| wanted.peer != peer);
        if let Some(index) = self.slots.iter().position(|slot| slot.peer == peer) {
            self.close_slot(now, index, true);
            self.drive(now);
        }
    }

    /// Nodes to which a connection is kept over `lane`.
    pub fn connected_nodes(&self, lane: Lane) -> impl Iterator<Item = NodeId> {
        self.wanted.iter().filter_map(move |wanted| match wanted.peer {
            Peer::Node(node, its) if its == lane => Some(node),
            _ => None,
        })
    }

    /// Says that the metadata is stale: asked for again as soon as [`METADATA_GAP`] has passed since the last time.
    pub fn refresh_metadata(&mut self, now: Instant) {
        let earliest = self.metadata_asked.map_or(now, |asked| (asked + METADATA_GAP).max(now));
        self.metadata_due = self.metadata_due.min(earliest);
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
        let (key, connection) = self.ready_connection(target)?;
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
        let (key, connection) = self.ready_connection(target)?;
        connection.request_with(now, api_key, Purpose::User(token), limits, write)?;
        Ok(key)
    }

    /// The next request that has ended.
    pub fn poll_response(&mut self) -> Option<Response<P>> {
        self.responses.pop_front()
    }

    /// Gives a connection up because of what an answer said; its other requests come back lost.
    pub fn close_broker(&mut self, now: Instant, broker: BrokerKey) {
        if let Some(index) = self.index_of(broker) {
            self.fail_slot(now, index, true);
            self.drive(now);
        }
    }
}

impl<P> KafkaClient for Cluster<P> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.actions.pop_front()
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        let Some(index) = self.index_of(broker) else {
            return;
        };
        let slot = &mut self.slots[index];
        if matches!(slot.socket, Socket::Opening { .. }) {
            let login = self.config.login.as_ref();
            slot.socket = Socket::Open(BrokerConnection::open(now, &self.config.client_id, login));
        }
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        let Some(index) = self.index_of(broker) else {
            buffer.clear();
            return Err(ClusterError::Forgotten);
        };
        let result = self.read_answers(now, index, buffer);
        if let Err(error) = &result {
            buffer.clear();
            self.note_refusal(now, index, error);
            self.fail_slot(now, index, false);
        }
        self.drive(now);
        result
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        if let Some(index) = self.index_of(broker) {
            self.fail_slot(now, index, false);
            self.drive(now);
        }
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        if let Some(Slot { socket: Socket::Open(connection), .. }) =
            self.slots.iter_mut().find(|slot| slot.key == broker)
        {
            connection.poll_write(out);
        }
    }

    fn next_deadline(&self) -> Instant {
        let mut earliest = Instant::FAR_FUTURE;
        let (mut any_ready, mut any_open) = (false, false);
        for slot in &self.slots {
            earliest = earliest.min(match &slot.socket {
                Socket::Opening { deadline } => *deadline,
                Socket::Open(connection) => connection.deadline().min(connection.next_time()),
            });
            any_ready |= slot.is_ready();
            any_open |= slot.is_open();
            if self.probe_timeout.is_some() {
                earliest = earliest.min(slot.probe_deadline());
            }
        }
        for wanted in &self.wanted {
            if self.may_open(wanted) {
                earliest = earliest.min(wanted.not_before);
            }
        }
        if !self.metadata_in_flight {
            if any_ready {
                earliest = earliest.min(self.metadata_due);
            } else if !any_open && self.bootstrap_may_open() {
                earliest = earliest.min(self.metadata_due.max(self.bootstrap.not_before));
            }
        }
        earliest
    }

    fn handle_time(&mut self, now: Instant) {
        while let Some(index) = self.slots.iter().position(|slot| slot.is_overdue(now)) {
            self.fail_slot(now, index, true);
        }
        self.renew_logins(now);
        self.look_for_silence(now);
        self.drive(now);
    }
}

impl<P> Cluster<P> {
    // Inside.

    fn look_for_silence(&mut self, now: Instant) {
        let Some(timeout) = self.probe_timeout else { return };
        for slot in &mut self.slots {
            if slot.probe_deadline() > now {
                continue;
            }
            let Socket::Open(connection) = &mut slot.socket else { continue };
            if connection.owes_since().is_some() {
                slot.is_silent = true;
                self.changes += 1;
            } else {
                connection.probe(now, timeout);
            }
        }
    }

    fn renew_logins(&mut self, now: Instant) {
        let mut failed = Vec::new();
        for slot in &mut self.slots {
            if let Socket::Open(connection) = &mut slot.socket
                && connection.next_time() <= now
                && let Err(error) = connection.handle_time(now)
            {
                failed.push((slot.key, ClusterError::from(error)));
            }
        }
        for (broker, error) in failed {
            if let Some(index) = self.index_of(broker) {
                self.note_refusal(now, index, &error);
                self.fail_slot(now, index, true);
            }
        }
    }

    fn note_refusal(&mut self, now: Instant, index: usize, error: &ClusterError) {
        if let ClusterError::Connection(ConnectionError::Login(why)) = error {
            self.refusal = Some(Refusal { address: self.slots[index].address.clone(), why: why.to_string(), at: now });
        }
    }

    fn index_of(&self, broker: BrokerKey) -> Option<usize> {
        self.slots.iter().position(|slot| slot.key == broker)
    }

    fn ready_slot(&self, target: Target) -> Option<usize> {
        match target {
            Target::Node(node, lane) => {
                let peer = Peer::Node(node, lane);
                self.slots.iter().position(|slot| slot.peer == peer && slot.is_ready())
            }
            Target::Any => {
                // Not over the group's lane: the broker reads nothing behind a JoinGroup until the whole group has joined.
                let may_wait = |slot: &Slot<P>| matches!(slot.peer, Peer::Node(_, Lane::GROUP));
                let ready = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_ready() && !may_wait(slot));
                ready.min_by_key(|(_, slot)| (slot.is_silent, slot.in_flight())).map(|(index, _)| index)
            }
        }
    }

    /// A connection that waits for its login to be renewed.
    fn open_slot_of(&self, target: Target) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.is_open()
                && match target {
                    Target::Node(node, lane) => slot.peer == Peer::Node(node, lane),
                    Target::Any => !matches!(slot.peer, Peer::Node(_, Lane::GROUP)),
                }
        })
    }

    fn ready_connection(
        &mut self,
        target: Target,
    ) -> Result<(BrokerKey, &mut BrokerConnection<Purpose<P>>), RequestError> {
        let index = self.ready_slot(target).ok_or(RequestError::NotReady)?;
        match &mut self.slots[index] {
            Slot { key, socket: Socket::Open(connection), .. } => Ok((*key, connection)),
            Slot { socket: Socket::Opening { .. }, .. } => Err(RequestError::NotReady),
        }
    }

    fn read_answers(&mut self, now: Instant, index: usize, buffer: &mut BytesMut) -> Result<(), ClusterError> {
        let broker = self.slots[index].key;
        (self.heard, self.slots[index].heard) = (now, now);
        if std::mem::take(&mut self.slots[index].is_silent) {
            self.changes += 1;
        }
        let Socket::Open(connection) = &mut self.slots[index].socket else {
            return Err(ConnectionError::Unsolicited.into());
        };
        let was_ready = connection.is_ready();
        let mut metadata_answer = None;
        while let Some((purpose, answer)) = connection.next_answer(now, buffer)? {
            match purpose {
                Purpose::User(token) => self.responses.push_back(Response { token, broker, answer: Some(answer) }),
                Purpose::Metadata => metadata_answer = Some(answer),
            }
        }
        if !was_ready && connection.is_ready() {
            self.changes += 1;
            let peer = self.slots[index].peer;
            if let Some(wanted) = self.wanted_mut(peer) {
                wanted.failures = 0;
            }
            self.refusal.take_if(|refusal| refusal.address == self.slots[index].address);
        }
        if let Some(answer) = metadata_answer {
            self.metadata_in_flight = false;
            self.metadata_due = now + METADATA_GAP;
            let response = answer.decode::<MetadataRequest>()?;
            let metadata = metadata::read(&response, &self.config.topic)?;
            self.take_metadata(now, metadata);
        }
        Ok(())
    }

    fn take_metadata(&mut self, now: Instant, metadata: Metadata) {
        self.changes += 1;
        self.metadata_as_of = self.metadata_asked;
        let kept = &self.wanted;
        self.nodes
            .retain(|node, _| kept.iter().any(|wanted| matches!(wanted.peer, Peer::Node(its, _) if its == *node)));
        self.nodes.extend(metadata.nodes);
        let mut complete = true;
        match metadata.topic {
            Ok(newer) => {
                self.topic_error = None;
                match &mut self.topic {
                    Some(topic) => topic.update(newer),
                    None => self.topic = Some(newer),
                }
                // A leader may be named while its broker is away.
                let nodes = &self.nodes;
                let led = |its: &Partition| its.leader.is_some_and(|leader| nodes.contains_key(&leader));
                complete &= self.topic.iter().flat_map(|topic| &topic.partitions).all(led);
            }
            // A broker that has just started may not know the topic yet: what is known is kept.
            Err(code) => {
                self.topic_error = Some(code);
                complete = false;
            }
        }
        self.metadata_due = now + if complete { METADATA_AGE_MAX } else { METADATA_GAP * 2 };
        self.adopt_bootstrap();
    }

    /// A bootstrap connection to an address that turns out to be a node's becomes that node's.
    fn adopt_bootstrap(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].peer != Peer::Bootstrap {
                continue;
            }
            let at = |(_, address): &(&NodeId, &Address)| **address == self.slots[index].address;
            let Some((node, _)) = self.nodes.iter().find(at) else {
                continue;
            };
            let peer = Peer::Node(*node, Lane::DATA);
            if !self.slots.iter().any(|slot| slot.peer == peer) {
                self.slots[index].peer = peer;
            }
        }
    }

    fn wanted_mut(&mut self, peer: Peer) -> Option<&mut Wanted> {
        match peer {
            Peer::Bootstrap => Some(&mut self.bootstrap),
            Peer::Node(..) => self.wanted.iter_mut().find(|wanted| wanted.peer == peer),
        }
    }

    /// A connection has ended by no wish of ours: wait before the next, and see whether leaders have moved.
    fn fail_slot(&mut self, now: Instant, index: usize, tell_shell: bool) {
        let peer = self.slots[index].peer;
        let failures = self.wanted_mut(peer).map(|wanted| {
            wanted.failures = wanted.failures.saturating_add(1);
            wanted.failures
        });
        if let Some(failures) = failures {
            // The bootstrap list is gone through once before the wait grows.
            let rounds = match peer {
                Peer::Bootstrap => failures.div_ceil(self.config.bootstrap.len() as u32),
                Peer::Node(..) => failures,
            };
            let mut wait = backoff(rounds, &mut self.random);
            if self.refusal.as_ref().is_some_and(|refusal| refusal.address == self.slots[index].address) {
                wait += LOGIN_BACKOFF;
            }
            if let Some(wanted) = self.wanted_mut(peer) {
                wanted.not_before = now + wait;
            }
        }
        self.close_slot(now, index, tell_shell);
        let earliest = self.metadata_asked.map_or(now, |asked| (asked + METADATA_GAP).max(now));
        self.metadata_due = self.metadata_due.min(earliest);
    }

    fn close_slot(&mut self, now: Instant, index: usize, tell_shell: bool) {
        let slot = self.slots.remove(index);
        self.changes += 1;
        if tell_shell {
            self.actions.push_back(BrokerAction::Close { broker: slot.key });
        }
        let Socket::Open(connection) = slot.socket else {
            return;
        };
        for purpose in connection.into_tokens() {
            match purpose {
                Purpose::User(token) => self.responses.push_back(Response { token, broker: slot.key, answer: None }),
                Purpose::Metadata => {
                    self.metadata_in_flight = false;
                    self.metadata_due = now;
                }
            }
        }
    }

    fn open_slot(&mut self, now: Instant, peer: Peer, address: Address) {
        let broker = BrokerKey(self.key_next);
        self.key_next = self.key_next.wrapping_add(1);
        let (host, port) = (address.host.clone(), address.port);
        self.actions.push_back(BrokerAction::Connect { broker, host, port });
        let socket = Socket::Opening { deadline: now + CONNECT_TIMEOUT };
        self.slots.push(Slot { key: broker, peer, address, socket, heard: now, is_silent: false });
    }

    fn may_open(&self, wanted: &Wanted) -> bool {
        let Peer::Node(node, _) = wanted.peer else {
            return false;
        };
        self.nodes.contains_key(&node) && !self.slots.iter().any(|slot| slot.peer == wanted.peer)
    }

    /// One attempt at a time, and none at an address to which a connection is under way or open.
    fn bootstrap_may_open(&self) -> bool {
        let (host, port) = &self.config.bootstrap[self.bootstrap_next];
        !self
            .slots
            .iter()
            .any(|slot| slot.peer == Peer::Bootstrap || (slot.address.host == *host && slot.address.port == *port))
    }

    /// Does what is due: opens wanted connections, asks for metadata, closes a bootstrap connection that has served.
    fn drive(&mut self, now: Instant) {
        // Under another name the broker may long have taken us.
        if self.slots.iter().any(Slot::is_open) {
            self.refusal.take_if(|refusal| refusal.at + REFUSAL_AGE_MAX <= now);
        }
        for index in 0..self.wanted.len() {
            let wanted = &self.wanted[index];
            if wanted.not_before <= now && self.may_open(wanted) {
                let peer = wanted.peer;
                let Peer::Node(node, _) = peer else { continue };
                if let Some(address) = self.nodes.get(&node).cloned() {
                    self.open_slot(now, peer, address);
                }
            }
        }
        if !self.metadata_in_flight && self.metadata_due <= now {
            self.ask_for_metadata(now);
        }
        self.close_spare_bootstrap(now);
    }

    fn ask_for_metadata(&mut self, now: Instant) {
        let request = metadata::request(&self.config.topic);
        if let Ok((_, connection)) = self.ready_connection(Target::Any) {
            let limits = RequestLimits::within(METADATA_TIMEOUT);
            match connection.request(now, &request, Purpose::Metadata, limits) {
                Ok(()) => {
                    self.metadata_in_flight = true;
                    self.metadata_asked = Some(now);
                }
                // Full, or a broker without a common version: another time, perhaps another broker.
                Err(_) => self.metadata_due = now + METADATA_GAP,
            }
        } else if self.slots.iter().any(Slot::is_open) {
            // Asked as soon as its login has been renewed.
        } else if self.bootstrap.not_before <= now && self.bootstrap_may_open() {
            let (host, port) = self.config.bootstrap[self.bootstrap_next].clone();
            self.bootstrap_next = (self.bootstrap_next + 1) % self.config.bootstrap.len();
            self.open_slot(now, Peer::Bootstrap, Address { host, port });
        } else if !self.bootstrap_may_open() {
            self.bootstrap_next = (self.bootstrap_next + 1) % self.config.bootstrap.len();
        }
    }

    /// One connection a leader: the one we came in through is closed once another is ready and it is idle.
    fn close_spare_bootstrap(&mut self, now: Instant) {
        let spare = |slot: &Slot<P>| slot.peer == Peer::Bootstrap && slot.is_ready() && slot.in_flight() == 0;
        let Some(index) = self.slots.iter().position(spare) else {
            return;
        };
        let other = |slot: &Slot<P>| slot.peer != Peer::Bootstrap && slot.is_ready();
        if self.slots.iter().any(other) {
            self.close_slot(now, index, true);
        }
    }
}
