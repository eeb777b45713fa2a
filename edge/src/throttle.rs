//! How often one caller may come: a token bucket for each address or user, in memory of a fixed size, shared by all cores of an
//! edge.
//!
//! A caller's connections are spread over the cores, so a limit by core would give a caller with one connection a part of the
//! rate, and one with many all of it. The table is shared, and every bucket in it is one atomic word: no lock, no wait, and
//! nothing is allocated once it is made.
//!
//! A bucket is the time at which it would be full again (GCRA, ITU-T I.371): a bucket whose time has come says nothing, so
//! its place is free. Callers are told apart by a keyed hash, which nobody can aim at.
//!
//! **What the size means.** A set has seven buckets, and one that is shared. A newcomer takes a free place; else that of the
//! caller who owes least, where that is one request at most: a flood of callers forgives them one request each, and never
//! empties the bucket of one who came often. Where all seven owe more, whoever comes new to that set is counted in the shared
//! bucket: as many are let through as one caller would be, and they answer for each other. That needs more than
//! [`THROTTLED_CALLERS_MAX`] callers who all come more than once in the time in which a bucket fills. Two callers in one set whose
//! 24 further bits of hash are the same are one caller, too.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use flux_protocol::time::Instant;

use crate::limits::shell::THROTTLE_SETS;

/// Buckets of a set that belong to one caller each.
const OWN_BUCKETS: usize = 7;
/// Callers that a table can tell apart, if their hashes are spread evenly.
pub const THROTTLED_CALLERS_MAX: usize = THROTTLE_SETS * OWN_BUCKETS;
/// Units of time from one token to the next: the precision of a bucket.
const UNITS_PER_TOKEN: u64 = 16;
/// A bucket's word: above the hash's bits of its caller, below the time at which it is full again.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    own: [AtomicU64; OWN_BUCKETS],
    shared: AtomicU64,
}

/// The buckets of all callers. See the module.
pub struct Throttle {
    sets: Box<[Set]>,
    hash: RandomState,
    /// Tokens a second.
    rate: u64,
    /// What a full bucket holds, in units of time.
    burst_units: u64,
}

/// So much a caller owes beyond what it may: seconds until it may come again, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften {
    /// Rounded up.
    pub seconds: u32,
}

impl Throttle {
    /// A table of full buckets, which takes `rate` requests a second and `burst` at once of each caller. Its memory is taken
    /// now.
    pub fn new(rate: u64, burst: u64) -> Throttle {
        Throttle::of_sets(THROTTLE_SETS, rate, burst)
    }

    fn of_sets(sets: usize, rate: u64, burst: u64) -> Throttle {
        assert!(rate > 0 && burst > 0, "no limit is no table");
        let sets = (0..sets).map(|_| Set::default()).collect();
        Throttle { sets, hash: RandomState::new(), rate, burst_units: burst * UNITS_PER_TOKEN }
    }

    /// Takes a token of a caller's bucket.
    ///
    /// # Errors
    /// There is none. Nothing is taken then, so one who asks all the time is not locked out for longer.
    pub fn take(&self, caller: impl Hash, now: Instant) -> Result<(), TooOften> {
        let hash = self.hash.hash_one(caller);
        let set = &self.sets[hash as usize % self.sets.len()];
        let tag = hash >> TIME_BITS << TIME_BITS;
        let now = self.units(now);
        loop {
            let words: [u64; OWN_BUCKETS] = std::array::from_fn(|place| set.own[place].load(Ordering::Relaxed));
            // A word of zero is nobody's, and as good as that of the caller whose bits are zero.
            let own = words.iter().position(|word| word & !TIME_MASK == tag);
            let (place, owed) = match own {
                Some(place) => (place, self.owed(words[place], now)),
                None => {
                    let owed = words.map(|word| self.owed(word, now));
                    let place = (0..OWN_BUCKETS).min_by_key(|place| owed[*place]).expect("a set has buckets");
                    if owed[place] > UNITS_PER_TOKEN {
                        return self.take_shared(set, now);
                    }
                    (place, 0)
                }
            };
            let word = tag | self.charged(owed, now)?;
            if set.own[place].compare_exchange(words[place], word, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// Takes a token of those who have no bucket of their own.
    fn take_shared(&self, set: &Set, now: u64) -> Result<(), TooOften> {
        loop {
            let word = set.shared.load(Ordering::Relaxed);
            let charged = self.charged(self.owed(word, now), now)?;
            if set.shared.compare_exchange(word, charged, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// The time at which a bucket that owed so much is full after one more token.
    fn charged(&self, owed: u64, now: u64) -> Result<u64, TooOften> {
        let owed = owed + UNITS_PER_TOKEN;
        if owed <= self.burst_units {
            return Ok((now + owed) & TIME_MASK);
        }
        let seconds = (owed - self.burst_units).div_ceil(UNITS_PER_TOKEN * self.rate).max(1);
        Err(TooOften { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) })
    }

    /// What a bucket's caller owes, in units of time. Times begin anew after 2^40 units (79 days at the highest rate): one that
    /// seems further ahead than a bucket can owe is over.
    fn owed(&self, word: u64, now: u64) -> u64 {
        let ahead = (word & TIME_MASK).wrapping_sub(now) & TIME_MASK;
        if ahead <= self.burst_units { ahead } else { 0 }
    }

    fn units(&self, now: Instant) -> u64 {
        let units = u128::from(now.as_micros()) * u128::from(self.rate * UNITS_PER_TOKEN) / 1_000_000;
        units as u64 & TIME_MASK
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("rate", &self.rate).field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETS: usize = 1024;
    const CALLERS: u64 = (SETS * OWN_BUCKETS) as u64;

    fn throttle(rate: u64, burst: u64) -> Throttle {
        Throttle::of_sets(SETS, rate, burst)
    }

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    #[test]
    fn no_caller_gets_more_than_rate_and_burst_in_any_time() {
        for (rate, burst) in [(1, 1), (1, 5), (7, 3), (100, 20), (10_000, 600_000)] {
            let throttle = throttle(rate, burst);
            let begin = 1_000_003;
            let step = 1_000_000 / rate / 3 + 1;
            let mut passed = 0;
            for number in 0..burst + 30 {
                let now = begin + number * step;
                let admitted = throttle.take("one", at(now)).is_ok();
                passed += u64::from(admitted);
                let allowed = burst + (now - begin) * rate / 1_000_000;
                // A unit may be lost to rounding, never won.
                assert!(
                    passed <= allowed && (admitted || passed + 1 >= allowed),
                    "{rate}, {burst}: {passed} of {allowed}"
                );
            }
            assert_eq!(throttle.take("another", at(begin)), Ok(()), "each has a bucket of its own");
        }
    }

    #[test]
    fn one_who_is_refused_is_told_when_to_come_and_gets_in_then() {
        let throttle = throttle(1, 2);
        let begin = Duration::from_secs(5);
        let instant = |seconds: u64| Instant::default() + begin + Duration::from_secs(seconds);
        assert_eq!([(); 3].map(|()| throttle.take(7, instant(0))), [Ok(()), Ok(()), Err(TooOften { seconds: 1 })]);
        for _ in 0..100 {
            assert!(throttle.take(7, instant(0)).is_err(), "asking costs nothing");
        }
        assert_eq!(throttle.take(7, instant(1)), Ok(()));
        assert_eq!(throttle.take(7, instant(1)), Err(TooOften { seconds: 1 }));
    }

    #[test]
    fn times_may_begin_anew() {
        let throttle = throttle(10_000, 2);
        // Just before and just behind 2^40 units.
        let turn = (1_u64 << TIME_BITS) * 1_000_000 / (10_000 * UNITS_PER_TOKEN);
        assert_eq!([turn - 50, turn - 50, turn - 50].map(|now| throttle.take(1, at(now)).is_ok()), [true, true, false]);
        assert_eq!([turn + 60, turn + 60].map(|now| throttle.take(1, at(now)).is_ok()), [true, false]);
        assert_eq!([turn + 10_000; 3].map(|now| throttle.take(1, at(now)).is_ok()), [true, true, false]);
    }

    #[test]
    fn a_flood_of_callers_does_not_wash_away_what_one_owes() {
        let throttle = throttle(1, 4);
        let now = at(1_000_000);
        for _ in 0..4 {
            assert_eq!(throttle.take("often", now), Ok(()));
        }
        // Four times as many as there are buckets, each once: every one of them is let in, for nobody else came too often.
        for caller in 0..4 * CALLERS {
            assert_eq!(throttle.take(caller, now), Ok(()), "{caller} pays for another");
        }
        assert!(throttle.take("often", now).is_err(), "the one who owes much is remembered");
    }

    #[test]
    fn beyond_its_size_those_who_have_no_bucket_share_one_by_set() {
        let throttle = throttle(1, 4);
        let now = at(1_000_000);
        let callers = 2 * CALLERS;
        let passed = |callers: std::ops::Range<u64>| -> u64 {
            callers.map(|caller| (0..6).filter(|_| throttle.take(caller, now).is_ok()).count() as u64).sum()
        };
        let half = CALLERS / 2;
        // Sets are not filled evenly: at half of the size a few of them are full.
        let first = passed(0..half);
        assert!(first <= 4 * half && first > 4 * half / 50 * 49, "{first} of {}", 4 * half);
        let all = first + passed(half..callers);
        let most = 4 * (SETS * (OWN_BUCKETS + 1)) as u64;
        assert!(all <= most, "{all} of {most}: those beyond the size come in by their set's one bucket");
    }

    #[test]
    fn cores_that_ask_at_the_same_time_take_no_token_twice() {
        let throttle = throttle(1, 1000);
        // Made before they meet: where several make one bucket in the same instant, each of them may count once.
        assert_eq!(throttle.take("one", at(1_000_000)), Ok(()));
        let passed: usize = std::thread::scope(|scope| {
            let core = || (0..1000).filter(|_| throttle.take("one", at(1_000_000)).is_ok()).count();
            let cores: Vec<_> = (0..4).map(|_| scope.spawn(core)).collect();
            cores.into_iter().map(|core| core.join().expect("a thread")).sum()
        });
        assert_eq!(passed, 999);
    }
}
