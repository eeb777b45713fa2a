//! The fair queue of one sale, as one core takes part in it: who may order, who gets which place, what Redis is told.
//!
//! Nothing is kept for a visitor: a place travels in its ticket. Who is called is decided in Redis (`lua/line.lua`); what a
//! visitor is told follows from the last word of it (`flux_protocol::queue::View`). Never makes a token, never asks Redis
//! (`queue.rs` does), never reads a clock.

use std::time::Duration;

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::queue::limits::{ASK_INTERVAL_US, REPORT_INTERVAL_US};
use flux_protocol::queue::{
    Moved, Place, Report, Reporter, Seed, Standing, TICKET_TEXT_BYTES, Ticket, TicketKey, View,
};
use flux_protocol::time::Instant;

use crate::counters::LineGauge;
use crate::limiter::{Admission, Lease};
use crate::limits::LOOK_INTERVAL;
use crate::pending::PendingIndex;

/// A ticket as it travels.
pub type TicketText = [u8; TICKET_TEXT_BYTES];

/// What becomes of an order at the end of the line, or at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A token was taken.
    Admitted,
    /// Called, and no token is at hand: the order waits for one, first come, first served.
    Held,
    /// Nobody waits in line, and a token may be had: the order waits for the lease that is being asked for.
    Wait,
    /// To the line, with this ticket.
    Line(TicketText),
    /// What was last heard is too old to tell: the order waits for news.
    Unknown,
}

/// One core's part in one sale's line.
#[derive(Debug)]
pub struct Fair {
    sale_id: u64,
    seed: Seed,
    key: TicketKey,
    /// `None` until Redis has told where the line stands.
    view: Option<View>,
    /// At the last news nobody waited.
    was_free: bool,
    /// At the last news no unit was left.
    was_sold_out: bool,
    reporter: Reporter,
    /// The reporter has something to tell.
    has_news: bool,
    /// When Redis was last asked.
    asked: Instant,
    /// What the call on its way has told; one is on its way at a time.
    in_flight: Option<Report>,
    /// The last grant left the bucket empty.
    is_dry: bool,
    /// Orders that wait for news of the line; whoever adds one bounds them.
    pub(crate) waiters: Vec<PendingIndex>,
}

impl Fair {
    /// Of a sale with a fair queue.
    pub fn new(product: &[u8], sale_id: u64, seed: [u8; 32]) -> Fair {
        let seed = Seed::new(seed);
        Fair {
            sale_id,
            key: TicketKey::new(&seed, product, sale_id),
            seed,
            view: None,
            was_free: false,
            was_sold_out: false,
            reporter: Reporter::default(),
            has_news: false,
            asked: Instant::default(),
            in_flight: None,
            is_dry: false,
            waiters: Vec::new(),
        }
    }

    /// Its sale.
    pub fn sale_id(&self) -> u64 {
        self.sale_id
    }

    /// An order has come, with the ticket that it showed, if any.
    pub fn admit(&mut self, now: Instant, lease: &mut Lease, user: &[u8], shown: Option<&TicketText>) -> Verdict {
        let Some(view) = self.view else { return Verdict::Unknown };
        let ticket = self.verified(user, shown);
        match view.standing(now, ticket.map(|ticket| ticket.place)) {
            Standing::Called => {
                let ticket = ticket.expect("who has no place is not called");
                if !ticket.has_come {
                    let tick = view.cohort(ticket.place);
                    self.reporter.handle_arrived(view.redis_us(now), tick, ticket.place.rank);
                    self.has_news = true;
                }
                if lease.admit(now) != Admission::Admitted {
                    return Verdict::Held;
                }
                self.serve(user);
                Verdict::Admitted
            }
            Standing::Free => match lease.admit(now) {
                Admission::Admitted => Verdict::Admitted,
                Admission::Wait => Verdict::Wait,
                Admission::Refused => Verdict::Line(self.ticket_for(now, &view, user, ticket)),
            },
            // Nobody waited when Redis was last asked, or nothing was left: too long ago to let this one pass or to send
            // them home, and no reason to send them to a line that may not be there or leads nowhere.
            Standing::Waits if self.was_free || self.was_sold_out => Verdict::Unknown,
            Standing::Waits => Verdict::Line(self.ticket_for(now, &view, user, ticket)),
        }
    }

    /// A called user was given a token.
    pub fn serve(&mut self, user: &[u8]) {
        self.reporter.handle_served(self.seed.rank(user));
        self.has_news = true;
    }

    /// The ticket for whoever is sent to the line: the one that was shown, or a new one. `None` while the line is unknown.
    pub fn send_to_line(&mut self, now: Instant, user: &[u8], shown: Option<&TicketText>) -> Option<TicketText> {
        let view = self.view?;
        let ticket = self.verified(user, shown);
        Some(self.ticket_for(now, &view, user, ticket))
    }

    /// The ticket for whoever was called and found no token: theirs, marked so that no core counts them again.
    pub fn send_away(&mut self, now: Instant, user: &[u8], shown: Option<&TicketText>) -> Option<TicketText> {
        match self.verified(user, shown) {
            Some(ticket) => Some(self.key.sign(Ticket { has_come: true, ..ticket }, user)),
            None => self.send_to_line(now, user, shown),
        }
    }

    fn verified(&self, user: &[u8], shown: Option<&TicketText>) -> Option<Ticket> {
        self.key.verify(shown?, user)
    }

    fn ticket_for(&mut self, now: Instant, view: &View, user: &[u8], ticket: Option<Ticket>) -> TicketText {
        let ticket = ticket.filter(|_| !is_planted(Bug::PlaceNotKept)).unwrap_or_else(|| {
            let place = Place { slot: view.issuing(now), rank: self.seed.rank(user) };
            self.reporter.handle_issued(place);
            self.has_news = true;
            Ticket { place, has_come: false }
        });
        self.key.sign(ticket, user)
    }

    /// What `/metrics` shows of it; `None` until Redis has told where the line stands.
    pub fn gauge(&self) -> Option<LineGauge> {
        let view = self.view?;
        Some(LineGauge { slot: view.watermark().0.slot, waiting: view.waiting(), called: view.called() })
    }

    /// Whether Redis is to be asked now. `is_urgent`: somebody waits for tokens or for news. `may_move`: the sale is open
    /// and has units, so that the line moves if anybody stands in it.
    pub fn is_due(&self, now: Instant, is_urgent: bool, may_move: bool) -> bool {
        let since = now.since(self.asked);
        if self.in_flight.is_some() || (self.is_dry && since < Duration::from_micros(ASK_INTERVAL_US)) {
            return false;
        }
        let is_watched = self.view.is_none() || self.has_news || (may_move && !self.was_free);
        // Whoever stands in line is called although all cores that gave places may be gone.
        let interval = if is_watched { Duration::from_micros(REPORT_INTERVAL_US) } else { LOOK_INTERVAL };
        is_urgent || since >= interval
    }

    /// A call goes out: what it tells.
    pub fn handle_asked(&mut self, now: Instant) -> &Report {
        assert!(self.in_flight.is_none(), "one call at a time");
        self.asked = now;
        self.has_news = false;
        self.in_flight.insert(self.reporter.take())
    }

    /// The answer: how the line moved, whether no unit is left, Redis' clock and when the sale opens on it (both µs since
    /// the Unix epoch). Returns what the call has told.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        moved: &Moved,
        is_sold_out: bool,
        redis_us: u64,
        opens_us: u64,
    ) -> Report {
        self.was_free = moved.is_free;
        self.was_sold_out = is_sold_out;
        self.view.get_or_insert_default().handle_reply(self.asked, now, moved, redis_us, opens_us);
        self.in_flight.take().unwrap_or_default()
    }

    /// The call failed, or its reply was lost.
    pub fn handle_failed(&mut self) {
        if let Some(report) = self.in_flight.take() {
            self.has_news |= !report.is_empty();
            self.reporter.put_back(&report);
        }
    }

    /// Tokens were asked for, and the bucket was left empty or not.
    pub fn handle_granted(&mut self, is_dry: bool) {
        self.is_dry = is_dry;
    }
}
