//! How old things may be that edge and worker must agree about. Each side's own bounds are held against these by const
//! assertions (`limits.rs` of both).

use std::time::Duration;

/// From the reservation of an order to the moment at which the sender of the last request that carries its record,
/// process and kernel, has given that request up. A rebuild's fence waits for longer.
pub const PUBLISHED_AGE_MAX: Duration = Duration::from_secs(14);
