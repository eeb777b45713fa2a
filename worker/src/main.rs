//! `flux-worker`: reads its configuration, starts what it was told to do, and turns the outcome into an exit code.

use std::process::ExitCode;
use std::rc::Rc;

use flux_net::{Clock, Doorbell, ListenOptions, Notify, Runtime, RuntimeOptions, listener};
use flux_protocol::order::Uuid;
use flux_worker::admin::{self, Admin};
use flux_worker::config::{Config, ConfigError, Task};
use flux_worker::consume::{self, Surroundings};
use flux_worker::desk::{self, Desk};
use flux_worker::health::Health;
use flux_worker::ledger::{Ledger, LedgerError};
use flux_worker::limits::{RETRY_WAIT_MAX, RETRY_WAIT_MIN};
use flux_worker::metrics::{Metrics, Server};
use flux_worker::{audit, logging, rebuild, topic, upkeep};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mistake in the configuration, or one that only an operator can mend.
const EXIT_MISTAKE: u8 = 2;
/// Something that should not happen.
const EXIT_FAILURE: u8 = 1;

fn main() -> ExitCode {
    let config = match Config::read(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Asked(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(ConfigError::Mistake(line)) => return mistake(&line),
    };
    logging::start();
    let mut runtime = match Runtime::build(RuntimeOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return mistake(&error.to_string()),
    };
    match &config.task {
        Task::Consume => {}
        Task::Audit { product } => return runtime.block_on(audit::run(&config, product.as_ref())),
        Task::Rebuild(order) => return runtime.block_on(rebuild::run(&config, order)),
    }
    // Bound before anything is asked of a server: a port that is taken is a mistake that waiting does not mend.
    let options = ListenOptions { shared_port: false, wait_for_data: false };
    let listener = match listener::bind(config.admin, options) {
        Ok(listener) => listener,
        Err(error) => return mistake(&format!("--worker-admin {}: {error}", config.admin)),
    };
    info!(driver = %runtime.driver(), admin = %config.admin, topic = config.topic, group = config.group, "starting");
    runtime.block_on(consume(&config, listener))
}

/// One line on standard error.
fn mistake(line: &str) -> ExitCode {
    eprintln!("flux-worker: {line}");
    ExitCode::from(EXIT_MISTAKE)
}

/// From the first connection to the last.
async fn consume(config: &Config, listener: std::net::TcpListener) -> ExitCode {
    let clock = Clock::start();
    let health = Rc::new(Health::new(clock.instant()));
    let metrics = Rc::new(Metrics::new());
    let desk = Rc::new(Desk::new());
    let stop = Rc::new(Notify::new());
    if let Err(error) = listen_to_signals(Rc::clone(&stop)) {
        error!(%error, "signals cannot be heard");
        return ExitCode::from(EXIT_FAILURE);
    }
    let admin = Admin { health: Rc::clone(&health), metrics: Rc::clone(&metrics), desk: Rc::clone(&desk), clock };
    flux_net::spawn(async move {
        if let Err(error) = admin::serve(Rc::new(admin), listener).await {
            error!(%error, "the admin listener has ended");
        }
    });
    let seed = seed();
    let client_id = format!("flux-worker-{:08x}", seed as u32);
    let prepared = until(&stop, prepare(config, &client_id, seed, &health, &metrics, clock)).await;
    let (ledger, known) = match prepared {
        None => return ExitCode::SUCCESS, // Told to stop while it waited: nothing is in hand.
        Some(Ok(prepared)) => prepared,
        Some(Err(line)) => {
            error!("{line}");
            return mistake(&line);
        }
    };
    info!(topic = config.topic, topic_id = %known, "the topic is there and the ledger is migrated");
    flux_net::spawn(desk::answer(desk, config.postgres.clone(), Rc::clone(&metrics), clock));
    let upkeep = (config.clone(), Rc::clone(&metrics));
    flux_net::spawn(async move { upkeep::run(upkeep.0, &upkeep.1).await });
    let surroundings = Surroundings { client_id, seed, ledger, health, metrics, clock, stop };
    match consume::run(config, surroundings).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "the worker cannot go on");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Migrates the ledger and makes sure of the topic. Waits for servers that are not there yet.
async fn prepare(
    config: &Config,
    client_id: &str,
    seed: u64,
    health: &Health,
    metrics: &Metrics,
    clock: Clock,
) -> Result<(Ledger, Uuid), String> {
    let mut pause = RETRY_WAIT_MIN;
    let mut ledger = loop {
        match migrated(config).await {
            Ok(ledger) => break ledger,
            Err(error) if error.is_retryable() => {
                metrics.failed(Server::postgres);
                health.postgres.fails(clock.instant(), &error.to_string());
                flux_net::sleep(pause).await.map_err(|error| error.to_string())?;
                pause = (pause * 2).min(RETRY_WAIT_MAX);
            }
            Err(error) => return Err(error.to_string()),
        }
    };
    health.postgres.works();
    let described = topic::ensure(config, client_id, seed, health, clock).await;
    let described = described.map_err(|error| error.to_string())?;
    let topic_id = Uuid(described.id);
    if described.created {
        info!(topic = config.topic, partitions = described.partitions, "the topic was missing and has been created");
    }
    // Where the ledger already holds records of another topic under this name, that one was deleted or replaced.
    match ledger.known_topics().await {
        Ok(known) if !known.is_empty() && !known.contains(&topic_id) => {
            error!(
                topic = config.topic, %topic_id, ?known,
                "the ledger knows this topic under another id: it was deleted or replaced; orders that were not stored are \
                 gone with it"
            );
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "the ledger could not be asked which topics it knows"),
    }
    Ok((ledger, topic_id))
}

async fn migrated(config: &Config) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger::connect(&config.postgres).await?;
    let applied = ledger.migrate().await?;
    if applied > 0 {
        info!(applied, "the ledger has been migrated");
    }
    Ok(ledger)
}

/// What `future` gives, or `None` where the process is told to stop first. The word is kept for who asks next.
async fn until<F: Future>(stop: &Notify, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut stopped = std::pin::pin!(stop.notified());
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
            return std::task::Poll::Ready(Some(output));
        }
        stopped.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// SIGTERM and SIGINT, heard on a thread of their own and brought here by a doorbell.
fn listen_to_signals(stop: Rc<Notify>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let doorbell = Doorbell::new()?;
    let heard = doorbell.listen()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            doorbell.ring();
        }
    })?;
    flux_net::spawn(async move {
        while heard.rung().await.is_ok() {
            stop.notify();
        }
    });
    Ok(())
}

/// Differs from process to process: for jitter only.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
