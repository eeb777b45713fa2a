//! Writes what a repeat of a key must find, and how many units each user has, from the ledger into a fenced sale.
//!
//! `rebuild_fence.lua` has made the hash anew, under the sale's new generation. A record names an outbox entry that does not
//! exist: delivered.

use std::fmt::Display;
use std::time::Duration;

use flux_protocol::order::TopicRecord;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::postgres::{Param, Row};
use flux_protocol::redis_keys;

use super::sale::Sale;
use crate::dead_letters::bytes_of;
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
        let field = |row: &Row| Ok(Some((column(row, 0)?.to_owned(), column(row, 1)?.to_owned())));
        users = pass(ledger, redis, (sql, &of_sale), &users_key, "users", field).await?;
    }
    let ttl_s = i64::try_from(record_ttl.as_secs()).unwrap_or(i64::MAX);
    let [product_id, sale_id] = of_sale;
    let young = [product_id, sale_id, Param::I64(ttl_s)];
    // First: what is known of an order that is stored, or rejected, is the last word.
    let sql = include_str!("../../sql/statements/rebuild_dead_letters.sql");
    let set_aside = |row: &Row| Ok(of_dead_letter(column(row, 0)?));
    let mut records = pass(ledger, redis, (sql, &young[..2]), &records_key, "records", set_aside).await?;
    let field = |row: &Row| Ok(Some((column(row, 0)?.to_owned(), delivered(column(row, 1)?, column(row, 2)?))));
    for sql in [
        include_str!("../../sql/statements/rebuild_rejected.sql"),
        include_str!("../../sql/statements/rebuild_records.sql"),
    ] {
        records += pass(ledger, redis, (sql, &young), &records_key, "records", field).await?;
    }
    Ok((users, records))
}

/// The record of an order that is delivered: no outbox entry has the id 0-0.
fn delivered(reservation: impl Display, quantity: impl Display) -> String {
    format!("{reservation} {quantity} 0-0")
}

/// The record of an order that was set aside, from its digits; `None` where it is none of ours after all.
fn of_dead_letter(hex: &str) -> Option<(String, String)> {
    match TopicRecord::parse(&bytes_of(hex)?).ok()? {
        TopicRecord::Order(order) => {
            Some((order.order_id.to_string(), delivered(order.reservation_id, order.quantity)))
        }
        TopicRecord::SaleOpened(_) | TopicRecord::SaleClosed(_) => None,
    }
}

/// Writes a field of the hash `key` for every row that the cursor `rebuilding` gives, where there is one; their number.
async fn pass(
    ledger: &mut Ledger,
    redis: &mut Redis,
    (declare, params): (&str, &[Param]),
    key: &str,
    what: &'static str,
    field: impl Fn(&Row) -> Result<Option<(String, String)>, LedgerError>,
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
                    command.extend(field(row)?.into_iter().flat_map(|(name, value)| [name, value]));
                }
                let fields = (command.len() / 2 - 1) as u64;
                if fields == 0 {
                    rows = ledger.query(FETCH, &[]).await?;
                    continue;
                }
                let command: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
                // While Redis writes a page, the ledger reads the next.
                let (answer, next) = monoio::join!(redis.ask(&command), ledger.query(FETCH, &[]));
                answer?;
                written += fields;
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
