//! What a core asks of Redis and Kafka for its own sake: whether they answer and let orders through, and how they are set.

pub(crate) mod probe;
pub(crate) mod settings;
