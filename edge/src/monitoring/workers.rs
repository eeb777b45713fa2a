//! What the workers say of themselves, for the dashboard: `/readyz` and `/metrics` of each one that `--workers` names,
//! asked once a second by a thread of its own. So one that hangs holds up nothing, no core least of all.
//!
//! Only the dashboard reads it; no order is ever decided by it. What was not read, or is too old, is unknown, never zero.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use flux_net::Address;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use crate::limits::shell::{WORKER_ANSWER_BYTES_MAX, WORKER_INTERVAL, WORKER_SILENCE_MAX, WORKER_TIMEOUT};

/// The workers that are watched; copies share what was read.
#[derive(Clone, Debug, Default)]
pub struct Workers(Arc<[Watched]>);

#[derive(Debug)]
struct Watched {
    /// Host and port.
    address: String,
    /// The last attempt; `None` before the first has ended.
    last: Mutex<Option<Attempt>>,
}

#[derive(Debug)]
struct Attempt {
    at: Instant,
    /// Or why nothing was read.
    read: Result<Reading, String>,
}

/// What one worker said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    /// Why it is not ready; empty where it is.
    reasons: Vec<String>,
    /// Partitions that it holds.
    partitions: u64,
    /// Those of them whose lag it tells.
    lags: u64,
    /// Records in these that the ledger does not hold.
    lag_records: u64,
    accounts: BTreeMap<String, Account>,
}

/// A product's account as one worker tells it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    units: BTreeMap<String, u64>,
    breach: Option<bool>,
    /// How often the worker has compared Redis with the ledger since it started.
    comparisons: u64,
    /// When that number was last seen to change. The worker's own word would stand for ever once Redis is out of its reach.
    compared: Option<Instant>,
}

impl Workers {
    /// Watches the workers at these hosts and ports for as long as the process lives.
    ///
    /// # Errors
    /// A thread is not to be had.
    pub fn watch(addresses: &[(String, u16)]) -> io::Result<Workers> {
        let watched = |(host, port): &(String, u16)| {
            let address = Address::Tcp { host: host.as_str().into(), port: *port };
            Watched { address: address.to_string(), last: Mutex::default() }
        };
        let workers = Workers(addresses.iter().map(watched).collect());
        for index in 0..workers.0.len() {
            let workers = workers.clone();
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                loop {
                    workers.0[index].look();
                    thread::sleep(WORKER_INTERVAL);
                }
            })?;
        }
        Ok(workers)
    }

    /// The workers' states, for the dashboard.
    pub(crate) fn states(&self, now: Instant) -> Value {
        self.0.iter().map(|worker| worker.state(now)).collect()
    }

    /// Records that the ledger does not hold; `None` where no worker is watched, or one of them does not tell.
    pub(crate) fn lag_records(&self, now: Instant) -> Option<u64> {
        let lag_of = |worker: &Watched| {
            let last = worker.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().and_then(|last| last.fresh(now)).map(|read| read.lag_records)
        };
        if self.0.is_empty() { None } else { self.0.iter().map(lag_of).sum() }
    }

    /// A product's account: `conservation` is `breach` where a worker says so, `holds` where one has compared it in the last
    /// seconds and found it so, otherwise `unknown`. `units` are those of the worker that compared last.
    pub(crate) fn account(&self, product: &str, now: Instant) -> Value {
        let mut newest: Option<Account> = None;
        let mut is_breach = false;
        for worker in &*self.0 {
            let last = worker.last.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(read) = last.as_ref().and_then(|last| last.fresh(now)) else { continue };
            let Some(account) = read.accounts.get(product) else { continue };
            is_breach |= account.breach == Some(true);
            if !read.ledger_is_away() && newest.as_ref().is_none_or(|newest| newest.compared < account.compared) {
                newest = Some(account.clone());
            }
        }
        let is_compared = newest.as_ref().is_some_and(|account| account.is_compared(now));
        let conservation = match &newest {
            _ if is_breach => "breach",
            Some(account) if is_compared && account.breach == Some(false) => "holds",
            _ => "unknown",
        };
        let units = newest.map(|mut account| {
            // These two are what Redis held when it was compared; the others are the ledger's.
            account.units.retain(|state, _| is_compared || !matches!(state.as_str(), "available" | "reserved"));
            account.units
        });
        json!({ "conservation": conservation, "units": units })
    }
}

impl Watched {
    fn look(&self) {
        let read = self.ask();
        let at = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.take().and_then(|attempt| attempt.read.ok()).unwrap_or_default();
        *last = Some(Attempt { at, read: read.map(|reading| reading.following(&before, at)) });
    }

    /// Both questions go over one connection, which is then closed: a worker that has come back since is met anew.
    fn ask(&self) -> Result<Reading, String> {
        let agent = agent();
        let (_, readiness) = self.get(&agent, "/readyz")?;
        match self.get(&agent, "/metrics")? {
            (200, metrics) => {
                Reading::parse(&readiness, &metrics).ok_or_else(|| "not a flux-worker's answer".to_owned())
            }
            (status, _) => Err(format!("/metrics answers {status}")),
        }
    }

    /// Status and body.
    fn get(&self, agent: &Agent, path: &str) -> Result<(u16, String), String> {
        let url = format!("http://{}{path}", self.address);
        let exchange = agent.get(url).call().and_then(|answer| {
            let status = answer.status().as_u16();
            let mut body = answer.into_body();
            Ok((status, body.with_config().limit(WORKER_ANSWER_BYTES_MAX).read_to_string()?))
        });
        exchange.map_err(|error| error.to_string())
    }

    fn state(&self, now: Instant) -> Value {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let read = last.as_ref().and_then(|last| last.fresh(now));
        let trouble = match &*last {
            None => Some("not asked yet"),
            Some(Attempt { read: Err(why), .. }) => Some(why.as_str()),
            Some(_) if read.is_none() => Some("no answer any more"),
            Some(_) => None,
        };
        json!({
            "address": self.address,
            "trouble": trouble,
            "ready": read.map(|read| read.reasons.is_empty()),
            "reasons": read.map_or(&[][..], |read| &read.reasons),
            "partitions": read.map(|read| read.partitions),
            // Where some are not known, the sum of the others says nothing.
            "lagRecords": read.filter(|read| read.lags >= read.partitions).map(|read| read.lag_records),
        })
    }
}

impl Account {
    fn is_compared(&self, now: Instant) -> bool {
        self.compared.is_some_and(|at| now.saturating_duration_since(at) <= WORKER_SILENCE_MAX)
    }
}

impl Attempt {
    /// What was read, unless it is too old to be believed.
    fn fresh(&self, now: Instant) -> Option<&Reading> {
        self.read.as_ref().ok().filter(|_| now.saturating_duration_since(self.at) <= WORKER_SILENCE_MAX)
    }
}

#[derive(Deserialize)]
struct Readiness {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Reading {
    /// `None` where it is not what a worker answers, or was cut off.
    fn parse(readiness: &str, metrics: &str) -> Option<Reading> {
        let Readiness { status, reasons } = serde_json::from_str(readiness).ok()?;
        if (status == "ready") != reasons.is_empty() || !metrics.ends_with("# EOF\n") {
            return None;
        }
        let mut reading = Reading { reasons, ..Reading::default() };
        let mut is_worker = false;
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "flux_worker_partitions" => {
                    is_worker = true;
                    reading.partitions = value.parse().ok()?;
                }
                "flux_worker_lag_records" => {
                    reading.lags += 1;
                    reading.lag_records += value.parse::<u64>().ok()?;
                }
                "flux_units" => {
                    let state = label(labels, "state")?.to_owned();
                    reading.account(labels)?.units.insert(state, value.parse().ok()?);
                }
                "flux_conservation_breach" => reading.account(labels)?.breach = Some(value != "0"),
                "flux_conservation_comparisons_total" => reading.account(labels)?.comparisons = value.parse().ok()?,
                _ => {}
            }
        }
        is_worker.then_some(reading)
    }

    /// Then all that it says of accounts is old.
    fn ledger_is_away(&self) -> bool {
        self.reasons.iter().any(|reason| reason.starts_with("postgres"))
    }

    fn account(&mut self, labels: &str) -> Option<&mut Account> {
        Some(self.accounts.entry(label(labels, "product")?.to_owned()).or_default())
    }

    /// With the times at which its accounts were compared, for which the reading before it is needed.
    fn following(mut self, before: &Reading, at: Instant) -> Reading {
        for (product, account) in &mut self.accounts {
            account.compared = match before.accounts.get(product) {
                Some(before) if before.comparisons == account.comparisons => before.compared,
                Some(_) => Some(at),
                None => None,
            };
        }
        self
    }
}

/// Asks workers themselves, whatever proxy the environment names, and takes any status for an answer. Only the look-up of a
/// name has no bound of ours: it would cost a thread each time.
fn agent() -> Agent {
    let step_max = Some(WORKER_TIMEOUT);
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_connect(step_max)
        .timeout_send_request(step_max)
        .timeout_recv_response(step_max)
        .timeout_recv_body(step_max);
    config.build().new_agent()
}

/// A label's value. Ours hold identifiers and names of states, in which nothing is ever escaped.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(name)?;
    rest.strip_prefix("=\"")?.split('"').next()
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
