//! `flux-lab demo`: a sale of 100 units under a crowd of 20,000, then one whose worker is killed in the middle, told as
//! a person would want to hear it. Every promise is checked from outside; one that did not hold is the exit code.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flux_protocol::order::Uuid;
use serde_json::json;

use super::telling::{Findings, rows, say, show_progress};
use crate::control::Controlled;
use crate::crowd::histogram::{Histogram, show_us};
use crate::crowd::{self, Arrival, History, Orders, Outcome, Repeat};
use crate::deployment::{Deployment, DeploymentOptions, Servers};
use crate::error::LabError;
use crate::servers::postgres;

const PRODUCT: &str = "iphone-15";
const UNITS: u64 = 100;
const RATE: u64 = 50;
const BUYERS: u64 = 20_000;
const CONNECTIONS: usize = 2_000;

const CHAOS_PRODUCT: &str = "console-7";
const CHAOS_UNITS: u64 = 6_000;
const CHAOS_BUYERS: u64 = 8_000;
const CHAOS_RATE: f64 = 1_000.0;

const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Starts everything and tells how long it took.
///
/// # Errors
/// Where something is missing or does not come up.
pub fn start() -> Result<Deployment, LabError> {
    say("Starting Redis, Kafka and PostgreSQL (isolated, on free ports), the worker and the edge …");
    let begun = Instant::now();
    let deployment = Deployment::start(DeploymentOptions { servers: Servers::own(), ..DeploymentOptions::default() })?;
    say(&format!("Ready after {:.1} s. Logs: {}", begun.elapsed().as_secs_f64(), deployment.run().path().display()));
    Ok(deployment)
}

/// Runs both sales in `deployment`.
///
/// # Errors
/// Where something could not be done at all; a promise that did not hold is in the findings.
pub fn run(deployment: &mut Deployment) -> Result<Findings, LabError> {
    let mut findings = Findings::default();
    let mut all = sale(deployment, &mut findings)?;
    let chaos = chaos(deployment, &mut findings)?;
    all.extend(&chaos);
    say("");
    say("Both sales, checked against Redis, the raw topic and the ledger");
    let verdict = deployment.check(&all)?;
    findings
        .note(verdict.holds(), "I1 to I4: nothing oversold, nothing lost, one order a key, every unit accounted for");
    if !verdict.holds() {
        say(&verdict.to_string());
    }
    let audit = deployment.audit(None)?;
    findings.note(audit.code == Some(0), "flux-worker audit");
    say(&indent(if audit.output.trim().is_empty() { &audit.errors } else { &audit.output }));
    Ok(findings)
}

/// Where a person can look, while it runs: the pages, then the servers behind them.
pub fn addresses(deployment: &Deployment) -> String {
    let mut lines = Vec::new();
    for edge in &deployment.edges {
        lines.push(format!("storefront      http://{}/", edge.public()));
        lines.push(format!("dashboard       http://{}/", edge.admin()));
        lines.push(format!("edge's metrics  http://{}/metrics", edge.admin()));
        lines.push(format!("waiting room    http://{}/", edge.waiting_room()));
    }
    lines.push(servers(deployment));
    lines.join("\n")
}

/// Where worker, Redis, Kafka and PostgreSQL are, and the logs.
pub fn servers(deployment: &Deployment) -> String {
    let mut lines = Vec::new();
    for worker in &deployment.workers {
        lines.push(format!("worker          http://{}/metrics", worker.admin()));
    }
    let sources = deployment.sources();
    lines.push(format!("Redis           {}", sources.redis));
    lines.push(format!("Kafka           {} (topic {})", sources.kafka, sources.topic));
    lines.push(format!("PostgreSQL      {}", sources.postgres));
    lines.push(format!("logs            {}", deployment.run().path().display()));
    lines.join("\n")
}

/// The sale: 100 units, 50 orders a second, 20,000 buyers who come back from the waiting room.
fn sale(deployment: &mut Deployment, findings: &mut Findings) -> Result<History, LabError> {
    say("");
    say(&format!("The sale: {UNITS} units of {PRODUCT}, {RATE} orders a second, {BUYERS} buyers at once"));
    deployment.init_with(json!({"productId": PRODUCT, "quantity": UNITS, "rate": RATE, "burst": RATE}))?;
    let watch = StoreWatch::start(&deployment.sources().postgres, PRODUCT)?;
    let repeat = Repeat { waiting_pause: Duration::from_secs(2), ..Repeat::UNTIL_SETTLED };
    let mut options = deployment.buyers(PRODUCT, BUYERS, CONNECTIONS);
    options.orders = Orders::unique(PRODUCT, "demo");
    options.repeat = repeat;
    let report = show_progress(crowd::start(options)?, BUYERS)?;
    let settled = deployment.settle(&report.history, SETTLE_MAX);
    let seen = watch.stop();

    say("");
    say("How the crowd was answered");
    say(report.table().trim_end());
    let lags = stored_lags(&report.history, &seen);
    if lags.count() > 0 {
        say(&format!("  {:<32}p50 {} · max {}", "from accepted to stored", us(&lags, 0.5), us(&lags, 1.0)));
    }
    say("");
    let rows = rows(deployment, PRODUCT)?;
    let accepted = report.history.accepted().len() as u64;
    findings.note(settled.is_ok(), format!("all that was promised is stored{}", reason(&settled)));
    findings.note(accepted == UNITS, format!("{accepted} orders of one unit accepted, {UNITS} were for sale"));
    findings.note(rows == (UNITS, UNITS), format!("{} rows in PostgreSQL, {} units", rows.0, rows.1));
    let told = report.buyers.get("sold out").copied().unwrap_or(0);
    findings.note(
        told + accepted == BUYERS,
        format!("{told} buyers were told that it is sold out, nobody is left waiting"),
    );
    Ok(report.history)
}

/// The chaos: the worker is killed in the middle of a sale.
fn chaos(deployment: &mut Deployment, findings: &mut Findings) -> Result<History, LabError> {
    say("");
    say(&format!(
        "The chaos: {CHAOS_UNITS} units of {CHAOS_PRODUCT}, {CHAOS_RATE} buyers a second, and the worker is killed"
    ));
    deployment.init(CHAOS_PRODUCT, CHAOS_UNITS)?;
    let mut options = deployment.buyers(CHAOS_PRODUCT, CHAOS_BUYERS, 200);
    options.orders = Orders::unique(CHAOS_PRODUCT, "chaos");
    options.arrival = Arrival::Rate { buyers: CHAOS_BUYERS, per_second: CHAOS_RATE };
    options.repeat = Repeat::UNTIL_SETTLED;
    let running = crowd::start(options)?;
    let begun = Instant::now();
    let tell = |deployment: &Deployment, what: &str| -> Result<(u64, u64), LabError> {
        let (accepted, stored) = (running.progress().accepted, rows(deployment, CHAOS_PRODUCT)?.0);
        say(&format!(
            "  {:>4.1} s  {accepted:>5} accepted  {stored:>5} stored   {what}",
            begun.elapsed().as_secs_f64()
        ));
        Ok((accepted, stored))
    };
    std::thread::sleep(Duration::from_millis(1_500));
    tell(deployment, "all is well")?;
    deployment.workers[0].program.kill();
    let (accepted_at_kill, _) = tell(deployment, "the worker was killed (SIGKILL)")?;
    std::thread::sleep(Duration::from_secs(1));
    tell(deployment, "orders go on being accepted, nobody stores them")?;
    std::thread::sleep(Duration::from_secs(1));
    let (accepted_before_restart, stored_before_restart) = tell(deployment, "still")?;
    deployment.workers[0].program.launch()?;
    tell(deployment, "the worker is started again")?;
    while !running.is_finished() {
        std::thread::sleep(Duration::from_secs(1));
        tell(deployment, "")?;
    }
    let report = running.join()?;
    let settled = deployment.settle(&report.history, SETTLE_MAX);
    let rows = rows(deployment, CHAOS_PRODUCT)?;
    say(&format!(
        "  {:>4.1} s  {:>5} accepted  {:>5} stored   settled",
        begun.elapsed().as_secs_f64(),
        report.outcome("accepted"),
        rows.0
    ));
    say("");
    say(report.table().trim_end());
    say("");
    let accepted = report.history.accepted().len() as u64;
    let meanwhile = accepted_before_restart.saturating_sub(accepted_at_kill);
    findings.note(meanwhile > 0, format!("{meanwhile} orders were accepted while no worker ran"));
    findings.note(
        settled.is_ok() && rows.0 == accepted,
        format!("{accepted} accepted, {} stored: the worker caught up from {stored_before_restart}, nothing lost, nothing twice{}", rows.0, reason(&settled)),
    );
    let doubts = report.history.count(|outcome| matches!(outcome, Outcome::Unknown(_)));
    findings.note(doubts == 0, format!("no buyer noticed ({doubts} unknown outcomes)"));
    findings.note(rows.1 == CHAOS_UNITS, format!("{} of {CHAOS_UNITS} units sold", rows.1));
    Ok(report.history)
}

fn reason<T>(result: &Result<T, LabError>) -> String {
    result.as_ref().err().map(|error| format!(" ({error})")).unwrap_or_default()
}

fn us(histogram: &Histogram, share: f64) -> String {
    show_us(histogram.percentile_us(share))
}

/// Watches the ledger from outside: when each order of a (small) sale was first to be seen there.
struct StoreWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<HashMap<Uuid, u64>>,
}

impl StoreWatch {
    /// Looked at so often: the times it finds are as coarse.
    const LOOK: Duration = Duration::from_millis(5);

    fn start(url: &str, product: &'static str) -> Result<StoreWatch, LabError> {
        let mut client = postgres::connect(url)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = HashMap::new();
            loop {
                // Read before the look, so that the last look comes after everything was settled.
                let last = told.load(Ordering::Relaxed);
                let rows = client.query("SELECT id::text FROM orders WHERE product_id = $1", &[&product]);
                let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
                // A look that fails finds nothing; the account says how many were seen.
                for row in rows.unwrap_or_default() {
                    if let Some(id) = Uuid::parse(row.get::<_, &str>(0).as_bytes()) {
                        seen.entry(id).or_insert(now_us);
                    }
                }
                if last {
                    return seen;
                }
                std::thread::sleep(Self::LOOK);
            }
        });
        Ok(StoreWatch { stop, thread })
    }

    fn stop(self) -> HashMap<Uuid, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// From the answer to the row; an order that was to be seen before its buyer had read the answer counts as 0.
fn stored_lags(history: &History, seen: &HashMap<Uuid, u64>) -> Histogram {
    let mut lags = Histogram::default();
    for exchange in &history.exchanges {
        if let Outcome::Accepted { order_id, replayed: false } = exchange.outcome
            && let Some(seen_us) = seen.get(&order_id)
        {
            lags.record(seen_us.saturating_sub(exchange.answered_us));
        }
    }
    lags
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
