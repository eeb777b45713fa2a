//! Reads a topic without a group: where each partition ends, and what stands between two offsets. For commands that look
//! once (audit, rebuild) and must not disturb the members that store.
//!
//! ```text
//! owner                                LogReader
//!   ask_ends() ──▶
//!   ends() ◀── topic id, end by partition ──
//!   start(partition, offset) ──▶
//!   poll_records() ◀── records ──
//! ```
//!
//! Never commits, never joins a group, never decides how far to read: the owner stops at the ends it was told.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, TopicName};

use super::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use super::cluster::{Cluster, ClusterConfig, Lane, Response, Target};
use super::connection::{Answer, RequestLimits};
use super::denial;
use super::fetch::{FetchConfig, FetchEvent, FetchId, Fetched, Fetcher, Isolation};
use super::limits::FRAME_BYTES_MAX;
use super::metadata::{NodeId, TopicId, text};
use crate::time::Instant;

/// How long an answer may take for which the broker need not wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a partition that answered with an error is asked for its end again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// `timestamp` of ListOffsets that means the end.
const LATEST: i64 = -1;

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Offsets belong to this id, not to the name.
    pub topic_id: TopicId,
    /// The offset behind the last record of each partition, in order.
    pub offsets: Vec<i64>,
}

#[derive(Clone, Debug)]
enum Token {
    /// Of these partitions, for what was wanted since then.
    Ends(Vec<i32>, Instant),
    Fetch(FetchId, TopicId),
}

/// See the module.
#[derive(Debug)]
pub struct LogReader {
    topic: String,
    cluster: Cluster<Token>,
    fetcher: Fetcher,
    fetch: FetchConfig,
    /// Ends are wanted: of which kind, and since when. What was asked or known before is not believed.
    wanted: Option<(Isolation, Instant)>,
    ends: BTreeMap<i32, i64>,
    asked: BTreeSet<i32>,
    not_before: Instant,
    /// Of the last call.
    now: Instant,
}

impl LogReader {
    /// Connects at once; reads nothing until it is asked.
    pub fn new(config: ClusterConfig, fetch: FetchConfig, now: Instant) -> LogReader {
        LogReader {
            topic: config.topic.clone(),
            cluster: Cluster::new(config, now),
            fetcher: Fetcher::new(fetch),
            fetch,
            wanted: None,
            ends: BTreeMap::new(),
            asked: BTreeSet::new(),
            not_before: now,
            now,
        }
    }

    /// Asks anew which partitions there are and where each of them ends: at the high watermark, behind all that was
    /// acknowledged, or for [`Isolation::Committed`] at the last stable offset, where readers of our kind stop.
    pub fn ask_ends(&mut self, now: Instant, isolation: Isolation) {
        self.wanted = Some((isolation, now));
        self.ends.clear();
        // An answer that is on its way tells of an earlier moment.
        self.asked.clear();
        self.cluster.refresh_metadata(now);
        self.drive(now);
    }

    /// The ends, once all partitions have answered since [`LogReader::ask_ends`].
    pub fn ends(&self) -> Option<Ends> {
        let topic = self.cluster.topic().filter(|_| self.is_fresh())?;
        let offsets: Option<Vec<i64>> =
            (0..topic.partitions.len()).map(|at| self.ends.get(&(at as i32)).copied()).collect();
        Some(Ends { topic_id: topic.id, offsets: offsets? })
    }

    /// The topic's id, where it is known: offsets belong to it.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.cluster.topic().map(|topic| topic.id)
    }

    /// Why a broker does not take us, in one line: until it does.
    pub fn refusal(&self) -> Option<String> {
        self.cluster.refusal().or_else(|| self.cluster.topic_refusal())
    }

    /// The broker's error for the topic (3: no such topic), where the latest metadata had one.
    pub fn latest_topic_error(&self) -> Option<i16> {
        self.cluster.topic_error()
    }

    /// What an operator has to mend where a broker has answered `code`; `None` where that says something else.
    pub fn denial(&self, code: i16) -> Option<String> {
        denial::in_words(code, &self.cluster.who(), "Read", &self.topic)
    }

    /// The broker's error for the topic (3: no such topic), as of [`LogReader::ask_ends`] or later.
    pub fn topic_error(&self) -> Option<i16> {
        self.cluster.topic_error().filter(|_| self.is_fresh())
    }

    /// Whether what is known of the topic was asked for when ends were, or later.
    fn is_fresh(&self) -> bool {
        self.wanted.is_some_and(|(_, since)| self.cluster.metadata_as_of().is_some_and(|as_of| as_of >= since))
    }

    /// Reads `partition` from `offset` on.
    pub fn start(&mut self, now: Instant, partition: i32, offset: i64) {
        self.fetcher.start(now, partition, offset);
        self.drive(now);
    }

    /// Reads `partition` no more.
    pub fn stop(&mut self, partition: i32) {
        self.fetcher.stop(partition);
    }

    /// Records that have come. Taking them makes room for more: call [`LogReader::handle_time`] afterwards.
    pub fn poll_records(&mut self) -> Option<Fetched> {
        self.fetcher.poll_records()
    }

    /// What stands in the way of reading.
    pub fn poll_event(&mut self) -> Option<FetchEvent> {
        self.fetcher.poll_event()
    }
}

impl KafkaClient for LogReader {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.cluster.poll_action()
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_open(now, broker);
        self.drive(now);
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        let result = self.cluster.handle_broker_bytes(now, broker, buffer);
        self.drive(now);
        result
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        self.cluster.handle_broker_closed(now, broker);
        self.drive(now);
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.cluster.poll_broker_write(broker, out);
    }

    fn next_deadline(&self) -> Instant {
        let retry =
            if self.wanted.is_some() && self.not_before > self.now { self.not_before } else { Instant::FAR_FUTURE };
        self.cluster.next_deadline().min(self.fetcher.next_deadline(self.now)).min(retry)
    }

    fn handle_time(&mut self, now: Instant) {
        self.cluster.handle_time(now);
        self.drive(now);
    }
}

impl LogReader {
    // Inside.

    fn drive(&mut self, now: Instant) {
        self.now = now;
        loop {
            while let Some(Response { token, broker, answer }) = self.cluster.poll_response() {
                let understood = match (token, answer) {
                    (Token::Ends(partitions, since), answer) => self.take_ends(now, &partitions, since, answer),
                    (Token::Fetch(id, topic), Some(answer)) => {
                        self.fetcher.handle_answer(now, id, topic, answer.body).is_ok()
                    }
                    (Token::Fetch(id, _), None) => {
                        self.fetcher.handle_lost(now, id);
                        true
                    }
                };
                if !understood {
                    self.cluster.close_broker(now, broker);
                }
            }
            if self.fetcher.take_metadata_stale() {
                self.cluster.refresh_metadata(now);
            }
            if !self.send(now) {
                return;
            }
        }
    }

    /// Sends what can be sent; whether anything was given up at once, so that there may be more to do.
    fn send(&mut self, now: Instant) -> bool {
        let Some(topic) = self.cluster.topic() else { return false };
        let (topic_id, count) = (topic.id, topic.partitions.len());
        let mut nodes: Vec<NodeId> = (0..count).filter_map(|at| self.cluster.leader(at as i32)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let wanted = self.wanted.filter(|_| self.is_fresh());
        for node in &nodes {
            self.cluster.connect(now, *node, Lane::DATA);
        }
        nodes.retain(|node| self.cluster.is_ready(Target::Node(*node, Lane::DATA)));
        for node in &nodes {
            let cluster = &self.cluster;
            let leads = |partition: i32| cluster.leader(partition) == Some(*node);
            let missing: Vec<i32> = (0..count as i32)
                .filter(|at| wanted.is_some() && now >= self.not_before && leads(*at))
                .filter(|at| !self.ends.contains_key(at) && !self.asked.contains(at))
                .collect();
            if let Some((isolation, since)) = wanted.filter(|_| !missing.is_empty()) {
                let request = ends_request(&self.topic, &missing, isolation);
                let limits = RequestLimits::within(ANSWER_TIMEOUT);
                let target = Target::Node(*node, Lane::DATA);
                let token = Token::Ends(missing.clone(), since);
                if self.cluster.request(now, target, &request, token, limits).is_ok() {
                    self.asked.extend(missing);
                }
            }
        }
        let mut again = false;
        loop {
            let cluster = &self.cluster;
            let leader = |partition| cluster.leader(partition);
            let Some((node, id, request)) = self.fetcher.poll_fetch(now, topic_id, &nodes, leader) else { break };
            let target = Target::Node(node, Lane::DATA);
            let limits =
                RequestLimits { timeout: self.fetch.wait + ANSWER_TIMEOUT, response_bytes_max: FRAME_BYTES_MAX };
            if self.cluster.request(now, target, &request, Token::Fetch(id, topic_id), limits).is_err() {
                self.fetcher.handle_lost(now, id);
                again = true;
            }
        }
        again && self.cluster.next_deadline() <= now
    }

    /// Whether the answer could be read.
    fn take_ends(&mut self, now: Instant, partitions: &[i32], since: Instant, answer: Option<Answer>) -> bool {
        if self.wanted.is_none_or(|(_, wanted_since)| wanted_since != since) {
            // Of an earlier question: another is on its way.
            return answer.is_none_or(|answer| answer.decode::<ListOffsetsRequest>().is_ok());
        }
        for partition in partitions {
            self.asked.remove(partition);
        }
        let Some(answer) = answer else { return true };
        let Ok(response) = answer.decode::<ListOffsetsRequest>() else { return false };
        for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if !partitions.contains(&found.partition_index) {
                continue;
            }
            if found.error_code == 0 && found.offset >= 0 {
                self.ends.insert(found.partition_index, found.offset);
            } else {
                self.not_before = now + RETRY_PAUSE;
                self.cluster.refresh_metadata(now);
            }
        }
        true
    }
}

fn ends_request(topic: &str, partitions: &[i32], isolation: Isolation) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|at| {
        ListOffsetsPartition::default().with_partition_index(*at).with_current_leader_epoch(-1).with_timestamp(LATEST)
    });
    let topic = ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect());
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation as i8)
        .with_topics(vec![topic])
}
