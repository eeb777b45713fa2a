//! Makes sure at the start that the topic exists: waits for a broker, creates the topic where it is missing.
//!
//! Never changes a topic that exists.

use flux_net::Clock;
use flux_protocol::kafka::admin::{Admin, AdminEvent, NewTopic, TopicDescription};
use flux_protocol::kafka::cluster::ClusterConfig;
use tracing::{debug, warn};

use crate::config::Config;
use crate::health::Health;
use crate::kafka_driver::Driver;
use crate::limits::OBSERVE_INTERVAL;

/// Waits until the topic is there, and makes it where it is missing.
///
/// # Errors
/// The process has no descriptor left for a timer.
pub async fn ensure(
    config: &Config,
    client_id: &str,
    seed: u64,
    health: &Health,
    clock: Clock,
) -> std::io::Result<TopicDescription> {
    let cluster = ClusterConfig {
        bootstrap: config.kafka.clone(),
        login: config.kafka_login.clone(),
        client_id: client_id.to_owned(),
        topic: config.topic.clone(),
        seed,
    };
    let in_sync = config.topic_replicas.saturating_sub(1).max(1);
    let new = NewTopic {
        partitions: i32::try_from(config.topic_partitions).unwrap_or(i32::MAX),
        replicas: i16::try_from(config.topic_replicas).unwrap_or(i16::MAX),
        settings: vec![
            ("min.insync.replicas".to_owned(), in_sync.to_string()),
            ("retention.ms".to_owned(), "-1".to_owned()),
            // A broker's own default may be another.
            ("retention.bytes".to_owned(), "-1".to_owned()),
            // By the brokers' clock: no edge's decides whether a record is taken.
            ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
        ],
    };
    let mut driver = Driver::new(config.kafka_tls.as_ref(), |now| Admin::new(cluster, Some(new), now));
    let mut refusal = None;
    loop {
        let reason = refusal.as_deref().unwrap_or("no broker has told of the topic yet");
        health.kafka.fails(clock.instant(), reason);
        let found = driver.until(OBSERVE_INTERVAL, |admin, _| {
            refusal = admin.refusal();
            while let Some(event) = admin.poll_event() {
                match event {
                    AdminEvent::Found(topic) => return Some(topic),
                    AdminEvent::Missing => debug!("the topic is missing"),
                    AdminEvent::Refused { code, message } => {
                        warn!(code, message, "the brokers refuse the topic; asked again");
                    }
                }
            }
            None
        });
        if let Some(topic) = found.await? {
            return Ok(topic);
        }
    }
}
