//! The sale that is rebuilt: which it is, its next generation, its account. The ledger's side of a rebuild.
//!
//! A generation is *raised* when its number is taken and *in force* when Redis has been told of it. Between the two a
//! rebuild may end at any point, and nothing that is asked of the ledger meanwhile is measured by the number that was taken.

use flux_net::Clock;
use flux_protocol::kafka::log_reader::Ends;
use flux_protocol::order::Uuid;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::postgres::{Param, Row};
use tracing::{info, warn};

use super::redis_view::SaleView;
use super::stray;
use crate::config::RebuildOrder;
use crate::ledger::{Ledger, LedgerError};
use crate::oneshot::Ended;
use crate::opening::{Gap, Opening, Options, Queue};

/// The sale as ledger, Redis and operator know it together. Nothing was changed to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) total: u64,
    pub(super) options: Options,
    /// Its generation by Redis; 0 where Redis does not hold it.
    in_redis: i32,
    /// The number that would be taken now.
    pub(super) next_generation: u32,
    /// Redis opened it, and neither its event nor an order has come to the ledger.
    is_unheard_of: bool,
    /// The ledger alone says that this is the sale: a later one may have been lost with Redis, and its orders be on their way.
    pub(super) is_of_ledger_alone: bool,
}

/// The same under its new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sale {
    pub(super) id: u64,
    pub(super) generation: u32,
    pub(super) total: u64,
    pub(super) options: Options,
}

/// Its units, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) stock: u64,
    pub(super) sold: u64,
    pub(super) withdrawn: u64,
    pub(super) is_closed: bool,
}

/// Which of a product's sales the ledger is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Latest,
    /// The latest of those that not only orders tell of.
    Announced,
    Sale(u64),
}

impl Asked {
    fn of(order: &RebuildOrder) -> Asked {
        order.sale.map_or(Asked::Latest, Asked::Sale)
    }
}

/// A sale as the ledger alone knows it.
struct InLedger {
    id: u64,
    generation: u32,
    raised: u32,
    total: u64,
    opening: Opening,
}

impl Found {
    /// Which sale `order` is about, and what it was opened with.
    pub(super) async fn look(ledger: &mut Ledger, order: &RebuildOrder, view: &SaleView) -> Result<Found, Ended> {
        let product = order.product.as_str();
        let rest = if order.closes { Opening::of_a_closed_sale() } else { Opening::default() };
        let now_ms = Clock::start().now().wall_ms;
        let mut in_ledger = InLedger::ask(ledger, product, Asked::of(order)).await?;
        // What a rebuild has written there that did not end is the ledger's word, and not Redis'.
        let known_to_redis = view.id.filter(|_| !view.is_rebuilding);
        match (&in_ledger, known_to_redis) {
            // Orders alone tell of it. They replace nothing that Redis and the ledger both know.
            (Some(stray), Some(id)) if stray.id > id && !stray.is_announced() => {
                match InLedger::ask(ledger, product, Asked::Sale(id)).await? {
                    Some(sale) if sale.is_announced() => {
                        if order.sale.is_some() {
                            return Err(stray::replaces_nothing(order, stray.id, id));
                        }
                        warn!(
                            product,
                            stray = stray.id,
                            rebuilt = sale.id,
                            "orders name a later sale that nobody opened"
                        );
                        in_ledger = Some(sale);
                    }
                    _ if order.sale.is_some() => {}
                    _ => return Err(stray::undecided(order, stray.id, id, now_ms)),
                }
            }
            // Redis knows no sale: it may have lost this one together with the event that opened it.
            (Some(stray), None) if order.sale.is_none() && !stray.is_announced() => {
                let announced = InLedger::ask(ledger, product, Asked::Announced).await?;
                if let Some(sale) = announced {
                    return Err(stray::undecided(order, stray.id, sale.id, now_ms));
                }
            }
            _ => {}
        }
        let found = match (in_ledger, view.id) {
            (Some(sale), Some(id)) if order.sale.is_none() && id > sale.id => of_redis(view, id)?,
            (Some(sale), _) => Some(of_ledger(sale, view)),
            (None, Some(id)) if order.sale.is_none_or(|asked| asked == id) => of_redis(view, id)?,
            (None, _) => None,
        };
        let Some((sale, is_unheard_of, in_redis)) = found else {
            return Err(Ended::Refused(match order.sale {
                Some(sale) => format!("neither the ledger nor Redis knows a sale {sale} of this product"),
                None => "the ledger knows no sale of this product".to_owned(),
            }));
        };
        let options = sale.opening.complete(&order.opening, &rest).map_err(|gap| refusal(order, &sale, gap))?;
        let highest = sale.generation.max(sale.raised).max(in_redis);
        let (Ok(in_redis), Some(next)) = (i32::try_from(in_redis), highest.checked_add(1)) else {
            return Err(no_number_left(sale.id));
        };
        if i32::try_from(next).is_err() {
            return Err(no_number_left(sale.id));
        }
        let is_of_ledger_alone = order.sale.is_none() && known_to_redis.is_none();
        let total = sale.total;
        Ok(Found { id: sale.id, total, options, in_redis, next_generation: next, is_unheard_of, is_of_ledger_alone })
    }

    /// Takes the number of its next generation, above the ledger's and above Redis'. The one in force stays in force.
    pub(super) async fn raise(self, ledger: &mut Ledger, product: &str) -> Result<Sale, Ended> {
        ledger
            .atomically(async |ledger| -> Result<Sale, Ended> {
                if self.is_unheard_of {
                    self.note(ledger, product).await?;
                }
                let params = [text_of(product), bigint(self.id)?, Param::I32(self.in_redis)];
                let rows = ledger.query(include_str!("../../sql/statements/rebuild_raise.sql"), &params).await?;
                let generation =
                    rows.first().and_then(|row| row.get(0)).ok_or(LedgerError::Unexpected("no generation"))?;
                let sale = Sale { id: self.id, generation, total: self.total, options: self.options };
                if is_planted(Bug::RaisedIsInForce) {
                    sale.put_in_force(ledger, product, None).await?;
                }
                Ok(sale)
            })
            .await
    }

    /// Redis opened a sale whose event and orders never came. Nothing was sold of it that anybody was promised, but it
    /// is the product's sale now.
    async fn note(&self, ledger: &mut Ledger, product: &str) -> Result<(), Ended> {
        let generation = Param::I32(self.in_redis.max(1));
        let mut params = vec![text_of(product), bigint(self.id)?, generation, bigint(self.total)?];
        params.extend(opened_with(&self.options)?);
        ledger.execute(include_str!("../../sql/statements/rebuild_newer_sale.sql"), &params).await?;
        Ok(())
    }
}

impl InLedger {
    async fn ask(ledger: &mut Ledger, product: &str, asked: Asked) -> Result<Option<InLedger>, Ended> {
        let sql = include_str!("../../sql/statements/rebuild_sale.sql");
        let which = match asked {
            Asked::Latest => Param::I64(0),
            Asked::Announced => Param::I64(-1),
            Asked::Sale(id) => bigint(id)?,
        };
        let rows = ledger.query(sql, &[text_of(product), which]).await?;
        Ok(rows.first().map(InLedger::read).transpose()?)
    }

    /// An event has told of it, or Redis, or an operator; else only orders have.
    fn is_announced(&self) -> bool {
        self.opening != Opening::default()
    }

    fn read(row: &Row) -> Result<InLedger, LedgerError> {
        Ok(InLedger {
            id: number(row, 0)?,
            generation: number(row, 1)?,
            raised: number(row, 2)?,
            total: number(row, 3)?,
            opening: opening(row, 4)?,
        })
    }
}

impl Sale {
    /// Looks whether the ledger knows a later sale by now: the log may have brought its orders, or its event, while the rebuild
    /// waited. Where nobody has said which sale is meant, this one does not go on then.
    pub(super) async fn is_latest(&self, ledger: &mut Ledger, order: &RebuildOrder, alone: bool) -> Result<(), Ended> {
        if order.sale.is_some() {
            return Ok(());
        }
        match InLedger::ask(ledger, order.product.as_str(), Asked::Latest).await? {
            Some(later) if later.id > self.id && later.is_announced() => Err(Ended::Refused(format!(
                "the log has told of a later sale meanwhile, {}: run again; sale {} is suspended still",
                later.id, self.id
            ))),
            // Stray where Redis knew this one.
            Some(later) if later.id > self.id && alone => {
                Err(stray::undecided(order, later.id, self.id, Clock::start().now().wall_ms))
            }
            _ => Ok(()),
        }
    }

    /// Puts the generation in force that Redis has been told of, counts in what waits to be given back, and says how many
    /// units are left. Where the sale was closed, those are withdrawn: what was closed once never sells again. What stands behind
    /// `ends` in the log is not counted, and the ledger refuses what older generations sold there; without, room decides.
    pub(super) async fn account(
        &self,
        ledger: &mut Ledger,
        product: &str,
        was_closed: bool,
        ends: Option<&Ends>,
    ) -> Result<Account, Ended> {
        ledger
            .atomically(async |ledger| -> Result<Account, Ended> {
                let of_sale = [text_of(product), bigint(self.id)?];
                let [product_id, id] = &of_sale;
                let rows = ledger.query(include_str!("../../sql/statements/rebuild_account.sql"), &of_sale).await?;
                let row = rows.first().ok_or(LedgerError::Unexpected("the sale is gone"))?;
                let (total, sold): (u64, u64) = (number(row, 0)?, number(row, 1)?);
                let is_closed_in_ledger = row.text(3) == Some("closed") && !is_planted(Bug::CloseForgotten);
                let is_closed = was_closed || is_closed_in_ledger;
                // A dead letter got its 200 and may yet be stored by hand: its units are nobody else's.
                let left = total.saturating_sub(sold).saturating_sub(number(row, 4)?);
                self.put_in_force(ledger, product, ends).await?;
                let absorbed = [product_id.clone(), id.clone(), Param::I32(self.generation_in_ledger())];
                ledger.execute(include_str!("../../sql/statements/rebuild_absorb.sql"), &absorbed).await?;
                if !is_closed {
                    return Ok(Account { stock: left, sold, withdrawn: number(row, 2)?, is_closed });
                }
                let withdrawn = [product_id.clone(), id.clone(), bigint(left)?];
                ledger.execute(include_str!("../../sql/statements/rebuild_close.sql"), &withdrawn).await?;
                Ok(Account { stock: 0, sold, withdrawn: left, is_closed })
            })
            .await
    }

    /// Draws up the accounts of the product's sales that were over before this one, where they are wrong: no edge publishes
    /// their orders any more, the outbox is in the log and the log in the ledger, so what nobody has is withdrawn, and no more. It may be
    /// more than was, where reservations were lost with Redis, or less, where orders have come since. How many such sales there were.
    pub(super) async fn settle_earlier(
        &self,
        ledger: &mut Ledger,
        product: &str,
        ends: Option<&Ends>,
    ) -> Result<usize, Ended> {
        let sql = include_str!("../../sql/statements/rebuild_earlier.sql");
        let wrong = ledger.query(sql, &[text_of(product), bigint(self.id)?]).await?;
        for row in &wrong {
            let id = number(row, 0)?;
            let (before, withdrawn) = withdraw_rest(ledger, product, id, ends).await?;
            info!(product, sale = id, before, withdrawn, "the account of this sale, which is over, is drawn up anew");
        }
        Ok(wrong.len())
    }

    async fn put_in_force(&self, ledger: &mut Ledger, product: &str, ends: Option<&Ends>) -> Result<(), Ended> {
        let mut params = vec![text_of(product), bigint(self.id)?, Param::I32(self.generation_in_ledger())];
        params.extend(opened_with(&self.options)?);
        params.extend(counted_to(ends));
        ledger.execute(include_str!("../../sql/statements/rebuild_in_force.sql"), &params).await?;
        Ok(())
    }

    /// It came from there.
    fn generation_in_ledger(&self) -> i32 {
        i32::try_from(self.generation).unwrap_or(i32::MAX)
    }
}

/// What the ledger knows of a sale's opening: a row of `rebuild_sale.sql`, from `column` on.
fn opening(row: &Row, column: usize) -> Result<Opening, LedgerError> {
    const UNREADABLE: LedgerError = LedgerError::Unexpected("a value of another type");
    fn number<T: std::str::FromStr>(row: &Row, at: usize) -> Result<Option<T>, LedgerError> {
        row.text(at).map(|text| text.parse().map_err(|_| UNREADABLE)).transpose()
    }
    let per_user: Option<i32> = number(row, column + 3)?;
    let queue = row.text(column + 5).map(|text| Queue::parse(text).ok_or(UNREADABLE)).transpose()?;
    Ok(Opening {
        rate: number(row, column)?,
        burst: number(row, column + 1)?,
        seed: row.text(column + 2).filter(|seed| !seed.is_empty()).map(str::to_owned),
        per_user,
        opens_at: number(row, column + 4)?,
        // An event that does not say is of a time when there was no fair line.
        queue: queue.or(per_user.map(|_| Queue::Retry)),
    })
}

/// Withdraws all units of a sale that was over and that no order has; how many were withdrawn before, and how many are now. Returns
/// to it, which Redis takes no more, are counted in.
async fn withdraw_rest(ledger: &mut Ledger, product: &str, id: u64, ends: Option<&Ends>) -> Result<(u64, u64), Ended> {
    ledger
        .atomically(async |ledger| -> Result<(u64, u64), Ended> {
            let of_sale = [text_of(product), bigint(id)?];
            let rows = ledger.query(include_str!("../../sql/statements/rebuild_account.sql"), &of_sale).await?;
            let row = rows.first().ok_or(LedgerError::Unexpected("the sale is gone"))?;
            let (total, sold, dead): (u64, u64, u64) = (number(row, 0)?, number(row, 1)?, number(row, 4)?);
            let (left, before) = (total.saturating_sub(sold).saturating_sub(dead), number(row, 2)?);
            let [product_id, id] = of_sale;
            let absorbed = [product_id.clone(), id.clone(), Param::I32(i32::MAX)];
            ledger.execute(include_str!("../../sql/statements/rebuild_absorb.sql"), &absorbed).await?;
            let mut withdrawn = vec![product_id, id, bigint(left)?];
            withdrawn.extend(counted_to(ends));
            ledger.execute(include_str!("../../sql/statements/rebuild_withdraw.sql"), &withdrawn).await?;
            Ok((before, left))
        })
        .await
}

/// What is known of the ledger's latest sale, with what Redis adds where it holds the same.
fn of_ledger(sale: InLedger, view: &SaleView) -> (InLedger, bool, u32) {
    if view.id != Some(sale.id) {
        return (sale, false, 0);
    }
    let opening = sale.opening.or(&view.opening);
    (InLedger { opening, ..sale }, false, view.generation.unwrap_or(0))
}

/// A sale that only Redis knows.
fn of_redis(view: &SaleView, id: u64) -> Result<Option<(InLedger, bool, u32)>, Ended> {
    let (Some(total), Some(generation)) = (view.total, view.generation) else {
        return Err(Ended::Refused(format!(
            "Redis alone knows sale {id} of this product, and not its total and generation any more: open a new one"
        )));
    };
    let sale = InLedger { id, generation, raised: generation, total, opening: view.opening.clone() };
    Ok(Some((sale, true, generation)))
}

fn refusal(order: &RebuildOrder, sale: &InLedger, gap: Gap) -> Ended {
    let id = sale.id;
    match gap {
        Gap::Unknown(flags) => {
            let mut said = format!(
                "neither the ledger (the event that opened sale {id} is not in it) nor Redis knows what it was opened with: \
                 say {}, as it was",
                flags.join(", ")
            );
            if !sale.is_announced() {
                said.push_str(&stray::or_ended(order, id));
            }
            Ended::Undecided(said)
        }
        Gap::Contradicted(flag, known) => {
            Ended::Refused(format!("sale {id} was opened with {flag} {known}; that does not change: leave {flag} out"))
        }
    }
}

fn no_number_left(sale: u64) -> Ended {
    Ended::Refused(format!("sale {sale} has the highest generation there is: no number is left for a new one"))
}

/// What a sale was opened with, in the order in which statements take it.
fn opened_with(options: &Options) -> Result<[Param; 6], Ended> {
    let Options { rate, burst, per_user, opens_at, queue, seed } = options;
    let per_user = Param::I32(*per_user);
    Ok([bigint(*rate)?, bigint(*burst)?, text_of(seed), per_user, bigint(*opens_at)?, text_of(queue.as_str())])
}

/// Where what was counted of the log ends, as statements take it.
fn counted_to(ends: Option<&Ends>) -> [Param; 2] {
    // Stands as NULL then: no topic has the id of zeros.
    let (topic_id, offsets) = ends.map_or(([0; 16], Vec::new()), |ends| (ends.topic_id, ends.offsets.clone()));
    [Param::Uuid(Uuid(topic_id)), Param::I64s(offsets)]
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
