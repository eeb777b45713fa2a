//! Makes sure at the start that the topics exist: waits for a broker, creates what is missing.
//!
//! The worker does without the topic of the fences, and goes on without it. Never changes a topic that exists.

use std::cell::RefCell;

use flux_net::Clock;
use flux_protocol::fence;
use flux_protocol::kafka::admin::{Admin, AdminEvent, NewTopic, TopicDescription};
use flux_protocol::kafka::cluster::ClusterConfig;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::health::Health;
use crate::kafka_driver::Driver;
use crate::limits::OBSERVE_INTERVAL;

/// What the fences' topic keeps of each key for so long, beside the last record: heartbeats that a rebuild is about to read.
const COMPACTION_LAG_MS: &str = "3600000";

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
    let settings = [
        ("retention.ms", "-1"),
        // A broker's own default may be another.
        ("retention.bytes", "-1"),
        // By the brokers' clock: no edge's decides whether a record is taken.
        ("message.timestamp.type", "LogAppendTime"),
    ];
    let wanted = new_topic(config, i32::try_from(config.topic_partitions).unwrap_or(i32::MAX), &settings);
    let awaited = |refusal: Option<&str>| {
        health.kafka.fails(clock.instant(), refusal.unwrap_or("no broker has told of the topic yet"));
    };
    find_or_make(config, client_id, &config.topic, wanted, seed, awaited).await
}

/// The same for the topic of the fences, which may take as long as it likes.
///
/// # Errors
/// The process has no descriptor left for a timer.
pub async fn ensure_fences(config: &Config, client_id: &str, seed: u64) -> std::io::Result<()> {
    let name = fence::log::topic_of(&config.topic);
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.compaction.lag.ms", COMPACTION_LAG_MS),
        ("unclean.leader.election.enable", "false"),
    ];
    let told = RefCell::new(None);
    let awaited = |refusal: Option<&str>| {
        let refusal = refusal.map(str::to_owned);
        if refusal.is_some() && told.replace(refusal.clone()) != refusal {
            info!(topic = name, why = refusal, "there is no topic for fences yet; asked again");
        }
    };
    let found = find_or_make(config, client_id, &name, new_topic(config, 1, &settings), seed, awaited).await?;
    if found.created {
        info!(topic = name, "the topic of the fences was missing and has been created");
    } else if found.partitions != 1 {
        warn!(
            topic = name,
            partitions = found.partitions,
            "the topic of the fences has more than one partition: only the first is used"
        );
    }
    Ok(())
}

fn new_topic(config: &Config, partitions: i32, settings: &[(&str, &str)]) -> NewTopic {
    let in_sync = config.topic_replicas.saturating_sub(1).max(1).to_string();
    let all = [("min.insync.replicas", in_sync.as_str())].into_iter().chain(settings.iter().copied());
    NewTopic {
        partitions,
        replicas: i16::try_from(config.topic_replicas).unwrap_or(i16::MAX),
        settings: all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// Waits until a topic is there, and makes it where it is missing. `awaited` is told again and again while it is not: why, where
/// that is known.
async fn find_or_make(
    config: &Config,
    client_id: &str,
    topic: &str,
    new: NewTopic,
    seed: u64,
    awaited: impl Fn(Option<&str>),
) -> std::io::Result<TopicDescription> {
    let cluster = ClusterConfig {
        bootstrap: config.kafka.clone(),
        login: config.kafka_login.clone(),
        client_id: client_id.to_owned(),
        topic: topic.to_owned(),
        seed,
    };
    let mut driver = Driver::new(config.kafka_tls.as_ref(), |now| Admin::new(cluster, Some(new), now));
    let mut refusal = None;
    loop {
        awaited(refusal.as_deref());
        let found = driver.until(OBSERVE_INTERVAL, |admin, _| {
            refusal = admin.refusal();
            while let Some(event) = admin.poll_event() {
                match event {
                    AdminEvent::Found(topic) => return Some(topic),
                    AdminEvent::Missing => debug!(topic, "the topic is missing"),
                    AdminEvent::Refused { code, message } => {
                        warn!(topic, code, message, "the brokers refuse the topic; asked again");
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
