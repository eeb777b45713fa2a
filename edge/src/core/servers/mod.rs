//! What a core learns of Redis and Kafka beyond their answers: clocks, settings, permissions, identity.

pub(crate) mod broker_clocks;
pub(crate) mod probe;
pub mod server_settings;
pub(crate) mod witness;
