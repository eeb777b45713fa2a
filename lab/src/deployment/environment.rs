//! What a deployment tells its programs: where their servers are, and how they are reached.

use std::path::Path;

use super::Deployment;
use crate::programs::Environment;
use crate::servers::Side;

impl Deployment {
    pub(super) fn environment(&self, side: Side) -> Environment {
        if let Some(trusted) = &self.options.trusted {
            return self.encrypted_environment(trusted);
        }
        let proxy = self.links.as_ref().map(|links| match side {
            Side::Edges => links.edge_redis.address(),
            Side::Workers => links.worker_redis.address(),
        });
        let redis = match proxy {
            Some(proxy) => format!("redis://{proxy}"),
            None if self.options.redis_by_socket => self.redis.socket_url(),
            None => self.redis.url(),
        };
        let kafka = if self.links.is_some() { self.kafka().bootstrap_for(side) } else { self.sources.kafka.clone() };
        [("FLUX_REDIS", redis), ("FLUX_KAFKA", kafka), ("FLUX_TOPIC", self.topic.clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    fn encrypted_environment(&self, trusted: &Path) -> Environment {
        let trusted = trusted.display().to_string();
        let mut environment = vec![
            ("FLUX_REDIS", self.redis.tls_url().expect("Redis has TLS")),
            ("FLUX_REDIS_TLS_CA", trusted.clone()),
            ("FLUX_KAFKA", self.kafka().bootstrap_encrypted()),
            ("FLUX_KAFKA_SECURITY", "ssl".to_owned()),
            ("FLUX_KAFKA_TLS_CA", trusted),
            ("FLUX_TOPIC", self.topic.clone()),
        ];
        if let Some((certificate, key)) = &self.options.shown {
            let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
            environment.extend([
                ("FLUX_REDIS_TLS_CERT", certificate.clone()),
                ("FLUX_REDIS_TLS_KEY", key.clone()),
                ("FLUX_KAFKA_TLS_CERT", certificate),
                ("FLUX_KAFKA_TLS_KEY", key),
            ]);
        }
        environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The environment of a worker, and of `flux-worker audit` and `rebuild`.
    pub fn worker_environment(&self) -> Environment {
        let mut environment = self.environment(Side::Workers);
        let postgres = match &self.links {
            Some(links) => format!("postgres://postgres@{}/{}", links.worker_postgres.address(), self.database),
            None => self.sources.postgres.clone(),
        };
        let postgres = match &self.options.trusted {
            Some(trusted) => format!("{postgres}?sslmode=verify-full&sslrootcert={}", trusted.display()),
            None => postgres,
        };
        let postgres = match &self.options.shown {
            Some((certificate, key)) => {
                format!("{postgres}&sslcert={}&sslkey={}", certificate.display(), key.display())
            }
            None => postgres,
        };
        environment.push(("FLUX_POSTGRES".to_owned(), postgres));
        environment.push(("FLUX_GROUP".to_owned(), self.group()));
        environment.push(("FLUX_TOPIC_PARTITIONS".to_owned(), self.options.partitions.to_string()));
        environment.extend(self.options.worker_environment.iter().cloned());
        environment
    }
}
