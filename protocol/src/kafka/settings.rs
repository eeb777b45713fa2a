//! What the durability of a topic rests on: how many copies it has, and its settings as the brokers apply them.
//!
//! Two requests and the reading of their answers. Never judges a setting, and never changes one.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};

use super::connection::Answer;
use super::metadata::{self, text};
use super::wire::WireError;

/// `ConfigResource.Type.TOPIC` of Kafka's protocol.
const TOPIC: i8 = 2;
/// `AclOperation.WRITE` of Kafka's protocol: its bit in `topic_authorized_operations`.
const WRITE: i32 = 1 << 4;
/// `topic_authorized_operations` where the broker does not say.
const NOT_TOLD: i32 = i32::MIN;

/// A topic as the brokers keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Copies of the partition that has fewest; 0 where that was not told.
    pub replicas: usize,
    /// Whether our user may write to it; `None` where that was not told.
    pub may_write: Option<bool>,
    /// The settings asked for by name, defaults of the broker included; why it refuses to tell, in words, where it does.
    pub values: Result<BTreeMap<String, String>, String>,
}

/// The request for the settings `names` of `topic`.
pub(super) fn request(topic: &str, names: &[&str]) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(names.iter().map(|name| text(name)).collect()));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

/// The settings in the answer to [`request`].
///
/// # Errors
/// [`WireError`] where it is not about one topic: nothing in it is believed then.
pub(super) fn read(answer: &Answer) -> Result<Result<BTreeMap<String, String>, i16>, WireError> {
    let response = answer.decode::<DescribeConfigsRequest>()?;
    let [result] = &response.results[..] else {
        let reason = "another number of topics than was asked for".to_owned();
        return Err(WireError { kind: "DescribeConfigsResponse", reason });
    };
    if result.error_code != 0 {
        return Ok(Err(result.error_code));
    }
    let told = result.configs.iter().filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?)));
    Ok(Ok(told.map(|(name, value)| (name, value.to_string())).collect()))
}

/// The request for the copies of `topic`, and for what our user may do with it.
pub(super) fn request_copies(topic: &str) -> MetadataRequest {
    metadata::request(topic).with_include_topic_authorized_operations(true)
}

/// Of `topic` in an answer to [`request_copies`]: the copies of the partition that has fewest, and whether our user may write to it.
///
/// # Errors
/// [`WireError`] where it does not decode.
pub(super) fn read_copies(answer: &Answer, topic: &str) -> Result<(usize, Option<bool>), WireError> {
    let response = answer.decode::<MetadataRequest>()?;
    let named = response.topics.iter().find(|found| found.name.as_ref().is_some_and(|name| name.0.as_str() == topic));
    let partitions = named.map_or(&[][..], |topic| &topic.partitions);
    let copies = partitions.iter().map(|partition| partition.replica_nodes.len()).min().unwrap_or(0);
    let operations = named.map(|topic| topic.topic_authorized_operations).filter(|told| *told != NOT_TOLD);
    Ok((copies, operations.map(|operations| operations & WRITE != 0)))
}
