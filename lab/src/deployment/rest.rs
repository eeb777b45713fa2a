//! A deployment that has come to rest: waiting for that, and what must hold then.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use flux_protocol::order::Uuid;

use super::Deployment;
use crate::checker::{self, Allow, Verdict};
use crate::crowd::History;
use crate::error::{Doing, LabError};
use crate::truth::{self, Truth};

/// How long a deployment that is checked may take to come to rest, where nobody has waited for it: the worker's batches, and an
/// outbox that its edge has left to the relay.
const REST_MAX: Duration = Duration::from_secs(60);
/// How often [`Deployment::settle`] looks.
const SETTLE_LOOK: Duration = Duration::from_millis(50);

impl Deployment {
    /// Waits until every order that `history` was promised (200 or 202) is stored or rejected, and nothing is on its way: every
    /// outbox empty, the topic read to its ends, no return pending. Returns how long that took.
    ///
    /// # Errors
    /// Where it is not so after `timeout`; the text says how much is left. Servers out of reach are waited for too.
    pub fn settle(&self, history: &History, timeout: Duration) -> Result<Duration, LabError> {
        let begun = Instant::now();
        let mut open: HashSet<Uuid> = history.promised().into_iter().collect();
        loop {
            let left = self.unsettled(&mut open);
            if begun.elapsed() >= timeout || matches!(left, Ok(None)) {
                return match left {
                    Ok(None) => Ok(begun.elapsed()),
                    Ok(Some(what)) => Err(LabError::failed(format!("not settled after {timeout:?}: {what}"))),
                    Err(error) => Err(LabError::failed(format!("not settled after {timeout:?}: {error}"))),
                };
            }
            std::thread::sleep(SETTLE_LOOK);
        }
    }

    /// What is still open, in words; takes what is settled out of `open`.
    fn unsettled(&self, open: &mut HashSet<Uuid>) -> Result<Option<String>, LabError> {
        /// Asked for at once.
        const IDS_MAX: usize = 5_000;
        let mut ledger = crate::servers::postgres::connect(&self.sources.postgres)?;
        loop {
            let asked: Vec<String> = open.iter().take(IDS_MAX).map(Uuid::to_string).collect();
            let sql = "SELECT id::text FROM orders WHERE id = ANY ($1::text[]::uuid[]) UNION \
                       SELECT order_id::text FROM rejected WHERE order_id = ANY ($1::text[]::uuid[])";
            let rows = ledger.query(sql, &[&asked]).doing(|| "looking for orders".to_owned())?;
            for row in &rows {
                Uuid::parse(row.get::<_, &str>(0).as_bytes()).inspect(|id| {
                    open.remove(id);
                });
            }
            if rows.is_empty() || open.is_empty() {
                break;
            }
        }
        if !open.is_empty() {
            return Ok(Some(format!("{} promised orders are not stored", open.len())));
        }
        drop(ledger);
        truth::rest::moves(&self.sources)
    }

    /// What Redis, topic and ledger hold, as of one moment.
    ///
    /// # Errors
    /// Where one of them cannot be read, or they change all the time.
    pub fn truth(&self) -> Result<Truth, LabError> {
        Truth::read(&self.sources, REST_MAX)
    }

    /// Checks I1 to I4 of a deployment that has come to rest, nothing excused.
    ///
    /// # Errors
    /// Where a server cannot be read, or they change all the time. A broken promise is not an error here: it is in the
    /// verdict.
    pub fn check(&self, history: &History) -> Result<Verdict, LabError> {
        self.check_allowing(history, Allow::default())
    }

    /// The same, with what is excused.
    ///
    /// # Errors
    /// As [`Deployment::check`].
    pub fn check_allowing(&self, history: &History, allow: Allow) -> Result<Verdict, LabError> {
        Ok(checker::check(&Truth::at_rest(&self.sources, REST_MAX)?, history, allow))
    }
}
