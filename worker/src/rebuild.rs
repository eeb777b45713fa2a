//! `flux-worker rebuild`: proves a suspended sale's stock from the ledger and lets it go on.
//!
//! ```text
//! lock ─▶ drain ─▶ dry write to Redis ─▶ number raised in the ledger ─▶ fence in Redis ─▶ wait ─▶ publish the outbox
//!                                                                                                        │
//!    open again ◀─ records, users' units ◀─ generation in force, stock = total − sold − dead-lettered ◀─ drain
//! ```
//!
//! The ledger is believed, Redis is not: the sale's id and total come from the ledger, what it was opened with from
//! ledger, Redis or operator ([`crate::opening`]); of Redis' orders only those in the outbox are taken, under the ids they were
//! reserved with. After the wait no edge publishes from memory what it reserved under the older generation, so what the
//! drained log has brought is all that was sold.
//!
//! Ended at any point it leaves the sale as it was or suspended, and can be begun again: a number that was raised is
//! only taken, and measures nothing before Redis has been told of it. Never gives a unit away. Several sales are
//! rebuilt together behind one wait; what stands in the way of one of them does not stop the others.

mod drain;
mod outbox;
mod records;
mod redis_side;
mod redis_view;
mod sale;
mod stray;

use std::collections::BTreeMap;
use std::process::ExitCode;

use flux_net::logging::{complain, say};
use flux_net::{random, sleep};
use flux_protocol::kafka::log_reader::Ends;
use flux_protocol::postgres::Param;
use tracing::{error, info};

use crate::config::{Config, RebuildOrder};
use crate::ledger::Ledger;
use crate::oneshot::{self, Ended, Log};
use crate::redis::Redis;
use crate::scripts::Scripts;
use redis_side::Fencing;
pub use redis_view::{SaleView, Server};
use sale::{Account, Found, Sale};

/// Rebuilds what `order` names. Says on standard output what was done, or on standard error why nothing was.
pub async fn run(config: &Config, order: &RebuildOrder) -> ExitCode {
    match rebuild(config, order).await {
        Ok(line) => {
            // It is done, whether or not anybody reads so.
            let _ = say(line);
            ExitCode::SUCCESS
        }
        Err(ended) => {
            error!("{ended}");
            complain(format_args!("flux-worker: rebuild of {}: {ended}", order.product));
            ended.exit_code()
        }
    }
}

/// The whole of it; the line that says what was done.
///
/// # Errors
/// [`Ended`]: the sale is suspended still, or was never touched. To be begun again.
pub async fn rebuild(config: &Config, order: &RebuildOrder) -> Result<String, Ended> {
    let mut lines = together(config, &[(order, None)]).await;
    match lines.pop().unwrap_or(Ok(None))? {
        Some(line) => Ok(line),
        None => Err(Ended::Refused("another rebuild of this product is under way".to_owned())),
    }
}

/// The same for several products behind one wait, for a caller that decided by what Redis held: the outcome of each, in
/// their order. `None`, and nothing was changed: another rebuild of this product is under way, or has been since.
pub async fn rebuild_as_seen(
    config: &Config,
    orders: &[(RebuildOrder, SaleView)],
) -> Vec<Result<Option<String>, Ended>> {
    let orders: Vec<(&RebuildOrder, Option<&SaleView>)> =
        orders.iter().map(|(order, seen)| (order, Some(seen))).collect();
    together(config, &orders).await
}

async fn together(
    config: &Config,
    orders: &[(&RebuildOrder, Option<&SaleView>)],
) -> Vec<Result<Option<String>, Ended>> {
    let mut outcomes = BTreeMap::new();
    let ended = match Rebuild::begin(config).await {
        Ok(mut rebuild) => rebuild.carry_out(orders, &mut outcomes).await,
        Err(ended) => Err(ended),
    };
    // What ended all of them is the end of each that has none of its own.
    let rest = || ended.as_ref().err().map_or(Ok(None), |ended| Err(ended.clone()));
    (0..orders.len()).map(|at| outcomes.remove(&at).unwrap_or_else(rest)).collect()
}

/// The connections of a rebuild. Locks are held over the ledger's, which is never made anew.
struct Rebuild<'a> {
    config: &'a Config,
    scripts: Scripts,
    ledger: Ledger,
    redis: Redis,
    log: Log,
}

/// One sale on its way through, and its place among the orders.
struct OnItsWay<'a> {
    at: usize,
    order: &'a RebuildOrder,
    sale: Sale,
    was_closed: bool,
    is_of_ledger_alone: bool,
    /// This Redis is the one that sold it: what comes of older generations when the log has been counted is refused.
    is_the_sellers: bool,
    published: u64,
}

type Outcomes = BTreeMap<usize, Result<Option<String>, Ended>>;

/// What a step came to for one of several sales: kept, or noted as its end. A server that cannot be asked is the end of all.
fn noted<T>(outcomes: &mut Outcomes, at: usize, step: Result<Option<T>, Ended>) -> Result<Option<T>, Ended> {
    match step {
        Ok(Some(value)) => Ok(Some(value)),
        Ok(None) => {
            outcomes.insert(at, Ok(None));
            Ok(None)
        }
        Err(refused @ (Ended::Refused(_) | Ended::Undecided(_))) => {
            outcomes.insert(at, Err(refused));
            Ok(None)
        }
        Err(ended @ (Ended::OutOfReach(_) | Ended::NotAsked(_))) => Err(ended),
    }
}

impl<'a> Rebuild<'a> {
    async fn begin(config: &'a Config) -> Result<Rebuild<'a>, Ended> {
        let mut ledger = oneshot::ledger(config).await?;
        ledger.check_schema().await?;
        let redis = oneshot::redis(config).await?;
        let log = Log::new(config, u64::from_ne_bytes(random::draw()));
        Ok(Rebuild { config, scripts: Scripts::new(), ledger, redis, log })
    }

    async fn carry_out(
        &mut self,
        orders: &[(&'a RebuildOrder, Option<&SaleView>)],
        outcomes: &mut Outcomes,
    ) -> Result<(), Ended> {
        let mut locked = Vec::new();
        for (at, (order, seen)) in orders.iter().enumerate() {
            let lock = self.lock(order).await;
            if noted(outcomes, at, lock)?.is_some() {
                locked.push((at, *order, *seen));
            }
        }
        if locked.is_empty() {
            return Ok(());
        }
        // An event in the log that closes a sale is to be stored before anything is decided.
        drain::drain(&mut self.ledger, &mut self.log).await?;
        let mut fenced = Vec::new();
        for (at, order, seen) in locked {
            let step = self.fence(at, order, seen).await;
            fenced.extend(noted(outcomes, at, step)?);
        }
        let Some(wait) = fenced.iter().map(|sale| sale.order.fence).max() else { return Ok(()) };
        info!(
            sales = fenced.len(),
            ?wait,
            "fenced off in Redis: waiting until no edge publishes what it reserved before"
        );
        sleep(wait).await?;
        let mut published = Vec::new();
        for mut sale in fenced {
            let product = sale.order.product.as_str();
            let step = outbox::publish(self.config, &mut self.redis, product, u64::from_ne_bytes(random::draw())).await;
            if let Some(orders) = noted(outcomes, sale.at, step.map(Some))? {
                info!(product, orders, "what was left in the outbox is in the log");
                sale.published = orders;
                published.push(sale);
            }
        }
        if published.is_empty() {
            return Ok(());
        }
        let ends = drain::drain(&mut self.ledger, &mut self.log).await?;
        for sale in published {
            let step = self.open_again(&sale, &ends).await;
            if let Some(line) = noted(outcomes, sale.at, step.map(Some))? {
                outcomes.insert(sale.at, Ok(Some(line)));
            }
        }
        Ok(())
    }

    /// `None`: another rebuild holds the product's lock.
    async fn lock(&mut self, order: &RebuildOrder) -> Result<Option<()>, Ended> {
        let sql = "SELECT pg_try_advisory_lock(hashtextextended('flux-rebuild:' || $1, 0))";
        let rows = self.ledger.query(sql, &[Param::Text(order.product.as_str().to_owned())]).await?;
        Ok((rows.first().and_then(|row| row.text(0)) == Some("t")).then_some(()))
    }

    /// Everything up to the wait; `None`: it is not as it was seen.
    async fn fence(
        &mut self,
        at: usize,
        order: &'a RebuildOrder,
        seen: Option<&SaleView>,
    ) -> Result<Option<OnItsWay<'a>>, Ended> {
        let product = order.product.as_str();
        let server = Server::ask(&mut self.redis).await?;
        let view = SaleView::ask(&mut self.redis, product).await?;
        if let Some(topic) = view.other_topic(&self.config.topic) {
            return Err(Ended::Refused(format!(
                "the orders of this sale belong into topic {topic}, not {}: rebuild it by a worker of that topic",
                self.config.topic
            )));
        }
        view.permits(&server, order)?;
        if seen.is_some_and(|seen| *seen != view) {
            return Ok(None);
        }
        let found = Found::look(&mut self.ledger, order, &view).await?;
        let (redis, scripts, topic) = (&mut self.redis, &self.scripts, self.config.topic.as_str());
        let mut fencing = Fencing { redis, scripts, product, topic };
        fencing.try_out(&found).await?;
        let is_of_ledger_alone = found.is_of_ledger_alone;
        let sale = found.raise(&mut self.ledger, product).await?;
        let was_closed = fencing.fence(&sale).await?;
        info!(product, sale = sale.id, generation = sale.generation, "fenced off in ledger and Redis");
        let is_the_sellers = view.is_the_sellers(&server, order);
        Ok(Some(OnItsWay { at, order, sale, was_closed, is_of_ledger_alone, is_the_sellers, published: 0 }))
    }

    /// Everything behind the last drain, which counted what stands in the log up to `ends`; the line that says what was done.
    async fn open_again(&mut self, on_its_way: &OnItsWay<'_>, ends: &Ends) -> Result<String, Ended> {
        let OnItsWay { order, sale, was_closed, is_of_ledger_alone, published, .. } = on_its_way;
        let ends = on_its_way.is_the_sellers.then_some(ends);
        let Rebuild { config, scripts, ledger, redis, .. } = self;
        let product = order.product.as_str();
        sale.is_latest(ledger, order, *is_of_ledger_alone).await?;
        let earlier = sale.settle_earlier(ledger, product, ends).await?;
        let account: Account = sale.account(ledger, product, *was_closed || order.closes, ends).await?;
        let (users, records) = records::write(ledger, redis, product, sale, config.idempotency_ttl).await?;
        Fencing { redis, scripts, product, topic: &config.topic }.restore(sale, &account).await?;
        let earlier = match earlier {
            0 => String::new(),
            sales => format!("; the accounts of {sales} earlier sales are drawn up anew"),
        };
        Ok(format!(
            "{product}: sale {} is {} again as generation {}: {} of {} units left, {} sold, {} withdrawn; {published} \
             orders published from the outbox, {records} records and {users} users written{earlier}",
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
