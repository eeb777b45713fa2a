//! What an error code of a produce answer means for the batch it is about.
//!
//! Three things must be kept apart: the batch was **not appended** for certain, it **may have been**, or it **will never
//! be**. Never decides what then happens to the batch ([`super::partition`] does).

/// What became of the records of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// In the log, on every replica in sync: it will not be lost.
    Acknowledged,
    /// Not in the log for certain, and the broker will never take it; its error code.
    Refused(i16),
    /// Unknown, or too old to be sent: it may be in the log, once, or not. The relay is responsible for it now.
    Abandoned,
}

/// Error codes that are decided upon, by their names in Kafka's protocol guide.
pub(super) mod code {
    pub(in super::super) const CORRUPT_MESSAGE: i16 = 2;
    pub(in super::super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(in super::super) const LEADER_NOT_AVAILABLE: i16 = 5;
    pub(in super::super) const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    pub(in super::super) const REPLICA_NOT_AVAILABLE: i16 = 9;
    pub(in super::super) const MESSAGE_TOO_LARGE: i16 = 10;
    pub(in super::super) const INVALID_TOPIC: i16 = 17;
    pub(in super::super) const RECORD_LIST_TOO_LARGE: i16 = 18;
    pub(in super::super) const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub(in super::super) const INVALID_REQUIRED_ACKS: i16 = 21;
    pub(in super::super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    pub(in super::super) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    pub(in super::super) const INVALID_TIMESTAMP: i16 = 32;
    pub(in super::super) const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
    pub(in super::super) const POLICY_VIOLATION: i16 = 44;
    pub(in super::super) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub(in super::super) const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
    pub(in super::super) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(in super::super) const UNKNOWN_PRODUCER_ID: i16 = 59;
    pub(in super::super) const FENCED_LEADER_EPOCH: i16 = 74;
    pub(in super::super) const UNKNOWN_LEADER_EPOCH: i16 = 75;
    pub(in super::super) const INVALID_RECORD: i16 = 87;
    pub(in super::super) const UNKNOWN_TOPIC_ID: i16 = 100;
    pub(in super::super) const INCONSISTENT_TOPIC_ID: i16 = 103;
}

/// What to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// In the log, on all replicas in sync.
    Acknowledged,
    /// Not appended: send it again. `stale`: to another broker, once metadata says which.
    NotAppended {
        /// Whether the metadata is to be asked for.
        stale: bool,
    },
    /// It may have been appended: send it again under the same sequence, nothing else.
    Unknown,
    /// Not appended, because of what the broker knows of our producer id: an earlier batch is missing, or the id is.
    OutOfSequence,
    /// Not appended, because of some record in it: its neighbours may be.
    Poisoned,
    /// Not appended, and it never will be.
    Refused,
}

/// What `code` says about a batch.
///
/// A code that is not listed says nothing certain: a batch sent again under its sequence does no harm, and its age ends it.
pub(super) fn verdict(code: i16) -> Verdict {
    match code {
        0 | code::DUPLICATE_SEQUENCE_NUMBER => Verdict::Acknowledged,
        code::UNKNOWN_TOPIC_OR_PARTITION
        | code::LEADER_NOT_AVAILABLE
        | code::NOT_LEADER_OR_FOLLOWER
        | code::REPLICA_NOT_AVAILABLE
        | code::FENCED_LEADER_EPOCH
        | code::UNKNOWN_LEADER_EPOCH
        | code::UNKNOWN_TOPIC_ID
        | code::INCONSISTENT_TOPIC_ID => Verdict::NotAppended { stale: true },
        code::NOT_ENOUGH_REPLICAS => Verdict::NotAppended { stale: false },
        code::OUT_OF_ORDER_SEQUENCE_NUMBER | code::INVALID_PRODUCER_EPOCH | code::UNKNOWN_PRODUCER_ID => {
            Verdict::OutOfSequence
        }
        code::MESSAGE_TOO_LARGE
        | code::RECORD_LIST_TOO_LARGE
        | code::CORRUPT_MESSAGE
        | code::INVALID_RECORD
        | code::INVALID_TIMESTAMP => Verdict::Poisoned,
        code::INVALID_TOPIC
        | code::INVALID_REQUIRED_ACKS
        | code::TOPIC_AUTHORIZATION_FAILED
        | code::CLUSTER_AUTHORIZATION_FAILED
        | code::UNSUPPORTED_FOR_MESSAGE_FORMAT
        | code::POLICY_VIOLATION => Verdict::Refused,
        // REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS_AFTER_APPEND, KAFKA_STORAGE_ERROR, UNKNOWN_SERVER_ERROR, …
        _ => Verdict::Unknown,
    }
}
