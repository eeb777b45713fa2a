//! The consumer: membership ([`super::group`]) and reading ([`super::fetch`]) over one [`super::cluster`].
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
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, ListOffsetsRequest, OffsetCommitRequest,
    SyncGroupRequest,
};

pub use self::config::ConsumerConfig;
pub use self::event::{Event, Standing};
use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Lane, Response, Target};
use super::connection::{Answer, RequestError, RequestLimits};
use super::denial;
use super::end_offsets::EndOffsets;
use super::fetch::{FetchConfig, FetchEvent, FetchId, Fetched, Fetcher, Isolation, Position};
use super::group::{Group, GroupConfig, GroupEvent, GroupRequest, GroupRequestKind};
use super::limits::FRAME_BYTES_MAX;
use super::metadata::{NodeId, TopicId};
use crate::time::Instant;

/// How long an answer may take for which the broker need not wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Added to what a request may wait at the broker on purpose.
const ANSWER_SLACK: Duration = Duration::from_secs(5);
/// A coordinator that has not been reached for so long is asked for again: it may have moved.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(2);
/// Brokers that have said nothing for so much longer than they should count as out of reach.
const SILENCE_SLACK: Duration = Duration::from_secs(1);
/// Longest fetch answer taken: one batch comes whole whatever the fetch allows, and brokers may be configured for large ones.
const FETCH_ANSWER_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(FETCH_ANSWER_BYTES_MAX <= FRAME_BYTES_MAX);

#[derive(Clone, Debug)]
enum Token {
    Group(GroupRequestKind),
    Fetch(FetchId, TopicId),
    Ends(Vec<i32>),
}

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    config: ConsumerConfig,
    cluster: Cluster<Token>,
    group: Group,
    fetcher: Fetcher,
    ends: EndOffsets,
    /// The topic's id while partitions are assigned.
    topic_id: Option<TopicId>,
    /// Where the group's lane goes.
    coordinator: Option<NodeId>,
    coordinator_missed: Option<Instant>,
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
        let group = Group::new(
            GroupConfig {
                group: config.group.clone(),
                topic: config.topic.clone(),
                session_timeout: config.session_timeout,
                rebalance_timeout: config.rebalance_timeout,
                heartbeat_interval: config.heartbeat_interval,
                seed: config.seed.wrapping_add(1),
            },
            now,
        );
        let fetcher = Fetcher::new(FetchConfig {
            isolation: Isolation::Committed,
            answer_bytes_max: config.answer_bytes_max,
            buffered_bytes_max: config.buffered_bytes_max,
            wait: config.fetch_wait,
            seed: config.seed.wrapping_add(2),
        });
        let ends = EndOffsets::new(&config.topic);
        Consumer {
            config,
            cluster,
            group,
            fetcher,
            ends,
            topic_id: None,
            coordinator: None,
            coordinator_missed: None,
            answered_at: now,
            now,
            events: VecDeque::new(),
        }
    }

    // The owner's side.

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Records that have come. Taking them makes room for more: call [`Consumer::handle_time`] afterwards.
    pub fn poll_records(&mut self) -> Option<Fetched> {
        self.fetcher.poll_records()
    }

    /// Reads assigned partitions, each from its position. All at once is better than one by one: a fetch waits
    /// for new records, and a partition that was started behind it waits as long.
    pub fn start(&mut self, now: Instant, positions: impl IntoIterator<Item = Position>) {
        if self.topic_id.is_some() {
            for position in positions {
                self.fetcher.start_at(now, position);
            }
            self.drive(now);
        }
    }

    /// Fetches no more of a partition until [`Consumer::resume`].
    pub fn pause(&mut self, partition: i32) {
        self.fetcher.pause(partition);
    }

    /// Undoes [`Consumer::pause`].
    pub fn resume(&mut self, now: Instant, partition: i32) {
        self.fetcher.resume(partition);
        self.drive(now);
    }

    /// Commits to Kafka, for lag tools: the next offset to be read by partition.
    pub fn commit(&mut self, now: Instant, offsets: impl IntoIterator<Item = (i32, i64)>) {
        self.group.commit(offsets);
        self.drive(now);
    }

    /// After [`Event::Release`]: nothing is in hand any more.
    pub fn release(&mut self, now: Instant) {
        self.group.release(now);
        self.drive(now);
    }

    /// The owner's ledger says that another member stores these partitions: lets them go and joins again.
    pub fn rejoin(&mut self, now: Instant) {
        self.group.rejoin(now);
        self.drive(now);
    }

    /// Leaves the group; [`Event::Left`] follows within seconds.
    pub fn leave(&mut self, now: Instant) {
        self.fetcher.stop_all();
        // The broker reads nothing behind a JoinGroup that waits: the farewell needs a connection of its own.
        let blocked = self.group.is_joining();
        self.group.leave(now);
        if let (true, Some(node)) = (blocked, self.coordinator) {
            self.cluster.disconnect(now, node, Lane::GROUP);
            self.cluster.connect(now, node, Lane::GROUP);
        }
        self.drive(now);
    }

    /// How it stands with brokers and group: for a readiness check, and for people.
    pub fn standing(&self, now: Instant) -> Standing {
        let silence_max = self.config.heartbeat_interval.max(self.config.fetch_wait) + SILENCE_SLACK;
        let coordinator = self.group.coordinator().map(|node| Target::Node(node, Lane::GROUP));
        let is_coordinated = coordinator.is_some_and(|target| self.cluster.is_ready(target));
        if !is_coordinated && !self.cluster.is_ready(Target::Any) {
            Standing::NoBroker
        } else if is_coordinated && self.group.is_waiting() {
            // Nothing else is asked meanwhile, so that nobody is silent for too long.
            Standing::Waiting
        } else if now.since(self.answered_at) > silence_max {
            Standing::NoBroker
        } else if !is_coordinated {
            Standing::NoCoordinator
        } else if self.group.is_member() {
            Standing::Member
        } else {
            Standing::Outside
        }
    }

    /// Why brokers do not take us, in one line: until they do.
    pub fn refusal(&self) -> Option<String> {
        self.cluster.refusal().or_else(|| self.cluster.topic_refusal())
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
        self.fetcher.buffered_bytes()
    }

    /// Where an assigned partition ends, whether it is read or not; `None`: no broker has said so lately.
    pub fn end_offset(&self, now: Instant, partition: i32) -> Option<i64> {
        self.ends.end(now, partition)
    }

    /// When records of a partition last came, or the broker said that there are none to come; since it was started.
    /// `None`: it is not started.
    pub fn read_at(&self, partition: i32) -> Option<Instant> {
        self.fetcher.read_at(partition)
    }

    /// Partitions that stand still, because their offset is not in the log.
    pub fn standing_still(&self) -> usize {
        self.fetcher.standing_still()
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
        let coordinator = self.coordinator_missed.map_or(Instant::FAR_FUTURE, |since| since + COORDINATOR_PATIENCE);
        // A broker that is out of reach is not asked for ends: what is due then waits for a connection, as a fetch
        // does.
        let ends = Some(self.ends.next_deadline()).filter(|due| *due > self.now).unwrap_or(Instant::FAR_FUTURE);
        let reading = self.fetcher.next_deadline(self.now).min(ends);
        self.cluster.next_deadline().min(self.group_deadline()).min(reading).min(coordinator)
    }

    fn handle_time(&mut self, now: Instant) {
        self.cluster.handle_time(now);
        self.group.handle_time(now);
        self.drive(now);
    }
}

impl Consumer {
    /// While no broker can be reached, a request that is due waits for a connection, not for the clock.
    fn group_deadline(&self) -> Instant {
        let target = self.group.coordinator().map_or(Target::Any, |node| Target::Node(node, Lane::GROUP));
        if self.cluster.is_ready(target) { self.group.next_deadline() } else { self.group.membership_deadline() }
    }

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
            self.drive_group(now);
            self.take_group_events(now);
            self.drive_fetch(now);
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
        let understood = match (response.token, response.answer) {
            (Token::Group(kind), Some(answer)) => self.handle_group_answer(now, kind, &answer),
            (Token::Group(kind), None) => {
                self.group.handle_lost(now, kind);
                true
            }
            (Token::Fetch(id, topic), Some(answer)) => {
                let is_ok = self.fetcher.handle_answer(now, id, topic, answer.body).is_ok();
                for (partition, end) in self.fetcher.take_ends() {
                    self.ends.tell(now, partition, end);
                }
                is_ok
            }
            (Token::Fetch(id, _), None) => {
                self.fetcher.handle_lost(now, id);
                true
            }
            (Token::Ends(partitions), answer) => self.handle_ends(now, &partitions, answer.as_ref()),
        };
        if !understood {
            self.cluster.close_broker(now, response.broker);
        }
    }

    /// The same for where partitions end.
    fn handle_ends(&mut self, now: Instant, partitions: &[i32], answer: Option<&Answer>) -> bool {
        let Some(answer) = answer else {
            self.ends.handle_lost(now, partitions);
            return true;
        };
        let Ok(response) = answer.decode::<ListOffsetsRequest>() else {
            self.ends.handle_lost(now, partitions);
            return false;
        };
        if !self.ends.handle_answer(now, partitions, &response) {
            self.cluster.refresh_metadata(now);
        }
        true
    }

    /// Whether the answer was what its request and version ask for.
    fn handle_group_answer(&mut self, now: Instant, kind: GroupRequestKind, answer: &Answer) -> bool {
        let result = match kind {
            GroupRequestKind::FindCoordinator => answer.decode::<FindCoordinatorRequest>().map(|response| {
                if let Some(found) = self.group.handle_find(now, &response) {
                    if self.cluster.learn_node(now, found.node, &found.host, found.port) {
                        self.set_coordinator(now, found.node);
                    } else {
                        self.group.forget_coordinator(now);
                    }
                }
            }),
            GroupRequestKind::Join => {
                answer.decode::<JoinGroupRequest>().map(|response| self.group.handle_join(now, &response))
            }
            GroupRequestKind::Sync => {
                answer.decode::<SyncGroupRequest>().map(|response| self.group.handle_sync(now, &response))
            }
            GroupRequestKind::Heartbeat => {
                answer.decode::<HeartbeatRequest>().map(|response| self.group.handle_heartbeat(now, &response))
            }
            GroupRequestKind::Commit => {
                answer.decode::<OffsetCommitRequest>().map(|response| self.group.handle_commit(now, &response))
            }
            GroupRequestKind::Leave => {
                self.group.handle_leave();
                Ok(())
            }
        };
        if result.is_err() {
            self.group.handle_lost(now, kind);
        }
        result.is_ok()
    }

    /// The lane to the coordinator, and one for data: metadata must have a way that no join blocks.
    fn set_coordinator(&mut self, now: Instant, node: NodeId) {
        if let Some(before) = self.coordinator.filter(|before| *before != node) {
            self.cluster.disconnect(now, before, Lane::GROUP);
        }
        self.coordinator = Some(node);
        self.cluster.connect(now, node, Lane::GROUP);
        self.cluster.connect(now, node, Lane::DATA);
    }

    fn look_at_topic(&mut self, now: Instant) {
        let Some(topic) = self.cluster.topic() else {
            return;
        };
        let (is, count) = (topic.id, topic.partitions.len());
        if let Some(was) = self.topic_id.filter(|was| *was != is) {
            self.events.push_back(Event::TopicReplaced { was, is });
            self.fetcher.stop_all();
            self.topic_id = None;
            self.group.rejoin(now);
        }
        self.group.set_partition_count(count);
    }

    fn drive_group(&mut self, now: Instant) {
        if self.cluster.is_ready(Target::Any)
            && let Some(request) = self.group.poll_find(now)
        {
            self.send_group(now, Target::Any, request);
        }
        let Some(node) = self.group.coordinator() else {
            self.coordinator_missed = None;
            return;
        };
        let target = Target::Node(node, Lane::GROUP);
        if self.cluster.is_ready(target) {
            self.coordinator_missed = None;
            while let Some(request) = self.group.poll_request(now) {
                self.send_group(now, target, request);
            }
        } else if now >= *self.coordinator_missed.get_or_insert(now) + COORDINATOR_PATIENCE {
            self.coordinator_missed = None;
            self.group.forget_coordinator(now);
        }
    }

    fn send_group(&mut self, now: Instant, target: Target, request: GroupRequest) {
        let kind = request.kind();
        let token = Token::Group(kind);
        let soon = RequestLimits::within(ANSWER_TIMEOUT);
        let join = RequestLimits::within(self.config.rebalance_timeout + ANSWER_SLACK);
        let cluster = &mut self.cluster;
        let sent = match &request {
            GroupRequest::FindCoordinator(request) => cluster.request(now, target, request, token, soon),
            GroupRequest::Join(request) => cluster.request(now, target, request, token, join),
            GroupRequest::Sync(request) => cluster.request(now, target, request, token, join),
            GroupRequest::Heartbeat(request) => cluster.request(now, target, request, token, soon),
            GroupRequest::Commit(request) => cluster.request(now, target, request, token, soon),
            GroupRequest::Leave(request) => cluster.request(now, target, request, token, soon),
        };
        match sent {
            Ok(_) => {}
            Err(RequestError::NotReady | RequestError::Full) => self.group.handle_lost(now, kind),
            // A broker too old, or a name too long for the protocol: time may bring another broker.
            Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                self.events.push_back(Event::Refused { partition: None, code: UNSUPPORTED_VERSION });
                self.group.handle_lost(now, kind);
            }
        }
    }

    fn take_group_events(&mut self, now: Instant) {
        while let Some(event) = self.group.poll_event() {
            match event {
                GroupEvent::Assigned { generation, partitions } => {
                    let Some(topic) = self.cluster.topic() else { continue };
                    let topic_id = topic.id;
                    self.topic_id = Some(topic_id);
                    self.ends.watch(now, &partitions);
                    self.events.push_back(Event::Assigned { topic_id, generation, partitions });
                }
                GroupEvent::Release => {
                    self.fetcher.stop_all();
                    self.events.push_back(Event::Release);
                }
                GroupEvent::Lost { reason } => {
                    self.fetcher.stop_all();
                    self.ends.watch(now, &[]);
                    self.topic_id = None;
                    self.events.push_back(Event::Lost(reason));
                }
                GroupEvent::Refused { code } => self.events.push_back(Event::Refused { partition: None, code }),
                GroupEvent::Left => {
                    self.fetcher.stop_all();
                    self.topic_id = None;
                    self.events.push_back(Event::Left);
                }
            }
        }
    }

    fn drive_fetch(&mut self, now: Instant) {
        while let Some(event) = self.fetcher.poll_event() {
            self.events.push_back(match event {
                FetchEvent::OffsetOutOfRange { partition, offset } => Event::OffsetOutOfRange { partition, offset },
                FetchEvent::Diverged { partition, offset, end_offset } => {
                    Event::Diverged { partition, offset, end_offset }
                }
                FetchEvent::Damaged { partition, error } => Event::Damaged { partition, error },
                FetchEvent::Refused { partition, code } => Event::Refused { partition: Some(partition), code },
            });
        }
        if self.fetcher.take_metadata_stale() {
            self.cluster.refresh_metadata(now);
        }
        let Some(topic_id) = self.topic_id else {
            return;
        };
        // Those whose ends are asked for are leaders too, though nothing of theirs may be read yet.
        let cluster = &self.cluster;
        let led = self.fetcher.started().chain(self.ends.partitions());
        let mut nodes: Vec<NodeId> = led.filter_map(|partition| cluster.leader(partition)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.follow_leaders(now, &nodes);
        nodes.retain(|node| self.cluster.is_ready(Target::Node(*node, Lane::DATA)));
        self.ask_ends(now, &nodes);
        let limits = RequestLimits {
            timeout: self.config.fetch_wait + ANSWER_SLACK,
            response_bytes_max: FETCH_ANSWER_BYTES_MAX.max(self.config.answer_bytes_max),
        };
        loop {
            let cluster = &self.cluster;
            let leader = |partition| cluster.leader(partition);
            let Some((node, id, request)) = self.fetcher.poll_fetch(now, topic_id, &nodes, leader) else {
                return;
            };
            let target = Target::Node(node, Lane::DATA);
            match self.cluster.request(now, target, &request, Token::Fetch(id, topic_id), limits) {
                Ok(_) => {}
                Err(RequestError::NotReady | RequestError::Full) => self.fetcher.handle_lost(now, id),
                Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                    self.events.push_back(Event::Refused { partition: None, code: UNSUPPORTED_VERSION });
                    self.fetcher.handle_lost(now, id);
                }
            }
        }
    }

    /// Asks these leaders where their partitions end, as far as that was not told lately.
    fn ask_ends(&mut self, now: Instant, nodes: &[NodeId]) {
        for node in nodes {
            let cluster = &self.cluster;
            let leads = |partition| cluster.leader(partition) == Some(*node);
            let Some((partitions, request)) = self.ends.poll_request(now, leads) else { continue };
            let (target, limits) = (Target::Node(*node, Lane::DATA), RequestLimits::within(ANSWER_TIMEOUT));
            if self.cluster.request(now, target, &request, Token::Ends(partitions.clone()), limits).is_err() {
                self.ends.handle_lost(now, &partitions);
            }
        }
    }

    /// Keeps a data connection to each leader and to the coordinator, and to no other broker.
    fn follow_leaders(&mut self, now: Instant, leaders: &[NodeId]) {
        for node in leaders {
            self.cluster.connect(now, *node, Lane::DATA);
        }
        let is_spare = |node: &NodeId| !leaders.contains(node) && self.coordinator != Some(*node);
        let spare: Vec<NodeId> = self.cluster.connected_nodes(Lane::DATA).filter(is_spare).collect();
        for node in spare {
            self.cluster.disconnect(now, node, Lane::DATA);
        }
    }
}

/// UNSUPPORTED_VERSION, as brokers say it.
const UNSUPPORTED_VERSION: i16 = 35;
