//! One core of an edge, as far as the fair queue is concerned: what the edge must call and when.
//!
//! Everything that decides is what ships: view, reporter, tickets, and the limiter's leases.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use flux_edge::core::state::token_lease::{Admission, Tokens};
use flux_protocol::queue::limits::{ASK_INTERVAL_US, HOLD_US, REPORT_INTERVAL_US};
use flux_protocol::queue::{Place, Report, Reporter, Seed, Slot, Standing, Ticket, TicketKey, Turns, View};
use flux_protocol::time::Instant;

use crate::redis::Leased;

/// What a visitor is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A token was taken; `called`: by a place of this slot, not by one who found nobody waiting. It dies at `expires`.
    Token { called: Option<Slot>, expires: Instant },
    /// The answer comes with the next reply of Redis.
    Later,
    /// Called, and no token: again in a second, with this ticket.
    Held(Ticket),
    /// To the line, with this ticket.
    Line(Ticket),
    /// 503.
    Unavailable,
}

/// A call on its way to Redis.
pub(crate) struct Call {
    pub(crate) asked: Instant,
    pub(crate) wanted: Option<u64>,
    pub(crate) report: Report,
}

/// A request that waits for tokens.
#[derive(Clone, Copy)]
struct Waiter {
    visitor: usize,
    /// The one that it showed.
    ticket: Option<Ticket>,
    called: bool,
    since: Instant,
}

pub(crate) struct Core {
    tokens: Tokens,
    view: Option<View>,
    reporter: Reporter,
    waiters: VecDeque<Waiter>,
    turns: Turns,
    /// Visitors who were called and wait for a token.
    awaiting_token: HashSet<usize>,
    reported: Instant,
    /// The last grant left the bucket empty.
    is_dry: bool,
    /// This core's own clock begins anywhere.
    origin_us: u64,
}

impl Core {
    pub(crate) fn new(origin_us: u64) -> Core {
        Core {
            tokens: Tokens::default(),
            view: None,
            reporter: Reporter::default(),
            waiters: VecDeque::new(),
            turns: Turns::default(),
            awaiting_token: HashSet::new(),
            reported: Instant::default(),
            is_dry: false,
            origin_us,
        }
    }

    fn instant(&self, true_us: u64) -> Instant {
        Instant::from_micros(self.origin_us + true_us)
    }

    /// `POST /order` with the ticket's text, if one was shown.
    pub(crate) fn handle_order(
        &mut self,
        true_us: u64,
        (seed, key): (&Seed, &TicketKey),
        visitor: usize,
        user: &[u8],
        text: Option<&[u8]>,
    ) -> Said {
        let now = self.instant(true_us);
        let Some(view) = self.view else { return Said::Unavailable };
        let ticket = text.and_then(|text| key.verify(text, user));
        let mut standing = view.standing(now, ticket.map(|ticket| ticket.place));
        if let (Standing::Called, Some(ticket)) = (standing, ticket) {
            if self.awaiting_token.contains(&visitor) {
                return Said::Held(Ticket { has_come: true, ..ticket });
            }
            if let Some(until) = self.turns.used_up(seed.mark(user), ticket.place.slot) {
                standing = view.standing(now, None);
                if standing == Standing::Waits {
                    return self.send_behind(true_us, seed.rank(user), until);
                }
            }
        }
        if let (Standing::Called, Some(Ticket { place, has_come: false })) = (standing, ticket) {
            self.reporter.handle_arrived(view.redis_us(now), view.cohort(place), place.rank);
        }
        let called = standing == Standing::Called;
        match standing {
            Standing::Waits => self.send_to_line(now, seed.rank(user), ticket),
            Standing::Called | Standing::Free => match self.tokens.admit(now) {
                Admission::Admitted => self.served(ticket, called),
                // Whoever was called waits here for a token, whether or not one is known to come: first come, first served.
                Admission::Refused if !called => self.send_to_line(now, seed.rank(user), ticket),
                Admission::Wait | Admission::Refused => {
                    if called {
                        self.awaiting_token.insert(visitor);
                    }
                    self.waiters.push_back(Waiter { visitor, ticket, called, since: now });
                    Said::Later
                }
            },
        }
    }

    fn served(&mut self, ticket: Option<Ticket>, called: bool) -> Said {
        let called = ticket.filter(|_| called).map(|ticket| ticket.place);
        if let Some(place) = called {
            self.reporter.handle_served(place.rank);
        }
        Said::Token { called: called.map(|place| place.slot), expires: self.tokens.last_expires() }
    }

    /// Redis says that all places of a user up to that slot are used up, and whether the token was good for nothing.
    pub(crate) fn handle_used_up(&mut self, true_us: u64, mark: u64, until: Slot, token: Option<Instant>) {
        self.turns.handle_used(mark, until);
        if let Some(expires) = token {
            self.tokens.give_back(self.instant(true_us), expires);
        }
    }

    /// Whoever was served joins the line anew.
    pub(crate) fn send_behind(&mut self, true_us: u64, rank: u32, until: Slot) -> Said {
        let slot = self.view.expect("known").issuing_behind(self.instant(true_us), until);
        let place = Place { slot, rank };
        self.reporter.handle_issued(place);
        Said::Line(Ticket { place, has_come: false })
    }

    fn send_to_line(&mut self, now: Instant, rank: u32, ticket: Option<Ticket>) -> Said {
        Said::Line(ticket.unwrap_or_else(|| {
            let slot = self.view.expect("known").issuing(now);
            let place = Place { slot, rank };
            self.reporter.handle_issued(place);
            Ticket { place, has_come: false }
        }))
    }

    /// What is to be asked of Redis now, if anything.
    pub(crate) fn poll_call(&mut self, true_us: u64) -> Option<Call> {
        let now = self.instant(true_us);
        let since = now.since(self.reported);
        let wanted = self.tokens.wants(now, self.waiters.len());
        if self.is_dry && since < Duration::from_micros(ASK_INTERVAL_US) {
            return None;
        }
        let overdue = since >= Duration::from_micros(REPORT_INTERVAL_US);
        if wanted.is_none() && !(overdue && self.view.is_none_or(|view| !view.is_free(now))) {
            return None;
        }
        if wanted.is_some() {
            self.tokens.handle_asked(now);
        }
        self.reported = now;
        Some(Call { asked: now, wanted, report: self.reporter.take() })
    }

    /// Redis has answered: what those who waited are told.
    pub(crate) fn handle_reply(
        &mut self,
        true_us: u64,
        call: &Call,
        leased: &Leased,
        opens_us: u64,
        rank: impl Fn(usize) -> u32,
    ) -> Vec<(usize, Said)> {
        let now = self.instant(true_us);
        let view = self.view.get_or_insert_default();
        view.handle_reply(call.asked, now, &leased.moved, leased.now_us, opens_us);
        let mut said = Vec::new();
        if call.wanted.is_none() {
            return said;
        }
        let micros = Duration::from_micros;
        self.is_dry = leased.due_us > 0;
        self.tokens.handle_granted(now, leased.granted, micros(leased.life_us), micros(leased.due_us));
        while let Some(waiter) = self.waiters.front().copied() {
            if !self.tokens.take(now) {
                break;
            }
            self.waiters.pop_front();
            self.awaiting_token.remove(&waiter.visitor);
            said.push((waiter.visitor, self.served(waiter.ticket, waiter.called)));
        }
        if leased.due_us > 0 {
            let not_called: Vec<Waiter> = self.waiters.iter().filter(|waiter| !waiter.called).copied().collect();
            self.waiters.retain(|waiter| waiter.called);
            for waiter in not_called {
                said.push((waiter.visitor, self.send_to_line(now, rank(waiter.visitor), waiter.ticket)));
            }
        }
        said
    }

    /// Time has passed: who has waited for long is to try again.
    pub(crate) fn handle_time(&mut self, true_us: u64) -> Vec<(usize, Said)> {
        let now = self.instant(true_us);
        let mut said = Vec::new();
        while let Some(Waiter { visitor, ticket: Some(ticket), called: true, since }) = self.waiters.front().copied() {
            if now.since(since) < Duration::from_micros(HOLD_US) {
                break;
            }
            self.waiters.pop_front();
            self.awaiting_token.remove(&visitor);
            said.push((visitor, Said::Held(Ticket { has_come: true, ..ticket })));
        }
        said
    }

    /// The reply was lost: those who waited are told 503, and what was reported is reported again.
    pub(crate) fn handle_lost(&mut self, call: &Call) -> Vec<(usize, Said)> {
        self.reporter.put_back(&call.report);
        if call.wanted.is_none() {
            return Vec::new();
        }
        self.tokens.handle_failed();
        self.awaiting_token.clear();
        self.waiters.drain(..).map(|waiter| (waiter.visitor, Said::Unavailable)).collect()
    }

    /// The edge dies: all who wait, their connections being reset.
    pub(crate) fn end(&mut self) -> Vec<usize> {
        let waiters = std::mem::take(&mut self.waiters);
        *self = Core::new(self.origin_us);
        waiters.into_iter().map(|waiter| waiter.visitor).collect()
    }
}
