//! One batch's way into the ledger: every decision about its transactions, as a machine without a connection.
//!
//! ```text
//!            ┌ in doubt: read the offset ┐
//! begin ─────┤                           ├──▶ the short way: fence, COPY, sales  ──▶ COMMIT ──▶ next span, or done
//!            └───────────────────────────┘        │ duplicate, no room, deadlock       │ no answer: in doubt
//!                                                 ▼ ROLLBACK                           ▼ retry
//!                                             the careful way: fence, lock sales, look up
//!                                                 ▼ judge
//!                                             COPY what fits, note the rest ──▶ COMMIT
//! ```
//!
//! The short way asks nothing first: a batch of new orders is one write, one answer, one COMMIT. Whatever meets it (a
//! key that exists, a sale without room, a transaction that crosses it) undoes it and takes the careful way, where the
//! sales' rows are locked before anything is read, so that what is read still stands when it is acted upon. A record
//! that the database cannot store is found by halving and becomes a dead letter.
//!
//! COMMIT is only sent when every answer before it was what had to come; so a connection that is lost earlier has
//! changed nothing, and one that is lost after it leaves a doubt that the offset resolves.

use std::ops::Range;

use flux_protocol::order::Uuid;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::postgres::{ErrorClass, ServerError, TransactionStatus};

use super::error::{LedgerError, StoreError};
use super::judge::{Known, Verdicts, judge};
use super::reply::{Prepared, Purpose, Reply};
use super::{Stored, statements};
use crate::batch::{Batch, Content};

/// Deadlocks in a row after which the caller pauses before it goes on.
const CONFLICTS_MAX: u32 = 5;
/// The check that is the second gate, `sql/0001_ledger.sql`.
const ROOM_CONSTRAINT: &str = "sales_room";

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Ask this in one run, on the connection of the run before, and hand the answer to [`Store::handle`]. Where the
    /// connection is lost, the next run goes to a new one.
    Ask(Vec<Prepared>),
    /// The end. After an error the connection is to be dropped: a transaction may be open on it.
    Done(Result<Stored, StoreError>),
}

#[derive(Debug)]
enum State {
    /// Nothing is outstanding.
    Begun,
    /// A commit is in doubt.
    ReadingOffset,
    /// The short way is asked.
    Short,
    /// The careful way is asked what stands.
    Examining,
    /// The careful way writes.
    Writing { redelivered: u64 },
    /// COMMIT is sent; what it stores.
    Committing(Stored),
    /// ROLLBACK is sent; then go on, or end.
    RollingBack(Option<StoreError>),
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    state: State,
    conflicts: u32,
}

impl Store {
    /// Begins with a batch, or goes on with one whose last attempt failed.
    pub fn begin(batch: &mut Batch) -> (Store, Step) {
        let mut store = Store { state: State::Begun, conflicts: 0 };
        let step = store.next(batch);
        (store, step)
    }

    /// The answer to what was `asked` last, for the same batch.
    pub fn handle(&mut self, batch: &mut Batch, asked: &[Prepared], answer: Result<Reply, LedgerError>) -> Step {
        match (std::mem::replace(&mut self.state, State::Begun), answer) {
            (State::Begun, _) => unreachable!("an answer follows a question"),
            // Undone either way: by ROLLBACK, or with the connection, which whoever carries this drops after an error.
            (State::RollingBack(Some(error)), _) => Step::Done(Err(error)),
            (State::RollingBack(None), Ok(reply)) => match reply.failed {
                None => self.next(batch),
                Some(error) => Step::Done(Err(StoreError::Retry(LedgerError::Server(Box::new(error))))),
            },
            (State::Committing(stored), Err(error)) => {
                batch.progress.in_doubt = Some(stored);
                Step::Done(Err(StoreError::Retry(error)))
            }
            (State::Committing(stored), Ok(reply)) => self.committed(batch, stored, reply),
            (_, Err(error)) => Step::Done(Err(failure(error))),
            (State::ReadingOffset, Ok(reply)) => self.doubt_resolved(batch, asked, reply),
            (state, Ok(reply)) => match self.obstacle(batch, asked, &reply) {
                Some(step) => step,
                None => match state {
                    State::Examining => self.examined(batch, asked, &reply),
                    State::Writing { redelivered } => self.written(batch, asked, &reply, redelivered),
                    _ => self.written(batch, asked, &reply, 0),
                },
            },
        }
    }

    fn next(&mut self, batch: &mut Batch) -> Step {
        if batch.progress.finished || batch.is_empty() {
            return Step::Done(Ok(batch.progress.totals));
        }
        if batch.progress.in_doubt.is_some() {
            self.state = State::ReadingOffset;
            return Step::Ask(vec![statements::read_offset(batch.origin())]);
        }
        let span = batch.span();
        let (from, to) = batch.span_offsets(&span);
        let mut asked = vec![statements::begin(), statements::fence(batch.origin(), from, to)];
        if is_planted(Bug::OffsetBeforeCommit) {
            asked.extend([statements::commit(), statements::begin()]);
        }
        if batch.progress.careful {
            self.state = State::Examining;
            ask_careful(batch, span, &mut asked);
        } else {
            self.state = State::Short;
            ask_short(batch, span, &mut asked);
        }
        Step::Ask(asked)
    }

    fn doubt_resolved(&mut self, batch: &mut Batch, asked: &[Prepared], reply: Reply) -> Step {
        if let Some(error) = reply.failed {
            return Step::Done(Err(failure(LedgerError::Server(Box::new(error)))));
        }
        let (from, to) = batch.span_offsets(&batch.span());
        let row = reply.of(asked, Purpose::ReadOffset).and_then(|completed| completed.rows.first());
        match row.and_then(|row| row.get::<i64>(0)) {
            Some(offset) if offset == to => {
                let stored = batch.progress.in_doubt.take().unwrap_or_default();
                batch.span_stored(&stored);
                self.next(batch)
            }
            Some(offset) if offset == from => {
                batch.progress.in_doubt = None;
                self.next(batch)
            }
            _ => Step::Done(Err(fenced(batch))),
        }
    }

    /// What stands in the way of the transaction, if anything; it is then undone.
    fn obstacle(&mut self, batch: &mut Batch, asked: &[Prepared], reply: &Reply) -> Option<Step> {
        // First: whoever is fenced off has no business with the errors that follow from it.
        if reply.of(asked, Purpose::Fence).is_some_and(|fence| fence.count == 0) {
            return Some(self.undo(Some(fenced(batch))));
        }
        if let Some(error) = &reply.failed {
            return Some(self.failed(batch, error));
        }
        if reply.completed.len() != asked.len() || reply.status != TransactionStatus::Open {
            return Some(self.undo(Some(unexpected("a transaction that is not open to its end"))));
        }
        for statement in asked {
            let count = reply.of(asked, statement.purpose).map_or(0, |completed| completed.count);
            if statement.copy.as_ref().is_some_and(|rows| rows.rows() != count) {
                return Some(self.undo(Some(unexpected("a COPY of another number of rows"))));
            }
        }
        None
    }

    fn failed(&mut self, batch: &mut Batch, error: &ServerError) -> Step {
        let no_room = error.constraint == ROOM_CONSTRAINT;
        match error.class() {
            ErrorClass::Duplicate | ErrorClass::Conflict if self.conflicts < CONFLICTS_MAX => {
                self.conflicts += 1;
                batch.progress.careful = true;
                self.undo(None)
            }
            ErrorClass::Constraint if no_room && !batch.progress.careful => {
                batch.progress.careful = true;
                self.undo(None)
            }
            ErrorClass::Constraint | ErrorClass::Data if !no_room && batch.isolate(&error.to_string()) => {
                self.undo(None)
            }
            // A key that somebody else is just storing again and again: no room to decide in, but room to wait.
            ErrorClass::Duplicate => self.undo(Some(StoreError::Retry(LedgerError::Server(Box::new(error.clone()))))),
            _ => self.undo(Some(failure(LedgerError::Server(Box::new(error.clone()))))),
        }
    }

    fn examined(&mut self, batch: &Batch, asked: &[Prepared], reply: &Reply) -> Step {
        let span = batch.entries(batch.span());
        let sales = statements::sales_of(span);
        let Some(known) = known(asked, reply) else {
            return self.undo(Some(unexpected("rows that cannot be read")));
        };
        if sales.keys().any(|(product, sale)| !known.room.contains_key(&((*product).to_owned(), *sale))) {
            return self.undo(Some(unexpected("a sale that was opened and is not there")));
        }
        let verdicts = judge(span, known);
        self.state = State::Writing { redelivered: verdicts.redelivered };
        Step::Ask(ask_written(batch, &verdicts))
    }

    fn written(&mut self, batch: &mut Batch, asked: &[Prepared], reply: &Reply, redelivered: u64) -> Step {
        let count = |purpose| reply.of(asked, purpose).map_or(0, |completed| completed.count);
        if count(Purpose::Take) < statements::sales_asked(asked) {
            // A sale without room was passed over. Under the sales' locks it was judged to have some.
            let end = batch.progress.careful.then(|| unexpected("a sale whose room changed under its lock"));
            batch.progress.careful = true;
            return self.undo(end);
        }
        self.state = State::Committing(Stored {
            orders: count(Purpose::Orders),
            duplicates: redelivered,
            returns: count(Purpose::Returns),
            rejected: count(Purpose::Rejected),
            dead_letters: count(Purpose::DeadLetters),
        });
        Step::Ask(vec![statements::commit()])
    }

    fn committed(&mut self, batch: &mut Batch, stored: Stored, reply: Reply) -> Step {
        match reply.failed {
            None => {
                batch.span_stored(&stored);
                self.conflicts = 0;
                self.next(batch)
            }
            // It should mean "undone"; the offset knows for certain.
            Some(error) => {
                batch.progress.in_doubt = Some(stored);
                Step::Done(Err(StoreError::Retry(LedgerError::Server(Box::new(error)))))
            }
        }
    }

    fn undo(&mut self, end: Option<StoreError>) -> Step {
        self.state = State::RollingBack(end);
        Step::Ask(vec![statements::rollback()])
    }
}

fn ask_short(batch: &Batch, span: Range<usize>, asked: &mut Vec<Prepared>) {
    let span = batch.entries(span);
    asked.extend(statements::note_dead_letters(batch.origin(), span));
    let sales = statements::sales_of(span);
    if !sales.is_empty() {
        asked.push(statements::copy_orders(batch.origin(), span, 0..span.len()));
        // The hot rows last: their locks are held for one COMMIT, not for the COPY.
        asked.push(statements::take(&sales));
        asked.push(statements::show_stock(&sales));
    }
}

fn ask_careful(batch: &Batch, span: Range<usize>, asked: &mut Vec<Prepared>) {
    let span = batch.entries(span);
    let sales = statements::sales_of(span);
    if !sales.is_empty() {
        asked.push(statements::open_sales(&sales));
        asked.push(statements::lock_sales(&sales));
        asked.extend(statements::known_orders(span));
    }
}

fn ask_written(batch: &Batch, verdicts: &Verdicts) -> Vec<Prepared> {
    let origin = batch.origin();
    let span = batch.entries(batch.span());
    let mut asked: Vec<Prepared> = statements::note_dead_letters(origin, span).into_iter().collect();
    asked.extend(statements::note_returns(span, verdicts));
    asked.extend(statements::note_rejected(origin, span, verdicts));
    if !verdicts.stored.is_empty() {
        // By id: transactions that store the same orders then wait for each other in one direction.
        let mut stored = verdicts.stored.clone();
        stored.sort_by_key(|at| match &span[*at].content {
            Content::Order(order) => order.order_id,
            Content::Opened(_) | Content::Closed(_) | Content::Dead(_) => Uuid([0; 16]),
        });
        asked.push(statements::copy_orders(origin, span, stored.iter().copied()));
        asked.push(statements::take(&statements::sales_of_stored(span, &stored)));
    }
    asked.extend(statements::sale_events(span));
    let sales = statements::sales_of(span);
    if !sales.is_empty() {
        asked.push(statements::show_stock(&sales));
    }
    asked
}

/// What the careful way's first answers say; `None` where they cannot be read.
fn known(asked: &[Prepared], reply: &Reply) -> Option<Known> {
    let rows = |purpose| reply.of(asked, purpose).map_or(&[][..], |completed| &completed.rows);
    let uuid = |text: Option<&str>| Uuid::parse(text?.as_bytes());
    let mut known = Known::default();
    for row in rows(Purpose::LockSales) {
        let (total, sold): (u64, u64) = (row.get(2)?, row.get(3)?);
        known.room.insert((row.text(0)?.to_owned(), row.get(1)?), total.saturating_sub(sold));
    }
    for row in rows(Purpose::KnownOrders) {
        known.orders.insert(uuid(row.text(0))?, (uuid(row.text(1))?, row.get(2)?));
    }
    for row in rows(Purpose::KnownRejected) {
        known.rejected.insert((uuid(row.text(0))?, uuid(row.text(1))?));
    }
    Some(known)
}

fn fenced(batch: &Batch) -> StoreError {
    let (expected, _) = batch.span_offsets(&batch.span());
    StoreError::Fenced { partition: batch.origin().partition, expected }
}

fn failure(error: LedgerError) -> StoreError {
    if error.is_retryable() { StoreError::Retry(error) } else { StoreError::Fatal(error) }
}

fn unexpected(what: &'static str) -> StoreError {
    StoreError::Fatal(LedgerError::Unexpected(what))
}
