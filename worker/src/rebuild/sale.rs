//! The sale that is rebuilt, as the ledger has it: its new generation and its account.

use flux_protocol::postgres::{Param, Row};

use super::held::Held;
use crate::ledger::{Ledger, LedgerError};
use crate::servers::Ended;

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
    /// `fair` or `retry`; empty where only Redis can know.
    pub(super) queue: String,
}

/// Its units, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) stock: u64,
    pub(super) sold: u64,
    pub(super) withdrawn: u64,
    pub(super) is_closed: bool,
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
        queue: row.text(10).unwrap_or_default().to_owned(),
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
        Param::Text(held.queue.clone()),
    ];
    ledger.execute(include_str!("../../sql/statements/rebuild_newer_sale.sql"), &params).await?;
    let options = Some((held.per_user, held.opens_at));
    let (seed, queue) = (held.seed.clone(), held.queue.clone());
    Ok(Sale { id, generation, total, rate: held.rate, burst: held.burst, seed, options, queue })
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
