//! What a metadata answer says about the brokers and our topic, checked before it is believed.
//!
//! Never asks for metadata and never connects ([`super::cluster`] does).

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::limits::{HOST_BYTES_MAX, NODES_MAX, PARTITIONS_MAX};

/// A broker's id within its cluster (`node.id`).
pub type NodeId = i32;

/// A topic's id: another one under the same name is another topic.
pub type TopicId = [u8; 16];

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or address as the cluster advertises it.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// One partition and who leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// `None` while none is known or an election runs.
    pub leader: Option<NodeId>,
    /// Counts the elections; −1 where unknown.
    pub leader_epoch: i32,
}

/// The topic, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// By partition number, without gaps.
    pub partitions: Vec<Partition>,
}

/// A metadata answer that contradicts itself: close the connection it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata that cannot be: {0}")]
pub struct MetadataError(pub &'static str);

/// What one answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// All brokers that are up.
    pub nodes: BTreeMap<NodeId, Address>,
    /// The topic, or the broker's error code (3: there is no such topic).
    pub topic: Result<Topic, i16>,
}

/// The request for the metadata of one topic, which is never created by asking.
pub fn request(topic: &str) -> MetadataRequest {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
        .with_allow_auto_topic_creation(false)
}

/// An address that can be connected to, or `None`.
pub fn address(host: &str, port: i32) -> Option<Address> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    let fits = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Address { host: host.to_owned(), port })
}

/// What `response` says about `topic`.
///
/// # Errors
/// [`MetadataError`] where it is absurd.
pub fn read(response: &MetadataResponse, topic: &str) -> Result<Metadata, MetadataError> {
    if response.brokers.len() > NODES_MAX {
        return Err(MetadataError("too many brokers"));
    }
    let mut nodes = BTreeMap::new();
    for broker in &response.brokers {
        let at = address(&broker.host, broker.port).ok_or(MetadataError("a broker's address"))?;
        nodes.insert(broker.node_id.0, at);
    }
    let named = |found: &&MetadataResponseTopic| found.name.as_ref().is_some_and(|name| name.0.as_str() == topic);
    let found = response.topics.iter().find(named).ok_or(MetadataError("another topic than the one asked for"))?;
    let topic = if found.error_code == 0 { Ok(read_topic(found)?) } else { Err(found.error_code) };
    Ok(Metadata { nodes, topic })
}

fn read_topic(found: &MetadataResponseTopic) -> Result<Topic, MetadataError> {
    let count = found.partitions.len();
    if count == 0 || count > PARTITIONS_MAX {
        return Err(MetadataError("the number of partitions"));
    }
    let mut partitions: Vec<Option<Partition>> = vec![None; count];
    for partition in &found.partitions {
        let place = usize::try_from(partition.partition_index).ok().and_then(|index| partitions.get_mut(index));
        let place = place.filter(|place| place.is_none()).ok_or(MetadataError("the numbers of the partitions"))?;
        let leader = Some(partition.leader_id.0).filter(|leader| *leader >= 0);
        *place = Some(Partition { leader, leader_epoch: partition.leader_epoch });
    }
    let id = *found.topic_id.as_bytes();
    if id == [0; 16] {
        return Err(MetadataError("no topic id"));
    }
    // As many places as partitions, each taken at most once: none is left.
    Ok(Topic { id, partitions: partitions.into_iter().flatten().collect() })
}

impl Topic {
    /// Takes over what a newer answer says, except for partitions of which this one knows a later leader: a broker that
    /// lags behind may have been asked. Partitions of a topic are never taken away.
    pub fn update(&mut self, newer: Topic) {
        if self.id != newer.id {
            *self = newer;
            return;
        }
        for (index, found) in newer.partitions.into_iter().enumerate() {
            match self.partitions.get_mut(index) {
                Some(known) if (0..known.leader_epoch).contains(&found.leader_epoch) => {}
                Some(known) => *known = found,
                None => self.partitions.push(found),
            }
        }
    }
}

/// `text` as the crate's string type.
pub fn text(text: &str) -> StrBytes {
    StrBytes::try_from(Bytes::copy_from_slice(text.as_bytes())).expect("a `str` is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_response::MetadataResponsePartition;

    /// Orders go to the partitions that an answer names: one that makes no sense must not become the topic.
    #[test]
    fn an_answer_without_partitions_or_with_too_many_or_with_one_twice_is_no_topic() {
        let of = |indices: Vec<i32>| {
            let partition = |index| MetadataResponsePartition::default().with_partition_index(index);
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(text("orders"))))
                .with_topic_id(uuid::Uuid::from_u128(77))
                .with_partitions(indices.into_iter().map(partition).collect());
            read(&MetadataResponse::default().with_topics(vec![topic]), "orders")
        };
        let most = PARTITIONS_MAX as i32;
        let topic = of((0..most).collect()).expect("as many as there may be").topic.expect("no error");
        assert_eq!(topic.partitions.len(), PARTITIONS_MAX);
        assert_eq!(of((0..=most).collect()), Err(MetadataError("the number of partitions")));
        assert_eq!(of(Vec::new()), Err(MetadataError("the number of partitions")));
        for numbers in [vec![0, 0], vec![0, 2], vec![-1, 0]] {
            assert_eq!(of(numbers), Err(MetadataError("the numbers of the partitions")));
        }
    }
}
