//! What is noted beside orders: returns, rejections, dead letters.

use std::collections::BTreeMap;

use flux_protocol::order::Uuid;

use super::super::error::SqlError;
use super::super::rows::{DeadLetter, Rejected, Return, Sale};
use super::super::values::{Params, row, timestamp_of_ms};
use super::audit::Sums;
use super::{Plan, Scope, Step, Steps, done, step};

pub(super) fn note_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (reservations, orders, products) = (params.uuids(1)?, params.uuids(2)?, params.texts(3)?);
    let (sales, generations) = (params.i64s(4)?, params.i32s(5)?);
    let (quantities, users) = (params.i32s(6)?, params.texts(7)?);
    let count = Params::all_of_length(&[
        reservations.len(),
        orders.len(),
        products.len(),
        sales.len(),
        generations.len(),
        quantities.len(),
        users.len(),
    ])?;
    let note = |at: usize| {
        let row = Return {
            reservation_id: reservations[at],
            order_id: orders[at],
            product_id: products[at].clone(),
            sale_id: sales[at],
            generation: generations[at],
            quantity: quantities[at],
            user_id: users[at].clone(),
            state: "pending".to_owned(),
            noted_at: scope.now,
            settled_at: None,
            why: None,
        };
        step(move |scope| scope.insert_or_nothing(|database| &mut database.returns, row.clone()))
    };
    Ok((0..count).map(note).collect())
}

pub(super) fn note_rejected(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (orders, reservations, reasons) = (params.uuids(1)?, params.uuids(2)?, params.texts(3)?);
    let (products, users, quantities) = (params.texts(4)?, params.texts(5)?, params.i32s(6)?);
    let (sales, generations, offsets) = (params.i64s(7)?, params.i32s(8)?, params.i64s(9)?);
    let (partition, created) = (*params.i32(10)?, params.i64s(11)?);
    let count = Params::all_of_length(&[
        orders.len(),
        reservations.len(),
        reasons.len(),
        products.len(),
        users.len(),
        quantities.len(),
        sales.len(),
        generations.len(),
        offsets.len(),
        created.len(),
    ])?;
    let now = scope.now;
    let note = |at: usize| {
        let created_at = timestamp_of_ms(created[at]);
        let row = created_at.map(|created_at| Rejected {
            order_id: orders[at],
            reservation_id: reservations[at],
            reason: reasons[at].clone(),
            product_id: products[at].clone(),
            user_id: users[at].clone(),
            quantity: quantities[at],
            sale_id: sales[at],
            generation: generations[at],
            partition,
            kafka_offset: offsets[at],
            created_at,
            rejected_at: now,
        });
        step(move |scope| scope.insert_or_nothing(|database| &mut database.rejected, row.clone()?))
    };
    Ok((0..count).map(note).collect())
}

pub(super) fn note_dead_letters(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (topic, topic_id, partition) = (params.text(1)?, *params.uuid(2)?, *params.i32(3)?);
    let (offsets, keys, values) = (params.i64s(4)?, params.byte_strings(5)?, params.byte_strings(6)?);
    let (reasons, products) = (params.texts(7)?, params.texts(8)?);
    let (sales, quantities) = (params.i64s(9)?, params.i32s(10)?);
    let count = Params::all_of_length(&[
        offsets.len(),
        keys.len(),
        values.len(),
        reasons.len(),
        products.len(),
        sales.len(),
        quantities.len(),
    ])?;
    let note = |at: usize| {
        let row = DeadLetter {
            topic: topic.to_owned(),
            topic_id,
            partition,
            kafka_offset: offsets[at],
            key: keys[at].clone(),
            value: values[at].clone(),
            reason: reasons[at].clone(),
            product_id: Some(products[at].clone()).filter(|product| !product.is_empty()),
            sale_id: Some(sales[at]).filter(|sale| *sale != -1),
            quantity: Some(quantities[at]).filter(|quantity| *quantity != 0),
            at: scope.now,
        };
        step(move |scope| scope.insert_or_nothing(|database| &mut database.dead_letters, row.clone()))
    };
    Ok((0..count).map(note).collect())
}

/// A return in the order of the statements that read them.
fn fields(row: &Return) -> Vec<Option<String>> {
    row![row.reservation_id, row.order_id, row.product_id, row.sale_id, row.generation, row.quantity, row.user_id]
}

const PENDING: &[&str] = &["pending"];

/// Pending returns, the oldest first.
fn pending(scope: &mut Scope<'_>, is_meant: impl Fn(&Return) -> bool) -> Vec<Return> {
    returns(scope, PENDING, is_meant)
}

/// Returns in one of those states, the oldest first.
fn returns(scope: &mut Scope<'_>, states: &[&str], is_meant: impl Fn(&Return) -> bool) -> Vec<Return> {
    let rows = scope.database.returns.scan(scope.owner);
    let rows = rows.filter(|row| states.contains(&&*row.state) && is_meant(row));
    let rows = rows.cloned().collect();
    // Those noted in one transaction are equal.
    let mut rows = scope.shuffled(rows);
    rows.sort_by_key(|row| row.noted_at);
    rows
}

pub(super) fn pending_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let limit = *params.i64(1)?;
    let limit = usize::try_from(limit).map_err(|_| SqlError::new(b"2201W", "LIMIT must not be negative"))?;
    let behind = *params.uuid(2)?;
    let mut rows = pending(scope, |row| row.reservation_id > behind);
    rows.sort_by_key(|row| row.reservation_id);
    scope.output.rows.extend(rows.iter().take(limit).map(fields));
    done()
}

pub(super) fn audit_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let product = params.text(1)?;
    let rows = pending(scope, |row| product.is_empty() || row.product_id == product);
    scope.output.rows.extend(rows.iter().map(fields));
    done()
}

pub(super) fn settled_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (asked, sale) = (params.uuids(1)?, *params.i64(2)?);
    let rows = scope.database.returns.scan(scope.owner);
    let is_meant = |row: &&Return| asked.contains(&row.reservation_id) && row.sale_id < sale && row.state != "pending";
    let rows: Vec<Uuid> = rows.filter(is_meant).map(|row| row.reservation_id).collect();
    let rows = scope.shuffled(rows);
    scope.output.rows.extend(rows.iter().map(|reservation| row![*reservation]));
    done()
}

pub(super) fn mark_returned(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (asked, state) = (params.uuids(1)?, params.text(2)?.to_owned());
    let rows = pending(scope, |row| asked.contains(&row.reservation_id));
    Ok(settle(scope, rows, PENDING, &state, None))
}

pub(super) fn end_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (asked, state, why) = (params.uuids(1)?, params.text(2)?.to_owned(), params.text(3)?.to_owned());
    let rows = pending(scope, |row| asked.contains(&row.reservation_id));
    Ok(settle(scope, rows, PENDING, &state, Some(&why)))
}

/// Pending returns of these reservations, each with its sale, in the order of the reservations.
fn with_sales(scope: &mut Scope<'_>, asked: &[Uuid]) -> Vec<(Return, Sale)> {
    let mut rows = pending(scope, |row| asked.contains(&row.reservation_id));
    rows.sort_by_key(|row| row.reservation_id);
    let sale = |row: &Return| scope.database.sales.get(scope.owner, &(row.product_id.clone(), row.sale_id)).cloned();
    rows.into_iter().filter_map(|row| sale(&row).map(|sale| (row, sale))).collect()
}

pub(super) fn stray_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (asked, held) = (params.uuids(1)?.to_vec(), *params.i64(2)?);
    let mut answers = Vec::new();
    for (row, sale) in with_sales(scope, &asked) {
        let in_redis = scope.database.sales.get(scope.owner, &(row.product_id.clone(), held));
        let is_no_sale = sale.rate.is_none() && in_redis.is_some_and(|held| held.rate.is_some());
        if row.generation > sale.generation.max(sale.raised) {
            answers.push((row.reservation_id, "generation"));
        } else if is_no_sale {
            answers.push((row.reservation_id, "sale"));
        }
    }
    for (reservation, why) in scope.shuffled(answers) {
        scope.answer(row![reservation, why]);
    }
    done()
}

pub(super) fn over_returns(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let asked = params.uuids(1)?.to_vec();
    let mut upto: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut answers = Vec::new();
    for (row, sale) in with_sales(scope, &asked) {
        let sums = Sums(scope, &sale);
        let room = sale.total - sale.sold - sale.withdrawn - sums.dead() - sums.returns("withdrawn");
        let state = if row.generation < sale.generation {
            "absorbed"
        } else {
            let upto = upto.entry((row.product_id, row.sale_id)).or_default();
            *upto += i64::from(row.quantity);
            if *upto <= room { "withdrawn" } else { "unfounded" }
        };
        answers.push((row.reservation_id, state));
    }
    for (reservation, state) in scope.shuffled(answers) {
        scope.answer(row![reservation, state]);
    }
    done()
}

pub(super) fn audit_unfounded(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let product = params.text(1)?;
    let rows = scope.database.returns.scan(scope.owner);
    let is_meant = |row: &&Return| row.why.is_some() && (product.is_empty() || row.product_id == product);
    let mut rows: Vec<Return> = rows.filter(is_meant).cloned().collect();
    rows.sort_by(|a, b| {
        (&a.product_id, a.sale_id, a.reservation_id).cmp(&(&b.product_id, b.sale_id, b.reservation_id))
    });
    let mut named: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for row in rows {
        let place = named.entry((row.product_id.clone(), row.sale_id)).or_default();
        *place += 1;
        if *place <= 20 {
            let Return { product_id, sale_id, order_id, reservation_id, quantity, state, why, .. } = row;
            scope.answer(row![product_id, sale_id, order_id, reservation_id, quantity, state, why.unwrap_or_default()]);
        }
    }
    done()
}

pub(super) fn rebuild_absorb(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let (product, sale, generation) = (params.text(1)?, *params.i64(2)?, *params.i32(3)?);
    let is_meant = |row: &Return| row.product_id == product && row.sale_id == sale && row.generation < generation;
    let states: &[&str] = &["pending", "withdrawn"];
    let rows = returns(scope, states, is_meant);
    Ok(settle(scope, rows, states, "absorbed", None))
}

/// UPDATE of returns that are in one of `states` in the snapshot, where they still are. In whatever order they are found.
fn settle(
    scope: &mut Scope<'_>,
    rows: Vec<Return>,
    states: &'static [&'static str],
    state: &str,
    why: Option<&str>,
) -> Steps {
    let rows = scope.shuffled(rows);
    let now = scope.now;
    let settle = |row: Return| -> Step {
        let (state, why) = (state.to_owned(), why.map(str::to_owned));
        step(move |scope| {
            let change = |held: Return| {
                let is_meant = states.contains(&&*held.state);
                let why = why.clone().or_else(|| held.why.clone());
                Ok(is_meant.then(|| Return { state: state.clone(), settled_at: Some(now), why, ..held }))
            };
            scope.update(|database| &mut database.returns, &row, change)?;
            Ok(())
        })
    };
    rows.into_iter().map(settle).collect()
}

pub(super) fn audit_dead_letters(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let asked = params.text(1)?;
    let mut rows = Vec::new();
    for row in scope.database.dead_letters.scan(scope.owner) {
        if let (Some(product), Some(sale)) = (&row.product_id, row.sale_id)
            && (asked.is_empty() || asked == product)
        {
            rows.push(((product.clone(), sale), row.partition, row.kafka_offset, row.reason.clone()));
        }
    }
    // Partitions of two topics may be equal.
    let mut rows = scope.shuffled(rows);
    rows.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    let mut named: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for (sale, partition, offset, reason) in rows {
        let place = named.entry(sale.clone()).or_default();
        *place += 1;
        if *place <= 20 {
            scope.answer(row![sale.0, sale.1, partition, offset, reason]);
        }
    }
    done()
}
