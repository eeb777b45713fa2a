//! The crowd that tests and figures share.

use crate::world::{Random, SECOND, Scenario, Visitor};

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
