//! Compares what the crowd was told with what the servers hold: invariants I1 to I5 of FAULTS.md. Pure: a [`Truth`] and
//! a [`History`] in, every violation by name out.
//!
//! - **I1** stored orders × quantity ≤ the sale's total.
//! - **I2** every order that got a 200 is stored exactly once (a 202 too, where Redis kept its data).
//! - **I3** one order per sale, user, product and key; every answer for it names the same one.
//! - **I4** total = available + reserved + stored + dead-lettered + awaiting return + withdrawn; where Redis lost data,
//!   what was rejected for want of room may make up a difference.
//! - **I5** ([`check_untrusted`]) nothing is sold while Redis is away or not to be trusted.
//!
//! I6, bounded recovery and resources, is no matter of the servers' data: the chaos scenarios look at the processes.
//!
//! A reader of one replay may be told 202 after another was told 200: that is allowed, and nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use flux_protocol::order::{Uuid, order_id};

use crate::crowd::{Exchange, History, Order, Outcome};
use crate::truth::{EarlierSale, RedisSale, SaleKey, StoredOrder, Truth};

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No overselling.
    I1,
    /// Nothing accepted is lost.
    I2,
    /// One order a key.
    I3,
    /// Conservation.
    I4,
    /// No sale without a Redis that is trusted.
    I5,
    /// Bounded time, memory and descriptors; no panic, no stuck connection.
    I6,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The product concerned.
    pub product: String,
    /// The order concerned, where it is one.
    pub order_id: Option<Uuid>,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.invariant, self.product)?;
        if let Some(order_id) = self.order_id {
            write!(f, " order {order_id}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a run may show without being wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow {
    /// Redis lost data in this run: a 202 may be gone, or end in `rejected`.
    pub redis_lost_data: bool,
    /// Another Redis took its place, or one that knew nothing of the sale any more: a 200 of the one before may end in `rejected`.
    pub redis_was_replaced: bool,
    /// Others ordered too: the ledger may hold orders that this history did not ask for.
    pub other_buyers: bool,
    /// Records ran out in this run, and keys were used again: of what was asked under a key the first order stands.
    pub records_ran_out: bool,
    /// Leave conservation aside (a sale that is suspended and not yet rebuilt has no stock to count).
    pub no_account: bool,
}

/// Where the units of one sale are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Units in all.
    pub total: u64,
    /// In Redis' stock.
    pub available: u64,
    /// In the outbox or the log, not yet settled by the worker.
    pub reserved: u64,
    /// In `orders`.
    pub stored: u64,
    /// Refused for want of room; not part of the sum.
    pub rejected: u64,
    /// In the dead letters.
    pub dead_lettered: u64,
    /// Noted for return, not yet given back.
    pub awaiting_return: u64,
    /// Taken back unsold.
    pub withdrawn: u64,
}

impl Account {
    /// All that is accounted for: the `u` of promise 8 in docs/GUARANTEES.md.
    pub fn sum(&self) -> u64 {
        self.available + self.reserved + self.stored + self.dead_lettered + self.awaiting_return + self.withdrawn
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { total, available, reserved, stored, rejected, dead_lettered, awaiting_return, withdrawn } = self;
        write!(
            f,
            "total {total} = available {available} + reserved {reserved} + stored {stored} + dead-lettered \
             {dead_lettered} + awaiting return {awaiting_return} + withdrawn {withdrawn} (rejected {rejected})"
        )
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Broken promises; none is what is wanted.
    pub violations: Vec<Violation>,
    /// The account of every sale.
    pub accounts: BTreeMap<SaleKey, Account>,
    /// Orders that got a 200.
    pub accepted: usize,
    /// Orders in the ledger.
    pub stored: usize,
}

impl Verdict {
    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether a promise of this kind was broken.
    pub fn breaks(&self, invariant: Invariant) -> bool {
        self.violations.iter().any(|violation| violation.invariant == invariant)
    }

    /// For tests.
    ///
    /// # Panics
    /// Where a promise was broken; names every violation.
    #[track_caller]
    pub fn assert_holds(&self) {
        assert!(self.holds(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A broken run breaks the same promise thousands of times.
        const SHOWN_MAX: usize = 20;
        writeln!(f, "{} violations", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN_MAX) {
            writeln!(f, "  {violation}")?;
        }
        if self.violations.len() > SHOWN_MAX {
            writeln!(f, "  … and {} more", self.violations.len() - SHOWN_MAX)?;
        }
        for ((product, sale_id), account) in &self.accounts {
            writeln!(f, "  {product}, sale {sale_id}: {account}")?;
        }
        Ok(())
    }
}

/// Checks I1 to I4.
pub fn check(truth: &Truth, history: &History, allow: Allow) -> Verdict {
    let mut verdict = Verdict { accepted: history.accepted().len(), stored: truth.orders.len(), ..Verdict::default() };
    let stored = by_id(&truth.orders);
    check_room(truth, &mut verdict);
    check_promises(truth, history, &stored, allow, &mut verdict);
    check_keys(truth, history, &stored, allow, &mut verdict);
    check_accounts(truth, allow, &mut verdict);
    verdict
}

fn by_id(orders: &[StoredOrder]) -> HashMap<Uuid, Vec<&StoredOrder>> {
    let mut rows: HashMap<Uuid, Vec<&StoredOrder>> = HashMap::with_capacity(orders.len());
    for order in orders {
        rows.entry(order.order_id).or_default().push(order);
    }
    rows
}

/// A span of time in which no Redis was there that could have confirmed a reservation, µs since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// Its beginning.
    pub from_us: u64,
    /// Its end.
    pub to_us: u64,
}

/// I5: an order first asked for within an untrusted span was not answered as made within it. (What was asked for before
/// may have been reserved before, and be answered late.)
pub fn check_untrusted(history: &History, spans: &[Untrusted]) -> Vec<Violation> {
    let mut first_asked: HashMap<&Order, u64> = HashMap::new();
    for exchange in &history.exchanges {
        let first = first_asked.entry(&exchange.order).or_insert(exchange.sent_us);
        *first = exchange.sent_us.min(*first);
    }
    let sold_within = |span: &Untrusted, exchange: &Exchange| {
        first_asked[&*exchange.order] > span.from_us && exchange.answered_us < span.to_us
    };
    let sold = history.exchanges.iter().filter_map(|exchange| Some((exchange, exchange.outcome.order_id()?)));
    sold.filter(|(exchange, _)| spans.iter().any(|span| sold_within(span, exchange)))
        .map(|(exchange, order_id)| Violation {
            invariant: Invariant::I5,
            product: exchange.order.product.clone(),
            order_id: Some(order_id),
            what: format!("sold to user {} while no Redis was to be trusted", exchange.order.user),
        })
        .collect()
}

/// I1, and that the ledger's own counts are those of its rows.
fn check_room(truth: &Truth, verdict: &mut Verdict) {
    let mut units: BTreeMap<SaleKey, u64> = BTreeMap::new();
    for order in &truth.orders {
        *units.entry((order.product.clone(), order.sale_id)).or_default() += order.quantity;
    }
    let mut wrong = |product: &str, what: String| {
        verdict.violations.push(Violation {
            invariant: Invariant::I1,
            product: product.to_owned(),
            order_id: None,
            what,
        });
    };
    for ((product, sale_id), units) in &units {
        let key = (product.clone(), *sale_id);
        let Some(sale) = truth.sales.get(&key) else {
            wrong(product, format!("{units} units are stored of sale {sale_id}, which the ledger does not know"));
            continue;
        };
        if *units > sale.total {
            wrong(product, format!("{units} units of sale {sale_id} are stored, its total is {}", sale.total));
        }
    }
    for (key, sale) in &truth.sales {
        let units = units.get(key).copied().unwrap_or(0);
        if sale.sold != units {
            wrong(&key.0, format!("the ledger counts {} sold of sale {}, its rows say {units}", sale.sold, key.1));
        }
        if let Some(total) = truth.opened.get(key).filter(|total| **total != sale.total) {
            wrong(&key.0, format!("sale {} was opened with {total} units, the ledger has {}", key.1, sale.total));
        }
    }
    for (product, (stock, sale_id)) in &truth.products {
        let expected = truth.sales.get(&(product.clone(), *sale_id)).map(|sale| sale.total as i64 - sale.sold as i64);
        if expected != Some(*stock) {
            wrong(product, format!("products.stock is {stock}, sale {sale_id} leaves {expected:?}"));
        }
    }
}

/// I2.
fn check_promises(
    truth: &Truth,
    history: &History,
    stored: &HashMap<Uuid, Vec<&StoredOrder>>,
    allow: Allow,
    verdict: &mut Verdict,
) {
    let rejected: HashMap<Uuid, &str> =
        truth.rejected.iter().map(|order| (order.order_id, order.reason.as_str())).collect();
    let in_topic: HashSet<Uuid> = truth.topic.iter().map(|order| order.record.order_id).collect();
    let in_outbox: HashSet<Uuid> =
        truth.redis.values().flat_map(|sale| &sale.outbox).map(|order| order.order_id).collect();

    // By order: what was asked, the same once, and whether a 200 was among the answers to that. (An answer that names another's
    // order is I3's matter.)
    let mut promised: BTreeMap<Uuid, Vec<(Arc<Order>, bool)>> = BTreeMap::new();
    for exchange in &history.exchanges {
        let Some(order_id) = exchange.outcome.order_id() else { continue };
        let accepted = matches!(exchange.outcome, Outcome::Accepted { .. });
        let promises = promised.entry(order_id).or_default();
        match promises.iter_mut().find(|(order, _)| *order == exchange.order) {
            Some(promise) => promise.1 |= accepted,
            None => promises.push((Arc::clone(&exchange.order), accepted)),
        }
    }
    let asked: HashSet<(&str, &str, &str, u64)> = match allow.records_ran_out || allow.redis_lost_data {
        true => history.exchanges.iter().map(|exchange| words(&exchange.order)).collect(),
        false => HashSet::new(),
    };
    for (order_id, promises) in &promised {
        let (order, accepted) = (&promises[0].0, promises.iter().any(|(_, accepted)| *accepted));
        let mut wrong = |what: String| {
            let (product, order_id) = (order.product.clone(), Some(*order_id));
            verdict.violations.push(Violation { invariant: Invariant::I2, product, order_id, what });
        };
        let answer = if accepted { "200" } else { "202" };
        match stored.get(order_id).map(Vec::as_slice) {
            Some([row]) => {
                let kept = (row.product.as_str(), row.user.as_str(), order.key.as_str(), row.quantity);
                // A 202 that Redis has lost took its key's record with it, and so did a 200 whose order was rejected then.
                let was_rejected = allow.redis_was_replaced && rejected.contains_key(order_id);
                let may_be_another = |accepted: bool| {
                    let is_lost = allow.redis_lost_data && (!accepted || was_rejected);
                    let is_free = allow.records_ran_out || is_lost;
                    is_free && asked.contains(&kept)
                };
                let of_key = promises.iter().filter(|(of, _)| (&of.user, &of.key) == (&order.user, &order.key));
                let mut broken = of_key.filter(|(of, accepted)| kept != words(of) && !may_be_another(*accepted));
                if let Some((order, accepted)) = broken.next() {
                    let answer = if *accepted { "200" } else { "202" };
                    let (asked, kept) = ((&order.user, order.quantity), (&row.user, row.quantity));
                    wrong(format!("answered {answer} for {asked:?}, stored for {kept:?} of {}", row.product));
                }
            }
            Some(rows) => wrong(format!("answered {answer}, stored {} times", rows.len())),
            None => {
                if let Some(reason) = rejected.get(order_id) {
                    if accepted && !allow.redis_was_replaced {
                        wrong(format!("answered {answer}, rejected ({reason})"));
                    } else if !allow.redis_lost_data {
                        wrong(format!("answered {answer}, rejected ({reason}) though Redis lost nothing"));
                    }
                } else if accepted || !allow.redis_lost_data {
                    let place = match (in_topic.contains(order_id), in_outbox.contains(order_id)) {
                        (true, _) => "it stands in the topic and is not stored",
                        (false, true) => "it stands in the outbox only",
                        (false, false) => "it is nowhere",
                    };
                    wrong(format!("answered {answer} (key {}), but {place}", order.key));
                }
            }
        }
    }
}

/// Product, user, key and quantity.
fn words(order: &Order) -> (&str, &str, &str, u64) {
    (&order.product, &order.user, &order.key, u64::from(order.quantity))
}

/// I3.
fn check_keys(
    truth: &Truth,
    history: &History,
    stored: &HashMap<Uuid, Vec<&StoredOrder>>,
    allow: Allow,
    verdict: &mut Verdict,
) {
    let mut wrong = |product: &str, order_id: Uuid, what: String| {
        let (product, order_id) = (product.to_owned(), Some(order_id));
        verdict.violations.push(Violation { invariant: Invariant::I3, product, order_id, what });
    };
    // An order's id says which sale, user and key it belongs to: an answer that names another one mixes up buyers, and
    // two ids for one key in one sale cannot both be right.
    let mut sale_ids: HashMap<&str, BTreeSet<u64>> = HashMap::new();
    let mut expected: HashMap<&Order, Vec<Uuid>> = HashMap::new();
    let mut asked: HashSet<Uuid> = HashSet::new();
    for exchange in &history.exchanges {
        let order = &*exchange.order;
        let ids = expected.entry(order).or_insert_with(|| {
            let sales = sale_ids.entry(&order.product).or_insert_with(|| truth.sale_ids_ever(&order.product));
            let id = |sale| order_id(order.product.as_bytes(), sale, order.user.as_bytes(), order.key.as_bytes());
            sales.iter().map(|sale| id(*sale)).collect()
        });
        asked.extend(ids.iter());
        if let Some(told) = exchange.outcome.order_id().filter(|told| !ids.contains(told)) {
            let what = format!("told to user {} for key {}, whose order it is not", order.user, order.key);
            wrong(&order.product, told, what);
        }
    }
    for (id, rows) in stored {
        if rows.len() > 1 {
            wrong(&rows[0].product, *id, format!("stored {} times", rows.len()));
        }
        if !allow.other_buyers && !asked.contains(id) {
            wrong(&rows[0].product, *id, format!("stored for user {}, who did not ask for it", rows[0].user));
        }
    }
    let mut reservations: HashMap<Uuid, Uuid> = HashMap::new();
    for order in &truth.orders {
        if let Some(other) = reservations.insert(order.reservation_id, order.order_id)
            && other != order.order_id
        {
            let what = format!("shares reservation {} with order {other}", order.reservation_id);
            wrong(&order.product, order.order_id, what);
        }
    }
    let mut owners: HashMap<Uuid, (&str, &str, u64)> = HashMap::new();
    for order in &truth.topic {
        let record = &order.record;
        let owner = (record.product_id.as_str(), record.user_id.as_str(), record.sale_id);
        let first = *owners.entry(record.order_id).or_insert(owner);
        if first != owner {
            wrong(owner.0, record.order_id, format!("stands in the topic for {first:?} and for {owner:?}"));
        }
    }
}

/// I4.
fn check_accounts(truth: &Truth, allow: Allow, verdict: &mut Verdict) {
    verdict.accounts = accounts(truth);
    if allow.no_account {
        return;
    }
    for ((product, sale_id), account) in &verdict.accounts {
        let mut wrong = |what: String| {
            let product = product.clone();
            verdict.violations.push(Violation { invariant: Invariant::I4, product, order_id: None, what });
        };
        let current = truth.redis.get(product).filter(|sale| sale.sale_id == *sale_id);
        if current.is_some_and(|sale| sale.stock.is_none()) {
            wrong(format!("sale {sale_id}: Redis holds no stock"));
            continue;
        }
        let rejected = if allow.redis_lost_data { account.rejected } else { 0 };
        let sum = account.sum();
        if sum <= account.total && is_unannounced(truth, product, *sale_id) {
            continue;
        }
        if sum > account.total || sum + rejected < account.total {
            wrong(format!("sale {sale_id}: {sum} units are accounted for, {} is the total: {account}", account.total));
        }
    }
}

/// Whether only orders tell of a sale, and Redis sells another: it was opened by somebody who died before anybody was told, and
/// Redis has lost it since, or the orders are stray (docs/GUARANTEES.md, "What is not promised"). Nobody knows what it had, and the
/// audit says so. The other is a later one, or one that was announced: a stray order replaces no sale.
fn is_unannounced(truth: &Truth, product: &str, sale_id: u64) -> bool {
    let key = (product.to_owned(), sale_id);
    let is_announced = |sale_id: u64| {
        let key = (product.to_owned(), sale_id);
        truth.opened.contains_key(&key) || truth.sales.get(&key).is_some_and(|sale| sale.is_announced)
    };
    let another_sells =
        |sale: &RedisSale| sale.sale_id > sale_id || (sale.sale_id < sale_id && is_announced(sale.sale_id));
    let is_told_of = is_announced(sale_id) || truth.earlier.contains_key(&key);
    !is_told_of && truth.sales.contains_key(&key) && truth.redis.get(product).is_some_and(another_sells)
}

/// The account of every sale that any of the servers knows.
pub fn accounts(truth: &Truth) -> BTreeMap<SaleKey, Account> {
    let mut accounts: BTreeMap<SaleKey, Account> = BTreeMap::new();
    let mut products: BTreeSet<&String> = truth.redis.keys().collect();
    products.extend(truth.sales.keys().map(|(product, _)| product));
    products.extend(truth.opened.keys().map(|(product, _)| product));
    for product in products {
        for sale_id in truth.sale_ids(product) {
            let key = (product.clone(), sale_id);
            let account = opening_account(truth, &key);
            accounts.insert(key, account);
        }
    }
    let mut settled: HashSet<Uuid> = HashSet::new();
    let mut add = |key: SaleKey, quantity: u64, to: fn(&mut Account) -> &mut u64| {
        if let Some(account) = accounts.get_mut(&key) {
            *to(account) += quantity;
        }
    };
    for order in &truth.orders {
        settled.insert(order.reservation_id);
        add((order.product.clone(), order.sale_id), order.quantity, |account| &mut account.stored);
    }
    for order in &truth.rejected {
        settled.insert(order.reservation_id);
        if order.reason == "no_room" {
            add((order.product.clone(), order.sale_id), order.quantity, |account| &mut account.rejected);
        }
    }
    for units in &truth.returns {
        settled.insert(units.reservation_id);
        let key = (units.product.clone(), units.sale_id);
        // Given back in Redis already though the ledger has not noted it yet: then it is in the stock.
        let in_stock =
            truth.redis.get(&units.product).is_some_and(|sale| sale.returned.contains(&units.reservation_id));
        match units.state.as_str() {
            "pending" if !in_stock => add(key, units.quantity, |account| &mut account.awaiting_return),
            "withdrawn" => add(key, units.quantity, |account| &mut account.withdrawn),
            _ => {}
        }
    }
    let dead: HashSet<(i32, i64)> = truth.dead_letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
    for (product, sale_id, quantity) in truth.dead_letters.iter().filter_map(|letter| letter.units.clone()) {
        add((product, sale_id), quantity, |account| &mut account.dead_lettered);
    }
    settled.extend(
        truth
            .topic
            .iter()
            .filter(|order| dead.contains(&(order.partition, order.offset)))
            .map(|order| order.record.reservation_id),
    );
    // What is left of log and outbox, each reservation once, is reserved.
    for order in &truth.topic {
        if settled.insert(order.record.reservation_id) {
            let key = (order.record.product_id.clone(), order.record.sale_id);
            add(key, u64::from(order.record.quantity), |account| &mut account.reserved);
        }
    }
    for (product, sale) in &truth.redis {
        for order in &sale.outbox {
            if settled.insert(order.reservation_id) {
                add((product.clone(), order.sale_id), order.quantity, |account| &mut account.reserved);
            }
        }
    }
    accounts
}

/// Total, available and withdrawn: Redis' word where it has the sale, else the ledger's.
fn opening_account(truth: &Truth, key: &SaleKey) -> Account {
    let ledger = truth.sales.get(key);
    let current = truth.redis.get(&key.0).filter(|sale| sale.sale_id == key.1);
    let earlier = truth.earlier.get(key);
    let total = ledger.map(|sale| sale.total).or_else(|| truth.opened.get(key).copied());
    let total = total.or(current.map(|sale| sale.total)).or(earlier.map(|sale| sale.total)).unwrap_or(0);
    // Of a sale that was over the ledger may know that a rebuild has withdrawn what Redis lost since.
    // A note of a Redis that had been given up before the sale was rebuilt on another says nothing of how it went on.
    let is_behind = |note: &&EarlierSale| ledger.is_some_and(|sale| sale.generation > note.generation);
    let noted = earlier.filter(|note| !is_behind(note)).map(|sale| sale.withdrawn);
    let noted = noted.max(ledger.map(|sale| sale.withdrawn));
    let withdrawn = current.map(|sale| sale.withdrawn).or(noted).unwrap_or(0);
    Account { total, available: current.and_then(|sale| sale.stock).unwrap_or(0), withdrawn, ..Account::default() }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
