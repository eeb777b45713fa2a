//! What a deployment consists of.

use std::path::PathBuf;

use crate::programs::Environment;
use crate::servers::{KafkaOptions, PostgresOptions, RedisOptions};

/// Whose Kafka and PostgreSQL a deployment uses. Redis is always its own, topic and database too.
#[derive(Clone, Debug, Default)]
pub enum Servers {
    /// Those of this process, started by the first deployment that asks: for tests that leave them running.
    #[default]
    Shared,
    /// Its own: for tests that stop, kill or pause them.
    Own {
        /// How Kafka is set up.
        kafka: KafkaOptions,
        /// How PostgreSQL is set up.
        postgres: PostgresOptions,
    },
}

impl Servers {
    /// Its own, set up as usual.
    pub fn own() -> Servers {
        Servers::Own { kafka: KafkaOptions::default(), postgres: PostgresOptions::default() }
    }
}

/// What a deployment consists of.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// Edges, each on ports of its own.
    pub edges: usize,
    /// Workers of one group.
    pub workers: usize,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Kafka and PostgreSQL.
    pub servers: Servers,
    /// Redis.
    pub redis: RedisOptions,
    /// Edge and worker reach Redis over its Unix socket.
    pub redis_by_socket: bool,
    /// Edge and worker reach every server through proxies: [`links`](super::Deployment::links). A Kafka of one's own needs
    /// [`KafkaOptions::proxied`] for it.
    pub proxied: bool,
    /// Edge and worker reach every server through TLS, and trust this issuer (a file, PEM): each server needs an
    /// [`Encryption`](crate::servers::Encryption) of its own for it.
    pub trusted: Option<PathBuf>,
    /// What they show to servers that want to know their clients: a certificate and its key (files, PEM).
    pub shown: Option<(PathBuf, PathBuf)>,
    /// More of each edge's environment, such as `("FLUX_RATE", "0")`; wins over what is set here.
    pub edge_environment: Environment,
    /// More of each worker's.
    pub worker_environment: Environment,
}

impl Default for DeploymentOptions {
    fn default() -> DeploymentOptions {
        DeploymentOptions {
            edges: 1,
            workers: 1,
            partitions: 4,
            servers: Servers::Shared,
            redis: RedisOptions::default(),
            redis_by_socket: false,
            proxied: false,
            trusted: None,
            shown: None,
            edge_environment: vec![("FLUX_CORES".to_owned(), "1".to_owned())],
            worker_environment: Vec::new(),
        }
    }
}
