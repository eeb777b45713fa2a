//! Sockets and tasks: what carries bytes and time between the operating system and the machine of each core. Decides nothing
//! about an order.

pub(crate) mod accept;
pub(crate) mod backoff;
pub(crate) mod buffers;
pub mod burst;
pub(crate) mod connection;
pub(crate) mod connection_guard;
pub mod connection_table;
pub mod core_tasks;
pub mod front;
pub(crate) mod kafka_sockets;
mod longest_idle;
pub(crate) mod memory;
mod outage;
pub mod plan;
pub(crate) mod redis_socket;
pub mod server;
pub mod shard;
pub(crate) mod ticker;
pub(crate) mod turn;
