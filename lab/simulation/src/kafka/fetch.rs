//! Reading: fetches, which may wait for records, and where a log begins and ends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::Instant;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse};

use super::Kafka;
use super::log::HEADER_BYTES;
use super::requests::{OFFSET_OUT_OF_RANGE, Step, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID};
use super::topic::ORDERS;
use super::wire::Asked;

impl Kafka {
    /// Answers a fetch, or says until when it waits.
    pub(super) fn fetch(&mut self, now: Instant, node: usize, asked: &Asked) -> Result<Step, String> {
        let request: FetchRequest = asked.decode()?;
        match self.try_fetch(now, node, &request) {
            Some(response) => Ok(Step::Answer(asked.answer(&response))),
            None => Ok(Step::Fetch(now + Duration::from_millis(request.max_wait_ms.max(0) as u64))),
        }
    }

    /// The answer to a fetch that has waited long enough.
    pub(super) fn empty_fetch(&mut self, now: Instant, node: usize, asked: &Asked) -> Result<Bytes, String> {
        let request: FetchRequest = asked.decode()?;
        Ok(asked.answer(&self.fetched(now, node, &request).0))
    }

    /// The answer, where there are as many bytes as were asked for at least, or something to complain of.
    pub(super) fn try_fetch(&mut self, now: Instant, node: usize, request: &FetchRequest) -> Option<FetchResponse> {
        let (response, has_news) = self.fetched(now, node, request);
        has_news.then_some(response)
    }

    fn fetched(&mut self, now: Instant, node: usize, request: &FetchRequest) -> (FetchResponse, bool) {
        let mut room = usize::try_from(request.max_bytes).unwrap_or(0);
        let (mut bytes, mut is_refused) = (0, false);
        let mut topics = Vec::new();
        for topic in &request.topics {
            let known = self.asked_topic(true, topic.topic_id, &topic.topic);
            let mut partitions = Vec::new();
            for wanted in &topic.partitions {
                let data = PartitionData::default().with_partition_index(wanted.partition);
                let served = known
                    .ok_or(UNKNOWN_TOPIC_ID)
                    .and_then(|topic| self.not_served(node, topic, wanted.partition).map_or(Ok(topic), Err));
                let data = match served {
                    Err(code) => data.with_error_code(code).with_high_watermark(-1),
                    Ok(topic) => {
                        self.read_log(now, topic, data, (wanted.fetch_offset, request.isolation_level), &mut room)
                    }
                };
                is_refused |= data.error_code != 0;
                bytes += data.records.as_ref().map_or(0, Bytes::len);
                partitions.push(data);
            }
            topics.push(FetchableTopicResponse::default().with_topic_id(topic.topic_id).with_partitions(partitions));
        }
        let is_enough = bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        (FetchResponse::default().with_responses(topics), is_refused || is_enough)
    }

    fn read_log(
        &mut self,
        now: Instant,
        topic: usize,
        data: PartitionData,
        (offset, isolation_level): (i64, i8),
        room: &mut usize,
    ) -> PartitionData {
        let log = &self.topics[topic].partitions[data.partition_index as usize].log;
        let (visible, stable) = (log.visible(now, isolation_level), log.stable(now));
        let data = data.with_high_watermark(log.high_watermark(now)).with_last_stable_offset(stable);
        let data = data.with_log_start_offset(log.start);
        if offset < log.start || offset > log.end() {
            return data.with_error_code(OFFSET_OUT_OF_RANGE).with_records(Some(Bytes::new()));
        }
        let mut records = BytesMut::new();
        for batch in log.batches.iter().filter(|batch| batch.end > offset && batch.end <= visible) {
            // A first batch comes whole, however large.
            if !records.is_empty() && batch.bytes.len() > *room {
                break;
            }
            *room = room.saturating_sub(batch.bytes.len());
            records.extend_from_slice(&batch.bytes);
        }
        if topic == ORDERS && !records.is_empty() && std::mem::take(&mut self.damages_next_fetch) {
            // In the first batch: those before a damaged one are good.
            records[HEADER_BYTES] ^= 0xff;
        }
        data.with_records(Some(records.freeze()))
    }

    pub(super) fn list_offsets(&self, now: Instant, node: usize, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        const EARLIEST: i64 = -2;
        let topics = request.topics.iter().map(|topic| {
            let place = self.place_of(topic.name.0.as_str());
            let partitions = topic.partitions.iter().map(|wanted| {
                let found = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
                let served = place
                    .ok_or(UNKNOWN_TOPIC)
                    .and_then(|topic| self.not_served(node, topic, wanted.partition_index).map_or(Ok(topic), Err));
                let topic = match served {
                    Ok(topic) => topic,
                    Err(code) => return found.with_error_code(code),
                };
                let log = &self.topics[topic].partitions[wanted.partition_index as usize].log;
                let end = log.visible(now, request.isolation_level);
                found.with_offset(if wanted.timestamp == EARLIEST { log.start } else { end })
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}
