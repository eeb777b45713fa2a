//! The leaders of the topic's partitions: which brokers are kept connected, and which partition new records go to.

use super::Producer;
use super::partition::Partition;
use crate::kafka::cluster::{Lane, Target};
use crate::kafka::connection::RequestError;
use crate::kafka::metadata::NodeId;
use crate::kafka::versions::key;
use crate::time::Instant;

impl<T: Copy> Producer<T> {
    /// Takes over what the cluster knows of the topic, and keeps connections to its leaders and to no other broker.
    pub(super) fn follow_leaders(&mut self, now: Instant) {
        let Some(topic) = self.cluster.topic() else {
            return;
        };
        let is_another = self.topic_id.replace(topic.id).is_some_and(|known| known != topic.id);
        self.partition_count = topic.partitions.len();
        while self.partitions.len() < self.partition_count {
            self.partitions.push(Partition::new());
        }
        let mut leaders: Vec<NodeId> = Vec::new();
        for (index, its) in self.partitions.iter_mut().enumerate() {
            let leader = topic.partitions.get(index).and_then(|partition| partition.leader);
            its.follow(now, leader);
            leaders.extend(leader);
            if is_another {
                its.leave_session();
            }
        }
        let all_led = leaders.len() >= self.partition_count;
        leaders.sort_unstable();
        leaders.dedup();
        // While an election runs the old leader may well be the new one; and answers that are due are waited for.
        let connected: Vec<NodeId> = self.cluster.connected_nodes(Lane::DATA).collect();
        for node in connected.into_iter().filter(|node| all_led && !leaders.contains(node)) {
            if self.cluster.in_flight(node, Lane::DATA) == 0 {
                self.cluster.disconnect(now, node, Lane::DATA);
            }
        }
        for node in leaders {
            self.cluster.connect(now, node, Lane::DATA);
        }
        match self.current {
            None => {
                let start = self.random.below(self.partition_count as u64) as usize;
                self.choose_partition(start);
            }
            Some(index) if self.partitions[index].leader().is_none() || !self.has_partition(index as i32) => {
                self.choose_partition(index);
            }
            Some(_) => {}
        }
    }

    pub(super) fn is_within_reach(&self, index: usize) -> bool {
        let leader = self.partitions[index].leader();
        let may_send = |node| self.cluster.may_send(Target::Node(node, Lane::DATA), key::PRODUCE);
        // Full is busy, not out of reach.
        let is_silent = |node| self.cluster.is_silent(Target::Node(node, Lane::DATA));
        leader.is_some_and(|node| matches!(may_send(node), Ok(()) | Err(RequestError::Full)) && !is_silent(node))
    }

    pub(super) fn is_healthy(&self, index: usize) -> bool {
        !self.partitions[index].is_troubled() && self.is_within_reach(index)
    }

    /// The first partition from `start` on that will do, healthy ones before those that merely have a leader. While there is no
    /// such, as when a broker that stood comes back and leads nothing yet, it stays what it was.
    pub(super) fn choose_partition(&mut self, start: usize) {
        let turn = || (0..self.partition_count).map(|step| (start + step) % self.partition_count);
        let healthy = turn().find(|index| self.is_healthy(*index));
        let led = || turn().find(|index| self.partitions[*index].leader().is_some());
        let last = self.current.filter(|index| *index < self.partition_count);
        self.current = healthy.or_else(led).or(last);
    }

    pub(super) fn move_on(&mut self, index: usize) {
        if self.current == Some(index) {
            self.choose_partition(index + 1);
        }
    }
}
