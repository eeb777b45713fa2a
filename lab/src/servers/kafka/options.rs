//! How a cluster of Kafka is set up.

use std::time::Duration;

use crate::servers::Encryption;

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers, 1 to 9. Internal topics have as many replicas, three at most.
    pub brokers: usize,
    /// How many of them, the first ones, are controllers too. With one, the others can be stopped without stopping the
    /// cluster's decisions.
    pub controllers: usize,
    /// Whether edges and workers can reach every broker through proxies ([`proxies`](super::Kafka::proxies)).
    pub proxied: bool,
    /// One more listener, on which clients have to log in ([`login_bootstrap`](super::Kafka::login_bootstrap)).
    pub login: Option<KafkaLogins>,
    /// Whether each broker has a listener with TLS, too: [`bootstrap_encrypted`](super::Kafka::bootstrap_encrypted).
    pub tls: Option<Box<Encryption>>,
    /// More of server.properties.
    pub properties: Vec<(String, String)>,
    /// The JVM's heap, in MiB, by broker.
    pub heap_mib: u32,
    /// How the JVM compiles and collects.
    pub jvm: Jvm,
}

impl Default for KafkaOptions {
    fn default() -> KafkaOptions {
        KafkaOptions {
            brokers: 1,
            controllers: 3,
            proxied: false,
            login: None,
            tls: None,
            properties: Vec::new(),
            heap_mib: 512,
            jvm: Jvm::QuickStart,
        }
    }
}

/// Who may log in by SASL: every user by PLAIN and both SCRAMs, and anybody by OAUTHBEARER whose token is an unsigned one.
#[derive(Clone, Debug, Default)]
pub struct KafkaLogins {
    /// Names and passwords, of letters and digits.
    pub users: Vec<(String, String)>,
    /// How long a login lasts at most (`connections.max.reauth.ms`).
    pub session: Option<Duration>,
}

/// How a broker's JVM is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jvm {
    /// Ready soon and small: for tests, where a quick start matters more than the last of its speed.
    #[default]
    QuickStart,
    /// As Kafka's own start script sets it (`kafka-run-class.sh`): for measurements.
    Production,
}
