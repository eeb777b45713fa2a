//! A fake Apache Kafka: brokers, logs, idempotent producers and a group coordinator.
