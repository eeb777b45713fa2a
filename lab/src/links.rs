//! The wires of a deployment, each with a proxy in it.

use std::sync::Arc;

use crate::error::LabError;
use crate::proxy::Proxy;
use crate::servers::{Kafka, Postgres, Redis, Side};

/// The proxies between the programs and their servers.
#[derive(Clone, Debug)]
pub struct Links {
    /// Edges to Redis.
    pub edge_redis: Arc<Proxy>,
    /// Edges to each broker.
    pub edge_kafka: Vec<Arc<Proxy>>,
    /// Workers to Redis; `flux-worker rebuild` and `audit` too.
    pub worker_redis: Arc<Proxy>,
    /// Workers to each broker.
    pub worker_kafka: Vec<Arc<Proxy>>,
    /// Workers to PostgreSQL.
    pub worker_postgres: Arc<Proxy>,
}

impl Links {
    /// Proxies before these servers; Kafka has its own.
    pub(crate) fn new(redis: &Redis, kafka: &Kafka, postgres: &Postgres) -> Result<Links, LabError> {
        let (edge_kafka, worker_kafka) = (kafka.proxies(Side::Edges), kafka.proxies(Side::Workers));
        if edge_kafka.is_empty() {
            return Err(LabError::failed("no proxies stand before this Kafka: set KafkaOptions::proxied"));
        }
        Ok(Links {
            edge_redis: Arc::new(Proxy::before(redis.address())?),
            edge_kafka,
            worker_redis: Arc::new(Proxy::before(redis.address())?),
            worker_kafka,
            worker_postgres: Arc::new(Proxy::before(postgres.address())?),
        })
    }

    /// Every one of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        let single = [&self.edge_redis, &self.worker_redis, &self.worker_postgres];
        single.into_iter().chain(&self.edge_kafka).chain(&self.worker_kafka)
    }

    /// All is well again, everywhere.
    pub fn pass(&self) {
        self.all().for_each(|proxy| proxy.pass());
    }
}
