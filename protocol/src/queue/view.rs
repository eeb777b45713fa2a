//! What one core knows of a sale's line, and what it says to a visitor by it.
//!
//! All of it comes with the replies to leases of tokens, and is a moment old. Never moves the watermark, and never makes
//! a token: whoever may order still has to find one.

use std::time::Duration;

use super::limits::FREE_US;
use super::place::{Place, Slot, Watermark, slot_at};
use crate::time::Instant;

/// What a visitor is told at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Called: take a token. None at hand: try again in a second, with the same ticket marked as come.
    Called,
    /// Nobody waits: take a token. None at hand: go to the line.
    Free,
    /// To the line: keep the ticket that was shown, or be given one.
    Waits,
}

/// The line as the last reply told it.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    watermark: Watermark,
    free_until: Instant,
    /// Redis' clock, µs since the Unix epoch, when the reply was received: no later than it then stood.
    redis_us: u64,
    received: Instant,
    opens_us: u64,
}

impl View {
    /// A reply: where the watermark stands, whether nobody waits, Redis' clock and when the sale opens on it (µs since
    /// the Unix epoch). The watermark never moves back here, not even where Redis lost its last writes.
    pub fn handle_reply(
        &mut self,
        asked: Instant,
        received: Instant,
        watermark: Watermark,
        is_free: bool,
        redis_us: u64,
        opens_us: u64,
    ) {
        self.watermark = self.watermark.max(watermark);
        self.free_until = if is_free { asked + Duration::from_micros(FREE_US) } else { Instant::default() };
        (self.redis_us, self.received, self.opens_us) = (redis_us, received, opens_us);
    }

    /// How far the line was called.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Whether anybody may be waiting: then Redis is to be asked every
    /// [`REPORT_INTERVAL_US`](super::limits::REPORT_INTERVAL_US), whether or not tokens are wanted.
    pub fn is_free(&self, now: Instant) -> bool {
        now < self.free_until
    }

    /// Redis' clock, as far as this core knows it; µs since the Unix epoch.
    pub fn redis_us(&self, now: Instant) -> u64 {
        self.redis_us + now.since(self.received).as_micros() as u64
    }

    /// What to do with a visitor who shows a good ticket for that place, or none.
    pub fn standing(&self, now: Instant, place: Option<Place>) -> Standing {
        match place {
            Some(place) if self.watermark.has_called(place) => Standing::Called,
            _ if self.is_free(now) => Standing::Free,
            _ => Standing::Waits,
        }
    }

    /// The slot of whoever is given a place now: the end of the line.
    pub fn issuing(&self, now: Instant) -> Slot {
        self.watermark.issuing(slot_at(self.redis_us(now), self.opens_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENS_US: u64 = 1_764_590_400_000_000;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(9_000_000 + ms * 1000)
    }

    fn mark(slot: Slot, rank: u32) -> Watermark {
        Watermark(Place { slot, rank })
    }

    #[test]
    fn the_clock_is_redis_own_carried_on_and_a_reply_in_travel_makes_it_late_never_early() {
        let mut view = View::default();
        view.handle_reply(at(0), at(40), mark(0, 0), false, OPENS_US - 100_000, OPENS_US);
        assert_eq!(view.issuing(at(40)), 0);
        assert_eq!((view.issuing(at(139)), view.issuing(at(140)), view.issuing(at(1140))), (0, 1, 2));
    }

    #[test]
    fn called_comes_before_free_and_free_ends_with_its_lease() {
        let mut view = View::default();
        view.handle_reply(at(0), at(40), mark(2, 5), true, OPENS_US + 2_000_000, OPENS_US);
        let (called, later) = (Place { slot: 2, rank: 4 }, Place { slot: 2, rank: 5 });
        assert_eq!(view.standing(at(199), Some(called)), Standing::Called);
        assert_eq!(view.standing(at(199), Some(later)), Standing::Free);
        assert_eq!(view.standing(at(199), None), Standing::Free);
        assert_eq!(view.standing(at(200), None), Standing::Waits, "200 ms from when it was asked");
        view.handle_reply(at(250), at(260), mark(1, 0), false, OPENS_US + 2_200_000, OPENS_US);
        assert_eq!(view.watermark(), mark(2, 5), "never back");
        assert_eq!(view.standing(at(260), Some(later)), Standing::Waits);
    }
}
