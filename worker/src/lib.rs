//! The worker: accepted orders from Kafka into PostgreSQL, exactly once.

pub mod batch;
pub mod ledger;
