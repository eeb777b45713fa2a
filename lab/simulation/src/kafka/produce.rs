//! Producing: which batches are appended, and when that is acknowledged.

use std::time::Duration;

use bytes::Bytes;
use flux_protocol::time::Instant;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::faults::ProduceFault;
use super::log::{Fit, Header};
use super::records::records;
use super::requests::{Step, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID};
use super::topic::ORDERS;
use super::wire::Asked;
use super::{Kafka, REPLICATION_US};

impl Kafka {
    /// Appends what it can, and answers when the replicas that were asked for have it.
    pub(super) fn produce(&mut self, now: Instant, node: usize, asked: &Asked) -> Result<Step, String> {
        let request: ProduceRequest = asked.decode()?;
        let by_id = is_by_id(asked);
        let meant: Vec<Option<usize>> =
            request.topic_data.iter().map(|topic| self.asked_topic(by_id, topic.topic_id, &topic.name)).collect();
        let fault = if meant.contains(&Some(ORDERS)) { self.produce_faults.pop_front() } else { None };
        let mut replicated_at = now;
        let mut topics = Vec::new();
        for (topic, place) in request.topic_data.iter().zip(meant) {
            let fault = fault.filter(|_| place == Some(ORDERS));
            let mut partitions = Vec::new();
            for data in &topic.partition_data {
                let outcome = match (place, fault) {
                    (None, _) => Err(if by_id { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC }),
                    (Some(_), Some(ProduceFault::Refuse(code))) => Err(code),
                    (Some(topic), _) => self.append(now, node, (topic, data.index), data.records.as_ref()),
                };
                let mut response = PartitionProduceResponse::default().with_index(data.index);
                match outcome {
                    Ok((base, at)) => {
                        replicated_at = replicated_at.max(at);
                        response = response.with_base_offset(base);
                        if let Some(ProduceFault::AppendAndSay(code)) = fault {
                            response = response.with_error_code(code);
                        }
                    }
                    Err(code) => response = response.with_base_offset(-1).with_error_code(code),
                }
                partitions.push(response);
            }
            let mut response = TopicProduceResponse::default().with_partition_responses(partitions);
            if by_id {
                response = response.with_topic_id(topic.topic_id);
            } else {
                response = response.with_name(topic.name.clone());
            }
            topics.push(response);
        }
        let answer = asked.answer(&ProduceResponse::default().with_responses(topics));
        Ok(match (fault, request.acks) {
            (Some(ProduceFault::LoseAnswer), _) => Step::Close,
            (Some(ProduceFault::Delay(span)), _) => Step::At(now + span, answer),
            (_, 1) => Step::Answer(answer),
            _ => Step::At(replicated_at, answer),
        })
    }

    /// Appends a batch: where it begins, and when it is on every replica.
    fn append(
        &mut self,
        now: Instant,
        node: usize,
        (topic, index): (usize, i32),
        batch: Option<&Bytes>,
    ) -> Result<(i64, Instant), i16> {
        const INVALID_RECORD: i16 = 87;
        if let Some(code) = self.not_served(node, topic, index) {
            return Err(code);
        }
        let batch = batch.ok_or(INVALID_RECORD)?;
        let header = Header::read(batch)?;
        // A compacted topic takes no record without a key.
        if self.topics[topic].is_compacted()
            && !records(batch).is_some_and(|records| records.iter().all(|record| record.key.is_some()))
        {
            return Err(INVALID_RECORD);
        }
        if topic == ORDERS
            && let Some((needle, code)) = &self.poison
            && batch.windows(needle.len()).any(|window| window == &needle[..])
        {
            return Err(*code);
        }
        let usual = Duration::from_micros(100 + self.random_of(topic).below(REPLICATION_US));
        let delay = usual + self.replication_slowed;
        let partition = &mut self.topics[topic].partitions[index as usize];
        match partition.log.fit(&header) {
            Fit::New => {
                let alone = self.nodes.len() == 1;
                let at = if alone { now } else { now + delay };
                Ok(partition.log.append(header, batch, partition.leader_epoch, now, at))
            }
            Fit::Duplicate(base, at) => Ok((base, at)),
            Fit::Wrong(code) => Err(code),
        }
    }

    /// Whether this is a produce request for the topic.
    pub(super) fn produces_to(&self, asked: &Asked, topic: usize) -> bool {
        let Ok(request) = asked.decode::<ProduceRequest>() else { return false };
        let by_id = is_by_id(asked);
        request.topic_data.iter().any(|data| self.asked_topic(by_id, data.topic_id, &data.name) == Some(topic))
    }
}

/// Topics are named by their ids from version 13 on.
fn is_by_id(asked: &Asked) -> bool {
    asked.version >= 13
}
