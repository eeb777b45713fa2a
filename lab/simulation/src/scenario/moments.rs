//! What must hold at every moment, and not only at the end, by what was noted as it happened.
//!
//! - A 200 that has come stands for a record that every replica of the log has (I2), and so does a status that says `accepted`.
//! - Whoever was told for good that nothing is left was told so of a moment since they asked (less the life of what an edge may
//!   remember): then none, or too few, could be bought of a Redis that is believed. `GET /stock` likewise, and the document of
//!   `GET /queue` is no older than it may be.
//! - No more tokens are spent than `rate` and `burst` allow, in any span, over all edges (a token that was given back was not).
//! - Each token that is spent was granted no longer ago than it lives: what Redis has put into its bucket since then is no more
//!   than what was left out for it.
//! - No order comes into the log for the first time that was reserved before a rebuild which has ended by then: its units are
//!   for sale again (I1).
//! - An order is not reserved a second time while its first reservation is under way, nor as long as its record has to live (I3).
//! - Units change hands only by reservations and by returns of them, each once, in the generation in which they were taken
//!   (`redis::accounts`); the outbox is never fuller than it may be.
//! - When all is quiet each reservation has come to its end in the ledger: stored, given back, rejected, or set aside (I4).
//! - When all is quiet no worker calls Redis behind: the ledger measures a sale by no generation that its Redis was never told of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flux_edge::limits::{QUEUE_AGE_MAX, SOLD_OUT_REMEMBERED, STOCK_AGE_MAX};
use flux_lab::crowd::{Outcome, Refusal};
use flux_protocol::observed::Token;
use flux_protocol::order::{OwnedRecord, Uuid};
use flux_protocol::time::Instant;

use super::faults::Fault;
use super::run::{EPOCH_MS, Run};
use crate::redis::{Redis, Restored, Second, Stood, Terms};

/// For how long an edge may remember that nothing is left, and how old a stock may be that it tells.
const REMEMBERED_US: u64 = SOLD_OUT_REMEMBERED.as_micros() as u64;
const _: () = assert!(SOLD_OUT_REMEMBERED.as_micros() == STOCK_AGE_MAX.as_micros());
/// A run with one fault of a kind has many.
const SHOWN_MAX: usize = 3;

/// A line for each of the first faults of a kind.
pub(super) fn judge(run: &Run, tokens: &[Token], faults: &mut Vec<String>) {
    let mut add = |found: Vec<String>| faults.extend(found.into_iter().take(SHOWN_MAX));
    add(run.crowd.unkept.borrow().clone());
    let redis = run.redis.borrow();
    add(redis.miscounts().to_vec());
    add(run.unsettled.clone());
    add(refused_wrongly(run, &redis));
    add(dead_tokens(tokens, &redis));
    add(too_late(run, &redis));
    add(stocks(run, &redis));
    let sets_clock = |fault: &Fault| matches!(fault, Fault::RedisClock(_));
    if !run.shape.faults.iter().any(|planned| sets_clock(&planned.fault)) {
        add(reserved_again(run, &redis));
        add(documents(run));
        add(too_many_tokens(tokens, redis.terms()));
    }
}

/// Whether something was so at some moment of a span: what stood at its beginning counts, too.
fn was_ever(past: &[Stood], from_us: u64, to_us: u64, is_so: impl Fn(&Stood) -> bool) -> bool {
    let (from, to) = (Instant::from_micros(from_us), Instant::from_micros(to_us));
    let first = past.partition_point(|stood| stood.from <= from).saturating_sub(1);
    let mut of_span = past[first..].iter().take_while(|stood| stood.from <= to);
    past.first().is_none_or(|stood| stood.from > from) || of_span.any(is_so)
}

fn refused_wrongly(run: &Run, redis: &Redis) -> Vec<String> {
    let history = run.crowd.history.borrow();
    let mut found = Vec::new();
    for exchange in &history.exchanges {
        let quantity = u64::from(exchange.order.quantity);
        let was_true = |stood: &Stood| match (exchange.outcome, stood.left) {
            (_, None) => true,
            (Outcome::No(Refusal::SoldOut), Some(left)) => left == 0 || stood.is_closed,
            (Outcome::No(Refusal::Insufficient), Some(left)) => left < quantity,
            _ => true,
        };
        let from_us = exchange.sent_us.saturating_sub(REMEMBERED_US);
        if !was_ever(redis.past(&exchange.order.product), from_us, exchange.answered_us, was_true) {
            found.push(format!("refused: {exchange:?}, and enough could be bought all the while"));
        }
    }
    found
}

fn stocks(run: &Run, redis: &Redis) -> Vec<String> {
    let asked = run.crowd.asked.borrow();
    let mut found = Vec::new();
    for asked in asked.iter() {
        let (Some(product), Some(ended_us), Some((200, body))) =
            (asked.what.strip_prefix("/stock/"), asked.ended_us, &asked.told)
        else {
            continue;
        };
        let Ok(told) = serde_json::from_str::<serde_json::Value>(body) else { continue };
        let (Some(available), Some(state)) = (told["available"].as_u64(), told["state"].as_str()) else { continue };
        // A suspended sale's stock is nobody's to believe.
        let was_true = |stood: &Stood| stood.left.is_none_or(|left| left == available) || state == "suspended";
        if !was_ever(redis.past(product), asked.sent_us.saturating_sub(REMEMBERED_US), ended_us, was_true) {
            found.push(format!("stock: {asked:?} was never so"));
        }
    }
    found
}

/// A line's document is no older than it may be, and what a cache may add to that is not in the run.
fn documents(run: &Run) -> Vec<String> {
    let asked = run.crowd.asked.borrow();
    let mut found = Vec::new();
    for asked in asked.iter().filter(|asked| asked.what.starts_with("/queue/")) {
        let Some((200, body)) = &asked.told else { continue };
        let Ok(told) = serde_json::from_str::<serde_json::Value>(body) else { continue };
        let Some(now_ms) = told["now"].as_u64() else { continue };
        let oldest_ms = EPOCH_MS + asked.sent_us.saturating_sub(QUEUE_AGE_MAX.as_micros() as u64) / 1000;
        if now_ms < oldest_ms {
            found.push(format!("memory: {asked:?} is older than {QUEUE_AGE_MAX:?}"));
        }
    }
    found
}

fn reserved_again(run: &Run, redis: &Redis) -> Vec<String> {
    let ttl = run.shape.idempotency_ttl;
    let postgres = run.postgres.borrow();
    let rejected: BTreeSet<String> = postgres.rejected().map(|row| row.reservation_id.to_string()).collect();
    // A rebuild writes no record of an order that is older than records live.
    let lived = |second: &Second| if second.is_rebuilt { second.after } else { second.rested };
    let early = redis.seconds().iter().filter(|second| lived(second) < ttl && !rejected.contains(&second.first));
    early
        .map(|second| {
            format!("I3: {second:?} was reserved again, and records live for {ttl:?} after the sale's last order")
        })
        .collect()
}

/// Of each sale as long as nobody has laid hands on its bucket.
fn too_many_tokens(tokens: &[Token], terms: &BTreeMap<(String, u64), Terms>) -> Vec<String> {
    let mut by_sale: BTreeMap<(&str, u64), Vec<Instant>> = BTreeMap::new();
    for token in tokens {
        let spent = by_sale.entry((&token.product, token.sale_id)).or_default();
        if token.is_back {
            spent.pop();
        } else {
            spent.push(token.at);
        }
    }
    let mut found = Vec::new();
    for ((product, sale_id), mut spent) in by_sale {
        let Some(terms) = terms.get(&(product.to_owned(), sale_id)).filter(|terms| terms.rate > 0) else { continue };
        spent.retain(|at| terms.broken_at.is_none_or(|broken_at| *at < broken_at));
        spent.sort_unstable();
        // Millionths of a token: how many of the first n were due by then, and the least that this ever was.
        let (mut least, mut least_at) = (i128::MAX, 0);
        for (index, at) in spent.iter().enumerate() {
            let due = index as i128 * 1_000_000 - i128::from(terms.rate) * i128::from(at.as_micros());
            if due < least {
                (least, least_at) = (due, index);
            }
            if due + 1_000_000 - least > i128::from(terms.burst) * 1_000_000 {
                let (count, span) = (index + 1 - least_at, at.since(spent[least_at]));
                found.push(format!(
                    "rate: {count} tokens of {product}, sale {sale_id}, within {span:?}; rate {}, burst {}",
                    terms.rate, terms.burst
                ));
                break;
            }
        }
    }
    found
}

/// A token that was spent and then given back counts as not spent.
fn dead_tokens(tokens: &[Token], redis: &Redis) -> Vec<String> {
    let mut by_product: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
    for token in tokens {
        let rate = redis.terms().get(&(token.product.clone(), token.sale_id)).map_or(0, |terms| terms.rate);
        let spent = by_product.entry(&token.product).or_default();
        match token.is_back {
            true => drop(spent.pop()),
            false if rate > 0 => spent.push(token.at),
            false => {}
        }
    }
    let mut found = Vec::new();
    for (product, mut spent) in by_product {
        spent.sort_unstable();
        let mut grants = redis.grants().iter().filter(|grant| grant.product == product).peekable();
        // By when they die: whoever dies first is spent first, so that all are spent if they can be.
        let mut living: BTreeMap<Instant, u64> = BTreeMap::new();
        for at in spent {
            while let Some(grant) = grants.next_if(|grant| grant.at <= at) {
                *living.entry(grant.at + grant.life).or_default() += grant.tokens;
            }
            living = living.split_off(&(at + Duration::from_micros(1)));
            let Some(mut first) = living.first_entry() else {
                let at = Duration::from_micros(at.as_micros());
                found.push(format!(
                    "rate: a token of {product} was spent at {at:?}, when all that were granted were spent or dead"
                ));
                break;
            };
            *first.get_mut() -= 1;
            if *first.get() == 0 {
                first.remove();
            }
        }
    }
    found
}

/// What an older generation sold is in the log when a rebuild has opened the sale. What a broker that stood still had in its sockets, or
/// holds back, or a slow way, comes whenever it likes, and is not stored. What a Redis that was given up has sold is no rebuild's to know: room
/// decides.
fn too_late(run: &Run, redis: &Redis) -> Vec<String> {
    let holds_back =
        |fault: &Fault| matches!(fault, Fault::BrokerPaused(_) | Fault::ProduceSpoilt(_) | Fault::SlowEdgeKafka(..));
    let restored = redis.restored();
    let may_come = run.old_master_woke || run.shape.faults.iter().any(|planned| holds_back(&planned.fault));
    let postgres = run.postgres.borrow();
    // How far the log was counted is noted where Redis was the one that had sold.
    let is_counted = |by: &Restored| {
        postgres.sales().any(|row| {
            let is_its = row.product_id == by.product && row.sale_id.cast_unsigned() == by.sale_id;
            let is_in_force = u64::from(row.generation.cast_unsigned()) == by.generation;
            is_its && is_in_force && row.log_ends.is_some()
        })
    };
    let stored: BTreeSet<Uuid> = postgres.orders().map(|row| row.reservation_id).collect();
    let mut first: BTreeMap<Uuid, (Instant, OwnedRecord)> = BTreeMap::new();
    for (at, order) in run.kafka.borrow().orders() {
        let held = first.entry(order.reservation_id).or_insert_with(|| (at, order));
        held.0 = held.0.min(at);
    }
    let mut found = Vec::new();
    for (at, order) in first.values() {
        let is_over = |by: &&Restored| {
            by.product == order.product_id
                && by.sale_id == order.sale_id
                && by.generation > u64::from(order.generation)
                && by.at < *at
        };
        let is_stored = stored.contains(&order.reservation_id);
        if let Some(by) = restored.iter().filter(is_over).find(|by| !may_come || (is_stored && is_counted(by))) {
            let since = at.since(by.at);
            found.push(format!(
                "I1: order {} of {}, reserved in generation {}, came into the log {since:?} after the rebuild of generation {} \
                 had ended",
                order.order_id, order.product_id, order.generation, by.generation
            ));
        }
    }
    found
}

impl Run {
    /// Reservations that have come to their end in the ledger.
    pub(super) fn ended_reservations(&self) -> BTreeSet<Uuid> {
        let postgres = self.postgres.borrow();
        let stored = postgres.orders().map(|row| row.reservation_id);
        let rejected = postgres.rejected().map(|row| row.reservation_id);
        stored.chain(rejected).chain(postgres.returns().map(|row| row.reservation_id)).collect()
    }

    /// At a moment at which all is quiet: each reservation that Redis has not lost has come to its end in the ledger.
    pub(super) fn note_unsettled(&mut self) {
        let ended = self.ended_reservations();
        let (redis, postgres) = (self.redis.borrow(), self.postgres.borrow());
        let set_aside: BTreeSet<&str> = postgres.dead_letters().filter_map(|row| row.product_id.as_deref()).collect();
        for (id, made) in redis.reservations() {
            let is_ended = Uuid::parse(id.as_bytes()).is_none_or(|id| ended.contains(&id));
            if made.losses == redis.losses() && !is_ended && !set_aside.contains(&*made.product) {
                let at = Duration::from_micros(made.at.as_micros());
                self.unsettled.push(format!(
                    "I4: at rest nobody has reservation {id} of {} ({} units of {}, taken at {at:?})",
                    made.order_id, made.quantity, made.product
                ));
            }
        }
    }
    /// At such a moment: no worker has to call Redis behind the ledger, where none of them was put back.
    pub(super) fn note_behind(&mut self) {
        if self.old_master_woke {
            return;
        }
        let (redis, postgres) = (self.redis.borrow(), self.postgres.borrow());
        for product in self.shape.sales.iter().map(|sale| &sale.product) {
            let of_product = postgres.sales().filter(|row| row.product_id == *product);
            let Some(latest) = of_product.max_by_key(|row| row.sale_id) else { continue };
            let Some(sale) = redis.sale(product) else { continue };
            let number = |name: &str| sale.get(name).and_then(|text| text.parse::<i64>().ok());
            let (ledgers, held) = (i64::from(latest.generation), number("gen").unwrap_or(0));
            if number("id") == Some(latest.sale_id) && held < ledgers {
                self.unsettled.push(format!(
                    "behind: at rest the ledger has generation {ledgers} of {product} in force, and Redis was told of {held}"
                ));
            }
        }
    }
}
