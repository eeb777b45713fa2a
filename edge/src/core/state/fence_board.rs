//! What the cores of one process tell each other of the fences: until when the process is current, how far the topic was read,
//! and how far each core is done with what was fenced off.
//!
//! The first core reads the topic and writes here; every core says for itself how far it is, since one that has not seen a
//! fence yet may still be asking. What a fence says of its product stands beside the product's sight ([`super::board`]) *before*
//! the topic counts as read up to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flux_protocol::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub struct FenceBoard {
    /// µs; the process is current before this. 0: it is not.
    current_until: AtomicU64,
    /// Some core has asked to be let go of last ([`FenceBoard::leave`]).
    is_leaving: AtomicBool,
    progress: Mutex<Progress>,
}

/// Offsets, all of the log that is read now.
#[derive(Debug, Default)]
struct Progress {
    /// Everything below was read.
    read_to: i64,
    /// By core: nothing is under way in it of what a fence below this forbids. [`LEFT`] of one that is done for good.
    drained: Vec<i64>,
}

/// Of a core that has ended its work.
const LEFT: i64 = i64::MAX;

impl FenceBoard {
    /// A core more, before it is asked anything. Returns its place.
    pub(crate) fn join(&self) -> usize {
        let mut progress = self.progress();
        // It has sold nothing, and sees every fence that was read.
        let read_to = progress.read_to;
        progress.drained.push(read_to);
        progress.drained.len() - 1
    }

    /// What the first core has read: up to `read_to`, and until when the process is current by that.
    pub(crate) fn note_read(&self, read_to: i64, current_until: Option<Instant>) {
        self.progress().read_to = read_to;
        self.current_until.store(current_until.map_or(0, Instant::as_micros), Ordering::Release);
    }

    /// The log is another one: what was read, and who is done with what, is of the one before.
    pub(crate) fn handle_new_log(&self) {
        self.current_until.store(0, Ordering::Release);
        let mut progress = self.progress();
        progress.read_to = 0;
        progress.drained.iter_mut().filter(|drained| **drained != LEFT).for_each(|drained| *drained = 0);
    }

    /// The core at this place acts by every fence that was read, from here on: what it had under way of what those forbid is
    /// answered by nothing better than was said before.
    pub(crate) fn note_obeyed(&self, place: usize) {
        let mut progress = self.progress();
        let read_to = progress.read_to;
        if let Some(drained) = progress.drained.get_mut(place).filter(|drained| **drained != LEFT) {
            *drained = read_to;
        }
    }

    /// The core at this place has nothing under way any more, and takes nothing new.
    pub(crate) fn leave(&self, place: usize) {
        self.is_leaving.store(true, Ordering::Release);
        if let Some(drained) = self.progress().drained.get_mut(place) {
            *drained = LEFT;
        }
    }

    /// Whether all cores have left.
    pub(crate) fn have_all_left(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire) && self.progress().drained.iter().all(|drained| *drained == LEFT)
    }

    /// Nothing is under way in any core of what a fence below this offset forbids.
    pub(crate) fn drained_to(&self) -> i64 {
        let progress = self.progress();
        progress.drained.iter().copied().min().unwrap_or(0).min(progress.read_to)
    }

    /// Whether the process is current: there is no fence that it does not know of and that was waited out.
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        now.as_micros() < self.current_until.load(Ordering::Acquire)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_core_says_how_far_the_process_is() {
        let board = FenceBoard::default();
        board.note_read(7, None);
        let (first, second) = (board.join(), board.join());
        assert_eq!(board.drained_to(), 7, "who joins has sold nothing");
        board.note_read(9, None);
        board.note_obeyed(first);
        assert_eq!(board.drained_to(), 7);
        board.note_obeyed(second);
        assert_eq!(board.drained_to(), 9);
        board.handle_new_log();
        assert_eq!(board.drained_to(), 0);
        board.note_read(3, None);
        board.note_obeyed(first);
        assert_eq!(board.drained_to(), 0, "of the log before");
        board.leave(second);
        assert_eq!(board.drained_to(), 3);
        assert!(!board.have_all_left());
        board.leave(first);
        board.note_obeyed(first);
        assert!(board.have_all_left());
        assert_eq!(board.drained_to(), 3);
    }

    #[test]
    fn it_is_current_until_a_moment() {
        let (board, at) = (FenceBoard::default(), Instant::from_micros);
        assert!(!board.is_current(at(0)));
        board.note_read(1, Some(at(500)));
        assert!(board.is_current(at(499)) && !board.is_current(at(500)));
        board.handle_new_log();
        assert!(!board.is_current(at(499)));
    }
}
