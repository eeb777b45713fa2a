//! Waiting times that grow and jitter, drawn from a seed. Nothing else here is random.

use std::time::Duration;

use super::limits::{RECONNECT_BACKOFF_MAX, RECONNECT_BACKOFF_MIN};

/// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter, no more.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that repeats itself for the same seed.
    pub const fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

/// How long to wait after `failures` failures in a row (1 or more): doubling from 50 ms to 1 s, of which the upper half is
/// drawn, so that a crowd of cores does not knock at a broker together.
pub fn backoff(failures: u32, random: &mut SplitMix64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = (RECONNECT_BACKOFF_MIN * 2).saturating_mul(1 << doublings).min(RECONNECT_BACKOFF_MAX);
    let half = u64::try_from(ceiling.as_micros() / 2).unwrap_or(u64::MAX);
    Duration::from_micros(half + random.below(half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_from_50_ms_to_1_s_and_stays_there() {
        let mut random = SplitMix64::new(7);
        for failures in 0..100 {
            let wait = backoff(failures, &mut random);
            assert!((RECONNECT_BACKOFF_MIN..=RECONNECT_BACKOFF_MAX).contains(&wait), "{failures}: {wait:?}");
        }
        assert!(backoff(1, &mut random) <= RECONNECT_BACKOFF_MIN * 2);
        assert!(backoff(60, &mut random) >= RECONNECT_BACKOFF_MAX / 2);
    }

    #[test]
    fn jitters() {
        let mut random = SplitMix64::new(7);
        let waits: std::collections::HashSet<Duration> = (0..20).map(|_| backoff(3, &mut random)).collect();
        assert!(waits.len() > 15);
    }
}
