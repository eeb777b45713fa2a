//! What metadata has told of brokers and topic, and when it is asked for again.
//!
//! Never sends the question ([`super::Cluster`] does).

use std::collections::BTreeMap;

use crate::kafka::limits::{METADATA_AGE_MAX, METADATA_GAP};
use crate::kafka::metadata::{Address, Metadata, NodeId, Partition, Topic};
use crate::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) nodes: BTreeMap<NodeId, Address>,
    /// Kept while brokers are away.
    pub(super) topic: Option<Topic>,
    pub(super) topic_error: Option<i16>,
    /// When the latest answer was asked for.
    pub(super) as_of: Option<Instant>,
    asked: Option<Instant>,
    due: Instant,
    in_flight: bool,
}

impl Topology {
    /// Nothing is known, and it is to be asked for at once.
    pub(super) fn new(now: Instant) -> Topology {
        Topology {
            nodes: BTreeMap::new(),
            topic: None,
            topic_error: None,
            as_of: None,
            asked: None,
            due: now,
            in_flight: false,
        }
    }

    pub(super) fn leader(&self, partition: i32) -> Option<NodeId> {
        self.topic.as_ref()?.partitions.get(usize::try_from(partition).ok()?)?.leader
    }

    /// Which node listens at `address`.
    pub(super) fn node_at(&self, address: &Address) -> Option<NodeId> {
        self.nodes.iter().find(|(_, its)| *its == address).map(|(node, _)| *node)
    }

    /// When metadata is to be asked for; `None` while an answer is awaited.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.in_flight).then_some(self.due)
    }

    pub(super) fn note_asked(&mut self, now: Instant) {
        self.in_flight = true;
        self.asked = Some(now);
    }

    /// It could not be asked for.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.due = now + METADATA_GAP;
    }

    /// The question was lost with its connection.
    pub(super) fn note_lost(&mut self, now: Instant) {
        self.in_flight = false;
        self.due = now;
    }

    /// An answer has come, of which nothing is known yet.
    pub(super) fn note_answered(&mut self, now: Instant) {
        self.in_flight = false;
        self.put_off(now);
    }

    /// Leaders may have moved: due as soon as [`METADATA_GAP`] has passed since the last time.
    pub(super) fn expire(&mut self, now: Instant) {
        let earliest = self.asked.map_or(now, |asked| (asked + METADATA_GAP).max(now));
        self.due = self.due.min(earliest);
    }

    /// Takes over what an answer says. Nodes to which a connection is kept keep their address, named or not.
    pub(super) fn take(&mut self, now: Instant, metadata: Metadata, is_kept: impl Fn(NodeId) -> bool) {
        self.as_of = self.asked;
        self.nodes.retain(|node, _| is_kept(*node));
        self.nodes.extend(metadata.nodes);
        let mut complete = true;
        match metadata.topic {
            Ok(newer) => {
                self.topic_error = None;
                match &mut self.topic {
                    Some(topic) => topic.update(newer),
                    None => self.topic = Some(newer),
                }
                // A leader may be named while its broker is away.
                let nodes = &self.nodes;
                let led = |its: &Partition| its.leader.is_some_and(|leader| nodes.contains_key(&leader));
                complete &= self.topic.iter().flat_map(|topic| &topic.partitions).all(led);
            }
            // A broker that has just started may not know the topic yet: what is known is kept.
            Err(code) => {
                self.topic_error = Some(code);
                complete = false;
            }
        }
        self.due = now + if complete { METADATA_AGE_MAX } else { METADATA_GAP * 2 };
    }
}
