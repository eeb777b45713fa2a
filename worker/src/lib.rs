//! The worker: accepted orders from Kafka into PostgreSQL, exactly once.
//!
//! - [`config`], [`arguments`], [`opening`], [`limits`]: what it was told, checked;
//! - [`pipeline`] (pure: what the ledger is asked, when a rebalance goes on, when the process ends) over [`intake`] (pure:
//!   which records are in hand, how batches are cut); [`consume`] is their shell; [`topic`] makes sure of
//!   the topic at the start;
//! - [`batch`] (pure) and [`ledger`]: one batch's way into PostgreSQL;
//! - [`serve`]: all of it together, as the program runs it;
//! - [`admin`], [`seats`], [`order_status`], [`health`], [`metrics`]: what it tells of itself;
//! - [`redis`], [`scripts`], [`outbox`]: what it asks of Redis and what stands there; [`returns`]: units that go back;
//!   [`redis_maintenance`] does that every second and looks, product by product in turn ([`rota`]), whether Redis is [`behind`] the ledger;
//!   [`auto_rebuild`] rebuilds by itself where it is told to; each says once what it meets again and again ([`repeated`]);
//! - [`audit`], [`rebuild`], [`dead_letters`]: the commands, over [`oneshot`] and [`kafka_driver`].

pub mod admin;
pub mod arguments;
pub mod audit;
pub mod auto_rebuild;
pub mod batch;
pub mod behind;
pub mod config;
pub mod consume;
pub mod dead_letters;
pub mod health;
pub mod intake;
pub mod kafka_driver;
pub mod ledger;
pub mod limits;
pub mod metrics;
pub mod oneshot;
pub mod opening;
pub mod order_status;
pub mod outbox;
pub mod pipeline;
pub mod progress;
pub mod rebuild;
pub mod redis;
pub mod redis_maintenance;
pub mod repeated;
pub mod returned;
pub mod returns;
pub mod rota;
pub mod scripts;
pub mod seats;
pub mod serve;
#[cfg(test)]
mod test_records;
pub mod topic;
