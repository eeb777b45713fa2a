//! `flux-lab`: the demo, a deployment to play with, the crowd and the checker, from the command line.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use flux_lab::chaos;
use flux_lab::checker::{self, Allow};
use flux_lab::crowd::{self, Arrival, CrowdOptions, Driver, History, Orders, Repeat};
use flux_lab::demo::fair_sale::{self, FairSale};
use flux_lab::demo::{self, say};
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::error::LabError;
use flux_lab::interrupt::Interrupt;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Kafka, KafkaOptions, RedisOptions};
use flux_lab::truth::{Sources, Truth};
use serde_json::json;

/// How long servers that are checked may take to come to rest.
const CHECK_PATIENCE: Duration = Duration::from_secs(60);

/// Flux-Gate's proving ground: isolated real servers, the crowd, the checker, the demo.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Two sales on real servers, one of them with the worker killed; says what held and exits 1 where something did not.
    Demo {
        /// Then open a third sale, with a fair queue and a crowd before it, to watch and to take part in; until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Faults on real servers under load, and whether every promise held; exits 1 where one did not.
    Chaos {
        /// Rows to run, such as `12` or `14b`, comma between; left out: all.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Servers, workers and edges on free ports, until Ctrl-C.
    Up(UpArguments),
    /// Runs a command beside a Kafka of its own, named in FLUX_TEST_KAFKA; ends with the command's exit code.
    WithKafka {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Sends buyers to running edges and says how they were answered.
    Crowd(CrowdArguments),
    /// Compares a crowd's history with Redis, topic and ledger; exits 1 where a promise was broken.
    Check(CheckArguments),
}

#[derive(Args)]
struct UpArguments {
    /// Edges.
    #[arg(long, default_value_t = 1)]
    edges: usize,
    /// Workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// A sale to open: `product=units`; may be given more than once.
    #[arg(long, value_parser = parse_sale)]
    sale: Vec<(String, u64)>,
    /// Orders a second of these sales; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Redis keeps an append-only file.
    #[arg(long)]
    append_only: bool,
}

#[derive(Args)]
struct CrowdArguments {
    /// Public listeners, `host:port`; may be given more than once.
    #[arg(long, required = true)]
    target: Vec<String>,
    /// Products in turn; may be given more than once.
    #[arg(long, required = true)]
    product: Vec<String>,
    /// Units of an order, in turn; may be given more than once.
    #[arg(long, default_value = "1")]
    quantity: Vec<u16>,
    /// Buyers in all.
    #[arg(long, default_value_t = 10_000)]
    buyers: u64,
    /// Buyers a second; left out: all at once.
    #[arg(long, conflicts_with = "closed")]
    per_second: Option<f64>,
    /// A new buyer on each connection as soon as the one before is answered, for so long (`10s`); `--buyers` is ignored.
    #[arg(long, value_parser = humantime::parse_duration)]
    closed: Option<Duration>,
    /// Connections in all.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Come back from the waiting room, repeat what is pending, unavailable or unknown, with the same key.
    #[arg(long)]
    repeat: bool,
    /// Share of accepted buyers (0 to 1) who ask once more.
    #[arg(long, default_value_t = 0.0)]
    replay: f64,
    /// Ask for JSON (429 in place of 302).
    #[arg(long)]
    json: bool,
    /// How long a request may take before its outcome counts as unknown.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Begins every user and key: another name, other buyers.
    #[arg(long, default_value = "crowd")]
    name: String,
    /// Where to write every request and its outcome, one JSON object a line, for `flux-lab check`.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Event loop.
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    driver: Driver,
}

#[derive(Args)]
struct CheckArguments {
    /// What `flux-lab crowd --history` wrote; may be given more than once.
    #[arg(long, required = true)]
    history: Vec<PathBuf>,
    /// `redis://…`
    #[arg(long, env = "FLUX_REDIS", default_value = "redis://127.0.0.1:6379")]
    redis: String,
    /// `host:port`, comma between.
    #[arg(long, env = "FLUX_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// The topic of the orders.
    #[arg(long, env = "FLUX_TOPIC", default_value = "orders")]
    topic: String,
    /// `postgres://…`
    #[arg(long, env = "FLUX_POSTGRES", default_value = "postgres://postgres@127.0.0.1/flux")]
    postgres: String,
    /// Redis lost data in this run: a 202 may be gone, or end in `rejected`.
    #[arg(long)]
    redis_lost_data: bool,
    /// Another Redis took its place, or it forgot the sale: a 200 of the one before may end in `rejected`.
    #[arg(long)]
    redis_was_replaced: bool,
    /// Others ordered too: the ledger may hold orders that these histories do not.
    #[arg(long)]
    other_buyers: bool,
}

fn main() -> ExitCode {
    let result = match Command::parse().what {
        What::Demo { keep } => run_demo(keep),
        What::Chaos { only } => run_chaos(&only),
        What::Up(arguments) => run_up(arguments),
        What::WithKafka { command } => run_with_kafka(&command),
        What::Crowd(arguments) => run_crowd(arguments),
        What::Check(arguments) => run_check(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("flux-lab: {error}");
        ExitCode::from(2)
    })
}

fn run_with_kafka(command: &[String]) -> Result<ExitCode, LabError> {
    let run = RunDir::new()?;
    let kafka = Kafka::start(&run, KafkaOptions::default())?;
    let status = std::process::Command::new(&command[0])
        .args(&command[1..])
        .env("FLUX_TEST_KAFKA", kafka.bootstrap())
        .status()
        .map_err(|error| LabError::failed(format!("running {}: {error}", command[0])))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn run_chaos(only: &[String]) -> Result<ExitCode, LabError> {
    let scenarios = chaos::chosen(only)?;
    // Before the first thread.
    if let Err(error) = chaos::partition::isolate() {
        say(&format!("no network of our own: {error}"));
    }
    let _interrupt = Interrupt::catch()?;
    let good = chaos::run(&scenarios, say);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_demo(keep: bool) -> Result<ExitCode, LabError> {
    let interrupt = Interrupt::catch()?;
    let mut deployment = demo::start()?;
    let findings = demo::run(&mut deployment)?;
    say("");
    say(if findings.hold() { "Every promise held." } else { "Not every promise held: see ✗ above." });
    let mut held = findings.hold();
    if keep {
        say("");
        say(&demo::servers(&deployment));
        held &= watch_fair_sale(&mut deployment, interrupt)?;
    }
    drop(deployment);
    say("Everything is stopped.");
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the fair sale until Ctrl-C, whether it has ended by then or not. Returns whether what it promised held.
fn watch_fair_sale(deployment: &mut Deployment, interrupt: Interrupt) -> Result<bool, LabError> {
    let is_stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sale = scope.spawn(|| {
            let ended = fair_sale::run(deployment, &FairSale::DEMO, &is_stopped);
            if let Err(error) = &ended {
                say(&format!("The fair sale broke off: {error}"));
            }
            if !is_stopped.load(Ordering::Relaxed) {
                say("Left running; Ctrl-C stops everything.");
            }
            ended
        });
        interrupt.wait();
        is_stopped.store(true, Ordering::Relaxed);
        let findings = sale.join().unwrap_or_else(|_| Err(LabError::failed("the fair sale panicked")))?;
        Ok(findings.hold())
    })
}

fn run_up(arguments: UpArguments) -> Result<ExitCode, LabError> {
    let interrupt = Interrupt::catch()?;
    say("Starting …");
    let mut deployment = Deployment::start(DeploymentOptions {
        edges: arguments.edges,
        workers: arguments.workers,
        partitions: arguments.partitions,
        servers: Servers::own(),
        redis: RedisOptions { append_only: arguments.append_only, ..RedisOptions::default() },
        ..DeploymentOptions::default()
    })?;
    for (product, units) in &arguments.sale {
        deployment.init_with(json!({"productId": product, "quantity": units, "rate": arguments.rate}))?;
        say(&format!("{units} units of {product} are for sale"));
    }
    say(&demo::addresses(&deployment));
    say("Running; Ctrl-C stops everything.");
    interrupt.wait();
    drop(deployment);
    say("Everything is stopped.");
    Ok(ExitCode::SUCCESS)
}

fn run_crowd(arguments: CrowdArguments) -> Result<ExitCode, LabError> {
    let targets: Result<Vec<SocketAddr>, LabError> = arguments.target.iter().map(|text| resolve(text)).collect();
    let arrival = match (arguments.closed, arguments.per_second) {
        (Some(length), _) => Arrival::Closed(length),
        (None, Some(per_second)) => Arrival::Rate { buyers: arguments.buyers, per_second },
        (None, None) => Arrival::Buyers(arguments.buyers),
    };
    let repeat = if arguments.repeat { Repeat::UNTIL_SETTLED } else { Repeat::NEVER };
    let options = CrowdOptions {
        targets: targets?,
        connections: arguments.connections,
        threads: arguments.threads,
        orders: Orders::Unique { products: arguments.product, quantities: arguments.quantity, name: arguments.name },
        arrival,
        repeat: Repeat { replay_share: arguments.replay, ..repeat },
        timeout: arguments.timeout,
        length_max: Duration::from_secs(3600),
        history: arguments.history.is_some(),
        accept_json: arguments.json,
        seed: 1,
        driver: arguments.driver,
    };
    let report = demo::show_progress(crowd::start(options)?, arguments.buyers)?;
    say(report.table().trim_end());
    if let Some(path) = arguments.history {
        let wrong = |error: std::io::Error| LabError::failed(format!("writing {}: {error}", path.display()));
        let file = File::create(&path).map_err(wrong)?;
        report.history.write_lines(BufWriter::new(file)).map_err(wrong)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_check(arguments: &CheckArguments) -> Result<ExitCode, LabError> {
    let mut history = History::default();
    for path in &arguments.history {
        let wrong = |error: std::io::Error| LabError::failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(wrong)?;
        history.extend(&History::read_lines(BufReader::new(file)).map_err(wrong)?);
    }
    let sources = Sources {
        redis: arguments.redis.clone(),
        kafka: arguments.kafka.clone(),
        topic: arguments.topic.clone(),
        postgres: arguments.postgres.clone(),
    };
    let truth = Truth::at_rest(&sources, CHECK_PATIENCE)?;
    if let Some(what) = truth.moves() {
        say(&format!("not at rest: {what}"));
    }
    let CheckArguments { redis_lost_data, redis_was_replaced, other_buyers, .. } = *arguments;
    let allow = Allow { redis_lost_data, redis_was_replaced, other_buyers, ..Allow::default() };
    let verdict = checker::check(&truth, &history, allow);
    say(verdict.to_string().trim_end());
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn resolve(text: &str) -> Result<SocketAddr, LabError> {
    let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| LabError::failed(format!("{text:?} is not host:port")))
}

fn parse_sale(text: &str) -> Result<(String, u64), String> {
    let (product, units) = text.split_once('=').ok_or("a sale is `product=units`")?;
    Ok((product.to_owned(), units.parse().map_err(|_| "units are a number")?))
}
