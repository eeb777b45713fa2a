//! Which clocks a run may set back. Never draws anything.

use super::faults::Fault;
use super::shape::{Planned, Sale, Shape};

impl Shape {
    /// Where a sale or a line waits for Redis' clock, one that is set back has it wait for longer than anybody does: as long as it was
    /// set back, since a line calls by seconds that are over (seed 5001116; docs/QUEUE.md says what that means for a shop). Asked of
    /// a shape in which nothing more is drawn, its faults in order of time: a sale that follows another may be the first that waits,
    /// and a clock that was set forward twice goes back, too, where the second time is less.
    pub(super) fn let_no_clock_go_back(&mut self) {
        let waits = |sale: &Sale| sale.is_fair || !sale.opens_after.is_zero();
        let follows = |planned: &Planned| matches!(&planned.fault, Fault::SaleReopened(next) if waits(next));
        if !self.sales.iter().any(waits) && !self.faults.iter().any(follows) {
            return;
        }
        let mut latest = 0;
        for planned in &mut self.faults {
            if let Fault::RedisClock(offset) = &mut planned.fault {
                *offset = offset.abs().max(latest);
                latest = *offset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn offsets_of_redis(shape: &Shape) -> Vec<i64> {
        let offset = |planned: &Planned| match planned.fault {
            Fault::RedisClock(offset) => Some(offset),
            _ => None,
        };
        shape.faults.iter().filter_map(offset).collect()
    }

    /// Whether a sale or a line waits for Redis' clock, from the start or later.
    fn waits(shape: &Shape) -> bool {
        let opened_later = shape.faults.iter().filter_map(|planned| match &planned.fault {
            Fault::SaleReopened(sale) => Some(&**sale),
            _ => None,
        });
        shape.sales.iter().chain(opened_later).any(|sale| sale.is_fair || !sale.opens_after.is_zero())
    }

    #[test]
    fn no_shape_sets_a_clock_back_for_which_somebody_waits() {
        for draw in [Shape::usual, Shape::swarm] {
            let (mut with_waiters, mut set_back) = (0, 0);
            for seed in 0..20_000 {
                let shape = draw(&mut Random::new(seed));
                let offsets = offsets_of_redis(&shape);
                let goes_back = offsets.first().is_some_and(|first| *first < 0) || !offsets.is_sorted();
                with_waiters += u32::from(waits(&shape) && offsets.len() > 1);
                set_back += u32::from(goes_back);
                assert!(!goes_back || !waits(&shape), "seed {seed}: {offsets:?}");
            }
            assert!(with_waiters > 0 && set_back > 0, "{with_waiters} and {set_back}: such shapes are drawn");
        }
    }
}
