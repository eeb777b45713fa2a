//! One broker that leads the only partition of the topic, takes batches, and says of them what it is told.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flux_protocol::kafka::client::{BrokerAction, BrokerKey};
use flux_protocol::time::Now;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, DescribeConfigsRequest, DescribeConfigsResponse, InitProducerIdResponse,
    MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::RecordBatchDecoder;

use crate::core::Core;
use crate::core::machine::Machine;

const TOPIC_ID: u128 = 77;

/// Kafka's code for a record that no broker takes.
const INVALID_RECORD: i16 = 87;

/// Kafka's code for a record whose time is too far from the broker's.
const INVALID_TIMESTAMP: i16 = 32;

pub(super) struct Broker {
    /// Connections can be made.
    pub(super) up: bool,
    /// Produce requests are read and not answered.
    pub(super) silent: bool,
    /// Nothing is answered.
    pub(super) mute: bool,
    /// Batches with a time further ahead of this are refused, ms.
    pub(super) times_max_ms: Option<i64>,
    /// It gives records their times: its clock shows this.
    pub(super) clock_ms: Option<u64>,
    /// It answers what it is asked about the topic's settings.
    pub(super) tells: bool,
    /// How often it was asked.
    pub(super) inquiries: usize,
    /// A batch with a record that holds this text is refused.
    pub(super) poison: Option<String>,
    /// Records as they were taken, in order.
    pub(super) log: Vec<String>,
    /// Records as they came, each time.
    pub(super) arrived: Vec<String>,
    identities: i64,
    sockets: BTreeMap<BrokerKey, (BytesMut, BytesMut)>,
    withheld: VecDeque<(BrokerKey, Bytes)>,
}

impl Broker {
    pub(super) fn new() -> Broker {
        Broker {
            up: true,
            silent: false,
            mute: false,
            times_max_ms: None,
            clock_ms: None,
            tells: true,
            inquiries: 0,
            poison: None,
            log: Vec::new(),
            arrived: Vec::new(),
            identities: 1000,
            sockets: BTreeMap::new(),
            withheld: VecDeque::new(),
        }
    }

    /// All connections are lost, with what was not answered, and none can be made.
    pub(super) fn go_down(&mut self, now: Now, core: &mut Core) {
        self.up = false;
        self.withheld.clear();
        for key in std::mem::take(&mut self.sockets).into_keys() {
            core.handle_broker_closed(now, key);
        }
    }

    /// Answers the requests that it was silent about, and goes on answering.
    pub(super) fn speak(&mut self) {
        (self.silent, self.mute) = (false, false);
        for (key, answer) in self.withheld.drain(..) {
            if let Some((_, outbound)) = self.sockets.get_mut(&key) {
                outbound.extend_from_slice(&answer);
            }
        }
    }

    /// Whether anything moved.
    pub(super) fn carry(&mut self, now: Now, core: &mut Core) -> bool {
        let mut moved = false;
        while let Some(action) = core.poll_broker_action() {
            moved = true;
            match action {
                BrokerAction::Connect { broker, .. } if self.up => {
                    self.sockets.insert(broker, Default::default());
                    core.handle_broker_open(now, broker);
                }
                BrokerAction::Connect { broker, .. } => core.handle_broker_closed(now, broker),
                BrokerAction::Close { broker } => {
                    self.sockets.remove(&broker);
                    self.withheld.retain(|(known, _)| *known != broker);
                }
            }
        }
        for key in self.sockets.keys().copied().collect::<Vec<_>>() {
            let mut out = Vec::new();
            core.poll_broker_write(key, &mut out);
            moved |= !out.is_empty();
            self.take(key, &out);
            let Some((_, outbound)) = self.sockets.get_mut(&key).filter(|(_, outbound)| !outbound.is_empty()) else {
                continue;
            };
            moved = true;
            let mut outbound = std::mem::take(outbound);
            core.handle_broker_bytes(now, key, &mut outbound).expect("answers are well-formed");
            assert!(outbound.is_empty(), "whole answers are read whole");
        }
        moved
    }

    fn take(&mut self, key: BrokerKey, bytes: &[u8]) {
        let (inbound, _) = self.sockets.get_mut(&key).expect("it is open");
        inbound.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(length) = inbound.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) {
            if inbound.len() < 4 + length {
                break;
            }
            inbound.advance(4);
            frames.push(inbound.split_to(length).freeze());
        }
        for frame in frames {
            let (kind, answer) = self.answer(frame);
            let withheld = match kind {
                _ if self.mute => true,
                ApiKey::Produce => self.silent,
                ApiKey::DescribeConfigs => !self.tells,
                _ => false,
            };
            // A broker answers in the order in which it was asked.
            if withheld || self.withheld.iter().any(|(known, _)| *known == key) {
                self.withheld.push_back((key, answer));
            } else {
                self.sockets.get_mut(&key).expect("it is open").1.extend_from_slice(&answer);
            }
        }
    }

    /// The answer to one request, and what was asked.
    fn answer(&mut self, mut frame: Bytes) -> (ApiKey, Bytes) {
        let header = RequestHeader::decode(&mut frame, 2).expect("a request");
        let version = header.request_api_version;
        let kind = ApiKey::try_from(header.request_api_key).expect("a request that Kafka knows");
        let mut body = Vec::new();
        match kind {
            ApiKey::ApiVersions => {
                let range = |key: ApiKey, max| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(0).with_max_version(max)
                };
                let keys = vec![
                    range(ApiKey::Produce, 12),
                    range(ApiKey::Metadata, 12),
                    range(ApiKey::ApiVersions, 4),
                    range(ApiKey::InitProducerId, 5),
                    range(ApiKey::DescribeConfigs, 4),
                ];
                ApiVersionsResponse::default().with_api_keys(keys).encode(&mut body, version)
            }
            ApiKey::Metadata => metadata().encode(&mut body, version),
            ApiKey::InitProducerId => {
                self.identities += 1;
                InitProducerIdResponse::default().with_producer_id(self.identities.into()).encode(&mut body, version)
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut frame, version).expect("a produce request");
                self.produce(&request).encode(&mut body, version)
            }
            ApiKey::DescribeConfigs => {
                self.inquiries += 1;
                let request = DescribeConfigsRequest::decode(&mut frame, version).expect("a request");
                describe(&request).encode(&mut body, version)
            }
            other => panic!("what to say to {other:?}?"),
        }
        .expect("it can be written");
        let tags = kind != ApiKey::ApiVersions;
        let mut out = BytesMut::new();
        out.put_u32((4 + usize::from(tags) + body.len()) as u32);
        out.put_i32(header.correlation_id);
        if tags {
            out.put_u8(0);
        }
        out.extend_from_slice(&body);
        (kind, out.freeze())
    }

    fn produce(&mut self, request: &ProduceRequest) -> ProduceResponse {
        let topic = &request.topic_data[0];
        let partitions = topic.partition_data.iter().map(|data| {
            let batch = data.records.clone().expect("a batch");
            let records = RecordBatchDecoder::decode(&mut batch.clone()).expect("a batch").records;
            let value = |value: &Option<Bytes>| String::from_utf8(value.as_ref().expect("a value").to_vec());
            let values: Vec<String> = records.iter().map(|record| value(&record.value).expect("text")).collect();
            self.arrived.extend(values.iter().cloned());
            let poisoned = self.poison.as_ref().is_some_and(|poison| values.iter().any(|value| value.contains(poison)));
            let is_ahead = self.times_max_ms.is_some_and(|max| records.iter().any(|record| record.timestamp > max));
            let code = match (poisoned, is_ahead) {
                (true, _) => INVALID_RECORD,
                (false, true) => INVALID_TIMESTAMP,
                (false, false) => 0,
            };
            if code == 0 {
                self.log.extend(values);
            }
            let appended_ms = self.clock_ms.filter(|_| code == 0).map_or(-1, u64::cast_signed);
            PartitionProduceResponse::default()
                .with_index(data.index)
                .with_error_code(code)
                .with_log_append_time_ms(appended_ms)
        });
        let partitions = partitions.collect();
        let topic = TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions);
        ProduceResponse::default().with_responses(vec![topic])
    }
}

/// All as it should be, but for the policy.
fn describe(request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let resource = &request.resources[0];
    assert_eq!((resource.resource_type, resource.resource_name.as_str()), (2, "orders"));
    let names = resource.configuration_keys.iter().flatten();
    let configs = names.map(|name| {
        let value = match name.as_str() {
            "min.insync.replicas" => "2",
            "retention.ms" | "retention.bytes" => "-1",
            "unclean.leader.election.enable" => "false",
            "cleanup.policy" => "compact",
            "message.timestamp.type" => "LogAppendTime",
            other => panic!("what is {other}?"),
        };
        let value = Some(StrBytes::from_static_str(value));
        DescribeConfigsResourceResult::default().with_name(name.clone()).with_value(value)
    });
    let result = DescribeConfigsResult::default().with_configs(configs.collect());
    DescribeConfigsResponse::default().with_results(vec![result])
}

fn metadata() -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(StrBytes::from_static_str("broker"))
        .with_port(9092);
    let partition = MetadataResponsePartition::default().with_leader_id(1.into()).with_replica_nodes(vec![1.into()]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("orders"))))
        .with_topic_id(uuid::Uuid::from_u128(TOPIC_ID))
        .with_partitions(vec![partition]);
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
}
