//! lab.
pub mod error;
mod kafka_client;
pub mod ports;
mod process;
pub mod run_dir;
pub mod servers;
pub mod topic;
