//! A broker that leads the topic's one partition and acknowledges whatever is produced, at once.
//!
//! Its answer to a produce request is written once; afterwards only the correlation id is another.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, DescribeConfigsResponse, InitProducerIdResponse, MetadataResponse, ProduceResponse,
    RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use uuid::Uuid;

pub(crate) const HOST: &str = "broker";
pub(crate) const PORT: u16 = 9092;
pub(crate) const TOPIC: &str = "orders";
const TOPIC_ID: Uuid = Uuid::from_u128(77);

/// Where a frame holds what: its length, the request's kind and version, the correlation id.
const LENGTH_BYTES: usize = 4;
const KIND_AT: usize = 4;
const REQUEST_CORRELATION_AT: usize = 8;
const RESPONSE_CORRELATION_AT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Kafka {
    acknowledgement: Vec<u8>,
}

impl Kafka {
    /// Appends the answers to `requests`, all of which are whole.
    pub(crate) fn answer(&mut self, mut requests: &[u8], out: &mut Vec<u8>) {
        while let Some(length) = requests.first_chunk::<LENGTH_BYTES>() {
            let (request, rest) = requests.split_at(LENGTH_BYTES + u32::from_be_bytes(*length) as usize);
            requests = rest;
            let is_produce = request[KIND_AT..KIND_AT + 2] == (ApiKey::Produce as i16).to_be_bytes();
            if !is_produce || self.acknowledgement.is_empty() {
                let answer = answer(request);
                if is_produce {
                    self.acknowledgement.clone_from(&answer);
                }
                out.extend_from_slice(&answer);
                continue;
            }
            let id = &request[REQUEST_CORRELATION_AT..REQUEST_CORRELATION_AT + 4];
            self.acknowledgement[RESPONSE_CORRELATION_AT..RESPONSE_CORRELATION_AT + 4].copy_from_slice(id);
            out.extend_from_slice(&self.acknowledgement);
        }
    }
}

/// The whole answer to a whole request.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut request = Bytes::copy_from_slice(&request[LENGTH_BYTES..]);
    let header = RequestHeader::decode(&mut request, 2).expect("a request");
    let (kind, version) = (header.request_api_key, header.request_api_version);
    let kind = ApiKey::try_from(kind).expect("a request that Kafka knows");
    let mut body = Vec::new();
    match kind {
        ApiKey::ApiVersions => versions().encode(&mut body, version),
        ApiKey::Metadata => metadata().encode(&mut body, version),
        ApiKey::InitProducerId => {
            InitProducerIdResponse::default().with_producer_id(1001.into()).encode(&mut body, version)
        }
        ApiKey::Produce => produced().encode(&mut body, version),
        ApiKey::DescribeConfigs => DescribeConfigsResponse::default().encode(&mut body, version),
        other => panic!("what to say to {other:?}?"),
    }
    .expect("it can be written");
    // The header of the handshake's answer has no tags.
    let tags: &[u8] = if kind == ApiKey::ApiVersions { b"" } else { b"\0" };
    let length = (4 + tags.len() + body.len()) as u32;
    [&length.to_be_bytes(), &header.correlation_id.to_be_bytes(), tags, &body].concat()
}

fn versions() -> ApiVersionsResponse {
    let kinds = [
        (ApiKey::Produce, 13),
        (ApiKey::Metadata, 12),
        (ApiKey::ApiVersions, 4),
        (ApiKey::InitProducerId, 5),
        (ApiKey::DescribeConfigs, 4),
    ];
    let range = |(kind, max)| ApiVersion::default().with_api_key(kind as i16).with_max_version(max);
    ApiVersionsResponse::default().with_api_keys(kinds.map(range).to_vec())
}

fn metadata() -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(1.into())
        .with_host(StrBytes::from_static_str(HOST))
        .with_port(PORT.into());
    let partition = MetadataResponsePartition::default().with_leader_id(1.into()).with_replica_nodes(vec![1.into()]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
        .with_topic_id(TOPIC_ID)
        .with_partitions(vec![partition]);
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
}

fn produced() -> ProduceResponse {
    let partitions = vec![PartitionProduceResponse::default()];
    let topic = TopicProduceResponse::default().with_topic_id(TOPIC_ID).with_partition_responses(partitions);
    ProduceResponse::default().with_responses(vec![topic])
}
