//! The partitions that are read: what to ask each leader for, what came of it, and how much may lie about.
//!
//! One request at a time goes to each leader, and only when none of its partitions has records that the owner has not
//! taken: a request waits at the broker for new records, and a partition left out of it would have to wait as long.
//! Memory is bounded by [`FetchConfig::buffered_bytes_max`]: a request reserves the bytes it may bring, its leader's share.
//! Where there are more leaders than shares, a kept cursor goes round them; inside a request those partitions come first
//! of which nothing has come for longest, for a broker fills its answer in the order of the request.
//!
//! Fetches go by topic id, `read_committed`, without a fetch session, and name the leader epoch of the last record read:
//! a log that was cut off by an election and has grown anew past our offset is then told from the one we read. Never
//! decides where a partition starts and never moves past anything by itself: an offset that is not in the log, a log that
//! is another one, a damaged batch are asked for again, and the owner is told each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};

use super::backoff::{SplitMix64, backoff};
use super::denial;
use super::error_code as code;
use super::fetch_answer::{PartitionData, read_answer};
use super::limits::{FETCH_SHARE_BYTES_MIN, STANDSTILL_RETRY};
use super::metadata::{NodeId, TopicId};
use super::reader::Malformed;
use super::records_decode::{FetchedRecords, ScanError};
use crate::planted::{Bug, is_planted};
use crate::time::Instant;

/// How far a consumer may see. The values are those of the protocol's `isolation_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All that is acknowledged, to the high watermark: what an open transaction of another client holds back too.
    Uncommitted = 0,
    /// Up to the last stable offset: nothing that a transaction may yet take back.
    Committed = 1,
}

/// Bounds of fetching.
#[derive(Clone, Copy, Debug)]
pub struct FetchConfig {
    /// How far is read.
    pub isolation: Isolation,
    /// A broker may wait until it has so many bytes, for [`FetchConfig::wait`]; 1 to be told of each record at once. More makes one
    /// answer of what many clients write in that time.
    pub answer_bytes_min: usize,
    /// Most bytes of records one answer brings, where there are few leaders; a single batch that is larger comes whole all
    /// the same.
    pub answer_bytes_max: usize,
    /// Most bytes of records asked for or not taken yet, all leaders together; at least one answer's worth.
    pub buffered_bytes_max: usize,
    /// How long a broker may wait for [`FetchConfig::answer_bytes_min`].
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
    /// Where the ones before ended: what stands from here on is here, or was passed over on purpose.
    pub from_offset: i64,
    /// Its records from there on.
    pub records: FetchedRecords,
    /// The offset behind the last record that consumers may see, when the broker answered: what is behind it is lag.
    pub end_offset: i64,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of this partition.
    pub partition: i32,
    /// The next record's.
    pub offset: i64,
    /// The leader's epoch under which the record before it was written; `None`: it is not known. With it a broker can tell
    /// a log that was cut off and has grown anew.
    pub leader_epoch: Option<i32>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} from offset {}", self.partition, self.offset)?;
        match self.leader_epoch {
            Some(epoch) => write!(f, " (leader epoch {epoch})"),
            None => Ok(()),
        }
    }
}

/// What the owner is to know about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// The offset is outside the log: records were deleted before they were read, the log was truncated, or the
    /// position is of another log. The partition stands still: the same offset is asked for again every
    /// [`STANDSTILL_RETRY`], so that a log that an operator has mended needs no restart.
    OffsetOutOfRange {
        /// Which partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
    },
    /// The log is another one below the offset: its tail was lost in an election, and others have written since. What
    /// stands between `end_offset` and `offset` was never read. The partition stands still likewise.
    Diverged {
        /// Which partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
        /// Where the log and the one that was read part.
        end_offset: i64,
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
    /// Of the last record read; not known for a position that was read by another, or before.
    leader_epoch: Option<i32>,
    is_paused: bool,
    /// Its offset is not in the log, or not in this one.
    stands_still: bool,
    not_before: Instant,
    failures: u32,
    /// The answer that last brought records of it: the higher, the later its turn.
    served: u64,
    /// When records last came, or the broker said that there are none to come.
    read_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    partition: i32,
    epoch: u32,
    offset: i64,
    leader_epoch: Option<i32>,
}

#[derive(Debug)]
struct InFlight {
    node: NodeId,
    bytes_max: usize,
    asked: Vec<Asked>,
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
    /// The node that was asked last: the walk goes on behind it.
    asked_last: Option<NodeId>,
    answers: u64,
    ready: VecDeque<Fetched>,
    events: VecDeque<FetchEvent>,
    /// Where partitions end, as answers have said since the owner looked.
    ends: BTreeMap<i32, i64>,
    is_metadata_stale: bool,
    /// The error code by which a broker has denied us the topic, until one gives records of it.
    denied: Option<i16>,
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
            asked_last: None,
            answers: 0,
            ready: VecDeque::new(),
            events: VecDeque::new(),
            ends: BTreeMap::new(),
            is_metadata_stale: false,
            denied: None,
        }
    }

    /// The error code by which brokers deny us the topic, until one answers for a partition that is read.
    pub fn denied(&self) -> Option<i16> {
        self.denied
    }

    /// Reads `partition` from `offset` on. What was read of it before and not taken is dropped.
    pub fn start(&mut self, now: Instant, partition: i32, offset: i64) {
        self.start_at(now, Position { partition, offset, leader_epoch: None });
    }

    /// As [`Fetcher::start`], for a caller that may know of which log the offset is.
    pub fn start_at(&mut self, now: Instant, position: Position) {
        let Position { partition, offset, leader_epoch } = position;
        // Started anew where it stands: what is known of the log before it still is.
        let before = self.partitions.get(&partition).filter(|state| state.offset == offset);
        let leader_epoch = leader_epoch.or_else(|| before.and_then(|state| state.leader_epoch));
        self.stop(partition);
        self.epoch = self.epoch.wrapping_add(1);
        let state = Partition {
            epoch: self.epoch,
            offset,
            leader_epoch,
            is_paused: false,
            stands_still: false,
            not_before: now,
            failures: 0,
            served: 0,
            read_at: now,
        };
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
        self.denied = None;
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

    /// When records of `partition` last came, or the broker said that there are none to come; since its start. `None`:
    /// it is not started.
    pub fn read_at(&self, partition: i32) -> Option<Instant> {
        self.partitions.get(&partition).map(|state| state.read_at)
    }

    /// Partitions that stand still, because their offset is not in the log.
    pub fn standing_still(&self) -> usize {
        self.partitions.values().filter(|state| state.stands_still).count()
    }

    /// Where partitions end (the high watermark), as answers have said since this was asked last.
    pub fn take_ends(&mut self) -> BTreeMap<i32, i64> {
        std::mem::take(&mut self.ends)
    }

    /// Bytes that have come and were not taken.
    pub fn buffered_bytes(&self) -> usize {
        self.ready.iter().map(|fetched| fetched.records.bytes_held()).sum()
    }

    /// The next request that is to go out now, if any, and to whom. `nodes` are the leaders that can be asked, ascending;
    /// `leader` says who leads a partition. To be asked until there is none.
    pub fn poll_fetch(
        &mut self,
        now: Instant,
        topic: TopicId,
        nodes: &[NodeId],
        leader: impl Fn(i32) -> Option<NodeId>,
    ) -> Option<(NodeId, FetchId, FetchRequest)> {
        let is_from_the_first = is_planted(Bug::LeadersFromTheFirst);
        let shares = if is_from_the_first { 1 } else { nodes.len().max(1) };
        let share = (self.config.buffered_bytes_max / shares).max(FETCH_SHARE_BYTES_MIN);
        let bytes_max = share.min(self.config.answer_bytes_max);
        let reserved: usize = self.in_flight.values().map(|request| request.bytes_max).sum();
        let is_first = self.in_flight.is_empty() && self.ready.is_empty();
        if reserved + bytes_max + self.buffered_bytes() > self.config.buffered_bytes_max && !is_first {
            return None;
        }
        let last = self.asked_last.filter(|_| !is_from_the_first);
        let next = last.map_or(0, |last| nodes.partition_point(|node| *node <= last));
        let (node, asked) = (0..nodes.len()).find_map(|step| {
            let node = nodes[(next + step) % nodes.len()];
            self.wanted(now, node, &leader).map(|asked| (node, asked))
        })?;
        self.asked_last = Some(node);
        let id = FetchId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let request = self.request(topic, &asked, bytes_max);
        self.in_flight.insert(id, InFlight { node, bytes_max, asked });
        Some((node, id, request))
    }

    /// The partitions that `node` is to be asked for now; `None` where there is none, or where it is not its time.
    fn wanted(&self, now: Instant, node: NodeId, leader: &impl Fn(i32) -> Option<NodeId>) -> Option<Vec<Asked>> {
        let leads = |partition: i32| leader(partition) == Some(node);
        if self.in_flight.values().any(|request| request.node == node)
            || self.ready.iter().any(|fetched| leads(fetched.partition))
        {
            return None;
        }
        // Asked of a former leader and not answered yet: two answers would bring the same records.
        let in_flight: BTreeSet<i32> =
            self.in_flight.values().flat_map(|request| request.asked.iter().map(|asked| asked.partition)).collect();
        let mut wanted: Vec<(u64, Asked)> = self
            .partitions
            .iter()
            .filter(|(partition, state)| !state.is_paused && state.not_before <= now && leads(**partition))
            .filter(|(partition, _)| !in_flight.contains(partition))
            .map(|(&partition, state)| {
                let Partition { epoch, offset, leader_epoch, .. } = *state;
                (state.served, Asked { partition, epoch, offset, leader_epoch })
            })
            .collect();
        wanted.sort_by_key(|(served, _)| *served);
        (!wanted.is_empty()).then(|| wanted.into_iter().map(|(_, asked)| asked).collect())
    }

    fn request(&self, topic: TopicId, asked: &[Asked], bytes_max: usize) -> FetchRequest {
        let bytes_max = bytes_max as i32;
        let partitions = asked.iter().map(|asked| {
            FetchPartition::default()
                .with_partition(asked.partition)
                .with_fetch_offset(asked.offset)
                .with_last_fetched_epoch(asked.leader_epoch.unwrap_or(-1))
                .with_partition_max_bytes(bytes_max)
        });
        let topic =
            FetchTopic::default().with_topic_id(uuid::Uuid::from_bytes(topic)).with_partitions(partitions.collect());
        FetchRequest::default()
            .with_max_wait_ms(i32::try_from(self.config.wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(i32::try_from(self.config.answer_bytes_min).unwrap_or(i32::MAX))
            .with_max_bytes(bytes_max)
            .with_isolation_level(self.config.isolation as i8)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }

    /// The request could not be sent after all, or was lost with its connection.
    pub fn handle_lost(&mut self, now: Instant, id: FetchId) {
        if let Some(request) = self.in_flight.remove(&id) {
            for asked in request.asked {
                self.put_off(now, asked);
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
        self.answers += 1;
        if let Ok(partitions) = &answer {
            for data in partitions {
                if let Some(at) = unanswered.iter().position(|asked| asked.partition == data.partition) {
                    let asked = unanswered.swap_remove(at);
                    self.handle_partition(now, asked, data);
                }
            }
        }
        for asked in unanswered {
            self.put_off(now, asked);
        }
        answer.map(|_| ())
    }

    fn handle_partition(&mut self, now: Instant, asked: Asked, data: &PartitionData) {
        let Asked { partition, epoch, offset, .. } = asked;
        let Some(state) = self.partitions.get_mut(&partition).filter(|state| state.epoch == epoch) else {
            return; // Stopped since, or started elsewhere.
        };
        denial::note(&mut self.denied, data.error);
        match data.error {
            0 => {}
            code::OFFSET_OUT_OF_RANGE => {
                return self.stand_still(now, asked, FetchEvent::OffsetOutOfRange { partition, offset });
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
                return self.put_off(now, asked);
            }
            code => {
                self.events.push_back(FetchEvent::Refused { partition, code });
                return self.put_off(now, asked);
            }
        }
        self.ends.insert(partition, data.high_watermark);
        if let Some((_, end_offset)) = data.diverging {
            return self.stand_still(now, asked, FetchEvent::Diverged { partition, offset, end_offset });
        }
        let scanned = FetchedRecords::scan(data.records.clone(), offset, data.aborted.clone());
        let error = match scanned {
            Ok(records) if records.next_offset() > offset => {
                state.offset = records.next_offset();
                state.leader_epoch = records.leader_epoch();
                state.failures = 0;
                state.stands_still = false;
                state.served = self.answers;
                state.read_at = now;
                self.ready.push_back(Fetched { partition, from_offset: offset, records, end_offset: data.end_offset });
                return;
            }
            // Nothing came, and where nothing is missing that is as good as records.
            Ok(_) if data.records.is_empty() => {
                state.failures = 0;
                state.stands_still = false;
                if data.high_watermark <= offset {
                    state.read_at = now;
                }
                return;
            }
            Ok(_) => ScanError::Malformed("not one whole batch in a fetch"),
            Err(error) => error,
        };
        self.events.push_back(FetchEvent::Damaged { partition, error });
        self.put_off(now, asked);
    }

    fn put_off(&mut self, now: Instant, asked: Asked) {
        if let Some(state) = self.partitions.get_mut(&asked.partition).filter(|state| state.epoch == asked.epoch) {
            state.failures = state.failures.saturating_add(1);
            state.not_before = now + backoff(state.failures, &mut self.random);
        }
    }

    fn stand_still(&mut self, now: Instant, asked: Asked, event: FetchEvent) {
        if let Some(state) = self.partitions.get_mut(&asked.partition) {
            state.stands_still = true;
            state.not_before = now + STANDSTILL_RETRY;
        }
        self.events.push_back(event);
    }

    /// When the next wait of a partition is over.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let waiting = self.partitions.values().filter(|state| !state.is_paused);
        waiting.map(|state| state.not_before).filter(|at| *at > now).min().unwrap_or(Instant::FAR_FUTURE)
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
