//! Workers killed in the middle of their work, paused into zombies, fed with poison: every order is stored, once.

use std::time::Duration;

use super::outcome::Outcome;
use super::trial::{PLENTY, PRODUCT, Trial, WAIT_MAX, proxied};
use crate::checker::Invariant;
use crate::control::Controlled;
use crate::deployment::DeploymentOptions;
use crate::error::{Doing, LabError};
use crate::http_client;
use crate::proxy::{Then, Way};
use crate::topic::TopicReader;

/// The server's word for a transaction that is committed: a CommandComplete.
const COMMITTED: &[u8] = b"COMMIT\0";
/// How often the worker is killed in one scenario.
const KILLS: usize = 3;

/// Row 23.
pub(super) fn killed_in_mid_copy() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for _ in 0..KILLS {
        // Rows of a COPY hold the users.
        links.worker_postgres.trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToServer));
        links.worker_postgres.wait_seen(WAIT_MAX)?;
        kill_and_start(&mut trial)?;
    }
    trial.mended()?;
    trial.conclude()
}

fn kill_and_start(trial: &mut Trial) -> Result<(), LabError> {
    trial.deployment.workers[0].program.kill();
    let links = trial.links();
    links.worker_postgres.reset();
    links.worker_kafka.iter().for_each(|proxy| proxy.reset());
    links.pass();
    trial.deployment.workers[0].program.start()
}

/// Row 24.
pub(super) fn killed_before_offset_commit() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for _ in 0..KILLS {
        links.worker_postgres.trap(Way::ToClient, COMMITTED, Then::Hold(Way::ToClient));
        links.worker_postgres.wait_seen(WAIT_MAX)?;
        // The ledger has committed. The worker hears of it, and of what it tells the group then nothing arrives.
        links.worker_kafka[0].trap(Way::ToServer, b"workers-of-", Then::Hold(Way::ToServer));
        links.worker_postgres.pass();
        links.worker_kafka[0].wait_seen(WAIT_MAX)?;
        kill_and_start(&mut trial)?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 25.
pub(super) fn reply_to_commit_lost() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let links = trial.links();
    for _ in 0..2 * KILLS {
        links.worker_postgres.trap(Way::ToClient, COMMITTED, Then::Hold(Way::ToClient));
        links.worker_postgres.wait_seen(WAIT_MAX)?;
        links.worker_postgres.reset();
        links.worker_postgres.pass();
        let stored = trial.stored()?;
        trial.wait_for("orders are stored again", |trial| Ok(trial.stored()? > stored))?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 26: a worker joins while batches are under way; one is stopped in the middle of a COPY for longer than its session
/// lasts, and wakes when another has its partitions.
pub(super) fn rebalanced_and_zombie() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(DeploymentOptions { workers: 2, ..proxied() }, PLENTY)?;
    trial.wait_for("each worker has half of the partitions", |trial| Ok(partitions(trial, 0) == 2.0))?;
    trial.load()?;
    let third = trial.deployment.add_worker()?;
    trial.wait_for("the third worker has its share", |trial| Ok(partitions(trial, third) > 0.0))?;
    trial.more_accepted(100)?;
    end_third(&mut trial, third)?;
    let links = trial.links();
    links.worker_postgres.trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToServer));
    links.worker_postgres.wait_seen(WAIT_MAX)?;
    trial.deployment.workers[0].program.pause()?;
    links.worker_postgres.pass();
    trial.wait_for("the other worker has all partitions", |trial| Ok(partitions(trial, 1) == 4.0))?;
    trial.more_accepted(100)?;
    trial.deployment.workers[0].program.resume();
    trial.wait_for("the zombie has found its place again", |trial| Ok(partitions(trial, 0) == 2.0))?;
    trial.mended()?;
    trial.conclude()
}

fn end_third(trial: &mut Trial, third: usize) -> Result<(), LabError> {
    let status = trial.deployment.workers[third].program.terminate(Duration::from_secs(30))?;
    trial.expect(Invariant::I2, status.code() == Some(0), format!("a worker ended with {status} after SIGTERM"));
    trial.deployment.workers.remove(third);
    trial.wait_for("two workers share again", |trial| Ok(partitions(trial, 0) == 2.0 && partitions(trial, 1) == 2.0))
}

/// How many partitions a worker says that it holds; 0 where it says nothing.
fn partitions(trial: &Trial, worker: usize) -> f64 {
    let admin = trial.deployment.workers[worker].admin();
    let answer = http_client::request(admin, "GET", "/metrics", &[], b"", Duration::from_secs(2));
    let text = answer.map(|answer| answer.text()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("flux_worker_partitions "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Row 27.
pub(super) fn poison() -> Result<Outcome, LabError> {
    const ROUNDS: usize = 5;
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let topic = TopicReader::new(&trial.deployment.sources().kafka, trial.deployment.topic());
    let id = "0190163d-8694-8f4e-9f4a-1c2d3e4f5a6b";
    let nul = format!(
        r#"{{"orderId":"{id}","reservationId":"{id}","productId":"{PRODUCT}","userId":"nul\u0000","quantity":1,"saleId":1,"saleTotal":1,"generation":1,"timestamp":1}}"#
    );
    let garbage: [&[u8]; 4] = [b"\xff\xfe garbage", nul.as_bytes(), br#"{"sku":"A-1","event":"viewed"}"#, b""];
    for _ in 0..ROUNDS {
        for partition in 0..4 {
            topic.append(partition, &garbage)?;
        }
        trial.more_accepted(50)?;
    }
    let expected = (ROUNDS * 4 * garbage.len()) as i64;
    trial.wait_for("every poisoned record is a dead letter", |trial| {
        let row = trial.deployment.ledger()?.query_one("SELECT count(*) FROM dead_letters", &[]);
        Ok(row.doing(|| "counting dead letters".to_owned())?.get::<_, i64>(0) == expected)
    })?;
    trial.note = format!("{expected} dead letters");
    trial.mended()?;
    trial.conclude()
}
