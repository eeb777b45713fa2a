//! The whole worker, from the first connection to the last, but for what belongs to a process: the command line, logs,
//! signals, the runtime. A simulation runs it as the program does.

use std::rc::Rc;

use flux_net::{Bound, Clock, Notify, random};
use flux_protocol::order::Uuid;
use tracing::{error, info, warn};

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::consume::{self, Surroundings};
use crate::health::Health;
use crate::ledger::{Ledger, LedgerError, SCHEMA_VERSION, index};
use crate::limits::{RETRY_WAIT_MAX, RETRY_WAIT_MIN};
use crate::metrics::{Metrics, Server};
use crate::order_status::{self, Questions};
use crate::{auto_rebuild, redis_maintenance, topic};

/// Why a worker ends unasked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Only an operator can mend it: a wrong password, a server that is too old, a topic that may not be made.
    #[error("{0}")]
    Refused(String),
    /// No descriptor is left for what it cannot do without.
    #[error("the worker cannot go on: {0}")]
    System(#[from] std::io::Error),
}

/// Consumes until `stop` is notified. Servers that are not there yet are waited for. Only inside a runtime.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: &Config, listener: Bound, stop: Rc<Notify>) -> Result<(), ServeError> {
    let clock = Clock::start();
    let health = Rc::new(Health::new(clock.instant()));
    let metrics = Rc::new(Metrics::with(config.certificates()));
    let questions = Rc::new(Questions::new());
    let admin =
        Admin { health: Rc::clone(&health), metrics: Rc::clone(&metrics), questions: Rc::clone(&questions), clock };
    flux_net::spawn(async move {
        if let Err(error) = admin::serve(Rc::new(admin), listener).await {
            error!(%error, "the admin listener has ended");
        }
    });
    let seed = u64::from_ne_bytes(random::draw());
    let client_id = format!("flux-worker-{:08x}", seed as u32);
    let prepared = until(&stop, Box::pin(prepare(config, &client_id, seed, &health, &metrics, clock))).await;
    let (ledger, known) = match prepared {
        None => return Ok(()), // Told to stop while it waited: nothing is in hand.
        Some(prepared) => prepared?,
    };
    info!(topic = config.topic, topic_id = %known, "the topic is there and the ledger is migrated");
    let (of_fences, client) = (config.clone(), client_id.clone());
    flux_net::spawn(async move {
        if let Err(error) = topic::ensure_fences(&of_fences, &client, seed.wrapping_add(3)).await {
            warn!(%error, "nobody looks for the topic of the fences");
        }
    });
    flux_net::spawn(order_status::answer(questions, config.postgres.clone(), Rc::clone(&metrics), clock));
    flux_net::spawn(index::keep(config.postgres.clone()));
    let (maintained, known, counted) = (config.clone(), Rc::clone(&health), Rc::clone(&metrics));
    flux_net::spawn(async move { redis_maintenance::run(maintained, &known, &counted).await });
    if config.rebuilds {
        flux_net::spawn(auto_rebuild::run(config.clone()));
    }
    let surroundings = Surroundings { client_id, seed, ledger, health, metrics, clock, stop };
    Ok(consume::run(config, surroundings).await?)
}

/// Migrates the ledger and makes sure of the topic. Waits for servers that are not there yet.
async fn prepare(
    config: &Config,
    client_id: &str,
    seed: u64,
    health: &Health,
    metrics: &Metrics,
    clock: Clock,
) -> Result<(Ledger, Uuid), ServeError> {
    let mut pause = RETRY_WAIT_MIN;
    let mut ledger = loop {
        match migrated(config).await {
            Ok(ledger) => break ledger,
            Err(error) if error.is_retryable() => {
                metrics.failed(Server::postgres);
                health.postgres.fails(clock.instant(), &error.to_string());
                flux_net::sleep(pause).await?;
                pause = (pause * 2).min(RETRY_WAIT_MAX);
            }
            Err(error) => return Err(ServeError::Refused(error.to_string())),
        }
    };
    health.postgres.works();
    let described = topic::ensure(config, client_id, seed, health, clock).await;
    let described = described.map_err(|error| ServeError::Refused(error.to_string()))?;
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
    if applied == SCHEMA_VERSION {
        info!(
            applied,
            "the database had no ledger: its tables are made, and the topic is read into them from its beginning"
        );
    } else if applied > 0 {
        info!(applied, "the ledger has been migrated");
    }
    Ok(ledger)
}

/// What `future` gives, or `None` where the process is told to stop first. The notification is kept for the next task
/// that waits for it.
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
