//! When a caller who is turned away is asked to come back: in a second where few are, later and by lot where many are.
//!
//! The waiting room's page spreads its tries by itself. Other callers do what `retry-after` says, to the second; told the same,
//! a crowd that came together would come back together. So each is told a second of its own out of a span, and the span grows
//! while more come than a core answers without effort, and shrinks when they do not. It never says how long somebody waits:
//! who comes back is decided about anew.

use std::cell::Cell;

use crate::limits::{RETRY_AFTER_SECONDS_MAX, TURNED_AWAY_MAX};

/// The span of one core, in seconds. Interior, since the one who writes an answer changes nothing else.
#[derive(Debug)]
pub(crate) struct RetryAfter {
    /// Callers are told from 1 to this.
    span: Cell<u32>,
    /// Callers told since the last round.
    told: Cell<u32>,
    /// A state of xorshift, never zero.
    lot: Cell<u32>,
}

impl Default for RetryAfter {
    fn default() -> RetryAfter {
        RetryAfter { span: Cell::new(1), told: Cell::new(0), lot: Cell::new(0x9e37_79b9) }
    }
}

impl RetryAfter {
    /// Seconds for one caller.
    #[inline]
    pub(crate) fn draw(&self) -> u32 {
        self.told.set(self.told.get().wrapping_add(1));
        if self.span.get() == 1 { 1 } else { self.draw_of_span() }
    }

    #[cold]
    fn draw_of_span(&self) -> u32 {
        let mut lot = self.lot.get();
        lot ^= lot << 13;
        lot ^= lot >> 17;
        lot ^= lot << 5;
        self.lot.set(lot);
        1 + lot % self.span.get()
    }

    /// Called about once a second. Doubles the span where too many came, halves it where a quarter of them or fewer did: between
    /// the two it stands, so that a crowd of one size finds one span.
    pub(crate) fn note_round(&self) {
        let (told, span) = (self.told.replace(0), self.span.get());
        if told > TURNED_AWAY_MAX {
            self.span.set((span * 2).min(RETRY_AFTER_SECONDS_MAX));
        } else if told <= TURNED_AWAY_MAX / 4 {
            self.span.set((span / 2).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_told_one_second() {
        let retry = RetryAfter::default();
        for _ in 0..20 {
            assert!((0..TURNED_AWAY_MAX).all(|_| retry.draw() == 1));
            retry.note_round();
        }
    }

    /// Everybody comes back when they were told, and is turned away again.
    #[test]
    fn a_crowd_that_came_together_comes_back_spread_and_no_more_than_is_answered_without_effort() {
        let retry = RetryAfter::default();
        let crowd = 8 * TURNED_AWAY_MAX;
        let mut comes_at = vec![0_u32; 1000];
        comes_at[0] = crowd;
        for second in 0..200 {
            let come = std::mem::take(&mut comes_at[second]);
            for _ in 0..come {
                comes_at[second + retry.draw() as usize] += 1;
            }
            retry.note_round();
            assert!(second < 60 || come <= 2 * TURNED_AWAY_MAX, "{come} in second {second}");
        }
        let seconds: std::collections::BTreeSet<u32> = (0..1000).map(|_| retry.draw()).collect();
        assert!(seconds.len() >= 8 && seconds.iter().all(|seconds| (1..=RETRY_AFTER_SECONDS_MAX).contains(seconds)));
        // They have gone.
        (0..10).for_each(|_| retry.note_round());
        assert_eq!(retry.draw(), 1);
    }
}
