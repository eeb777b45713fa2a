//! The partitions that are read: what to ask each leader for, what came of it, and how much may lie about.
//!
//! One request at a time goes to each leader, and only when none of its partitions has records that the owner has not
//! taken: a request waits at the broker for new records, and a partition left out of it would have to wait as long.
//! Memory is bounded by [`FetchConfig::buffered_bytes_max`]: a request reserves the bytes it may bring.
//!
//! Fetches go by topic id, `read_committed`, without a fetch session. Never decides where a partition starts and never
//! moves past anything by itself: an offset out of range or a damaged batch stops the partition or is asked for again,
//! and the owner is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

use super::backoff::{SplitMix64, backoff};
use super::error_code as code;
use super::metadata::{NodeId, TopicId};
use super::reader::{Malformed, Reader};
use super::records_decode::{AbortedTransaction, FetchedRecords, ScanError};
use crate::time::Instant;

/// Bounds of fetching.
#[derive(Clone, Copy, Debug)]
pub struct FetchConfig {
    /// Most bytes of records one answer brings; a single batch that is larger comes whole all the same.
    pub answer_bytes_max: usize,
    /// Most bytes of records asked for or not taken yet, all leaders together; at least one answer's worth.
    pub buffered_bytes_max: usize,
    /// How long a broker may wait for a first new record.
    pub wait: Duration,
    /// For jitter.
    pub seed: u64,
}

/// Names a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(u32);

/// Records of one partition, for the owner to take one by one.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Which partition.
    pub partition: i32,
    /// Its records from where the last ones ended.
    pub records: FetchedRecords,
    /// The offset behind the last record that consumers may see, when the broker answered: what is behind it is lag.
    pub end_offset: i64,
}

/// What the owner is to know about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// The offset is outside the log: records were deleted before they were read, the log was truncated, or the
    /// position is of another log. The partition is stopped; only the owner may start it anew.
    OffsetOutOfRange {
        /// Which partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
    },
    /// What came cannot be used. Asked for again, after a wait that grows.
    Damaged {
        /// Which partition.
        partition: i32,
        /// What is wrong.
        error: ScanError,
    },
    /// The broker refuses. Asked again, after a wait that grows.
    Refused {
        /// Which partition.
        partition: i32,
        /// Kafka's error code.
        code: i16,
    },
}

#[derive(Debug)]
struct Partition {
    /// Tells a start from an earlier one of the same partition: an answer to the earlier is dropped.
    epoch: u32,
    offset: i64,
    is_paused: bool,
    is_stopped: bool,
    not_before: Instant,
    failures: u32,
}

#[derive(Debug)]
struct InFlight {
    node: NodeId,
    /// Partition, epoch, offset.
    asked: Vec<(i32, u32, i64)>,
}

/// See the module.
#[derive(Debug)]
pub struct Fetcher {
    config: FetchConfig,
    random: SplitMix64,
    partitions: BTreeMap<i32, Partition>,
    in_flight: BTreeMap<FetchId, InFlight>,
    next_id: u32,
    epoch: u32,
    ready: VecDeque<Fetched>,
    events: VecDeque<FetchEvent>,
    is_metadata_stale: bool,
}

impl Fetcher {
    /// Reads nothing until a partition is started.
    pub fn new(config: FetchConfig) -> Fetcher {
        assert!(config.buffered_bytes_max >= config.answer_bytes_max, "room for one answer");
        assert!(i32::try_from(config.answer_bytes_max).is_ok(), "the protocol's own bound");
        Fetcher {
            random: SplitMix64::new(config.seed),
            config,
            partitions: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_id: 0,
            epoch: 0,
            ready: VecDeque::new(),
            events: VecDeque::new(),
            is_metadata_stale: false,
        }
    }

    /// Reads `partition` from `offset` on. What was read of it before and not taken is dropped.
    pub fn start(&mut self, now: Instant, partition: i32, offset: i64) {
        self.stop(partition);
        self.epoch = self.epoch.wrapping_add(1);
        let state =
            Partition { epoch: self.epoch, offset, is_paused: false, is_stopped: false, not_before: now, failures: 0 };
        self.partitions.insert(partition, state);
    }

    /// Reads `partition` no more and forgets what was not taken.
    pub fn stop(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.ready.retain(|fetched| fetched.partition != partition);
    }

    /// The same for all.
    pub fn stop_all(&mut self) {
        self.partitions.clear();
        self.ready.clear();
        self.events.clear();
    }

    /// Asks for no more records of `partition` until [`Fetcher::resume`]; what has come is still given.
    pub fn pause(&mut self, partition: i32) {
        self.set_paused(partition, true);
    }

    /// Undoes [`Fetcher::pause`].
    pub fn resume(&mut self, partition: i32) {
        self.set_paused(partition, false);
    }

    fn set_paused(&mut self, partition: i32, is_paused: bool) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.is_paused = is_paused;
        }
    }

    /// Partitions that are started.
    pub fn started(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    /// Records that have come, in turn by partition. Taking them makes room to ask for more.
    pub fn poll_records(&mut self) -> Option<Fetched> {
        self.ready.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<FetchEvent> {
        self.events.pop_front()
    }

    /// Whether an error said that the leaders have moved; asked once.
    pub fn take_metadata_stale(&mut self) -> bool {
        std::mem::take(&mut self.is_metadata_stale)
    }

    /// Bytes that have come and were not taken.
    pub fn buffered_bytes(&self) -> usize {
        self.ready.iter().map(|fetched| fetched.records.bytes_held()).sum()
    }

    /// The request that `node` should get now, if any, for the partitions that `leads` says are its own.
    pub fn poll_fetch(
        &mut self,
        now: Instant,
        node: NodeId,
        topic: TopicId,
        leads: impl Fn(i32) -> bool,
    ) -> Option<(FetchId, FetchRequest)> {
        let reserved = (self.in_flight.len() + 1) * self.config.answer_bytes_max + self.buffered_bytes();
        let is_first = self.in_flight.is_empty() && self.ready.is_empty();
        if self.in_flight.values().any(|request| request.node == node)
            || self.ready.iter().any(|fetched| leads(fetched.partition))
            || (reserved > self.config.buffered_bytes_max && !is_first)
        {
            return None;
        }
        // Asked of a former leader and not answered yet: two answers would bring the same records.
        let asked: BTreeSet<i32> =
            self.in_flight.values().flat_map(|request| request.asked.iter().map(|asked| asked.0)).collect();
        let mut wanted: Vec<(i32, u32, i64)> = self
            .partitions
            .iter()
            .filter(|(partition, state)| {
                !state.is_paused && !state.is_stopped && state.not_before <= now && leads(**partition)
            })
            .filter(|(partition, _)| !asked.contains(partition))
            .map(|(partition, state)| (*partition, state.epoch, state.offset))
            .collect();
        if wanted.is_empty() {
            return None;
        }
        // The broker fills an answer in the order of the request: each partition is first in its turn.
        let first = self.next_id as usize % wanted.len();
        wanted.rotate_left(first);
        let id = FetchId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let request = self.request(topic, &wanted);
        self.in_flight.insert(id, InFlight { node, asked: wanted });
        Some((id, request))
    }

    fn request(&self, topic: TopicId, wanted: &[(i32, u32, i64)]) -> FetchRequest {
        let bytes_max = self.config.answer_bytes_max as i32;
        let partitions = wanted.iter().map(|(partition, _, offset)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(bytes_max)
        });
        let topic =
            FetchTopic::default().with_topic_id(uuid::Uuid::from_bytes(topic)).with_partitions(partitions.collect());
        FetchRequest::default()
            .with_max_wait_ms(i32::try_from(self.config.wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(bytes_max)
            .with_isolation_level(1) // read_committed
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }

    /// The request could not be sent after all, or was lost with its connection.
    pub fn handle_lost(&mut self, now: Instant, id: FetchId) {
        if let Some(request) = self.in_flight.remove(&id) {
            for (partition, epoch, _) in request.asked {
                self.put_off(now, partition, epoch);
            }
        }
    }

    /// The answer, as it came. `topic` is what was asked for.
    ///
    /// # Errors
    /// [`Malformed`]: close the connection. What it asked for is asked for again.
    pub fn handle_answer(&mut self, now: Instant, id: FetchId, topic: TopicId, body: Bytes) -> Result<(), Malformed> {
        let Some(request) = self.in_flight.remove(&id) else {
            return Ok(());
        };
        let answer = read_answer(body, topic);
        let mut unanswered = request.asked;
        if let Ok(partitions) = &answer {
            for data in partitions {
                if let Some(at) = unanswered.iter().position(|asked| asked.0 == data.partition) {
                    let (partition, epoch, offset) = unanswered.swap_remove(at);
                    self.handle_partition(now, partition, epoch, offset, data);
                }
            }
        }
        for (partition, epoch, _) in unanswered {
            self.put_off(now, partition, epoch);
        }
        answer.map(|_| ())
    }

    fn handle_partition(&mut self, now: Instant, partition: i32, epoch: u32, offset: i64, data: &PartitionData) {
        let Some(state) = self.partitions.get_mut(&partition).filter(|state| state.epoch == epoch) else {
            return; // Stopped since, or started elsewhere.
        };
        match data.error {
            0 => {}
            code::OFFSET_OUT_OF_RANGE => {
                state.is_stopped = true;
                self.events.push_back(FetchEvent::OffsetOutOfRange { partition, offset });
                return;
            }
            code::LEADER_NOT_AVAILABLE
            | code::UNKNOWN_TOPIC_OR_PARTITION
            | code::NOT_LEADER_OR_FOLLOWER
            | code::REPLICA_NOT_AVAILABLE
            | code::KAFKA_STORAGE_ERROR
            | code::FENCED_LEADER_EPOCH
            | code::UNKNOWN_LEADER_EPOCH
            | code::OFFSET_NOT_AVAILABLE
            | code::UNKNOWN_TOPIC_ID
            | code::INCONSISTENT_TOPIC_ID => {
                self.is_metadata_stale = true;
                self.put_off(now, partition, epoch);
                return;
            }
            code => {
                self.events.push_back(FetchEvent::Refused { partition, code });
                self.put_off(now, partition, epoch);
                return;
            }
        }
        let scanned = FetchedRecords::scan(data.records.clone(), offset, data.aborted.clone());
        match scanned {
            Ok(records) if records.next_offset() > offset => {
                state.offset = records.next_offset();
                state.failures = 0;
                self.ready.push_back(Fetched { partition, records, end_offset: data.end_offset });
            }
            // Nothing new. The owner is told all the same how far the log goes: it may have caught up with markers.
            Ok(_) if data.records.is_empty() => state.failures = 0,
            Ok(_) => {
                let error = ScanError::Malformed("not one whole batch in a fetch");
                self.events.push_back(FetchEvent::Damaged { partition, error });
                self.put_off(now, partition, epoch);
            }
            Err(error) => {
                self.events.push_back(FetchEvent::Damaged { partition, error });
                self.put_off(now, partition, epoch);
            }
        }
    }

    fn put_off(&mut self, now: Instant, partition: i32, epoch: u32) {
        if let Some(state) = self.partitions.get_mut(&partition).filter(|state| state.epoch == epoch) {
            state.failures = state.failures.saturating_add(1);
            state.not_before = now + backoff(state.failures, &mut self.random);
        }
    }

    /// When the next wait of a partition is over.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let waiting = self.partitions.values().filter(|state| !state.is_paused && !state.is_stopped);
        waiting.map(|state| state.not_before).filter(|at| *at > now).min().unwrap_or(Instant::FAR_FUTURE)
    }
}

/// One partition of an answer.
struct PartitionData {
    partition: i32,
    error: i16,
    end_offset: i64,
    aborted: Vec<AbortedTransaction>,
    records: Bytes,
}

/// FetchResponse versions 13 to 17, by hand: it is the one large answer, and the one whose fields multiply.
fn read_answer(body: Bytes, topic: TopicId) -> Result<Vec<PartitionData>, Malformed> {
    let mut reader = Reader::new(body);
    reader.int32()?; // throttle time
    let error = reader.int16()?;
    reader.int32()?; // session id
    let mut partitions = Vec::new();
    for _ in 0..reader.compact_array()? {
        let is_ours = reader.uuid()? == topic;
        for _ in 0..reader.compact_array()? {
            let data = read_partition(&mut reader)?;
            if is_ours {
                partitions.push(data);
            }
        }
        reader.skip_tagged_fields()?;
    }
    reader.skip_tagged_fields()?;
    if error != 0 {
        for data in &mut partitions {
            data.error = error;
        }
    }
    Ok(partitions)
}

fn read_partition(reader: &mut Reader) -> Result<PartitionData, Malformed> {
    let partition = reader.int32()?;
    let error = reader.int16()?;
    reader.int64()?; // high watermark
    let end_offset = reader.int64()?; // last stable offset: where read_committed ends
    reader.int64()?; // log start offset
    let mut aborted = Vec::new();
    for _ in 0..reader.compact_array()? {
        let producer_id = reader.int64()?;
        let first_offset = reader.int64()?;
        reader.skip_tagged_fields()?;
        aborted.push(AbortedTransaction { producer_id, first_offset });
    }
    reader.int32()?; // preferred read replica
    let records = reader.compact_bytes()?.unwrap_or_default();
    reader.skip_tagged_fields()?;
    Ok(PartitionData { partition, error, end_offset, aborted, records })
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
