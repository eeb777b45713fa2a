//! lab.
pub mod checker;
pub mod crowd;
pub mod error;
pub mod http_client;
mod kafka_client;
pub mod ports;
mod process;
pub mod programs;
pub mod run_dir;
pub mod servers;
pub mod topic;
pub mod truth;
