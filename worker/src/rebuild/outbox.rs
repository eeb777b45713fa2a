//! Publishes what is left in a fenced outbox, under the ids it was reserved with, and removes it.
//!
//! An entry goes only when every order in it is acknowledged. What was in the log before is there twice then; the ledger
//! drops the second.

use std::time::Duration;

use flux_protocol::kafka::denial::is_denial;
use flux_protocol::kafka::producer::{AppendError, Producer, ProducerConfig, Settled};
use flux_protocol::redis_keys;
use flux_protocol::resp::command;

use crate::config::Config;
use crate::kafka_driver::Driver;
use crate::oneshot::{Ended, PATIENCE};
use crate::outbox::OutboxEntry;
use crate::redis::{Redis, array};

/// Entries in hand at once; of at most 64 orders each.
const PAGE_ENTRIES: usize = 200;
/// Records the producer holds: one page.
const RECORDS_MAX: usize = PAGE_ENTRIES * 64;

/// The number of orders published.
pub(super) async fn publish(config: &Config, redis: &mut Redis, product: &str, seed: u64) -> Result<u64, Ended> {
    let outbox = redis_keys::of(product, "outbox");
    let mut driver = None;
    let mut published = 0;
    loop {
        let count = PAGE_ENTRIES.to_string();
        let page = redis.ask(&[b"XRANGE", outbox.as_bytes(), b"-", b"+", b"COUNT", count.as_bytes()]).await?;
        let entries: Result<Vec<OutboxEntry>, _> = array(page)?.into_iter().map(OutboxEntry::parse).collect();
        let entries = entries.map_err(|foreign| {
            Ended::Refused(format!("{outbox}: {foreign}; look at it, remove it with XDEL, and run again"))
        })?;
        if entries.is_empty() {
            return Ok(published);
        }
        let driver = driver.get_or_insert_with(|| {
            Driver::new(config.kafka_tls.as_ref(), |now| Producer::new(producer_config(config, seed), now))
        });
        published += page_published(driver, product, &entries).await?;
        let mut wire = Vec::new();
        let mut removal: Vec<&[u8]> = vec![b"XDEL", outbox.as_bytes()];
        removal.extend(entries.iter().map(|entry| entry.id.as_bytes()));
        command(&mut wire, &removal);
        redis.ask_many(wire, 1).await?;
    }
}

fn producer_config(config: &Config, seed: u64) -> ProducerConfig {
    ProducerConfig {
        topic: config.topic.clone(),
        bootstrap: config.kafka.clone(),
        login: config.kafka_login.clone(),
        client_id: "flux-worker-rebuild".to_owned(),
        linger: Duration::from_millis(1),
        batch_bytes_max: 256 << 10,
        in_flight_max: 1,
        request_timeout: Duration::from_secs(10),
        records_max: RECORDS_MAX,
        record_age_max: PATIENCE,
        seed,
    }
}

/// Publishes every order of these entries; their number.
async fn page_published(
    driver: &mut Driver<Producer<(usize, usize)>>,
    product: &str,
    entries: &[OutboxEntry],
) -> Result<u64, Ended> {
    let all = entries.iter().enumerate().flat_map(|(at, entry)| (0..entry.orders.len()).map(move |order| (at, order)));
    let mut to_append: Vec<(usize, usize)> = all.collect();
    let (mut waiting, mut settled) = (to_append.len(), Vec::new());
    let total = waiting as u64;
    let mut refusal = None;
    let outcome = driver.until(2 * PATIENCE, |producer, now| {
        refusal = producer.refusal();
        let partitions = producer.partition_count()?;
        while let Some(token) = to_append.pop() {
            let (entry, order) = (&entries[token.0], &entries[token.0].orders[token.1]);
            // Where the topic has fewer partitions than it had, another will do: the ledger goes by the ids.
            let partition = entry.head.partition % i32::try_from(partitions).unwrap_or(i32::MAX);
            let timestamp = i64::try_from(order.timestamp_ms).unwrap_or(i64::MAX);
            let record = entry.record(product, order);
            match producer.append(now, partition, timestamp, token, |out| record.write_json(out)) {
                Ok(()) => {}
                Err(AppendError::Full | AppendError::UnknownPartition) => {
                    to_append.push(token);
                    break;
                }
                Err(error @ AppendError::ValueTooLong(_)) => {
                    return Some(Err(refused(entries, token, &error.to_string())));
                }
            }
        }
        while let Some(outcome) = producer.poll_settled(&mut settled) {
            match outcome {
                Settled::Acknowledged => waiting -= settled.len(),
                // Unknown: once more, under the same ids.
                Settled::Abandoned => to_append.append(&mut settled),
                Settled::Refused(code) if is_denial(code) => {
                    let why = producer.refusal().unwrap_or_else(|| format!("error {code}"));
                    return Some(Err(Ended::NotAsked(format!("Kafka takes no order of the outbox: {why}"))));
                }
                Settled::Refused(code) => {
                    let token = settled.first().copied().unwrap_or_default();
                    return Some(Err(refused(entries, token, &format!("error {code}"))));
                }
            }
        }
        (waiting == 0).then_some(Ok(()))
    });
    match outcome.await? {
        Some(Ok(())) => Ok(total),
        Some(Err(ended)) => Err(ended),
        None => Err(Ended::OutOfReach(match refusal {
            Some(why) => format!("Kafka has not acknowledged the outbox's orders: {why}"),
            None => "Kafka has not acknowledged the outbox's orders".to_owned(),
        })),
    }
}

fn refused(entries: &[OutboxEntry], (entry, order): (usize, usize), why: &str) -> Ended {
    let entry = &entries[entry];
    Ended::Refused(format!(
        "Kafka refuses order {} of outbox entry {}: {why}",
        entry.orders.get(order).map(|order| order.order_id.to_string()).unwrap_or_default(),
        entry.id
    ))
}
