//! Gives memory back to the operating system when a crowd of connections has left.
//!
//! What is freed goes back to mimalloc, which returns pages only as it is asked for others: an edge that is quiet after a
//! rush asks for none, and would keep what the rush took. Never called while a crowd is there, and never on an order's way.

use crate::limits::shell::{CROWD_CONNECTIONS_MIN, CROWD_LEFT_TICKS};

/// The most connections of one core that were open since it last gave memory back.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    most: usize,
    /// Ticks in a row at which half of them or more had left.
    left_ticks: u32,
}

impl Crowd {
    /// Told at each tick how many connections are open: whether memory is to be given back now. Once for each halving.
    pub(crate) fn has_left(&mut self, open: usize) -> bool {
        self.most = self.most.max(open);
        if self.most < CROWD_CONNECTIONS_MIN || open > self.most / 2 {
            self.left_ticks = 0;
            return false;
        }
        self.left_ticks += 1;
        if self.left_ticks < CROWD_LEFT_TICKS {
            return false;
        }
        *self = Crowd { most: open, left_ticks: 0 };
        true
    }
}

/// Returns the pages of this thread's heap that hold nothing.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, may be called on any thread at any time, and frees only what nobody holds.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_until_given_back(crowd: &mut Crowd, open: usize) -> Option<u32> {
        (1..=10 * CROWD_LEFT_TICKS).find(|_| crowd.has_left(open))
    }

    #[test]
    fn memory_is_given_back_once_when_half_of_a_crowd_has_left_for_good() {
        let mut crowd = Crowd::default();
        assert_eq!(ticks_until_given_back(&mut crowd, 4000), None);
        assert_eq!(ticks_until_given_back(&mut crowd, 2001), None);
        assert_eq!(ticks_until_given_back(&mut crowd, 2000), Some(CROWD_LEFT_TICKS));
        assert_eq!(ticks_until_given_back(&mut crowd, 2000), None);
        assert_eq!(ticks_until_given_back(&mut crowd, 0), Some(CROWD_LEFT_TICKS));
    }

    #[test]
    fn a_crowd_that_comes_back_at_once_has_not_left() {
        let mut crowd = Crowd::default();
        for _ in 0..10 {
            assert!(!crowd.has_left(4000));
            assert!((1..CROWD_LEFT_TICKS).all(|_| !crowd.has_left(0)));
        }
    }

    #[test]
    fn a_few_connections_are_no_crowd() {
        let mut crowd = Crowd::default();
        crowd.has_left(CROWD_CONNECTIONS_MIN - 1);
        assert_eq!(ticks_until_given_back(&mut crowd, 0), None);
    }
}
