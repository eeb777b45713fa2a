//! What an edge is to serve, and where.

use std::net::SocketAddr;
use std::time::Duration;

use flux_net::{Address, DriverChoice};

use crate::monitoring::workers::Workers;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Public listener; port 0 takes a free one.
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub waiting_room: Option<SocketAddr>,
    /// The driver asked for.
    pub driver: DriverChoice,
    /// A thread for each of these processors, tied to it.
    pub cores: Vec<usize>,
    /// Connections that each core serves at once.
    pub connections_per_core_max: usize,
    pub redis: Address,
    /// Longest drain.
    pub drain_deadline: Duration,
    /// Workers that the dashboard shows.
    pub workers: Workers,
}
