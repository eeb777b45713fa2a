//! All tables and advisory locks together: where a transaction ends, it ends everywhere.

use std::collections::{BTreeMap, VecDeque};

use super::rows::{DeadLetter, Migration, Offset, Order, Product, Rejected, Relation, Return, Sale};
use super::table::{Owner, Record, Stop, Table};
use super::values::AnswerRow;

/// An advisory lock's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AdvisoryKey {
    /// As it was given.
    Number(i64),
    /// A text that was hashed: two texts of one hash are not met here.
    Hashed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AdvisoryHold {
    owner: Owner,
    /// Times it was taken to be kept until the session ends.
    by_session: u32,
    /// Whether the transaction holds it (too).
    by_transaction: bool,
}

#[derive(Debug)]
pub(super) struct Database {
    pub(super) products: Table<Product>,
    pub(super) sales: Table<Sale>,
    pub(super) orders: Table<Order>,
    pub(super) offsets: Table<Offset>,
    pub(super) returns: Table<Return>,
    pub(super) rejected: Table<Rejected>,
    pub(super) dead_letters: Table<DeadLetter>,
    pub(super) migrations: Table<Migration>,
    pub(super) relations: Table<Relation>,
    /// What each transaction's cursor has not given yet.
    cursors: BTreeMap<Owner, VecDeque<AnswerRow>>,
    advisory: BTreeMap<AdvisoryKey, AdvisoryHold>,
    commands: u64,
}

impl Database {
    pub(super) fn new() -> Database {
        Database {
            products: Table::new(),
            sales: Table::new(),
            orders: Table::new(),
            offsets: Table::new(),
            returns: Table::new(),
            rejected: Table::new(),
            dead_letters: Table::new(),
            migrations: Table::new(),
            relations: Table::new(),
            cursors: BTreeMap::new(),
            advisory: BTreeMap::new(),
            commands: 0,
        }
    }

    /// A number for a statement; none is given twice.
    pub(super) fn next_command(&mut self) -> u64 {
        self.commands += 1;
        self.commands
    }

    /// DECLARE CURSOR; false: there is one.
    pub(super) fn declare(&mut self, owner: Owner, rows: Vec<AnswerRow>) -> bool {
        if self.cursors.contains_key(&owner) {
            return false;
        }
        self.cursors.insert(owner, rows.into());
        true
    }

    /// FETCH of so many rows; `None`: there is no cursor.
    pub(super) fn fetch(&mut self, owner: Owner, count: usize) -> Option<Vec<AnswerRow>> {
        let rows = self.cursors.get_mut(&owner)?;
        Some(rows.drain(..count.min(rows.len())).collect())
    }

    pub(super) fn lock_for_transaction(&mut self, owner: Owner, key: AdvisoryKey) -> Result<(), Stop> {
        let hold = self.advisory.entry(key).or_insert(AdvisoryHold { owner, by_session: 0, by_transaction: false });
        if hold.owner != owner {
            return Err(Stop::Wait(hold.owner));
        }
        hold.by_transaction = true;
        Ok(())
    }

    pub(super) fn try_lock_for_session(&mut self, owner: Owner, key: AdvisoryKey) -> bool {
        let hold = self.advisory.entry(key).or_insert(AdvisoryHold { owner, by_session: 0, by_transaction: false });
        if hold.owner == owner {
            hold.by_session += 1;
        }
        hold.owner == owner
    }

    /// Whether `owner`'s transaction has anything to make durable.
    pub(super) fn is_written_by(&self, owner: Owner) -> bool {
        self.products.is_written_by(owner)
            || self.sales.is_written_by(owner)
            || self.orders.is_written_by(owner)
            || self.offsets.is_written_by(owner)
            || self.returns.is_written_by(owner)
            || self.rejected.is_written_by(owner)
            || self.dead_letters.is_written_by(owner)
            || self.migrations.is_written_by(owner)
            || self.relations.is_written_by(owner)
    }

    pub(super) fn commit(&mut self, owner: Owner) {
        self.end(owner, true);
    }

    pub(super) fn rollback(&mut self, owner: Owner) {
        self.end(owner, false);
    }

    /// The session is over; its transaction was ended before.
    pub(super) fn release_session(&mut self, owner: Owner) {
        self.advisory.retain(|_, hold| hold.owner != owner);
    }

    fn end(&mut self, owner: Owner, commits: bool) {
        fn end<R: Record>(table: &mut Table<R>, owner: Owner, commits: bool) {
            if commits {
                table.commit(owner);
            } else {
                table.rollback(owner);
            }
        }
        end(&mut self.products, owner, commits);
        end(&mut self.sales, owner, commits);
        end(&mut self.orders, owner, commits);
        end(&mut self.offsets, owner, commits);
        end(&mut self.returns, owner, commits);
        end(&mut self.rejected, owner, commits);
        end(&mut self.dead_letters, owner, commits);
        end(&mut self.migrations, owner, commits);
        end(&mut self.relations, owner, commits);
        self.cursors.remove(&owner);
        for hold in self.advisory.values_mut().filter(|hold| hold.owner == owner) {
            hold.by_transaction = false;
        }
        self.advisory.retain(|_, hold| hold.by_transaction || hold.by_session > 0);
    }
}
