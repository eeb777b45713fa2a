//! What a rebuild reads: the latest sale, its account, and the records and users to write again.

use std::collections::BTreeMap;

use super::super::error::SqlError;
use super::super::rows::Sale;
use super::super::values::{EPOCH_MICROS, Params, boolean, row, state};
use super::audit::Sums;
use super::{Plan, Scope, Steps, done, step};

/// Rows a page holds, as FETCH says.
const PAGE: usize = 5000;
const SECOND_MICROS: i64 = 1_000_000;

pub(super) fn sale(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, asked) = (params.text(1)?, *params.i64(2)?);
    let of_product = scope.database.sales.scan(scope.owner).filter(|row| row.product_id == product);
    let is_meant = |row: &&Sale| asked == 0 || row.sale_id == asked || (asked == -1 && row.rate.is_some());
    let latest = of_product.filter(is_meant).max_by_key(|row| row.sale_id).cloned();
    if let Some(sale) = latest {
        let mut answer = row![sale.sale_id, sale.generation, sale.raised, sale.total];
        answer.extend([sale.rate, sale.burst].map(|number| number.map(|number| number.to_string())));
        answer.push(sale.seed);
        answer.push(sale.per_user.map(|units| units.to_string()));
        // A number of microseconds, times 1000 / 1000000, rounded as `numeric` is.
        let opens_at = sale.opens_at.map_or(0, |at| rounded(i128::from(at) + i128::from(EPOCH_MICROS), 1000));
        answer.push(sale.per_user.map(|_| opens_at.to_string()));
        answer.push(sale.queue);
        scope.answer(answer);
    }
    done()
}

/// A quotient, half away from zero.
fn rounded(number: i128, by: i128) -> i128 {
    (number + number.signum() * by / 2) / by
}

pub(super) fn account(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let key = (params.text(1)?.to_owned(), *params.i64(2)?);
    let Some(seen) = scope.database.sales.get(scope.owner, &key).cloned() else { return done() };
    // The subquery reads the snapshot even where the row is read anew.
    let dead = Sums(scope, &seen).dead();
    Ok(Steps::from([step(move |scope| {
        if let Some(held) = scope.database.sales.lock(scope.owner, &key)? {
            scope.answer(row![held.total, held.sold, held.withdrawn, state(held.is_closed), dead]);
        }
        Ok(())
    })]))
}

pub(super) fn earlier(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, later) = (params.text(1)?, *params.i64(2)?);
    let rows = scope.database.sales.scan(scope.owner);
    let rows = rows.filter(|row| row.product_id == product && row.sale_id < later && row.rate.is_some());
    let rows: Vec<_> = rows.cloned().collect();
    for sale in rows {
        let sums = Sums(scope, &sale);
        let (pending, withdrawn) = (sums.returns("pending"), sums.returns("withdrawn"));
        let parts = [sale.withdrawn, sums.dead(), pending + withdrawn];
        let somewhere = parts.into_iter().try_fold(sale.sold, i64::checked_add);
        let somewhere = somewhere.ok_or_else(|| SqlError::out_of_range("bigint"))?;
        if sale.total > somewhere || sale.total < somewhere - pending {
            scope.answer(row![sale.sale_id]);
        }
    }
    done()
}

/// The rows that were answered become the cursor's.
fn declared(scope: &mut Scope<'_>) -> Plan {
    let rows = std::mem::take(&mut scope.output.rows);
    let rows = scope.shuffled(rows);
    if !scope.database.declare(scope.owner, rows) {
        return Err(SqlError::new(b"42P03", "cursor \"rebuilding\" already exists"));
    }
    done()
}

/// `FETCH 5000 FROM rebuilding`.
pub(super) fn fetch(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let missing = || SqlError::new(b"34000", "cursor \"rebuilding\" does not exist");
    let rows = scope.database.fetch(scope.owner, PAGE).ok_or_else(missing)?;
    scope.output.rows.extend(rows);
    done()
}

pub(super) fn users(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale) = (params.text(1)?, *params.i64(2)?);
    let mut users: BTreeMap<String, i64> = BTreeMap::new();
    for row in scope.database.orders.scan(scope.owner) {
        if row.product_id == product && row.sale_id == sale {
            *users.entry(row.user_id.clone()).or_default() += i64::from(row.quantity);
        }
    }
    for (user, quantity) in users {
        scope.answer(row![user, quantity]);
    }
    declared(scope)
}

/// Whether what was written at `at` is younger than `ttl` seconds.
fn is_younger(at: i64, now: i64, ttl: i64) -> bool {
    at > now - ttl * SECOND_MICROS
}

pub(super) fn records(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale, ttl) = (params.text(1)?, *params.i64(2)?, *params.i64(3)?);
    let now = scope.now;
    let rows = scope.database.orders.scan(scope.owner);
    let rows = rows.filter(|row| row.product_id == product && row.sale_id == sale);
    let rows = rows.filter(|row| is_younger(row.stored_at, now, ttl));
    let rows: Vec<_> = rows.map(|row| row![row.id, row.reservation_id, row.quantity]).collect();
    scope.output.rows.extend(rows);
    declared(scope)
}

pub(super) fn dead_letters(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale) = (params.text(1)?, *params.i64(2)?);
    let rows = scope.database.dead_letters.scan(scope.owner);
    let rows = rows.filter(|row| row.product_id.as_deref() == Some(product) && row.sale_id == Some(sale));
    let mut rows: Vec<_> = rows.filter(|row| row.quantity.is_some() && row.value.is_some()).cloned().collect();
    rows.sort_by_key(|row| (row.at, row.partition, row.kafka_offset));
    for row in rows {
        let value = row.value.unwrap_or_default();
        scope.answer(row![value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()]);
    }
    declared(scope)
}

pub(super) fn rejected(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale, ttl) = (params.text(1)?, *params.i64(2)?, *params.i64(3)?);
    let now = scope.now;
    let rows = scope.database.rejected.scan(scope.owner);
    let rows = rows.filter(|row| row.product_id == product && row.sale_id == sale && row.reason != "late");
    let rows = rows.filter(|row| scope.database.orders.get(scope.owner, &row.order_id).is_none());
    let rows = rows.filter(|row| is_younger(row.rejected_at, now, ttl)).cloned().collect();
    // Those rejected in one transaction are equal.
    let mut rows = scope.shuffled(rows);
    rows.sort_by(|a, b| (a.order_id, b.rejected_at).cmp(&(b.order_id, a.rejected_at)));
    rows.dedup_by_key(|row| row.order_id);
    for row in rows {
        scope.answer(row![row.order_id, row.reservation_id, row.quantity]);
    }
    declared(scope)
}

/// `SELECT pg_try_advisory_lock(hashtextextended('flux-rebuild:' || $1, 0))`.
pub(super) fn try_lock(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let key = super::super::database::AdvisoryKey::Hashed(format!("flux-rebuild:{}", params.text(1)?));
    let is_locked = scope.database.try_lock_for_session(scope.owner, key);
    scope.answer(row![boolean(is_locked)]);
    done()
}

/// `SELECT pg_try_advisory_lock($1)`.
pub(super) fn try_index_lock(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let key = super::super::database::AdvisoryKey::Number(*params.i64(1)?);
    let is_locked = scope.database.try_lock_for_session(scope.owner, key);
    scope.answer(row![boolean(is_locked)]);
    done()
}
