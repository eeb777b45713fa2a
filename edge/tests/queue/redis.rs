//! The sale inside Redis, for the simulation: bucket and stock as the scripts have them, the line as its model.

use flux_protocol::queue::limits::CALLED_SECONDS_MAX;
use flux_protocol::queue::{FairQueue, Moment, Moved, Place, Report, Terms, Watermark};

/// Who is called: by the line that ships, or as it was designed at first.
pub(crate) enum Rule {
    Line(Box<FairQueue>),
    FirstDesign(FirstDesign),
}

pub(crate) struct Redis {
    pub(crate) terms: Terms,
    pub(crate) burst: u64,
    pub(crate) stock: u64,
    pub(crate) rule: Rule,
    /// In millionths.
    tokens: u64,
    at_us: u64,
}

/// What a lease call is answered.
pub(crate) struct Leased {
    pub(crate) granted: u64,
    pub(crate) life_us: u64,
    pub(crate) due_us: u64,
    pub(crate) moved: Moved,
    pub(crate) now_us: u64,
}

impl Redis {
    pub(crate) fn new(terms: Terms, burst: u64, stock: u64, rule: Rule, now_us: u64) -> Redis {
        let mut redis = Redis { terms, burst, stock, rule, tokens: 0, at_us: now_us };
        redis.tokens = redis.capacity();
        redis
    }

    fn life_us(&self) -> u64 {
        (self.burst * 1_000_000 / (2 * self.terms.rate)).min(200_000)
    }

    fn capacity(&self) -> u64 {
        self.burst * 1_000_000 - self.terms.rate * self.life_us()
    }

    /// `edge/lua/lease.lua`.
    pub(crate) fn lease(&mut self, now_us: u64, wanted: u64, report: &Report) -> Leased {
        self.tokens = (self.tokens + self.terms.rate * (now_us - self.at_us)).min(self.capacity());
        self.at_us = now_us;
        let granted = wanted.min(self.tokens / 1_000_000);
        self.tokens -= granted * 1_000_000;
        let due_us = 1_000_000u64.saturating_sub(self.tokens).div_ceil(self.terms.rate);
        let is_open = now_us >= self.terms.opens_us;
        let moment = Moment { now_us, tokens: self.tokens / 1_000_000, stock: self.stock, is_open };
        let moved = match &mut self.rule {
            Rule::Line(line) => line.handle_report(report, self.terms, moment),
            Rule::FirstDesign(line) => line.call(self.terms.rate, moment),
        };
        Leased { granted, life_us: self.life_us(), due_us, moved, now_us }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        match &self.rule {
            Rule::Line(line) => line.watermark,
            Rule::FirstDesign(line) => line.watermark,
        }
    }
}

/// The rule as it was designed at first: as many may be outstanding as two seconds serve, and who has not come within ten
/// seconds is no longer counted. It is given what no server could know: every place, and who of which call was served.
#[derive(Default)]
pub(crate) struct FirstDesign {
    /// All places, in order.
    places: Vec<Place>,
    /// When each of the first of them was called, and whether they were served.
    calls: Vec<(u64, bool)>,
    expired: usize,
    outstanding: u64,
    watermark: Watermark,
}

impl FirstDesign {
    const EXPIRES_US: u64 = 10_000_000;

    pub(crate) fn new(places: Vec<Place>) -> FirstDesign {
        assert!(places.is_sorted());
        FirstDesign { places, ..FirstDesign::default() }
    }

    pub(crate) fn handle_served(&mut self, place: Place) {
        let index = self.places.binary_search(&place).expect("a place that was given");
        if let Some((_, served)) = self.calls.get_mut(index) {
            if !*served && index >= self.expired {
                self.outstanding -= 1;
            }
            *served = true;
        }
    }

    fn call(&mut self, rate: u64, moment: Moment) -> Moved {
        while let Some((at, served)) = self.calls.get(self.expired) {
            if moment.now_us - at < Self::EXPIRES_US {
                break;
            }
            self.outstanding -= u64::from(!served);
            self.expired += 1;
        }
        while moment.is_open && self.outstanding < CALLED_SECONDS_MAX * rate && self.calls.len() < self.places.len() {
            self.calls.push((moment.now_us, false));
            self.outstanding += 1;
        }
        if !moment.is_open {
            // Nobody is called yet, and all are given places of slot 0.
        } else if let Some(next) = self.places.get(self.calls.len()) {
            self.watermark = Watermark(*next);
        } else if let Some(last) = self.places.last() {
            self.watermark = Watermark(Place { slot: last.slot + 1, rank: 0 });
        }
        let (issued, called) = (self.places.len() as u64, self.calls.len() as u64);
        Moved { watermark: self.watermark, is_free: false, issued, called, tick: 0, marks: Default::default() }
    }
}
