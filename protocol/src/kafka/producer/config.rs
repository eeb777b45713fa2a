//! How a producer is told to work.

use std::time::Duration;

use crate::kafka::sasl::identity::Identity;

/// How a producer works.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// The one topic it writes to.
    pub topic: String,
    /// Where to start: any of the brokers. Not empty.
    pub bootstrap: Vec<(String, u16)>,
    /// Who we are, where brokers want a login.
    pub login: Option<Identity>,
    /// Shown in the broker's logs and quotas.
    pub client_id: String,
    /// How long a batch that is not full waits for more records. 0.5 ms costs the broker a quarter of what none does.
    pub linger: Duration,
    /// A batch that has reached this is full, bytes (its last record may reach over it); 1 to
    /// [`BATCH_BYTES_MAX`](crate::kafka::limits::BATCH_BYTES_MAX).
    pub batch_bytes_max: usize,
    /// Batches in flight by partition, 1 to [`BATCHES_IN_FLIGHT_MAX`](crate::kafka::limits::BATCHES_IN_FLIGHT_MAX).
    pub in_flight_max: usize,
    /// How long an answer may take before the connection is given up. The broker is told three quarters of it, so that it
    /// answers first.
    pub request_timeout: Duration,
    /// Records that may be held: open, waiting, in flight, or settled and not yet polled.
    pub records_max: usize,
    /// Records appended longer ago are never sent, nor sent again: they come back [`Abandoned`](super::Settled::Abandoned).
    pub record_age_max: Duration,
    /// For jitter, and for which partition is the first.
    pub seed: u64,
}
