//! Kafka's error codes that a consumer treats each in its own way (the protocol guide lists all).

/// An offset outside the log.
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
/// The broker found its own log damaged.
pub const CORRUPT_MESSAGE: i16 = 2;
/// No such topic, or not on this broker.
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
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
/// Join again with the member id that comes with this.
pub const MEMBER_ID_REQUIRED: i16 = 79;
/// No more members.
pub const GROUP_MAX_SIZE_REACHED: i16 = 81;
