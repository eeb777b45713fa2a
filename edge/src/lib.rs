//! Flux-Gate's edge: HTTP in, one Redis call for many orders and one Kafka record an order, thread per core.
//!
//! The decisions of a core are [`core::Core`], a machine without sockets or clock; around it stands the shell that
//! owns them.

mod accept;
mod admin;
pub mod answer;
mod arguments;
mod backoff;
mod buffers;
pub mod config;
mod conn;
pub mod connections;
pub mod core;
mod cores;
pub mod counters;
pub mod descriptors;
mod kafka_link;
mod link;
pub mod logging;
pub mod machine;
pub mod metrics;
pub mod pending;
pub mod product;
pub mod random;
pub mod redis;
mod redis_link;
pub mod redis_url;
pub mod routes;
pub mod run;
pub mod scripts;
pub mod server;
mod shard;
pub mod shell_counters;
pub mod shell_limits;
pub mod signals;
mod ticker;

pub use shard::DrainEnd;
