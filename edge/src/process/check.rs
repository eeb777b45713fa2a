//! `flux-edge check`: whether Redis and Kafka are as an edge needs them, a line for each thing, and an exit code.
//!
//! A core on one thread asks over the links, with the logins and by the questions of an edge that serves, so what passes here
//! passes there. Its listeners are on loopback ports that nobody is told, and it knows of no product: it sells and relays
//! nothing. Never writes to Redis or to the topic.

use std::fmt;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flux_net::secrets::keeper::Keeper;
use flux_net::{logging, random};

use crate::config::Config;
use crate::core::Core;
use crate::counters::CoreCounters;
use crate::counters::finding::Finding;
use crate::identity::IdentityProvider;
use crate::limits::CLOCK_SKEW_MAX_MS;
use crate::monitoring::workers::Workers;
use crate::process::complaint::mistake;
use crate::process::descriptors::raise_limit;
use crate::shell::plan::Plan;
use crate::shell::server::start;

/// Exit code where something would lose orders, or sell none.
const EXIT_AT_RISK: u8 = 1;
/// Exit code where a server was out of reach.
const EXIT_OUT_OF_REACH: u8 = 3;
/// How often the core's findings are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Connections of its own: nobody knows of them.
const CONNECTIONS: usize = 16;

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    /// The server does not say.
    Unknown,
    /// It loses nothing by itself.
    Warning,
    /// Orders would be lost, or none sold.
    Risk,
    OutOfReach,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Risk => "RISK",
            Verdict::OutOfReach => "DOWN",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    verdict: Verdict,
    text: String,
}

impl Line {
    fn new(verdict: Verdict, text: impl Into<String>) -> Line {
        Line { verdict, text: text.into() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<8} {}", self.verdict.name(), self.text)
    }
}

/// Asks, for no longer than `within`; says each line on standard output.
pub fn check(config: &Config, within: Duration) -> ExitCode {
    let _log = logging::start();
    let mut lines = own(config);
    let keeper = match Keeper::start(config.secrets.kept.clone(), config.kafka_login.as_ref()) {
        Ok(keeper) => keeper,
        Err(error) => return mistake(&format!("no thread for secrets: {error}")),
    };
    if let Err(error) = raise_limit() {
        return mistake(&format!("cannot tell how many descriptors there are: {error}"));
    }
    let told = config.clone();
    let running = start(plan(config), move |index, listen, counters, now| {
        let mut core = told.for_core(listen.port());
        core.only_asks = true;
        Core::new(Rc::new(core), Arc::clone(&counters.decisions), index, random::draw(), now)
    });
    let running = match running {
        Ok(running) => running,
        Err(error) => return mistake(&error.to_string()),
    };
    let until = Instant::now() + within;
    while !has_answers(&running.counters()[0]) && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
    lines.extend(redis(config, &running.counters()[0]));
    lines.extend(kafka(config, &running.counters()[0]));
    running.drain().request();
    running.wait();
    drop(keeper);
    let worst = lines.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Good);
    for line in lines {
        if logging::say(line).is_err() {
            // Whoever asked has gone; the exit code says it.
            break;
        }
    }
    match worst {
        Verdict::Good | Verdict::Unknown | Verdict::Warning => ExitCode::SUCCESS,
        Verdict::Risk => ExitCode::from(EXIT_AT_RISK),
        Verdict::OutOfReach => ExitCode::from(EXIT_OUT_OF_REACH),
    }
}

/// One core, on ports of loopback that are free: an edge may be serving beside it.
fn plan(config: &Config) -> Plan {
    let nowhere = ([127, 0, 0, 1], 0).into();
    Plan {
        listen: nowhere,
        admin: nowhere,
        waiting_room: None,
        certificates: config.certificates(),
        driver: config.driver,
        cores: config.cores.iter().copied().take(1).collect(),
        connections_per_core_max: CONNECTIONS,
        redis: config.redis.clone(),
        kafka_tls: config.kafka_tls.clone(),
        front: config.front.clone(),
        keep_alive: config.keep_alive,
        drain_delay: Duration::ZERO,
        drain_deadline: Duration::ZERO,
        workers: Workers::default(),
    }
}

/// What is to be said of our own files.
fn own(config: &Config) -> Vec<Line> {
    let mut lines: Vec<Line> = config
        .secrets
        .warnings
        .iter()
        .chain(&config.certificates().warnings())
        .map(|warning| Line::new(Verdict::Warning, warning.clone()))
        .collect();
    match config.identity.clone().map(IdentityProvider::load).transpose() {
        Ok(Some(identity)) => match identity.warning() {
            Some(warning) => lines.push(Line::new(Verdict::Warning, warning)),
            None => lines.push(Line::new(Verdict::Good, "--jwt-keys: its keys were read")),
        },
        Ok(None) => lines.push(Line::new(
            Verdict::Warning,
            "userId is what callers say: perUser and fair queues are advisory without --jwt-keys",
        )),
        Err(error) => lines.push(Line::new(Verdict::Risk, format!("--jwt-keys: {error}"))),
    }
    lines
}

/// Whether all was asked and answered.
fn has_answers(core: &CoreCounters) -> bool {
    let counters = &core.decisions;
    let is_known = |found: &std::sync::Mutex<Option<Vec<Finding>>>| locked(found).is_some();
    core.shell.started.get() == 1
        && locked(&counters.redis_lacks).is_some()
        && is_known(&counters.redis_findings)
        && is_known(&counters.topic_findings)
}

fn locked<T: Clone>(value: &std::sync::Mutex<T>) -> T {
    value.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn redis(config: &Config, core: &CoreCounters) -> Vec<Line> {
    let server = format!("Redis {}", config.redis.address);
    let counters = &core.decisions;
    let Some(lacks) = locked(&counters.redis_lacks) else {
        let why = locked(&counters.redis_refusal).or_else(|| locked(&counters.redis_fault));
        return vec![out_of_reach(&server, why)];
    };
    let mut lines = vec![match locked(&counters.redis_refusal) {
        None => Line::new(Verdict::Good, format!("{server}: answers, and lets orders through")),
        Some(why) => Line::new(Verdict::Risk, format!("{server}: lets no order through: {why}")),
    }];
    if !lacks.is_empty() {
        let text = format!("{server}: its user lacks rights that an edge needs: {}", lacks.join("; "));
        lines.push(Line::new(Verdict::Risk, text));
    }
    let skew_ms = counters.redis_clock_skew_ms.get().cast_signed();
    if skew_ms.unsigned_abs() >= CLOCK_SKEW_MAX_MS {
        let text = format!("{server}: its clock is {skew_ms} ms ahead of this machine's: one of the two is wrong");
        lines.push(Line::new(Verdict::Warning, text));
    }
    lines.extend(settings(&server, locked(&counters.redis_findings)));
    lines
}

fn kafka(config: &Config, core: &CoreCounters) -> Vec<Line> {
    let server = format!("Kafka {}, topic {}", config.brokers(), config.topic);
    let counters = &core.decisions;
    let findings = locked(&counters.topic_findings);
    if core.shell.kafka_down_ms.get() > 0 || findings.is_none() {
        return vec![out_of_reach(&server, locked(&counters.kafka_refusal).or_else(|| locked(&counters.kafka_fault)))];
    }
    let mut lines = vec![Line::new(Verdict::Good, format!("{server}: answers, and its partitions have leaders"))];
    lines.extend(settings(&server, findings));
    lines
}

fn out_of_reach(server: &str, why: Option<String>) -> Line {
    let why = why.unwrap_or_else(|| "no answer".to_owned());
    Line::new(Verdict::OutOfReach, format!("{server}: {why}"))
}

fn settings(server: &str, findings: Option<Vec<Finding>>) -> Vec<Line> {
    let findings = match findings {
        None => return vec![Line::new(Verdict::Unknown, format!("{server}: does not tell its settings"))],
        Some(findings) if findings.is_empty() => {
            return vec![Line::new(Verdict::Good, format!("{server}: its settings lose nothing"))];
        }
        Some(findings) => findings,
    };
    let line = |finding: &Finding| {
        let verdict = if finding.value.is_some() { Verdict::Risk } else { Verdict::Unknown };
        Line::new(verdict, format!("{server}: {}", finding.in_words()))
    };
    findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretVariables;

    fn config() -> Config {
        Config::read(["flux-edge"], SecretVariables::default(), &[0]).expect("defaults")
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_not_asked_is_down_and_never_good() {
        let (config, core) = (config(), CoreCounters::default());
        assert!(!has_answers(&core));
        assert_eq!(texts(redis(&config, &core)), ["DOWN     Redis 127.0.0.1:6379: no answer"]);
        *core.decisions.redis_fault.lock().unwrap() = Some("connection refused".to_owned());
        assert_eq!(texts(redis(&config, &core)), ["DOWN     Redis 127.0.0.1:6379: connection refused"]);
        assert_eq!(texts(kafka(&config, &core)), ["DOWN     Kafka 127.0.0.1:9092, topic orders: no answer"]);
    }

    #[test]
    fn each_thing_that_is_wrong_has_a_line_and_what_is_not_told_is_unknown() {
        let (config, core) = (config(), CoreCounters::default());
        let counters = &core.decisions;
        *counters.redis_lacks.lock().unwrap() = Some(vec!["SADD flux:products".to_owned()]);
        *counters.redis_refusal.lock().unwrap() = Some("its user may not XADD".to_owned());
        counters.redis_clock_skew_ms.set((CLOCK_SKEW_MAX_MS as i64).cast_unsigned());
        let untold = Finding { value: None, ..Finding::example("appendfsync") };
        *counters.redis_findings.lock().unwrap() = Some(vec![Finding::example("appendonly"), untold]);
        let lines = redis(&config, &core);
        let verdicts: Vec<Verdict> = lines.iter().map(|line| line.verdict).collect();
        use Verdict::{Risk, Unknown, Warning};
        assert_eq!(verdicts, [Risk, Risk, Warning, Risk, Unknown]);
        assert!(lines[3].text.ends_with("appendonly is wrong: orders are lost; set it right"), "{}", lines[3]);
        *counters.topic_findings.lock().unwrap() = Some(Vec::new());
        core.shell.kafka_down_ms.set(0);
        assert_eq!(kafka(&config, &core).iter().map(|line| line.verdict).max(), Some(Verdict::Good));
    }
}
