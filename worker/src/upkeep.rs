//! What the worker does for Redis beside storing, every second: units of second reservations go back, open sales stand in
//! the registry, and the account of each latest sale is compared while it runs.
//!
//! On connections of its own: a Redis that is away delays nothing but this. Changes a sale otherwise in one case: one with
//! more units left than the ledger leaves is suspended, where that is wanted.

use flux_net::sleep;
use flux_protocol::resp::command;
use tracing::{debug, error, info, warn};

use crate::behind::Behind;
use crate::config::Config;
use crate::ledger::{Ledger, Units};
use crate::limits::UNITS_INTERVAL;
use crate::metrics::Metrics;
use crate::redis::{Redis, key, keys, strings, text};
use crate::returns::{ReturnsError, Round};
use crate::scripts::Scripts;

/// Names put into the registry with one command.
const NAMES_MAX: usize = 1000;

/// Never ends but where the process has no descriptor left for a timer.
pub async fn run(config: Config, metrics: &Metrics) {
    let scripts = Scripts::new();
    let (mut servers, mut kept) = (None, Kept::default());
    let mut failing: Option<String> = None;
    loop {
        match turn(&config, &scripts, &mut servers, &mut kept, metrics).await {
            Ok(()) => {
                if failing.take().is_some() {
                    info!("returns and registry are looked after again");
                }
            }
            Err(error) => {
                // Each reason once: behind a Redis that is away there may be one that refuses.
                let reason = error.to_string();
                if failing.as_ref() != Some(&reason) {
                    warn!(%error, "returns and registry have to wait; nothing is lost by it");
                    failing = Some(reason);
                }
            }
        }
        if let Err(error) = sleep(UNITS_INTERVAL).await {
            warn!(%error, "returns and registry are looked after no more");
            return;
        }
    }
}

/// What is remembered from one second to the next.
#[derive(Debug, Default)]
struct Kept {
    returns: Round,
    behind: Behind,
}

async fn turn(
    config: &Config,
    scripts: &Scripts,
    servers: &mut Option<(Ledger, Redis)>,
    kept: &mut Kept,
    metrics: &Metrics,
) -> Result<(), ReturnsError> {
    let (ledger, redis) = match servers {
        Some(servers) => servers,
        none => none.insert((Ledger::connect(&config.postgres).await?, Redis::connect(&config.redis).await?)),
    };
    let given = kept.returns.give_back(ledger, redis, scripts).await?;
    if given.returned + given.absorbed + given.withdrawn > 0 {
        info!(?given, "units of second reservations are settled");
    }
    // The ledger first: what is stored between the two readings is then missing, not counted twice.
    let units = ledger.units().await?;
    register(redis, &units).await?;
    kept.behind.keep(&units);
    for of_product in &units {
        let is_breach = compare(redis, of_product, &mut kept.behind, metrics).await?;
        if is_breach && config.suspends_on_breach {
            suspend(redis, scripts, of_product, metrics).await?;
        }
    }
    Ok(())
}

/// Puts the products of open sales into the registry, which may have lost them.
async fn register(redis: &mut Redis, units: &[Units]) -> Result<(), ReturnsError> {
    let open: Vec<&[u8]> =
        units.iter().filter(|units| !units.closed).map(|units| units.product_id.as_bytes()).collect();
    for names in open.chunks(NAMES_MAX) {
        let mut arguments: Vec<&[u8]> = vec![b"SADD", b"flux:products"];
        arguments.extend(names);
        let mut wire = Vec::new();
        command(&mut wire, &arguments);
        let added = redis.ask_many(wire, 1).await?.pop().map(text).transpose()?;
        debug!(?added, "the registry is looked after");
    }
    Ok(())
}

/// Stops a sale that would sell units twice: everybody is told 503 until a rebuild has proved its stock.
async fn suspend(redis: &mut Redis, scripts: &Scripts, units: &Units, metrics: &Metrics) -> Result<(), ReturnsError> {
    let keys = keys(&units.product_id);
    let keys: Vec<&[u8]> = keys[..6].iter().map(|key| key.as_bytes()).collect();
    let arguments = [units.sale_id.to_string(), units.most_left().to_string()];
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    let reply = redis.call(&scripts.suspend, &keys, &arguments).await?;
    match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["OK", left] => {
            metrics.suspended();
            error!(
                product = units.product_id,
                left,
                stored = units.stored,
                total = units.total,
                "more units are left than the ledger leaves: the sale is suspended, run flux-worker rebuild"
            );
        }
        // It has changed since it was looked at: the next look tells.
        _ => debug!(product = units.product_id, ?reply, "not suspended"),
    }
    Ok(())
}

/// What Redis has left of a sale, where it holds that very sale; whether that is too much.
async fn compare(
    redis: &mut Redis,
    units: &Units,
    behind: &mut Behind,
    metrics: &Metrics,
) -> Result<bool, ReturnsError> {
    let (sale_key, stock_key) = (key(&units.product_id, "sale"), key(&units.product_id, "stock"));
    let mut wire = Vec::new();
    command(&mut wire, &[b"HMGET", sale_key.as_bytes(), b"id", b"gen", b"state"]);
    command(&mut wire, &[b"GET", stock_key.as_bytes()]);
    let mut answers = redis.ask_many(wire, 2).await?;
    let stock = answers.pop().map(text).transpose()?.and_then(|stock| stock.parse::<u64>().ok());
    let sale = answers.pop().map(strings).transpose()?.unwrap_or_default();
    let held = match sale.first_chunk() {
        Some([id, generation, _]) => id.parse::<u64>().ok().zip(generation.parse::<u32>().ok()),
        None => None,
    };
    metrics.set_redis_behind(&units.product_id, behind.look(units, held));
    let holds_it = held.is_some_and(|(id, _)| id == units.sale_id);
    // A suspended sale's stock cannot be believed.
    if let (Some(available), true) = (stock, holds_it && sale.get(2).is_some_and(|state| state != "suspended")) {
        let settled = units.stored + units.withdrawn + units.dead_lettered + units.awaiting_return;
        let reserved = units.total.saturating_sub(available).saturating_sub(settled);
        let is_breach = available > units.most_left();
        metrics.set_redis_units(&units.product_id, available, reserved, is_breach);
        return Ok(is_breach);
    }
    Ok(false)
}
