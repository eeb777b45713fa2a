//! Kafka's error codes that a consumer treats each in its own way (the protocol guide lists all).

/// An offset outside the log.
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
/// The broker found its own log damaged.
pub const CORRUPT_MESSAGE: i16 = 2;
/// No such topic, or not on this broker.
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// There is no leader just now.
pub const LEADER_NOT_AVAILABLE: i16 = 5;
/// Another broker leads.
pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// The partition is being moved.
pub const REPLICA_NOT_AVAILABLE: i16 = 9;
/// The coordinator is reading its log.
pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
/// There is no coordinator just now.
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
/// Another broker coordinates.
pub const NOT_COORDINATOR: i16 = 16;
/// The group is in another generation.
pub const ILLEGAL_GENERATION: i16 = 22;
/// The other members speak another assignment protocol.
pub const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
/// The coordinator does not know this member.
pub const UNKNOWN_MEMBER_ID: i16 = 25;
/// Join again.
pub const REBALANCE_IN_PROGRESS: i16 = 27;
/// The broker's disk failed; another will lead.
pub const KAFKA_STORAGE_ERROR: i16 = 56;
/// We know an older leader than the broker.
pub const FENCED_LEADER_EPOCH: i16 = 74;
/// We know a newer leader than the broker.
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
/// The new leader does not know yet how far the log is committed.
pub const OFFSET_NOT_AVAILABLE: i16 = 78;
/// Join again with the member id that comes with this.
pub const MEMBER_ID_REQUIRED: i16 = 79;
/// No more members.
pub const GROUP_MAX_SIZE_REACHED: i16 = 81;
/// No topic has this id: it was deleted, or the broker does not know it yet.
pub const UNKNOWN_TOPIC_ID: i16 = 100;
/// The topic has another id than the partition's log.
pub const INCONSISTENT_TOPIC_ID: i16 = 103;
