//! What each request comes to, and which of them wait.

use bytes::Bytes;
use flux_protocol::kafka::versions::OURS;
use flux_protocol::time::Instant;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::wire::Asked;
use super::{HOST, Kafka, PORT};
use crate::peer::SocketId;

pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(super) const UNKNOWN_TOPIC: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const TOPIC_ALREADY_EXISTS: i16 = 36;
pub(super) const UNKNOWN_TOPIC_ID: i16 = 100;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Step {
    /// This is the answer.
    Answer(Bytes),
    /// This is the answer, but not before.
    At(Instant, Bytes),
    /// There is no answer, and nothing more is answered on this connection.
    Close,
    /// The group says when.
    Group,
    /// When there are records, or at this time.
    Fetch(Instant),
}

impl Kafka {
    pub(super) fn serve(&mut self, now: Instant, socket: SocketId, node: usize, asked: &Asked) -> Result<Step, String> {
        *self.asked.entry(asked.key as i16).or_default() += 1;
        let bytes = match asked.key {
            ApiKey::ApiVersions => {
                let range = |ours: &flux_protocol::kafka::versions::Ours| {
                    ApiVersion::default().with_api_key(ours.key).with_min_version(0).with_max_version(ours.max)
                };
                asked.answer(&ApiVersionsResponse::default().with_api_keys(OURS.iter().map(range).collect()))
            }
            ApiKey::Metadata => asked.answer(&self.metadata(&asked.decode()?)),
            ApiKey::CreateTopics => asked.answer(&self.create_topics(&asked.decode()?)),
            ApiKey::DescribeConfigs => asked.answer(&self.describe_configs(&asked.decode()?)),
            ApiKey::InitProducerId => {
                self.producer_ids += 1;
                let response = InitProducerIdResponse::default();
                asked.answer(&response.with_producer_id(self.producer_ids.into()).with_producer_epoch(0))
            }
            ApiKey::Produce => return self.produce(now, node, asked),
            ApiKey::Fetch => return self.fetch(now, node, asked),
            ApiKey::ListOffsets => asked.answer(&self.list_offsets(now, node, &asked.decode()?)),
            ApiKey::FindCoordinator => asked.answer(&self.find_coordinator(&asked.decode()?)),
            ApiKey::JoinGroup => {
                let request: JoinGroupRequest = asked.decode()?;
                if node != self.coordinator {
                    return Ok(Step::Answer(
                        asked.answer(&JoinGroupResponse::default().with_error_code(NOT_COORDINATOR)),
                    ));
                }
                self.group.join(now, socket, &request);
                return Ok(Step::Group);
            }
            ApiKey::SyncGroup => {
                let request: SyncGroupRequest = asked.decode()?;
                if node != self.coordinator {
                    return Ok(Step::Answer(
                        asked.answer(&SyncGroupResponse::default().with_error_code(NOT_COORDINATOR)),
                    ));
                }
                self.group.sync(now, socket, &request);
                return Ok(Step::Group);
            }
            ApiKey::Heartbeat => {
                let request: HeartbeatRequest = asked.decode()?;
                let wrong = (node != self.coordinator).then_some(NOT_COORDINATOR);
                let code = wrong.unwrap_or_else(|| self.group.heartbeat(now, &request));
                asked.answer(&HeartbeatResponse::default().with_error_code(code))
            }
            ApiKey::OffsetCommit => asked.answer(&self.offset_commit(node, &asked.decode()?)),
            ApiKey::LeaveGroup => asked.answer(&self.leave_group(now, node, &asked.decode()?)),
            key => return Err(format!("{key:?}")),
        };
        Ok(Step::Answer(bytes))
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let up = (0..self.nodes.len()).filter(|node| self.can_reach(*node));
        let brokers = up.map(|node| {
            MetadataResponseBroker::default()
                .with_node_id(id(node))
                .with_host(StrBytes::from_static_str(HOST))
                .with_port(i32::from(PORT) + node as i32)
        });
        let replicas: Vec<BrokerId> = (0..self.nodes.len()).map(id).collect();
        let topics = request.topics.iter().flatten().map(|asked| {
            let found = MetadataResponseTopic::default().with_name(asked.name.clone());
            let place = asked.name.as_ref().and_then(|name| self.place_of(name.0.as_str()));
            let Some(topic) = place.map(|place| &self.topics[place]).filter(|topic| topic.exists()) else {
                return found.with_error_code(UNKNOWN_TOPIC);
            };
            let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
                let is_led = self.can_reach(partition.leader);
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(if is_led { id(partition.leader) } else { BrokerId(-1) })
                    .with_leader_epoch(partition.leader_epoch)
                    .with_replica_nodes(replicas.clone())
                    .with_isr_nodes(replicas.clone())
                    .with_error_code(if is_led { 0 } else { LEADER_NOT_AVAILABLE })
            });
            found.with_topic_id(uuid::Uuid::from_u128(topic.id)).with_partitions(partitions.collect())
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(topics.collect())
            .with_controller_id(id(self.alive(0)))
    }

    fn create_topics(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let mut results = Vec::new();
        for topic in &request.topics {
            let place = self.place_or_new(topic.name.0.as_str());
            let exists = self.topics[place].exists();
            if !exists {
                let asked = topic.configs.iter();
                let settings =
                    asked.filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())));
                self.topics[place].settings = settings.collect();
                self.create(place, usize::try_from(topic.num_partitions).unwrap_or(1));
            }
            let result = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(if exists { TOPIC_ALREADY_EXISTS } else { 0 })
                .with_topic_id(uuid::Uuid::from_u128(self.topics[place].id))
                .with_num_partitions(topic.num_partitions)
                .with_replication_factor(self.nodes.len() as i16);
            results.push(result);
        }
        CreateTopicsResponse::default().with_topics(results)
    }

    fn describe_configs(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            let found = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            let Some(settings) = self.settings_of(resource.resource_name.as_str()) else {
                return found.with_error_code(UNKNOWN_TOPIC);
            };
            let configs = settings.into_iter().map(|(name, value)| {
                DescribeConfigsResourceResult::default()
                    .with_name(StrBytes::from_string(name))
                    .with_value(Some(StrBytes::from_string(value)))
            });
            found.with_configs(configs.collect())
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn find_coordinator(&self, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
        let is_up = self.can_reach(self.coordinator);
        let coordinators = request.coordinator_keys.iter().map(|key| {
            let found = Coordinator::default().with_key(key.clone());
            if !is_up {
                return found.with_error_code(COORDINATOR_NOT_AVAILABLE).with_node_id(BrokerId(-1)).with_port(-1);
            }
            found
                .with_node_id(id(self.coordinator))
                .with_host(StrBytes::from_static_str(HOST))
                .with_port(i32::from(PORT) + self.coordinator as i32)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    }

    fn offset_commit(&mut self, node: usize, request: &OffsetCommitRequest) -> OffsetCommitResponse {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let offsets: Vec<(i32, i64)> =
                topic.partitions.iter().map(|at| (at.partition_index, at.committed_offset)).collect();
            let wrong = (node != self.coordinator).then_some(NOT_COORDINATOR);
            let generation = request.generation_id_or_member_epoch;
            let code = wrong.unwrap_or_else(|| self.group.commit(&request.member_id, generation, &offsets));
            let partitions = offsets.iter().map(|(index, _)| {
                OffsetCommitResponsePartition::default().with_partition_index(*index).with_error_code(code)
            });
            let response = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
            topics.push(response.with_partitions(partitions.collect()));
        }
        OffsetCommitResponse::default().with_topics(topics)
    }

    fn leave_group(&mut self, now: Instant, node: usize, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        if node != self.coordinator {
            return LeaveGroupResponse::default().with_error_code(NOT_COORDINATOR);
        }
        let mut members = Vec::new();
        for member in &request.members {
            let code = self.group.leave(now, &member.member_id);
            members.push(MemberResponse::default().with_member_id(member.member_id.clone()).with_error_code(code));
        }
        LeaveGroupResponse::default().with_members(members)
    }
}

fn id(node: usize) -> BrokerId {
    BrokerId(i32::try_from(node).expect("a cluster is small"))
}
