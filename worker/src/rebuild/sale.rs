//! The sale that is rebuilt: what the ledger says of it, and the little that Redis is asked.

use flux_protocol::postgres::{Param, Row};

use crate::config::RebuildOrder;
use crate::ledger::{Ledger, LedgerError};
use crate::redis::{Redis, RedisError, info_field, key, strings, text};
use crate::servers::Ended;

/// What Redis holds of a sale, believed only where the ledger cannot know better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// `None`: there is no sale, or not one that can be read.
    pub(super) id: Option<u64>,
    pub(super) generation: u32,
    total: Option<u64>,
    rate: u64,
    burst: u64,
    seed: String,
    per_user: i32,
    opens_at: u64,
    had_replica: bool,
    /// Another process than the one it was bound to serves a cluster's slot.
    moved: bool,
}

/// The sale as the ledger has it, under its new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sale {
    pub(super) id: u64,
    pub(super) generation: u32,
    pub(super) total: u64,
    pub(super) rate: u64,
    pub(super) burst: u64,
    pub(super) seed: String,
    /// Units per user (0: no limit) and when it opens (ms since the epoch, 0: from the start). `None`: its event has not
    /// come, and only Redis can know.
    pub(super) options: Option<(i32, u64)>,
}

/// Its units, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) stock: u64,
    pub(super) sold: u64,
    pub(super) withdrawn: u64,
    pub(super) is_closed: bool,
}

/// Reads what Redis holds; nothing is changed.
pub(super) async fn in_redis(redis: &mut Redis, product: &str) -> Result<Held, Ended> {
    let sale_key = key(product, "sale");
    let fields = ["id", "gen", "total", "rate", "burst", "seed", "replica", "run_id", "per_user", "opens_at"];
    let mut question: Vec<&[u8]> = vec![b"HMGET", sale_key.as_bytes()];
    question.extend(fields.map(str::as_bytes));
    let server = text(redis.ask(&[b"INFO", b"server"]).await?)?;
    let replication = text(redis.ask(&[b"INFO", b"replication"]).await?)?;
    let is_cluster = info_field(&server, "redis_mode") == Some("cluster");
    let replicas = info_field(&replication, "connected_slaves").is_some_and(|count| count != "0");
    let values = match redis.ask(&question).await {
        Ok(frame) => strings(frame)?,
        // Of another type: as good as lost.
        Err(RedisError::Server { kind: flux_protocol::resp::ErrorKind::WrongType, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let value = |at: usize| values.get(at).map_or("", String::as_str);
    Ok(Held {
        id: value(0).parse().ok(),
        generation: value(1).parse().unwrap_or(0),
        total: value(2).parse().ok(),
        rate: value(3).parse().unwrap_or(0),
        burst: value(4).parse().unwrap_or(0),
        seed: value(5).to_owned(),
        per_user: value(8).parse().unwrap_or(0),
        opens_at: value(9).parse().unwrap_or(0),
        had_replica: value(6) == "1" || replicas,
        moved: is_cluster && !value(7).is_empty() && info_field(&server, "run_id") != Some(value(7)),
    })
}

impl Held {
    /// Whether it is safe to go on, as far as anybody but the operator can know: where a master was replaced, the old
    /// one may still be selling.
    pub(super) fn permits(&self, order: &RebuildOrder) -> Result<(), Ended> {
        if self.moved && !order.slot_moved && !order.old_master_is_dead {
            return Err(Ended::Refused(
                "another node of the cluster serves this sale than the one that opened it: say --slot-moved where the slot \
                 was moved on purpose, --old-master-is-dead where that node is gone for good"
                    .to_owned(),
            ));
        }
        if self.had_replica && !order.old_master_is_dead && !order.slot_moved {
            return Err(Ended::Refused(
                "this sale's Redis had a replica: make sure that no edge still reaches an old master, then say \
                 --old-master-is-dead"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl Sale {
    /// Reads the product's latest sale and raises its generation, above the ledger's and above Redis'.
    pub(super) async fn raise(ledger: &mut Ledger, product: &str, held: &Held) -> Result<Sale, Ended> {
        let latest = latest(ledger, product).await?;
        let is_newer = |id: &u64| latest.as_ref().is_none_or(|sale| *id > sale.id);
        let (sale, sale_in_redis) = match (held.id.filter(is_newer), held.total) {
            (Some(id), Some(total)) => (newer_sale(ledger, product, held, id, total).await?, held.generation),
            _ => match latest {
                None => return Err(Ended::Refused("the ledger knows no sale of this product".to_owned())),
                Some(sale) => {
                    let generation = if held.id == Some(sale.id) { held.generation } else { 0 };
                    (sale, generation)
                }
            },
        };
        let known = i32::try_from(sale_in_redis).map_err(|_| Ended::Refused("generations have run out".to_owned()))?;
        let rows = ledger
            .query(
                include_str!("../../sql/statements/rebuild_raise.sql"),
                &[text_of(product), bigint(sale.id)?, Param::I32(known)],
            )
            .await?;
        let generation = rows.first().and_then(|row| row.get(0)).ok_or(LedgerError::Unexpected("no generation"))?;
        Ok(Sale { generation, ..sale })
    }

    /// Counts in what waits to be given back, and says how many units are left. Where the sale was closed, those are
    /// withdrawn.
    pub(super) async fn account(&self, ledger: &mut Ledger, product: &str, was_closed: bool) -> Result<Account, Ended> {
        let of_sale = [text_of(product), bigint(self.id)?];
        let [product, id] = &of_sale;
        let generation = Param::I32(i32::try_from(self.generation).unwrap_or(i32::MAX));
        ledger.execute("BEGIN", &[]).await?;
        let rows = ledger.query(include_str!("../../sql/statements/rebuild_account.sql"), &of_sale).await?;
        let row = rows.first().ok_or(LedgerError::Unexpected("the sale is gone"))?;
        let (total, sold): (u64, u64) = (number(row, 0)?, number(row, 1)?);
        let is_closed = was_closed || row.text(3) == Some("closed");
        // A dead letter got its 200 and may yet be stored by hand: its units are nobody else's.
        let left = total.saturating_sub(sold).saturating_sub(number(row, 4)?);
        ledger
            .execute(
                include_str!("../../sql/statements/rebuild_absorb.sql"),
                &[product.clone(), id.clone(), generation],
            )
            .await?;
        let account = if is_closed {
            Account { stock: 0, sold, withdrawn: left, is_closed }
        } else {
            Account { stock: left, sold, withdrawn: number(row, 2)?, is_closed }
        };
        if is_closed {
            ledger
                .execute(
                    include_str!("../../sql/statements/rebuild_close.sql"),
                    &[product.clone(), id.clone(), bigint(left)?],
                )
                .await?;
        }
        ledger.execute("COMMIT", &[]).await?;
        Ok(account)
    }
}

async fn latest(ledger: &mut Ledger, product: &str) -> Result<Option<Sale>, Ended> {
    let sql = include_str!("../../sql/statements/rebuild_sale.sql");
    let rows = ledger.query(sql, &[text_of(product)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Sale {
        id: number(row, 0)?,
        generation: number(row, 1)?,
        total: number(row, 2)?,
        rate: number(row, 4)?,
        burst: number(row, 5)?,
        seed: row.text(6).unwrap_or_default().to_owned(),
        options: row.get(8).map(|per_user| Ok::<_, LedgerError>((per_user, number(row, 9)?))).transpose()?,
    }))
}

/// Redis opened a sale whose event and orders never came. Nothing was sold of it that anybody was promised, but it is
/// the product's sale now.
async fn newer_sale(ledger: &mut Ledger, product: &str, held: &Held, id: u64, total: u64) -> Result<Sale, Ended> {
    let generation = held.generation.max(1);
    let params = [
        text_of(product),
        bigint(id)?,
        Param::I32(i32::try_from(generation).unwrap_or(i32::MAX)),
        bigint(total)?,
        bigint(held.rate)?,
        bigint(held.burst)?,
        Param::Text(held.seed.clone()),
        Param::I32(held.per_user),
        bigint(held.opens_at)?,
    ];
    ledger.execute(include_str!("../../sql/statements/rebuild_newer_sale.sql"), &params).await?;
    let options = Some((held.per_user, held.opens_at));
    Ok(Sale { id, generation, total, rate: held.rate, burst: held.burst, seed: held.seed.clone(), options })
}

fn text_of(text: &str) -> Param {
    Param::Text(text.to_owned())
}

fn bigint(number: u64) -> Result<Param, Ended> {
    i64::try_from(number).map(Param::I64).map_err(|_| Ended::Refused(format!("{number} is no number of ours")))
}

fn number<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T, LedgerError> {
    row.get(column).ok_or(LedgerError::Unexpected("a value of another type"))
}
