//! The statements that the worker sends, known by their text, each with its meaning written by hand.
//!
//! A statement is planned once, when it begins: what it only reads it reads then, which is its snapshot. What it locks
//! or writes becomes steps, row by row in PostgreSQL's order; between two steps other sessions may have their turn, and a
//! step that meets a row held by another transaction is tried again when that one has ended, on what it has left.
//!
//! Where PostgreSQL promises no order, a drawn one is taken.

mod audit;
mod known;
mod notes;
mod offsets;
mod orders;
mod rebuild;
mod sales;
mod schema;

use std::collections::VecDeque;

use super::database::Database;
use super::error::SqlError;
use super::table::{Owner, Record, Stop, Table};
use super::values::{AnswerRow, Params};
use crate::random::Random;

pub(super) use known::{KNOWN, find};
pub(super) use orders::read_copy;

/// What a statement is to transactions, and what its tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Begin,
    Commit,
    Rollback,
    Select,
    /// SELECT … FOR UPDATE.
    Lock,
    Insert,
    Update,
    Copy,
    /// DECLARE CURSOR.
    Declare,
    /// FETCH.
    Fetch,
    /// Tables and indexes; the statement writes its tags itself, one for each in its text.
    Define,
}

impl Verb {
    /// Whether a standby refuses it, and as what.
    pub(super) fn written_as(self) -> Option<&'static str> {
        match self {
            Verb::Begin | Verb::Commit | Verb::Rollback | Verb::Select | Verb::Declare | Verb::Fetch => None,
            Verb::Lock => Some("SELECT FOR UPDATE"),
            Verb::Insert => Some("INSERT"),
            Verb::Update => Some("UPDATE"),
            Verb::Copy => Some("COPY FROM"),
            Verb::Define => Some("CREATE TABLE"),
        }
    }
}

/// One statement that is known.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// First eight digits of the SHA-1 of the text whose meaning is written here.
    pub(super) digest: &'static str,
    pub(super) verb: Verb,
    /// Tables that must be there.
    pub(super) relations: &'static [&'static str],
    pub(super) plan: fn(&mut Scope<'_>, &Params) -> Plan,
}

/// A statement's steps; what it reads is in the output already.
pub(super) type Plan = Result<Steps, SqlError>;
pub(super) type Steps = VecDeque<Step>;
/// Changes nothing where it stops.
pub(super) type Step = Box<dyn FnMut(&mut Scope<'_>) -> Result<(), Stop>>;

/// What a statement answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pub(super) rows: Vec<AnswerRow>,
    /// Rows written.
    pub(super) count: u64,
    /// Tags of the statements before the last, where a text holds several.
    pub(super) tags: Vec<&'static str>,
}

/// What a statement works on.
pub(super) struct Scope<'a> {
    pub(super) database: &'a mut Database,
    pub(super) output: &'a mut Output,
    pub(super) random: &'a mut Random,
    pub(super) owner: Owner,
    pub(super) command: u64,
    /// `now()`: when the transaction began.
    pub(super) now: i64,
}

impl Scope<'_> {
    fn answer(&mut self, row: AnswerRow) {
        self.output.rows.push(row);
    }

    /// Puts rows of which nobody has said how they are ordered in some order.
    fn shuffled<T>(&mut self, mut rows: Vec<T>) -> Vec<T> {
        for place in (1..rows.len()).rev() {
            let other = self.random.below(place as u64 + 1) as usize;
            rows.swap(place, other);
        }
        rows
    }

    /// INSERT … ON CONFLICT DO NOTHING of one row.
    fn insert_or_nothing<R: Record>(&mut self, table: TableOf<R>, row: R) -> Result<(), Stop> {
        // The row is checked before anybody looks whether it is in the way.
        row.check()?;
        let (owner, command) = (self.owner, self.command);
        let table = table(self.database);
        if !table.arbitrate(owner, &row.key())? {
            table.insert(owner, command, row)?;
            self.output.count += 1;
        }
        Ok(())
    }

    /// INSERT … ON CONFLICT DO UPDATE of one row. `change` is given the row that is in the way; `None`: its WHERE does
    /// not hold, and the row stays as it is, though locked.
    fn insert_or_update<R: Record>(
        &mut self,
        table: TableOf<R>,
        row: R,
        change: impl FnOnce(R, &R) -> Result<Option<R>, SqlError>,
    ) -> Result<Option<R>, Stop> {
        row.check()?;
        let (owner, command) = (self.owner, self.command);
        let table = table(self.database);
        let key = row.key();
        let written = if table.arbitrate(owner, &key)? {
            let held = table.lock_conflicting(owner, command, &key)?;
            let Some(changed) = change(held, &row)? else { return Ok(None) };
            table.update(owner, command, changed.clone())?;
            changed
        } else {
            table.insert(owner, command, row.clone())?;
            row
        };
        self.output.count += 1;
        Ok(Some(written))
    }

    /// UPDATE of one row, as the snapshot holds it: on what stands when it is locked. `change` says `None` where the
    /// WHERE does not hold (any more).
    fn update<R: Record>(
        &mut self,
        table: TableOf<R>,
        seen: &R,
        change: impl Fn(R) -> Result<Option<R>, SqlError>,
    ) -> Result<Option<R>, Stop> {
        // The new row is computed and checked before the old one is locked, and again where it has changed meanwhile.
        let Some(changed) = change(seen.clone())? else { return Ok(None) };
        changed.check()?;
        let (owner, command) = (self.owner, self.command);
        let table = table(self.database);
        let Some(held) = table.lock(owner, &seen.key())? else { return Ok(None) };
        let Some(changed) = change(held)? else { return Ok(None) };
        table.update(owner, command, changed.clone())?;
        self.output.count += 1;
        Ok(Some(changed))
    }
}

/// Which table of a database.
type TableOf<R> = fn(&mut Database) -> &mut Table<R>;

fn step(step: impl FnMut(&mut Scope<'_>) -> Result<(), Stop> + 'static) -> Step {
    Box::new(step)
}

/// Only a read: everything was done when it was planned.
fn done() -> Plan {
    Ok(Steps::new())
}
