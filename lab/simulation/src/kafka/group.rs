//! A group coordinator of the classic protocol: joining, assignments, heartbeats, sessions.
//!
//! Members are what the requests say; what they subscribe to and what they are assigned is bytes to it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flux_protocol::time::Instant;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::peer::SocketId;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

#[derive(Debug)]
struct Member {
    session: Duration,
    rebalance: Duration,
    expires: Instant,
    protocol: StrBytes,
    metadata: Bytes,
    /// Waits for the others to join.
    joining: Option<SocketId>,
    /// Waits for the leader's assignments.
    syncing: Option<SocketId>,
    assignment: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stable,
    /// Members are to join until then.
    Preparing(Instant),
    /// The leader is to send assignments.
    Completing,
}

/// An answer to a request that may have had to wait.
#[derive(Debug)]
pub(super) enum Answer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    state: State,
    generation: i32,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were given and have not joined yet.
    promised: Vec<String>,
    ids_given: u32,
    answers: Vec<(SocketId, Answer)>,
    pub(super) committed: BTreeMap<i32, i64>,
}

impl Group {
    pub(super) fn new() -> Group {
        Group {
            state: State::Stable,
            generation: 0,
            leader: String::new(),
            members: BTreeMap::new(),
            promised: Vec::new(),
            ids_given: 0,
            answers: Vec::new(),
            committed: BTreeMap::new(),
        }
    }

    pub(super) fn member_ids(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// What has become ready to be said.
    pub(super) fn take_answers(&mut self) -> Vec<(SocketId, Answer)> {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn join(&mut self, now: Instant, socket: SocketId, request: &JoinGroupRequest) {
        let refuse = |error: i16, id: &str| {
            let response = JoinGroupResponse::default().with_error_code(error).with_generation_id(-1);
            (socket, Answer::Join(response.with_member_id(StrBytes::from_string(id.to_owned()))))
        };
        let id = request.member_id.to_string();
        if id.is_empty() {
            self.ids_given += 1;
            let id = format!("member-{}", self.ids_given);
            self.answers.push(refuse(MEMBER_ID_REQUIRED, &id));
            self.promised.push(id);
            return;
        }
        if !self.members.contains_key(&id) && !self.promised.contains(&id) {
            self.answers.push(refuse(UNKNOWN_MEMBER_ID, &id));
            return;
        }
        self.promised.retain(|promised| *promised != id);
        let Some(protocol) = request.protocols.first() else {
            self.answers.push(refuse(23, &id)); // INCONSISTENT_GROUP_PROTOCOL
            return;
        };
        let session = millis(request.session_timeout_ms);
        let member = Member {
            session,
            rebalance: millis(request.rebalance_timeout_ms),
            expires: now + session,
            protocol: protocol.name.clone(),
            metadata: protocol.metadata.clone(),
            joining: Some(socket),
            syncing: None,
            assignment: Bytes::new(),
        };
        if let Some(old) = self.members.insert(id.clone(), member).and_then(|old| old.joining) {
            // The same member asks anew: whoever asked before is told so.
            let (_, answer) = refuse(UNKNOWN_MEMBER_ID, &id);
            self.answers.push((old, answer));
        }
        self.rebalance(now);
        self.complete_join(now);
    }

    /// Everybody is to join anew.
    fn rebalance(&mut self, now: Instant) {
        if matches!(self.state, State::Preparing(_)) {
            return;
        }
        for member in self.members.values_mut() {
            if let Some(socket) = member.syncing.take() {
                let response = SyncGroupResponse::default().with_error_code(REBALANCE_IN_PROGRESS);
                self.answers.push((socket, Answer::Sync(response)));
            }
        }
        let longest = self.members.values().map(|member| member.rebalance).max().unwrap_or_default();
        self.state = State::Preparing(now + longest);
    }

    /// Ends the joining where all have joined, or where it has lasted long enough.
    fn complete_join(&mut self, now: Instant) {
        let State::Preparing(until) = self.state else { return };
        if self.members.values().any(|member| member.joining.is_none()) && now < until {
            return;
        }
        self.members.retain(|_, member| member.joining.is_some());
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Stable;
            return;
        }
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.state = State::Completing;
        let all: Vec<JoinGroupResponseMember> = self
            .members
            .iter()
            .map(|(id, member)| {
                JoinGroupResponseMember::default()
                    .with_member_id(StrBytes::from_string(id.clone()))
                    .with_metadata(member.metadata.clone())
            })
            .collect();
        for (id, member) in &mut self.members {
            let Some(socket) = member.joining.take() else { continue };
            member.expires = now + member.session;
            let response = JoinGroupResponse::default()
                .with_generation_id(self.generation)
                .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
                .with_protocol_name(Some(member.protocol.clone()))
                .with_leader(StrBytes::from_string(self.leader.clone()))
                .with_member_id(StrBytes::from_string(id.clone()))
                .with_members(if *id == self.leader { all.clone() } else { Vec::new() });
            self.answers.push((socket, Answer::Join(response)));
        }
    }

    /// The error that a member's request deserves, if any.
    fn check(&self, id: &str, generation: i32) -> Option<i16> {
        if !self.members.contains_key(id) {
            return Some(UNKNOWN_MEMBER_ID);
        }
        (generation != self.generation).then_some(ILLEGAL_GENERATION)
    }

    pub(super) fn sync(&mut self, now: Instant, socket: SocketId, request: &SyncGroupRequest) {
        let id = request.member_id.to_string();
        let error = self.check(&id, request.generation_id);
        let error = error.or(matches!(self.state, State::Preparing(_)).then_some(REBALANCE_IN_PROGRESS));
        if let Some(error) = error {
            self.answers.push((socket, Answer::Sync(SyncGroupResponse::default().with_error_code(error))));
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.expires = now + member.session;
            member.syncing = Some(socket);
        }
        if id == self.leader && self.state == State::Completing {
            for assigned in &request.assignments {
                if let Some(member) = self.members.get_mut(&*assigned.member_id) {
                    member.assignment = assigned.assignment.clone();
                }
            }
            self.state = State::Stable;
        }
        if self.state == State::Stable {
            for member in self.members.values_mut() {
                let Some(socket) = member.syncing.take() else { continue };
                let response = SyncGroupResponse::default()
                    .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
                    .with_protocol_name(Some(member.protocol.clone()))
                    .with_assignment(member.assignment.clone());
                self.answers.push((socket, Answer::Sync(response)));
            }
        }
    }

    pub(super) fn heartbeat(&mut self, now: Instant, request: &HeartbeatRequest) -> i16 {
        if let Some(error) = self.check(&request.member_id, request.generation_id) {
            return error;
        }
        if let Some(member) = self.members.get_mut(&*request.member_id) {
            member.expires = now + member.session;
        }
        if matches!(self.state, State::Preparing(_)) { REBALANCE_IN_PROGRESS } else { 0 }
    }

    pub(super) fn commit(&mut self, id: &str, generation: i32, offsets: &[(i32, i64)]) -> i16 {
        if let Some(error) = self.check(id, generation) {
            return error;
        }
        self.committed.extend(offsets.iter().copied());
        0
    }

    pub(super) fn leave(&mut self, now: Instant, id: &str) -> i16 {
        if self.members.remove(id).is_none() {
            return UNKNOWN_MEMBER_ID;
        }
        self.rebalance(now);
        self.complete_join(now);
        0
    }

    /// A connection is gone: nobody waits on it any more. Its member is not: its session ends by time.
    pub(super) fn handle_closed(&mut self, socket: SocketId) {
        for member in self.members.values_mut() {
            member.syncing = member.syncing.filter(|waiting| *waiting != socket);
        }
    }

    pub(super) fn handle_time(&mut self, now: Instant) {
        let before = self.members.len();
        // Whoever waits for the others is alive as long as it waits.
        self.members.retain(|_, member| member.joining.is_some() || member.expires > now);
        if self.members.len() < before {
            self.rebalance(now);
        }
        self.complete_join(now);
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let sessions = self.members.values().filter(|member| member.joining.is_none()).map(|member| member.expires);
        let joining = match self.state {
            State::Preparing(until) => until,
            State::Stable | State::Completing => Instant::FAR_FUTURE,
        };
        sessions.min().unwrap_or(Instant::FAR_FUTURE).min(joining)
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
