//! Where partitions end: what a lag is counted from. Asked apart from reading (ListOffsets), so that a partition that is
//! not read has a lag too, and that most of all.
//!
//! Ends are high watermarks: what an open transaction holds back is behind us as well. An end that has not been told for
//! [`END_AGE_MAX`] is not known; it is never taken for 0.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};

use super::limits::{END_AGE_MAX, END_INTERVAL};
use super::metadata::text;
use crate::time::Instant;

/// `timestamp` of ListOffsets that means the end.
const LATEST: i64 = -1;

#[derive(Debug)]
struct Partition {
    end: Option<(i64, Instant)>,
    is_asked: bool,
    due: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct EndOffsets {
    topic: String,
    partitions: BTreeMap<i32, Partition>,
}

impl EndOffsets {
    /// Of no partition yet.
    pub fn new(topic: &str) -> EndOffsets {
        EndOffsets { topic: topic.to_owned(), partitions: BTreeMap::new() }
    }

    /// Asks for these partitions from now on, and for no others.
    pub fn watch(&mut self, now: Instant, partitions: &[i32]) {
        let fresh = |partition: &i32| (*partition, Partition { end: None, is_asked: false, due: now });
        self.partitions = partitions.iter().map(fresh).collect();
    }

    /// What another answer has said of a partition's end.
    pub fn tell(&mut self, now: Instant, partition: i32, end: i64) {
        if let Some(state) = self.partitions.get_mut(&partition).filter(|_| end >= 0) {
            state.end = Some((end, now));
            state.due = now + END_INTERVAL;
        }
    }

    /// Where a partition ended when that was told last; `None`: not known, or not any more.
    pub fn end(&self, now: Instant, partition: i32) -> Option<i64> {
        let (end, told_at) = self.partitions.get(&partition)?.end?;
        (now.since(told_at) <= END_AGE_MAX).then_some(end)
    }

    /// Those that are watched.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    /// The request for those of them that a node leads, and which they are. [`EndOffsets::handle_answer`] or
    /// [`EndOffsets::handle_lost`] is to follow.
    pub fn poll_request(
        &mut self,
        now: Instant,
        leads: impl Fn(i32) -> bool,
    ) -> Option<(Vec<i32>, ListOffsetsRequest)> {
        let due = self.partitions.iter().filter(|(_, state)| !state.is_asked && state.due <= now);
        let partitions: Vec<i32> = due.map(|(partition, _)| *partition).filter(|at| leads(*at)).collect();
        if partitions.is_empty() {
            return None;
        }
        for partition in &partitions {
            self.set_asked(now, *partition, true);
        }
        let wanted = partitions.iter().map(|at| {
            let wanted = ListOffsetsPartition::default().with_partition_index(*at);
            wanted.with_current_leader_epoch(-1).with_timestamp(LATEST)
        });
        let topic =
            ListOffsetsTopic::default().with_name(TopicName(text(&self.topic))).with_partitions(wanted.collect());
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        Some((partitions, request))
    }

    /// The answer to a request for these partitions. False: a leader has moved, the metadata is stale.
    pub fn handle_answer(&mut self, now: Instant, partitions: &[i32], answer: &ListOffsetsResponse) -> bool {
        self.handle_lost(now, partitions);
        let mut all_told = true;
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            if found.error_code == 0 && partitions.contains(&found.partition_index) {
                self.tell(now, found.partition_index, found.offset);
            } else {
                all_told = false;
            }
        }
        all_told
    }

    /// There is no answer: they are asked for again in their time.
    pub fn handle_lost(&mut self, now: Instant, partitions: &[i32]) {
        for partition in partitions {
            self.set_asked(now, *partition, false);
        }
    }

    fn set_asked(&mut self, now: Instant, partition: i32, is_asked: bool) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.is_asked = is_asked;
            state.due = now + END_INTERVAL;
        }
    }

    /// When the next partition is due.
    pub fn next_deadline(&self) -> Instant {
        let waiting = self.partitions.values().filter(|state| !state.is_asked);
        waiting.map(|state| state.due).min().unwrap_or(Instant::FAR_FUTURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn answer(partitions: &[(i32, i16, i64)]) -> ListOffsetsResponse {
        let partitions = partitions.iter().map(|(at, error, offset)| {
            let found = ListOffsetsPartitionResponse::default().with_partition_index(*at);
            found.with_error_code(*error).with_offset(*offset)
        });
        let topic = ListOffsetsTopicResponse::default().with_partitions(partitions.collect());
        ListOffsetsResponse::default().with_topics(vec![topic])
    }

    #[test]
    fn what_was_not_told_is_not_known_and_what_is_old_is_not_known_any_more() {
        let mut ends = EndOffsets::new("orders");
        ends.watch(at(0), &[0, 1]);
        assert_eq!(ends.end(at(0), 0), None, "not 0");
        let (asked, request) = ends.poll_request(at(0), |_| true).expect("both are due");
        assert_eq!(asked, [0, 1]);
        assert_eq!(request.isolation_level, 0, "the end, whatever a transaction holds back");
        assert!(ends.poll_request(at(0), |_| true).is_none(), "asked once");
        assert!(!ends.handle_answer(at(1), &asked, &answer(&[(0, 0, 40), (1, 6, -1)])), "one leader has moved");
        assert_eq!((ends.end(at(1), 0), ends.end(at(1), 1)), (Some(40), None));
        assert_eq!(ends.end(at(1) + END_AGE_MAX + Duration::from_micros(1), 0), None);
        ends.watch(at(2), &[1]);
        assert_eq!(ends.end(at(2), 0), None, "another's now");
    }

    #[test]
    fn nobody_is_asked_for_what_a_fetch_has_told() {
        let mut ends = EndOffsets::new("orders");
        ends.watch(at(0), &[0, 1]);
        ends.tell(at(0), 0, 7);
        assert_eq!(ends.poll_request(at(0), |_| true).map(|(asked, _)| asked), Some(vec![1]));
        ends.handle_lost(at(1), &[1]);
        assert_eq!(ends.next_deadline(), at(0) + END_INTERVAL);
        assert_eq!(ends.poll_request(at(9), |partition| partition == 1).map(|(asked, _)| asked), Some(vec![1]));
    }
}
