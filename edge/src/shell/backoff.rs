//! How long to rest before the next attempt: doubling, with jitter, so that a thousand edges do not come back at once.

use std::time::Duration;

use crate::limits::shell::{LINK_BACKOFF_MAX, LINK_BACKOFF_MIN};

/// The rests between the attempts of one link.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    /// From the first attempt on any rest up to the longest may be drawn.
    is_spread: bool,
    state: u64,
}

impl Backoff {
    /// Starts with the shortest rest.
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { next: LINK_BACKOFF_MIN, is_spread: false, state: seed }
    }

    /// Of a link with TLS. A server that has restarted makes some hundreds of handshakes a second, on the thread that answers
    /// calls: the cores of all edges spread theirs over [`LINK_BACKOFF_MAX`] from the first attempt on.
    pub(crate) fn spread(seed: u64) -> Backoff {
        Backoff { is_spread: true, ..Backoff::new(seed) }
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
        let (least, most) = if self.is_spread { (LINK_BACKOFF_MIN / 2, LINK_BACKOFF_MAX) } else { (step / 2, step) };
        let span_us = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_micros(mixed % span_us)
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

    #[test]
    fn a_thousand_links_with_tls_do_not_come_back_at_once() {
        let mut tenths = [0; 10];
        for seed in 0..1_000 {
            let rest = Backoff::spread(seed).rest();
            assert!(rest >= LINK_BACKOFF_MIN / 2 && rest <= LINK_BACKOFF_MAX);
            tenths[(rest.as_millis() as usize * 10 / LINK_BACKOFF_MAX.as_millis() as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|links| *links < 200), "{tenths:?}");
    }
}
