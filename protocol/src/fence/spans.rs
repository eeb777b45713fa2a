//! How long an edge may believe what it has read, and how long a rebuild waits for edges that say nothing: the two must fit.

use std::time::Duration;

use crate::ages::PUBLISHED_AGE_MAX;
use crate::time::Instant;

/// How much faster or slower than real time a monotonic clock may run, in percent. Crystals drift by a hundredth of that, and
/// `adjtimex` slews by 0.05 % at most.
pub const CLOCK_DRIFT_PERCENT_MAX: u64 = 1;

/// The spans that edges and rebuilds must agree about. A process is built with [`Spans::SHIPPED`]; only a model has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spans {
    /// From one heartbeat of an edge process to the next.
    pub heartbeat_interval: Duration,
    /// How long an edge may sell after it *sent* a heartbeat that it has read back. A partition's leader may move meanwhile.
    pub currency: Duration,
    /// How long after an edge asked whether it may sell a 200 may be answered: an acknowledgement that comes later is word of an
    /// order that a rebuild may not have counted.
    pub answered_age: Duration,
    /// How long a rebuild waits, from when it has read its own fence back, for edges that do not say that they obey it.
    pub wait: Duration,
}

impl Spans {
    /// Those of the programs.
    pub const SHIPPED: Spans = Spans {
        heartbeat_interval: Duration::from_secs(1),
        currency: Duration::from_secs(5),
        answered_age: PUBLISHED_AGE_MAX,
        wait: Duration::from_secs(20),
    };

    /// Whether an edge that was asked at `checked` whether it may sell may still answer 200 at `now`, both on its own clock.
    pub const fn may_answer(&self, checked: Instant, now: Instant) -> bool {
        now.since(checked).as_micros() < self.answered_age.as_micros()
    }

    /// Whether everything that an edge sells without knowing of a fence is acknowledged before the wait behind it is over,
    /// where the edge's clock is slow and the rebuild's is fast by [`CLOCK_DRIFT_PERCENT_MAX`].
    ///
    /// The heartbeat that makes an edge current was sent before the fence stood in the log, or its reading would have shown
    /// the fence. So the last question is asked less than `currency` behind the fence, and its 200 less than `answered_age`
    /// behind that.
    const fn is_waited_out(&self) -> bool {
        let sold =
            (self.currency.as_micros() + self.answered_age.as_micros()) * (100 + CLOCK_DRIFT_PERCENT_MAX as u128);
        self.wait.as_micros() * (100 - CLOCK_DRIFT_PERCENT_MAX as u128) >= sold
    }
}

const _: () = assert!(Spans::SHIPPED.is_waited_out());
// Three heartbeats may be lost, or a leader of the partition may move, and nobody is refused.
const _: () = assert!(Spans::SHIPPED.heartbeat_interval.as_micros() * 4 < Spans::SHIPPED.currency.as_micros());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_leaves_no_room_for_drift_is_too_short() {
        let sold = Spans::SHIPPED.currency + Spans::SHIPPED.answered_age;
        assert!(!Spans { wait: sold, ..Spans::SHIPPED }.is_waited_out());
        assert!(!Spans { wait: sold + Duration::from_millis(380), ..Spans::SHIPPED }.is_waited_out());
        assert!(Spans { wait: sold + Duration::from_millis(390), ..Spans::SHIPPED }.is_waited_out());
    }

    #[test]
    fn a_200_is_young() {
        let checked = Instant::from_micros(7);
        let at_the_end = checked + Spans::SHIPPED.answered_age;
        assert!(Spans::SHIPPED.may_answer(checked, checked));
        assert!(Spans::SHIPPED.may_answer(checked, at_the_end - Duration::from_micros(1)));
        assert!(!Spans::SHIPPED.may_answer(checked, at_the_end));
    }
}
