//! `flux-worker audit`: where every unit of every sale is, over Redis, topic and ledger.
//!
//! Redis is read first and the ledger last, so that an order on its way is seen at least once; each reservation counts
//! once. The account holds at a quiet moment; while orders flow it may not, so it is drawn up again a few times before
//! it is said not to hold. Changes nothing, anywhere.

mod account;
mod gather;

use std::process::ExitCode;
use std::time::Duration;

use flux_net::logging::{complain, say};
use flux_net::{random, sleep};
use flux_protocol::order::Identifier;

use crate::config::Config;
use crate::oneshot::{self, Ended, Log};
pub use account::Account;

/// Times that the account is drawn up before it is said not to hold.
const ATTEMPTS: u32 = 3;
/// The pause between them: longer than an order takes.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints the account of each sale. Exit code 0: it holds; 1: it does not; 3: a server could not be asked, or not to the end, and
/// there is no account.
pub async fn run(config: &Config, product: Option<&Identifier>) -> ExitCode {
    match audit(config, product).await {
        Ok(accounts) => {
            let is_told = match accounts.is_empty() {
                true => say("no sale is known").is_ok(),
                false => accounts.iter().all(|account| say(account).is_ok()),
            };
            // What nobody has read to its end is not known to hold.
            if is_told && accounts.iter().all(Account::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(ended) => {
            complain(format_args!("flux-worker: audit: {ended}"));
            oneshot::not_asked()
        }
    }
}

/// The accounts of all sales, or of one product's, by product and sale id.
///
/// # Errors
/// [`Ended`]: nothing can be said.
pub async fn audit(config: &Config, product: Option<&Identifier>) -> Result<Vec<Account>, Ended> {
    let mut ledger = oneshot::ledger(config).await?;
    let mut redis = oneshot::redis(config).await?;
    let mut log = Log::new(config, u64::from_ne_bytes(random::draw()));
    let product = product.map(Identifier::as_str);
    let mut attempt = 0;
    loop {
        let accounts = gather::accounts(&mut ledger, &mut redis, &mut log, product).await?;
        attempt += 1;
        if attempt == ATTEMPTS || accounts.iter().all(Account::holds) {
            return Ok(accounts);
        }
        sleep(PAUSE).await?;
    }
}
