//! What a crowd met: counts and latencies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;
use super::history::History;
use super::outcome::{Outcome, Refusal};

/// What a crowd met.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests by outcome ([`Outcome::name`]).
    pub outcomes: BTreeMap<String, u64>,
    /// Buyers by the outcome of their last request.
    pub buyers: BTreeMap<String, u64>,
    /// From sending a request to its answer; requests without an answer are not in it.
    pub latency: Histogram,
    /// The same, of the requests that were accepted (200, no replay).
    pub latency_accepted: Histogram,
    /// From when the request was due (at a constant rate: its place in the schedule) to its answer: what a buyer waits
    /// when the crowd itself could not keep up.
    pub since_due: Histogram,
    /// How long it took in all.
    pub duration: Duration,
    /// Connections that had to be opened again.
    pub reconnects: u64,
    /// Every exchange, where it was asked for.
    pub history: History,
}

impl Report {
    /// Requests sent.
    pub fn requests(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Requests by outcome; 0 where there were none.
    pub fn outcome(&self, name: &str) -> u64 {
        self.outcomes.get(name).copied().unwrap_or(0)
    }

    /// Adds all that `other` met; the duration is the longer one.
    pub fn merge(&mut self, other: Report) {
        other.statuses.iter().for_each(|(status, count)| *self.statuses.entry(*status).or_default() += count);
        for (mine, theirs) in [(&mut self.outcomes, other.outcomes), (&mut self.buyers, other.buyers)] {
            theirs.into_iter().for_each(|(name, count)| *mine.entry(name).or_default() += count);
        }
        self.latency.merge(&other.latency);
        self.latency_accepted.merge(&other.latency_accepted);
        self.since_due.merge(&other.since_due);
        self.duration = self.duration.max(other.duration);
        self.reconnects += other.reconnects;
        self.history.exchanges.extend(other.history.exchanges);
    }

    /// Notes one request. `status` is `None` where no answer came.
    pub(super) fn note(&mut self, outcome: &Outcome, status: Option<u16>, latency_us: u64, since_due_us: u64) {
        count(&mut self.outcomes, outcome);
        let Some(status) = status else { return };
        *self.statuses.entry(status).or_default() += 1;
        self.latency.record(latency_us);
        self.since_due.record(since_due_us);
        if matches!(outcome, Outcome::Accepted { replayed: false, .. }) {
            self.latency_accepted.record(latency_us);
        }
    }

    /// Notes that a buyer asks no more.
    pub(super) fn note_buyer(&mut self, last: &Outcome) {
        count(&mut self.buyers, last);
    }

    /// A table for a person: outcomes, rate, percentiles.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let seconds = self.duration.as_secs_f64().max(1e-9);
        let requests = self.requests();
        let mut line = |name: &str, value: &str| writeln!(text, "  {name:<32}{value}").expect("a string takes it");
        line("requests", &format!("{requests} in {seconds:.1} s ({:.0} a second)", requests as f64 / seconds));
        let mut outcomes: Vec<_> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (name, count) in outcomes {
            let buyers = self.buyers.get(name).copied().unwrap_or(0);
            line(name, &format!("{count:>10}   last word to {buyers} buyers"));
        }
        let statuses: Vec<String> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        line("by status", &statuses.join(", "));
        line("latency", &self.latency.summary());
        if self.latency_accepted.count() > 0 {
            line("latency of accepted orders", &self.latency_accepted.summary());
        }
        text
    }
}

fn count(counts: &mut BTreeMap<String, u64>, outcome: &Outcome) {
    let name = outcome.name();
    match counts.get_mut(&*name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.into_owned(), 1);
        }
    }
}

/// Counters that can be read while the crowd runs; one set a thread.
#[derive(Debug, Default)]
pub struct Progress {
    requests: AtomicU64,
    accepted: AtomicU64,
    pending: AtomicU64,
    waiting: AtomicU64,
    sold_out: AtomicU64,
    other_no: AtomicU64,
    unknown: AtomicU64,
    buyers_done: AtomicU64,
}

/// What [`Progress`] showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests whose outcome is known.
    pub requests: u64,
    /// 200, replays included.
    pub accepted: u64,
    /// 202.
    pub pending: u64,
    /// 302 and 429.
    pub waiting: u64,
    /// 409 `sold_out`.
    pub sold_out: u64,
    /// Any other refusal.
    pub other_no: u64,
    /// Outcome unknown.
    pub unknown: u64,
    /// Buyers who ask no more.
    pub buyers_done: u64,
}

impl Progress {
    pub(super) fn note(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Accepted { .. } => &self.accepted,
            Outcome::Pending { .. } => &self.pending,
            Outcome::No(Refusal::Redirected | Refusal::Waiting) => &self.waiting,
            Outcome::No(Refusal::SoldOut) => &self.sold_out,
            Outcome::No(_) => &self.other_no,
            Outcome::Unknown(_) => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_buyer(&self) {
        self.buyers_done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, sum: &mut Snapshot) {
        for (counter, sum) in [
            (&self.requests, &mut sum.requests),
            (&self.accepted, &mut sum.accepted),
            (&self.pending, &mut sum.pending),
            (&self.waiting, &mut sum.waiting),
            (&self.sold_out, &mut sum.sold_out),
            (&self.other_no, &mut sum.other_no),
            (&self.unknown, &mut sum.unknown),
            (&self.buyers_done, &mut sum.buyers_done),
        ] {
            *sum += counter.load(Ordering::Relaxed);
        }
    }
}
