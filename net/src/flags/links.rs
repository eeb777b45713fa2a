//! The flags that say how Redis and Kafka are spoken to: TLS, and what it needs.

use clap::Args;
use flux_protocol::kafka::security::KafkaSecurity;

use crate::tls::{ClientTls, TlsGiven, given};

/// TLS of the links to Redis and Kafka.
#[derive(Args, Clone, Debug)]
pub struct LinkArguments {
    /// Of a rediss:// link: files of trusted issuers (PEM), a comma between them [default: those of the operating system]
    #[arg(long, env = "FLUX_REDIS_TLS_CA", value_name = "FILE,…")]
    pub redis_tls_ca: Option<String>,

    /// Of a rediss:// link: our certificate with its intermediates (PEM), where Redis wants to know its clients
    #[arg(long, env = "FLUX_REDIS_TLS_CERT", value_name = "FILE")]
    pub redis_tls_cert: Option<String>,

    /// Of a rediss:// link: our certificate's key (PEM, not encrypted)
    #[arg(long, env = "FLUX_REDIS_TLS_KEY", value_name = "FILE")]
    pub redis_tls_key: Option<String>,

    /// Of a rediss:// link: the name in Redis' certificate [default: the URL's host]
    #[arg(long, env = "FLUX_REDIS_TLS_SERVER_NAME", value_name = "NAME")]
    pub redis_tls_server_name: Option<String>,

    /// How brokers are spoken to: plaintext, ssl, sasl_plaintext, sasl_ssl
    #[arg(long, env = "FLUX_KAFKA_SECURITY", value_name = "PROTOCOL", default_value_t = KafkaSecurity::Plaintext)]
    pub kafka_security: KafkaSecurity,

    /// Of brokers with TLS: files of trusted issuers (PEM), a comma between them [default: those of the operating system]
    #[arg(long, env = "FLUX_KAFKA_TLS_CA", value_name = "FILE,…")]
    pub kafka_tls_ca: Option<String>,

    /// Of brokers with TLS: our certificate with its intermediates (PEM), where they want to know their clients
    #[arg(long, env = "FLUX_KAFKA_TLS_CERT", value_name = "FILE")]
    pub kafka_tls_cert: Option<String>,

    /// Of brokers with TLS: our certificate's key (PEM, not encrypted)
    #[arg(long, env = "FLUX_KAFKA_TLS_KEY", value_name = "FILE")]
    pub kafka_tls_key: Option<String>,

    /// Of brokers with TLS: the name in all their certificates [default: each broker's host, as the cluster calls it]
    #[arg(long, env = "FLUX_KAFKA_TLS_SERVER_NAME", value_name = "NAME")]
    pub kafka_tls_server_name: Option<String>,
}

impl LinkArguments {
    /// The TLS of the link to Redis, where it has any.
    ///
    /// # Errors
    /// As [`TlsGiven::load`].
    pub fn redis_tls(&self, is_encrypted: bool) -> Result<Option<ClientTls>, String> {
        let given = TlsGiven {
            ca: self.redis_tls_ca.clone(),
            certificate: self.redis_tls_cert.clone(),
            key: self.redis_tls_key.clone(),
            server_name: self.redis_tls_server_name.clone(),
        };
        given.load("redis", given::REDIS, is_encrypted, "--redis rediss://… does")
    }

    /// The TLS of the links to brokers, where they have any.
    ///
    /// # Errors
    /// As [`TlsGiven::load`].
    pub fn kafka_tls(&self) -> Result<Option<ClientTls>, String> {
        let given = TlsGiven {
            ca: self.kafka_tls_ca.clone(),
            certificate: self.kafka_tls_cert.clone(),
            key: self.kafka_tls_key.clone(),
            server_name: self.kafka_tls_server_name.clone(),
        };
        given.load("kafka", given::KAFKA, self.kafka_security.is_encrypted(), "--kafka-security ssl or sasl_ssl does")
    }
}
