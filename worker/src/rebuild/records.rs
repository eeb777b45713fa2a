//! Writes what a repeat of a key must find, and how many units each user has, from the ledger into a fenced sale.
//!
//! `rebuild_fence.lua` has made the hash anew, under the sale's new generation. A record names an outbox entry that does not
//! exist: delivered.

use std::time::Duration;

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::postgres::{Param, Row};
use flux_protocol::redis_keys;

use super::sale::Sale;
use crate::ledger::{Ledger, LedgerError};
use crate::oneshot::Ended;
use crate::progress::Progress;
use crate::redis::Redis;

/// A page of what the cursor gives.
const FETCH: &str = "FETCH 5000 FROM rebuilding";

/// Users and records written. Each is read in one pass, a page in memory at a time.
pub(super) async fn write(
    ledger: &mut Ledger,
    redis: &mut Redis,
    product: &str,
    sale: &Sale,
    record_ttl: Duration,
) -> Result<(u64, u64), Ended> {
    let of_sale = [Param::Text(product.to_owned()), bigint(sale.id)];
    let (users_key, records_key) = (redis_keys::of(product, "users"), redis_keys::records(product, sale.id));
    let mut users = 0;
    if sale.options.per_user > 0 && !is_planted(Bug::UsersNotRebuilt) {
        let sql = include_str!("../../sql/statements/rebuild_users.sql");
        let field = |row: &Row| Ok((column(row, 0)?.to_owned(), column(row, 1)?.to_owned()));
        users = pass(ledger, redis, (sql, &of_sale), &users_key, "users", field).await?;
    }
    let ttl_s = i64::try_from(record_ttl.as_secs()).unwrap_or(i64::MAX);
    let [product_id, sale_id] = of_sale;
    let young = [product_id, sale_id, Param::I64(ttl_s)];
    let field = |row: &Row| Ok((column(row, 0)?.to_owned(), format!("{} {} 0-0", column(row, 1)?, column(row, 2)?)));
    let mut records = 0;
    for sql in [
        include_str!("../../sql/statements/rebuild_rejected.sql"),
        include_str!("../../sql/statements/rebuild_records.sql"),
    ] {
        records += pass(ledger, redis, (sql, &young), &records_key, "records", field).await?;
    }
    Ok((users, records))
}

/// Writes a field of the hash `key` for every row that the cursor `rebuilding` gives; their number.
async fn pass(
    ledger: &mut Ledger,
    redis: &mut Redis,
    (declare, params): (&str, &[Param]),
    key: &str,
    what: &'static str,
    field: impl Fn(&Row) -> Result<(String, String), LedgerError>,
) -> Result<u64, Ended> {
    let mut progress = Progress::new();
    ledger
        .atomically(async |ledger| -> Result<u64, Ended> {
            ledger.execute(declare, params).await?;
            let mut written = 0;
            let mut rows = ledger.query(FETCH, &[]).await?;
            while !rows.is_empty() {
                let mut command = vec!["HSET".to_owned(), key.to_owned()];
                for row in &rows {
                    let (name, value) = field(row)?;
                    command.extend([name, value]);
                }
                let command: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
                // While Redis writes a page, the ledger reads the next.
                let (answer, next) = monoio::join!(redis.ask(&command), ledger.query(FETCH, &[]));
                answer?;
                written += rows.len() as u64;
                rows = next?;
                if progress.is_due() {
                    tracing::info!(key, written, "{what} are written again");
                }
            }
            Ok(written)
        })
        .await
}

fn column(row: &Row, at: usize) -> Result<&str, LedgerError> {
    row.text(at).ok_or(LedgerError::Unexpected("a value of another type"))
}

/// Sale ids fit: they were checked when they were stored.
fn bigint(number: u64) -> Param {
    Param::I64(i64::try_from(number).unwrap_or(i64::MAX))
}
