//! One table: for each row what is committed, who holds it, and what he has made of it.
//!
//! At most one transaction holds a row: FOR UPDATE, UPDATE and an INSERT that is not committed exclude each other, and
//! nothing of ours takes a weaker lock. So a row has at most one version that is not committed, and dropping it is the
//! whole of a rollback. Rows are never deleted and keys never change.

use std::collections::BTreeMap;

use super::error::SqlError;
use crate::peer::SocketId;

/// Who holds rows: a session has one transaction at a time.
pub(super) type Owner = SocketId;

/// A row of some table.
pub(super) trait Record: Clone {
    /// Its primary key.
    type Key: Ord + Clone;
    /// The table's name, from which its primary key has its own.
    const TABLE: &'static str;
    fn key(&self) -> Self::Key;
    /// The table's check constraints, by name as PostgreSQL goes through them.
    fn check(&self) -> Result<(), SqlError>;
}

/// Why a step did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// This session's transaction holds what the step needs: the step is tried again when that has ended.
    Wait(Owner),
    Fail(SqlError),
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Stop {
        Stop::Fail(error)
    }
}

#[derive(Clone, Debug)]
struct Slot<R> {
    committed: Option<R>,
    pending: Option<R>,
    holder: Option<Owner>,
    /// The statement that wrote `pending`.
    command: u64,
}

#[derive(Debug)]
pub(super) struct Table<R: Record> {
    slots: BTreeMap<R::Key, Slot<R>>,
    held: BTreeMap<Owner, Vec<R::Key>>,
}

impl<R: Record> Table<R> {
    pub(super) fn new() -> Table<R> {
        Table { slots: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// What `owner` sees of a row now: what he wrote himself, else what is committed.
    pub(super) fn get(&self, owner: Owner, key: &R::Key) -> Option<&R> {
        self.slots.get(key).and_then(|slot| slot.seen_by(owner))
    }

    /// All rows that `owner` sees now, by key.
    pub(super) fn scan(&self, owner: Owner) -> impl Iterator<Item = &R> {
        self.slots.values().filter_map(move |slot| slot.seen_by(owner))
    }

    /// All rows that are committed, by key.
    pub(super) fn committed(&self) -> impl Iterator<Item = &R> {
        self.slots.values().filter_map(|slot| slot.committed.as_ref())
    }

    /// Whether a row of this key exists for a unique index, which must know: where another transaction has written it
    /// and is open, that one is awaited. One that has merely locked it is not.
    pub(super) fn arbitrate(&self, owner: Owner, key: &R::Key) -> Result<bool, Stop> {
        let Some(slot) = self.slots.get(key) else { return Ok(false) };
        match slot.holder {
            Some(holder) if holder != owner && slot.pending.is_some() => Err(Stop::Wait(holder)),
            _ => Ok(slot.seen_by(owner).is_some()),
        }
    }

    /// Stores a new row. [`Table::arbitrate`] has said that there is none.
    pub(super) fn insert(&mut self, owner: Owner, command: u64, row: R) -> Result<(), Stop> {
        row.check()?;
        let key = row.key();
        let slot = Slot { committed: None, pending: Some(row), holder: Some(owner), command };
        let before = self.slots.insert(key.clone(), slot);
        assert!(before.is_none(), "a key is looked for before it is inserted");
        self.held.entry(owner).or_default().push(key);
        Ok(())
    }

    /// Locks a row and reads what stands then; `None` where it is not there (any more).
    pub(super) fn lock(&mut self, owner: Owner, key: &R::Key) -> Result<Option<R>, Stop> {
        let Some(slot) = self.slots.get_mut(key) else { return Ok(None) };
        match slot.holder {
            Some(holder) if holder != owner => return Err(Stop::Wait(holder)),
            Some(_) => {}
            None => {
                slot.holder = Some(owner);
                self.held.entry(owner).or_default().push(key.clone());
            }
        }
        Ok(slot.seen_by(owner).cloned())
    }

    /// As [`Table::lock`], for ON CONFLICT DO UPDATE: a row that the same statement wrote is an error.
    pub(super) fn lock_conflicting(&mut self, owner: Owner, command: u64, key: &R::Key) -> Result<R, Stop> {
        let row = self.lock(owner, key)?.expect("a row that was in the way stays: none is deleted");
        let slot = &self.slots[key];
        if slot.pending.is_some() && slot.command == command {
            return Err(SqlError::second_time().into());
        }
        Ok(row)
    }

    /// Replaces a row that `owner` has locked.
    pub(super) fn update(&mut self, owner: Owner, command: u64, row: R) -> Result<(), Stop> {
        row.check()?;
        let slot = self.slots.get_mut(&row.key()).expect("what is updated was locked");
        assert_eq!(slot.holder, Some(owner), "what is updated was locked");
        slot.pending = Some(row);
        slot.command = command;
        Ok(())
    }

    /// Whether `owner` has written anything.
    pub(super) fn is_written_by(&self, owner: Owner) -> bool {
        self.held.get(&owner).is_some_and(|keys| keys.iter().any(|key| self.slots[key].pending.is_some()))
    }

    pub(super) fn commit(&mut self, owner: Owner) {
        for key in self.held.remove(&owner).unwrap_or_default() {
            let slot = self.slots.get_mut(&key).expect("what is held is there");
            slot.committed = slot.pending.take().or(slot.committed.take());
            slot.holder = None;
        }
    }

    pub(super) fn rollback(&mut self, owner: Owner) {
        for key in self.held.remove(&owner).unwrap_or_default() {
            let slot = self.slots.get_mut(&key).expect("what is held is there");
            slot.pending = None;
            slot.holder = None;
            if slot.committed.is_none() {
                self.slots.remove(&key);
            }
        }
    }
}

impl<R> Slot<R> {
    fn seen_by(&self, owner: Owner) -> Option<&R> {
        match &self.pending {
            Some(pending) if self.holder == Some(owner) => Some(pending),
            _ => self.committed.as_ref(),
        }
    }
}
