//! `flux-bench`: what a request costs, beside peers, on real Redis, Kafka and PostgreSQL, and the record of it.
//!
//! Contestants take turns within one run, scenario by scenario, each alone on emptied servers; what counts is the median
//! of the repetitions, and of the ratio to a peer within each, because the same program costs twice as much when the
//! machine is busy. Costs come from wrk (a closed loop), latencies from the crowd at a constant arrival rate.
//!
//! - [`contestant`], [`server`]: who; [`scenario`]: what; [`stage`]: on which servers.
//! - [`measure`], [`wrk`], [`usage`]: one measurement; [`handshakes`], [`idle`], [`queued`], [`opening`], [`flood`], [`idle_products`], [`worker`]: those of another kind.
//! - [`flame`]: where the time goes under the load of one of them.
//! - [`figures`], [`goals`], [`record`], [`markdown`], [`plot`], [`host`]: what is kept of it.
//!
//! Never pins a process, tunes the machine or leaves a repetition out.

pub mod arguments;
pub mod contestant;
pub mod figures;
pub mod flame;
pub mod flood;
pub mod goals;
pub mod handshakes;
pub mod host;
pub mod idle;
pub mod idle_products;
pub mod markdown;
pub mod measure;
pub mod opening;
pub mod plot;
pub mod queued;
pub mod record;
pub mod scenario;
pub mod server;
pub mod stage;
pub mod statistics;
pub mod usage;
pub mod worker;
pub mod wrk;

use std::path::{Path, PathBuf};

pub use arguments::BenchArguments;
use contestant::{Contestant, Source};
use figures::{Cell, Figures, Findings, IdleRow, Load, MinuteRow, Row};
use host::Host;
use measure::{Generator, Ready};
use record::{Record, Settings};
use scenario::Scenario;
use stage::Stage;

use flux_lab::error::LabError;
use flux_lab::programs::{self, Environment};

/// Descriptors of this process and, inherited, of contestants: 10,000 connections and what stands beside them.
const FILES_WANTED: u64 = 16_000;
/// Some million records: what the broker does for an order is compiled then.
const WARM_UP_SECONDS: u32 = 60;
/// The long run.
const MINUTES: u32 = 10;
/// Log of a partition in the long run, bytes: what was delivered is deleted meanwhile.
const LONG_RETENTION_BYTES: u64 = 256 << 20;

/// Measures, writes the record into `perf/record`, and returns whether everything could be measured. `say` is told each
/// figure as it comes.
///
/// # Errors
/// Where the repository, wrk or a server is missing, or the record cannot be written.
pub fn run(arguments: &BenchArguments, say: fn(&str)) -> Result<bool, LabError> {
    let root = repository()?;
    programs::edge_binary()?;
    programs::worker_binary()?;
    wrk::program()?;
    flux_lab::crowd::raise_file_limit(FILES_WANTED)?;
    let settings = arguments.settings();
    let host = Host::look(&root);
    let mut bench = Bench {
        contestants: Vec::new(),
        findings: Findings::default(),
        generator: Generator { threads: settings.generator_threads, seconds: settings.seconds },
        stage: Stage::start(root.clone())?,
        settings,
        say,
    };
    bench.find(&arguments.contestants(), &contestant::peers_directory(&root));
    bench.warm_up();
    for scenario in bench.settings.scenarios.clone() {
        bench.scenario(scenario);
    }
    if arguments.long {
        bench.note_failure("long run", |bench| bench.long());
    }
    let Bench { findings, settings, .. } = bench;
    let goals = goals::judge(&findings, settings.reference);
    for goal in goals.iter().filter(|goal| goal.found.is_some()) {
        say(&format!("{:<62}{:>8.2} {:<7}{}", goal.name, goal.found.unwrap_or(0.0), goal.unit, goal.verdict()));
    }
    let whole = findings.failures.is_empty();
    let path = Record { date: record::today(), host, settings, goals, findings }.write(&root.join("perf/record"))?;
    say(&format!("Recorded in {}", path.strip_prefix(&root).unwrap_or(&path).display()));
    Ok(whole)
}

/// A run under way.
struct Bench {
    contestants: Vec<(Contestant, Source)>,
    findings: Findings,
    generator: Generator,
    stage: Stage,
    settings: Settings,
    say: fn(&str),
}

impl Bench {
    fn find(&mut self, wanted: &[Contestant], peers: &Path) {
        for contestant in wanted {
            match contestant.find(peers) {
                Ok(source) => self.contestants.push((*contestant, source)),
                Err(missing) => {
                    let line = format!("{}: {missing}", contestant.name());
                    (self.say)(&format!("left out: {line}"));
                    self.findings.missing.push(line);
                }
            }
        }
    }

    /// Orders that nobody counts, until the broker's JVM has compiled what it runs, with TLS too where that is measured:
    /// else the first contestant pays for it.
    fn warm_up(&mut self) {
        let measured: Vec<Scenario> =
            self.settings.scenarios.iter().copied().filter(|one| one.writes_records()).collect();
        let first = |takes_part: &dyn Fn(Contestant) -> bool| {
            self.contestants.iter().map(|(contestant, _)| *contestant).find(|contestant| takes_part(*contestant))
        };
        let plain = first(&|contestant| contestant.plays(Scenario::Accepted)).filter(|_| !measured.is_empty());
        let encrypted = first(&|contestant| contestant == Contestant::EdgeTlsLinks)
            .filter(|_| measured.contains(&Scenario::TlsLinks));
        let cells = [(Scenario::Accepted, plain), (Scenario::TlsLinks, encrypted)];
        for (scenario, contestant) in cells {
            let Some(contestant) = contestant else { continue };
            let cell = self.settings.reference.cell(scenario, contestant);
            self.note_failure("warming up", |bench| {
                let short = std::mem::replace(&mut bench.generator.seconds, WARM_UP_SECONDS);
                let warmed = bench.enter(cell, Vec::new()).and_then(|ready| ready.closed());
                bench.generator.seconds = short;
                warmed.map(drop)
            });
        }
    }

    fn scenario(&mut self, scenario: Scenario) {
        let reference = self.settings.reference;
        match scenario {
            Scenario::Idle => return self.idle(),
            Scenario::Queued => return self.queued(),
            Scenario::Opening => return self.note_failure("opening", Bench::opening),
            Scenario::Flood => return self.note_failure("flood", Bench::flood),
            Scenario::IdleProducts => return self.note_failure("idle products", Bench::idle_products),
            Scenario::Worker => return self.note_failure("worker", Bench::worker),
            _ => {}
        }
        let (connections, threads) = match scenario.is_swept() {
            true => (self.settings.connections.clone(), self.settings.threads.clone()),
            false => (vec![reference.connections], vec![reference.threads]),
        };
        for threads in threads {
            self.turns(scenario, Load::Closed, &connections, threads);
        }
        if scenario.has_open_loop() {
            self.turns(scenario, Load::Open, &[reference.connections], reference.threads);
        }
    }

    /// Every contestant once with every number of connections, then again. Another one begins each time: the broker is
    /// slowest for the contestant that comes first.
    fn turns(&mut self, scenario: Scenario, load: Load, connections: &[u32], threads: u32) {
        let mut playing: Vec<Contestant> = self.contestants.iter().map(|(contestant, _)| *contestant).collect();
        for repetition in 1..=self.settings.repetitions {
            for &connections in connections {
                for (scenario, contestant) in scenario.turns(&playing) {
                    let cell = Cell { scenario, load, connections, threads, contestant };
                    let what = format!("{} of {}, {connections} connections", scenario.name(), contestant.name());
                    self.note_failure(&what, |bench| bench.measure(cell, repetition));
                }
            }
            playing.rotate_left(1);
        }
    }

    fn measure(&mut self, cell: Cell, repetition: u32) -> Result<(), LabError> {
        let figures = match cell.load {
            Load::Closed => self.enter(cell, Vec::new())?.closed()?,
            Load::Open if cell.contestant.is_encrypted() => self.enter(cell, Vec::new())?.arrivals(repetition)?,
            Load::Open => {
                let highest = self.findings.highest_rate(cell.scenario, cell.contestant, cell.threads);
                let highest = highest.ok_or_else(|| LabError::failed("its highest rate is not known"))?;
                self.enter(cell, Vec::new())?.open(highest / 2.0)?
            }
        };
        (self.say)(&line(&cell, &format!("#{repetition}"), &figures));
        let doubt = measure::doubt(cell.scenario, &figures);
        self.findings.rows.push(Row { cell, repetition, figures });
        doubt.map_or(Ok(()), |doubt| Err(LabError::Failed(doubt)))
    }

    fn enter(&mut self, cell: Cell, edge_environment: Environment) -> Result<Ready<'_>, LabError> {
        let found = self.contestants.iter().find(|(contestant, _)| *contestant == cell.contestant);
        let (_, source) = found.ok_or_else(|| LabError::failed("it was left out"))?;
        Ready::enter(&mut self.stage, cell, source, self.generator, edge_environment)
    }

    fn idle(&mut self) {
        for repetition in 1..=self.settings.repetitions {
            for contestant in self.contestants.iter().map(|(contestant, _)| *contestant).collect::<Vec<_>>() {
                let reference = self.settings.reference.cell(Scenario::Idle, contestant);
                let cell = Cell { connections: idle::CONNECTIONS, ..reference };
                self.note_failure(&format!("idle connections of {}", contestant.name()), |bench| {
                    let row =
                        IdleRow { contestant, repetition, connections: 0, kept: 0, before_kib: 0, resident_kib: 0 };
                    let row = idle::measure(&bench.enter(cell, Vec::new())?, row)?;
                    (bench.say)(&format!(
                        "idle {:<11}#{repetition} {} connections, {} answered again, RSS {:.1} MiB (before {:.1})",
                        contestant.name(),
                        row.connections,
                        row.kept,
                        row.resident_kib as f64 / 1024.0,
                        row.before_kib as f64 / 1024.0
                    ));
                    bench.findings.idle.push(row);
                    Ok(())
                });
            }
        }
    }

    fn queued(&mut self) {
        let plays = |(contestant, _): &&(Contestant, Source)| contestant.plays(Scenario::Queued);
        let Some((contestant, _)) = self.contestants.iter().find(plays) else { return };
        let cell = self.settings.reference.cell(Scenario::Queued, *contestant);
        for repetition in 1..=self.settings.repetitions {
            self.note_failure("queued", |bench| {
                let row = queued::measure(&bench.enter(cell, Vec::new())?, repetition)?;
                (bench.say)(&row.in_words());
                bench.findings.queued.push(row);
                Ok(())
            });
        }
    }

    fn opening(&mut self) -> Result<(), LabError> {
        let (say, opened) = (self.say, &mut self.findings.opened);
        opening::measure(&mut self.stage, self.settings.repetitions, |row| {
            say(&row.in_words());
            opened.push(row);
        })
    }

    fn flood(&mut self) -> Result<(), LabError> {
        let Settings { repetitions, seconds, generator_threads, .. } = self.settings;
        let (say, flooded) = (self.say, &mut self.findings.flooded);
        flood::measure(&mut self.stage, repetitions, seconds, generator_threads, |row| {
            say(&row.in_words());
            flooded.push(row);
        })
    }

    fn idle_products(&mut self) -> Result<(), LabError> {
        let Settings { repetitions, seconds, .. } = self.settings;
        let (say, rested) = (self.say, &mut self.findings.idle_products);
        idle_products::measure(&mut self.stage, repetitions, seconds, |row| {
            say(&row.in_words());
            rested.push(row);
        })
    }

    fn worker(&mut self) -> Result<(), LabError> {
        let (say, stored) = (self.say, &mut self.findings.stored);
        worker::measure(&mut self.stage, self.settings.repetitions, |row| {
            say(&format!(
                "worker {:<17}#{} {:>8.0} rows/s, {:.1} s; its CPU {:.2}, PostgreSQL {:.2}, Kafka {:.2} µs a row",
                row.way, row.repetition, row.per_second, row.seconds, row.program_us, row.postgres_us, row.kafka_us
            ));
            stored.push(row);
        })
    }

    /// Accepted orders for ten minutes, minute by minute, on one edge.
    fn long(&mut self) -> Result<(), LabError> {
        let cell = self.settings.reference.cell(Scenario::Accepted, Contestant::Edge);
        let short = self.generator;
        self.generator = Generator { seconds: 60, ..short };
        let say = self.say;
        // Records live as short as they may, or memory would be what is measured.
        let environment = vec![("FLUX_IDEMPOTENCY_TTL".to_owned(), "60s".to_owned())];
        let mut minutes = Vec::new();
        let run = self.enter(cell, environment).and_then(|ready| {
            ready.bound_log(LONG_RETENTION_BYTES)?;
            for minute in 1..=MINUTES {
                let figures = ready.closed_again(&format!("minute-{minute}"))?;
                say(&line(&cell, &format!("minute {minute}"), &figures));
                let doubt = measure::doubt(cell.scenario, &figures);
                minutes.push(MinuteRow { minute, figures });
                if let Some(doubt) = doubt {
                    return Err(LabError::Failed(doubt));
                }
            }
            Ok(())
        });
        self.generator = short;
        self.findings.minutes = minutes;
        run
    }

    /// Does one thing; where it fails, the others go on, and the record says so.
    fn note_failure(&mut self, what: &str, act: impl FnOnce(&mut Bench) -> Result<(), LabError>) {
        if let Err(error) = act(self) {
            let line = format!("{what}: {error}");
            (self.say)(&format!("not measured: {line}"));
            self.findings.failures.push(line);
        }
    }
}

fn line(cell: &Cell, which: &str, figures: &Figures) -> String {
    let load = match cell.load {
        Load::Closed => "",
        Load::Open if cell.contestant.is_encrypted() => " at a rate",
        Load::Open => " at half rate",
    };
    let orders = figures.orders_by_call.map_or(String::new(), |orders| format!(", {orders:.1} orders a call"));
    format!(
        "{}{load} {:<11}{:>5} connections, {} threads, {which}: {:>7.0}/s, CPU {:.2} + Redis {:.2} + Kafka {:.2} µs, \
         p50 {:.2} ms, p99 {:.2} ms, RSS {:.0} MiB{orders}",
        cell.scenario.name(),
        cell.contestant.name(),
        cell.connections,
        cell.threads,
        figures.per_second,
        figures.server_us,
        figures.redis_us,
        figures.kafka_us,
        figures.p50_us.unwrap_or(0) as f64 / 1e3,
        figures.p99_us.unwrap_or(0) as f64 / 1e3,
        figures.resident_kib as f64 / 1024.0
    )
}

/// The repository that the current directory is in: scripts and peers are read from it, records go into it.
fn repository() -> Result<PathBuf, LabError> {
    let here = std::env::current_dir().map_err(|error| LabError::failed(format!("where are we? {error}")))?;
    let found = here.ancestors().find(|directory| directory.join("perf/wrk/report.lua").is_file());
    found.map(Path::to_owned).ok_or_else(|| LabError::failed("not inside the repository (no perf/wrk here or above)"))
}
