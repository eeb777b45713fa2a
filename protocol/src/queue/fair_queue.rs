//! Who is called: the decision that Redis makes with each lease of tokens, here as a model of it.
//!
//! `edge/lua/fair_queue.lua` decides the same from the same counts, and a test holds the two against each other on a real Redis.
//! All state is a fixed number of counts and one count for each slot that waits ([`SLOTS_MAX`] at most). Never limits
//! orders: the token bucket does. Never knows a visitor.
//!
//! Two counts say how many more to call. Those *to come* are of the cohorts called within the last [`PATIENCE_US`] and
//! have not come; those who are *ready* have come and were given no token yet. Together they stay below what the next
//! [`CALLED_SECONDS_MAX`] seconds will bring, with the tokens that lie idle, and below what could still be bought.

use std::collections::BTreeMap;

use super::limits::*;
use super::place::{Place, Slot, Watermark, slot_at};
use super::report::Report;

/// What does not change while the sale runs.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Orders a second; 0 is no limit.
    pub rate: u64,
    /// When the sale opens on Redis' clock, µs since the Unix epoch.
    pub opens_us: u64,
}

/// What a call finds beside the line.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Redis' clock, µs since the Unix epoch.
    pub now_us: u64,
    /// Whole tokens in the bucket after this call's grant. Means nothing where `rate` is 0.
    pub tokens: u64,
    /// Units left.
    pub stock: u64,
    /// Whether the sale has opened and not been closed.
    pub is_open: bool,
}

/// What a call tells its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How far the line was called.
    pub watermark: Watermark,
    /// The tokens that lie idle suffice for all who wait and all who were called: for a moment any user who comes may
    /// take one.
    pub is_free: bool,
    /// Places given, ever.
    pub issued: u64,
    /// Visitors called, ever; the others of `issued` wait.
    pub called: u64,
    /// The tick of the call.
    pub tick: u64,
    /// Where the watermark stood when each of the last ticks began; the place is the tick modulo [`TICKS`]. By these an
    /// edge tells of which cohort a visitor is.
    pub marks: [Watermark; TICKS],
}

/// Those called within one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Where the watermark stood when the tick began: it is the first place of the cohort.
    pub mark: Watermark,
    /// How many were called.
    pub called: u64,
    /// How many of them have come.
    pub arrived: u64,
}

/// The fair queue of one sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FairQueue {
    /// How far it was called.
    pub watermark: Watermark,
    /// How many of the watermark's own slot were called.
    pub called_here: u64,
    /// Tickets given, ever. This and the next three only rise.
    pub issued: u64,
    /// Visitors called, ever.
    pub called: u64,
    /// Called visitors who have come, ever.
    pub arrived: u64,
    /// Those of them who were given a token, ever.
    pub served: u64,
    /// The tick of the last call, [`COHORT_US`] each since the Unix epoch.
    pub tick: u64,
    /// Those called in each of the last ticks; the place is the tick modulo [`TICKS`].
    pub cohorts: [Cohort; TICKS],
    /// When the bucket was last found empty, µs since the Unix epoch.
    pub dry_us: u64,
    /// Tickets given by slot, from the watermark's on.
    pub waiting: BTreeMap<Slot, u64>,
}

/// Ranks of a slot.
const RANKS: f64 = 4_294_967_296.0;

/// As long after a slot's end there may still be reports of it that have not come: the interval of reports, a lease's
/// travel, and as much again.
const SETTLING_US: u64 = 3 * REPORT_INTERVAL_US;

impl FairQueue {
    /// Takes a core's report into account and calls whom the moment allows.
    pub fn handle_report(&mut self, report: &Report, terms: Terms, moment: Moment) -> Moved {
        self.turn(moment.now_us / COHORT_US);
        let second = slot_at(moment.now_us, terms.opens_us);
        self.count(report, second);
        self.forget_the_idle(moment, terms.rate == 0);

        let tokens = if terms.rate == 0 { u64::MAX >> 12 } else { moment.tokens };
        let to_come: u64 = self.cohorts.iter().map(|cohort| cohort.called.saturating_sub(cohort.arrived)).sum();
        let ready = self.arrived.saturating_sub(self.served);
        let mut out = (to_come + READY_WEIGHT * ready) as i64;
        let by_stock = if moment.stock == 0 { 0 } else { moment.stock + moment.stock / 4 + 1 };
        let most = (tokens + CALLED_SECONDS_MAX * terms.rate).min(by_stock) as i64;

        let settled = slot_at(moment.now_us.saturating_sub(SETTLING_US), terms.opens_us);
        let mut passed = 0;
        while moment.is_open && self.called < self.issued && passed < SLOTS_A_CALL_MAX {
            let Watermark(Place { slot, rank }) = self.watermark;
            let room = most - out;
            if slot > second || room <= 0 {
                break;
            }
            let rest = self.waiting.get(&slot).map_or(0, |count| *count as i64 - self.called_here as i64);
            let mut calling = rest;
            if rest > room {
                // So many of the rest, so much of the ranks that they are spread over.
                let ranks = (room as f64 * (RANKS - f64::from(rank)) / rest as f64).floor();
                self.watermark.0.rank = (f64::from(rank) + ranks).min(RANKS - 1.0) as u32;
                self.called_here += room as u64;
                calling = room;
            } else if slot < settled || (rest > 0 && out + rest <= tokens as i64) {
                self.pass_to(slot + 1);
                passed += 1;
            } else {
                // Some of its people may not be counted yet, and those who are can wait for them.
                break;
            }
            self.add_called(calling as u64);
            out += calling;
        }
        if moment.is_open && self.called == self.issued && self.watermark.0.slot < settled {
            self.pass_to(settled);
        }
        let waiting = (self.issued - self.called) as i64;
        let is_free = moment.is_open && waiting + out <= tokens as i64;
        let marks = self.cohorts.map(|cohort| cohort.mark);
        let (issued, called) = (self.issued, self.called);
        Moved { watermark: self.watermark, is_free, issued, called, tick: self.tick, marks }
    }

    fn add_called(&mut self, count: u64) {
        self.called += count;
        self.cohorts[self.tick as usize % TICKS].called += count;
    }

    /// Ticks that have begun since the last call began with what stands now. A clock that was set back begins none.
    fn turn(&mut self, tick: u64) {
        let begun = tick.saturating_sub(self.tick).min(TICKS as u64);
        for back in 0..begun {
            self.cohorts[(tick - back) as usize % TICKS] = Cohort { mark: self.watermark, ..Cohort::default() };
        }
        self.tick = tick;
    }

    fn count(&mut self, report: &Report, second: Slot) {
        self.served += report.served;
        for &(tick, count) in &report.arrived {
            self.arrived += count;
            if tick <= self.tick && tick + TICKS as u64 > self.tick {
                self.cohorts[tick as usize % TICKS].arrived += count;
            }
        }
        let Place { slot: here, rank } = self.watermark.0;
        // As far as an edge whose clock is right may have given places; so no report makes a slot without bound.
        let last = (second.max(here) + 1).min(here + SLOTS_MAX - 1);
        for &(slot, count) in &report.issued {
            self.issued += count;
            if slot < here {
                self.add_called(count);
                continue;
            }
            let slot = slot.min(last);
            *self.waiting.entry(slot).or_default() += count;
            if slot == here && rank > 0 {
                let late = (count as f64 * f64::from(rank) / RANKS).floor() as u64;
                self.called_here += late;
                self.add_called(late);
            }
        }
    }

    /// See [`IDLE_US`].
    fn forget_the_idle(&mut self, moment: Moment, is_unlimited: bool) {
        if (moment.tokens == 0 && !is_unlimited) || moment.now_us < self.dry_us {
            self.dry_us = moment.now_us;
        } else if moment.now_us - self.dry_us >= IDLE_US {
            self.served = self.served.max(self.arrived);
        }
    }

    /// Everyone in the slots before that one was called.
    fn pass_to(&mut self, slot: Slot) {
        self.waiting.remove(&self.watermark.0.slot);
        self.watermark = Watermark(Place { slot, rank: 0 });
        self.called_here = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENS_US: u64 = 1_764_590_400_000_000;
    const TERMS: Terms = Terms { rate: 100, opens_us: OPENS_US };

    fn moment(ms: i64) -> Moment {
        Moment { now_us: OPENS_US.saturating_add_signed(ms * 1000), tokens: 0, stock: 1_000_000, is_open: ms >= 0 }
    }

    fn issued(slots: &[(Slot, u64)]) -> Report {
        Report { issued: slots.iter().copied().collect(), ..Report::default() }
    }

    /// Of the cohort called at that time.
    fn come(ms: u64, arrived: u64, served: u64) -> Report {
        let tick = (OPENS_US + ms * 1000) / COHORT_US;
        Report { arrived: [(tick, arrived)].into_iter().collect(), served, ..Report::default() }
    }

    fn place(slot: Slot, rank: u32) -> Watermark {
        Watermark(Place { slot, rank })
    }

    #[test]
    fn nobody_is_called_before_the_sale_opens_and_then_as_many_as_two_seconds_serve() {
        let mut line = FairQueue::default();
        assert_eq!(line.handle_report(&issued(&[(0, 1000)]), TERMS, moment(-10)).watermark, place(0, 0));
        let moved = line.handle_report(&Report::default(), TERMS, moment(0));
        assert_eq!((moved.watermark, moved.is_free), (place(0, (0.2 * RANKS) as u32), false), "a fifth of them");
        assert_eq!((line.called, line.called_here), (200, 200));
        // Those who come and are served make room, those who only come do not.
        line.handle_report(&come(0, 150, 50), TERMS, moment(100));
        assert_eq!(line.called, 200);
        line.handle_report(&come(0, 0, 90), TERMS, moment(100));
        assert_eq!(line.called, 310, "50 to come; 10 who wait for a token weigh as 40");
    }

    #[test]
    fn tokens_that_lie_idle_call_more_and_stock_that_runs_out_fewer() {
        for (tokens, stock, called) in [(80, 10_000, 280), (0, 40, 51), (80, 1, 2), (80, 0, 0)] {
            let mut line = FairQueue::default();
            line.handle_report(&issued(&[(0, 1000)]), TERMS, Moment { tokens, stock, ..moment(0) });
            assert_eq!(line.called, called, "{tokens} tokens, {stock} units");
        }
    }

    #[test]
    fn units_that_come_back_open_the_line_again() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 1000)]), TERMS, Moment { stock: 0, ..moment(500) });
        assert_eq!(line.called, 0);
        line.handle_report(&Report::default(), TERMS, Moment { stock: 4, ..moment(900) });
        assert_eq!(line.called, 6);
    }

    #[test]
    fn those_who_come_late_make_no_room_for_others_a_second_time() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 1000)]), TERMS, moment(0));
        line.handle_report(&Report::default(), TERMS, moment(2250));
        assert_eq!(line.called, 400, "nobody came, and the next were called");
        line.handle_report(&come(0, 200, 0), TERMS, moment(2260));
        line.handle_report(&Report { served: 190, ..Report::default() }, TERMS, moment(2300));
        assert_eq!(line.called, 400, "200 to come, 10 ready");
        line.handle_report(&come(2250, 100, 100), TERMS, moment(2400));
        assert_eq!(line.called, 460, "100 to come, 10 ready");
    }

    #[test]
    fn who_does_not_come_is_not_waited_for() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 1000)]), TERMS, moment(0));
        let mut calls = vec![line.called];
        for ms in (100..=5000).step_by(100) {
            line.handle_report(&Report::default(), TERMS, moment(ms));
            calls.push(line.called);
        }
        let calls = [0, 22, 23, 44, 45].map(|at: usize| calls[at]);
        assert_eq!(calls, [200, 200, 400, 400, 600], "the patience is 2.25 s");
    }

    /// By these an edge tells which of them it is who comes: a visitor counted to another cohort is waited for a second time.
    #[test]
    fn each_tick_notes_where_the_line_stood_as_it_began() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 1000)]), TERMS, moment(0));
        let first = place(0, (0.2 * RANKS) as u32);
        let moved = line.handle_report(&Report::default(), TERMS, moment(500));
        let mark = |ms: u64| moved.marks[((OPENS_US + ms * 1000) / COHORT_US) as usize % TICKS];
        assert_eq!([0, 250, 500].map(mark), [place(0, 0), first, first]);
    }

    #[test]
    fn a_count_of_held_visitors_that_never_falls_is_forgotten_when_tokens_lie_idle() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 1000)]), TERMS, moment(0));
        // All come, are counted twice, and leave.
        line.handle_report(&come(0, 400, 0), TERMS, moment(10));
        for ms in [1000, 2000, 3000] {
            line.handle_report(&Report::default(), TERMS, Moment { tokens: 80, ..moment(ms) });
        }
        assert!(line.called > 200 && line.served == 400, "{line:?}");
    }

    #[test]
    fn a_slot_that_is_not_settled_is_not_passed_unless_all_of_it_can_be_served_at_once() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 50)]), TERMS, moment(299));
        assert_eq!((line.watermark, line.called), (place(0, 0), 0), "late reports may come");
        line.handle_report(&Report::default(), TERMS, moment(300));
        assert_eq!((line.watermark, line.called), (place(1, 0), 50));
        let moved = line.handle_report(&issued(&[(1, 7)]), TERMS, Moment { tokens: 57, ..moment(400) });
        assert_eq!((moved.watermark, moved.is_free), (place(2, 0), true), "50 to come and 7, and as many tokens");
    }

    #[test]
    fn places_that_are_reported_late_count_as_called_where_they_are() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(0, 400), (1, 50)]), TERMS, moment(2000));
        assert_eq!((line.watermark, line.called), (place(0, 1 << 31), 200));
        line.handle_report(&issued(&[(0, 10)]), TERMS, moment(2000));
        assert_eq!((line.called, line.called_here), (205, 205), "half of them");
        line.handle_report(&come(2000, 205, 205), TERMS, moment(2001));
        line.handle_report(&come(2000, 180, 180), TERMS, moment(2002));
        assert_eq!((line.watermark, line.called), (place(2, 0), 460));
        line.handle_report(&issued(&[(0, 3)]), TERMS, moment(2003));
        assert_eq!((line.issued, line.called), (463, 463), "of a slot that was passed all of them");
    }

    #[test]
    fn no_report_makes_a_slot_beyond_the_line_and_an_empty_line_catches_up_with_the_clock() {
        let mut line = FairQueue::default();
        line.handle_report(&issued(&[(4_000_000, 5)]), TERMS, Moment { is_open: false, ..moment(0) });
        assert_eq!(line.waiting.keys().copied().collect::<Vec<_>>(), [2]);
        for ms in [0, 5000] {
            line.handle_report(&Report::default(), TERMS, moment(ms));
        }
        assert_eq!((line.called, line.watermark), (5, place(5, 0)));
        assert!(line.waiting.is_empty());
        let moved = line.handle_report(&Report::default(), TERMS, moment(86_400_000));
        assert_eq!((moved.watermark, moved.is_free), (place(86_400, 0), true));
        // A line of a day, and a clock that is set back.
        let day: Vec<_> = (86_400..90_000).map(|slot| (slot, 100)).collect();
        line.handle_report(&issued(&day), TERMS, moment(90_000_000));
        assert_eq!(line.waiting.len(), SLOTS_MAX as usize - 2, "two were passed at once");
        let before = line.watermark;
        line.handle_report(&Report::default(), TERMS, moment(0));
        assert!(line.watermark >= before);
    }
}
