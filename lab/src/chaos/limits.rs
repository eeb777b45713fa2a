//! The machine against us: clocks an hour off, hardly any descriptors, a network that says nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::clock::FalseClock;
use super::outcome::Outcome;
use super::partition::Partition;
use super::trial::{PLENTY, PRODUCT, Trial, proxied, two_edges};
use crate::control::Controlled;
use crate::crowd::Arrival;
use crate::deployment::DeploymentOptions;
use crate::error::{Doing, LabError};
use crate::proxy::{Proxy, Wire};
use crate::run_dir::RunDir;
use crate::servers::RedisOptions;

/// How long nothing passes: beyond every deadline by which a silent peer is given up.
const SILENCE: Duration = Duration::from_secs(12);
/// Orders a second where the clock of the bucket matters.
const RATE: u64 = 200;
const HOUR_S: i64 = 3_600;

fn limited_sale(trial: &mut Trial) -> Result<(), LabError> {
    let sale = json!({"productId": PRODUCT, "quantity": PLENTY, "rate": RATE, "burst": RATE, "force": true});
    trial.deployment.init_with(sale)
}

/// Row 33: one edge an hour ahead, the other an hour behind.
pub(super) fn clocks_of_edges() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    let run = trial.deployment.run().clone();
    for (edge, seconds) in [(0, HOUR_S), (1, -HOUR_S)] {
        let clock = FalseClock::new(&run, &format!("clock-{edge}"))?;
        clock.set(seconds)?;
        let program = &mut trial.deployment.edges[edge].program;
        clock.environment().iter().for_each(|(name, value)| program.set(name, value));
        program.kill();
        program.start()?;
    }
    limited_sale(&mut trial)?;
    trial.load()?;
    trial.more_accepted(1_000)?;
    trial.mended()?;
    let date = |edge: usize| -> Result<String, LabError> {
        let address = trial.deployment.edges[edge].public();
        let path = format!("/stock/{PRODUCT}");
        let answer = crate::http_client::request(address, "GET", &path, &[], b"", Duration::from_secs(5))?;
        Ok(answer.header("date").unwrap_or_default().to_owned())
    };
    let time = |date: String| date.split_ascii_whitespace().nth(4).unwrap_or("?").to_owned();
    let (ahead, behind) = (time(date(0)?), time(date(1)?));
    if ahead[..2.min(ahead.len())] == behind[..2.min(behind.len())] {
        return Err(LabError::failed(format!("the false clocks had no effect: {ahead} and {behind}")));
    }
    trial.note = format!("the edges' clocks: {ahead} and {behind}");
    trial.conclude()
}

/// Row 33: Redis' clock jumps ahead by an hour, back by two, and to what is right, under load.
pub(super) fn clock_of_redis() -> Result<Outcome, LabError> {
    let run = RunDir::new()?;
    let false_clock = FalseClock::new(&run, "clock")?;
    let redis = RedisOptions { environment: false_clock.environment(), ..RedisOptions::default() };
    let mut trial = Trial::start(DeploymentOptions { redis, ..two_edges() }, PLENTY)?;
    limited_sale(&mut trial)?;
    trial.load()?;
    let clock = |trial: &Trial| -> Result<i64, LabError> {
        let (seconds, _): (i64, i64) = redis::cmd("TIME")
            .query(&mut trial.deployment.redis.connection()?)
            .doing(|| "asking Redis' time".to_owned())?;
        Ok(seconds)
    };
    let mut seen = Vec::new();
    for seconds in [HOUR_S, -HOUR_S, 0] {
        let before = clock(&trial)?;
        false_clock.set(seconds)?;
        trial.wait_for("Redis' clock has jumped", |trial| Ok((clock(trial)? - before).abs() > 1_800))?;
        seen.push(clock(&trial)? - before);
        trial.mended()?;
        trial.more_accepted(2 * RATE)?;
    }
    trial.note = format!("jumps of {seen:?} s");
    trial.conclude()
}

/// Row 34.
pub(super) fn few_descriptors() -> Result<Outcome, LabError> {
    const WRAPPER: [&str; 2] = ["prlimit", "--nofile=64"];
    const CROWD: usize = 300;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    let edges = trial.deployment.edges.iter_mut().map(|edge| &mut edge.program);
    for program in edges.chain(trial.deployment.workers.iter_mut().map(|worker| &mut worker.program)) {
        program.kill();
        program.run_under(&WRAPPER);
        program.start()?;
    }
    let mut options = trial.crowd_options();
    options.connections = CROWD;
    // Every connection asks, so most of them for an edge that has no descriptor left; they give up early.
    options.arrival = Arrival::Closed(Duration::from_secs(8));
    options.timeout = Duration::from_secs(5);
    trial.load_with(options)?;
    trial.more_accepted(1_000)?;
    // The crowd goes, and with it what was too much.
    trial.calm()?;
    trial.load()?;
    trial.mended()?;
    trial.conclude()
}

/// Row 35, edge and Redis.
pub(super) fn silent_redis() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let proxies = vec![trial.links().edge_redis];
    silence(&mut trial, &proxies, |trial| {
        trial.distrust();
        std::thread::sleep(SILENCE);
        trial.trust();
        Ok(())
    })?;
    trial.conclude()
}

/// Row 35, edge and Kafka.
pub(super) fn silent_kafka() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let proxies = trial.links().edge_kafka;
    silence(&mut trial, &proxies, |trial| {
        let pending = trial.progress().pending;
        trial.wait_for("orders are answered 202", |trial| Ok(trial.progress().pending > pending))?;
        std::thread::sleep(SILENCE);
        Ok(())
    })?;
    trial.conclude()
}

/// Row 35, worker and PostgreSQL.
pub(super) fn silent_postgres() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let proxies = vec![trial.links().worker_postgres];
    silence(&mut trial, &proxies, |_| {
        std::thread::sleep(SILENCE);
        Ok(())
    })?;
    let stored = trial.stored()?;
    trial.wait_for("orders are stored again", |trial| Ok(trial.stored()? > stored))?;
    trial.conclude()
}

/// Twice nothing passes: first the connections lose what was sent and never hear of it, then (where this process has a
/// network of its own) packets vanish and come again later.
fn silence(
    trial: &mut Trial,
    proxies: &[Arc<Proxy>],
    meanwhile: impl Fn(&mut Trial) -> Result<(), LabError>,
) -> Result<(), LabError> {
    proxies.iter().for_each(|proxy| proxy.set_both(Wire::Swallow));
    meanwhile(trial)?;
    proxies.iter().for_each(|proxy| proxy.pass());
    trial.mended()?;
    let all: Vec<&Proxy> = proxies.iter().map(Arc::as_ref).collect();
    match Partition::before(&all)? {
        None => "half-open by proxy only: no network namespace".clone_into(&mut trial.note),
        Some(partition) => {
            meanwhile(trial)?;
            drop(partition);
            trial.mended()?;
            "half-open, then dropped packets".clone_into(&mut trial.note);
        }
    }
    Ok(())
}
