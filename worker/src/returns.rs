//! Units of dropped second reservations go back to Redis' stock: each once, whatever is repeated.
//!
//! The ledger remembers what is to be given back; the script remembers what was. So a crash between the two costs a
//! repeat, and no unit. Never gives back what the ledger has not noted.

use std::collections::BTreeMap;

use flux_net::sleep;
use flux_protocol::order::Uuid;
use flux_protocol::rare::{Rare, is_taken, standstill};
use flux_protocol::redis_keys;

use crate::ledger::{Ledger, LedgerError, PendingReturn, ReturnState};
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
    /// Not now: the sale is suspended, or Redis has not heard of it.
    pub waiting: u64,
}

/// The walk over what is pending: it goes round, so that returns which have to wait keep no others waiting.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// All up to this reservation have had their turn.
    behind: Uuid,
}

impl Default for Round {
    fn default() -> Round {
        Round { behind: START }
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
        for _ in 0..PAGES_MAX {
            let page = ledger.pending_returns(RETURNS_MAX, self.behind).await?;
            if !page.is_empty()
                && let Some(span) = standstill(Rare::ReturnsOutOfDate)
            {
                sleep(span).await.map_err(|error| RedisError::Lost(error.to_string()))?;
            }
            let is_last = self.advance(&page);
            settle(ledger, redis, scripts, page, &mut given).await?;
            if is_last {
                break;
            }
        }
        Ok(given)
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
    given: &mut Given,
) -> Result<(), ReturnsError> {
    let mut by_product: BTreeMap<String, Vec<PendingReturn>> = BTreeMap::new();
    for pending in page {
        by_product.entry(pending.product_id.clone()).or_default().push(pending);
    }
    for (product, pending) in by_product {
        let letters = ask(redis, scripts, &product, &pending).await?;
        let mut settled: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for (pending, letter) in pending.iter().zip(&letters) {
            match state_of(letter)? {
                Some(state) => settled.entry(state.as_str()).or_default().push(pending.reservation_id),
                None => given.waiting += 1,
            }
        }
        if letters.len() == 1 && letters[0].starts_with(['S', 'U']) {
            given.waiting += pending.len() as u64 - 1;
        }
        for (state, count) in [
            (ReturnState::Returned, &mut given.returned),
            (ReturnState::Absorbed, &mut given.absorbed),
            (ReturnState::Withdrawn, &mut given.withdrawn),
        ] {
            if let Some(reservations) = settled.get(state.as_str()).filter(|_| !is_taken(Rare::ReturnNotNoted)) {
                *count += ledger.mark_returned(reservations, state).await?;
            }
        }
    }
    Ok(())
}

async fn ask(
    redis: &mut Redis,
    scripts: &Scripts,
    product: &str,
    pending: &[PendingReturn],
) -> Result<Vec<String>, RedisError> {
    let mut arguments: Vec<String> = Vec::with_capacity(5 * pending.len());
    for unit in pending {
        arguments.extend([unit.reservation_id.to_string(), unit.sale_id.to_string(), unit.generation.to_string()]);
        arguments.extend([unit.quantity.to_string(), unit.user_id.clone()]);
    }
    let keys = redis_keys::all_of(product);
    let keys: Vec<&[u8]> = keys[..6].iter().map(|key| key.as_bytes()).collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    redis.call(&scripts.returns, &keys, &arguments).await
}

/// What one of the script's letters makes of a return; `None`: it waits.
fn state_of(letter: &str) -> Result<Option<ReturnState>, RedisError> {
    match letter.as_bytes().first() {
        Some(b'R' | b'D') => Ok(Some(ReturnState::Returned)),
        Some(b'G') => Ok(Some(ReturnState::Absorbed)),
        Some(b'E' | b'W') => Ok(Some(ReturnState::Withdrawn)),
        Some(b'P' | b'S' | b'U') => Ok(None),
        _ => Err(RedisError::Unexpected("a letter that returns.lua does not say")),
    }
}
