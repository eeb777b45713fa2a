//! What the worker does for Redis beside storing, every second: units of second reservations go back, open sales stand in
//! the registry, and the accounts of the latest sales are compared while they run: so many of them a second, in their turn.
//!
//! On connections of its own: a Redis that is away delays nothing but this. Changes a sale otherwise in two cases: one with
//! more units left than the ledger leaves is suspended, where that is wanted, and so is one that Redis has lost.

use flux_net::sleep;
use flux_protocol::rare::{Rare, is_taken};
use flux_protocol::redis_keys;
use flux_protocol::resp::{OwnedFrame, command};
use tracing::{debug, error, info, warn};

use crate::behind::Behind;
use crate::config::Config;
use crate::health::Health;
use crate::ledger::{Ledger, Units};
use crate::limits::{COMPARED_MAX, COMPARED_PAGE, UNITS_INTERVAL};
use crate::metrics::Metrics;
use crate::redis::{Redis, RedisError, array, strings, text};
use crate::repeated::Repeated;
use crate::returned::Forgotten;
use crate::returns::{Given, ReturnsError, Round};
use crate::rota::Rota;
use crate::scripts::Scripts;

/// Names put into the registry with one command.
const NAMES_MAX: usize = 1000;

/// Never ends but where the process has no descriptor left for a timer.
pub async fn run(config: Config, health: &Health, metrics: &Metrics) {
    let scripts = Scripts::new();
    let (mut servers, mut kept) = (None, Kept::default());
    let mut failing = Repeated::default();
    loop {
        match turn(&config, &scripts, &mut servers, &mut kept, metrics).await {
            Ok(()) => {
                health.redis_trouble.take();
                if failing.is_over() {
                    info!("returns and registry are looked after again");
                }
            }
            Err(error) => {
                let trouble = (!matches!(error, ReturnsError::Ledger(_))).then(|| error.to_string());
                health.redis_trouble.replace(trouble);
                // Behind a Redis that is away there may be one that refuses.
                if failing.is_due(error.to_string()) {
                    warn!(%error, "returns and registry have to wait; nothing is lost by it");
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
    rota: Rota,
    returned: Forgotten,
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
    let given = match is_taken(Rare::ReturnsLater) {
        true => Given::default(),
        false => kept.returns.give_back(ledger, redis, scripts).await?,
    };
    if given.returned + given.absorbed + given.withdrawn + given.unfounded > 0 {
        let Given { returned, absorbed, withdrawn, unfounded, waiting } = given;
        info!(returned, absorbed, withdrawn, unfounded, waiting, "units of second reservations are settled");
        metrics.unfounded(given.unfounded);
    }
    // The ledger first: what is stored between the two readings is then missing, not counted twice.
    let units = ledger.units().await?;
    register(redis, &units).await?;
    kept.behind.keep(&units);
    kept.returned.keep(&units);
    let due: Vec<&Units> = kept.rota.turn(&units, COMPARED_MAX).into_iter().map(|at| &units[at]).collect();
    for page in due.chunks(COMPARED_PAGE) {
        for (of_product, in_redis) in page.iter().zip(InRedis::ask(redis, page).await?) {
            if let Some((id, _)) = in_redis.sale {
                let forgotten = kept.returned.look(ledger, redis, &of_product.product_id, id).await?;
                debug!(product = of_product.product_id, forgotten, "returns to earlier sales are forgotten");
            } else if of_product.announced && !of_product.closed && !in_redis.is_lost {
                note_lost(redis, scripts, of_product).await?;
            }
            if compare(in_redis, of_product, &mut kept.behind, metrics) && config.suspends_on_breach {
                suspend(redis, scripts, of_product, metrics).await?;
            }
        }
    }
    metrics.end_round();
    kept.returns.is_permitted()
}

/// Puts the products of open sales into the registry, which may have lost them.
async fn register(redis: &mut Redis, units: &[Units]) -> Result<(), ReturnsError> {
    let open: Vec<&[u8]> =
        units.iter().filter(|units| !units.closed).map(|units| units.product_id.as_bytes()).collect();
    for names in open.chunks(NAMES_MAX) {
        let mut arguments: Vec<&[u8]> = vec![b"SADD", redis_keys::REGISTRY.as_bytes()];
        arguments.extend(names);
        let mut wire = Vec::new();
        command(&mut wire, &arguments);
        let added = redis.ask_many(wire, 1).await?.pop().map(text).transpose()?;
        debug!(?added, "the registry is looked after");
    }
    Ok(())
}

/// Suspends a product whose open sale Redis has lost with all its keys, for edges that have not heard of it, too. Where anything of
/// it is left they see the loss themselves.
async fn note_lost(redis: &mut Redis, scripts: &Scripts, units: &Units) -> Result<(), ReturnsError> {
    let keys = redis_keys::all_of(&units.product_id);
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let reply = redis.call(&scripts.lost, &keys, &[units.sale_id.to_string().as_bytes()]).await?;
    match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["OK"] => error!(
            product = units.product_id,
            sale = units.sale_id,
            "this Redis does not hold this open sale, and it is suspended here: it was lost, or the edges sell it from another --redis \
             or another database of it. Where they have the same, run flux-worker rebuild --product {}",
            units.product_id
        ),
        // It has changed since it was looked at: the next look tells.
        _ => debug!(product = units.product_id, ?reply, "not noted as lost"),
    }
    Ok(())
}

/// Stops a sale that would sell units twice: everybody is told 503 until a rebuild has proved its stock.
async fn suspend(redis: &mut Redis, scripts: &Scripts, units: &Units, metrics: &Metrics) -> Result<(), ReturnsError> {
    let keys = redis_keys::all_of(&units.product_id);
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

/// What Redis holds of a product, of one moment. All empty: it does not, or not so that it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InRedis {
    /// The sale's id and generation.
    sale: Option<(u64, u32)>,
    is_suspended: bool,
    /// That this sale is lost was noted.
    is_lost: bool,
    stock: Option<u64>,
}

impl InRedis {
    /// Asks for all of them in one write; each of them is read at one moment.
    async fn ask(redis: &mut Redis, page: &[&Units]) -> Result<Vec<InRedis>, RedisError> {
        let mut wire = Vec::new();
        for units in page {
            let (sale_key, stock_key) =
                (redis_keys::of(&units.product_id, "sale"), redis_keys::of(&units.product_id, "stock"));
            command(&mut wire, &[b"MULTI"]);
            command(&mut wire, &[b"HMGET", sale_key.as_bytes(), b"id", b"gen", b"state", b"lost"]);
            command(&mut wire, &[b"GET", stock_key.as_bytes()]);
            command(&mut wire, &[b"EXEC"]);
        }
        let answers = redis.ask_many(wire, 4 * page.len()).await?;
        answers.into_iter().skip(3).step_by(4).map(InRedis::read).collect()
    }

    /// What EXEC answers. A key of another type is as good as lost, and says nothing about other products.
    fn read(answer: OwnedFrame) -> Result<InRedis, RedisError> {
        let mut answers = array(answer)?.into_iter();
        let sale = answers.next().and_then(|sale| strings(sale).ok()).unwrap_or_default();
        let stock = answers.next().and_then(|stock| text(stock).ok());
        let field = |at: usize| sale.get(at).map_or("", String::as_str);
        Ok(InRedis {
            sale: field(0).parse().ok().zip(field(1).parse().ok()),
            is_suspended: field(2) == "suspended",
            is_lost: !field(3).is_empty(),
            stock: stock.and_then(|stock| stock.parse().ok()),
        })
    }
}

/// What Redis has left of a sale, where it holds that very sale; whether that is too much.
fn compare(in_redis: InRedis, units: &Units, behind: &mut Behind, metrics: &Metrics) -> bool {
    metrics.set_ledger_units(units);
    metrics.set_redis_behind(&units.product_id, behind.look(units, in_redis.sale));
    let holds_it = in_redis.sale.is_some_and(|(id, _)| id == units.sale_id);
    // A suspended sale's stock is nobody's to believe.
    let Some(available) = in_redis.stock.filter(|_| holds_it && !in_redis.is_suspended) else { return false };
    let settled = units.stored + units.withdrawn + units.dead_lettered + units.awaiting_return;
    let reserved = units.total.saturating_sub(available).saturating_sub(settled);
    let is_breach = available > units.most_left();
    metrics.set_redis_units(&units.product_id, available, reserved, is_breach);
    is_breach
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(stored: u64) -> Units {
        Units { stored, ..Units::unsold("phone", 7, 1) }
    }

    /// What a scraper adds up is of one reading of the ledger, and the reading of Redis that followed it.
    #[test]
    fn the_figures_of_an_account_add_up_at_every_scrape() {
        let (metrics, mut behind) = (Metrics::new(), Behind::default());
        for (stored, stock) in [(10, 85), (40, 60), (70, 20)] {
            let in_redis = InRedis { sale: Some((7, 1)), is_suspended: false, is_lost: false, stock: Some(stock) };
            assert!(!compare(in_redis, &units(stored), &mut behind, &metrics));
            let text = metrics.render();
            let figure = |state: &str| -> u64 {
                let name = format!("flux_units{{product=\"phone\",state=\"{state}\"}} ");
                let line = text.lines().find_map(|line| line.strip_prefix(&*name));
                line.and_then(|number| number.parse().ok()).expect("a figure")
            };
            assert_eq!(figure("available") + figure("reserved") + figure("stored"), figure("total"));
        }
    }
}
