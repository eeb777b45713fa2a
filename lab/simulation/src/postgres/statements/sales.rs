//! Sales and the products' stock: taking, opening, locking, and what events say.

use std::collections::BTreeMap;
use std::rc::Rc;

use flux_protocol::order::Uuid;

use super::super::error::SqlError;
use super::super::rows::{Product, Sale};
use super::super::values::{Params, boolean, interval_of_ms, interval_unless_0, row, timestamp_of_interval};
use super::audit::Sums;
use super::{Plan, Scope, Steps, done, step};

/// A sale as the statements that open one propose it.
fn proposed(product_id: &str, sale_id: i64, generation: i32, total: i64, sold: i64) -> Sale {
    Sale {
        product_id: product_id.to_owned(),
        sale_id,
        generation,
        total,
        sold,
        withdrawn: 0,
        is_closed: false,
        rate: None,
        burst: None,
        seed: None,
        opened_at: None,
        closed_at: None,
        per_user: None,
        opens_at: None,
        queue: None,
        raised: 1,
        log_topic: None,
        log_ends: None,
    }
}

/// `nullif($n, '')`.
fn unless_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// The sales asked for in the first three (or four) parameters, sorted.
fn asked(params: &Params, units: Option<&[i64]>) -> Result<Vec<Sale>, SqlError> {
    let (products, sales, totals) = (params.texts(1)?, params.i64s(2)?, params.i64s(3)?);
    let units_asked = units.map_or(products.len(), <[i64]>::len);
    let count = Params::all_of_length(&[products.len(), sales.len(), totals.len(), units_asked])?;
    let row = |at: usize| proposed(&products[at], sales[at], 1, totals[at], units.map_or(0, |units| units[at]));
    let mut rows: Vec<Sale> = (0..count).map(row).collect();
    rows.sort_by(|a, b| (&a.product_id, a.sale_id).cmp(&(&b.product_id, b.sale_id)));
    Ok(rows)
}

pub(super) fn take(_: &mut Scope<'_>, params: &Params) -> Plan {
    let rows = asked(params, Some(params.i64s(4)?))?;
    let take = |row: Sale| {
        step(move |scope| {
            let written = scope.insert_or_update(
                |database| &mut database.sales,
                row.clone(),
                |held, excluded| {
                    if held.total != excluded.total {
                        return Ok(None);
                    }
                    let sum = held.sold.checked_add(excluded.sold).ok_or_else(|| SqlError::out_of_range("bigint"))?;
                    Ok((sum <= held.total).then_some(Sale { sold: sum, ..held }))
                },
            )?;
            if let Some(sale) = written {
                let is_overdrawn = boolean(sale.withdrawn > sale.total - sale.sold);
                scope.answer(row![sale.product_id, sale.sale_id, sale.generation, is_overdrawn]);
            }
            Ok(())
        })
    };
    Ok(rows.into_iter().map(take).collect())
}

pub(super) fn open(_: &mut Scope<'_>, params: &Params) -> Plan {
    let open = |row: Sale| step(move |scope| scope.insert_or_nothing(|database| &mut database.sales, row.clone()));
    Ok(asked(params, None)?.into_iter().map(open).collect())
}

pub(super) fn rebuild_newer(_: &mut Scope<'_>, params: &Params) -> Plan {
    let row = Sale {
        rate: Some(*params.i64(5)?),
        burst: Some(*params.i64(6)?),
        seed: Some(params.text(7)?.to_owned()),
        per_user: Some(*params.i32(8)?),
        opens_at: interval_unless_0(*params.i64(9)?)?.map(timestamp_of_interval).transpose()?,
        queue: unless_empty(params.text(10)?),
        ..proposed(params.text(1)?, *params.i64(2)?, *params.i32(3)?, *params.i64(4)?, 0)
    };
    Ok(Steps::from([step(move |scope| scope.insert_or_nothing(|database| &mut database.sales, row.clone()))]))
}

/// The sales that the snapshot holds of those named in the first two parameters, sorted; one as often as it is named.
fn found(scope: &Scope<'_>, params: &Params) -> Result<Vec<Sale>, SqlError> {
    let (products, sales) = (params.texts(1)?, params.i64s(2)?);
    Params::all_of_length(&[products.len(), sales.len()])?;
    let mut keys: Vec<(String, i64)> = products.iter().cloned().zip(sales.iter().copied()).collect();
    keys.sort();
    Ok(keys.iter().filter_map(|key| scope.database.sales.get(scope.owner, key).cloned()).collect())
}

pub(super) fn lock(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (topic_id, partition) = (*params.uuid(3)?, *params.i32(4)?);
    let lock = |sale: Sale| {
        let key = (sale.product_id, sale.sale_id);
        step(move |scope| {
            if let Some(held) = scope.database.sales.lock(scope.owner, &key)? {
                let is_announced = boolean(held.rate.is_some());
                let Sale { product_id, sale_id, total, sold, withdrawn, generation, .. } = &held;
                let mut answer = row![product_id, sale_id, total, sold, withdrawn, is_announced, generation];
                answer.push((held.log_topic == Some(topic_id)).then(|| log_end(&held, partition).to_string()));
                scope.answer(answer);
            }
            Ok(())
        })
    };
    Ok(found(scope, params)?.into_iter().map(lock).collect())
}

pub(super) fn show_stock(scope: &mut Scope<'_>, params: &Params) -> Plan {
    // What the statement's snapshot knows of each sale; the subqueries look there, too.
    let sales = scope.database.sales.scan(scope.owner);
    let ranks: BTreeMap<(String, i64), (bool, i64)> =
        sales.map(|sale| ((sale.product_id.clone(), sale.sale_id), (sale.rate.is_some(), sale.sale_id))).collect();
    let ranks = Rc::new(ranks);
    let mut latest = found(scope, params)?;
    // By product, those that are announced first, the latest of them first; the first of each product is taken.
    latest.sort_by(|a, b| {
        let rank = |sale: &Sale| (sale.rate.is_some(), sale.sale_id);
        (&a.product_id, rank(b)).cmp(&(&b.product_id, rank(a)))
    });
    latest.dedup_by(|later, first| later.product_id == first.product_id);
    let show = |sale: Sale| {
        let stock = sale.total - sale.sold;
        let row = Product { id: sale.product_id, stock, sale_id: sale.sale_id };
        let ranks = Rc::clone(&ranks);
        step(move |scope| {
            scope.insert_or_update(
                |database| &mut database.products,
                row.clone(),
                |held, excluded| {
                    let rank = |product: &Product| ranks.get(&(product.id.clone(), product.sale_id));
                    // NULL, where one is not known, is not true.
                    let is_later = rank(excluded).zip(rank(&held)).is_some_and(|(new, old)| new > old);
                    Ok((held.sale_id == excluded.sale_id || is_later).then(|| excluded.clone()))
                },
            )?;
            Ok(())
        })
    };
    Ok(latest.into_iter().map(show).collect())
}

pub(super) fn total(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let total = *params.i64(3)?;
    let change = move |held: Sale| Ok((held.rate.is_none() && held.total != total).then_some(Sale { total, ..held }));
    update_sale(scope, params, change, false)
}

/// UPDATE of one sale by its key; `change` as in [`Scope::update`], asked of the snapshot's row too.
fn update_sale(
    scope: &mut Scope<'_>,
    params: &Params,
    change: impl Fn(Sale) -> Result<Option<Sale>, SqlError> + 'static,
    answers: bool,
) -> Plan {
    let key = (params.text(1)?.to_owned(), *params.i64(2)?);
    let Some(seen) = scope.database.sales.get(scope.owner, &key).cloned() else { return done() };
    Ok(Steps::from([step(move |scope| {
        let written = scope.update(|database| &mut database.sales, &seen, &change)?;
        if let (Some(sale), true) = (written, answers) {
            scope.answer(row![sale.raised]);
        }
        Ok(())
    })]))
}

pub(super) fn opened(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (rate, burst, seed) = (*params.i64(3)?, *params.i64(4)?, params.text(5)?.to_owned());
    let (generation, at) = (*params.i32(6)?, interval_of_ms(*params.i64(7)?)?);
    let (per_user, opens_at) = (*params.i32(8)?, interval_unless_0(*params.i64(9)?)?);
    let queue = unless_empty(params.text(10)?);
    let change = move |held: Sale| {
        if held.opened_at.is_some() {
            return Ok(None);
        }
        Ok(Some(Sale {
            rate: Some(rate),
            burst: Some(burst),
            seed: Some(seed.clone()),
            generation: held.generation.max(generation),
            opened_at: Some(timestamp_of_interval(at)?),
            per_user: Some(per_user),
            opens_at: opens_at.map(timestamp_of_interval).transpose()?,
            queue: queue.clone(),
            ..held
        }))
    };
    update_sale(scope, params, change, false)
}

pub(super) fn closed(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (withdrawn, generation) = (*params.i64(3)?, *params.i32(4)?);
    let (rate, burst, at) = (*params.i64(5)?, *params.i64(6)?, interval_of_ms(*params.i64(7)?)?);
    let change = move |held: Sale| {
        let is_in_force = held.generation <= generation;
        let closed_at = match held.closed_at {
            Some(closed_at) => closed_at,
            None => timestamp_of_interval(at)?,
        };
        Ok(Some(Sale {
            is_closed: true,
            withdrawn: if is_in_force { withdrawn } else { held.withdrawn },
            generation: held.generation.max(generation),
            rate: held.rate.or(Some(rate)),
            burst: held.burst.or(Some(burst)),
            closed_at: Some(closed_at),
            ..held
        }))
    };
    update_sale(scope, params, change, false)
}

/// `nullif($n, uuid '00000000-0000-0000-0000-000000000000')` and `nullif($n+1, '{}')`.
fn counted_to(params: &Params, number: usize) -> Result<(Option<Uuid>, Option<Vec<i64>>), SqlError> {
    let topic = Some(*params.uuid(number)?).filter(|topic| topic.0 != [0; 16]);
    Ok((topic, Some(params.i64s(number + 1)?.to_vec()).filter(|ends| !ends.is_empty())))
}

/// `coalesce(log_ends[$4 + 1], 0)`.
fn log_end(sale: &Sale, partition: i32) -> i64 {
    let ends = sale.log_ends.as_deref().unwrap_or_default();
    usize::try_from(partition).ok().and_then(|partition| ends.get(partition)).copied().unwrap_or(0)
}

pub(super) fn rebuild_close(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (withdrawn, now) = (*params.i64(3)?, scope.now);
    let change = move |held: Sale| {
        Ok(Some(Sale { is_closed: true, withdrawn, closed_at: held.closed_at.or(Some(now)), ..held }))
    };
    update_sale(scope, params, change, false)
}

pub(super) fn rebuild_withdraw(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (withdrawn, now) = (*params.i64(3)?, scope.now);
    let (log_topic, log_ends) = counted_to(params, 4)?;
    let change = move |held: Sale| {
        let log_ends = log_ends.clone();
        let highest = held.generation.max(held.raised);
        let next = highest.checked_add(1).ok_or_else(|| SqlError::out_of_range("integer"))?;
        let closed_at = held.closed_at.or(Some(now));
        let (generation, raised) = (next, next);
        Ok(Some(Sale { is_closed: true, closed_at, withdrawn, generation, raised, log_topic, log_ends, ..held }))
    };
    update_sale(scope, params, change, false)
}

pub(super) fn withdraw_less(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale_id) = (params.text(1)?, *params.i64(2)?);
    let is_later = |row: &Sale| row.product_id == product && row.sale_id > sale_id && row.rate.is_some();
    if !scope.database.sales.scan(scope.owner).any(is_later) {
        return done();
    }
    let Some(seen) = scope.database.sales.get(scope.owner, &(product.to_owned(), sale_id)).cloned() else {
        return done();
    };
    // The subqueries read the snapshot even where the row is read anew.
    let sums = Sums(scope, &seen);
    let elsewhere = sums.dead() + sums.returns("withdrawn");
    let change = move |held: Sale| {
        let left = held.total - held.sold - elsewhere;
        if held.withdrawn == 0 || held.withdrawn <= left {
            return Ok(None);
        }
        let highest = held.generation.max(held.raised);
        let next = highest.checked_add(1).ok_or_else(|| SqlError::out_of_range("integer"))?;
        Ok(Some(Sale { withdrawn: left.max(0), generation: next, raised: next, ..held }))
    };
    update_sale(scope, params, change, false)
}

pub(super) fn rebuild_raise(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let known = *params.i32(3)?;
    let change = move |held: Sale| {
        let highest = held.raised.max(held.generation).max(known);
        let raised = highest.checked_add(1).ok_or_else(|| SqlError::out_of_range("integer"))?;
        Ok(Some(Sale { raised, ..held }))
    };
    update_sale(scope, params, change, true)
}

pub(super) fn rebuild_in_force(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (generation, rate, burst) = (*params.i32(3)?, *params.i64(4)?, *params.i64(5)?);
    let (seed, per_user, opens_at) = (params.text(6)?.to_owned(), *params.i32(7)?, interval_unless_0(*params.i64(8)?)?);
    let queue = unless_empty(params.text(9)?);
    let counted = counted_to(params, 10)?;
    let change = move |held: Sale| {
        let overtaken = held.generation > generation;
        let (log_topic, log_ends) = if overtaken { (held.log_topic, held.log_ends.clone()) } else { counted.clone() };
        let opens_at = match held.opens_at {
            Some(opens_at) => Some(opens_at),
            None => opens_at.map(timestamp_of_interval).transpose()?,
        };
        Ok(Some(Sale {
            generation: held.generation.max(generation),
            rate: held.rate.or(Some(rate)),
            burst: held.burst.or(Some(burst)),
            seed: held.seed.or_else(|| Some(seed.clone())),
            per_user: held.per_user.or(Some(per_user)),
            opens_at,
            queue: held.queue.or_else(|| queue.clone()),
            log_topic,
            log_ends,
            ..held
        }))
    };
    update_sale(scope, params, change, false)
}
