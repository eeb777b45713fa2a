//! What a group member asks its coordinator, in the words of the protocol.
//!
//! Never decides when to ask ([`super::group`] does).

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::assignor::{self, PROTOCOL_NAME, PROTOCOL_TYPE};
use super::group_config::GroupConfig;
use super::metadata::text;

/// A request to be sent; [`GroupRequest::kind`] comes back with its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRequest {
    /// To any broker.
    FindCoordinator(FindCoordinatorRequest),
    /// To the coordinator, as are those below. Its answer takes as long as the other members take to join.
    Join(JoinGroupRequest),
    /// See the protocol.
    Sync(SyncGroupRequest),
    /// See the protocol.
    Heartbeat(HeartbeatRequest),
    /// See the protocol.
    Commit(OffsetCommitRequest),
    /// See the protocol.
    Leave(LeaveGroupRequest),
}

/// Which request was lost with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRequestKind {
    /// [`GroupRequest::FindCoordinator`].
    FindCoordinator,
    /// [`GroupRequest::Join`].
    Join,
    /// [`GroupRequest::Sync`].
    Sync,
    /// [`GroupRequest::Heartbeat`].
    Heartbeat,
    /// [`GroupRequest::Commit`].
    Commit,
    /// [`GroupRequest::Leave`].
    Leave,
}

impl GroupRequest {
    /// Which it is.
    pub fn kind(&self) -> GroupRequestKind {
        match self {
            GroupRequest::FindCoordinator(_) => GroupRequestKind::FindCoordinator,
            GroupRequest::Join(_) => GroupRequestKind::Join,
            GroupRequest::Sync(_) => GroupRequestKind::Sync,
            GroupRequest::Heartbeat(_) => GroupRequestKind::Heartbeat,
            GroupRequest::Commit(_) => GroupRequestKind::Commit,
            GroupRequest::Leave(_) => GroupRequestKind::Leave,
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    /// Empty: none was given yet.
    pub(super) member_id: &'a str,
    pub(super) generation: i32,
}

impl Speaker<'_> {
    fn group_id(&self) -> GroupId {
        GroupId(text(self.group))
    }

    pub(super) fn find_coordinator(&self) -> GroupRequest {
        let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![text(self.group)]);
        GroupRequest::FindCoordinator(request)
    }

    /// `owned` is what the leader may leave where it is.
    pub(super) fn join(&self, config: &GroupConfig, owned: &[i32]) -> GroupRequest {
        let subscription = assignor::encode_subscription(self.topic, owned, self.generation);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str(PROTOCOL_NAME))
            .with_metadata(subscription);
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(config.session_timeout))
            .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
            .with_member_id(text(self.member_id))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        GroupRequest::Join(request)
    }

    /// `assignments` are ours to send where we lead, else empty.
    pub(super) fn sync(&self, assignments: Vec<SyncGroupRequestAssignment>) -> GroupRequest {
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(self.member_id))
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(StrBytes::from_static_str(PROTOCOL_NAME)))
            .with_assignments(assignments);
        GroupRequest::Sync(request)
    }

    pub(super) fn heartbeat(&self) -> GroupRequest {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(self.member_id));
        GroupRequest::Heartbeat(request)
    }

    /// `commits`: the next offset to be read by partition.
    pub(super) fn commit(&self, commits: &BTreeMap<i32, i64>) -> GroupRequest {
        let partitions = commits.iter().map(|(partition, offset)| {
            OffsetCommitRequestPartition::default().with_partition_index(*partition).with_committed_offset(*offset)
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(self.topic)))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(self.member_id))
            .with_topics(vec![topic]);
        GroupRequest::Commit(request)
    }

    pub(super) fn leave(&self) -> GroupRequest {
        let member = MemberIdentity::default().with_member_id(text(self.member_id));
        let request = LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![member]);
        GroupRequest::Leave(request)
    }
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
