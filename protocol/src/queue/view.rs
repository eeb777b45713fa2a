//! What one core knows of a sale's line, and what it says to a visitor by it.
//!
//! All of it comes with the replies to leases of tokens, and is a moment old. Never moves the watermark, and never
//! makes a token: a user who may order still has to find one.

use std::time::Duration;

use super::fair_queue::Moved;
use super::limits::{FREE_US, TICKS};
use super::place::{Place, SLOT_LAST, Slot, Watermark, slot_at};
use crate::planted::{Bug, is_planted};
use crate::time::Instant;

/// What a visitor who asks for a token is told.
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
    issued: u64,
    called: u64,
    tick: u64,
    marks: [Watermark; TICKS],
    free_until: Instant,
    /// Redis' clock, µs since the Unix epoch, when the reply was received: no later than it then stood.
    redis_us: u64,
    received: Instant,
    opens_us: u64,
}

impl View {
    /// A reply: how the line moved, Redis' clock, and when the sale opens on it (both µs since the Unix epoch). The
    /// watermark never moves back here, not even where Redis lost its last writes.
    pub fn handle_reply(&mut self, asked: Instant, received: Instant, moved: &Moved, redis_us: u64, opens_us: u64) {
        self.watermark = self.watermark.max(moved.watermark);
        (self.issued, self.called) = (moved.issued, moved.called);
        (self.tick, self.marks) = (moved.tick, moved.marks);
        self.free_until = if moved.is_free { asked + Duration::from_micros(FREE_US) } else { Instant::default() };
        (self.redis_us, self.received, self.opens_us) = (redis_us, received, opens_us);
    }

    /// The tick in which a called place was called; 0: so long ago that its visitor is not waited for any more.
    pub fn cohort(&self, place: Place) -> u64 {
        let ticks = (0..TICKS as u64).map_while(|age| self.tick.checked_sub(age));
        ticks.into_iter().find(|tick| !self.marks[*tick as usize % TICKS].has_called(place)).unwrap_or(0)
    }

    /// How far the line was called.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// How many were called, ever.
    pub fn called(&self) -> u64 {
        self.called
    }

    /// How many have a place and were not called yet, whether or not they are still there.
    pub fn waiting(&self) -> u64 {
        self.issued.saturating_sub(self.called)
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
            Some(place) if self.watermark.has_called(place) || is_planted(Bug::LineJumped) => Standing::Called,
            _ if self.is_free(now) => Standing::Free,
            _ => Standing::Waits,
        }
    }

    /// The slot of a place that is given now: the end of the line.
    pub fn issuing(&self, now: Instant) -> Slot {
        self.watermark.issuing(slot_at(self.redis_us(now), self.opens_us))
    }

    /// The slot of a user who was served and comes anew, their places up to `used_up` being used up: behind all who
    /// stand in line, whatever their lot.
    pub fn issuing_behind(&self, now: Instant, used_up: Slot) -> Slot {
        self.issuing(now).max(used_up).saturating_add(1).min(SLOT_LAST)
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

    fn moved(watermark: Watermark, is_free: bool) -> Moved {
        Moved { watermark, is_free, issued: 70, called: 41, tick: 0, marks: [watermark; TICKS] }
    }

    #[test]
    fn the_clock_is_redis_own_carried_on_and_a_reply_in_travel_makes_it_late_never_early() {
        let mut view = View::default();
        view.handle_reply(at(0), at(40), &moved(mark(0, 0), false), OPENS_US - 100_000, OPENS_US);
        assert_eq!(view.issuing(at(40)), 0);
        assert_eq!((view.issuing(at(139)), view.issuing(at(140)), view.issuing(at(1140))), (0, 1, 2));
    }

    #[test]
    fn called_comes_before_free_and_free_ends_with_its_lease() {
        let mut view = View::default();
        view.handle_reply(at(0), at(40), &moved(mark(2, 5), true), OPENS_US + 2_000_000, OPENS_US);
        let (called, later) = (Place { slot: 2, rank: 4 }, Place { slot: 2, rank: 5 });
        assert_eq!(view.standing(at(199), Some(called)), Standing::Called);
        assert_eq!(view.standing(at(199), Some(later)), Standing::Free);
        assert_eq!(view.standing(at(199), None), Standing::Free);
        assert_eq!(view.standing(at(200), None), Standing::Waits, "200 ms from when it was asked");
        view.handle_reply(at(250), at(260), &moved(mark(1, 0), false), OPENS_US + 2_200_000, OPENS_US);
        assert_eq!(view.watermark(), mark(2, 5), "never back");
        assert_eq!(view.standing(at(260), Some(later)), Standing::Waits);
        assert_eq!((view.called(), view.waiting()), (41, 29));
    }

    #[test]
    fn a_place_is_of_the_last_cohort_that_began_before_it() {
        let mut view = View::default();
        // Ticks 95 to 103; nobody was called before 98, nor in 101.
        let mut marks = [mark(0, 10); TICKS];
        for (tick, rank) in [(98, 10), (99, 20), (100, 30), (101, 40), (102, 40), (103, 50)] {
            marks[tick % TICKS] = mark(0, rank);
        }
        let moved = Moved { tick: 103, marks, ..moved(mark(0, 60), false) };
        view.handle_reply(at(0), at(1), &moved, OPENS_US, OPENS_US);
        let cohorts = [9, 10, 29, 30, 39, 40, 49, 50, 59].map(|rank| view.cohort(Place { slot: 0, rank }));
        assert_eq!(cohorts, [0, 98, 99, 100, 100, 102, 102, 103, 103]);
    }
}
