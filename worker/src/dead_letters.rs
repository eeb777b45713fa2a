//! `flux-worker dead-letters list|replay`: what was set aside, and how it comes back once what was in its way is mended.
//!
//! A replay stores records through the same judge as everything else, in transactions that take the dead letters out: each
//! is stored exactly once, whatever else happens to it, and its units move in the account from *dead-lettered* to where they
//! belong. Needs PostgreSQL only, and may run beside workers. Never touches what is no record of ours.

use std::process::ExitCode;

use bytes::Bytes;
use flux_net::logging::{complain, say};
use flux_net::sleep;
use flux_protocol::order::{Identifier, TopicRecord, Uuid};
use flux_protocol::postgres::{Param, Row};

use crate::arguments::DeadLettersAction;
use crate::batch::{Batch, Origin, Stored};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, StoreError};
use crate::oneshot::{self, Ended, PATIENCE, PAUSE};

/// One of them.
#[derive(Clone, Debug)]
struct Letter {
    origin: Origin,
    offset: i64,
    reason: String,
    product: String,
    at: String,
    key: Option<Bytes>,
    /// `None` too where it is too long to be a record of ours.
    value: Option<Bytes>,
}

/// What a replay has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// What became of those that were tried; dead letters among them were refused again.
    pub stored: Stored,
    /// Left where they are: no records of ours.
    pub left: u64,
}

/// Prints what it did. Exit code 0: done; 1: some were refused again; 3: PostgreSQL could not be asked.
pub async fn run(config: &Config, action: DeadLettersAction, product: Option<&Identifier>) -> ExitCode {
    let product = product.map(Identifier::as_str);
    let done = match action {
        DeadLettersAction::List => list(config, product).await.map(|()| ExitCode::SUCCESS),
        DeadLettersAction::Replay => replay(config, product).await.map(|replayed| {
            let Replayed { stored, left } = replayed;
            // It is done, whether or not anybody reads so.
            let _ = say(format_args!(
                "{} orders stored, {} were stored before, {} rejected, {} to be given back; {} refused again, {left} left: no \
                 records of ours",
                stored.orders, stored.duplicates, stored.rejected, stored.returns, stored.dead_letters
            ));
            if stored.dead_letters == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }),
    };
    done.unwrap_or_else(|ended| {
        complain(format_args!("flux-worker: dead-letters: {ended}"));
        ended.exit_code()
    })
}

async fn list(config: &Config, product: Option<&str>) -> Result<(), Ended> {
    let mut ledger = connected(config).await?;
    let mut last = None;
    let mut count = 0;
    loop {
        let letters = page(&mut ledger, last.as_ref()).await?;
        for letter in letters.iter().filter(|letter| product.is_none_or(|product| letter.is_of(product))) {
            let Letter { origin, offset, reason, at, .. } = letter;
            let ours = if letter.record().is_some() { "replayable" } else { "no record of ours" };
            let (topic, partition, product) = (&origin.topic, origin.partition, &letter.product);
            let told = say(format_args!("{topic}\t{partition}\t{offset}\t{at}\t{product}\t{ours}\t{reason}"));
            if told.is_err() {
                // As behind `| head`: nobody reads the rest.
                return Ok(());
            }
            count += 1;
        }
        match letters.into_iter().next_back() {
            Some(letter) => last = Some(letter),
            None => break,
        }
    }
    // The last line: nobody misses it who does not read on.
    let _ = say(format_args!("{count} dead letters"));
    Ok(())
}

/// Stores what can be stored of all of them, or of one product's.
///
/// # Errors
/// [`Ended`]: what was stored before is stored, and the rest is where it was. Run again.
pub async fn replay(config: &Config, product: Option<&str>) -> Result<Replayed, Ended> {
    let mut ledger = connected(config).await?;
    let mut replayed = Replayed::default();
    let mut last = None;
    loop {
        let letters = page(&mut ledger, last.as_ref()).await?;
        let Some(end) = letters.last() else { return Ok(replayed) };
        last = Some(end.clone());
        let meant = letters.into_iter().filter(|letter| product.is_none_or(|product| letter.is_of(product)));
        let mut batches: Vec<Batch> = Vec::new();
        for letter in meant {
            if letter.record().is_none() {
                replayed.left += 1;
                continue;
            }
            if batches.last().is_none_or(|batch| *batch.origin() != letter.origin) {
                batches.push(Batch::replay(letter.origin.clone()));
            }
            if let Some(batch) = batches.last_mut() {
                batch.push(letter.offset, letter.key, letter.value);
            }
        }
        for batch in &mut batches {
            replayed.stored.add(&store(&mut ledger, batch).await?);
        }
    }
}

async fn store(ledger: &mut Ledger, batch: &mut Batch) -> Result<Stored, Ended> {
    let mut left = PATIENCE;
    loop {
        match ledger.store(batch).await {
            Ok(stored) => return Ok(stored),
            Err(StoreError::Retry(_)) if left > PAUSE => {}
            Err(StoreError::Retry(error) | StoreError::Fatal(error)) => return Err(error.into()),
            Err(error @ StoreError::Systematic(_)) => return Err(Ended::Refused(error.to_string())),
            Err(StoreError::Fenced { .. }) => {
                let line = "somebody else has changed the dead letters meanwhile: run it again";
                return Err(Ended::Refused(line.to_owned()));
            }
        }
        sleep(PAUSE).await?;
        left -= PAUSE;
    }
}

async fn connected(config: &Config) -> Result<Ledger, Ended> {
    oneshot::connected(async || Ledger::connect(&config.postgres).await).await
}

/// Those that come behind the last one.
async fn page(ledger: &mut Ledger, last: Option<&Letter>) -> Result<Vec<Letter>, LedgerError> {
    let (topic, partition, offset) = match last {
        Some(Letter { origin, offset, .. }) => (origin.topic_id, origin.partition, *offset),
        None => (Uuid([0; 16]), -1, -1),
    };
    let params = [Param::Uuid(topic), Param::I32(partition), Param::I64(offset)];
    let rows = ledger.query(include_str!("../sql/dead_letters/page.sql"), &params).await?;
    let letters: Option<Vec<Letter>> = rows.iter().map(letter).collect();
    letters.ok_or(LedgerError::Unexpected("a dead letter of another shape"))
}

fn letter(row: &Row) -> Option<Letter> {
    let origin = Origin {
        topic: row.text(0)?.to_owned(),
        topic_id: Uuid::parse(row.text(1)?.as_bytes())?,
        partition: row.get(2)?,
    };
    let bytes = |column| row.text(column).and_then(bytes_of);
    let mut letter = Letter {
        origin,
        offset: row.get(3)?,
        reason: row.text(4)?.to_owned(),
        product: row.text(5)?.to_owned(),
        at: row.text(6)?.to_owned(),
        key: bytes(7),
        value: bytes(8),
    };
    let product = letter.record().map(|record| match record {
        TopicRecord::Order(order) => order.product_id,
        TopicRecord::SaleOpened(sale) | TopicRecord::SaleClosed(sale) => sale.product_id,
    });
    letter.product = product.unwrap_or(letter.product);
    Some(letter)
}

impl Letter {
    fn record(&self) -> Option<TopicRecord> {
        TopicRecord::parse(self.value.as_ref()?).ok()
    }

    fn is_of(&self, product: &str) -> bool {
        self.product == product
    }
}

/// What `encode(…, 'hex')` writes.
pub(crate) fn bytes_of(hex: &str) -> Option<Bytes> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_digits() {
        assert_eq!(bytes_of("00ff7b"), Some(Bytes::from_static(&[0, 0xff, 0x7b])));
        assert_eq!(bytes_of(""), Some(Bytes::new()));
        assert_eq!(bytes_of("0x"), None);
    }
}
