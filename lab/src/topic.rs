//! The raw topic: every record of every partition, read without a consumer group, so that looking changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use flux_protocol::order::Uuid;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, ProduceRequest};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchDecoder,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::error::LabError;
use crate::kafka_client::{KafkaConnection, topic_name};

/// The last version that names topics in words.
const FETCH_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 9;
const PRODUCE_VERSION: i16 = 9;
const FETCH_BYTES_MAX: i32 = 8 << 20;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// How long a leader may be on its way: a topic just created, a broker just restarted.
const LEADER_WAIT: Duration = Duration::from_secs(15);

/// One record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Its value; empty where it has none.
    pub value: Bytes,
}

/// A reader of one topic that remembers where it is.
#[derive(Debug)]
pub struct TopicReader {
    bootstrap: Vec<String>,
    topic: String,
    /// Next offset to read, by partition.
    positions: BTreeMap<i32, i64>,
}

/// What a broker says of the topic now.
struct Layout {
    topic_id: Uuid,
    /// Address of the leader, by partition.
    leaders: BTreeMap<i32, String>,
}

impl TopicReader {
    /// A reader of `topic` from its beginning; `bootstrap` is `host:port`, comma between. Connects at the first read.
    pub fn new(bootstrap: &str, topic: &str) -> TopicReader {
        let bootstrap = bootstrap.split(',').map(|address| address.trim().to_owned()).collect();
        TopicReader { bootstrap, topic: topic.to_owned(), positions: BTreeMap::new() }
    }

    /// All records up to the end as it is now, from where the last call stopped, by partition and offset.
    ///
    /// # Errors
    /// Where the topic does not exist or a leader cannot be asked; what was not returned will be read again.
    pub fn read(&mut self) -> Result<Vec<RawRecord>, LabError> {
        patiently(|| self.read_once())
    }

    /// Where the next call of [`TopicReader::read`] goes on, by partition: after it, the ends as they were then.
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    /// Where each partition ends now.
    ///
    /// # Errors
    /// Where the topic does not exist or a leader cannot be asked.
    pub fn ends(&self) -> Result<BTreeMap<i32, i64>, LabError> {
        patiently(|| {
            let mut ends = BTreeMap::new();
            for (partition, leader) in &self.layout()?.leaders {
                ends.insert(*partition, self.offset(&mut KafkaConnection::open(leader)?, *partition, LATEST)?);
            }
            Ok(ends)
        })
    }

    fn read_once(&mut self) -> Result<Vec<RawRecord>, LabError> {
        let layout = self.layout()?;
        let mut records = Vec::new();
        let mut positions = self.positions.clone();
        for (partition, leader) in &layout.leaders {
            let mut connection = KafkaConnection::open(leader)?;
            let end = self.offset(&mut connection, *partition, LATEST)?;
            let mut next = match positions.get(partition) {
                Some(next) => *next,
                None => self.offset(&mut connection, *partition, EARLIEST)?,
            };
            while next < end {
                next = self.fetch(&mut connection, *partition, next, end, &mut records)?;
            }
            positions.insert(*partition, next);
        }
        self.positions = positions;
        Ok(records)
    }

    /// The topic's id, as the worker's tables name it.
    ///
    /// # Errors
    /// Where the topic does not exist or no broker answers.
    pub fn topic_id(&self) -> Result<Uuid, LabError> {
        Ok(self.layout()?.topic_id)
    }

    /// How many records were ever appended, over all partitions (none deleted yet, no control records).
    ///
    /// # Errors
    /// Where the topic does not exist or a leader cannot be asked.
    pub fn record_count(&self) -> Result<u64, LabError> {
        Ok(self.ends()?.into_values().sum::<i64>() as u64)
    }

    /// How many partitions it has.
    ///
    /// # Errors
    /// Where the topic does not exist or no broker answers.
    pub fn partition_count(&self) -> Result<usize, LabError> {
        Ok(self.layout()?.leaders.len())
    }

    /// Appends `values` to `partition` on acks=all, without idempotence: for records that no edge would write.
    ///
    /// # Errors
    /// Where the broker refuses or does not answer; in the latter case they may have been written.
    pub fn append(&self, partition: i32, values: &[&[u8]]) -> Result<(), LabError> {
        let records: Vec<Record> = values.iter().enumerate().map(|(index, value)| record(index, value)).collect();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, &records, &options)
            .map_err(|error| LabError::failed(format!("encoding a record batch: {error}")))?;
        self.append_batch(partition, batch.freeze())
    }

    /// Appends a batch as it is, which somebody else has encoded.
    ///
    /// # Errors
    /// As [`TopicReader::append`].
    pub fn append_batch(&self, partition: i32, batch: Bytes) -> Result<(), LabError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        patiently(|| {
            let answer = KafkaConnection::open(&self.leader(partition)?)?.call(PRODUCE_VERSION, &request)?;
            let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
            self.check(answer.map(|answer| answer.error_code), partition, "appending")
        })
    }

    fn leader(&self, partition: i32) -> Result<String, LabError> {
        self.layout()?.leaders.remove(&partition).ok_or_else(|| self.wrong(partition, "finding", "no such partition"))
    }

    fn layout(&self) -> Result<Layout, LabError> {
        let mut last = LabError::failed("no bootstrap broker is named");
        for address in &self.bootstrap {
            let answer = KafkaConnection::open(address).and_then(|mut broker| broker.metadata(Some(&self.topic)));
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let Some(topic) = answer.topics.first().filter(|topic| topic.error_code == 0) else {
                let code = answer.topics.first().map_or(0, |topic| topic.error_code);
                return Err(LabError::failed(format!("topic {}: Kafka error {code}", self.topic)));
            };
            let address = |id: BrokerId| {
                let broker = answer.brokers.iter().find(|broker| broker.node_id == id)?;
                Some(format!("{}:{}", &*broker.host, broker.port))
            };
            let mut leaders = BTreeMap::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let leader = address(partition.leader_id).ok_or_else(|| {
                    LabError::NotYet(self.wrong(index, "finding the leader", "there is none").to_string())
                })?;
                leaders.insert(index, leader);
            }
            return Ok(Layout { topic_id: Uuid(*topic.topic_id.as_bytes()), leaders });
        }
        Err(last)
    }

    fn offset(&self, connection: &mut KafkaConnection, partition: i32, which: i64) -> Result<i64, LabError> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(which);
        let topic = ListOffsetsTopic::default().with_name(topic_name(&self.topic)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = connection.call(LIST_OFFSETS_VERSION, &request)?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        self.check(found.map(|found| found.error_code), partition, "asking for offsets")?;
        found.map(|found| found.offset).ok_or_else(|| self.wrong(partition, "asking for offsets", "no answer"))
    }

    /// Reads on from `next`; returns the offset after the last record seen.
    fn fetch(
        &self,
        connection: &mut KafkaConnection,
        partition: i32,
        next: i64,
        end: i64,
        records: &mut Vec<RawRecord>,
    ) -> Result<i64, LabError> {
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(next)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(FETCH_BYTES_MAX);
        let topic = FetchTopic::default().with_topic(topic_name(&self.topic)).with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = connection.call(FETCH_VERSION, &request)?;
        let data = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        self.check(data.as_ref().map(|data| data.error_code), partition, "fetching")?;
        let bytes = data.and_then(|data| data.records).unwrap_or_default();
        let mut after = next;
        for mut batch in whole_batches(bytes) {
            let base = i64::from_be_bytes(*batch.first_chunk().expect("whole_batches checked the length"));
            let last_delta = i32::from_be_bytes(*batch[23..].first_chunk().expect("whole_batches checked the length"));
            let set = RecordBatchDecoder::decode(&mut batch)
                .map_err(|error| self.wrong(partition, "decoding a batch", &error.to_string()))?;
            for record in set.records {
                // A batch is returned whole even when the offset asked for lies inside it.
                if (next..end).contains(&record.offset) && !record.control {
                    let value = record.value.unwrap_or_default();
                    records.push(RawRecord { partition, offset: record.offset, value });
                }
            }
            after = after.max(base + i64::from(last_delta) + 1);
        }
        if after == next {
            return Err(self.wrong(
                partition,
                "fetching",
                &format!("nothing at offset {next} though the end is {end}"),
            ));
        }
        Ok(after.min(end))
    }

    fn check(&self, code: Option<i16>, partition: i32, doing: &str) -> Result<(), LabError> {
        match code {
            Some(0) => Ok(()),
            Some(code @ (LEADER_NOT_AVAILABLE | NOT_LEADER_OR_FOLLOWER)) => {
                Err(LabError::NotYet(self.wrong(partition, doing, &format!("Kafka error {code}")).to_string()))
            }
            Some(code) => Err(self.wrong(partition, doing, &format!("Kafka error {code}"))),
            None => Err(self.wrong(partition, doing, "an answer without this partition")),
        }
    }

    fn wrong(&self, partition: i32, doing: &str, why: &str) -> LabError {
        LabError::failed(format!("{doing} in partition {partition} of topic {}: {why}", self.topic))
    }
}

/// Tries again while the answer is [`LabError::NotYet`], up to [`LEADER_WAIT`].
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, LabError>) -> Result<T, LabError> {
    let until = Instant::now() + LEADER_WAIT;
    loop {
        match attempt() {
            Err(LabError::NotYet(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

/// The record batches in `bytes` that are there in full (a fetch may cut the last one off).
fn whole_batches(mut bytes: Bytes) -> Vec<Bytes> {
    /// Base offset and batch length; everything else is counted by the length.
    const PREFIX: usize = 12;
    /// Up to and with the record count: the smallest batch.
    const HEADER: usize = 61;
    let mut batches = Vec::new();
    while let Some(length) = bytes.get(8..PREFIX).and_then(<[u8]>::first_chunk) {
        let length = PREFIX + u32::from_be_bytes(*length) as usize;
        if length < HEADER || length > bytes.len() {
            break;
        }
        batches.push(bytes.split_to(length));
    }
    batches
}

fn record(index: usize, value: &[u8]) -> Record {
    let mut bytes = BytesMut::new();
    bytes.put_slice(value);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        // The crate begins a new batch where these do not count up with the offsets; only the first one is written.
        sequence: NO_SEQUENCE + index as i32,
        timestamp: now.as_millis() as i64,
        key: None,
        value: Some(bytes.freeze()),
        headers: Default::default(),
    }
}
