//! What the figures should be: ratios to peers of the same run, and a few costs that mean something by themselves.
//!
//! A ratio is taken within each repetition, and the median of those counts. Never more than arithmetic: what was not
//! measured is said to be so, and is not met.

use serde::Serialize;

use super::contestant::Contestant;
use super::figures::{Cell, Figures, Findings, Load, StoredRow};
use super::flood::{FloodRow, Route};
use super::idle;
use super::idle_products::IdleProductsRow;
use super::opening::OpeningRow;
use super::queued::QueuedRow;
use super::scenario::Scenario;
use super::statistics::median;
use super::worker;

/// Where costs are compared: many connections, one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// Connections.
    pub connections: u32,
    /// Threads.
    pub threads: u32,
}

impl Reference {
    /// What is measured here in a closed loop.
    pub fn cell(self, scenario: Scenario, contestant: Contestant) -> Cell {
        let Reference { connections, threads } = self;
        Cell { scenario, load: Load::Closed, connections, threads, contestant }
    }
}

/// One goal and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// What is compared.
    pub name: String,
    /// What was found; `None` where something of it was not measured.
    pub found: Option<f64>,
    /// The bound.
    pub bound: f64,
    /// Whether the bound is the most that is allowed, or the least.
    pub at_most: bool,
    /// The unit; empty for ratios.
    pub unit: &'static str,
}

impl Goal {
    fn at_most(name: &str, found: Option<f64>, bound: f64, unit: &'static str) -> Goal {
        Goal { name: name.to_owned(), found, bound, at_most: true, unit }
    }

    fn at_least(name: &str, found: Option<f64>, bound: f64, unit: &'static str) -> Goal {
        Goal { name: name.to_owned(), found, bound, at_most: false, unit }
    }

    /// Whether it is met; `None` where it was not measured.
    pub fn is_met(&self) -> Option<bool> {
        self.found.map(|found| if self.at_most { found <= self.bound } else { found >= self.bound })
    }

    /// The verdict in words.
    pub fn verdict(&self) -> &'static str {
        match self.is_met() {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        }
    }
}

/// Medians at the reference, of costs and of ratios.
struct Medians<'a> {
    findings: &'a Findings,
    reference: Reference,
}

impl Medians<'_> {
    fn of(&self, scenario: Scenario, contestant: Contestant, figure: fn(&Figures) -> f64) -> Option<f64> {
        self.findings.median(self.reference.cell(scenario, contestant), figure)
    }

    /// Ours to `other`'s.
    fn to(&self, scenario: Scenario, other: Contestant, figure: fn(&Figures) -> f64) -> Option<f64> {
        let (ours, other) = (self.reference.cell(scenario, Contestant::Edge), self.reference.cell(scenario, other));
        self.findings.median_ratio(ours, &[other], f64::min, figure)
    }

    /// Ours to that of Go or axum, whichever `better` prefers; both must have been measured.
    fn to_better(&self, scenario: Scenario, better: fn(f64, f64) -> f64, figure: fn(&Figures) -> f64) -> Option<f64> {
        let peers = [self.reference.cell(scenario, Contestant::Go), self.reference.cell(scenario, Contestant::Axum)];
        self.findings.median_ratio(self.reference.cell(scenario, Contestant::Edge), &peers, better, figure)
    }

    /// An edge whose links go through TLS to one whose links are plain, with the servers.
    fn tls_links(&self) -> Option<f64> {
        let of = |contestant| self.reference.cell(Scenario::TlsLinks, contestant);
        self.findings.median_ratio(of(Contestant::EdgeTlsLinks), &[of(Contestant::Edge)], f64::min, Figures::total_us)
    }

    /// The same with what the worker and PostgreSQL do for the order: from the request to its row.
    fn tls_to_the_row(&self) -> Option<f64> {
        let of = |contestant, way: &str| {
            let stored = self.findings.stored.iter().filter(|row| row.way == way).map(StoredRow::total_us);
            Some(self.of(Scenario::TlsLinks, contestant, Figures::total_us)? + median(stored)?)
        };
        Some(of(Contestant::EdgeTlsLinks, worker::WORKER_TLS)? / of(Contestant::Edge, worker::WORKER)?)
    }

    /// An edge that speaks TLS itself to the cheaper of nginx and HAProxy in front of a plain one, with all parts.
    fn https(&self, scenario: Scenario) -> Option<f64> {
        let of = |contestant| self.reference.cell(scenario, contestant);
        let balancers = [of(Contestant::NginxHttps), of(Contestant::HaproxyHttps)];
        self.findings.median_ratio(of(Contestant::EdgeHttps), &balancers, f64::min, Figures::total_us)
    }

    fn many_to_few(&self, scenario: Scenario) -> Option<f64> {
        let with = |connections| Cell { connections, ..self.reference.cell(scenario, Contestant::Edge) };
        self.findings.median_ratio(with(4096), &[with(64)], f64::min, |figures| figures.server_us)
    }

    fn p99_ms(&self, scenario: Scenario) -> Option<f64> {
        let cell = Cell { load: Load::Open, ..self.reference.cell(scenario, Contestant::Edge) };
        Some(self.findings.median_of_known(cell, |figures| Some(figures.p99_us? as f64))? / 1e3)
    }

    fn zipf(&self) -> Option<f64> {
        let of = |scenario| self.reference.cell(scenario, Contestant::Edge);
        self.findings
            .median_ratio(of(Scenario::Zipf), &[of(Scenario::OneProduct)], f64::min, |figures| figures.server_us)
    }

    fn idle_mib(&self) -> Option<f64> {
        let ours = self.findings.idle.iter().filter(|row| row.contestant == Contestant::Edge);
        // What did not stay open would make it look better than it is.
        let whole: Vec<_> = ours.filter(|row| row.kept == idle::CONNECTIONS).collect();
        Some(median(whole.iter().map(|row| row.resident_kib as f64))? / 1024.0)
    }

    /// Of the worst repetition: memory that grows does so in one.
    fn line_growth_mib(&self) -> Option<f64> {
        let grown: Option<Vec<f64>> = self.findings.queued.iter().map(QueuedRow::growth_kib).collect();
        Some(grown?.into_iter().reduce(f64::max)? / 1024.0)
    }

    fn line_calls(&self) -> Option<f64> {
        median(self.findings.queued.iter().map(QueuedRow::calls_by_thousand))
    }

    /// Of the worst repetition: a promise holds in each.
    fn opening_ms(&self, figure: fn(&OpeningRow) -> f64, worse: fn(f64, f64) -> f64) -> Option<f64> {
        self.findings.opened.iter().map(figure).reduce(worse)
    }

    /// Of the worst round: how many of a hundred orders of another product were accepted.
    fn accepted_beside_floods(&self) -> Option<f64> {
        let rounds = self.findings.flooded.iter().filter(|row| row.route != Route::Nothing);
        rounds.map(|row| row.other.accepted as f64 * 100.0 / row.other.asked.max(1) as f64).reduce(f64::min)
    }

    /// Of the worst route, the median over repetitions: p99 of another product's orders to those of the same repetition
    /// that no flood stood beside.
    fn p99_beside_floods(&self) -> Option<f64> {
        let of_route = |route| {
            let rounds = self.findings.flooded.iter().filter(move |row| row.route == route);
            median(rounds.filter_map(|row| {
                let alone = |other: &&FloodRow| other.route == Route::Nothing && other.repetition == row.repetition;
                let alone = self.findings.flooded.iter().find(alone)?;
                Some(row.other.p99_us as f64 / alone.other.p99_us.max(1) as f64)
            }))
        };
        Route::FLOODS.into_iter().map(of_route).collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }

    fn status_redis_us(&self) -> Option<f64> {
        let rounds = self.findings.flooded.iter().filter(|row| row.route == Route::Status);
        median(rounds.map(|row| row.redis_us))
    }

    fn idle_products(&self, figure: fn(&IdleProductsRow) -> f64) -> Option<f64> {
        median(self.findings.idle_products.iter().map(figure))
    }

    fn stored(&self) -> Option<f64> {
        let rate =
            |way: &str| median(self.findings.stored.iter().filter(|row| row.way == way).map(|row| row.per_second));
        Some(rate(worker::WORKER)? / rate(worker::COPY)?)
    }
}

/// All goals, judged on the medians of `findings` at `reference`.
pub fn judge(findings: &Findings, reference: Reference) -> Vec<Goal> {
    use Contestant::{Axum, Edge, EdgeEpoll, Nginx};
    use Scenario::{Accepted, HttpsKept, HttpsNew, Pipelined, Redirect, SoldOut, Stock};
    let medians = Medians { findings, reference };
    let server = |figures: &Figures| figures.server_us;
    let redis = |figures: &Figures| figures.redis_us;
    let depth = findings.median_of_known(reference.cell(Accepted, Edge), |figures| figures.orders_by_call);
    let better = "the better of Go and axum";
    vec![
        Goal::at_most(
            &format!("accepted: CPU of the edge to {better}"),
            medians.to_better(Accepted, f64::min, server),
            0.28,
            "",
        ),
        Goal::at_most(
            &format!("accepted: CPU of edge, Redis and broker to {better}"),
            medians.to_better(Accepted, f64::min, Figures::total_us),
            0.36,
            "",
        ),
        Goal::at_least(
            &format!("accepted: orders a second to {better}"),
            medians.to_better(Accepted, f64::max, |figures| figures.per_second),
            1.7,
            "",
        ),
        Goal::at_most("accepted: CPU of Redis an order", medians.of(Accepted, Edge, redis), 6.0, "µs"),
        Goal::at_least("accepted: orders of a reserve call", depth, 24.0, "orders"),
        Goal::at_most("sold out: CPU of the edge to axum", medians.to(SoldOut, Axum, server), 0.36, ""),
        Goal::at_most("sold out: CPU of Redis an answer", medians.of(SoldOut, Edge, redis), 1.0, "µs"),
        Goal::at_most("redirect: CPU of the edge to axum", medians.to(Redirect, Axum, server), 0.72, ""),
        Goal::at_most("redirect: CPU of the edge to nginx, constant", medians.to(Redirect, Nginx, server), 1.05, ""),
        Goal::at_most("GET /stock: CPU of the edge to nginx, constant", medians.to(Stock, Nginx, server), 1.05, ""),
        Goal::at_most("16 redirects a read: CPU of the edge each", medians.of(Pipelined, Edge, server), 1.0, "µs"),
        Goal::at_most("accepted: CPU of the edge, 4,096 connections to 64", medians.many_to_few(Accepted), 1.25, ""),
        Goal::at_most("redirect: CPU of the edge, 4,096 connections to 64", medians.many_to_few(Redirect), 1.25, ""),
        Goal::at_most("accepted: CPU of the edge, 1,000 products by Zipf to one", medians.zipf(), 1.3, ""),
        Goal::at_most("accepted: p99 at half of the highest rate", medians.p99_ms(Accepted), 8.0, "ms"),
        Goal::at_most("redirect: p99 at half of the highest rate", medians.p99_ms(Redirect), 2.0, "ms"),
        Goal::at_most("10,000 idle connections: resident memory of the edge", medians.idle_mib(), 64.0, "MiB"),
        Goal::at_most(
            "a million tickets: memory grows after the first quarter by",
            medians.line_growth_mib(),
            2.0,
            "MiB",
        ),
        // A core reports ten times a second and looks at the sale as often, however many come: twenty, which with 20,000
        // tickets a second is one by 1,000. One a request would be 1,000.
        Goal::at_most("a million tickets: scripts that Redis is asked for by 1,000", medians.line_calls(), 1.0, ""),
        Goal::at_least(
            "opening: the first 200 after opensAt on Redis' clock",
            medians.opening_ms(|row| row.first_ms, f64::min),
            0.0,
            "ms",
        ),
        Goal::at_most(
            "opening: from the first 200 until every core of two edges sells",
            medians.opening_ms(|row| row.spread_ms, f64::max),
            100.0,
            "ms",
        ),
        Goal::at_least("flood: orders of another product accepted", medians.accepted_beside_floods(), 100.0, "%"),
        Goal::at_most("flood: p99 of another product's orders to the unflooded", medians.p99_beside_floods(), 10.0, ""),
        Goal::at_most("flood of GET /order: CPU of Redis an answer", medians.status_redis_us(), 1.2, "µs"),
        Goal::at_most(
            "5,000 idle products: CPU of Redis beyond what it has with none",
            medians.idle_products(|row| row.redis_percent - row.redis_percent_before),
            3.0,
            "%",
        ),
        Goal::at_most(
            "5,000 idle products: p99 of PING",
            medians.idle_products(|row| row.ping_p99_us as f64 / 1e3),
            2.0,
            "ms",
        ),
        Goal::at_most(
            "stocks of 1,000 products shown: p50 of an order to the one alone",
            medians.idle_products(|row| row.beside.p50_us as f64 / row.alone.p50_us.max(1) as f64),
            1.1,
            "",
        ),
        Goal::at_most(
            "opening storm: CPU of the edge to nginx, constant",
            medians.to(Scenario::OpeningStorm, Nginx, server),
            1.1,
            "",
        ),
        Goal::at_most(
            "opening storm: CPU of the edge on io_uring to epoll",
            medians.to(Scenario::OpeningStorm, EdgeEpoll, server),
            1.0,
            "",
        ),
        Goal::at_most(
            "TLS to Redis and Kafka: CPU of all an accepted order to plain links",
            medians.tls_links(),
            1.1,
            "",
        ),
        Goal::at_most(
            "TLS to Redis, Kafka and PostgreSQL: CPU of all from an order to its row to plain links",
            medians.tls_to_the_row(),
            1.1,
            "",
        ),
        Goal::at_most(
            "HTTPS, kept connections: CPU of all an accepted order to the better balancer's",
            medians.https(HttpsKept),
            0.6,
            "",
        ),
        Goal::at_most(
            "HTTPS, new connections: CPU of all an accepted order to the better balancer's",
            medians.https(HttpsNew),
            0.9,
            "",
        ),
        Goal::at_least("worker: rows a second to psql \\copy", medians.stored(), 0.8, ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::row;
    use super::*;

    const REFERENCE: Reference = Reference { connections: 256, threads: 1 };

    fn found(goals: &[Goal], begins: &str) -> Goal {
        goals.iter().find(|goal| goal.name.starts_with(begins)).unwrap().clone()
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let goals = judge(&Findings::default(), REFERENCE);
        assert!(goals.iter().all(|goal| goal.is_met().is_none() && goal.verdict() == "not measured"));
        // One of two peers is not enough to know the better one.
        let mut findings = Findings::default();
        findings.rows.push(row(Scenario::Accepted, Contestant::Edge, 256, 80_000.0, 6.0));
        findings.rows.push(row(Scenario::Accepted, Contestant::Go, 256, 30_000.0, 30.0));
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "accepted: CPU of the edge to the better").is_met(), None);
        assert_eq!(found(&goals, "accepted: CPU of Redis an order").is_met(), Some(true));
    }

    #[test]
    fn the_better_peer_is_the_cheaper_one_and_the_faster_one() {
        let mut findings = Findings::default();
        findings.rows.push(row(Scenario::Accepted, Contestant::Edge, 256, 60_000.0, 6.0));
        findings.rows.push(row(Scenario::Accepted, Contestant::Go, 256, 40_000.0, 30.0));
        findings.rows.push(row(Scenario::Accepted, Contestant::Axum, 256, 20_000.0, 20.0));
        let goals = judge(&findings, REFERENCE);
        let cost = found(&goals, "accepted: CPU of the edge to the better");
        assert_eq!((cost.found, cost.is_met()), (Some(0.3), Some(false)));
        assert_eq!(found(&goals, "accepted: CPU of edge, Redis").verdict(), "met");
        let rate = found(&goals, "accepted: orders a second");
        assert_eq!((rate.found, rate.is_met()), (Some(1.5), Some(false)));
        assert_eq!(found(&goals, "accepted: orders of a reserve call").is_met(), Some(true));
    }

    #[test]
    fn tls_costs_what_orders_and_their_rows_do() {
        let stored = |way, us| StoredRow {
            way,
            repetition: 1,
            rows: 1,
            seconds: 1.0,
            per_second: 1.0,
            program_us: us,
            postgres_us: us,
            kafka_us: us,
        };
        let mut findings = Findings::default();
        findings.rows.push(row(Scenario::TlsLinks, Contestant::Edge, 256, 1.0, 20.0));
        findings.rows.push(row(Scenario::TlsLinks, Contestant::EdgeTlsLinks, 256, 1.0, 22.0));
        let plain = findings.rows[0].figures.total_us();
        let encrypted = findings.rows[1].figures.total_us();
        let found_of = |findings: &Findings| found(&judge(findings, REFERENCE), "TLS to Redis, Kafka and P").found;
        assert_eq!(found_of(&findings), None, "no rows were stored");
        findings.stored.extend([stored(worker::WORKER, 1.0), stored(worker::WORKER_TLS, 2.0)]);
        assert_eq!(found_of(&findings), Some((encrypted + 6.0) / (plain + 3.0)));
    }

    #[test]
    fn only_the_reference_counts_but_for_the_span_of_connections() {
        let mut findings = Findings::default();
        findings.rows.push(row(Scenario::Redirect, Contestant::Edge, 64, 1.0, 4.0));
        findings.rows.push(row(Scenario::Redirect, Contestant::Edge, 4096, 1.0, 6.0));
        findings.rows.push(row(Scenario::Redirect, Contestant::Axum, 4096, 1.0, 1.0));
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "redirect: CPU of the edge, 4,096").found, Some(1.5));
        assert_eq!(found(&goals, "redirect: CPU of the edge to axum").found, None);
    }

    #[test]
    fn the_worst_line_and_the_worst_opening_count() {
        use super::super::opening::EdgeOpening;
        use super::super::queued::Reading;
        let mut findings = Findings::default();
        for (repetition, grown_kib, first_ms, open_ms) in
            [(1, 512, 3.0, 20.0), (2, 4_096, 1.5, 90.0), (3, 0, 2.0, 10.0)]
        {
            let readings = [(0, 1_000), (250_000, 8_000), (1_000_000, 8_000 + grown_kib)];
            let readings = readings.map(|(tickets, resident_kib)| Reading { tickets, resident_kib }).to_vec();
            let row = QueuedRow { repetition, tickets: 1_000_000, script_calls: 400, readings, ..QueuedRow::default() };
            findings.queued.push(row);
            let edge = EdgeOpening { asked: 9, first_accepted_ms: first_ms, last_refused_ms: open_ms };
            findings.opened.push(OpeningRow::new(repetition, 0.0, vec![edge]));
        }
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "a million tickets: memory").found, Some(4.0));
        assert_eq!(found(&goals, "a million tickets: scripts").found, Some(0.4));
        assert_eq!(found(&goals, "opening: the first 200").found, Some(1.5));
        assert_eq!(found(&goals, "opening: from the first 200").found, Some(88.5));
        let early = EdgeOpening { asked: 9, first_accepted_ms: -0.1, last_refused_ms: -1.0 };
        findings.opened.push(OpeningRow::new(4, 0.0, vec![early]));
        assert_eq!(found(&judge(&findings, REFERENCE), "opening: the first 200").is_met(), Some(false));
    }

    #[test]
    fn every_order_beside_every_flood_counts_and_the_worst_route_does() {
        use super::super::flood::Buyer;
        let row = |route, accepted, p99_us, redis_us| FloodRow {
            repetition: 1,
            route,
            answers: 1,
            per_second: 1.0,
            server_us: 1.0,
            redis_us,
            same: Buyer::default(),
            other: Buyer { asked: 200, accepted, p50_us: 1, p99_us },
        };
        let mut findings = Findings::default();
        findings.flooded.push(row(Route::Nothing, 10, 2_000, 9.0));
        findings.flooded.extend(Route::FLOODS.map(|route| row(route, 200, 4_000, 0.5)));
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "flood: orders").is_met(), Some(true), "the unflooded are not what is judged");
        assert_eq!(found(&goals, "flood: p99").found, Some(2.0));
        assert_eq!(found(&goals, "flood of GET /order").found, Some(0.5));
        let last = findings.flooded.last_mut().unwrap();
        (last.other.accepted, last.other.p99_us) = (199, 24_000);
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "flood: orders").is_met(), Some(false));
        assert_eq!(found(&goals, "flood: p99").found, Some(12.0));
        findings.flooded.pop();
        assert_eq!(found(&judge(&findings, REFERENCE), "flood: p99").found, None, "a route was not measured");
    }

    #[test]
    fn the_middle_repetition_of_idle_products_counts() {
        use super::super::flood::Buyer;
        let mut findings = Findings::default();
        for (redis_percent, ping_p99_us, beside_us) in [(9.0, 900, 420), (2.5, 2_100, 500), (1.0, 9_000, 430)] {
            let buyer = |p50_us| Buyer { asked: 9, accepted: 9, p50_us, p99_us: 1_000 };
            findings.idle_products.push(IdleProductsRow {
                repetition: 1,
                cores: 8,
                redis_percent_before: 0.1,
                redis_percent,
                ping_p99_us_before: 100,
                ping_p99_us,
                alone: buyer(400),
                beside: buyer(beside_us),
                shown: 10_000,
            });
        }
        let goals = judge(&findings, REFERENCE);
        assert_eq!(found(&goals, "5,000 idle products: CPU").found, Some(2.4));
        assert_eq!(found(&goals, "5,000 idle products: p99").is_met(), Some(false));
        assert_eq!(found(&goals, "stocks of 1,000").found, Some(1.075));
    }

    #[test]
    fn connections_that_were_closed_do_not_count_as_idle() {
        let mut findings = Findings::default();
        let row = super::super::figures::IdleRow {
            contestant: Contestant::Edge,
            repetition: 1,
            connections: idle::CONNECTIONS,
            kept: idle::CONNECTIONS - 1,
            before_kib: 1_024,
            resident_kib: 2_048,
        };
        findings.idle.push(row.clone());
        assert_eq!(found(&judge(&findings, REFERENCE), "10,000 idle").found, None);
        findings.idle.push(super::super::figures::IdleRow { kept: idle::CONNECTIONS, ..row });
        assert_eq!(found(&judge(&findings, REFERENCE), "10,000 idle").found, Some(2.0));
    }
}
