//! Units of dropped second reservations go back to Redis' stock: each once, whatever is repeated.
//!
//! The ledger remembers what is to be given back; the script remembers what was. So a crash between the two costs a
//! repeat, and no unit. Never gives back what the ledger has not noted, nor what Redis knows that nobody took: a return that
//! only a stray record of the topic tells of ends as `unfounded`, with why.

use std::collections::BTreeMap;

use flux_net::sleep;
use flux_protocol::order::Uuid;
use flux_protocol::rare::{Rare, is_taken, standstill};
use flux_protocol::redis_keys;

use tracing::warn;

use crate::ledger::{Ledger, LedgerError, PendingReturn, ReturnState, Stray};
use crate::redis::{Redis, RedisError};
use crate::scripts::Scripts;

/// Returns asked for at once.
const RETURNS_MAX: u32 = 500;
/// Pages of so many that one go walks through: where thousands cannot be given back now, each of the others comes to its turn
/// within seconds all the same.
const PAGES_MAX: u32 = 8;

/// Why some returns wait for another time. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
pub enum ReturnsError {
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Redis could not be asked. It may have given units back all the same: it will say so when asked again.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Our user in Redis lacks a right. Whatever does not need it was done.
    #[error("its user may not {0}: units of second reservations are not given back")]
    Denied(String),
}

/// What has become of the returns that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// In Redis' stock again.
    pub returned: u64,
    /// Counted in by a rebuild.
    pub absorbed: u64,
    /// Their sale is over.
    pub withdrawn: u64,
    /// Nobody took them, or they are counted elsewhere.
    pub unfounded: u64,
    /// Not now: the sale is suspended, or Redis has not heard of it.
    pub waiting: u64,
}

/// The walk over what is pending: it goes round, so that returns which have to wait keep no others waiting.
#[derive(Clone, Debug)]
pub struct Round {
    /// All up to this reservation have had their turn.
    behind: Uuid,
    /// The command that the script may not run, as of the last call.
    denied: Option<String>,
}

impl Default for Round {
    fn default() -> Round {
        Round { behind: START, denied: None }
    }
}

/// Before every reservation.
const START: Uuid = Uuid([0; 16]);

impl Round {
    /// Settles what is pending, some pages of it; call it again within seconds.
    ///
    /// # Errors
    /// [`ReturnsError`]; what was settled before it is settled, and the next call goes on behind what was asked for.
    pub async fn give_back(
        &mut self,
        ledger: &mut Ledger,
        redis: &mut Redis,
        scripts: &Scripts,
    ) -> Result<Given, ReturnsError> {
        let mut given = Given::default();
        self.denied = None;
        for _ in 0..PAGES_MAX {
            let page = ledger.pending_returns(RETURNS_MAX, self.behind).await?;
            if !page.is_empty()
                && let Some(span) = standstill(Rare::ReturnsOutOfDate)
            {
                sleep(span).await.map_err(|error| RedisError::Lost(error.to_string()))?;
            }
            let is_last = self.advance(&page);
            settle(ledger, redis, scripts, page, (&mut given, &mut self.denied)).await?;
            if is_last {
                break;
            }
        }
        Ok(given)
    }

    /// What keeps returns from being given back, where our user in Redis lacks a right.
    ///
    /// # Errors
    /// [`ReturnsError::Denied`].
    pub fn is_permitted(&self) -> Result<(), ReturnsError> {
        self.denied.as_ref().map_or(Ok(()), |command| Err(ReturnsError::Denied(command.clone())))
    }

    /// Goes behind a page; whether it was the last one of the round.
    fn advance(&mut self, page: &[PendingReturn]) -> bool {
        let is_last = page.len() < RETURNS_MAX as usize;
        self.behind = page.last().filter(|_| !is_last).map_or(START, |last| last.reservation_id);
        is_last
    }
}

async fn settle(
    ledger: &mut Ledger,
    redis: &mut Redis,
    scripts: &Scripts,
    page: Vec<PendingReturn>,
    (given, denied): (&mut Given, &mut Option<String>),
) -> Result<(), ReturnsError> {
    let mut by_product: BTreeMap<String, Vec<PendingReturn>> = BTreeMap::new();
    for pending in page {
        by_product.entry(pending.product_id.clone()).or_default().push(pending);
    }
    for (product, pending) in by_product {
        let answers = ask(redis, scripts, &product, &pending).await?;
        let mut ends = Ends::default();
        let (mut over, mut elsewhere) = (Vec::new(), Vec::new());
        let mut held = 0;
        // A single word is said of all of them.
        let all = answers.first().filter(|answer| answer.starts_with(['S', 'U', 'L']));
        *denied = all.and_then(|answer| answer.strip_prefix('L')).map(str::to_owned).or(denied.take());
        for (at, pending) in pending.iter().enumerate() {
            let answer = all.or(answers.get(at)).ok_or(RedisError::Unexpected("fewer answers than returns"))?;
            match Fate::read(answer)? {
                Fate::Settled(state) => ends.plainly(state, pending.reservation_id),
                Fate::Less(taken) => {
                    let why =
                        format!("it was noted with {} units; {taken} were taken, and given back", pending.quantity);
                    ends.told(ReturnState::Returned, why, pending.reservation_id);
                }
                Fate::Unfounded(why) => ends.told(ReturnState::Unfounded, why.to_owned(), pending.reservation_id),
                Fate::Over => over.push(pending.reservation_id),
                Fate::Elsewhere(sale) => {
                    held = sale;
                    elsewhere.push(pending.reservation_id);
                }
                Fate::Waits => given.waiting += 1,
            }
        }
        if !over.is_empty() {
            for (reservation, state) in ledger.over_returns(over).await? {
                match state {
                    ReturnState::Unfounded => ends.told(state, OVER.to_owned(), reservation),
                    state => ends.plainly(state, reservation),
                }
            }
        }
        if !elsewhere.is_empty() {
            given.waiting += elsewhere.len() as u64;
            for (reservation, stray) in ledger.stray_returns(elsewhere, held).await? {
                given.waiting -= 1;
                ends.told(ReturnState::Unfounded, why_stray(stray).to_owned(), reservation);
            }
        }
        ends.note(ledger, &product, given).await?;
    }
    Ok(())
}

/// What is to be noted of some returns: by what becomes of them and why, where that is not what they ask for.
#[derive(Debug, Default)]
struct Ends(BTreeMap<(ReturnState, String), Vec<Uuid>>);

impl Ends {
    fn plainly(&mut self, state: ReturnState, reservation: Uuid) {
        self.told(state, String::new(), reservation);
    }

    fn told(&mut self, state: ReturnState, why: String, reservation: Uuid) {
        self.0.entry((state, why)).or_default().push(reservation);
    }

    async fn note(self, ledger: &mut Ledger, product: &str, given: &mut Given) -> Result<(), LedgerError> {
        for ((state, why), reservations) in self.0 {
            if is_taken(Rare::ReturnNotNoted) {
                continue;
            }
            let count = match state {
                ReturnState::Returned => &mut given.returned,
                ReturnState::Absorbed => &mut given.absorbed,
                ReturnState::Withdrawn => &mut given.withdrawn,
                ReturnState::Unfounded => &mut given.unfounded,
            };
            if why.is_empty() {
                *count += ledger.mark_returned(&reservations, state).await?;
            } else {
                warn!(product, returns = reservations.len(), why, "a stray record tells of units to be given back");
                *count += ledger.end_returns(reservations, state, &why).await?;
            }
        }
        Ok(())
    }
}

/// Why a return to a sale that is over is none.
const OVER: &str = "its sale is over, and has no units that are nowhere else";

fn why_stray(stray: Stray) -> &'static str {
    match stray {
        Stray::Generation => "no rebuild took its generation, and no event tells of it",
        Stray::Sale => "only orders tell of its sale: nobody opened it",
    }
}

async fn ask(
    redis: &mut Redis,
    scripts: &Scripts,
    product: &str,
    pending: &[PendingReturn],
) -> Result<Vec<String>, RedisError> {
    let mut arguments: Vec<String> = Vec::with_capacity(6 * pending.len());
    for unit in pending {
        arguments.extend([unit.reservation_id.to_string(), unit.sale_id.to_string(), unit.generation.to_string()]);
        arguments.extend([unit.quantity.to_string(), unit.user_id.clone(), unit.order_id.to_string()]);
    }
    let keys = redis_keys::all_of(product);
    let keys: Vec<&[u8]> = keys[..6].iter().map(|key| key.as_bytes()).collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    redis.call(&scripts.returns, &keys, &arguments).await
}

/// What one of the script's answers makes of a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// As it asks for.
    Settled(ReturnState),
    /// So many units were given back, and not what it names.
    Less(u64),
    /// Nothing was given back; why.
    Unfounded(&'static str),
    /// Its sale is over: the ledger knows what becomes of it.
    Over,
    /// Redis holds this sale, and has not heard of the return's own, or of its generation.
    Elsewhere(u64),
    /// Not now.
    Waits,
}

impl Fate {
    fn read(answer: &str) -> Result<Fate, RedisError> {
        let rest = answer.get(1..).unwrap_or_default();
        let number = || rest.parse().map_err(|_| RedisError::Unexpected("no number where returns.lua says one"));
        Ok(match answer.as_bytes() {
            b"R" | b"D" => Fate::Settled(ReturnState::Returned),
            [b'R', ..] => Fate::Less(number()?),
            b"G" => Fate::Settled(ReturnState::Absorbed),
            b"E" | b"W" => Fate::Over,
            b"Nrecord" => Fate::Unfounded("Redis knows no such reservation of its order"),
            b"Nunits" => Fate::Unfounded("fewer units of its sale are taken than it names"),
            [b'P', ..] => Fate::Elsewhere(number()?),
            // No sale has this id.
            b"U" => Fate::Elsewhere(0),
            [b'S' | b'L', ..] => Fate::Waits,
            _ => return Err(RedisError::Unexpected("a letter that returns.lua does not say")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_script_is_understood_and_no_other() {
        for (answer, fate) in [
            ("R", Fate::Settled(ReturnState::Returned)),
            ("R12", Fate::Less(12)),
            ("D", Fate::Settled(ReturnState::Returned)),
            ("G", Fate::Settled(ReturnState::Absorbed)),
            ("E", Fate::Over),
            ("W", Fate::Over),
            ("P1705234700000", Fate::Elsewhere(1_705_234_700_000)),
            ("U", Fate::Elsewhere(0)),
            ("Srecords", Fate::Waits),
            ("LINCRBY product:{p}:stock", Fate::Waits),
        ] {
            assert_eq!(Fate::read(answer).expect("it is one"), fate, "{answer}");
        }
        assert!(matches!(Fate::read("Nrecord"), Ok(Fate::Unfounded(_))));
        for strange in ["", "X", "Rx", "P", "N", "Nothing"] {
            assert!(Fate::read(strange).is_err(), "{strange}");
        }
    }
}
