//! One measurement: a contestant alone on emptied servers, its sales, its load, and what it used meanwhile.
//!
//! A closed loop counts from the moment at which the contestant has taken every connection: opening 4,096 of them costs as
//! much as ten thousands of requests.

use std::time::{Duration, Instant};

use super::contestant::Source;
use super::figures::{Cell, Figures};
use super::handshakes;
use super::scenario::{Probe, Scenario};
use super::server::{ReserveCounts, Server};
use super::stage::{Stage, Used};
use super::usage;
use super::wrk::{RunningWrk, Wrk};
use flux_lab::crowd::{self, Arrival, CrowdOptions, Orders, Report};
use flux_lab::error::LabError;
use flux_lab::http_client;
use flux_lab::process::LOOK_AGAIN;
use flux_lab::programs::Environment;

/// Load before the measured one: code is paged in, connections to servers stand, the broker knows its producer.
const WARM_UP_SECONDS: u32 = 1;
/// Asked so often until the scenario's status comes: a rate limit first lets its burst pass.
const PROBES_MAX: u32 = 50;
const PROBE_PAUSE: Duration = Duration::from_millis(50);
const REQUEST_MAX: Duration = Duration::from_secs(10);
const SEEDING_CONNECTIONS: usize = 64;
/// Load before the measured one, where connections cannot be counted.
const SETTLING: Duration = Duration::from_millis(500);
/// How long the connections of clients that are gone may take to be closed.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// What drives the load.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Threads of wrk or of the crowd.
    pub threads: u32,
    /// How long the measured part takes.
    pub seconds: u32,
}

impl Generator {
    /// Threads where nobody asks for a number: half of the processors, the other half is for what is measured.
    pub fn usual_threads() -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32;
        (processors / 2).max(1)
    }
}

/// A contestant that is ready for the load of one cell.
#[derive(Debug)]
pub struct Ready<'a> {
    stage: &'a mut Stage,
    cell: Cell,
    generator: Generator,
    server: Server,
    /// Descriptors of the contestant before the first client.
    resting: usize,
}

/// What stood before the load.
#[derive(Clone, Copy, Debug)]
struct Before {
    used: Used,
    calls: Option<ReserveCounts>,
    records: u64,
}

impl<'a> Ready<'a> {
    /// Starts the contestant, opens its sales, and makes sure that it answers as the scenario says.
    ///
    /// # Errors
    /// Where it does not come up or answers otherwise.
    pub fn enter(
        stage: &'a mut Stage,
        cell: Cell,
        source: &Source,
        generator: Generator,
        edge_environment: Environment,
    ) -> Result<Ready<'a>, LabError> {
        let server = stage.enter(cell.contestant, source, cell.threads, edge_environment)?;
        let resting = usage::descriptors(server.pid()?)?;
        cell.scenario.sales().iter().try_for_each(|sale| server.open(sale))?;
        let ready = Ready { stage, cell, generator, server, resting };
        if !cell.contestant.is_constant() {
            ready.place_orders(cell.scenario.orders_before())?;
        }
        ready.probe()?;
        Ok(ready)
    }

    /// The contestant.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The servers around it.
    pub fn stage(&self) -> &Stage {
        self.stage
    }

    /// What it is ready for.
    pub fn scenario(&self) -> Scenario {
        self.cell.scenario
    }

    /// Lets the broker delete what a partition's log holds beyond `bytes`: for loads that are longer than the disk.
    ///
    /// # Errors
    /// Where the broker refuses.
    pub fn bound_log(&self, bytes: u64) -> Result<(), LabError> {
        let topic = self.stage.topic()?;
        self.stage.kafka.set_topic(topic, "retention.bytes", &bytes.to_string())?;
        // Whole segments go, and never the one that is written.
        self.stage.kafka.set_topic(topic, "segment.bytes", &(bytes / 4).to_string())
    }

    /// A closed loop by wrk, after a short one that does not count.
    ///
    /// # Errors
    /// Where something of it cannot be run or read.
    pub fn closed(&self) -> Result<Figures, LabError> {
        self.warm_up()?;
        self.closed_again("wrk")
    }

    /// The same without a warm-up; `name` names wrk's output.
    ///
    /// # Errors
    /// As [`Ready::closed`].
    pub fn closed_again(&self, name: &str) -> Result<Figures, LabError> {
        self.wait_alone()?;
        let mut wrk = self.wrk(name, self.generator.seconds)?;
        // Nearly every one: a request before the load may have left a descriptor that was counted as one of its own.
        let taken = self.resting + self.cell.connections as usize * 9 / 10;
        if self.has_steady_connections() {
            while usage::descriptors(self.server.pid()?)? < taken {
                if wrk.is_over() {
                    return Err(LabError::failed("it has not taken every connection"));
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        } else {
            std::thread::sleep(SETTLING);
        }
        let (begun, before) = (Instant::now(), self.before()?);
        let report = wrk.finish()?;
        let counted = begun.elapsed().as_secs_f64();
        let per_second = report.requests as f64 / (report.duration_us as f64 / 1e6);
        let unexpected = if self.cell.scenario.is_refused() {
            report.requests.saturating_sub(report.refused)
        } else {
            report.refused
        };
        self.figures(
            before,
            Figures {
                // wrk counts from its first connection; fewer are answered while connections open than afterwards, so
                // this is, if anything, too small a share, and the cost too high.
                requests: (per_second * counted) as u64,
                seconds: counted,
                per_second,
                p50_us: known(report.p50_us),
                p99_us: known(report.p99_us),
                p999_us: known(report.p999_us),
                unexpected,
                broken: report.broken,
                ..Figures::default()
            },
        )
    }

    /// A closed loop during which `act` is done.
    ///
    /// # Errors
    /// As [`Ready::closed`], and those of `act`.
    pub fn under_load(&self, act: impl FnOnce() -> Result<(), LabError>) -> Result<(), LabError> {
        let wrk = self.wrk("wrk", self.generator.seconds)?;
        act()?;
        wrk.finish().map(drop)
    }

    /// An open loop by the crowd: `per_second` orders, each at its moment, whether the ones before were answered or not.
    ///
    /// # Errors
    /// As [`Ready::closed`].
    pub fn open(&self, per_second: f64) -> Result<Figures, LabError> {
        self.warm_up()?;
        self.wait_alone()?;
        let before = self.before()?;
        let report = self.crowd(per_second)?;
        let seconds = report.duration.as_secs_f64();
        let answered: u64 = report.statuses.values().sum();
        if answered == 0 {
            return Err(LabError::failed("the crowd was not answered at all"));
        }
        let expected = match self.cell.scenario.probe() {
            Probe::Order(_, status) => report.statuses.get(&status).copied().unwrap_or(0),
            Probe::Stock(_) => 0,
        };
        self.figures(
            before,
            Figures {
                requests: answered,
                seconds,
                per_second: answered as f64 / seconds,
                asked_per_second: Some(per_second),
                p50_us: Some(report.since_due.percentile_us(0.5)),
                p99_us: Some(report.since_due.percentile_us(0.99)),
                p999_us: Some(report.since_due.percentile_us(0.999)),
                unexpected: answered - expected,
                broken: report.requests() - answered,
                ..Figures::default()
            },
        )
    }

    /// An open loop of new TLS connections, [`handshakes::PER_SECOND`], one order each.
    ///
    /// # Errors
    /// As [`Ready::closed`].
    pub fn arrivals(&self, repetition: u32) -> Result<Figures, LabError> {
        let count = (handshakes::PER_SECOND * f64::from(self.generator.seconds)) as u64;
        let (target, product) = (self.server.public(), self.cell.scenario.product());
        let arrive = |name: &str, count| {
            handshakes::run(target, &self.stage.issuer(), product, &format!("{name}-{repetition}"), count)
        };
        arrive("warm-up", handshakes::PER_SECOND as u64)?;
        let before = self.before()?;
        let arrivals = arrive("counted", count)?;
        let answered = arrivals.spans_us.len() as u64 + arrivals.unexpected;
        if answered == 0 {
            return Err(LabError::failed("not one of the new connections was answered"));
        }
        self.figures(
            before,
            Figures {
                requests: answered,
                seconds: arrivals.seconds,
                per_second: answered as f64 / arrivals.seconds,
                asked_per_second: Some(handshakes::PER_SECOND),
                p50_us: arrivals.of_thousand_us(500),
                p99_us: arrivals.of_thousand_us(990),
                p999_us: arrivals.of_thousand_us(999),
                unexpected: arrivals.unexpected,
                broken: arrivals.broken,
                ..Figures::default()
            },
        )
    }

    /// Whether the edge has a descriptor for each client: not where each request opens a connection, or a balancer has its own.
    fn has_steady_connections(&self) -> bool {
        !self.cell.scenario.opens_connections() && self.cell.contestant.balancer().is_none()
    }

    /// Load that does not count.
    fn warm_up(&self) -> Result<(), LabError> {
        // Some hundred handshakes come first, on a generator that makes its part of them on one thread.
        let seconds = if self.cell.contestant.is_encrypted() { 3 * WARM_UP_SECONDS } else { WARM_UP_SECONDS };
        self.wrk("warm-up", seconds)?.finish().map(drop)
    }

    /// Waits until the contestant has closed what earlier clients have left; its own connections to servers may stay.
    ///
    /// # Errors
    /// Where it does not close them.
    pub fn wait_alone(&self) -> Result<(), LabError> {
        let until = Instant::now() + CLOSE_MAX;
        while self.has_steady_connections()
            && usage::descriptors(self.server.pid()?)? > self.resting + self.cell.connections as usize / 2
        {
            if Instant::now() >= until {
                return Err(LabError::failed("it does not close the connections of a client that is gone"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Starts the scenario's script; `name` names its output.
    ///
    /// # Errors
    /// Where wrk cannot be started.
    pub fn wrk(&self, name: &str, seconds: u32) -> Result<RunningWrk, LabError> {
        let (script, arguments) = self.cell.scenario.script();
        let run = Wrk {
            script: self.stage.root.join("perf/wrk").join(script),
            arguments,
            connections: self.cell.connections,
            threads: self.generator.threads,
            is_encrypted: self.cell.contestant.is_encrypted(),
            seconds,
            log: &self.stage.log(name),
        };
        run.start(self.server.public())
    }

    fn crowd(&self, per_second: f64) -> Result<Report, LabError> {
        let length = Duration::from_secs(u64::from(self.generator.seconds));
        let buyers = (per_second * length.as_secs_f64()) as u64;
        let product = self.cell.scenario.product();
        crowd::run(CrowdOptions {
            threads: self.generator.threads as usize,
            orders: Orders::unique(product, "open"),
            arrival: Arrival::Rate { buyers, per_second },
            // Who cannot keep up is seen to; nobody waits for ever.
            length_max: length * 5,
            history: false,
            ..CrowdOptions::buyers(vec![self.server.public()], product, buyers, self.cell.connections as usize)
        })
    }

    fn before(&self) -> Result<Before, LabError> {
        Ok(Before {
            used: self.stage.used(&self.server)?,
            calls: self.server.reserve_counts()?,
            records: self.stage.records()?,
        })
    }

    /// `figures` with what was used, counted and written since `before`.
    fn figures(&self, before: Before, figures: Figures) -> Result<Figures, LabError> {
        let used = self.stage.used(&self.server)?;
        let by_answer = |after: u64, before: u64| after.saturating_sub(before) as f64 / figures.requests as f64;
        let orders_by_call = match (before.calls, self.server.reserve_counts()?) {
            (Some(before), Some(after)) if after.calls > before.calls => {
                Some((after.orders - before.orders) / (after.calls - before.calls))
            }
            _ => None,
        };
        let records_by_answer = match self.cell.scenario.writes_records() {
            true => Some(by_answer(self.stage.records()?, before.records)),
            false => None,
        };
        Ok(Figures {
            server_us: by_answer(used.server, before.used.server),
            redis_us: by_answer(used.redis, before.used.redis),
            kafka_us: by_answer(used.kafka, before.used.kafka),
            resident_kib: usage::resident_kib(self.server.pid()?)?,
            orders_by_call,
            records_by_answer,
            ..figures
        })
    }

    /// Places `count` orders under the keys that `replay.lua` asks for; all of them must be accepted.
    fn place_orders(&self, count: u32) -> Result<(), LabError> {
        if count == 0 {
            return Ok(());
        }
        let product = self.cell.scenario.product();
        let report = crowd::run(CrowdOptions {
            history: false,
            ..CrowdOptions::buyers(vec![self.server.public()], product, u64::from(count), SEEDING_CONNECTIONS)
        })?;
        if report.outcome("accepted") == u64::from(count) {
            return Ok(());
        }
        Err(LabError::failed(format!("{count} orders were placed, and not all accepted: {:?}", report.outcomes)))
    }

    fn probe(&self) -> Result<(), LabError> {
        if self.cell.contestant.is_encrypted() {
            // Our client speaks no TLS: answers and records of the load itself are judged.
            return Ok(());
        }
        let public = self.server.public();
        let mut last = 0;
        let wanted = match self.cell.scenario.probe() {
            Probe::Order(_, status) => status,
            Probe::Stock(_) => 200,
        };
        for number in 0..PROBES_MAX {
            let answer = match self.cell.scenario.probe() {
                Probe::Order(product, _) => {
                    let key = format!("probe-{number}");
                    let body = serde_json::json!({"productId": product, "userId": key, "quantity": 1}).to_string();
                    let headers = [("content-type", "application/json"), ("x-idempotency-key", key.as_str())];
                    http_client::request(public, "POST", "/order", &headers, body.as_bytes(), REQUEST_MAX)?
                }
                Probe::Stock(product) => {
                    http_client::request(public, "GET", &format!("/stock/{product}"), &[], b"", REQUEST_MAX)?
                }
            };
            last = answer.status;
            if last == wanted {
                return Ok(());
            }
            std::thread::sleep(PROBE_PAUSE);
        }
        Err(LabError::failed(format!("it answers {last} where {wanted} is measured")))
    }
}

/// wrk says 0 where it does not know a percentile: what it adds to its histogram against coordinated omission may lie below
/// everything that it has measured.
fn known(us: u64) -> Option<u64> {
    Some(us).filter(|us| *us > 0)
}

/// Whether a measurement is one of the scenario at all; says what is wrong with it.
pub fn doubt(scenario: Scenario, figures: &Figures) -> Option<String> {
    /// A rate limit lets some pass, an edge may answer 503 or 202 now and then.
    const UNEXPECTED_SHARE_MAX: f64 = 0.01;
    /// Requests cut off at the end of a run have records too, answers without one must not be.
    const RECORDS_MIN: f64 = 0.99;
    let share = (figures.unexpected + figures.broken) as f64 / figures.requests.max(1) as f64;
    if share > UNEXPECTED_SHARE_MAX {
        let (unexpected, broken) = (figures.unexpected, figures.broken);
        return Some(format!(
            "{unexpected} answers of {} are not those of {}, {broken} requests had none",
            figures.requests,
            scenario.name()
        ));
    }
    let records = figures.records_by_answer.filter(|records| *records < RECORDS_MIN)?;
    Some(format!("only {records:.3} records in the topic for each order answered: that is not the same work"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_answers_and_missing_records_are_doubted() {
        let good = Figures { requests: 1_000, records_by_answer: Some(1.01), ..Figures::default() };
        assert_eq!(doubt(Scenario::Accepted, &good), None);
        assert_eq!(doubt(Scenario::Accepted, &Figures { unexpected: 10, ..good.clone() }), None);
        assert!(doubt(Scenario::Accepted, &Figures { unexpected: 11, ..good.clone() }).is_some());
        assert!(doubt(Scenario::Accepted, &Figures { broken: 11, ..good.clone() }).is_some());
        assert!(doubt(Scenario::Accepted, &Figures { records_by_answer: Some(0.5), ..good }).is_some());
    }
}
