//! What a consumer tells its owner.

use crate::kafka::group::LostReason;
use crate::kafka::metadata::TopicId;
use crate::kafka::records_decode::ScanError;

/// What the owner is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These partitions are ours: [`start`](super::Consumer::start) each.
    Assigned {
        /// The topic's id: positions belong to it, not to the name.
        topic_id: TopicId,
        /// Of the group.
        generation: i32,
        /// Ascending; may be empty.
        partitions: Vec<i32>,
    },
    /// A rebalance: store what is in hand, then [`release`](super::Consumer::release). Nothing more is read meanwhile.
    Release,
    /// The partitions are gone: drop what is in hand.
    Lost(LostReason),
    /// The topic of this name has another id now: it was deleted and made anew. [`Event::Lost`] and a new assignment
    /// follow. Its deletion has deleted orders.
    TopicReplaced {
        /// Before.
        was: TopicId,
        /// Now.
        is: TopicId,
    },
    /// The offset is outside the log: the partition stands still, and is asked for again. Nothing was skipped.
    OffsetOutOfRange {
        /// Which partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
    },
    /// The log is another one than was read ([`FetchEvent::Diverged`](crate::kafka::fetch::FetchEvent::Diverged)): likewise.
    Diverged {
        /// Which partition.
        partition: i32,
        /// What was asked for.
        offset: i64,
        /// Where the two part: what stands from here to `offset` was never read.
        end_offset: i64,
    },
    /// Damaged records came; they are asked for again.
    Damaged {
        /// Which partition.
        partition: i32,
        /// What is wrong.
        error: ScanError,
    },
    /// A broker refuses; it is asked again.
    Refused {
        /// Which partition, or the group as a whole.
        partition: Option<i32>,
        /// Kafka's error code.
        code: i16,
    },
    /// The group has been left.
    Left,
}

/// How a consumer stands with brokers and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A member whose coordinator is connected; brokers answer.
    Member,
    /// No connection to a broker is open, or none of them has answered for longer than it should.
    NoBroker,
    /// Brokers answer, but which of them coordinates the group is not known, or it is not connected.
    NoCoordinator,
    /// Membership is asked for. The coordinator answers JoinGroup when every member has let go or its time to do so is over,
    /// and SyncGroup when the leader has dealt out the partitions.
    Waiting,
    /// Not a member, and about to ask: it was refused, its membership has ended, or the topic is not known yet.
    Outside,
}
