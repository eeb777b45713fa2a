//! A consumer's membership of its group: who coordinates it, the lane to that broker, and each request and its answer over it.
//!
//! Never decides what a change of membership means for the reading.

use std::collections::VecDeque;
use std::time::Duration;

use kafka_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};

use super::config::ConsumerConfig;
use super::event::Event;
use super::token::{ANSWER_SLACK, ANSWER_TIMEOUT, Token, UNSUPPORTED_VERSION};
use crate::kafka::cluster::{Cluster, Lane, Target};
use crate::kafka::connection::{Answer, RequestError, RequestLimits};
use crate::kafka::group::{Group, GroupConfig, GroupRequest, GroupRequestKind};
use crate::kafka::metadata::NodeId;
use crate::time::Instant;

/// A coordinator that has not been reached for so long is asked for again: it may have moved.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) group: Group,
    /// Where the group's lane goes.
    coordinator: Option<NodeId>,
    /// Since when it is out of reach.
    missed: Option<Instant>,
    rebalance_timeout: Duration,
}

impl Membership {
    /// Begins to join at once.
    pub(super) fn new(config: &ConsumerConfig, now: Instant) -> Membership {
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
        Membership { group, coordinator: None, missed: None, rebalance_timeout: config.rebalance_timeout }
    }

    /// The broker to which a lane is kept for the group.
    pub(super) fn coordinator(&self) -> Option<NodeId> {
        self.coordinator
    }

    /// Whether the coordinator is known and connected.
    pub(super) fn is_coordinated(&self, cluster: &Cluster<Token>) -> bool {
        self.group.coordinator().is_some_and(|node| cluster.is_ready(Target::Node(node, Lane::GROUP)))
    }

    pub(super) fn leave(&mut self, now: Instant, cluster: &mut Cluster<Token>) {
        // The broker reads nothing behind a JoinGroup that waits: the farewell needs a connection of its own.
        let blocked = self.group.is_joining();
        self.group.leave(now);
        if let (true, Some(node)) = (blocked, self.coordinator) {
            cluster.disconnect(now, node, Lane::GROUP);
            cluster.connect(now, node, Lane::GROUP);
        }
    }

    /// When [`Membership::drive`] is to be called at the latest. While no broker can be reached, a request that is due waits for a
    /// connection, not for the clock.
    pub(super) fn next_deadline(&self, cluster: &Cluster<Token>) -> Instant {
        let target = self.group.coordinator().map_or(Target::Any, |node| Target::Node(node, Lane::GROUP));
        let group =
            if cluster.is_ready(target) { self.group.next_deadline() } else { self.group.membership_deadline() };
        let patience = self.missed.map_or(Instant::FAR_FUTURE, |since| since + COORDINATOR_PATIENCE);
        group.min(patience)
    }

    /// Sends what is due, as far as its broker can be reached.
    pub(super) fn drive(&mut self, now: Instant, cluster: &mut Cluster<Token>, events: &mut VecDeque<Event>) {
        if cluster.is_ready(Target::Any)
            && let Some(request) = self.group.poll_find(now)
        {
            self.send(now, cluster, events, Target::Any, request);
        }
        let Some(node) = self.group.coordinator() else {
            self.missed = None;
            return;
        };
        let target = Target::Node(node, Lane::GROUP);
        if cluster.is_ready(target) {
            self.missed = None;
            while let Some(request) = self.group.poll_request(now) {
                self.send(now, cluster, events, target, request);
            }
        } else if now >= *self.missed.get_or_insert(now) + COORDINATOR_PATIENCE {
            self.missed = None;
            self.group.forget_coordinator(now);
        }
    }

    fn send(
        &mut self,
        now: Instant,
        cluster: &mut Cluster<Token>,
        events: &mut VecDeque<Event>,
        target: Target,
        request: GroupRequest,
    ) {
        let kind = request.kind();
        let token = Token::Group(kind);
        let soon = RequestLimits::within(ANSWER_TIMEOUT);
        let join = RequestLimits::within(self.rebalance_timeout + ANSWER_SLACK);
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
                events.push_back(Event::Refused { partition: None, code: UNSUPPORTED_VERSION });
                self.group.handle_lost(now, kind);
            }
        }
    }

    /// Whether the answer was what its request and version ask for; `None`: it was lost.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        cluster: &mut Cluster<Token>,
        kind: GroupRequestKind,
        answer: Option<&Answer>,
    ) -> bool {
        let Some(answer) = answer else {
            self.group.handle_lost(now, kind);
            return true;
        };
        let result = match kind {
            GroupRequestKind::FindCoordinator => answer.decode::<FindCoordinatorRequest>().map(|response| {
                if let Some(found) = self.group.handle_find(now, &response) {
                    if cluster.learn_node(now, found.node, &found.host, found.port) {
                        self.set_coordinator(now, cluster, found.node);
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
    fn set_coordinator(&mut self, now: Instant, cluster: &mut Cluster<Token>, node: NodeId) {
        if let Some(before) = self.coordinator.filter(|before| *before != node) {
            cluster.disconnect(now, before, Lane::GROUP);
        }
        self.coordinator = Some(node);
        cluster.connect(now, node, Lane::GROUP);
        cluster.connect(now, node, Lane::DATA);
    }
}
