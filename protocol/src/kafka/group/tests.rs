use super::*;
use crate::kafka::metadata::text;
use bytes::Bytes;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

const SESSION: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(3);

/// A coordinator that the test scripts, and the clock.
struct Scene {
    group: Group,
    now: Instant,
}

impl Scene {
    fn new() -> Scene {
        let now = Instant::from_micros(1);
        let config = GroupConfig {
            group: "flux".to_owned(),
            topic: "orders".to_owned(),
            session_timeout: SESSION,
            rebalance_timeout: Duration::from_secs(60),
            heartbeat_interval: HEARTBEAT,
            seed: 11,
        };
        let mut group = Group::new(config, now);
        group.set_partition_count(4);
        Scene { group, now }
    }

    /// A member of generation 1 that leads the group alone, all four partitions in its hands.
    fn member() -> Scene {
        let mut scene = Scene::new();
        scene.find(1);
        scene.join_first();
        scene.sync_as_leader(1, &["me"]);
        assert_eq!(scene.event(), Some(GroupEvent::Assigned { generation: 1, partitions: vec![0, 1, 2, 3] }));
        scene
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.group.handle_time(self.now);
    }

    /// Lets the time pass until the machine wants something.
    fn wait_until_due(&mut self) {
        let due = self.group.next_deadline();
        assert_ne!(due, Instant::FAR_FUTURE, "nothing will ever happen");
        self.now = self.now.max(due);
        self.group.handle_time(self.now);
    }

    fn event(&mut self) -> Option<GroupEvent> {
        self.group.poll_event()
    }

    fn find(&mut self, node: i32) {
        let Some(GroupRequest::FindCoordinator(request)) = self.group.poll_find(self.now) else {
            panic!("no FindCoordinator")
        };
        assert_eq!(request.coordinator_keys[0].as_str(), "flux");
        let found = Found::default()
            .with_key(request.coordinator_keys[0].clone())
            .with_node_id(node.into())
            .with_host(StrBytes::from_static_str("broker"))
            .with_port(9092);
        let response = FindCoordinatorResponse::default().with_coordinators(vec![found]);
        let address = self.group.handle_find(self.now, &response).unwrap();
        assert_eq!((address.node, &*address.host, address.port), (node, "broker", 9092));
        assert_eq!(self.group.coordinator(), Some(node));
    }

    fn request(&mut self) -> Option<GroupRequest> {
        self.group.poll_request(self.now)
    }

    fn join(&mut self) -> JoinGroupRequest {
        match self.request() {
            Some(GroupRequest::Join(request)) => request,
            other => panic!("{other:?} instead of a JoinGroup"),
        }
    }

    fn sync(&mut self) -> SyncGroupRequest {
        match self.request() {
            Some(GroupRequest::Sync(request)) => request,
            other => panic!("{other:?} instead of a SyncGroup"),
        }
    }

    /// Joins without an id, is given one and sends the join that uses it.
    fn join_first(&mut self) {
        assert_eq!(self.join().member_id.as_str(), "");
        let response = JoinGroupResponse::default()
            .with_error_code(code::MEMBER_ID_REQUIRED)
            .with_member_id(StrBytes::from_static_str("me"));
        self.group.handle_join(self.now, &response);
        assert_eq!(self.join().member_id.as_str(), "me");
    }

    fn joined(&mut self, generation: i32, leader: &str, members: &[(&str, &[i32])]) {
        let members = members
            .iter()
            .map(|(id, owned)| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_metadata(assignor::encode_subscription("orders", owned, 1))
            })
            .collect();
        let response = JoinGroupResponse::default()
            .with_generation_id(generation)
            .with_leader(text(leader))
            .with_member_id(text("me"))
            .with_members(members);
        self.group.handle_join(self.now, &response);
    }

    fn synced(&mut self, assignment: Bytes) {
        self.group.handle_sync(self.now, &SyncGroupResponse::default().with_assignment(assignment));
    }

    /// Answers the join with these members, us leading, and the sync with what we assigned ourselves.
    fn sync_as_leader(&mut self, generation: i32, members: &[&str]) {
        let members: Vec<(&str, &[i32])> = members.iter().map(|id| (*id, &[][..])).collect();
        self.joined(generation, "me", &members);
        let request = self.sync();
        assert_eq!(request.generation_id, generation);
        let ours = request.assignments.iter().find(|its| its.member_id.as_str() == "me").unwrap();
        self.synced(ours.assignment.clone());
    }

    fn heartbeat(&mut self, error: i16) {
        match self.request() {
            Some(GroupRequest::Heartbeat(request)) => assert_eq!(request.member_id.as_str(), "me"),
            other => panic!("{other:?} instead of a heartbeat"),
        }
        self.group.handle_heartbeat(self.now, &HeartbeatResponse::default().with_error_code(error));
    }
}

#[test]
fn joins_with_the_id_it_is_given_and_deals_as_leader() {
    let mut scene = Scene::new();
    assert_eq!(scene.request(), None, "nobody to ask");
    scene.find(1);
    scene.join_first();
    assert!(scene.group.is_joining());
    scene.joined(5, "me", &[("me", &[]), ("other", &[0, 1, 2, 3])]);
    let request = scene.sync();
    let dealt: Vec<_> = request
        .assignments
        .iter()
        .map(|its| (its.member_id.to_string(), assignor::decode_assignment(its.assignment.clone(), "orders").unwrap()))
        .collect();
    assert_eq!(dealt, [("me".to_owned(), vec![2, 3]), ("other".to_owned(), vec![0, 1])]);
    scene.synced(request.assignments[0].assignment.clone());
    assert_eq!(scene.event(), Some(GroupEvent::Assigned { generation: 5, partitions: vec![2, 3] }));
    assert!(scene.group.is_member());
}

#[test]
fn a_follower_sends_no_assignment_and_takes_what_it_gets() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join_first();
    scene.joined(5, "other", &[]);
    assert_eq!(scene.sync().assignments, []);
    scene.synced(assignor::encode_assignment("orders", &[1]));
    assert_eq!(scene.event(), Some(GroupEvent::Assigned { generation: 5, partitions: vec![1] }));
    scene.group.set_partition_count(9);
    assert_eq!(scene.event(), None, "new partitions are the leader's matter");
}

#[test]
fn nothing_is_joined_before_the_topic_is_known() {
    let mut scene = Scene::new();
    scene.group.set_partition_count(0);
    scene.find(1);
    assert_eq!(scene.request(), None);
    assert_eq!(scene.group.next_deadline(), Instant::FAR_FUTURE);
    scene.group.set_partition_count(4);
    scene.join();
}

#[test]
fn heartbeats_go_out_in_time_and_one_at_a_time() {
    let mut scene = Scene::member();
    assert_eq!(scene.request(), None);
    scene.wait_until_due();
    assert!(matches!(scene.request(), Some(GroupRequest::Heartbeat(_))));
    scene.wait(HEARTBEAT * 2);
    assert_eq!(scene.request(), None, "one is in flight");
    scene.group.handle_heartbeat(scene.now, &HeartbeatResponse::default());
    scene.heartbeat(0);
}

#[test]
fn a_rebalance_waits_for_the_owner_and_keeps_the_session() {
    let mut scene = Scene::member();
    scene.wait_until_due();
    scene.heartbeat(code::REBALANCE_IN_PROGRESS);
    assert_eq!(scene.event(), Some(GroupEvent::Release));
    for _ in 0..5 {
        scene.wait(HEARTBEAT);
        scene.heartbeat(code::REBALANCE_IN_PROGRESS);
        assert_eq!(scene.event(), None, "said once, and the session goes on");
    }
    scene.group.release(scene.now);
    let request = scene.join();
    assert_eq!(request.member_id.as_str(), "me");
    let said = assignor::decode_subscription(request.protocols[0].metadata.clone(), "orders").unwrap();
    assert_eq!((said.owned, said.generation), (vec![0, 1, 2, 3], 1), "the leader may leave it where it is");
    scene.sync_as_leader(2, &["me", "other"]);
    assert_eq!(scene.event(), Some(GroupEvent::Assigned { generation: 2, partitions: vec![0, 2] }));
}

#[test]
fn an_unknown_member_drops_everything_and_joins_as_a_new_one() {
    let mut scene = Scene::member();
    scene.wait_until_due();
    scene.heartbeat(code::UNKNOWN_MEMBER_ID);
    assert_eq!(scene.event(), Some(GroupEvent::Lost { reason: LostReason::UnknownMember }));
    assert!(!scene.group.is_member());
    let request = scene.join();
    assert_eq!(request.member_id.as_str(), "");
    let said = assignor::decode_subscription(request.protocols[0].metadata.clone(), "orders").unwrap();
    assert_eq!(said.generation, -1, "an old claim must not win");
}

#[test]
fn an_illegal_generation_drops_everything_and_joins_as_the_same_member() {
    let mut scene = Scene::member();
    scene.wait_until_due();
    scene.heartbeat(code::ILLEGAL_GENERATION);
    assert_eq!(scene.event(), Some(GroupEvent::Lost { reason: LostReason::IllegalGeneration }));
    assert_eq!(scene.join().member_id.as_str(), "me");
}

#[test]
fn a_member_unknown_at_join_or_sync_begins_anew() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join_first();
    let unknown = JoinGroupResponse::default().with_error_code(code::UNKNOWN_MEMBER_ID);
    scene.group.handle_join(scene.now, &unknown);
    scene.join_first();
    scene.joined(1, "me", &[("me", &[])]);
    scene.sync();
    let unknown = SyncGroupResponse::default().with_error_code(code::UNKNOWN_MEMBER_ID);
    scene.group.handle_sync(scene.now, &unknown);
    scene.join_first();
    scene.joined(2, "me", &[("me", &[])]);
    scene.sync();
    let again = SyncGroupResponse::default().with_error_code(code::REBALANCE_IN_PROGRESS);
    scene.group.handle_sync(scene.now, &again);
    assert_eq!(scene.join().member_id.as_str(), "me");
    assert_eq!(scene.event(), None, "nothing was held, so nothing was lost");
}

#[test]
fn a_coordinator_that_moves_is_found_again_and_the_membership_stands() {
    for error in [code::NOT_COORDINATOR, code::COORDINATOR_NOT_AVAILABLE, code::COORDINATOR_LOAD_IN_PROGRESS] {
        let mut scene = Scene::member();
        scene.wait_until_due();
        scene.heartbeat(error);
        assert_eq!(scene.group.coordinator(), None);
        assert_eq!(scene.group.poll_find(scene.now), None, "not at once");
        scene.wait_until_due();
        scene.find(2);
        scene.wait_until_due();
        scene.heartbeat(0);
        assert_eq!(scene.event(), None);
        assert!(scene.group.is_member());
    }
}

#[test]
fn a_coordinator_that_moves_during_a_join_is_joined_where_it_is() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join_first();
    let moved = JoinGroupResponse::default().with_error_code(code::NOT_COORDINATOR);
    scene.group.handle_join(scene.now, &moved);
    scene.wait_until_due();
    scene.find(2);
    scene.wait_until_due();
    assert_eq!(scene.join().member_id.as_str(), "me");
}

#[test]
fn without_an_answer_for_a_session_everything_is_dropped() {
    let mut scene = Scene::member();
    scene.wait_until_due();
    let Some(request) = scene.request() else { panic!("no heartbeat") };
    scene.group.handle_lost(scene.now, request.kind());
    assert_eq!(scene.group.coordinator(), None);
    assert_eq!(scene.event(), None, "a lost connection is no lost membership");
    scene.wait(SESSION - HEARTBEAT - Duration::from_micros(1));
    assert_eq!(scene.event(), None);
    scene.wait(Duration::from_micros(1));
    assert_eq!(scene.event(), Some(GroupEvent::Lost { reason: LostReason::SessionOver }));
    scene.find(1);
    assert_eq!(scene.join().member_id.as_str(), "me");
}

#[test]
fn the_session_counts_from_the_question_not_from_its_answer() {
    let mut scene = Scene::member();
    scene.wait_until_due();
    assert!(matches!(scene.request(), Some(GroupRequest::Heartbeat(_))));
    let asked = scene.now;
    scene.wait(Duration::from_secs(5));
    scene.group.handle_heartbeat(scene.now, &HeartbeatResponse::default());
    assert_eq!(scene.group.membership_deadline(), asked + SESSION);
}

#[test]
fn lost_joins_and_syncs_are_asked_again_with_the_same_id() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join_first();
    scene.group.handle_lost(scene.now, GroupRequestKind::Join);
    scene.wait_until_due();
    scene.find(1);
    assert_eq!(scene.join().member_id.as_str(), "me");
    scene.joined(1, "me", &[("me", &[])]);
    scene.sync();
    scene.group.handle_lost(scene.now, GroupRequestKind::Sync);
    scene.wait_until_due();
    scene.find(1);
    assert_eq!(scene.join().member_id.as_str(), "me");
}

#[test]
fn the_leader_begins_a_rebalance_when_partitions_are_added() {
    let mut scene = Scene::member();
    scene.group.set_partition_count(4);
    assert_eq!(scene.event(), None);
    scene.group.set_partition_count(6);
    assert_eq!(scene.event(), Some(GroupEvent::Release));
    scene.group.release(scene.now);
    scene.join();
    scene.sync_as_leader(2, &["me"]);
    assert_eq!(scene.event(), Some(GroupEvent::Assigned { generation: 2, partitions: vec![0, 1, 2, 3, 4, 5] }));
}

#[test]
fn a_refusal_is_told_and_asked_again_after_a_wait() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join();
    let refused = JoinGroupResponse::default().with_error_code(code::INCONSISTENT_GROUP_PROTOCOL);
    scene.group.handle_join(scene.now, &refused);
    assert_eq!(scene.event(), Some(GroupEvent::Refused { code: code::INCONSISTENT_GROUP_PROTOCOL }));
    assert_eq!(scene.request(), None);
    scene.wait_until_due();
    scene.join();
}

/// A worker says that a right is missing for as long as it is, and no longer.
#[test]
fn a_right_to_the_group_is_missing_until_the_coordinator_takes_us() {
    const DENIED: i16 = 30;
    let mut scene = Scene::member();
    scene.wait_until_due();
    scene.heartbeat(DENIED);
    assert_eq!(scene.group.denied(), Some(DENIED));
    scene.wait_until_due();
    scene.heartbeat(0);
    assert_eq!(scene.group.denied(), None);

    let mut scene = Scene::new();
    scene.find(1);
    scene.join();
    scene.group.handle_join(scene.now, &JoinGroupResponse::default().with_error_code(DENIED));
    assert_eq!(scene.group.denied(), Some(DENIED));
    scene.wait_until_due();
    scene.join_first();
    assert_eq!(scene.group.denied(), Some(DENIED), "it has not been let in");
    scene.sync_as_leader(1, &["me"]);
    assert_eq!(scene.group.denied(), None);
}

#[test]
fn who_cannot_be_understood_gets_nothing_and_holds_nobody_up() {
    let mut scene = Scene::new();
    scene.find(1);
    scene.join_first();
    let stranger = JoinGroupResponseMember::default()
        .with_member_id(text("stranger"))
        .with_metadata(Bytes::from_static(b"\xff\xff\xff\xff\xff"));
    let me = JoinGroupResponseMember::default()
        .with_member_id(text("me"))
        .with_metadata(assignor::encode_subscription("orders", &[], -1));
    let response = JoinGroupResponse::default()
        .with_leader(text("me"))
        .with_member_id(text("me"))
        .with_members(vec![stranger, me]);
    scene.group.handle_join(scene.now, &response);
    let dealt = scene.sync().assignments;
    assert_eq!(assignor::decode_assignment(dealt[0].assignment.clone(), "orders").unwrap(), [0, 1, 2, 3]);
    assert_eq!(assignor::decode_assignment(dealt[1].assignment.clone(), "orders").unwrap(), [0i32; 0]);
}

fn commit_answer(error: i16) -> OffsetCommitResponse {
    let partition = OffsetCommitResponsePartition::default().with_error_code(error);
    OffsetCommitResponse::default()
        .with_topics(vec![OffsetCommitResponseTopic::default().with_partitions(vec![partition])])
}

fn commits(request: &Option<GroupRequest>) -> Vec<(i32, i64)> {
    let Some(GroupRequest::Commit(request)) = request else { panic!("{request:?} instead of a commit") };
    assert_eq!(request.generation_id_or_member_epoch, 1);
    request.topics[0].partitions.iter().map(|its| (its.partition_index, its.committed_offset)).collect()
}

#[test]
fn commits_merge_while_one_is_in_flight_and_survive_a_moved_coordinator() {
    let mut scene = Scene::member();
    scene.group.commit([(0, 5), (1, 7)]);
    assert_eq!(commits(&scene.request()), [(0, 5), (1, 7)]);
    scene.group.commit([(0, 6)]);
    scene.group.commit([(0, 9)]);
    assert_eq!(scene.request(), None);
    scene.group.handle_commit(scene.now, &commit_answer(code::NOT_COORDINATOR));
    scene.wait_until_due();
    scene.find(2);
    assert_eq!(commits(&scene.request()), [(0, 9), (1, 7)], "the newer one of each");
    scene.group.handle_commit(scene.now, &commit_answer(0));
    assert_eq!(scene.request(), None);
}

#[test]
fn leaving_commits_first_and_ends_with_the_answer() {
    let mut scene = Scene::member();
    scene.group.commit([(0, 5)]);
    assert_eq!(commits(&scene.request()), [(0, 5)]);
    scene.group.commit([(0, 6)]);
    scene.group.leave(scene.now);
    assert_eq!(scene.request(), None, "one commit is in flight, another is to follow");
    scene.group.handle_commit(scene.now, &commit_answer(0));
    assert_eq!(commits(&scene.request()), [(0, 6)]);
    assert_eq!(scene.request(), None);
    scene.group.handle_commit(scene.now, &commit_answer(0));
    let Some(GroupRequest::Leave(request)) = scene.request() else { panic!("no LeaveGroup") };
    assert_eq!(request.members[0].member_id.as_str(), "me");
    assert_eq!(scene.event(), None);
    scene.group.handle_leave();
    assert_eq!(scene.event(), Some(GroupEvent::Left));
    assert_eq!(scene.request(), None);
    assert_eq!(scene.group.next_deadline(), Instant::FAR_FUTURE);
}

#[test]
fn leaving_ends_even_where_nobody_answers() {
    let mut scene = Scene::member();
    scene.group.leave(scene.now);
    assert!(matches!(scene.request(), Some(GroupRequest::Leave(_))));
    scene.group.handle_lost(scene.now, GroupRequestKind::Leave);
    scene.wait_until_due();
    scene.find(1);
    assert!(matches!(scene.request(), Some(GroupRequest::Leave(_))), "said again to the coordinator found anew");
    scene.wait_until_due();
    assert_eq!(scene.event(), Some(GroupEvent::Left));

    let mut stranger = Scene::new();
    stranger.group.leave(stranger.now);
    assert_eq!(stranger.event(), Some(GroupEvent::Left), "nothing to leave");
}

#[test]
fn fenced_by_the_ledger_it_lets_go_and_joins_again_later() {
    let mut scene = Scene::member();
    scene.group.rejoin(scene.now);
    assert_eq!(scene.event(), Some(GroupEvent::Lost { reason: LostReason::IllegalGeneration }));
    assert_eq!(scene.request(), None, "after a wait");
    scene.wait_until_due();
    assert_eq!(scene.join().member_id.as_str(), "me");
}
