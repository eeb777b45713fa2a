//! The worker: accepted orders from Kafka into PostgreSQL, exactly once.
//!
//! - [`config`], [`arguments`], [`redis_target`], [`limits`]: what it was told, checked;
//! - [`consume`] is the shell around the consumer machine and [`intake`] (pure: which records are in hand, how batches
//!   are cut), with [`brokers`] for the sockets; [`topic`] makes sure of the topic at the start;
//! - [`batch`] (pure) and [`ledger`]: one batch's way into PostgreSQL;
//! - [`admin`], [`desk`], [`health`], [`metrics`], [`logging`]: what it tells of itself;
//! - [`audit`], [`rebuild`]: the commands.

pub mod admin;
pub mod arguments;
pub mod audit;
pub mod batch;
pub mod brokers;
pub mod config;
pub mod consume;
pub mod desk;
pub mod health;
pub mod intake;
pub mod ledger;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod rebuild;
pub mod redis_target;
pub mod topic;
