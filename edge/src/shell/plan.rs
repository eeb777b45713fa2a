//! What an edge is to serve, and where.

use std::net::SocketAddr;
use std::time::Duration;

use flux_net::tls::Certificates;
use flux_net::{ClientTls, DriverChoice, RedisTarget};

use crate::monitoring::workers::Workers;
use crate::shell::front::Front;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Public listener; port 0 takes a free one.
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub waiting_room: Option<SocketAddr>,
    /// All that was read of certificates: the listener's is the public listener's and the waiting room's.
    pub certificates: Certificates,
    /// The driver asked for.
    pub driver: DriverChoice,
    /// A thread for each of these processors, tied to it.
    pub cores: Vec<usize>,
    /// Connections that each core serves at once.
    pub connections_per_core_max: usize,
    /// What stands in front of the public listener.
    pub front: Front,
    /// How long an idle connection is kept, and a new one that says nothing.
    pub keep_alive: Duration,
    pub redis: RedisTarget,
    /// The TLS of the links to brokers, where they have any.
    pub kafka_tls: Option<ClientTls>,
    /// How long a core that is told to drain goes on as before, but for `/readyz` and `connection: close`.
    pub drain_delay: Duration,
    /// Longest drain after that.
    pub drain_deadline: Duration,
    /// Workers that the dashboard shows.
    pub workers: Workers,
}
