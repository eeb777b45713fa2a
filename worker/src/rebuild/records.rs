//! Writes what a repeat of a key must find, and how many units each user has, from the ledger into a fenced sale.
//!
//! `rebuild_fence.lua` has made the hash anew, under the sale's new generation. A record names an outbox entry that does not
//! exist: delivered.

use std::time::Duration;

use flux_protocol::order::Uuid;
use flux_protocol::postgres::Param;

use super::sale::Sale;
use crate::ledger::{Ledger, LedgerError};
use crate::redis::{Redis, key, records_key};
use crate::servers::Ended;

/// Users and records written.
pub(super) async fn write(
    ledger: &mut Ledger,
    redis: &mut Redis,
    product: &str,
    sale: &Sale,
    per_user: u64,
    record_ttl: Duration,
) -> Result<(u64, u64), Ended> {
    let ttl_s = i64::try_from(record_ttl.as_secs()).unwrap_or(i64::MAX);
    let users = if per_user > 0 { write_users(ledger, redis, product, sale).await? } else { 0 };
    let rejected = include_str!("../../sql/statements/rebuild_rejected.sql");
    let stored = include_str!("../../sql/statements/rebuild_records.sql");
    let mut records = 0;
    for sql in [rejected, stored] {
        records += write_records(ledger, redis, product, sale, (sql, ttl_s)).await?;
    }
    Ok((users, records))
}

async fn write_records(
    ledger: &mut Ledger,
    redis: &mut Redis,
    product: &str,
    sale: &Sale,
    (sql, ttl_s): (&str, i64),
) -> Result<u64, Ended> {
    let (mut written, mut after) = (0, Uuid([0; 16]));
    let records = records_key(product, sale.id);
    loop {
        let params = [text(product), bigint(sale.id), Param::Uuid(after), Param::I64(ttl_s)];
        let rows = ledger.query(sql, &params).await?;
        let mut fields = Vec::with_capacity(2 * rows.len());
        for row in &rows {
            let column = |at: usize| row.text(at).ok_or(LedgerError::Unexpected("a value of another type"));
            let (order, reservation, quantity) = (column(0)?, column(1)?, column(2)?);
            after = Uuid::parse(order.as_bytes()).ok_or(LedgerError::Unexpected("no UUID"))?;
            fields.extend([order.to_owned(), format!("{reservation} {quantity} 0-0")]);
        }
        if rows.is_empty() {
            return Ok(written);
        }
        let command = [b"HSET", records.as_bytes()].into_iter().chain(fields.iter().map(String::as_bytes));
        redis.ask(&command.collect::<Vec<_>>()).await?;
        written += rows.len() as u64;
    }
}

async fn write_users(ledger: &mut Ledger, redis: &mut Redis, product: &str, sale: &Sale) -> Result<u64, Ended> {
    let (mut written, mut after) = (0, String::new());
    let users = key(product, "users");
    loop {
        let params = [text(product), bigint(sale.id), text(&after)];
        let rows = ledger.query(include_str!("../../sql/statements/rebuild_users.sql"), &params).await?;
        let Some(last) = rows.last() else { return Ok(written) };
        after = last.text(0).unwrap_or_default().to_owned();
        let mut counts: Vec<&[u8]> = vec![b"HSET", users.as_bytes()];
        for row in &rows {
            let column = |at: usize| row.text(at).ok_or(LedgerError::Unexpected("a value of another type"));
            counts.extend([column(0)?.as_bytes(), column(1)?.as_bytes()]);
        }
        redis.ask(&counts).await?;
        written += rows.len() as u64;
    }
}

fn text(text: &str) -> Param {
    Param::Text(text.to_owned())
}

/// Sale ids fit: they were checked when they were stored.
fn bigint(number: u64) -> Param {
    Param::I64(i64::try_from(number).unwrap_or(i64::MAX))
}
