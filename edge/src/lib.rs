//! Flux-Gate's edge: HTTP in, one Redis call for many orders and one Kafka record an order, thread per core.
//!
//! The decisions of a core are [`core::Core`], a machine without sockets or clock; around it stands the shell that
//! owns them. The folders are floors, and a file imports from its own floor's folder and from below only:
//!
//! 1. `process`: the program;
//! 2. `shell`: sockets and tasks; `config`: flags to a validated configuration;
//! 3. `core`: all decisions; `monitoring`: what an operator sees;
//! 4. `redis`, `counters`, `pages`, `identity`;
//! 5. `answer`: what a client is told;
//! 6. `sale`, `throttle`, `retry_after`, `limits`, `slab`.
//!
//! `lab/floors.py`, part of the lint, keeps circles out.

pub mod answer;
pub mod config;
pub mod core;
pub mod counters;
pub mod identity;
pub mod limits;
pub mod monitoring;
pub mod pages;
pub mod process;
pub mod redis;
mod retry_after;
pub mod sale;
pub mod shell;
pub mod slab;
pub mod throttle;
pub mod verify_ticket;

pub use shell::shard::DrainEnd;
