//! The operator's part of a run: looks at the sales, rebuilds those that are suspended, waits until all is quiet.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use flux_protocol::order::TopicRecord;
use flux_protocol::time::Instant;

use super::faults::KillAt;
use super::run::{LOOK, Run};
use super::told;
use crate::kafka::Kafka;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::world::ProcessId;
use crate::{operator, worker};

/// How long a mended world may take to come to rest: sessions of 10 s, a relay's horizon and claims, a rebuild's fence.
/// What an operator says where a replica may have taken Redis' place.
const OLD_MASTER_IS_DEAD: &str = "--old-master-is-dead";
const SETTLE_MAX: Duration = Duration::from_secs(400);
/// Rebuilds of one product before the operator gives up.
const REBUILDS_MAX: u32 = 8;
/// Rebuilds that end well and change nothing for the edges before those are started anew.
const RESTARTED_AFTER: u32 = 2;
/// How long one may take.
const REBUILD_MAX: Duration = Duration::from_secs(200);

/// Looks at which the operator leaves a sale to workers that rebuild by themselves: what a rebuild has to ask, they leave to the
/// operator.
const LEFT_TO_WORKERS_LOOKS: u32 = 120;

/// How long a rebuild may take to come to where it is to die: a little more than one that waits for nobody, since nothing else begins
/// or ends meanwhile. And how long all of them together.
const DIES_WITHIN: Duration = Duration::from_secs(20);
const DIE_WITHIN: Duration = Duration::from_secs(80);

/// How often in a row all must be quiet where a Redis may hold units that its successor has sold: the workers compare every
/// second, and suspend such a sale.
const QUIET_LOOKS: u32 = 5;

/// Looks in a row at which a sale is not believed before an operator rebuilds who does so at once: some change of Redis' is
/// harmless, and edges bind the sale to it within a second.
const ALARM_LOOKS: u32 = 2;
/// How often such an operator tries, of one product.
const TRIES_AT_ONCE_MAX: u32 = 3;

/// What an operator has seen of a product who rebuilds at once.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// Looks in a row at which it was not believed.
    looks: u32,
    /// Rebuilds that were begun.
    tries: u32,
}

/// A rebuild on its way.
pub(super) struct Rebuild {
    product: String,
    process: ProcessId,
    heard: worker::Heard<String>,
    /// A fault has killed it.
    was_killed: bool,
    /// What it left too much of, when it had just ended well.
    excess: Rc<RefCell<Option<String>>>,
}

impl Run {
    /// Until every buyer has had his last word and nothing is on its way; suspended sales are rebuilt.
    pub(super) fn settle(&mut self) {
        self.await_rebuilds();
        let began = self.world.now().instant;
        let mut rebuilds: BTreeMap<String, u32> = BTreeMap::new();
        let mut waited: BTreeMap<String, u32> = BTreeMap::new();
        let mut quiet_looks = 0;
        while self.world.now().instant.since(began) < SETTLE_MAX {
            let mut is_open = true;
            for sale in self.shape.sales.clone() {
                let is_behind = self.is_behind_the_ledger(&sale.product);
                let is_suspended = self.is_suspended(&sale.product).map(|is| is || is_behind);
                is_open &= is_suspended.is_some();
                if is_suspended == Some(true) {
                    is_open = false;
                    let waited = waited.entry(sale.product.clone()).or_insert(0);
                    if *waited < LEFT_TO_WORKERS_LOOKS && self.is_for_workers(&sale.product) {
                        *waited += 1;
                        continue;
                    }
                    self.note_breach(&sale.product);
                    let tries = rebuilds.entry(sale.product.clone()).or_default();
                    *tries += 1;
                    if *tries <= REBUILDS_MAX {
                        self.rebuild(&sale.product);
                    }
                    // A worker's is waited for.
                    if self.failed_rebuilds.get(&sale.product).is_some_and(|why| why.contains("another rebuild")) {
                        *tries -= 1;
                    }
                    if *tries > RESTARTED_AFTER && self.has_an_edge_seen_what_is_lost(&sale.product) {
                        (0..self.edges.len()).for_each(|edge| self.restart_edge(edge));
                    }
                }
            }
            quiet_looks = if is_open && self.is_quiet() { quiet_looks + 1 } else { 0 };
            if quiet_looks >= if self.old_master_woke { QUIET_LOOKS } else { 1 } {
                return;
            }
            self.pass(LOOK);
        }
        self.troubles.push("I6: the world has not come to rest".to_owned());
        self.troubles.extend(self.unrest().map(|what| format!("I6: {what}")));
        for sale in self.shape.sales.clone() {
            if self.is_suspended(&sale.product) != Some(false) {
                let held = self.redis.borrow().sale(&sale.product);
                self.troubles.push(format!("I6: {} is suspended, or nobody knows it: {held:?}", sale.product));
            }
        }
        let failures = std::mem::take(&mut self.failed_rebuilds).into_values();
        self.troubles.extend(failures.map(|why| format!("I6: {why}")));
    }

    /// Rebuilds what was replaced after Redis had lost it and before anybody knew: an opening was on its way, and what is left of the
    /// sale before is nowhere, as the audit says. Whether there was such a sale.
    pub(super) fn settle_what_was_replaced(&mut self) -> bool {
        self.note_restored();
        let products: Vec<String> = self.shape.sales.iter().map(|sale| sale.product.clone()).collect();
        let lost: Vec<String> = products.into_iter().filter(|product| self.was_replaced_unnoticed(product)).collect();
        lost.iter().for_each(|product| self.rebuild(product));
        !lost.is_empty()
    }

    fn was_replaced_unnoticed(&self, product: &str) -> bool {
        let redis = self.redis.borrow();
        let (Some(sale), Some(distrust)) = (redis.sale(product), self.distrust.get(product)) else { return false };
        let id = sale.get("id").and_then(|id| id.parse().ok()).unwrap_or(0);
        let lost_us = distrust.first_open().map_or(u64::MAX, |loss| loss.at_us);
        redis.first_sold(product, id).is_some_and(|at| at.as_micros() >= lost_us)
    }

    /// Whether an edge may have seen a sale of which neither Redis nor the ledger knows any more, since whoever opened it died before
    /// anybody was told, and Redis lost it then: no earlier one is believed by such an edge, whatever a rebuild has proved, and it
    /// is to be started anew (OPERATING.md). It says so in its log.
    fn has_an_edge_seen_what_is_lost(&self, product: &str) -> bool {
        let (redis, postgres) = (self.redis.borrow(), self.postgres.borrow());
        let in_redis = redis.sale(product).and_then(|sale| sale.get("id")?.parse().ok()).unwrap_or(0);
        // Of one that orders alone tell of the ledger knows nothing that a rebuild could bring back.
        let announced = postgres.sales().filter(|row| row.product_id == product && row.rate.is_some());
        let in_ledger = announced.map(|row| row.sale_id as u64).max();
        let latest = in_ledger.unwrap_or(0).max(in_redis);
        redis.past(product).iter().any(|stood| stood.sale_id > latest)
    }

    /// Whether Redis shows an earlier sale than one that the ledger was told of, as a worker says in its log and metrics: word of its
    /// opening came while a rebuild proved the one before. Edges that have not seen it sell on.
    fn is_behind_the_ledger(&self, product: &str) -> bool {
        let (redis, postgres) = (self.redis.borrow(), self.postgres.borrow());
        let Some(in_redis) = redis.sale(product).and_then(|sale| sale.get("id")?.parse::<u64>().ok()) else {
            return false;
        };
        let announced = postgres.sales().filter(|row| row.product_id == product && row.rate.is_some());
        announced.filter(|row| !row.is_closed).any(|row| row.sale_id as u64 > in_redis)
    }

    /// Whether an edge says that the sale is suspended; `None`: it says nothing of it yet.
    fn is_suspended(&mut self, product: &str) -> Option<bool> {
        let (status, body) = operator::stock(&mut self.world, "edge-0", product)?;
        // An edge that was started after everything was lost knows no such product; the operator does.
        let is_it = body.contains("\"suspended\"") || (self.lost_data && status != 200);
        (is_it || status == 200).then_some(is_it)
    }

    /// A sale that workers are to rebuild by themselves: its Redis was restarted or a rebuild of it did not end, it was not
    /// closed, the ledger knows it, and nobody has seen a replica.
    fn is_for_workers(&self, product: &str) -> bool {
        let redis = self.redis.borrow();
        let Some(sale) = redis.sale(product) else { return false };
        let field = |name: &str| sale.get(name).map(String::as_str);
        let is_restarted = field("run_id").is_some_and(|bound| bound != redis.run_id());
        let is_begun = field("rebuilding").is_some() && field("replid") == Some(redis.replication_id());
        let is_open = field("state") == Some("open") || field("was") == Some("open");
        let postgres = self.postgres.borrow();
        let latest = postgres.sales().filter(|row| row.product_id == product).max_by_key(|row| row.sale_id);
        let is_known = latest.is_some_and(|row| !row.is_closed);
        let had_replica = self.shape.faults.iter().any(|planned| planned.fault.is_of_replicas());
        self.shape.rebuilds_by_itself && (is_restarted || is_begun) && is_open && is_known && !had_replica
    }

    /// A sale that is suspended though this Redis is the one that it is bound to, and though no rebuild has begun that
    /// could have left it so: a worker has seen more units left than the ledger leaves.
    fn note_breach(&mut self, product: &str) {
        let redis = self.redis.borrow();
        let Some(sale) = redis.sale(product) else { return };
        let field = |name: &str| sale.get(name).map(String::as_str);
        let is_bound = field("replid") == Some(redis.replication_id());
        let is_a_rebuilds = field("rebuilding").is_some();
        // Of a Redis that had been given up the units of its successor's sales are left, too: that is what the worker is for.
        if is_bound && field("state") == Some("suspended") && !is_a_rebuilds && !self.old_master_woke {
            self.troubles.push(format!("I4: more units of {product} were left than the ledger leaves: suspended"));
        }
    }

    /// Begins a rebuild, and goes on.
    pub(super) fn begin_rebuild(&mut self, product: &str) {
        self.rebuilds += 1;
        let excess: Rc<RefCell<Option<String>>> = Rc::default();
        let (found, redis, kafka) = (Rc::clone(&excess), Rc::clone(&self.redis), Rc::clone(&self.kafka));
        let (postgres, of) = (Rc::clone(&self.postgres), product.to_owned());
        let look = move |now| {
            *found.borrow_mut() = left_too_much(&redis.borrow(), &kafka.borrow(), &postgres.borrow(), now, &of);
        };
        let mut more = self.answers.get(product).cloned().unwrap_or_default();
        let is_said = more.iter().any(|flag| flag == OLD_MASTER_IS_DEAD);
        if !is_said && self.shape.faults.iter().any(|planned| planned.fault.is_of_replicas()) {
            more.push(OLD_MASTER_IS_DEAD.to_owned());
        }
        let (process, heard) = worker::start_rebuild(&mut self.world, product, &more, self.shape.idempotency_ttl, look);
        let product = product.to_owned();
        self.under_way.push(Rebuild { product, process, heard, was_killed: false, excess });
    }

    /// Kills the rebuild that was begun last; lets time pass until it has come so far.
    pub(super) fn kill_rebuild(&mut self, product: &str, at: KillAt) {
        let Some(process) = self.under_way.last().map(|rebuild| rebuild.process) else { return };
        let postgres = Rc::clone(&self.postgres);
        let began = self.world.now().instant;
        let longest = DIES_WITHIN.min(DIE_WITHIN.saturating_sub(self.waited_for_deaths));
        let was_killed = self.world.kill_when(process, longest, |writes| match at {
            KillAt::Write(count) => writes >= count,
            KillAt::Raised => postgres.borrow().sales().any(|sale| sale.product_id == product && sale.raised > 1),
        });
        self.waited_for_deaths += self.world.now().instant.since(began);
        if let Some(rebuild) = self.under_way.last_mut() {
            rebuild.was_killed = was_killed;
        }
    }

    /// Begins one and waits for it.
    fn rebuild(&mut self, product: &str) {
        self.begin_rebuild(product);
        self.await_rebuilds();
    }

    /// Begins one of each sale that is not believed for longer than a moment, as an operator does who was called.
    pub(super) fn rebuild_what_is_suspended(&mut self) {
        if self.redis.borrow().has_crashed() {
            return;
        }
        for sale in self.shape.sales.clone() {
            let is_believed = self.is_believed(&sale.product);
            let is_under_way =
                self.under_way.iter().any(|rebuild| rebuild.product == sale.product && !rebuild.was_killed);
            let alarm = self.alarms.entry(sale.product.clone()).or_default();
            alarm.looks = if is_believed { 0 } else { alarm.looks + 1 };
            if alarm.looks >= ALARM_LOOKS && !is_under_way && alarm.tries < TRIES_AT_ONCE_MAX {
                alarm.tries += 1;
                self.note_breach(&sale.product);
                self.begin_rebuild(&sale.product);
            }
        }
    }

    /// Notes what those have come to that have ended.
    pub(super) fn note_rebuilds(&mut self) {
        let rebuilds = std::mem::take(&mut self.under_way).into_iter();
        let (ended, under_way): (Vec<Rebuild>, Vec<Rebuild>) =
            rebuilds.partition(|rebuild| rebuild.heard.borrow().is_some());
        self.under_way = under_way;
        for rebuild in ended {
            self.world.kill(rebuild.process);
            self.rebuilt(rebuild);
        }
    }

    fn await_rebuilds(&mut self) {
        for rebuild in std::mem::take(&mut self.under_way) {
            operator::wait(&mut self.world, rebuild.process, REBUILD_MAX);
            self.world.kill(rebuild.process);
            self.rebuilt(rebuild);
        }
    }

    fn rebuilt(&mut self, rebuild: Rebuild) {
        let Rebuild { product, heard, excess, .. } = rebuild;
        self.troubles.extend(excess.take());
        match heard.take() {
            Some(Ok(_)) => {
                self.failed_rebuilds.remove(&product);
                self.answers.remove(&product);
            }
            // Said where the world does not come to rest: an operator runs it again, and answers what it asks.
            Some(Err(why)) => {
                if let (Some(flag), Some(said)) = (told::to_be_left_out(&why), self.answers.get_mut(&product)) {
                    said.retain(|word| !word.starts_with(&format!("{flag}=")));
                }
                if let Some(answer) = self.answer(&product, &why) {
                    self.answers.insert(product.clone(), answer);
                }
                self.failed_rebuilds.insert(product, why);
            }
            None => drop(self.failed_rebuilds.insert(product, "a rebuild ended without a word".to_owned())),
        }
    }

    /// What the operator says of a sale that a rebuild asks about.
    fn answer(&self, product: &str, why: &str) -> Option<Vec<String>> {
        told::answer(&self.shape, &self.kafka.borrow(), product, why)
    }

    /// Whether Redis holds the sale bound to itself and not suspended.
    fn is_believed(&self, product: &str) -> bool {
        let redis = self.redis.borrow();
        let Some(sale) = redis.sale(product) else { return false };
        let field = |name: &str| sale.get(name).map(String::as_str);
        field("replid") == Some(redis.replication_id()) && field("state") != Some("suspended")
    }

    /// Notes which sales rebuilds have let go on since this was asked last. To be asked before anything else is noted of them.
    ///
    /// By what Redis has carried out, and not by what the rebuilds say: the last word of one that was killed may have been on its way.
    /// (That the sale is believed tells nothing: it may be another one, which was opened where Redis had lost this one.)
    pub(super) fn note_restored(&mut self) {
        let redis = self.redis.borrow();
        for restored in &redis.restored()[self.restored_noted..] {
            if let Some(distrust) = self.distrust.get_mut(&restored.product) {
                distrust.end(restored.at.as_micros());
            }
        }
        self.restored_noted = redis.restored().len();
    }
}

/// I1 and I2: what a rebuild has just left to be sold, and what was acknowledged of the sale, are no more than it has. Said
/// of the moment at which it ended: what comes later was sold later, or lay in a socket of somebody who stood still. An order that the
/// ledger had rejected for want of room by then has no units, and never will.
fn left_too_much(redis: &Redis, kafka: &Kafka, postgres: &Postgres, now: Instant, product: &str) -> Option<String> {
    let rejected: BTreeSet<_> = postgres.rejected().map(|row| row.reservation_id).collect();
    let sale = redis.sale(product)?;
    let number = |name: &str| sale.get(name).and_then(|text| text.parse::<u64>().ok());
    let (id, total, stock) = (number("id")?, number("total")?, redis.stock(product)?);
    let mut orders = BTreeMap::new();
    for (.., value) in kafka.replicated(now) {
        if let Ok(TopicRecord::Order(order)) = TopicRecord::parse(&value)
            // What contradicts the sale's total is no order of it, whoever wrote it.
            && (order.product_id == product && order.sale_id == id && order.sale_total == total)
            && !rejected.contains(&order.reservation_id)
        {
            orders.entry(order.order_id).or_insert(u64::from(order.quantity));
        }
    }
    let sold: u64 = orders.values().sum();
    (stock + sold > total).then(|| {
        format!("I1: a rebuild left {stock} units of {product}, of which {sold} of {total} stand in the topic")
    })
}
