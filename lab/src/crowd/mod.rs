//! The crowd: a load client on monoio that drives thousands of keep-alive connections, repeats with the same key as a
//! buyer's page would, and can keep every outcome for the checker.
//!
//! Never decides whether an answer was right: that is the checker's matter.

mod connection;
mod engine;
pub mod histogram;
pub mod history;
pub mod order;
pub mod outcome;
pub mod report;
mod work;

use std::net::SocketAddr;
use std::time::Duration;

pub use engine::raise_file_limit;
pub use engine::{Running, start};
pub use history::{Exchange, History};
pub use order::{Order, Orders};
pub use outcome::{Doubt, Outcome, Refusal};
pub use report::{Report, Snapshot};
pub use work::{Arrival, Repeat};

use crate::error::LabError;

/// Connections from one loopback source address at most (about 28,000 client ports to one target are to be had).
pub const CONNECTIONS_BY_SOURCE: usize = 20_000;

/// Which of monoio's drivers the crowd runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// io_uring where it is to be had, else epoll.
    Auto,
    /// epoll.
    Epoll,
}

/// What a crowd does.
#[derive(Clone, Debug)]
pub struct CrowdOptions {
    /// Public listeners; connections take them in turn.
    pub targets: Vec<SocketAddr>,
    /// Connections in all. They are opened before the first order goes out.
    pub connections: usize,
    /// Threads, each with its share of connections and buyers.
    pub threads: usize,
    /// What the buyers ask for.
    pub orders: Orders,
    /// When they come.
    pub arrival: Arrival,
    /// What they repeat.
    pub repeat: Repeat,
    /// How long a request may take before its outcome is called unknown (looked at every 20 ms).
    pub timeout: Duration,
    /// After this nothing is begun any more, repeats included.
    pub length_max: Duration,
    /// Keep every exchange in [`Report::history`].
    pub history: bool,
    /// Ask for JSON, so that the way to the waiting room is a 429 and not a 302.
    pub accept_json: bool,
    /// Decides pauses and replays.
    pub seed: u64,
    /// Which driver to run on.
    pub driver: Driver,
}

impl CrowdOptions {
    /// `buyers` who each want one unit of `product` once, over `connections`, and repeat nothing.
    pub fn buyers(targets: Vec<SocketAddr>, product: &str, buyers: u64, connections: usize) -> CrowdOptions {
        CrowdOptions {
            targets,
            connections,
            threads: 1,
            orders: Orders::unique(product, "crowd"),
            arrival: Arrival::Buyers(buyers),
            repeat: Repeat::NEVER,
            timeout: Duration::from_secs(5),
            length_max: Duration::from_secs(120),
            history: true,
            accept_json: false,
            seed: 1,
            driver: Driver::Auto,
        }
    }

    fn check(&self) -> Result<(), LabError> {
        let wrong = |text: &str| Err(LabError::failed(format!("the crowd: {text}")));
        if self.targets.is_empty() {
            return wrong("no target");
        }
        if self.connections == 0 || self.threads == 0 || self.connections < self.threads {
            return wrong("at least one thread, and a connection for each");
        }
        if self.repeat.attempts_max == 0 {
            return wrong("attempts_max is at least 1");
        }
        if let Orders::Unique { products, quantities, .. } = &self.orders
            && (products.is_empty() || quantities.is_empty())
        {
            return wrong("at least one product and one quantity");
        }
        if let Arrival::Rate { per_second, .. } = self.arrival
            && !(per_second > 0.0 && per_second.is_finite())
        {
            return wrong("the rate is above 0");
        }
        Ok(())
    }
}

/// Runs a crowd to its end.
///
/// # Errors
/// Where the options make no sense, or the limit of open files is too low.
pub fn run(options: CrowdOptions) -> Result<Report, LabError> {
    start(options)?.join()
}
