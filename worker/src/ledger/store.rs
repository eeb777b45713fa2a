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
//! key that exists, a sale without room or of another total, an order of an older generation than is in force, or of units that
//! were withdrawn, a transaction that crosses it) undoes it and takes the careful way, where the sales' rows are locked before anything is read, so that what is read still stands when it is acted upon.
//! A record that the database cannot store is found by halving and becomes a dead letter, unless the database does not take
//! what it took before either ([`super::probe`]): then it is no record's fault, and nothing is set aside. What takes the
//! server too long is halved as well, and so is what comes after it for a while ([`super::pace`]).
//!
//! COMMIT is only sent when every answer before it was what had to come; so a connection that is lost earlier has
//! changed nothing, and one that is lost after it leaves a doubt that the offset resolves.

use std::collections::BTreeMap;

use flux_protocol::order::{OwnedRecord, Uuid};
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::postgres::{ErrorClass, Row, ServerError, TransactionStatus};
use flux_protocol::rare::{Rare, is_taken};

use super::error::{LedgerError, StoreError};
use super::judge::{Known, KnownSale, Rejection, Verdicts, judge};
use super::pace::Pace;
use super::reply::{Prepared, Purpose, Reply};
use super::statements::AskedSales;
use super::{probe, statements};
use crate::batch::{Batch, Content, Entry, Origin, Stored};

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
    Writing { redelivered: u64, late: u64 },
    /// COMMIT is sent; what it stores.
    Committing(Stored),
    /// ROLLBACK is sent; then this.
    RollingBack(Next),
    /// The database refused something: is it the record? An order is asked for that it took before.
    Sampling(Box<ServerError>),
    /// That order is tried.
    Probing(Box<ServerError>),
}

/// What follows once a transaction is undone.
#[derive(Debug)]
enum Next {
    GoOn,
    End(StoreError),
    Probe(Box<ServerError>),
}

#[derive(Debug)]
pub struct Store {
    state: State,
    conflicts: u32,
    /// The tables were found to take orders since this attempt began.
    has_probed: bool,
    pace: Pace,
}

impl Store {
    /// Begins with a batch, or goes on with one whose last attempt failed; at the pace that the one before came to.
    pub fn begin(batch: &mut Batch, pace: Pace) -> (Store, Step) {
        let mut store = Store { state: State::Begun, conflicts: 0, has_probed: false, pace };
        let step = store.next(batch);
        (store, step)
    }

    /// How much a transaction may hold, by what has become of these.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The answer to what was `asked` last, for the same batch.
    pub fn handle(&mut self, batch: &mut Batch, asked: &[Prepared], answer: Result<Reply, LedgerError>) -> Step {
        match (std::mem::replace(&mut self.state, State::Begun), answer) {
            (State::Begun, _) => unreachable!("an answer follows a question"),
            // Undone either way: by ROLLBACK, or with the connection, which the caller drops after an error.
            (State::RollingBack(Next::End(error)), _) => Step::Done(Err(error)),
            (State::RollingBack(next), Ok(reply)) => match (reply.failed, next) {
                (None, Next::Probe(refusal)) => {
                    self.state = State::Sampling(refusal);
                    Step::Ask(vec![probe::sample()])
                }
                (None, _) => self.next(batch),
                (Some(error), _) => Step::Done(Err(StoreError::Retry(LedgerError::Server(Box::new(error))))),
            },
            (State::Committing(stored), Err(error)) => {
                batch.progress.in_doubt = Some(stored);
                Step::Done(Err(StoreError::Retry(error)))
            }
            (State::Committing(stored), Ok(reply)) => self.committed(batch, stored, reply),
            (_, Err(error)) => Step::Done(Err(failure(error))),
            (State::ReadingOffset, Ok(reply)) => self.doubt_resolved(batch, asked, reply),
            (State::Sampling(refusal), Ok(reply)) => self.sampled(batch, asked, refusal, reply),
            (State::Probing(refusal), Ok(reply)) => self.probed(batch, refusal, reply),
            (state, Ok(reply)) => match self.obstacle(batch, asked, &reply) {
                Some(step) => step,
                None => match state {
                    State::Examining => self.examined(batch, asked, &reply),
                    State::Writing { redelivered, late } => self.written(batch, asked, &reply, redelivered, late),
                    _ => self.written(batch, asked, &reply, 0, 0),
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
            return Step::Ask(vec![statements::resolve(batch)]);
        }
        batch.cut(self.pace.entries_max());
        let span = batch.span();
        let mut asked = vec![statements::begin(), statements::fence(batch, &span).0];
        if is_planted(Bug::OffsetBeforeCommit) {
            asked.extend([statements::commit(), statements::begin()]);
        }
        let entries = batch.entries(span);
        let sales = statements::sales_of(entries);
        if batch.progress.careful || is_taken(Rare::CarefulStore) || statements::are_disputed(&sales) {
            self.state = State::Examining;
            ask_careful(batch.origin(), entries, &sales, &mut asked);
        } else {
            self.state = State::Short;
            ask_short(batch.origin(), entries, &sales, &mut asked);
        }
        Step::Ask(asked)
    }

    fn doubt_resolved(&mut self, batch: &mut Batch, asked: &[Prepared], reply: Reply) -> Step {
        if let Some(error) = reply.failed {
            return Step::Done(Err(failure(LedgerError::Server(Box::new(error)))));
        }
        let span = batch.span();
        // Of dead letters that are replayed: how many are left. Else: where the offset stands.
        let (before, after) = match batch.is_replay() {
            true => (batch.span_letters(&span).len() as i64, 0),
            false => batch.span_offsets(&span),
        };
        let row = reply.of(asked, Purpose::ReadOffset).and_then(|completed| completed.rows.first());
        match row.and_then(|row| row.get::<i64>(0)) {
            Some(found) if found == after => {
                let stored = batch.progress.in_doubt.take().unwrap_or_default();
                batch.span_stored(&stored);
                self.next(batch)
            }
            Some(found) if found == before => {
                batch.progress.in_doubt = None;
                self.next(batch)
            }
            _ => Step::Done(Err(fenced(batch))),
        }
    }

    /// What stands in the way of the transaction, if anything; it is then undone.
    fn obstacle(&mut self, batch: &mut Batch, asked: &[Prepared], reply: &Reply) -> Option<Step> {
        // First: to a worker that is fenced off, the errors that follow from it mean nothing.
        let (_, passed) = statements::fence(batch, &batch.span());
        if reply.of(asked, Purpose::Fence).is_some_and(|fence| fence.count < passed) {
            return Some(self.end(fenced(batch)));
        }
        if let Some(error) = &reply.failed {
            return Some(self.failed(batch, error));
        }
        if reply.completed.len() != asked.len() || reply.status != TransactionStatus::Open {
            return Some(self.end(unexpected("a transaction that is not open to its end")));
        }
        for statement in asked {
            let count = reply.of(asked, statement.purpose).map_or(0, |completed| completed.count);
            if statement.copy.as_ref().is_some_and(|rows| rows.rows() != count) {
                return Some(self.end(unexpected("a COPY of another number of rows")));
            }
        }
        None
    }

    fn failed(&mut self, batch: &mut Batch, error: &ServerError) -> Step {
        let no_room = error.constraint == ROOM_CONSTRAINT;
        let refusal = || LedgerError::Server(Box::new(error.clone()));
        match error.class() {
            ErrorClass::Duplicate | ErrorClass::Conflict if self.conflicts < CONFLICTS_MAX => {
                self.conflicts += 1;
                batch.progress.careful = true;
                self.undo(Next::GoOn)
            }
            ErrorClass::Constraint if no_room && !batch.progress.careful => {
                batch.progress.careful = true;
                self.undo(Next::GoOn)
            }
            ErrorClass::Constraint | ErrorClass::Data if !no_room => self.suspect(batch, error),
            // The server was given too much for the time it has. It may be told so for another reason, too: hence the pause.
            ErrorClass::Canceled => {
                self.pace.canceled(batch.span().len());
                batch.cut(self.pace.entries_max());
                self.end(StoreError::Retry(refusal()))
            }
            // A key that another transaction stores again and again: nothing to decide now; wait.
            ErrorClass::Duplicate => self.end(StoreError::Retry(refusal())),
            _ => self.end(failure(refusal())),
        }
    }

    /// The database refuses what the span holds: the span's fault only where it takes what it took before. Looked at when
    /// that is first seen, so that nothing is halved in vain, and again before a record is set aside for it.
    fn suspect(&mut self, batch: &mut Batch, error: &ServerError) -> Step {
        if probe::is_of_the_table(error) {
            return self.end(StoreError::Systematic(LedgerError::Server(Box::new(error.clone()))));
        }
        if self.has_probed && batch.span().len() > 1 {
            batch.isolate(&error.to_string());
            return self.undo(Next::GoOn);
        }
        self.undo(Next::Probe(Box::new(error.clone())))
    }

    fn sampled(&mut self, batch: &Batch, asked: &[Prepared], refusal: Box<ServerError>, reply: Reply) -> Step {
        if let Some(error) = reply.failed {
            return Step::Done(Err(failure(LedgerError::Server(Box::new(error)))));
        }
        let sample: Option<&Row> = reply.of(asked, Purpose::Sample).and_then(|completed| completed.rows.first());
        self.state = State::Probing(refusal);
        Step::Ask(probe::attempt(batch.origin(), sample))
    }

    fn probed(&mut self, batch: &mut Batch, refusal: Box<ServerError>, reply: Reply) -> Step {
        match reply.failed {
            None => {
                self.has_probed = true;
                if batch.isolate(&refusal.to_string()) {
                    return self.undo(Next::GoOn);
                }
                self.end(failure(LedgerError::Server(refusal)))
            }
            Some(error) if matches!(error.class(), ErrorClass::Constraint | ErrorClass::Data) => {
                self.end(StoreError::Systematic(LedgerError::Server(Box::new(error))))
            }
            // Nothing was learned.
            Some(error) if error.class() == ErrorClass::Duplicate => {
                self.end(StoreError::Retry(LedgerError::Server(Box::new(error))))
            }
            Some(error) => self.end(failure(LedgerError::Server(Box::new(error)))),
        }
    }

    fn examined(&mut self, batch: &Batch, asked: &[Prepared], reply: &Reply) -> Step {
        let span = batch.entries(batch.span());
        let sales = statements::sales_of(span);
        let Some(known) = known(asked, reply) else {
            return self.end(unexpected("rows that cannot be read"));
        };
        if sales.keys().any(|(product, sale)| !known.sales.contains_key(&((*product).to_owned(), *sale))) {
            return self.end(unexpected("a sale that was opened and is not there"));
        }
        let verdicts = judge(span, known);
        let late = verdicts.rejected.iter().filter(|(_, why)| *why == Rejection::Late).count() as u64;
        self.state = State::Writing { redelivered: verdicts.redelivered, late };
        Step::Ask(ask_written(batch, &verdicts))
    }

    fn written(&mut self, batch: &mut Batch, asked: &[Prepared], reply: &Reply, redelivered: u64, late: u64) -> Step {
        let count = |purpose| reply.of(asked, purpose).map_or(0, |completed| completed.count);
        if count(Purpose::Take) < statements::sales_asked(asked) {
            // A sale without room, or of another total, was passed over. Under the sales' locks none would have been.
            if std::mem::replace(&mut batch.progress.careful, true) {
                return self.end(unexpected("a sale whose room changed under its lock"));
            }
            return self.undo(Next::GoOn);
        }
        if !batch.progress.careful {
            match is_for_the_careful_way(asked, reply, batch.entries(batch.span())) {
                Some(false) => {}
                Some(true) => {
                    batch.progress.careful = true;
                    return self.undo(Next::GoOn);
                }
                None => return self.end(unexpected("rows that cannot be read")),
            }
        }
        self.state = State::Committing(Stored {
            orders: count(Purpose::Orders),
            duplicates: redelivered,
            returns: count(Purpose::Returns),
            rejected: count(Purpose::Rejected).saturating_sub(late),
            late,
            dead_letters: count(Purpose::DeadLetters),
        });
        Step::Ask(vec![statements::commit()])
    }

    fn committed(&mut self, batch: &mut Batch, stored: Stored, reply: Reply) -> Step {
        match reply.failed {
            None => {
                self.pace.stored(batch.span().len());
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

    fn undo(&mut self, next: Next) -> Step {
        self.state = State::RollingBack(next);
        Step::Ask(vec![statements::rollback()])
    }

    fn end(&mut self, error: StoreError) -> Step {
        self.undo(Next::End(error))
    }
}

fn ask_short(origin: &Origin, span: &[Entry], sales: &AskedSales<'_>, asked: &mut Vec<Prepared>) {
    asked.extend(statements::note_dead_letters(origin, span, &Verdicts::default()));
    if !sales.is_empty() {
        asked.push(statements::copy_orders(origin, span, 0..span.len()));
        // The hot rows last: their locks are held for one COMMIT, not for the COPY.
        asked.push(statements::take(sales));
        asked.push(statements::show_stock(sales));
    }
}

fn ask_careful(origin: &Origin, span: &[Entry], sales: &AskedSales<'_>, asked: &mut Vec<Prepared>) {
    if !sales.is_empty() {
        asked.push(statements::open_sales(sales));
        asked.push(statements::lock_sales(origin, sales));
        asked.extend(statements::known_orders(span));
    }
}

fn ask_written(batch: &Batch, verdicts: &Verdicts) -> Vec<Prepared> {
    let origin = batch.origin();
    let span = batch.entries(batch.span());
    let mut asked: Vec<Prepared> = statements::note_dead_letters(origin, span, verdicts).into_iter().collect();
    asked.extend(statements::note_returns(span, verdicts));
    asked.extend(statements::note_rejected(origin, span, verdicts));
    // Before units are taken: an event may say that there are more.
    asked.extend(statements::sale_events(span, verdicts));
    if !verdicts.stored.is_empty() {
        // By id: transactions that store the same orders then wait for each other in one direction.
        let mut stored = verdicts.stored.clone();
        stored.sort_by_key(|at| match &span[*at].content {
            Content::Order(order) => order.order_id,
            Content::Opened(_) | Content::Closed(_) | Content::Dead(_) => Uuid([0; 16]),
        });
        asked.push(statements::copy_orders(origin, span, stored.iter().copied()));
        asked.push(statements::take(&statements::sales_of_stored(span, &stored)));
        asked.extend(verdicts.overdrawn.iter().map(statements::withdraw_less));
    }
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
        let is_announced = row.text(5)? == "t";
        let (total, sold, withdrawn, generation) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(6)?);
        let counted_to = row.text(7).map(str::parse).transpose().ok()?;
        let sale = KnownSale { total, sold, withdrawn, is_announced, generation, counted_to };
        known.sales.insert((row.text(0)?.to_owned(), row.get(1)?), sale);
    }
    for row in rows(Purpose::KnownOrders) {
        known.orders.insert(uuid(row.text(0))?, (uuid(row.text(1))?, row.get(2)?));
    }
    for row in rows(Purpose::KnownRejected) {
        known.rejected.insert((uuid(row.text(0))?, uuid(row.text(1))?));
    }
    Some(known)
}

/// Whether a sale that was taken from has a higher generation in force than one of its orders, or had withdrawn what its orders have;
/// `None` where that cannot be read.
fn is_for_the_careful_way(asked: &[Prepared], reply: &Reply, span: &[Entry]) -> Option<bool> {
    let rows = reply.of(asked, Purpose::Take).map_or(&[][..], |completed| &completed.rows);
    let mut rebuilt = BTreeMap::new();
    for row in rows {
        let (product, sale, in_force): (_, u64, u32) = (row.text(0)?, row.get(1)?, row.get(2)?);
        if row.text(3)? == "t" {
            return Some(true);
        }
        // Nothing is older than the first.
        if in_force > 1 {
            rebuilt.insert((product, sale), in_force);
        }
    }
    let is_older = |order: &OwnedRecord| {
        let in_force = rebuilt.get(&(order.product_id.as_str(), order.sale_id));
        in_force.is_some_and(|in_force| order.generation < *in_force)
    };
    Some(!rebuilt.is_empty() && statements::orders_in(span).any(|(_, order)| is_older(order)))
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
