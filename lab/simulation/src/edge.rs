//! An edge in the world: the program that ships, from its command line on, with its cores in one process.
//!
//! Left out is only what belongs to a real process: threads, signals, logging. Core n listens on port 3000 + n.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flux_edge::config::{Config, ConfigError, SecretVariables};
use flux_edge::core::Core;
use flux_edge::core::state::board::Board;
use flux_edge::counters::CoreCounters;
use flux_edge::monitoring::history::History;
use flux_edge::monitoring::workers::Workers;
use flux_edge::shell::core_tasks::{Control, CoreTasks, listen};
use flux_edge::shell::plan::Plan;
use flux_net::simulated::Task;
use flux_net::tls::Certificates;
use flux_net::{Clock, random};

use crate::world::{ProcessId, World};

/// Where the first core listens; the others behind it.
pub const PORT: u16 = 3000;
/// Where an operator asks.
pub const ADMIN_PORT: u16 = 4001;
/// Connections a core: a run has fewer.
const CONNECTIONS_MAX: usize = 1000;

/// A running edge.
#[derive(Clone)]
pub struct Edge {
    /// Its process.
    pub process: ProcessId,
    /// By which it is told to drain.
    pub control: Arc<Control>,
    /// What its cores count.
    pub counters: Arc<[CoreCounters]>,
}

/// Starts one with so many cores, under `name`, with what is added to its command line; records live for `ttl`.
///
/// # Panics
/// Where the command line is refused: the scenario is wrong.
pub fn start(world: &mut World, name: &str, cores: usize, flags: &[String], ttl: Duration) -> Edge {
    let control = Arc::new(Control::new(cores).expect("simulated doorbells cost nothing"));
    let counters: Arc<[CoreCounters]> = (0..cores).map(|_| CoreCounters::default()).collect();
    let process = world.start(name, || mains(cores, flags, ttl, &control, &counters));
    Edge { process, control, counters }
}

fn mains(
    cores: usize,
    flags: &[String],
    ttl: Duration,
    control: &Arc<Control>,
    counters: &Arc<[CoreCounters]>,
) -> Vec<Task> {
    let mut line: Vec<String> = [
        "flux-edge",
        "--listen=127.0.0.1:3000",
        "--admin=127.0.0.1:4001",
        "--waiting-room=off",
        "--redis=redis://redis:6379",
        "--kafka=kafka:9092",
    ]
    .map(str::to_owned)
    .to_vec();
    line.extend_from_slice(flags);
    line.push(format!("--cores={cores}"));
    let allowed: Vec<usize> = (0..cores).collect();
    let mut config = match Config::read(line, SecretVariables::default(), &allowed) {
        Ok(config) => config,
        Err(ConfigError::Mistake(why) | ConfigError::Asked(why)) => panic!("{why}"),
    };
    // Shorter than the command line allows, where a run is to see records run out.
    config.idempotency_ttl = ttl;
    let plan = Plan {
        listen: config.listen,
        admin: config.admin,
        waiting_room: None,
        driver: config.driver,
        cores: config.cores.clone(),
        connections_per_core_max: CONNECTIONS_MAX,
        redis: config.redis.clone(),
        kafka_tls: None,
        certificates: Certificates::default(),
        front: config.front.clone(),
        keep_alive: config.keep_alive,
        drain_delay: config.drain_delay,
        drain_deadline: config.drain_deadline,
        workers: Workers::default(),
    };
    let listening = listen(&plan).expect("a new process' ports are free");
    let clock = Clock::start();
    let board = Arc::<Board>::default();
    let cores = listening.sockets.into_iter().enumerate().map(|(index, sockets)| {
        let core = CoreTasks {
            index,
            clock,
            plan: plan.clone(),
            control: Arc::clone(control),
            counters: Arc::clone(counters),
            history: History::default(),
        };
        let told = Rc::new(config.for_core(PORT));
        let decisions = Arc::clone(&counters[index].decisions);
        let board = Arc::clone(&board);
        let main: Task = Box::pin(async move {
            let machine = Core::new(told, decisions, index, random::draw(), clock.now()).beside(board);
            let machine = machine.reading_fences(clock.now());
            core.run(sockets, machine, || {}).await.expect("simulated timers cost nothing");
        });
        main
    });
    cores.collect()
}
