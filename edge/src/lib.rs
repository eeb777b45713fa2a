//! Flux-Gate's edge: HTTP in, one Redis call for many orders and one Kafka record an order, thread per core.
//!
//! The decisions of a core are [`core::Core`], a machine without sockets or clock; around it stands the shell that
//! owns them.

pub mod answer;
pub mod core;
pub mod counters;
mod deadlines;
pub mod find;
pub mod gate;
pub mod limiter;
pub mod limits;
mod look;
mod lookup;
pub mod operation;
mod order;
pub mod outbox;
mod pages;
pub mod pending;
pub mod product;
pub mod redis;
mod relay;
pub mod reply;
mod reserve;
pub mod routes;
pub mod scripts;
mod settle;
mod status;
mod tokens;
