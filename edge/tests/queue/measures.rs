//! What is measured of a played sale.

use crate::world::{Played, SECOND};

impl Played {
    /// When the last place was called.
    pub(crate) fn last_call_us(&self) -> u64 {
        self.visitors.iter().filter_map(|visitor| visitor.called_us).max().expect("somebody was called")
    }

    /// Tokens used of those that there were, in percent, from a second after the opening (until when nobody can know that
    /// they were called), with the bucket full, for as long as enough people wait: as many as a second serves.
    pub(crate) fn use_percent(&self, opens_us: u64, rate: u64, burst: u64) -> f64 {
        let mut changes: Vec<(u64, i64)> = Vec::new();
        for visitor in self.visitors.iter().filter(|visitor| visitor.place.is_some()) {
            changes.push((visitor.given_us, 1));
            changes.extend(visitor.called_us.map(|at| (at, -1)));
        }
        changes.sort_unstable();
        let (mut waiting, mut to) = (0, 0);
        for (at, change) in changes {
            waiting += change;
            if waiting >= rate as i64 {
                to = at;
            }
        }
        let from = opens_us + SECOND;
        let used = self.tokens_us.iter().filter(|at| (from..to).contains(*at)).count();
        // A fifth of a second's tokens is no part of the bucket but of its leases.
        let there_were = rate as f64 * ((to - from) as f64 / SECOND as f64 - 0.2) + burst as f64;
        used as f64 * 100.0 / there_were
    }

    /// By how many more than `rate·t + burst` tokens were used in the worst span of any length; 0 where in none.
    pub(crate) fn over_the_bound(&self, rate: u64, burst: u64) -> f64 {
        let (mut least, mut worst) = (f64::MAX, 0.0f64);
        for (index, at) in self.tokens_us.iter().enumerate() {
            let level = index as f64 - rate as f64 * *at as f64 / SECOND as f64;
            least = least.min(level);
            worst = worst.max(level - least + 1.0 - burst as f64);
        }
        worst
    }

    /// Of those who came when they were called (within 2.5 s: the document's second, the page's, and the way): for how
    /// long they waited for a token at most; and by how many later places they were overtaken meanwhile at most.
    pub(crate) fn at_the_door(&self) -> (u64, usize) {
        let honest = self.visitors.iter().filter(|visitor| visitor.cheats == 0);
        let mut places: Vec<_> = honest.filter_map(|visitor| Some((visitor.place?, visitor))).collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        let mut served: Vec<u64> = Vec::new();
        let (mut longest, mut overtaken) = (0, 0);
        // From the end of the line: `served` holds when each of those behind was served, in order.
        for (_, visitor) in places.into_iter().rev() {
            let (Some(called), Some(came), Some(at)) = (visitor.called_us, visitor.came_us, visitor.served_us) else {
                continue;
            };
            if came - called <= 5 * SECOND / 2 {
                longest = longest.max(at - came);
                let before = |us: u64| served.partition_point(|served| *served < us);
                overtaken = overtaken.max(before(at) - before(came));
            }
            served.insert(served.partition_point(|served| *served < at), at);
        }
        (longest, overtaken)
    }

    /// Whether nobody was called after a later place, but for those who were given theirs when it was called already.
    pub(crate) fn was_called_by_place(&self) -> bool {
        let mut called: Vec<_> = self
            .visitors
            .iter()
            .filter_map(|visitor| Some((visitor.place?, visitor.called_us?, visitor.given_us)))
            .collect();
        called.sort_unstable();
        let mut first_behind = u64::MAX;
        called.iter().rev().all(|(_, at, given)| {
            let by_place = *at <= first_behind || *given >= first_behind;
            first_behind = first_behind.min(*at);
            by_place
        })
    }

    /// How many were served.
    pub(crate) fn served(&self) -> usize {
        self.visitors.iter().filter(|visitor| visitor.served_us.is_some()).count()
    }
}
