//! Flux-Gate's edge: HTTP in, one Redis call for many orders and one Kafka record an order, thread per core.
//!
//! The decisions of a core are [`core::Core`], a machine without sockets or clock; around it stands the shell that
//! owns them.

mod accept;
mod admin;
pub mod answer;
mod arguments;
mod backoff;
mod brand;
mod buffers;
pub mod config;
mod conn;
pub mod connections;
pub mod core;
pub mod core_start;
mod cores;
pub mod counters;
mod dashboard;
mod deadlines;
pub mod descriptors;
pub mod fair;
pub mod find;
pub mod gate;
pub mod history;
mod kafka_link;
pub mod limiter;
pub mod limits;
mod line;
mod link;
pub mod logging;
mod look;
mod lookup;
pub mod machine;
pub mod metrics;
pub mod operation;
mod operation_body;
mod order;
pub mod outbox;
mod page_files;
pub mod pages;
pub mod pending;
mod planted;
mod probe;
pub mod product;
mod product_metrics;
mod queue;
mod queue_document;
pub mod redis;
mod redis_link;
mod refusals;
mod relay;
pub mod reply;
mod reserve;
mod retire;
pub mod routes;
pub mod run;
pub mod schedule;
pub mod scripts;
mod seat;
pub mod server;
pub mod settings;
mod settle;
pub mod shard;
pub mod shell_counters;
pub mod shell_limits;
pub mod signals;
pub mod status;
#[cfg(test)]
mod tests;
mod ticker;
mod tokens;
pub mod verify_ticket;
mod waiting;
pub mod workers;

pub use shard::DrainEnd;
