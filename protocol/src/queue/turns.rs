//! Whose places are used up, as far as one core remembers.
//!
//! A place is used up by being served: all places that a user was given until then are (`edge/lua/reserve.lua` notes it
//! by user, and has the last word). What a core remembers of it only spares Redis and the bucket the answer that they
//! gave a moment ago. So it is a fixed number of entries, and a user who is forgotten costs one question.

use super::limits::TURNS_REMEMBERED;
use super::place::Slot;
use crate::planted::{Bug, is_planted};
use crate::rare::{Rare, is_taken};

/// The last users that were served, by their mark ([`Seed::mark`](super::Seed::mark)): each has one entry that may be theirs.
#[derive(Clone)]
pub struct Turns {
    entries: Box<[Entry; TURNS_REMEMBERED]>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    /// The user's mark in two halves, so that an entry takes twelve bytes; both 0: nobody's.
    mark: [u32; 2],
    until: Slot,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { entries: Box::new([Entry::default(); TURNS_REMEMBERED]) }
    }
}

impl Turns {
    /// All places of this user up to that slot are used up.
    pub fn handle_used(&mut self, mark: u64, until: Slot) {
        let halves = halves(mark);
        let entry = self.entry_of(mark);
        let before = if entry.mark == halves { entry.until } else { 0 };
        *entry = Entry { mark: halves, until: until.max(before) };
    }

    /// The slot up to which this user's places are used up, where one of that slot is; `None`: not that this core knows.
    pub fn used_up(&mut self, mark: u64, slot: Slot) -> Option<Slot> {
        let entry = *self.entry_of(mark);
        let is_used = entry.mark == halves(mark) && slot <= entry.until && !is_planted(Bug::PlaceNeverUsedUp);
        (is_used && !is_taken(Rare::TurnForgotten)).then_some(entry.until)
    }

    fn entry_of(&mut self, mark: u64) -> &mut Entry {
        &mut self.entries[mark as usize % TURNS_REMEMBERED]
    }
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

/// Never both 0.
fn halves(mark: u64) -> [u32; 2] {
    [(mark >> 32) as u32, mark as u32 | 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_up_to_the_slot_are_used_up_and_later_ones_are_not() {
        let mut turns = Turns::default();
        assert_eq!(turns.used_up(7, 0), None);
        turns.handle_used(7, 3);
        turns.handle_used(7, 2);
        assert_eq!([0, 3, 4].map(|slot| turns.used_up(7, slot)), [Some(3), Some(3), None]);
        assert_eq!(turns.used_up(7 + TURNS_REMEMBERED as u64, 0), None, "another user of the same entry");
        turns.handle_used(7 + TURNS_REMEMBERED as u64, 0);
        assert_eq!(turns.used_up(7, 0), None, "forgotten, which costs one question");
        assert!(size_of::<[Entry; TURNS_REMEMBERED]>() <= 6 << 10);
    }
}
