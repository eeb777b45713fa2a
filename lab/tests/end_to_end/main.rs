//! Whole sales on real servers: real edges and workers, real Redis, Kafka and PostgreSQL, a crowd with a history, and
//! the checker's word on that history. Every wait is for a condition; no test asserts a time.

mod dashboard;
mod edges;
mod fair;
mod kafka;
mod options;
mod outbox;
mod redis;
mod sale;
mod workers;

use std::time::{Duration, Instant};

use flux_lab::crowd::{CrowdOptions, History, Outcome, Refusal, Report};
use flux_lab::world::{World, WorldOptions};

/// Long enough for the relay's horizon (7 s) and a claim (15 s) on a busy machine.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// A world of one edge and one worker, on servers that other tests use too.
fn world() -> World {
    World::start(WorldOptions::default()).expect("servers, an edge and a worker")
}

fn run(crowd: CrowdOptions) -> Report {
    flux_lab::crowd::run(crowd).expect("a crowd runs")
}

/// Waits until all that was promised is stored.
#[track_caller]
fn settle(world: &World, history: &History) {
    if let Err(error) = world.settle(history, SETTLE_MAX) {
        panic!("{error}\n{}", logs(world));
    }
}

/// Waits until all that was promised is stored, then checks I1 to I4.
#[track_caller]
fn settle_and_check(world: &World, history: &History) {
    settle(world, history);
    world.check(history).expect("the servers can be read").assert_holds();
}

fn logs(world: &World) -> String {
    let edges = world.edges.iter().map(|edge| edge.program.output());
    let workers = world.workers.iter().map(|worker| worker.program.output());
    edges.chain(workers).map(|text| text.lines().rev().take(30).collect::<Vec<_>>().join("\n")).collect()
}

/// Waits for a condition.
#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SETTLE_MAX;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn units_stored(world: &World, product: &str) -> i64 {
    let mut ledger = world.ledger().expect("PostgreSQL is there");
    let row =
        ledger.query_one("SELECT coalesce(sum(quantity), 0)::bigint FROM orders WHERE product_id = $1", &[&product]);
    row.expect("the ledger answers").get(0)
}

fn accepted(history: &History) -> usize {
    history.count(|outcome| matches!(outcome, Outcome::Accepted { replayed: false, .. }))
}

fn sold_out(history: &History) -> usize {
    history.count(|outcome| *outcome == Outcome::No(Refusal::SoldOut))
}
