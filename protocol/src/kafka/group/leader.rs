//! The leader's part in a rebalance: who is dealt which partitions.

use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use crate::kafka::assignor::{self, Subscription};
use crate::kafka::metadata::text;

/// Most members a leader deals partitions to: the assignor's work grows with their product with the partitions.
pub(super) const MEMBERS_MAX: usize = 1_000;

/// What each member that `response` (a JoinGroup's, to the leader) names is to get of the partitions of `topic`.
pub(super) fn deal(
    response: &JoinGroupResponse,
    topic: &str,
    partition_count: usize,
) -> Vec<SyncGroupRequestAssignment> {
    let members: Vec<_> = response
        .members
        .iter()
        .map(|member| {
            let subscription = assignor::decode_subscription(member.metadata.clone(), topic);
            // A member that cannot be understood is given nothing: the others must not wait for it.
            let nothing = Subscription { subscribed: false, owned: Vec::new(), generation: -1 };
            (member.member_id.to_string(), subscription.unwrap_or(nothing))
        })
        .collect();
    let partitions: Vec<i32> = (0..partition_count).map(|partition| partition as i32).collect();
    let dealt = assignor::assign(&members, &partitions).into_iter().map(|(member, partitions)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(&member))
            .with_assignment(assignor::encode_assignment(topic, &partitions))
    });
    dealt.collect()
}
