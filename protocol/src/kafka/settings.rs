//! What the durability of a topic rests on: how many copies it has, and its settings as the brokers apply them.
//!
//! Two requests and the reading of their answers. Never judges a setting, and never changes one.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};

use super::connection::Answer;
use super::metadata::text;
use super::wire::WireError;

/// `ConfigResource.Type.TOPIC` of Kafka's protocol.
const TOPIC: i8 = 2;

/// A topic as the brokers keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Copies of the partition that has fewest; 0 where that was not told.
    pub replicas: usize,
    /// The settings asked for by name, defaults of the broker included; the error code where it refuses to tell.
    pub values: Result<BTreeMap<String, String>, i16>,
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

/// The copies of each partition of `topic` in an answer to [`super::metadata::request`]: the fewest.
///
/// # Errors
/// [`WireError`] where it does not decode.
pub(super) fn read_replicas(answer: &Answer, topic: &str) -> Result<usize, WireError> {
    let response = answer.decode::<MetadataRequest>()?;
    let named = response.topics.iter().find(|found| found.name.as_ref().is_some_and(|name| name.0.as_str() == topic));
    let partitions = named.map_or(&[][..], |topic| &topic.partitions);
    Ok(partitions.iter().map(|partition| partition.replica_nodes.len()).min().unwrap_or(0))
}
