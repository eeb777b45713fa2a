//! Membership of a consumer group, by the classic protocol: find the coordinator, join, sync, heartbeat, leave.
//!
//! ```text
//!          ┌────────────── rebalance: released ──────────────┐
//!          ▼                                                 │
//!   Out ─ JoinGroup ─▶ Joining ─▶ Joined ─ SyncGroup ─▶ Syncing ─▶ In ─ 27 ─▶ Releasing
//!    ▲                                                        │               │
//!    └── member unknown, generation illegal, session over ────┴─── Lost ──────┘
//! ```
//!
//! Where the coordinator is, is a question of its own (`coordinator`): it can move while the membership stands.
//!
//! A rebalance is eager: the owner is told to finish ([`GroupEvent::Release`]), goes on being a member meanwhile, and
//! joins again when it has said [`Group::release`]. What it had is told to the leader, which leaves it there if it can
//! ([`super::assignor`]).
//!
//! Never sends anything itself and never chooses a connection: the caller takes [`Group::poll_request`] when
//! [`Group::coordinator`] can be reached and brings back each answer, or that it was lost. Never stores a position: the
//! offsets committed here are for lag tools only.

mod commits;
mod coordinator;
mod event;
mod leader;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse, OffsetCommitResponse, SyncGroupResponse,
};

use self::commits::Commits;
pub use self::coordinator::CoordinatorAddress;
use self::coordinator::{Coordinator, is_elsewhere};
pub use self::event::{GroupEvent, LostReason};
use super::assignor;
use super::backoff::{SplitMix64, backoff};
use super::denial;
use super::error_code as code;
pub use super::group_config::GroupConfig;
use super::group_request::Speaker;
pub use super::group_request::{GroupRequest, GroupRequestKind};
use super::metadata::NodeId;
use crate::time::Instant;

/// Longest wait for the answer to a LeaveGroup: the process wants to end, and the session ends by itself.
const LEAVE_WAIT: Duration = Duration::from_secs(3);
#[derive(Clone, Debug, PartialEq)]
enum Membership {
    Out {
        not_before: Instant,
    },
    Joining,
    /// Joined; the assignments are ours to send where we lead, else empty.
    Joined(Vec<SyncGroupRequestAssignment>),
    Syncing,
    In,
    Releasing,
    Leaving {
        asked: bool,
        deadline: Instant,
    },
    Left,
}

/// See the module.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    random: SplitMix64,
    coordinator: Coordinator,
    membership: Membership,
    /// Empty: none was given to us.
    member_id: String,
    generation: i32,
    /// What we had last, kept through rebalances for the leader to see.
    owned: Vec<i32>,
    /// Partitions of the topic; 0 while unknown, and then nothing is joined.
    partition_count: usize,
    /// As leader: how many partitions the current assignment deals. `None`: we do not lead.
    assigned_count: Option<usize>,
    heartbeat_due: Instant,
    /// When the heartbeat in flight was sent.
    heartbeat_asked: Option<Instant>,
    session_end: Instant,
    failures: u32,
    commits: Commits,
    /// See [`Group::denied`].
    denied: Option<i16>,
    events: VecDeque<GroupEvent>,
}

impl Group {
    /// Not a member yet; begins with finding the coordinator.
    pub fn new(config: GroupConfig, now: Instant) -> Group {
        assert!(config.heartbeat_interval * 3 <= config.session_timeout, "three heartbeats fit into a session");
        Group {
            random: SplitMix64::new(config.seed),
            config,
            coordinator: Coordinator::Unknown { not_before: now },
            membership: Membership::Out { not_before: now },
            member_id: String::new(),
            generation: -1,
            owned: Vec::new(),
            partition_count: 0,
            assigned_count: None,
            heartbeat_due: Instant::FAR_FUTURE,
            heartbeat_asked: None,
            session_end: Instant::FAR_FUTURE,
            failures: 0,
            commits: Commits::default(),
            denied: None,
            events: VecDeque::new(),
        }
    }

    /// The error code by which the coordinator denies us the group, until it takes us.
    pub fn denied(&self) -> Option<i16> {
        self.denied
    }

    /// The coordinator, where known: requests go to it, except for FindCoordinator.
    pub fn coordinator(&self) -> Option<NodeId> {
        self.coordinator.node()
    }

    /// Whether partitions are held, or would be if there were enough of them.
    pub fn is_member(&self) -> bool {
        matches!(self.membership, Membership::In | Membership::Releasing)
    }

    /// Whether membership is asked for, and not granted yet: what comes next is the coordinator's, or other members', to do.
    pub fn is_waiting(&self) -> bool {
        matches!(self.membership, Membership::Joining | Membership::Joined(_) | Membership::Syncing)
    }

    /// Whether the answer to a JoinGroup is awaited: until it comes the broker reads nothing else from that connection.
    pub fn is_joining(&self) -> bool {
        self.membership == Membership::Joining
    }

    /// How many partitions the topic has, whenever metadata tells. As leader: a change begins a rebalance.
    pub fn set_partition_count(&mut self, count: usize) {
        self.partition_count = count;
        if self.membership == Membership::In && self.assigned_count.is_some_and(|assigned| assigned != count) {
            self.begin_release();
        }
    }

    /// The owner has released its partitions: joins again. Nothing where no [`GroupEvent::Release`] is open.
    pub fn release(&mut self, now: Instant) {
        if self.membership == Membership::Releasing {
            self.membership = Membership::Out { not_before: now };
        }
    }

    /// The owner found itself fenced: another stores its partitions. Drops the generation and joins again, as the same
    /// member, after a while.
    pub fn rejoin(&mut self, now: Instant) {
        if self.is_member() {
            self.lose(LostReason::IllegalGeneration, now);
            let wait = self.wait();
            self.membership = Membership::Out { not_before: now + wait };
        }
    }

    /// Notes offsets to be committed, the next to be read by partition.
    pub fn commit(&mut self, offsets: impl IntoIterator<Item = (i32, i64)>) {
        if self.is_member() {
            self.commits.note(offsets);
        }
    }

    /// Leaves the group, after what is still to be committed. [`GroupEvent::Left`] follows, within seconds even where
    /// no broker answers.
    pub fn leave(&mut self, now: Instant) {
        if matches!(self.membership, Membership::Leaving { .. } | Membership::Left) {
            return;
        }
        if self.member_id.is_empty() {
            self.membership = Membership::Left;
            self.events.push_back(GroupEvent::Left);
        } else {
            self.membership = Membership::Leaving { asked: false, deadline: now + LEAVE_WAIT };
        }
    }

    /// The coordinator cannot be reached, though no request was lost with it: asks where it is.
    pub fn forget_coordinator(&mut self, now: Instant) {
        if self.coordinator.node().is_some() {
            self.look_elsewhere(now);
        }
    }

    /// What the owner is to know, in order.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        self.events.pop_front()
    }

    /// The request to any broker that is due.
    pub fn poll_find(&mut self, now: Instant) -> Option<GroupRequest> {
        if self.membership == Membership::Left || self.coordinator.due().is_none_or(|due| due > now) {
            return None;
        }
        self.coordinator = Coordinator::Asked;
        Some(self.speaker().find_coordinator())
    }

    /// The next request to the coordinator that is due. Called only while it can be reached.
    pub fn poll_request(&mut self, now: Instant) -> Option<GroupRequest> {
        self.coordinator.node()?;
        match &mut self.membership {
            Membership::Out { not_before } if *not_before <= now && self.partition_count > 0 => {
                self.membership = Membership::Joining;
                self.heartbeat_asked = None; // An answer that is still to come is of the old generation.
                Some(self.speaker().join(&self.config, &self.owned))
            }
            Membership::Joined(assignments) => {
                let assignments = std::mem::take(assignments);
                self.membership = Membership::Syncing;
                Some(self.speaker().sync(assignments))
            }
            Membership::In | Membership::Releasing => self.commit_request().or_else(|| self.heartbeat_request(now)),
            Membership::Leaving { asked: false, .. } => {
                if !self.commits.is_done() {
                    return self.commit_request(); // Nothing while one is in flight: its answer, or the deadline, comes first.
                }
                if let Membership::Leaving { asked, .. } = &mut self.membership {
                    *asked = true;
                }
                Some(self.speaker().leave())
            }
            _ => None,
        }
    }

    /// When [`Group::handle_time`], and [`Group::poll_request`] after it, is to be called at the latest.
    pub fn next_deadline(&self) -> Instant {
        let find =
            self.coordinator.due().filter(|_| self.membership != Membership::Left).unwrap_or(Instant::FAR_FUTURE);
        let earliest = find.min(self.membership_deadline());
        let reachable = self.coordinator.node().is_some();
        match self.membership {
            Membership::Out { not_before } if reachable && self.partition_count > 0 => earliest.min(not_before),
            Membership::In | Membership::Releasing if reachable && self.heartbeat_asked.is_none() => {
                earliest.min(self.heartbeat_due)
            }
            _ => earliest,
        }
    }

    /// The part of [`Group::next_deadline`] that does not wait for a broker to be reached.
    pub fn membership_deadline(&self) -> Instant {
        match self.membership {
            Membership::In | Membership::Releasing => self.session_end,
            Membership::Leaving { deadline, .. } => deadline,
            _ => Instant::FAR_FUTURE,
        }
    }

    /// Notices that a session is over, or that no broker answers the LeaveGroup request.
    pub fn handle_time(&mut self, now: Instant) {
        match self.membership {
            Membership::In | Membership::Releasing if self.session_end <= now => {
                self.lose(LostReason::SessionOver, now);
            }
            Membership::Leaving { deadline, .. } if deadline <= now => self.left(),
            _ => {}
        }
    }

    // Answers.

    /// The answer to FindCoordinator: the address, to be told to the cluster, where there is one.
    pub fn handle_find(&mut self, now: Instant, response: &FindCoordinatorResponse) -> Option<CoordinatorAddress> {
        match coordinator::read(response, &self.config.group) {
            Ok(found) => {
                self.coordinator = Coordinator::Known(found.node);
                Some(found)
            }
            Err(error) => {
                denial::note(&mut self.denied, error);
                if !is_elsewhere(error) {
                    self.events.push_back(GroupEvent::Refused { code: error });
                }
                self.look_elsewhere(now);
                None
            }
        }
    }

    /// The answer to JoinGroup.
    pub fn handle_join(&mut self, now: Instant, response: &JoinGroupResponse) {
        if self.membership != Membership::Joining {
            return;
        }
        denial::note(&mut self.denied, response.error_code);
        match response.error_code {
            0 => self.joined(now, response),
            code::MEMBER_ID_REQUIRED => {
                self.member_id = response.member_id.to_string();
                self.membership = Membership::Out { not_before: now };
            }
            code::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                self.membership = Membership::Out { not_before: now };
            }
            error => self.join_failed(now, error),
        }
    }

    fn joined(&mut self, now: Instant, response: &JoinGroupResponse) {
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        let leads = response.leader == response.member_id;
        self.assigned_count = leads.then_some(self.partition_count);
        if response.members.len() > leader::MEMBERS_MAX {
            return self.join_failed(now, code::GROUP_MAX_SIZE_REACHED);
        }
        // With `skip_assignment` the leader is told that the group stands as it was (KIP-814, static members only).
        let deals = leads && !response.skip_assignment;
        let assignments =
            if deals { leader::deal(response, &self.config.topic, self.partition_count) } else { Vec::new() };
        self.membership = Membership::Joined(assignments);
    }

    fn join_failed(&mut self, now: Instant, error: i16) {
        if is_elsewhere(error) {
            self.look_elsewhere(now);
        } else if error != code::REBALANCE_IN_PROGRESS {
            self.events.push_back(GroupEvent::Refused { code: error });
        }
        self.membership = Membership::Out { not_before: now + self.wait() };
    }

    /// The answer to SyncGroup.
    pub fn handle_sync(&mut self, now: Instant, response: &SyncGroupResponse) {
        if self.membership != Membership::Syncing {
            return;
        }
        denial::note(&mut self.denied, response.error_code);
        match response.error_code {
            0 => match assignor::decode_assignment(response.assignment.clone(), &self.config.topic) {
                Ok(partitions) => {
                    self.membership = Membership::In;
                    self.failures = 0;
                    self.owned.clone_from(&partitions);
                    self.heartbeat_due = now + self.config.heartbeat_interval;
                    self.heartbeat_asked = None;
                    self.session_end = now + self.config.session_timeout;
                    self.commits.forget_noted();
                    self.events.push_back(GroupEvent::Assigned { generation: self.generation, partitions });
                    // Partitions may have been added between the join and now.
                    self.set_partition_count(self.partition_count);
                }
                Err(_) => self.join_failed(now, code::INCONSISTENT_GROUP_PROTOCOL),
            },
            code::REBALANCE_IN_PROGRESS | code::ILLEGAL_GENERATION => {
                self.membership = Membership::Out { not_before: now };
            }
            code::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                self.membership = Membership::Out { not_before: now };
            }
            error => self.join_failed(now, error),
        }
    }

    /// The answer to Heartbeat.
    pub fn handle_heartbeat(&mut self, now: Instant, response: &HeartbeatResponse) {
        let Some(asked) = self.heartbeat_asked.take() else {
            return; // Of a membership that has ended since.
        };
        denial::note(&mut self.denied, response.error_code);
        match response.error_code {
            // Alive, and counted from when we asked: the coordinator cannot have heard of us later than that.
            0 => self.session_end = asked + self.config.session_timeout,
            code::REBALANCE_IN_PROGRESS => {
                self.session_end = asked + self.config.session_timeout;
                if self.membership == Membership::In {
                    self.begin_release();
                }
            }
            code::UNKNOWN_MEMBER_ID => self.lose(LostReason::UnknownMember, now),
            code::ILLEGAL_GENERATION => self.lose(LostReason::IllegalGeneration, now),
            error if is_elsewhere(error) => {
                self.look_elsewhere(now);
            }
            error => self.events.push_back(GroupEvent::Refused { code: error }),
        }
    }

    /// The answer to OffsetCommit. What fails is dropped, unless it was only asked in the wrong place: the next batch
    /// commits again, and nothing depends on it.
    pub fn handle_commit(&mut self, now: Instant, response: &OffsetCommitResponse) {
        if self.commits.in_flight().is_none() {
            return;
        }
        let mut errors =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let again = errors.any(is_elsewhere);
        self.commits.end(again);
        if again {
            self.look_elsewhere(now);
        }
    }

    /// The answer to LeaveGroup: whatever it says, we are out.
    pub fn handle_leave(&mut self) {
        if matches!(self.membership, Membership::Leaving { .. }) {
            self.left();
        }
    }

    /// A request was lost with its connection: what became of it is unknown. Each can be asked again: a join under the
    /// same member id replaces itself.
    pub fn handle_lost(&mut self, now: Instant, kind: GroupRequestKind) {
        match kind {
            GroupRequestKind::FindCoordinator => {}
            GroupRequestKind::Join if self.membership == Membership::Joining => {
                self.membership = Membership::Out { not_before: now };
            }
            GroupRequestKind::Sync if self.membership == Membership::Syncing => {
                self.membership = Membership::Out { not_before: now };
            }
            GroupRequestKind::Join | GroupRequestKind::Sync => {}
            GroupRequestKind::Heartbeat => {
                self.heartbeat_asked = None;
                self.heartbeat_due = now;
            }
            GroupRequestKind::Commit => self.commits.end(true),
            GroupRequestKind::Leave => {
                if let Membership::Leaving { asked, .. } = &mut self.membership {
                    *asked = false;
                }
            }
        }
        if kind == GroupRequestKind::FindCoordinator || matches!(self.coordinator, Coordinator::Known(_)) {
            self.look_elsewhere(now);
        }
    }

    // Inside.

    fn begin_release(&mut self) {
        self.membership = Membership::Releasing;
        self.events.push_back(GroupEvent::Release);
    }

    fn lose(&mut self, reason: LostReason, now: Instant) {
        if reason == LostReason::UnknownMember {
            self.member_id.clear();
        }
        self.generation = -1;
        self.assigned_count = None;
        self.heartbeat_asked = None;
        self.commits.clear();
        if self.is_member() {
            self.membership = Membership::Out { not_before: now };
            self.events.push_back(GroupEvent::Lost { reason });
        }
    }

    fn left(&mut self) {
        self.membership = Membership::Left;
        self.events.push_back(GroupEvent::Left);
    }

    /// Asks after a while who coordinates the group.
    fn look_elsewhere(&mut self, now: Instant) {
        self.coordinator = Coordinator::Unknown { not_before: now + self.wait() };
    }

    fn wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        backoff(self.failures, &mut self.random)
    }

    /// Who speaks.
    fn speaker(&self) -> Speaker<'_> {
        Speaker {
            group: &self.config.group,
            topic: &self.config.topic,
            member_id: &self.member_id,
            generation: self.generation,
        }
    }

    fn heartbeat_request(&mut self, now: Instant) -> Option<GroupRequest> {
        if self.heartbeat_asked.is_some() || now < self.heartbeat_due {
            return None;
        }
        self.heartbeat_asked = Some(now);
        self.heartbeat_due = now + self.config.heartbeat_interval;
        Some(self.speaker().heartbeat())
    }

    fn commit_request(&mut self) -> Option<GroupRequest> {
        if !self.commits.begin() {
            return None;
        }
        Some(self.speaker().commit(self.commits.in_flight()?))
    }
}
