//! What can happen to the cluster, and to the orders' topic. Each fault is one call, between two calls of the network.

use std::time::Duration;

use bytes::Bytes;
use flux_protocol::time::Now;

use super::topic::ORDERS;
use super::{BROKER_SESSION, ELECTION, Kafka, Node};

/// What becomes of a produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceFault {
    /// Nothing is appended; this code is answered.
    Refuse(i16),
    /// It is appended, and this code is answered all the same: NOT_ENOUGH_REPLICAS_AFTER_APPEND (20), REQUEST_TIMED_OUT (7).
    AppendAndSay(i16),
    /// It is appended, and the connection ends before the answer.
    LoseAnswer,
    /// It is appended, and the answer comes so much later.
    Delay(Duration),
}

impl Kafka {
    /// A node dies: its connections end, others take its partitions over without what it had not replicated.
    pub fn stop(&mut self, now: Now, node: usize) {
        self.close_all(node);
        self.nodes[node] = Node { is_down: true, is_paused: false, replaced_at: Some(now.instant + ELECTION) };
    }

    /// It comes back with what it had.
    pub fn start(&mut self, now: Now, node: usize) {
        self.nodes[node] = Node::default();
        self.work_all(now.instant);
    }

    /// It stands still: its kernel takes connections and bytes. Where that lasts, the others take over.
    pub fn pause(&mut self, now: Now, node: usize) {
        self.nodes[node].is_paused = true;
        self.nodes[node].replaced_at = Some(now.instant + BROKER_SESSION);
    }

    /// It goes on with what lies in its sockets.
    pub fn resume(&mut self, now: Now, node: usize) {
        self.nodes[node].is_paused = false;
        self.nodes[node].replaced_at = None;
        self.work_all(now.instant);
    }

    /// Another node leads a partition, without what was not replicated.
    pub fn move_leader(&mut self, now: Now, partition: usize) {
        let successor = self.alive(self.topics[ORDERS].partitions[partition].leader + 1);
        self.lead(now.instant, ORDERS, partition, successor);
        self.work_all(now.instant);
    }

    /// What becomes of the next produce requests for the orders' topic, in order.
    pub fn spoil_produce(&mut self, faults: impl IntoIterator<Item = ProduceFault>) {
        self.produce_faults.extend(faults);
    }

    /// No more of that.
    pub fn spoil_no_produce(&mut self) {
        self.produce_faults.clear();
    }

    /// Orders' batches with these bytes anywhere in them are refused with `code`: MESSAGE_TOO_LARGE (10), CORRUPT_MESSAGE (2),
    /// INVALID_RECORD (87).
    pub fn poison(&mut self, bytes: &[u8], code: i16) {
        self.poison = Some((Bytes::copy_from_slice(bytes), code));
    }

    /// No batch is refused for what is in it any more.
    pub fn refuse_nothing(&mut self) {
        self.poison = None;
    }

    /// Replication takes so much longer.
    pub fn slow_replication(&mut self, by: Duration) {
        self.replication_slowed = by;
    }

    /// What is known of producers is gone.
    pub fn forget_producers(&mut self) {
        let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.log.forget_producers());
    }

    /// The next records that are read come with a wrong checksum.
    pub fn damage_next_fetch(&mut self) {
        self.damages_next_fetch = true;
    }

    /// Somebody else opens a transaction on a partition: what is appended from now on is acknowledged, and not stable.
    pub fn open_transaction(&mut self, partition: usize) {
        let log = &mut self.topics[ORDERS].partitions[partition].log;
        log.unstable_from = Some(log.end());
    }

    /// It ends.
    pub fn end_transaction(&mut self, now: Now, partition: usize) {
        self.topics[ORDERS].partitions[partition].log.unstable_from = None;
        self.work_all(now.instant);
    }

    /// Somebody else writes a record into the topic.
    pub fn write_stray(&mut self, now: Now, partition: usize, value: &[u8]) {
        let partitions = &mut self.topics[ORDERS].partitions;
        let index = partition % partitions.len().max(1);
        let Some(partition) = partitions.get_mut(index) else { return };
        partition.write_stray(now, None, Some(value));
        self.work_all(now.instant);
    }

    /// What stands before `offset` is deleted.
    pub fn delete_before(&mut self, partition: usize, offset: i64) {
        self.topics[ORDERS].partitions[partition].log.delete_before(offset);
    }

    /// The topic is deleted and made anew, empty and under another id.
    pub fn recreate_topic(&mut self, now: Now) {
        let partitions = self.topics[ORDERS].partitions.len();
        self.create(ORDERS, partitions);
        self.work_all(now.instant);
    }

    /// More partitions.
    pub fn grow(&mut self, now: Now, partitions: usize) {
        self.add_partitions(ORDERS, partitions);
        self.work_all(now.instant);
    }

    /// The coordinator has lost its groups, and another node coordinates.
    pub fn lose_group(&mut self) {
        self.group = super::Group::new();
        self.coordinator = self.alive(self.coordinator + 1);
    }
}
