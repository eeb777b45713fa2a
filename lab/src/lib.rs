//! Flux-Gate's proving ground: a tool for developers that starts isolated real servers and the real programs, sends
//! them a crowd, and checks from outside what was promised.
//!
//! - [`servers`]: Redis, Kafka and PostgreSQL of our own; [`programs`]: the real edge and worker; [`control`]: how each of them is
//!   ended, killed and paused.
//! - [`crowd`]: the load client and its history; [`truth`]: what the servers hold; [`checker`]: whether the two agree.
//! - [`proxy`]: wires that misbehave; [`chaos`]: faults under load, with the verdict.
//! - [`chromedriver`]: a headless Chromium's driver, for what people see.
//! - [`deployment`]: all of it together, as the end-to-end tests use it; [`demo`]: sales to look at, fair ones among them.
//!
//! Edge and worker know nothing of this crate, and nothing of it is ever part of them. It never touches a process it
//! did not start, nor a server on a default port.

pub mod chaos;
pub mod checker;
pub mod chromedriver;
pub mod control;
pub mod crowd;
pub mod demo;
pub mod deployment;
pub mod error;
pub mod http_client;
pub mod interrupt;
mod kafka_client;
pub mod links;
pub mod ports;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod run_dir;
pub mod servers;
pub mod topic;
pub mod truth;
