//! What one core has to tell Redis of one sale's line, between two leases of tokens.
//!
//! A few counts and three sketches, 6 KiB whatever the number of visitors. Never decides anything.

use smallvec::SmallVec;

use super::distinct::Distinct;
use super::limits::{ARRIVALS_FORGOTTEN_US, REPORT_SLOTS_MAX, TICKS};
use super::place::{Place, Rank, Slot};

/// Cohorts that differ: those that are waited for, and one for all before them.
const COHORTS_MAX: usize = TICKS + 1;

/// Counts since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Called visitors who have come to order for the first time, by the tick in which they were called.
    pub arrived: SmallVec<[(u64, u64); COHORTS_MAX]>,
    /// Those of them who were given a token.
    pub served: u64,
    /// New places given, by slot.
    pub issued: SmallVec<[(Slot, u64); REPORT_SLOTS_MAX]>,
}

impl Report {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.served == 0 && self.issued.is_empty()
    }
}

/// Gathers one core's counts.
#[derive(Debug, Default)]
pub struct Reporter {
    /// Sketches count in fractions; the whole part is reported, the rest waits.
    arrived: Sums<u64, COHORTS_MAX>,
    served: f64,
    issued: Sums<Slot, REPORT_SLOTS_MAX>,
    /// Who was given a place in `slot`.
    places: Distinct,
    slot: Slot,
    /// Who has come, and who was served, since `since_us`.
    comers: Distinct,
    buyers: Distinct,
    since_us: u64,
}

impl Reporter {
    /// A visitor without a ticket was given a place.
    pub fn handle_issued(&mut self, place: Place) {
        if place.slot > self.slot {
            self.slot = place.slot;
            self.places.clear();
        }
        self.issued.add(place.slot, self.places.insert(place.rank));
    }

    /// A called visitor has come whose ticket does not say that they came before. `tick`: when they were called
    /// ([`View::cohort`](super::View::cohort)).
    pub fn handle_arrived(&mut self, now_us: u64, tick: u64, rank: Rank) {
        if now_us.abs_diff(self.since_us) >= ARRIVALS_FORGOTTEN_US {
            self.since_us = now_us;
            self.comers.clear();
            self.buyers.clear();
        }
        self.arrived.add(tick, self.comers.insert(rank));
    }

    /// A called visitor was given a token.
    pub fn handle_served(&mut self, rank: Rank) {
        self.served += self.buyers.insert(rank);
    }

    /// What is to be told; it counts as told.
    pub fn take(&mut self) -> Report {
        Report { arrived: self.arrived.take(), served: take_whole(&mut self.served), issued: self.issued.take() }
    }

    /// The call that carried a report failed, or its reply was lost. If Redis took it after all its people count twice:
    /// the line passes the double as it passes those who left, while forgetting them would call others before them.
    pub fn put_back(&mut self, report: &Report) {
        self.served += report.served as f64;
        report.arrived.iter().for_each(|(tick, count)| self.arrived.add(*tick, *count as f64));
        report.issued.iter().for_each(|(slot, count)| self.issued.add(*slot, *count as f64));
    }
}

/// A few sums, each under a number that rises with time.
#[derive(Debug, Default)]
struct Sums<K, const MAX: usize> {
    sums: SmallVec<[(K, f64); MAX]>,
    /// What rounding has left of what was taken: goes to the next.
    rest: f64,
}

impl<K: Copy + PartialEq, const MAX: usize> Sums<K, MAX> {
    fn add(&mut self, under: K, rise: f64) {
        if rise == 0.0 {
            return;
        }
        if let Some((_, sum)) = self.sums.iter_mut().find(|(held, _)| *held == under) {
            *sum += rise;
        } else if self.sums.len() < MAX {
            self.sums.push((under, rise));
        } else {
            // Full because Redis was away for seconds: what came since is as one.
            self.sums[MAX - 1].1 += rise;
        }
    }

    fn take(&mut self) -> SmallVec<[(K, u64); MAX]> {
        let mut counts = SmallVec::new();
        for (under, sum) in self.sums.drain(..) {
            self.rest += sum;
            let count = take_whole(&mut self.rest);
            if count > 0 {
                counts.push((under, count));
            }
        }
        counts
    }
}

fn take_whole(sum: &mut f64) -> u64 {
    let count = sum.floor();
    *sum -= count;
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Seed;

    fn spread(number: u32) -> Rank {
        Seed::new([7; 32]).rank(&number.to_be_bytes())
    }

    #[test]
    fn a_report_is_told_once_or_put_back_whole() {
        let mut reporter = Reporter::default();
        assert!(reporter.take().is_empty());
        for (slot, number) in [(0, 1), (0, 2), (0, 3), (2, 1), (2, 2), (2, 3), (2, 1), (2, 2)] {
            reporter.handle_issued(Place { slot, rank: spread(number) });
        }
        reporter.handle_arrived(5, 40, 1);
        reporter.handle_arrived(6, 40, 1);
        reporter.handle_arrived(6, 41, 2);
        reporter.handle_served(1);
        let report = reporter.take();
        assert_eq!(
            (&report.arrived[..], report.served, &report.issued[..]),
            (&[(40, 1), (41, 1)][..], 1, &[(0, 3), (2, 3)][..])
        );
        reporter.put_back(&report);
        assert_eq!(reporter.take(), report);
        assert!(reporter.take().is_empty());
    }

    #[test]
    fn nothing_is_lost_to_fractions_or_to_a_long_silence() {
        let mut reporter = Reporter::default();
        let mut told = 0;
        for number in 0..40_000 {
            reporter.handle_issued(Place { slot: number / 1000, rank: spread(number) });
            if number % 10 == 0 && number < 20_000 {
                told += reporter.take().issued.iter().map(|(_, count)| count).sum::<u64>();
            }
        }
        let rest = reporter.take();
        assert_eq!(rest.issued.len(), REPORT_SLOTS_MAX);
        told += rest.issued.iter().map(|(_, count)| count).sum::<u64>();
        assert!(told.abs_diff(40_000) < 1200, "{told}");
    }

    #[test]
    fn whoever_comes_again_later_counts_again() {
        let mut reporter = Reporter::default();
        for now_us in [10, 4_000_000, 6_000_000, 7_000_000] {
            reporter.handle_arrived(now_us, 3, 9);
        }
        assert_eq!(reporter.take().arrived[..], [(3, 2)], "the sketch forgets after five seconds");
    }
}
