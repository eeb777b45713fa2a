//! The topics beside the orders': what can happen to one of them, and what a checker reads of it. Each is named, and where
//! there is none of that name nothing happens: it may be gone, or not there yet.

use bytes::Bytes;
use flux_protocol::time::Now;

use super::Kafka;
use super::compaction::Tombstones;
use super::records::records;
use super::topic::Topic;

/// A record as its readers find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Which partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// What it is about.
    pub key: Option<Bytes>,
    /// What it says; `None`: a tombstone.
    pub value: Option<Bytes>,
}

/// What can happen.
impl Kafka {
    /// Somebody makes a topic, with these settings in place of the brokers' defaults, unless there is one of that name.
    pub fn create_topic(&mut self, now: Now, name: &str, partitions: usize, settings: &[(&str, &str)]) {
        let place = self.place_or_new(name);
        if self.topics[place].exists() {
            return;
        }
        self.topics[place].settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.create(place, partitions);
        self.work_all(now.instant);
    }

    /// Somebody deletes a topic, with all that stands in it.
    pub fn delete_topic(&mut self, now: Now, name: &str) {
        let Some(place) = self.existing(name) else { return };
        self.forget_partitions(place);
        self.work_all(now.instant);
    }

    /// A topic is deleted and made anew with the same settings, empty and under another id.
    pub fn recreate(&mut self, now: Now, name: &str) {
        let Some(place) = self.existing(name) else { return };
        self.create(place, self.topics[place].partitions.len());
        self.work_all(now.instant);
    }

    /// Another node leads a partition, without what was not replicated.
    pub fn move_leader_of(&mut self, now: Now, name: &str, partition: usize) {
        let Some(place) = self.existing(name) else { return };
        let Some(led) = self.topics[place].partitions.get(partition) else { return };
        let successor = self.alive(led.leader + 1);
        self.lead(now.instant, place, partition, successor);
        self.work_all(now.instant);
    }

    /// Somebody else writes a record into a topic's first partition; without a value: a tombstone.
    pub fn write_stray_to(&mut self, now: Now, name: &str, key: &[u8], value: Option<&[u8]>) {
        let Some(place) = self.existing(name) else { return };
        self.topics[place].partitions[0].write_stray(now, Some(key), value);
        self.work_all(now.instant);
    }

    /// A topic is compacted now, however young its records: of each key the last one that every replica has stays. Nothing
    /// where its settings do not allow that.
    pub fn compact(&mut self, now: Now, name: &str, tombstones: Tombstones) {
        let Some(place) = self.existing(name).filter(|place| self.topics[*place].is_compacted()) else { return };
        let partitions = &mut self.topics[place].partitions;
        partitions.iter_mut().for_each(|partition| partition.log.compact(now.instant, tombstones));
    }

    fn existing(&self, name: &str) -> Option<usize> {
        self.place_of(name).filter(|place| self.topics[*place].exists())
    }
}

/// What a checker reads.
impl Kafka {
    /// Every record of a topic, replicated or not.
    pub fn records_of(&self, name: &str) -> Vec<Keyed> {
        let mut found = Vec::new();
        for (partition, index) in self.find(name).into_iter().flat_map(|topic| &topic.partitions).zip(0..) {
            for batch in &partition.log.batches {
                let records = records(&batch.bytes).expect("it was looked at, or made here");
                found.extend(records.into_iter().map(|record| Keyed {
                    partition: index,
                    offset: batch.base + record.offset_delta,
                    key: record.key,
                    value: record.value,
                }));
            }
        }
        found
    }

    /// The id of a topic that exists.
    pub fn id_of(&self, name: &str) -> Option<u128> {
        self.find(name).map(|topic| topic.id)
    }

    /// The node that leads a partition.
    pub fn leader_of(&self, name: &str, partition: usize) -> Option<usize> {
        Some(self.find(name)?.partitions.get(partition)?.leader)
    }

    fn find(&self, name: &str) -> Option<&Topic> {
        self.existing(name).map(|place| &self.topics[place])
    }
}
