//! What must hold when a run has come to rest.
//!
//! I1 to I4 by the same checker that judges runs on real servers. What a sale was opened with: its rate, its opening time, its
//! limit per user, the order of its line (`lines`). I5: what was answered as made between the loss of
//! Redis' data and a rebuild was asked for before. I6: everybody was served, nothing was asked of a server that it does
//! not know, and the shipped audit agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flux_lab::checker::{Allow, Verdict, check};
use flux_lab::crowd::{Exchange, History, Order, Outcome, Refusal};
use flux_lab::truth::Truth;
use flux_protocol::observed;
use flux_protocol::order::{TopicRecord, order_id};
use flux_protocol::queue::limits::HOLD_US;

use super::distrust::Loss;
use super::faults::Fault;
use super::run::{EPOCH_MS, Run};
use super::truth;
use super::{lines, moments, patience};
use crate::{operator, worker};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// I1 to I4.
    pub verdict: Verdict,
    /// I5 and I6, a line each; none is what is wanted.
    pub faults: Vec<String>,
    /// The sum of all that was sent.
    pub trace: u64,
    /// Requests that were sent.
    pub requests: usize,
    /// Rebuilds that were begun.
    pub rebuilds: u32,
}

impl Report {
    /// Whether everything held.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.faults.is_empty()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        write!(f, "{}", self.verdict)
    }
}

/// Judges a run that has come to rest.
pub fn judge(run: &mut Run) -> Report {
    let history = run.history();
    let truth = truth::read(run);
    let records_ran_out = !run.shape.records_last();
    let is_uncounted = run.postgres.borrow().sales().any(|row| row.generation > 1 && row.log_ends.is_none());
    let forgets = |fault: &Fault| fault.is_of_replicas() || fault.loses_a_sale();
    let redis_was_replaced = is_uncounted || run.shape.faults.iter().any(|planned| forgets(&planned.fault));
    let allow = Allow { redis_lost_data: run.lost_data, redis_was_replaced, records_ran_out, ..Allow::default() };
    let verdict = check(&truth, &history, allow);
    let mut faults = run.troubles.clone();
    distrusted_answers(run, &mut faults);
    distrusted_refusals(run, &mut faults);
    broken_words(run, &mut faults);
    second_reservations(run, &truth, &mut faults);
    founded_returns(&truth, &mut faults);
    rate_bound(run, &truth, &mut faults);
    opened_early(run, &history, &mut faults);
    limit_per_user(run, &truth, &mut faults);
    lines::judge(run, &mut faults);
    closed_stays_closed(run, &mut faults);
    moments::judge(run, &observed::tokens(), &mut faults);
    patience::judge(run, &mut faults);
    faults.extend(run.observers.retreats.iter().cloned());
    if run.crowd.unserved.get() > 0 || run.crowd.under_way.get() > 0 {
        let (gave_up, wait) = (run.crowd.unserved.get(), run.crowd.under_way.get());
        // Who has asked most often is one of them.
        let last = history.exchanges.iter().max_by_key(|exchange| exchange.attempt);
        let last = last.map_or_else(String::new, |exchange| format!(", last {exchange:?}"));
        let redis = run.redis.borrow();
        let lines: Vec<_> = run.shape.sales.iter().filter_map(|sale| redis.line(&sale.product)).collect();
        let last = if lines.is_empty() { last } else { format!("{last}, lines {lines:?}") };
        let edges = run.said_by_edges();
        faults.push(format!(
            "I6: {gave_up} buyers were never served and {wait} wait still{last}; edges have said {edges}"
        ));
    }
    for (server, unknown) in [
        ("Redis", run.redis.borrow().unknown().to_vec()),
        ("Kafka", run.kafka.borrow().unknown().to_vec()),
        ("PostgreSQL", run.postgres.borrow().strangers().to_vec()),
    ] {
        if !unknown.is_empty() {
            faults.push(format!("{server} was asked what it does not know: {unknown:?}"));
        }
    }
    audited(run, &mut faults);
    Report { verdict, faults, trace: run.world.trace(), requests: history.exchanges.len(), rebuilds: run.rebuilds }
}

/// I5. Where workers rebuild by themselves nobody outside knows from when on Redis may be trusted again.
fn distrusted_answers(run: &Run, faults: &mut Vec<String>) {
    if run.shape.rebuilds_by_itself {
        return;
    }
    let history = run.crowd.history.borrow();
    let mut first_asked: BTreeMap<_, u64> = BTreeMap::new();
    for exchange in &history.exchanges {
        let first = first_asked.entry(&*exchange.order).or_insert(u64::MAX);
        *first = (*first).min(exchange.sent_us);
    }
    for exchange in &history.exchanges {
        let made = matches!(exchange.outcome, Outcome::Accepted { .. } | Outcome::Pending { .. });
        let Some(distrust) = run.distrust.get(&exchange.order.product).filter(|_| made) else { continue };
        let is_made_by = |loss: &Loss| {
            let asked_before = first_asked[&*exchange.order] < loss.known_us;
            let is_judged = exchange.sent_us >= loss.known_us && exchange.answered_us < loss.until_us && !asked_before;
            is_judged && !is_of_later_sale(run, exchange, loss.at_us)
        };
        if distrust.losses().iter().any(is_made_by) {
            faults
                .push(format!("I5: {:?} for {:?} while Redis was not to be trusted", exchange.outcome, exchange.order));
        }
    }
}

/// Whether an order was made in a sale that was first seen after that: an opening was on its way when Redis lost what it had, and
/// what is opened anew has lost nothing.
fn is_of_later_sale(run: &Run, exchange: &Exchange, since_us: u64) -> bool {
    let Order { product, user, key, .. } = &*exchange.order;
    let redis = run.redis.borrow();
    let sales: BTreeSet<u64> = redis.past(product).iter().map(|stood| stood.sale_id).collect();
    sales.into_iter().any(|sale_id| {
        let id = order_id(product.as_bytes(), sale_id, user.as_bytes(), key.as_bytes());
        let is_later = redis.first_sold(product, sale_id).is_some_and(|at| at.as_micros() >= since_us);
        is_later && exchange.outcome.order_id() == Some(id)
    })
}

/// I5 as well: a Redis that has lost something tells nobody for good that nothing is left whose order had been made before.
fn distrusted_refusals(run: &Run, faults: &mut Vec<String>) {
    if run.shape.rebuilds_by_itself || !run.shape.records_last() || run.replaces_sales() {
        return;
    }
    let history = run.crowd.history.borrow();
    let mut made: BTreeMap<&Order, u64> = BTreeMap::new();
    for exchange in &history.exchanges {
        if matches!(exchange.outcome, Outcome::Accepted { .. } | Outcome::Pending { .. }) {
            let first = made.entry(&exchange.order).or_insert(u64::MAX);
            *first = (*first).min(exchange.answered_us);
        }
    }
    for exchange in &history.exchanges {
        let is_refused = matches!(exchange.outcome, Outcome::No(Refusal::SoldOut));
        let (Some(distrust), Some(told)) =
            (run.distrust.get(&exchange.order.product).filter(|_| is_refused), made.get(&*exchange.order))
        else {
            continue;
        };
        let is_told_by = |loss: &Loss| {
            *told < loss.known_us && exchange.sent_us >= loss.known_us && exchange.answered_us < loss.until_us
        };
        if distrust.losses().iter().any(is_told_by) {
            faults.push(format!(
                "I5: sold out for {:?} while Redis was not to be trusted, though it had been made",
                exchange.order
            ));
        }
    }
}

/// I3, beyond what the checker sees: whoever was told that an order is made is never told otherwise, as long as its sale
/// lasts and Redis has lost nothing.
fn broken_words(run: &Run, faults: &mut Vec<String>) {
    if run.lost_data || !run.shape.records_last() || run.replaces_sales() {
        return;
    }
    let history = run.crowd.history.borrow();
    let mut made: BTreeMap<&Order, u64> = BTreeMap::new();
    for exchange in &history.exchanges {
        if matches!(exchange.outcome, Outcome::Accepted { .. } | Outcome::Pending { .. }) {
            let first = made.entry(&exchange.order).or_insert(u64::MAX);
            *first = (*first).min(exchange.answered_us);
        }
    }
    for exchange in &history.exchanges {
        let Outcome::No(refusal) = exchange.outcome else { continue };
        let is_verdict = matches!(
            refusal,
            Refusal::SoldOut
                | Refusal::Insufficient
                | Refusal::LimitReached
                | Refusal::KeyReused
                | Refusal::UnknownProduct
        );
        if is_verdict && made.get(&*exchange.order).is_some_and(|told| *told < exchange.sent_us) {
            faults.push(format!("I3: {refusal:?} for {:?}, which had been told that it is made", exchange.order));
        }
    }
}

/// I3: a key whose record lives takes one unit only, so nothing has to be given back.
fn second_reservations(run: &Run, truth: &Truth, faults: &mut Vec<String>) {
    if run.lost_data || !run.shape.records_last() {
        return;
    }
    for returned in &truth.returns {
        faults.push(format!("I3: reservation {} was a second one of its order", returned.reservation_id));
    }
}

/// Nobody writes the topic but edges, workers and rebuilds: each return is of units that were taken.
fn founded_returns(truth: &Truth, faults: &mut Vec<String>) {
    for returned in truth.returns.iter().filter(|returned| returned.state == "unfounded") {
        faults.push(format!("I4: the return of reservation {} is called unfounded", returned.reservation_id));
    }
}

/// Over any span no more orders are admitted than `rate` and `burst` allow. Judged by when edges read the orders, so
/// where their clocks, Redis' clock or the bucket itself were tampered with it says nothing.
fn rate_bound(run: &Run, truth: &Truth, faults: &mut Vec<String>) {
    if run.lost_data || run.tampers_with_rates() {
        return;
    }
    // How long an order may wait for its token after it was read, and where it may stand at the door of a fair queue before.
    let wait_for_token_ms = run.shape.bounds.redis_deadline.as_millis() as u64;
    let wait_at_door_ms = wait_for_token_ms + HOLD_US / 1000;
    for sale in run.shape.sales.iter().filter(|sale| sale.rate > 0) {
        let orders = truth.topic.iter().filter(|order| order.record.product_id == sale.product);
        let mut read: Vec<u64> = orders
            .map(|order| (order.record.reservation_id, order.record.timestamp))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect();
        read.sort_unstable();
        let wait_ms = if sale.is_fair { wait_at_door_ms } else { wait_for_token_ms };
        for (first, from) in read.iter().enumerate() {
            for (last, until) in read.iter().enumerate().skip(first) {
                let allowed = sale.rate * (until - from + wait_ms) / 1000 + sale.burst + 1;
                if (last - first + 1) as u64 > allowed {
                    let (count, span) = (last - first + 1, until - from);
                    faults.push(format!(
                        "rate: {count} orders of {} within {span} ms, {allowed} are allowed",
                        sale.product
                    ));
                    return;
                }
            }
        }
    }
}

/// Nothing is sold before a sale opens, on Redis' clock. That is the world's, unless a fault sets it.
fn opened_early(run: &Run, history: &History, faults: &mut Vec<String>) {
    if run.shape.faults.iter().any(|planned| matches!(planned.fault, Fault::RedisClock(_))) {
        return;
    }
    for sale in &run.shape.sales {
        // One that was opened in its place without a countdown is judged by what Redis noted (`lines`).
        let is_reopened = |fault: &Fault| matches!(fault, Fault::SaleReopened(next) if next.product == sale.product);
        if run.shape.faults.iter().any(|planned| is_reopened(&planned.fault)) {
            continue;
        }
        let Some(opens_at) = sale.opens_at() else { continue };
        for exchange in history.exchanges.iter().filter(|exchange| exchange.order.product == sale.product) {
            let made = matches!(exchange.outcome, Outcome::Accepted { .. } | Outcome::Pending { .. });
            let early_us = (1000 * (opens_at - EPOCH_MS)).saturating_sub(exchange.answered_us);
            if made && early_us > 0 {
                faults.push(format!("opened early: {:?} was sold {early_us} µs before its time", exchange.order));
            }
        }
    }
}

/// No user has more units of a sale than that sale allows one, by what the event that opened it says.
fn limit_per_user(run: &Run, truth: &Truth, faults: &mut Vec<String>) {
    // It knows nothing of what its successor sold, and an edge that was started since has never seen that.
    if run.old_master_woke {
        return;
    }
    let limits = truth::limits_per_user(&run.kafka.borrow());
    let mut units: BTreeMap<(&str, u64, &str), u64> = BTreeMap::new();
    for order in &truth.orders {
        *units.entry((&order.product, order.sale_id, &order.user)).or_default() += order.quantity;
    }
    for ((product, sale_id, user), units) in units {
        let allowed = limits.get(&(product.to_owned(), sale_id)).copied().unwrap_or(0);
        if allowed > 0 && units > allowed {
            faults.push(format!("limit: {user} has {units} units of {product}, sale {sale_id}, {allowed} are allowed"));
        }
    }
}

/// A sale of which a close stands in the topic is closed, in the ledger, and in Redis as long as it is the product's sale:
/// nothing opens it again.
fn closed_stays_closed(run: &Run, faults: &mut Vec<String>) {
    for (.., value) in run.kafka.borrow().records() {
        let Ok(TopicRecord::SaleClosed(closed)) = TopicRecord::parse(&value) else { continue };
        let (product, id) = (&closed.product_id, closed.sale_id);
        let postgres = run.postgres.borrow();
        let row = postgres.sales().find(|row| row.product_id == *product && row.sale_id as u64 == id);
        if row.is_none_or(|row| !row.is_closed) {
            faults.push(format!("closed: the ledger does not have sale {id} of {product} closed"));
        }
        let redis = run.redis.borrow();
        let Some(held) = redis.sale(product).filter(|held| held.get("id") == Some(&id.to_string())) else { continue };
        if held.get("state").is_none_or(|state| state != "closed") {
            faults.push(format!("closed: sale {id} of {product} was closed and is {:?} in Redis", held.get("state")));
        }
    }
}

/// The command that operators use comes to the same.
fn audited(run: &mut Run, faults: &mut Vec<String>) {
    let mut audit = || {
        let (process, told) = worker::start_audit(&mut run.world);
        operator::wait(&mut run.world, process, Duration::from_secs(60));
        told.take()
    };
    // A statement that a fault has ordered to fail may not have come before: an operator asks again.
    let told = audit();
    let told = if matches!(told, Some(Err(_))) { audit() } else { told };
    match told {
        Some(Ok(accounts)) => {
            for account in accounts.iter().filter(|one| !one.holds()) {
                faults.push(format!("I4: flux-worker audit does not hold: {account}"));
            }
        }
        Some(Err(why)) => faults.push(format!("flux-worker audit: {why}")),
        None => faults.push("flux-worker audit has not ended".to_owned()),
    }
}
