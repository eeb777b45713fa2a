//! `flux-worker rebuild`: proves a suspended sale's stock from the ledger and lets it go on.
//!
//! ```text
//! lock ─▶ drain ─▶ generation + 1 in the ledger ─▶ fence in Redis ─▶ wait ─▶ publish the outbox ─▶ drain
//!                                                                                                    │
//!               open again ◀─ records, users' units ◀─ stock = total − sold − dead-lettered ◀────────┘
//! ```
//!
//! The ledger is believed, Redis is not: the sale's id, total and options come from the ledger, and of Redis only what
//! stands in the outbox is taken, under the ids it was reserved with. After the wait no edge publishes from memory what
//! it reserved under the older generation, so what the drained log has brought is all that was sold.
//!
//! Ended at any point it leaves the sale suspended, and can be begun again. Never gives a unit to anybody.

mod held;
mod outbox;
mod records;
mod sale;

use std::process::ExitCode;
use std::time::Duration;

use flux_net::{random, sleep};
use flux_protocol::postgres::Param;
use tracing::{error, info};

use crate::config::{Config, RebuildOrder};
use crate::ledger::Ledger;
use crate::redis::{Redis, key, keys};
use crate::scripts::Scripts;
use crate::servers::{self, Ended, Log};
pub use held::{Held, Server};
use sale::Sale;

/// How often the ledger is asked how far it has come.
const DRAIN_PAUSE: Duration = Duration::from_millis(200);
/// Times that the ledger may have come no further before it is said that nobody stores: 60 s.
const DRAIN_PATIENCE: u32 = 300;

/// Rebuilds what `order` names. Says on standard output what was done, or on standard error why nothing was.
pub async fn run(config: &Config, order: &RebuildOrder) -> ExitCode {
    match rebuild(config, order).await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(ended) => {
            error!("{ended}");
            eprintln!("flux-worker: rebuild of {}: {ended}", order.product);
            ended.exit_code()
        }
    }
}

/// The whole of it; the line that says what was done.
///
/// # Errors
/// [`Ended`]: the sale is suspended still, or was never touched. To be begun again.
pub async fn rebuild(config: &Config, order: &RebuildOrder) -> Result<String, Ended> {
    match Rebuild::begin(config, order).await? {
        Some(mut rebuild) => {
            let held = rebuild.look().await?;
            rebuild.carry_out(&held).await
        }
        None => Err(Ended::Refused("another rebuild of this product is under way".to_owned())),
    }
}

/// The same for whoever decided on it by what Redis held. `None`, and nothing was changed: another rebuild of this
/// product is under way, or has been since.
///
/// # Errors
/// As [`rebuild`].
pub async fn rebuild_as_seen(config: &Config, order: &RebuildOrder, seen: &Held) -> Result<Option<String>, Ended> {
    let Some(mut rebuild) = Rebuild::begin(config, order).await? else { return Ok(None) };
    let held = rebuild.look().await?;
    if held != *seen {
        return Ok(None);
    }
    rebuild.carry_out(&held).await.map(Some)
}

/// One that holds the product's lock.
struct Rebuild<'a> {
    config: &'a Config,
    order: &'a RebuildOrder,
    scripts: Scripts,
    ledger: Ledger,
    redis: Redis,
    log: Log,
}

impl<'a> Rebuild<'a> {
    /// `None`: another one holds the lock. It goes with the connection, and the connection is never made anew.
    async fn begin(config: &'a Config, order: &'a RebuildOrder) -> Result<Option<Rebuild<'a>>, Ended> {
        let mut ledger = servers::ledger(config).await?;
        let sql = "SELECT pg_try_advisory_lock(hashtextextended('flux-rebuild:' || $1, 0))";
        let rows = ledger.query(sql, &[Param::Text(order.product.as_str().to_owned())]).await?;
        if rows.first().and_then(|row| row.text(0)) != Some("t") {
            return Ok(None);
        }
        let redis = servers::redis(config).await?;
        let log = Log::new(config, u64::from_ne_bytes(random::draw()));
        Ok(Some(Rebuild { config, order, scripts: Scripts::new(), ledger, redis, log }))
    }

    /// What is there to rebuild on. First of all, an event in the log that closes the sale is to be stored: before the
    /// generation goes up.
    async fn look(&mut self) -> Result<Held, Ended> {
        drain(&mut self.ledger, &mut self.log).await?;
        let server = Server::ask(&mut self.redis).await?;
        let held = Held::ask(&mut self.redis, self.order.product.as_str()).await?;
        if let Some(topic) = held.other_topic(&self.config.topic) {
            return Err(Ended::Refused(format!(
                "the orders of this sale belong into topic {topic}, not {}: rebuild it by a worker of that topic",
                self.config.topic
            )));
        }
        held.permits(&server, self.order)?;
        Ok(held)
    }

    async fn carry_out(&mut self, held: &Held) -> Result<String, Ended> {
        let Rebuild { config, order, scripts, ledger, redis, log } = self;
        let product = order.product.as_str();
        let sale = Sale::raise(ledger, product, held).await?;
        info!(product, sale = sale.id, generation = sale.generation, "fenced off in the ledger");
        let fenced = fence(redis, scripts, product, &sale, &config.topic).await?;
        info!(product, wait = ?order.fence, "fenced off in Redis: waiting until no edge publishes what it reserved before");
        sleep(order.fence).await?;

        let published = outbox::publish(config, redis, product, u64::from_ne_bytes(random::draw())).await?;
        info!(product, orders = published, "what was left in the outbox is in the log");
        drain(ledger, log).await?;

        let account = sale.account(ledger, product, fenced.was_closed).await?;
        let (users, records) =
            records::write(ledger, redis, product, &sale, fenced.per_user, config.idempotency_ttl).await?;
        restore(redis, scripts, product, &sale, &account).await?;
        redis.ask(&[b"SADD", b"flux:products", product.as_bytes()]).await?;
        Ok(format!(
            "{product}: sale {} is {} again as generation {}: {} of {} units left, {} sold, {} withdrawn; {published} \
             orders published from the outbox, {records} records and {users} users written",
            sale.id,
            if account.is_closed { "closed" } else { "open" },
            sale.generation,
            account.stock,
            sale.total,
            account.sold,
            account.withdrawn,
        ))
    }
}

/// Waits until the ledger has stored what the log holds now.
async fn drain(ledger: &mut Ledger, log: &mut Log) -> Result<(), Ended> {
    let ends = log.ends().await?;
    let (mut before, mut stood) = (Vec::new(), 0);
    loop {
        let stored = servers::stored_offsets(ledger, &ends).await?;
        if stored.iter().zip(&ends.offsets).all(|(stored, end)| stored >= end) {
            return Ok(());
        }
        stood = if stored == before { stood + 1 } else { 0 };
        if stood == DRAIN_PATIENCE {
            return Err(Ended::Refused(format!(
                "the ledger stands at {stored:?} and the log ends at {:?}: no worker is storing; start one",
                ends.offsets
            )));
        }
        before = stored;
        sleep(DRAIN_PAUSE).await?;
    }
}

struct Fenced {
    per_user: u64,
    was_closed: bool,
}

async fn fence(redis: &mut Redis, scripts: &Scripts, product: &str, sale: &Sale, topic: &str) -> Result<Fenced, Ended> {
    let (per_user, opens_at) = sale.options.map(|(units, at)| (units.to_string(), at.to_string())).unwrap_or_default();
    let arguments = [
        sale.id.to_string(),
        sale.generation.to_string(),
        sale.total.to_string(),
        sale.rate.to_string(),
        sale.burst.to_string(),
        sale.seed.clone(),
        per_user,
        opens_at,
        sale.queue.clone(),
        topic.to_owned(),
    ];
    let reply = redis.call(&scripts.rebuild_fence, &slices(&keys(product)), &slices(&arguments)).await?;
    match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["OK", per_user, was] => Ok(Fenced { per_user: per_user.parse().unwrap_or(0), was_closed: was == "closed" }),
        ["OLD", generation] => Err(Ended::Refused(format!(
            "Redis holds generation {generation} by now: somebody else is at it, or it was restored meanwhile; run again"
        ))),
        ["T", topic] => Err(Ended::Refused(format!("the sale that Redis holds by now is of topic {topic}"))),
        ["S", "role"] => Err(Ended::Refused("this Redis is a replica: point --redis at the master".to_owned())),
        _ => Err(Ended::Refused(format!("rebuild_fence.lua answers {reply:?}"))),
    }
}

async fn restore(
    redis: &mut Redis,
    scripts: &Scripts,
    product: &str,
    sale: &Sale,
    account: &sale::Account,
) -> Result<(), Ended> {
    let arguments = [
        sale.id.to_string(),
        sale.generation.to_string(),
        account.stock.to_string(),
        if account.is_closed { "closed" } else { "open" }.to_owned(),
        account.withdrawn.to_string(),
    ];
    let reply = redis.call(&scripts.rebuild_restore, &slices(&keys(product)), &slices(&arguments)).await?;
    match reply.first().map(String::as_str) {
        Some("OK") => Ok(()),
        _ => Err(Ended::Refused(format!(
            "Redis has changed since it was fenced off ({}): run again; {} is suspended still",
            reply.get(1).map_or("no reason", String::as_str),
            key(product, "sale"),
        ))),
    }
}

fn slices(texts: &[String]) -> Vec<&[u8]> {
    texts.iter().map(|text| text.as_bytes()).collect()
}
