//! One key: a thousand times in parallel, for another order, after its record has expired; scripts flushed; `/init` again.

use std::collections::BTreeSet;

use serde_json::json;

use super::outcome::Outcome;
use super::trial::{PLENTY, PRODUCT, Trial, two_edges};
use crate::checker::Invariant;
use crate::crowd::{self, Arrival, Order, Orders, Refusal, Repeat};
use crate::error::{Doing, LabError};

/// Row 7.
pub(super) fn a_thousand_times_in_parallel() -> Result<Outcome, LabError> {
    const REPEATS: u64 = 1_000;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    for key in 0..3 {
        let mut same = crowd::CrowdOptions::buyers(trial.deployment.targets(), PRODUCT, REPEATS, 500);
        same.orders = Orders::Same(Order::new(PRODUCT, "one-user", &format!("one-key-{key}"), 1));
        let report = crowd::run(same)?;
        trial.keep(&report.history);
        let ids: BTreeSet<_> = report.history.exchanges.iter().map(|exchange| exchange.outcome.order_id()).collect();
        let named = ids.len() == 1 && ids.iter().all(Option::is_some);
        trial.expect(Invariant::I3, named, format!("{REPEATS} requests with one key got {ids:?}"));
    }
    trial.conclude()
}

/// Row 8.
pub(super) fn for_another_order() -> Result<Outcome, LabError> {
    const KEYS: usize = 30;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.deployment.init("other", PLENTY)?;
    trial.load()?;
    for index in 0..KEYS {
        let key = format!("shared-{index}");
        let first = trial.ask(index % 2, &Order::new(PRODUCT, "first-user", &key, 2))?;
        let quantity = trial.ask((index + 1) % 2, &Order::new(PRODUCT, "first-user", &key, 3))?;
        let user = trial.ask(index % 2, &Order::new(PRODUCT, "other-user", &key, 2))?;
        let product = trial.ask(index % 2, &Order::new("other", "first-user", &key, 2))?;
        let reused = quantity == crowd::Outcome::No(Refusal::KeyReused);
        trial.expect(Invariant::I3, reused, format!("another quantity under {key}: {quantity:?}, not 422"));
        let ids: BTreeSet<_> = [first, user, product].iter().filter_map(crowd::Outcome::order_id).collect();
        let apart = ids.len() == 3;
        trial.expect(
            Invariant::I3,
            apart,
            format!("user and product are part of a key: {first:?} {user:?} {product:?}"),
        );
    }
    trial.conclude()
}

/// Row 9. The shortest life of records is a minute after the last order; here each is taken away at once.
pub(super) fn after_its_record_expired() -> Result<Outcome, LabError> {
    const ORDERS: usize = 50;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let mut redis = trial.deployment.redis.connection()?;
    let sale = format!("product:{{{PRODUCT}}}:sale");
    let id: String = redis::cmd("HGET").arg(&sale).arg("id").query(&mut redis).doing(|| format!("reading {sale}"))?;
    let records = format!("idempotency:{{{PRODUCT}}}:{id}");
    for index in 0..ORDERS {
        let order = Order::new(PRODUCT, "late", &format!("late-{index}"), 1 + (index % 3) as u16);
        let Some(first) = trial.ask(index % 2, &order)?.order_id() else { continue };
        trial.wait_for("its outbox entry is gone", |trial| {
            Ok(matches!(trial.ask(index % 2, &order)?, crowd::Outcome::Accepted { .. }))
        })?;
        let taken: u64 = redis::cmd("HDEL")
            .arg(&records)
            .arg(first.to_string())
            .query(&mut redis)
            .doing(|| format!("taking {first} out of {records}"))?;
        trial.expect(Invariant::I3, taken == 1, format!("{first} was not in {records}"));
        let again = trial.ask((index + 1) % 2, &order)?.order_id();
        trial.expect(Invariant::I3, again == Some(first), format!("{first} was told as {again:?} without its record"));
    }
    trial.conclude()
}

/// Row 15.
pub(super) fn scripts_flushed() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let mut redis = trial.deployment.redis.connection()?;
    for _ in 0..40 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis).doing(|| "flushing scripts".to_owned())?;
        trial.more_accepted(5)?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 36.
pub(super) fn opened_while_it_is_live() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), 10_000)?;
    let mut options = trial.crowd_options();
    options.repeat = Repeat::UNTIL_SETTLED;
    options.arrival = Arrival::Rate { buyers: PLENTY, per_second: 400.0 };
    trial.load_with(options)?;
    for sale in 1..=5 {
        trial.more_accepted(50)?;
        let plain = trial.deployment.admin("/init", &json!({"productId": PRODUCT, "quantity": 10_000}))?;
        trial.expect(Invariant::I1, plain.status == 409, format!("/init of a live sale: {}", plain.status));
        trial.deployment.init_with(json!({"productId": PRODUCT, "quantity": 100 * sale, "rate": 0, "force": true}))?;
    }
    trial.wait_for("it is sold out", |trial| Ok(trial.progress().sold_out > 50))?;
    trial.conclude()
}
