//! What a checker reads. Never changes anything.

use bytes::Bytes;
use flux_protocol::time::Instant;
use kafka_protocol::records::RecordBatchDecoder;

use super::Kafka;

impl Kafka {
    /// Every record that is in the log, replicated or not: partition, offset, value.
    pub fn records(&self) -> Vec<(i32, i64, Bytes)> {
        let mut records = Vec::new();
        for (partition, index) in self.partitions.iter().zip(0..) {
            for batch in &partition.log.batches {
                let mut bytes = batch.bytes.clone();
                let decoded = RecordBatchDecoder::decode(&mut bytes).expect("its checksum was looked at");
                records.extend(
                    decoded.records.into_iter().map(|record| (index, record.offset, record.value.unwrap_or_default())),
                );
            }
        }
        records
    }

    /// Every record that every replica has: what was acknowledged on acks=all is among them.
    pub fn replicated(&self, now: Instant) -> Vec<(i32, i64, Bytes)> {
        let mut records = self.records();
        let ends: Vec<i64> = self.partitions.iter().map(|partition| partition.log.high_watermark(now)).collect();
        records.retain(|(partition, offset, _)| *offset < ends[*partition as usize]);
        records
    }

    /// Where each partition ends.
    pub fn ends(&self) -> Vec<i64> {
        self.partitions.iter().map(|partition| partition.log.end()).collect()
    }

    /// The topic's id.
    pub fn topic_id(&self) -> u128 {
        self.topic_id
    }

    /// The node that leads a partition.
    pub fn leader(&self, partition: usize) -> usize {
        self.partitions[partition].leader
    }

    /// Members of the group.
    pub fn members(&self) -> Vec<String> {
        self.group.member_ids()
    }

    /// What the group has committed: for lag tools only, so nothing may depend on it.
    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.group.committed.get(&partition).copied()
    }

    /// How often a request of this key was served.
    pub fn asked(&self, key: i16) -> u64 {
        self.asked.get(&key).copied().unwrap_or(0)
    }

    /// What was asked and could not be understood. A run of the programs that ship leaves it empty.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }
}
