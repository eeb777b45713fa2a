//! Whole sales on real servers: real edges and workers, real Redis, Kafka and PostgreSQL, a crowd with a history, and
//! the checker's word on that history. Every wait is for a condition; no test asserts a time.

mod check;
mod dashboard;
mod edges;
mod fair;
mod fences;
mod front;
mod identity;
mod kafka;
mod links;
mod logins;
mod options;
mod outbox;
mod redis;
mod sale;
mod tls;
mod topics;
mod workers;

use std::time::{Duration, Instant};

use flux_lab::crowd::{Arrival, CrowdOptions, History, Outcome, Refusal, Repeat, Report, Running};
use flux_lab::deployment::{Deployment, DeploymentOptions};

/// Long enough for the relay's horizon (7 s) and a claim (15 s) on a busy machine.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// A deployment of one edge and one worker, on servers that other tests use too.
fn deployment() -> Deployment {
    Deployment::start(DeploymentOptions::default()).expect("servers, an edge and a worker")
}

fn run(crowd: CrowdOptions) -> Report {
    flux_lab::crowd::run(crowd).expect("a crowd runs")
}

/// Waits until all that was promised is stored.
#[track_caller]
fn settle(deployment: &Deployment, history: &History) {
    if let Err(error) = deployment.settle(history, SETTLE_MAX) {
        panic!("{error}\n{}", logs(deployment));
    }
}

/// Waits until all that was promised is stored, then checks I1 to I4.
#[track_caller]
fn settle_and_check(deployment: &Deployment, history: &History) {
    settle(deployment, history);
    deployment.check(history).expect("the servers can be read").assert_holds();
}

fn logs(deployment: &Deployment) -> String {
    let edges = deployment.edges.iter().map(|edge| edge.program.output());
    let workers = deployment.workers.iter().map(|worker| worker.program.output());
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

fn units_stored(deployment: &Deployment, product: &str) -> i64 {
    let mut ledger = deployment.ledger().expect("PostgreSQL is there");
    let row =
        ledger.query_one("SELECT coalesce(sum(quantity), 0)::bigint FROM orders WHERE product_id = $1", &[&product]);
    row.expect("the ledger answers").get(0)
}

/// Buyers of one unit each who repeat until they are settled: how they end is what a test counts. On a busy machine the first
/// answer may be a 202 or a 503, and neither is a fault.
fn buyers(deployment: &mut Deployment, product: &str, buyers: u64, connections: usize) -> CrowdOptions {
    CrowdOptions { repeat: Repeat::UNTIL_SETTLED, ..deployment.buyers(product, buyers, connections) }
}

/// A crowd that comes, over so many connections, until the test stops it: on a slow machine what is waited for takes longer.
fn endless(deployment: &mut Deployment, product: &str, connections: usize) -> CrowdOptions {
    let mut crowd = deployment.buyers(product, 0, connections);
    crowd.arrival = Arrival::Closed(2 * SETTLE_MAX);
    crowd.length_max = 4 * SETTLE_MAX;
    crowd
}

/// No new buyers; those under way are answered.
fn stop(crowd: Running) -> Report {
    crowd.stop();
    crowd.join().expect("a crowd runs")
}

/// Orders that got a 200, at once or at a repeat.
fn accepted(history: &History) -> usize {
    history.accepted().len()
}

/// Orders that were told that nothing is left.
fn sold_out(history: &History) -> usize {
    let told = history.exchanges.iter().filter(|exchange| exchange.outcome == Outcome::No(Refusal::SoldOut));
    told.map(|exchange| &*exchange.order.key).collect::<std::collections::BTreeSet<_>>().len()
}
