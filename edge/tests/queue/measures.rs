//! What is measured of a played sale, and scenarios that tests and figures share.

use crate::world::{Played, Random, SECOND, Scenario, Visitor};

impl Scenario {
    /// 100,000 people at 5,000 orders a second on four edges: 70 of a hundred before the sale opens, the others within
    /// ten seconds after, half of them at the borders of slots.
    pub(crate) fn rush(seed: u64, no_shows_percent: u64) -> Scenario {
        let opens_us = 10 * SECOND;
        let mut random = Random(seed);
        let visitors = (0..100_000).map(|_| {
            let comes_us = if random.percent(70) {
                SECOND + random.below(opens_us - SECOND)
            } else if random.percent(50) {
                opens_us + random.below(10 * SECOND)
            } else {
                // A microsecond before the border, on it, or after it.
                opens_us + random.below(10) * SECOND + random.below(3) - 1
            };
            Visitor { comes_us, leaves: random.percent(no_shows_percent), ..Visitor::default() }
        });
        Scenario {
            seed,
            edges: 4,
            rate: 5000,
            burst: 5000,
            stock: 1_000_000,
            opens_us,
            ends_us: 120 * SECOND,
            visitors: visitors.collect(),
            outages: Vec::new(),
            lost_percent: 0,
            stray_percent: 10,
            farthest_us: 20_000,
            first_design: None,
        }
    }
}

impl Played {
    /// When the last place was called.
    pub(crate) fn last_call_us(&self) -> u64 {
        self.visitors.iter().filter_map(|visitor| visitor.called_us).max().expect("somebody was called")
    }

    /// Tokens used of those that came, in percent, from a second after the opening until the last one was called.
    pub(crate) fn use_percent(&self, opens_us: u64, rate: u64) -> f64 {
        let (from, to) = (opens_us + SECOND, self.last_call_us());
        let used = self.tokens_us.iter().filter(|at| (from..to).contains(*at)).count();
        used as f64 * 100.0 / (rate as f64 * (to - from) as f64 / SECOND as f64)
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
    /// long they stood at the door at most; and by how many later places they were overtaken there at most.
    pub(crate) fn at_the_door(&self) -> (u64, usize) {
        let mut places: Vec<_> = self.visitors.iter().filter_map(|visitor| Some((visitor.place?, visitor))).collect();
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

    /// Whether those of one slot were called by lot and those of slots by time: no earlier place was called later.
    pub(crate) fn was_called_by_place(&self) -> bool {
        let mut called: Vec<_> =
            self.visitors.iter().filter_map(|visitor| Some((visitor.place?, visitor.called_us?))).collect();
        called.sort_unstable();
        called.is_sorted_by_key(|(_, at)| *at)
    }
}
