//! What a group member tells its owner.

use std::fmt;

/// What the owner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are ours from now on, and no others.
    Assigned {
        /// Of which generation.
        generation: i32,
        /// Ascending; may be empty.
        partitions: Vec<i32>,
    },
    /// A rebalance is under way: finish what is in hand, then call [`release`](super::Group::release). Still a member until then.
    Release,
    /// The partitions are another's already: drop what is in hand. What was being stored is fenced or it was in time.
    Lost {
        /// Why.
        reason: LostReason,
    },
    /// The coordinator refuses for a reason that time alone does not cure; asked again all the same.
    Refused {
        /// Kafka's error code.
        code: i16,
    },
    /// The group has been left; nothing more will come.
    Left,
}

/// Why a membership ended without being left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The coordinator has forgotten us.
    UnknownMember,
    /// The group has gone on without us.
    IllegalGeneration,
    /// No heartbeat was answered for a whole session timeout.
    SessionOver,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::UnknownMember => "the group's coordinator has forgotten this member",
            LostReason::IllegalGeneration => "the group has gone on without this member",
            LostReason::SessionOver => "no heartbeat was answered for a whole session",
        })
    }
}
