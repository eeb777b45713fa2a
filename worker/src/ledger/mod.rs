//! The ledger: PostgreSQL, the system of record.
//!
//! [`store::Store`] decides, `statements` words it, `connection` carries it, [`judge`] says what becomes of an order
//! where the short way is barred. The first two and the last are pure. [`Ledger`] is the shell around them.
//!
//! A ledger is one connection, made again when it is needed and gone; a task of its own opens a ledger of its own. It
//! never repeats what it was asked: a caller whose error is retryable pauses and asks again.

mod connection;
mod error;
pub mod index;
pub mod judge;
mod migrate;
pub mod pace;
mod probe;
mod queries;
pub mod reply;
mod statements;
pub mod store;
mod target;
mod views;

use flux_protocol::postgres::{Param, Row, SessionOptions, Statement};

pub use error::{LedgerError, StoreError, Unasked};
pub use migrate::SCHEMA_VERSION;
pub use target::LedgerTarget;
pub use views::{OrderStatus, PendingReturn, ReturnState, Stray, Units};

use crate::batch::{Batch, Stored};
use connection::Connection;
use pace::Pace;
use reply::Reply;
use store::{Step, Store};

pub struct Ledger {
    target: LedgerTarget,
    options: SessionOptions,
    connection: Option<Connection>,
    /// Whether a connection that is gone is made again.
    reconnects: bool,
    /// How much the server takes at once, by the batches that were stored over this ledger.
    pace: Pace,
}

impl Ledger {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Nothing was done. [`LedgerError::is_retryable`] tells a server that is not there yet from a wrong password.
    pub async fn connect(target: impl Into<LedgerTarget>) -> Result<Ledger, LedgerError> {
        let options = SessionOptions { application_name: "flux-worker".to_owned(), ..SessionOptions::default() };
        Ledger::connect_with(target, options).await
    }

    /// As [`Ledger::connect`], with other limits: an audit's statements may take longer.
    ///
    /// # Errors
    /// As [`Ledger::connect`].
    pub async fn connect_with(target: impl Into<LedgerTarget>, options: SessionOptions) -> Result<Ledger, LedgerError> {
        let mut ledger =
            Ledger { target: target.into(), options, connection: None, reconnects: true, pace: Pace::default() };
        ledger.connection().await?;
        Ok(ledger)
    }

    /// As [`Ledger::connect_with`], for a caller that holds an advisory lock or a transaction over several questions:
    /// once its connection is gone, everything fails with [`LedgerError::Lost`] rather than go on without what it held.
    ///
    /// # Errors
    /// As [`Ledger::connect`].
    pub async fn connect_pinned(
        target: impl Into<LedgerTarget>,
        options: SessionOptions,
    ) -> Result<Ledger, LedgerError> {
        let mut ledger = Ledger::connect_with(target, options).await?;
        ledger.reconnects = false;
        Ok(ledger)
    }

    /// Stores a batch: all of it, exactly once, or says what to do.
    ///
    /// # Errors
    /// [`StoreError`]. The batch remembers how far it came: hand the same one in again after [`StoreError::Retry`].
    pub async fn store(&mut self, batch: &mut Batch) -> Result<Stored, StoreError> {
        let (mut store, mut step) = Store::begin(batch, self.pace);
        loop {
            let asked = match step {
                Step::Ask(asked) => asked,
                Step::Done(outcome) => {
                    self.pace = store.pace();
                    if outcome.is_err() {
                        // A transaction may be open on it; and a server that has become a standby would refuse us on
                        // it for ever.
                        self.disconnect();
                    }
                    return outcome;
                }
            };
            let answer = match self.connection().await {
                Ok(connection) => connection.ask(&asked).await,
                Err(error) => Err(error),
            };
            let answer = self.checked(answer);
            step = store.handle(batch, &asked, answer);
        }
    }

    /// Asks one statement, in a transaction of its own unless one is open, and returns its rows.
    ///
    /// # Errors
    /// [`LedgerError`]; after [`LedgerError::Lost`] the statement may or may not have been carried out.
    pub async fn query(&mut self, sql: &str, params: &[Param]) -> Result<Vec<Row>, LedgerError> {
        self.one(sql, params).await.map(|completed| completed.rows)
    }

    /// As [`Ledger::query`], for the number of rows written.
    ///
    /// # Errors
    /// As [`Ledger::query`].
    pub async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<u64, LedgerError> {
        self.one(sql, params).await.map(|completed| completed.count)
    }

    /// Does `work` in one transaction: all of it, or where it fails nothing, and the connection is good for the next.
    ///
    /// # Errors
    /// Those of `work`, and of BEGIN and COMMIT; after a COMMIT that is [`LedgerError::Lost`] it may have been done.
    pub async fn atomically<T, E: From<LedgerError>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Ledger) -> Result<T, E>,
    ) -> Result<T, E> {
        self.execute("BEGIN", &[]).await?;
        match work(self).await {
            Ok(done) => {
                self.execute("COMMIT", &[]).await?;
                Ok(done)
            }
            Err(error) => {
                // Where the connection is gone it is undone with it.
                let _ = self.execute("ROLLBACK", &[]).await;
                Err(error)
            }
        }
    }

    /// Says goodbye to the server, where there is a connection. Dropping the ledger is as good, but for a line in the
    /// server's log.
    pub async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }

    async fn one(&mut self, sql: &str, params: &[Param]) -> Result<reply::Completed, LedgerError> {
        let answer = self.connection().await?.ask_one(Statement { sql, params, copy: None }).await;
        let mut reply = self.checked(answer).and_then(outcome)?;
        reply.completed.pop().ok_or(LedgerError::Unexpected("no end of the statement"))
    }

    async fn connection(&mut self) -> Result<&mut Connection, LedgerError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None if !self.reconnects => Err(LedgerError::Lost("what it held is gone with it".to_owned())),
            none => Ok(none.insert(Connection::open(&self.target, &self.options).await?)),
        }
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Forgets a connection that is of no more use.
    fn checked(&mut self, answer: Result<Reply, LedgerError>) -> Result<Reply, LedgerError> {
        if answer.is_err() {
            self.disconnect();
        }
        answer
    }
}

/// A failed statement as an error.
fn outcome(reply: Reply) -> Result<Reply, LedgerError> {
    match reply.failed {
        Some(error) => Err(LedgerError::Server(Box::new(error))),
        None => Ok(reply),
    }
}

#[cfg(test)]
mod tests;
