//! Transactions' own statements, and what a migration asks.

use super::super::database::AdvisoryKey;
use super::super::error::SqlError;
use super::super::rows::{Migration, Relation};
use super::super::table::Record;
use super::super::values::{Params, boolean, row};
use super::{Plan, Scope, Steps, done, step};

/// The tables of `0001_ledger.sql`.
pub(super) const LEDGER: &[&str] = &["products", "sales", "orders", "offsets", "returns", "rejected", "dead_letters"];
/// What `0002_sale_options.sql` and the migrations behind it add to a table; no table has such a name.
const SALE_OPTIONS: &str = "sales (per_user, opens_at)";
const SALE_QUEUE: &str = "sales (queue)";
const SALE_RAISED: &str = "sales (raised)";
const SALE_LOG_ENDS: &str = "sales (log_topic, log_ends)";
const OFFSET_EPOCHS: &str = "offsets (leader_epoch, epoch_offset)";
const RETURN_REASON: &str = "returns (why)";
/// What `0001_ledger.sql` makes, in its order.
const LEDGER_TAGS: [&str; 11] = [
    "CREATE TABLE",
    "CREATE TABLE",
    "CREATE TABLE",
    "CREATE TABLE",
    "CREATE TABLE",
    "CREATE INDEX",
    "CREATE INDEX",
    "CREATE TABLE",
    "CREATE INDEX",
    "CREATE TABLE",
    "CREATE INDEX",
];

/// BEGIN, COMMIT, ROLLBACK: the session carries them out.
pub(super) fn nothing(_: &mut Scope<'_>, _: &Params) -> Plan {
    done()
}

/// `SELECT pg_advisory_xact_lock($1)`; its result is void.
pub(super) fn advisory_lock(_: &mut Scope<'_>, params: &Params) -> Plan {
    let key = AdvisoryKey::Number(*params.i64(1)?);
    Ok(Steps::from([step(move |scope| {
        scope.database.lock_for_transaction(scope.owner, key.clone())?;
        scope.answer(row![""]);
        Ok(())
    })]))
}

/// `SELECT to_regclass('flux_schema') IS NOT NULL`.
pub(super) fn is_there(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let is_there = scope.database.relations.get(scope.owner, &Migration::TABLE).is_some();
    scope.answer(row![boolean(is_there)]);
    done()
}

pub(super) fn create_schema(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(create(&[Migration::TABLE], &["CREATE TABLE"]))
}

/// `0002_sale_options.sql`.
pub(super) fn add_sale_options(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(SALE_OPTIONS, "per_user"))
}

/// `0003_sale_queue.sql`.
pub(super) fn add_sale_queue(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(SALE_QUEUE, "queue"))
}

/// `0004_rebuilds.sql`.
pub(super) fn add_raised(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(SALE_RAISED, "raised"))
}

/// `0005_leader_epochs.sql`.
pub(super) fn add_epochs(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(OFFSET_EPOCHS, "leader_epoch"))
}

/// `0006_unfounded_returns.sql`. The state that it allows is always allowed.
pub(super) fn add_return_reason(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(RETURN_REASON, "why"))
}

/// `0007_late.sql`.
pub(super) fn add_log_ends(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(add_columns(SALE_LOG_ENDS, "log_topic"))
}

/// The columns are always there; what is kept is that they were added.
fn add_columns(added: &'static str, first: &'static str) -> Steps {
    let table = added.split(' ').next().unwrap_or_default();
    Steps::from([step(move |scope| {
        if scope.database.relations.arbitrate(scope.owner, &added)? {
            let exists = format!("column \"{first}\" of relation \"{table}\" already exists");
            return Err(SqlError::new(b"42701", exists).into());
        }
        scope.output.tags.push("ALTER TABLE");
        scope.database.relations.insert(scope.owner, scope.command, Relation(added))
    })])
}

/// The orders' index by sale, as the catalog knows it.
const INDEX: &str = "orders_by_sale";

/// `SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('orders_by_sale')`.
pub(super) fn index_state(scope: &mut Scope<'_>, _: &Params) -> Plan {
    if scope.database.relations.get(scope.owner, &INDEX).is_some() {
        scope.answer(row![boolean(true)]);
    }
    done()
}

/// `CREATE INDEX CONCURRENTLY orders_by_sale …`: it is there or not, never half built here.
pub(super) fn create_index(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(create(&[INDEX], &["CREATE INDEX"]))
}

pub(super) fn create_ledger(_: &mut Scope<'_>, _: &Params) -> Plan {
    Ok(create(LEDGER, &LEDGER_TAGS))
}

fn create(names: &'static [&'static str], tags: &'static [&'static str]) -> Steps {
    let one = |name: &'static str| {
        step(move |scope| {
            if scope.database.relations.arbitrate(scope.owner, &name)? {
                return Err(SqlError::new(b"42P07", format!("relation \"{name}\" already exists")).into());
            }
            scope.database.relations.insert(scope.owner, scope.command, Relation(name))
        })
    };
    let mut steps: Steps = names.iter().map(|name| one(name)).collect();
    steps.push_back(step(move |scope| {
        scope.output.tags.extend(tags);
        Ok(())
    }));
    steps
}

/// `SELECT coalesce(max(version), 0) FROM flux_schema`.
pub(super) fn version(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let version = scope.database.migrations.scan(scope.owner).map(|row| row.version).max().unwrap_or(0);
    scope.answer(row![version]);
    done()
}

/// `INSERT INTO flux_schema (version, name) VALUES ($1, $2)`.
pub(super) fn note_version(_: &mut Scope<'_>, params: &Params) -> Plan {
    let row = Migration { version: *params.i32(1)?, name: params.text(2)?.to_owned() };
    Ok(Steps::from([step(move |scope| {
        if scope.database.migrations.arbitrate(scope.owner, &row.version)? {
            return Err(SqlError::duplicate(Migration::TABLE).into());
        }
        scope.database.migrations.insert(scope.owner, scope.command, row.clone())?;
        scope.output.count += 1;
        Ok(())
    })]))
}
