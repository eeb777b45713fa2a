//! The servers around the contestants, the same for all of them: one Redis and one broker, emptied before each
//! measurement.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::contestant::{Contestant, Source};
use super::server::{Server, Surroundings};
use super::usage;
use flux_lab::control::Controlled;
use flux_lab::error::{Doing, LabError};
use flux_lab::process::LOOK_AGAIN;
use flux_lab::programs::Environment;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Encryption, Jvm, Kafka, KafkaOptions, Redis, RedisOptions};
use flux_lab::topic::TopicReader;
use flux_test_support::certificates::{Authority, Identity};

/// Partitions of the topic; flux-worker's default.
pub const PARTITIONS: i32 = 4;
/// The broker's heap: Kafka's own start script gives it so much.
const KAFKA_HEAP_MIB: u32 = 1024;

/// How long a new topic may be on its way.
const TOPIC_WAIT: Duration = Duration::from_secs(10);

/// Names of everything here in certificates.
const LOOPBACK: &[&str] = &["127.0.0.1", "localhost"];

/// What edges with TLS trust and show (ECDSA, P-256).
#[derive(Debug)]
pub struct Certificates {
    /// Who issued all of them.
    pub authority: Authority,
    /// The edge's own.
    pub edge: Identity,
    /// A balancer's in front of it.
    pub balancer: Identity,
}

/// Redis and Kafka of a run, with listeners for plain clients and for those that speak TLS.
#[derive(Debug)]
pub struct Stage {
    /// Data and logs.
    pub run: RunDir,
    /// The repository.
    pub root: PathBuf,
    /// Redis.
    pub redis: Redis,
    /// The broker.
    pub kafka: Kafka,
    certificates: Certificates,
    topic: Option<String>,
    measurements: u32,
    /// Contestants, for the names of their logs.
    started: u32,
}

/// CPU that the three have used so far, µs.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// The contestant.
    pub server: u64,
    /// Redis.
    pub redis: u64,
    /// The broker.
    pub kafka: u64,
}

impl Stage {
    /// Starts Redis and Kafka, as they are set up for production.
    ///
    /// # Errors
    /// Where one is missing or does not come up.
    pub fn start(root: PathBuf) -> Result<Stage, LabError> {
        let run = RunDir::new()?;
        let authority = Authority::new();
        let encryption = |name: &str| Some(encryption(&authority, name));
        let redis = Redis::start(&run, RedisOptions { tls: encryption("redis"), ..RedisOptions::default() })?;
        let properties = [
            // Topics are deleted after each measurement, and their bytes should go as well.
            ("log.segment.delete.delay.ms", "1000"),
            ("log.retention.check.interval.ms", "10000"),
        ];
        let kafka = Kafka::start(
            &run,
            KafkaOptions {
                properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
                heap_mib: KAFKA_HEAP_MIB,
                jvm: Jvm::Production,
                tls: encryption("kafka"),
                ..KafkaOptions::default()
            },
        )?;
        let [edge, balancer] = ["edge", "balancer"].map(|name| authority.server(name, LOOPBACK));
        let certificates = Certificates { authority, edge, balancer };
        Ok(Stage { run, root, redis, kafka, certificates, topic: None, measurements: 0, started: 0 })
    }

    /// Empties Redis, and puts a new topic in the place of the last one. Returns the topic's name.
    ///
    /// # Errors
    /// Where a server does not do it.
    pub fn clear(&mut self) -> Result<String, LabError> {
        let mut redis = self.redis.connection()?;
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut redis).doing(|| "emptying Redis".to_owned())?;
        if let Some(topic) = self.topic.take() {
            self.kafka.delete_topic(&topic)?;
        }
        self.measurements += 1;
        let topic = format!("bench-{}", self.measurements);
        self.kafka.create_topic(&topic, PARTITIONS, 1)?;
        self.topic = Some(topic.clone());
        // A broker answers the creation before it knows the topic itself.
        let (reader, until) = (TopicReader::new(&self.kafka.bootstrap(), &topic), Instant::now() + TOPIC_WAIT);
        while let Err(error) = reader.record_count() {
            if Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(topic)
    }

    /// Starts a contestant on emptied servers.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn enter(
        &mut self,
        contestant: Contestant,
        source: &Source,
        threads: u32,
        edge_environment: Environment,
    ) -> Result<Server, LabError> {
        self.clear()?;
        self.start_contestant(contestant, source, threads, edge_environment)
    }

    /// Starts one more contestant on the servers as they are.
    ///
    /// # Errors
    /// Where it does not come up, or nothing was cleared before the first one.
    pub fn start_contestant(
        &mut self,
        contestant: Contestant,
        source: &Source,
        threads: u32,
        edge_environment: Environment,
    ) -> Result<Server, LabError> {
        let topic = self.topic()?.to_owned();
        self.started += 1;
        let around = Surroundings {
            run: &self.run,
            name: format!("{}-{}", contestant.name(), self.started),
            redis: &self.redis,
            kafka: &self.kafka,
            certificates: &self.certificates,
            topic,
            threads,
            edge_environment,
        };
        Server::start(contestant, source, &around)
    }

    /// A file for the output of a load generator.
    pub fn log(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}-{}.log", self.measurements))
    }

    /// The topic of the measurement under way.
    ///
    /// # Errors
    /// Where nothing was cleared yet.
    pub fn topic(&self) -> Result<&str, LabError> {
        self.topic.as_deref().ok_or_else(|| LabError::failed("there is no topic yet"))
    }

    /// Who has issued all certificates here: a file, PEM.
    pub fn issuer(&self) -> PathBuf {
        self.certificates.authority.file()
    }

    /// What a server of that name shows to those who ask for TLS.
    pub fn encryption(&self, name: &str) -> Box<Encryption> {
        encryption(&self.certificates.authority, name)
    }

    /// Records in the topic.
    ///
    /// # Errors
    /// Where the broker does not say.
    pub fn records(&self) -> Result<u64, LabError> {
        TopicReader::new(&self.kafka.bootstrap(), self.topic()?).record_count()
    }

    /// CPU used so far.
    ///
    /// # Errors
    /// Where a process is gone.
    pub fn used(&self, server: &Server) -> Result<Used, LabError> {
        let redis = self.redis.pid().ok_or_else(|| LabError::failed("Redis does not run"))?;
        Ok(Used { server: server.cpu_us()?, redis: usage::cpu_us(redis)?, kafka: self.kafka_us()? })
    }

    /// CPU that the broker has used so far, µs.
    ///
    /// # Errors
    /// Where its process is gone.
    pub fn kafka_us(&self) -> Result<u64, LabError> {
        self.kafka.pids().into_iter().map(usage::cpu_us).sum()
    }
}

fn encryption(authority: &Authority, name: &str) -> Box<Encryption> {
    let Identity { certificate, key } = authority.server(name, LOOPBACK);
    Box::new(Encryption { certificate, key, clients: None })
}
