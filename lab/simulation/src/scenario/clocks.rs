//! Which clocks a run may set back. Never draws anything.

use super::faults::Fault;
use super::shape::{Planned, Sale, Shape};

impl Shape {
    /// Where a sale or a line waits for Redis' clock, one that is set back has it wait for longer than anybody does.
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
