//! Streams: entries under ids that only grow, and the names of consumer groups (nothing of ours reads by them).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::keyspace::Text;

/// `<ms>-<sequence>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) ms: u64,
    pub(super) sequence: u64,
}

impl EntryId {
    pub(super) const MAX: EntryId = EntryId { ms: u64::MAX, sequence: u64::MAX };

    /// The id behind this one; `None` behind the last.
    pub(super) fn next(self) -> Option<EntryId> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(EntryId { sequence, ..self }),
            None => Some(EntryId { ms: self.ms.checked_add(1)?, sequence: 0 }),
        }
    }

    /// The id before this one; `None` before the first.
    pub(super) fn previous(self) -> Option<EntryId> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(EntryId { sequence, ..self }),
            None => Some(EntryId { ms: self.ms.checked_sub(1)?, sequence: u64::MAX }),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

/// See the module. An empty stream stays: it knows its last id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// Fields and values in turn.
    pub(super) entries: BTreeMap<EntryId, Vec<Text>>,
    /// The greatest id there ever was; a new one is greater, whatever the clock shows.
    pub(super) last: EntryId,
    pub(super) groups: BTreeSet<Text>,
}
