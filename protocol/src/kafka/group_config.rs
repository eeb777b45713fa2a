//! What a member of a consumer group is told of itself.

use std::time::Duration;

/// What a member is.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group's id.
    pub group: String,
    /// The one topic it consumes.
    pub topic: String,
    /// Without a heartbeat for so long the coordinator takes the partitions away.
    pub session_timeout: Duration,
    /// How long the owner may take to release its partitions.
    pub rebalance_timeout: Duration,
    /// Between heartbeats; a third of the session or less.
    pub heartbeat_interval: Duration,
    /// For jitter.
    pub seed: u64,
}
