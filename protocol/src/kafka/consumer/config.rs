//! What a consumer is told to read, and how.

use std::time::Duration;

use crate::kafka::sasl::identity::Identity;

/// What to consume and how.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The one topic.
    pub topic: String,
    /// The group's id.
    pub group: String,
    /// Brokers to begin with.
    pub bootstrap: Vec<(String, u16)>,
    /// Who we are, where brokers want a login.
    pub login: Option<Identity>,
    /// Shown in the brokers' logs.
    pub client_id: String,
    /// See [`GroupConfig::session_timeout`](crate::kafka::group::GroupConfig::session_timeout).
    pub session_timeout: Duration,
    /// See [`GroupConfig::rebalance_timeout`](crate::kafka::group::GroupConfig::rebalance_timeout).
    pub rebalance_timeout: Duration,
    /// See [`GroupConfig::heartbeat_interval`](crate::kafka::group::GroupConfig::heartbeat_interval).
    pub heartbeat_interval: Duration,
    /// See [`FetchConfig::answer_bytes_max`](crate::kafka::fetch::FetchConfig::answer_bytes_max).
    pub answer_bytes_max: usize,
    /// See [`FetchConfig::buffered_bytes_max`](crate::kafka::fetch::FetchConfig::buffered_bytes_max).
    pub buffered_bytes_max: usize,
    /// See [`FetchConfig::wait`](crate::kafka::fetch::FetchConfig::wait).
    pub fetch_wait: Duration,
    /// For jitter.
    pub seed: u64,
}
