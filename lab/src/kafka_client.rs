//! A blocking Kafka connection on `std::net` and the kafka-protocol crate: a second pair of eyes that shares no code
//! with what the edge and the worker speak.
//!
//! Never used by edge or worker; never retries by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    GroupId, IncrementalAlterConfigsRequest, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer};

use crate::error::{Doing, LabError};

const METADATA_VERSION: i16 = 12;
const CREATE_TOPICS_VERSION: i16 = 7;
/// The last version that names topics in words.
const DELETE_TOPICS_VERSION: i16 = 5;
const CREATE_PARTITIONS_VERSION: i16 = 3;
const DELETE_RECORDS_VERSION: i16 = 2;
const DELETE_GROUPS_VERSION: i16 = 2;
const ALTER_CONFIGS_VERSION: i16 = 1;
/// How long a broker may take over a change, ms.
const CHANGE_MAX_MS: i32 = 10_000;
const ANSWER_BYTES_MAX: usize = 128 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection to one broker; one request at a time.
#[derive(Debug)]
pub(crate) struct KafkaConnection {
    address: String,
    stream: TcpStream,
    correlation_id: i32,
}

impl KafkaConnection {
    /// Connects to `address` (`host:port`).
    pub(crate) fn open(address: &str) -> Result<KafkaConnection, LabError> {
        let doing = || format!("connecting to Kafka at {address}");
        let stream = TcpStream::connect(address).doing(doing)?;
        stream.set_nodelay(true).doing(doing)?;
        stream.set_read_timeout(Some(TIMEOUT)).doing(doing)?;
        stream.set_write_timeout(Some(TIMEOUT)).doing(doing)?;
        Ok(KafkaConnection { address: address.to_owned(), stream, correlation_id: 0 })
    }

    /// Sends `request` and waits for its answer. After an error the connection is of no more use.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, LabError> {
        self.correlation_id += 1;
        let id = self.correlation_id;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(StrBytes::from_static_str("flux-lab")));
        let wrong = |what: &str, why: &dyn std::fmt::Display| {
            LabError::failed(format!("Kafka at {}: {what}: {why}", self.address))
        };
        let mut out = BytesMut::new();
        out.extend_from_slice(&[0; 4]);
        encode_request_header_into_buffer(&mut out, &header).map_err(|error| wrong("encoding", &error))?;
        request.encode(&mut out, version).map_err(|error| wrong("encoding", &error))?;
        let length = out.len() as u32 - 4;
        out[..4].copy_from_slice(&length.to_be_bytes());

        let doing = || format!("asking Kafka at {}", self.address);
        (&self.stream).write_all(&out).doing(doing)?;
        let mut length = [0; 4];
        (&self.stream).read_exact(&mut length).doing(doing)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(wrong("an answer of absurd length", &length));
        }
        let mut body = BytesMut::zeroed(length);
        (&self.stream).read_exact(&mut body).doing(doing)?;
        let mut body = body.freeze();
        let header = ResponseHeader::decode(&mut body, R::Response::header_version(version))
            .map_err(|error| wrong("decoding", &error))?;
        if header.correlation_id != id {
            return Err(wrong("an answer to another request", &header.correlation_id));
        }
        let answer = R::Response::decode(&mut body, version).map_err(|error| wrong("decoding", &error))?;
        if body.has_remaining() {
            return Err(wrong("bytes left over in an answer", &body.remaining()));
        }
        Ok(answer)
    }

    /// Brokers, and `topic` where one is named.
    pub(crate) fn metadata(&mut self, topic: Option<&str>) -> Result<MetadataResponse, LabError> {
        let topics = topic.map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.into_iter().collect()))
            .with_allow_auto_topic_creation(false);
        self.call(METADATA_VERSION, &request)
    }

    /// Creates `topic`; one that exists is left as it is.
    pub(crate) fn create_topic(&mut self, topic: &str, partitions: i32, replicas: i16) -> Result<(), LabError> {
        const TOPIC_ALREADY_EXISTS: i16 = 36;
        let topic = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(CHANGE_MAX_MS);
        for result in self.call(CREATE_TOPICS_VERSION, &request)?.topics {
            if !matches!(result.error_code, 0 | TOPIC_ALREADY_EXISTS) {
                let text = format!("creating topic {}: Kafka error {}", &*result.name.0, result.error_code);
                return Err(LabError::failed(text));
            }
        }
        Ok(())
    }

    /// Deletes `topic`, its records with it.
    pub(crate) fn delete_topic(&mut self, topic: &str) -> Result<(), LabError> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]).with_timeout_ms(CHANGE_MAX_MS);
        let answer = self.call(DELETE_TOPICS_VERSION, &request)?;
        all_well(&format!("deleting topic {topic}"), answer.responses.iter().map(|result| result.error_code))
    }

    /// Raises the number of partitions.
    pub(crate) fn add_partitions(&mut self, topic: &str, partitions: i32) -> Result<(), LabError> {
        let wanted =
            CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(partitions).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(CHANGE_MAX_MS);
        let answer = self.call(CREATE_PARTITIONS_VERSION, &request)?;
        all_well(&format!("adding partitions to {topic}"), answer.results.iter().map(|result| result.error_code))
    }

    /// Deletes all records that stand in `partition` now.
    pub(crate) fn delete_records(&mut self, topic: &str, partition: i32) -> Result<(), LabError> {
        /// Up to the high watermark.
        const ALL: i64 = -1;
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(ALL);
        let wanted = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(CHANGE_MAX_MS);
        let answer = self.call(DELETE_RECORDS_VERSION, &request)?;
        let codes = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(|result| result.error_code));
        all_well(&format!("deleting records of {topic}"), codes)
    }

    /// Deletes a group that has no members.
    pub(crate) fn delete_group(&mut self, group: &str) -> Result<(), LabError> {
        let names = vec![GroupId(StrBytes::from_string(group.to_owned()))];
        let answer = self.call(DELETE_GROUPS_VERSION, &DeleteGroupsRequest::default().with_groups_names(names))?;
        all_well(&format!("deleting group {group}"), answer.results.iter().map(|result| result.error_code))
    }

    /// Sets one of a topic's settings.
    pub(crate) fn set_topic(&mut self, topic: &str, name: &str, value: &str) -> Result<(), LabError> {
        /// Kafka's word for "a topic".
        const TOPIC: i8 = 2;
        /// And for "to be set".
        const SET: i8 = 0;
        let setting = AlterableConfig::default()
            .with_name(StrBytes::from_string(name.to_owned()))
            .with_config_operation(SET)
            .with_value(Some(StrBytes::from_string(value.to_owned())));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configs(vec![setting]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.call(ALTER_CONFIGS_VERSION, &request)?;
        all_well(&format!("setting {name} of {topic}"), answer.responses.iter().map(|result| result.error_code))
    }
}

/// An error for the first code that is none of 0.
pub(crate) fn all_well(doing: &str, mut codes: impl Iterator<Item = i16>) -> Result<(), LabError> {
    match codes.find(|code| *code != 0) {
        None => Ok(()),
        Some(code) => Err(LabError::failed(format!("{doing}: Kafka error {code}"))),
    }
}

/// A topic's name as the crate wants it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
