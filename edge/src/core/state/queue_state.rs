//! The fair queue of one sale, as one core takes part in it: which orders may go on, which place a user gets, what
//! Redis is told.
//!
//! Nothing is kept for a visitor: a place travels in its ticket. Redis decides who is called (`lua/fair_queue.lua`); what a
//! visitor is told follows from Redis' last reply (`flux_protocol::queue::View`). Never makes a token, never asks Redis
//! (`admission/` does), never reads a clock.

use std::collections::HashSet;
use std::time::Duration;

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::queue::limits::{ASK_INTERVAL_US, REPORT_INTERVAL_US};
use flux_protocol::queue::{
    Moved, Place, Rank, Report, Reporter, Seed, Slot, Standing, Ticket, TicketKey, Turns, View,
};
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;

use crate::core::state::orders::OrderIndex;
use crate::core::state::token_lease::{Admission, Tokens};
use crate::counters::QueueGauge;
use crate::limits::REFRESH_INTERVAL;
use crate::sale::TicketText;

/// What becomes of an order of a sale with a fair queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A token was taken; by which place, if by any.
    Admitted(Option<Called>),
    /// Called, and no token is at hand: the order waits for one, first come, first served.
    AwaitToken(Called),
    /// Its place was called and is used up.
    UsedUp {
        /// The place's.
        slot: Slot,
        /// All places of the user up to this one are used up.
        until: Slot,
    },
    /// No user waits in it, and a token may be had: the order waits for the lease that is being asked for.
    Wait,
    /// To the queue, with this ticket; or once more by it in a moment, where another order of the user was called and is
    /// under way.
    ToQueue(TicketText),
    /// What was last heard is too old to tell: the order waits for its next status.
    Unknown,
}

/// A place that was called, and whose user it is ([`Seed::mark`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// The place's.
    pub slot: Slot,
    /// The user's.
    pub mark: u64,
}

/// One core's part in one sale's queue.
#[derive(Debug)]
pub struct QueueState {
    sale_id: u64,
    seed: Seed,
    key: TicketKey,
    /// `None` until Redis has told how it stands.
    view: Option<View>,
    /// By the last status no user waited.
    was_free: bool,
    /// By the last status no unit was left.
    was_sold_out: bool,
    reporter: Reporter,
    /// The reporter has something to tell.
    has_report: bool,
    /// When Redis was last asked.
    asked: Instant,
    /// What the call on its way has told; one is on its way at a time.
    in_flight: Option<Report>,
    /// When the last tokens were asked for, where that left the bucket empty.
    found_dry: Option<Instant>,
    /// Whose places are used up.
    turns: Turns,
    /// Users of whom an order that was called is under way on this core, from its coming to its answer; by their marks. No more
    /// than orders are.
    called_users: HashSet<u64, RandomState>,
    /// Orders that wait for the queue's status; the caller that adds one keeps their bound.
    pub(crate) waiters: Vec<OrderIndex>,
}

impl QueueState {
    /// Of a sale with a fair queue.
    pub fn new(product: &[u8], sale_id: u64, seed: [u8; 32]) -> QueueState {
        let seed = Seed::new(seed);
        QueueState {
            sale_id,
            key: TicketKey::new(&seed, product, sale_id),
            seed,
            view: None,
            was_free: false,
            was_sold_out: false,
            reporter: Reporter::default(),
            has_report: false,
            asked: Instant::default(),
            in_flight: None,
            found_dry: None,
            turns: Turns::default(),
            called_users: HashSet::default(),
            waiters: Vec::new(),
        }
    }

    pub fn sale_id(&self) -> u64 {
        self.sale_id
    }

    /// An order has come, with the ticket that it showed, if any.
    pub fn admit(&mut self, now: Instant, tokens: &mut Tokens, user: &[u8], shown: Option<&TicketText>) -> Verdict {
        let Some(view) = self.view else { return Verdict::Unknown };
        let ticket = self.verified(user, shown);
        let mut used_up = None;
        if let Some(ticket) = ticket
            && view.standing(now, Some(ticket.place)) == Standing::Called
        {
            let called = Called { slot: ticket.place.slot, mark: self.seed.mark(user) };
            if self.called_users.contains(&called.mark) {
                return Verdict::ToQueue(self.key.sign(Ticket { has_come: true, ..ticket }, user));
            }
            match self.turns.used_up(called.mark, called.slot) {
                None => return self.admit_called(now, tokens, &view, ticket, called),
                Some(until) => used_up = Some(Verdict::UsedUp { slot: called.slot, until }),
            }
        }
        // A user without a place, or whose turn has not come, or is over.
        let place = ticket.filter(|_| used_up.is_none()).map(|ticket| ticket.place);
        match (view.standing(now, place), used_up) {
            (Standing::Called, _) => unreachable!("seen to above"),
            (Standing::Free, _) => match (tokens.admit(now), used_up) {
                (Admission::Admitted, _) => Verdict::Admitted(None),
                (Admission::Wait, _) => Verdict::Wait,
                (Admission::Refused, Some(used_up)) => used_up,
                (Admission::Refused, None) => Verdict::ToQueue(self.ticket_for(now, &view, user, ticket)),
            },
            // No user waited when Redis was last asked, or nothing was left: too long ago to let this order pass or to
            // refuse it, and no reason to send its user to a queue that may not be there or leads nowhere.
            (Standing::Waits, _) if self.was_free || self.was_sold_out => Verdict::Unknown,
            (Standing::Waits, Some(used_up)) => used_up,
            (Standing::Waits, None) => Verdict::ToQueue(self.ticket_for(now, &view, user, ticket)),
        }
    }

    fn admit_called(
        &mut self,
        now: Instant,
        tokens: &mut Tokens,
        view: &View,
        ticket: Ticket,
        called: Called,
    ) -> Verdict {
        if !ticket.has_come {
            let tick = view.cohort(ticket.place);
            self.reporter.handle_arrived(view.redis_us(now), tick, ticket.place.rank);
            self.has_report = true;
        }
        if tokens.admit(now) != Admission::Admitted {
            return Verdict::AwaitToken(called);
        }
        self.serve(called.mark);
        Verdict::Admitted(Some(called))
    }

    /// An order of a called user is under way from now on.
    pub fn enter_called(&mut self, mark: u64) {
        self.called_users.insert(mark);
    }

    /// It has been answered.
    pub fn leave_called(&mut self, mark: u64) {
        self.called_users.remove(&mark);
    }

    /// Redis has said that all places of a user up to that slot are used up.
    pub fn handle_used_up(&mut self, mark: u64, until: Slot) {
        self.turns.handle_used(mark, until);
    }

    /// A called user was given a token.
    pub fn serve(&mut self, mark: u64) {
        self.reporter.handle_served((mark >> 32) as Rank);
        self.has_report = true;
    }

    /// What stands for a user in this sale.
    pub fn mark(&self, user: &[u8]) -> u64 {
        self.seed.mark(user)
    }

    /// The ticket for a user who is sent to the queue: the one that was shown, or a new one. `None` while its status is
    /// unknown.
    pub fn send_to_queue(&mut self, now: Instant, user: &[u8], shown: Option<&TicketText>) -> Option<TicketText> {
        let view = self.view?;
        let ticket = self.verified(user, shown);
        Some(self.ticket_for(now, &view, user, ticket))
    }

    /// The ticket for a user who was called and found no token: theirs, marked so that no core counts them again.
    pub fn send_away(&mut self, now: Instant, user: &[u8], shown: Option<&TicketText>) -> Option<TicketText> {
        match self.verified(user, shown) {
            Some(ticket) => Some(self.key.sign(Ticket { has_come: true, ..ticket }, user)),
            None => self.send_to_queue(now, user, shown),
        }
    }

    /// The ticket for a user who was served and comes anew: behind all who stand in it. `until`: up to which slot
    /// their places are used up. `None` while its status is unknown.
    pub fn send_behind(&mut self, now: Instant, user: &[u8], until: Slot) -> Option<TicketText> {
        let place = Place { slot: self.view?.issuing_behind(now, until), rank: self.seed.rank(user) };
        self.reporter.handle_issued(place);
        self.has_report = true;
        Some(self.key.sign(Ticket { place, has_come: false }, user))
    }

    fn verified(&self, user: &[u8], shown: Option<&TicketText>) -> Option<Ticket> {
        self.key.verify(shown?, user)
    }

    fn ticket_for(&mut self, now: Instant, view: &View, user: &[u8], ticket: Option<Ticket>) -> TicketText {
        let ticket = ticket.filter(|_| !is_planted(Bug::PlaceNotKept)).unwrap_or_else(|| {
            let place = Place { slot: view.issuing(now), rank: self.seed.rank(user) };
            self.reporter.handle_issued(place);
            self.has_report = true;
            Ticket { place, has_come: false }
        });
        self.key.sign(ticket, user)
    }

    /// What `/metrics` shows of it; `None` until Redis has told how it stands.
    pub fn gauge(&self) -> Option<QueueGauge> {
        let view = self.view?;
        Some(QueueGauge { slot: view.watermark().0.slot, waiting: view.waiting(), called: view.called() })
    }

    /// Whether Redis is to be asked now. `is_urgent`: orders wait for tokens or for its status. `may_move`: the sale
    /// is open and has units, so that the queue moves if users stand in it.
    pub fn is_due(&self, now: Instant, is_urgent: bool, may_move: bool) -> bool {
        // Others want of what comes into it, too. A call that asked for no tokens says nothing of the bucket: whoever waits for one
        // behind it would wait for as long once more.
        let is_dry = |found: Instant| now.since(found) < Duration::from_micros(ASK_INTERVAL_US);
        if self.in_flight.is_some() || self.found_dry.is_some_and(is_dry) {
            return false;
        }
        let is_watched = self.view.is_none() || self.has_report || (may_move && !self.was_free);
        // Users in the queue are called even where all cores that gave places are gone.
        let interval = if is_watched { Duration::from_micros(REPORT_INTERVAL_US) } else { REFRESH_INTERVAL };
        is_urgent || now.since(self.asked) >= interval
    }

    /// A call goes out: what it tells.
    pub fn handle_asked(&mut self, now: Instant) -> &Report {
        assert!(self.in_flight.is_none(), "one call at a time");
        self.asked = now;
        self.has_report = false;
        self.in_flight.insert(self.reporter.take())
    }

    /// The answer: how the queue moved, whether no unit is left, Redis' clock and when the sale opens on it (both µs since
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
            self.has_report |= !report.is_empty();
            self.reporter.put_back(&report);
        }
    }

    /// The last call asked for tokens, and left the bucket empty or not.
    pub fn handle_granted(&mut self, is_dry: bool) {
        self.found_dry = is_dry.then_some(self.asked);
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::queue::Watermark;
    use flux_protocol::queue::limits::TICKS;

    use super::*;

    /// Whoever was given a place is not called before Redis has been told of it.
    #[test]
    fn what_a_call_told_that_was_lost_is_told_again_as_soon_as_any_news() {
        let mut queue = QueueState::new(b"p", 7, [5; 32]);
        let at = |ms: u64| Instant::from_micros(1000 * ms);
        let marks = [Watermark::default(); TICKS];
        let moved = Moved { watermark: marks[0], is_free: true, issued: 0, called: 0, tick: 0, marks };
        queue.handle_asked(at(1000));
        queue.handle_reply(at(1001), &moved, false, 1_764_590_400_000_000, 1_764_590_400_000_000);
        assert!(!queue.is_due(at(1500), false, false), "nothing is to be told");
        queue.send_to_queue(at(1500), b"ann", None).expect("it is known how the queue stands");
        assert!(queue.is_due(at(1500), false, false));
        assert!(!queue.handle_asked(at(1500)).is_empty());
        queue.handle_failed();
        assert!(queue.is_due(at(1600), false, false));
        assert!(!queue.handle_asked(at(1600)).is_empty(), "the same again");
    }

    /// Else an order that waits for a token does so until its deadline, behind the very call that told it to: with a deadline of
    /// no more than the pause nobody would ever be served who comes alone.
    #[test]
    fn a_call_that_asked_for_no_tokens_puts_nobody_off_who_wants_one() {
        let mut queue = QueueState::new(b"p", 7, [5; 32]);
        let at = |ms: u64| Instant::from_micros(1000 * ms);
        let marks = [Watermark::default(); TICKS];
        let moved = Moved { watermark: marks[0], is_free: true, issued: 0, called: 0, tick: 0, marks };
        let ask = |queue: &mut QueueState, ms: u64| {
            queue.handle_asked(at(ms));
            queue.handle_reply(at(ms + 1), &moved, false, 1_764_590_400_000_000, 1_764_590_400_000_000);
        };
        ask(&mut queue, 1000);
        queue.handle_granted(true);
        assert!(!queue.is_due(at(1049), true, true), "the bucket is empty, and other cores want of it, too");
        assert!(queue.is_due(at(1050), true, true));
        ask(&mut queue, 3000);
        assert!(queue.is_due(at(3001), true, true), "it was found empty two seconds ago");
        queue.handle_asked(at(3001));
        queue.handle_failed();
        assert!(queue.is_due(at(3002), true, true), "nor was it found empty now");
    }
}
