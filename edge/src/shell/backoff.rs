//! How long to rest before the next attempt: doubling, with jitter, so that a thousand edges do not come back at once.

use std::time::Duration;

use crate::limits::shell::{LINK_BACKOFF_MAX, LINK_BACKOFF_MIN};

/// The rests between the attempts of one link.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    state: u64,
}

impl Backoff {
    /// Starts with the shortest rest.
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { next: LINK_BACKOFF_MIN, state: seed }
    }

    /// The rest before the next attempt: between half of the current step and all of it.
    pub(crate) fn rest(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LINK_BACKOFF_MAX);
        // splitmix64 (Steele, Lea, Flood 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let half_us = u64::try_from(step.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        step / 2 + Duration::from_micros(mixed % half_us)
    }

    /// The last attempt was a success that lasted.
    pub(crate) fn reset(&mut self) {
        self.next = LINK_BACKOFF_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_the_bound_and_differ_by_seed() {
        let rests = |seed| {
            let mut backoff = Backoff::new(seed);
            std::iter::repeat_with(move || backoff.rest()).take(12).collect::<Vec<_>>()
        };
        let mut step = LINK_BACKOFF_MIN;
        for rest in rests(7) {
            assert!(rest >= step / 2 && rest <= step, "{rest:?} in a step of {step:?}");
            step = (step * 2).min(LINK_BACKOFF_MAX);
        }
        assert_ne!(rests(7), rests(8));
    }
}
