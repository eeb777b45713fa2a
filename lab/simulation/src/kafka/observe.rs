//! What a checker reads, of the orders' topic. Never changes anything.

use bytes::Bytes;
use flux_protocol::order::{OwnedRecord, TopicRecord};
use flux_protocol::time::Instant;
use kafka_protocol::records::RecordBatchDecoder;

use super::Kafka;
use super::log::Batch;
use super::topic::ORDERS;

impl Kafka {
    /// Every record that is in the log, replicated or not: partition, offset, value.
    pub fn records(&self) -> Vec<(i32, i64, Bytes)> {
        let mut records = Vec::new();
        for (partition, index) in self.topics[ORDERS].partitions.iter().zip(0..) {
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

    /// Every order that is in the log, with when it came there.
    pub fn orders(&self) -> Vec<(Instant, OwnedRecord)> {
        let batches = self.topics[ORDERS].partitions.iter().flat_map(|partition| &partition.log.batches);
        let orders =
            batches.flat_map(|batch| orders_of(batch).into_iter().map(|(_, order)| (batch.appended_at, order)));
        orders.collect()
    }

    /// Every record that every replica has: what was acknowledged on acks=all is among them.
    pub fn replicated(&self, now: Instant) -> Vec<(i32, i64, Bytes)> {
        let mut records = self.records();
        let partitions = self.topics[ORDERS].partitions.iter();
        let ends: Vec<i64> = partitions.map(|partition| partition.log.high_watermark(now)).collect();
        records.retain(|(partition, offset, _)| *offset < ends[*partition as usize]);
        records
    }

    /// Whether every replica has a record of this order: what a 200 says.
    pub fn holds(&mut self, now: Instant, order_id: &str) -> bool {
        for (partition, index) in self.topics[ORDERS].partitions.iter().zip(0..) {
            let read = self.read_until.entry(index).or_default();
            for batch in partition.log.batches.iter().rev().take_while(|batch| batch.base >= *read) {
                for (offset, order) in orders_of(batch) {
                    self.places.entry(order.order_id.to_string()).or_default().push((index, offset));
                }
            }
            *read = (*read).max(partition.log.end());
        }
        let mut places = self.places.get(order_id).into_iter().flatten();
        places.any(|(index, offset)| *offset < self.topics[ORDERS].partitions[*index].log.high_watermark(now))
    }

    /// A partition's end was cut off: it is read anew.
    pub(super) fn forget_places(&mut self, index: usize) {
        self.read_until.remove(&index);
        self.places.values_mut().for_each(|places| places.retain(|(partition, _)| *partition != index));
    }

    /// The topic is gone.
    pub(super) fn forget_all_places(&mut self) {
        self.read_until.clear();
        self.places.clear();
    }

    /// Where each partition ends.
    pub fn ends(&self) -> Vec<i64> {
        self.topics[ORDERS].partitions.iter().map(|partition| partition.log.end()).collect()
    }

    /// The topic's id.
    pub fn topic_id(&self) -> u128 {
        self.topics[ORDERS].id
    }

    /// The node that leads a partition.
    pub fn leader(&self, partition: usize) -> usize {
        self.topics[ORDERS].partitions[partition].leader
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

/// The orders of a batch, each with its offset.
fn orders_of(batch: &Batch) -> Vec<(i64, OwnedRecord)> {
    let mut bytes = batch.bytes.clone();
    let decoded = RecordBatchDecoder::decode(&mut bytes).expect("its checksum was looked at");
    let order = |value: Option<Bytes>| match TopicRecord::parse(&value?) {
        Ok(TopicRecord::Order(order)) => Some(order),
        _ => None,
    };
    decoded.records.into_iter().filter_map(|record| Some((record.offset, order(record.value)?))).collect()
}
