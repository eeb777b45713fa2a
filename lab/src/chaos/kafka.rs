//! Kafka away, moved, damaged or out of replicas: what was reserved is delivered, once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outcome::Outcome;
use super::trial::{PLENTY, PRODUCT, Trial, WAIT_MAX, proxied, two_edges, variable};
use crate::checker::Invariant;
use crate::control::Controlled;
use crate::crowd::{self, Order};
use crate::deployment::{DeploymentOptions, Servers};
use crate::error::{Doing, LabError};
use crate::proxy::{Then, Way, Wire};
use crate::servers::{KafkaOptions, PostgresOptions};
use crate::topic::TopicReader;

/// A deployment with a Kafka of its own.
fn own(kafka: KafkaOptions, options: DeploymentOptions) -> DeploymentOptions {
    let kafka = KafkaOptions { proxied: true, ..kafka };
    let postgres = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    DeploymentOptions { servers: Servers::Own { kafka, postgres }, ..options }
}

/// Three brokers, every topic on all of them, two in sync at least.
fn three_brokers() -> DeploymentOptions {
    // A broker that was killed is noticed sooner than by default.
    let properties =
        vec![variable("broker.session.timeout.ms", "3000"), variable("broker.heartbeat.interval.ms", "500")];
    let options = DeploymentOptions { worker_environment: vec![variable("FLUX_TOPIC_REPLICAS", "3")], ..two_edges() };
    own(KafkaOptions { brokers: 3, properties, heap_mib: 384, ..KafkaOptions::default() }, options)
}

/// Row 17.
pub(super) fn leader_moves() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(three_brokers(), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for broker in [1, 2] {
        links.edge_kafka[broker].trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToClient));
        links.edge_kafka[broker].wait_seen(WAIT_MAX)?;
        trial.deployment.kafka().broker(broker).kill();
        links.edge_kafka[broker].reset();
        links.pass();
        trial.mended()?;
        trial.deployment.kafka().broker(broker).up()?;
        // Its replicas must be in sync again before the next one goes.
        trial.more_accepted(1_000)?;
    }
    trial.conclude()
}

/// Row 18. What the edge wrote lies on the wire until after its request's time is over.
pub(super) fn append_arrives_later() -> Result<Outcome, LabError> {
    const BEYOND_THE_REQUEST: Duration = Duration::from_secs(5);
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for _ in 0..2 {
        links.edge_kafka[0].trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToServer));
        links.edge_kafka[0].wait_seen(WAIT_MAX)?;
        std::thread::sleep(BEYOND_THE_REQUEST);
        links.pass();
        trial.mended()?;
    }
    trial.conclude()
}

/// Row 19: the answer to a batch that was appended says NOT_ENOUGH_REPLICAS_AFTER_APPEND. A broker of version 4 whose
/// followers stand answers REQUEST_TIMED_OUT in its place ([`followers_stand`]), so the answer is rewritten on the wire.
pub(super) fn too_few_replicas_after_append() -> Result<Outcome, LabError> {
    const TIMES: usize = 10;
    const NOT_ENOUGH_REPLICAS_AFTER_APPEND: u8 = 20;
    let mut trial = Trial::start(DeploymentOptions { partitions: 1, ..two_edges() }, PLENTY)?;
    trial.load()?;
    let links = trial.links();
    // In a produce response: the topic's id, one partition, its number, and the lower byte of error code 0.
    let topic_id = TopicReader::new(&trial.deployment.sources().kafka, trial.deployment.topic()).topic_id()?;
    let acknowledged = [&topic_id.0[..], &[2, 0, 0, 0, 0, 0, 0]].concat();
    for _ in 0..TIMES {
        links.edge_kafka[0].trap(Way::ToClient, &acknowledged, Then::Damage(NOT_ENOUGH_REPLICAS_AFTER_APPEND));
        links.edge_kafka[0].wait_seen(WAIT_MAX)?;
        trial.more_accepted(20)?;
    }
    trial.note = "answers of real appends, rewritten on the wire".to_owned();
    trial.mended()?;
    trial.conclude()
}

/// Row 19: the followers stand still, so that an append waits for them in vain and the next one is refused. One
/// controller, so that the leader may shrink the set of replicas in sync meanwhile.
pub(super) fn followers_stand() -> Result<Outcome, LabError> {
    let properties = [
        ("replica.lag.time.max.ms", "1500"),
        ("broker.session.timeout.ms", "3000"),
        ("broker.heartbeat.interval.ms", "500"),
    ];
    let kafka = KafkaOptions {
        brokers: 3,
        controllers: 1,
        properties: properties.map(|(name, value)| variable(name, value)).to_vec(),
        heap_mib: 384,
        ..KafkaOptions::default()
    };
    let replicas = vec![variable("FLUX_TOPIC_REPLICAS", "3")];
    let mut trial =
        Trial::start(own(kafka, DeploymentOptions { worker_environment: replicas, ..two_edges() }), PLENTY)?;
    trial.load()?;
    for _ in 0..2 {
        for follower in [1, 2] {
            trial.deployment.kafka().broker(follower).pause()?;
        }
        let pending = trial.progress().pending;
        trial.wait_for("orders are answered 202", |trial| Ok(trial.progress().pending > pending + 50))?;
        std::thread::sleep(Duration::from_secs(3));
        for follower in [1, 2] {
            trial.deployment.kafka().broker(follower).resume();
        }
        trial.mended()?;
    }
    trial.conclude()
}

/// Row 20: batches whose acknowledgement is lost are sent again, and the broker has forgotten the producer.
pub(super) fn duplicates_and_unknown_producer() -> Result<Outcome, LabError> {
    const TIMES: usize = 10;
    let expiring = [("producer.id.expiration.ms", "1000"), ("producer.id.expiration.check.interval.ms", "200")];
    let properties = expiring.map(|(name, value)| variable(name, value)).to_vec();
    let kafka = KafkaOptions { properties, ..KafkaOptions::default() };
    let mut trial = Trial::start(own(kafka, two_edges()), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for _ in 0..TIMES {
        links.edge_kafka[0].trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToClient));
        links.edge_kafka[0].wait_seen(WAIT_MAX)?;
        std::thread::sleep(Duration::from_millis(50));
        links.edge_kafka[0].reset();
        links.pass();
        trial.more_accepted(20)?;
    }
    trial.calm()?;
    // Nothing is produced for so long that the broker forgets the producer.
    std::thread::sleep(Duration::from_secs(3));
    trial.load()?;
    trial.mended()?;
    trial.conclude()
}

/// Rows 20 and 21: a batch is damaged on its way while later ones of the same producer are on theirs, so the broker says
/// CORRUPT_MESSAGE to one and OUT_OF_ORDER_SEQUENCE to the others.
pub(super) fn batch_damaged() -> Result<Outcome, LabError> {
    const TIMES: usize = 10;
    let mut trial = Trial::start(DeploymentOptions { partitions: 1, ..two_edges() }, PLENTY)?;
    let links = trial.links();
    trial.load()?;
    // Slow answers, so that several batches are in flight.
    links.edge_kafka[0].set(Way::ToClient, Wire::Delay(Duration::from_millis(20)));
    for _ in 0..TIMES {
        links.edge_kafka[0].trap(Way::ToServer, &trial.mark(), Then::Damage(1));
        links.edge_kafka[0].wait_seen(WAIT_MAX)?;
        trial.more_accepted(20)?;
    }
    links.pass();
    trial.mended()?;
    trial.conclude()
}

/// Row 21: records that are larger than the topic takes, among others that are not.
pub(super) fn record_too_large() -> Result<Outcome, LabError> {
    /// What a batch of one record takes beside its value.
    const BATCH_BESIDE: usize = 61 + 12;
    const LARGE: usize = 10;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    let (topic, sources) = (trial.deployment.topic().to_owned(), trial.deployment.sources().clone());
    let values = TopicReader::new(&sources.kafka, &topic).read()?;
    // Of orders alone: the event that opens a sale is longer.
    let orders = values.iter().filter(|record| record.value.starts_with(b"{\"orderId\":"));
    let usual = orders.map(|record| record.value.len()).max().unwrap_or(0);
    // The crowd's names are a little longer than those seen so far.
    let limit = usual + BATCH_BESIDE + 24;
    trial.deployment.kafka().set_topic(&topic, "max.message.bytes", &limit.to_string())?;
    trial.load()?;
    let mut promised = 0;
    for index in 0..LARGE {
        let user = format!("{index}-{}", "long".repeat(14));
        let told = trial.ask(index % 2, &Order::new(PRODUCT, &user, &format!("large-{index}"), 1))?;
        trial.expect(
            Invariant::I2,
            !matches!(told, crowd::Outcome::Accepted { .. }),
            "a record that the topic does not take was acknowledged",
        );
        promised += usize::from(told.order_id().is_some());
    }
    trial.expect(Invariant::I2, promised > 0, "none of the large orders was reserved");
    trial.more_accepted(500)?;
    trial.deployment.kafka().set_topic(&topic, "max.message.bytes", "1048588")?;
    trial.note = format!("{promised} large records promised, delivered when the limit was raised");
    trial.mended()?;
    trial.conclude()
}

/// Row 22.
pub(super) fn all_brokers_down() -> Result<Outcome, LabError> {
    const DOWN: Duration = Duration::from_secs(60);
    let mut trial = Trial::start(three_brokers(), PLENTY)?;
    trial.load()?;
    trial.deployment.kafka().kill();
    std::thread::sleep(DOWN);
    trial.deployment.kafka().up()?;
    trial.mended()?;
    trial.conclude()
}

/// Row 30.
pub(super) fn partitions_added() -> Result<Outcome, LabError> {
    const PARTITIONS: i32 = 8;
    let mut trial = Trial::start(DeploymentOptions { workers: 2, ..two_edges() }, PLENTY)?;
    trial.load()?;
    let (topic, kafka) = (trial.deployment.topic().to_owned(), trial.deployment.sources().kafka.clone());
    trial.deployment.kafka().add_partitions(&topic, PARTITIONS)?;
    // Records that are written to a new partition by somebody else are found there too.
    let value = br#"{"not":"an order"}"#;
    for partition in 4..PARTITIONS {
        TopicReader::new(&kafka, &topic).append(partition, &[value])?;
    }
    trial.wait_for("the workers read the new partitions", |trial| {
        let rows = trial.deployment.ledger()?.query("SELECT DISTINCT partition FROM dead_letters", &[]);
        Ok(rows.doing(|| "reading dead letters".to_owned())?.len() == 4)
    })?;
    trial.mended()?;
    let records = TopicReader::new(&kafka, &topic).read()?;
    let mut by_partition: BTreeMap<i32, usize> = BTreeMap::new();
    records.iter().for_each(|record| *by_partition.entry(record.partition).or_default() += 1);
    trial.note = format!("records by partition: {:?}", by_partition.values().collect::<Vec<_>>());
    trial.conclude()
}

/// Row 31.
pub(super) fn committed_offsets_gone() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    trial.more_accepted(200)?;
    trial.deployment.workers[0].program.terminate(Duration::from_secs(30))?;
    let group = trial.deployment.group();
    trial.deployment.kafka().delete_group(&group)?;
    trial.more_accepted(200)?;
    trial.deployment.workers[0].program.start()?;
    trial.mended()?;
    trial.conclude()
}

/// Row 32. The log itself has lost acknowledged orders, so nothing can store them: the worker must say so and stay where
/// it is, until a person decides.
pub(super) fn log_truncated() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    trial.more_accepted(200)?;
    trial.deployment.workers[0].program.kill();
    trial.more_accepted(200)?;
    trial.calm()?;
    let places = |trial: &Trial| -> Result<Vec<(i32, i64)>, LabError> {
        let rows =
            trial.deployment.ledger()?.query("SELECT partition, next_offset FROM offsets ORDER BY partition", &[]);
        Ok(rows.doing(|| "reading offsets".to_owned())?.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    let before = places(&trial)?;
    let topic = trial.deployment.topic().to_owned();
    for partition in 0..4 {
        trial.deployment.kafka().delete_records(&topic, partition)?;
    }
    trial.deployment.workers[0].program.launch()?;
    trial.wait_for("the worker says that its place is gone", |trial| {
        Ok(trial.deployment.workers[0].program.output().contains("is not in the log"))
    })?;
    // It tries again every ten seconds, so that a mended log needs no restart: it must not move then either.
    std::thread::sleep(Duration::from_secs(11));
    let after = places(&trial)?;
    trial.expect(Invariant::I2, before == after, format!("skipped silently: {before:?} became {after:?}"));
    trial.note = "loud, no skip; what the log lost nobody can store".to_owned();
    trial.conclude_unsettled(&[Invariant::I2])
}
