//! What one core remembers of the products: their keys in Redis, the sale as it last saw it, its tokens.
//!
//! A memory, not a truth: every script checks sale and generation against what stands in Redis, and a product that has left
//! is asked for again (`discover.rs`). Never decides whether a unit may be sold. The table itself is in `products.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flux_protocol::order::Identifier;
use flux_protocol::outbox_entry::EntryId;
use flux_protocol::queue::Slot;
use flux_protocol::rare::{self, Rare};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::state::board::Sight;
use crate::core::state::entries::Removal;
use crate::core::state::orders::{OrderIndex, Turn};
use crate::core::state::queue_document::QueueDocument;
use crate::core::state::queue_state::QueueState;
use crate::core::state::token_lease::Tokens;
use crate::counters::ProductGauge;
use crate::limits::{ASKED_NOTED_EVERY, PRODUCT_IDLE_MIN, SOLD_OUT_REMEMBERED, STOCK_AGE_MAX};
use crate::redis::keys::Keys;
use crate::sale::{Sale, SaleState, Seen};

/// What a core knows of who may go on to a reserve call.
#[derive(Debug, Default)]
pub struct AdmissionState {
    /// Tokens of this core.
    pub tokens: Tokens,
    /// What this core knows of its queue, where it has a fair one.
    pub queue: Option<Box<QueueState>>,
    /// Orders that wait for tokens.
    pub waiters: VecDeque<OrderIndex>,
}

/// When it is refreshed next, and who waits for that.
#[derive(Debug, Default)]
pub struct Refresh {
    /// When this core was last asked for it, give or take.
    pub last_asked: Instant,
    /// It stands among those that are refreshed every second.
    pub is_active: bool,
    /// A refresh is on its way.
    pub is_under_way: bool,
    /// When the refresh on its way was asked for.
    pub asked: Instant,
    /// It stands in line for a refresh of this round.
    pub is_due: bool,
    /// It stands in line for a refresh as soon as may be.
    pub is_wanted: bool,
    /// Requests of `GET /stock` that wait for a refresh, and when each came.
    pub stock_waiters: Vec<(Instant, ReplyTo)>,
    /// Orders that wait for a refresh because the sale changed under them.
    pub order_waiters: Vec<OrderIndex>,
}

/// Its outbox in Redis, as the last refresh saw it, and what is to be changed there.
#[derive(Debug, Default)]
pub struct OutboxView {
    /// Entries.
    pub entries: u64,
    /// Undelivered orders.
    pub orders: u64,
    /// The oldest entry, and when this core first saw it stand.
    pub oldest: Option<(EntryId, Instant)>,
    /// The newest entry at some refresh, and when that was.
    pub mark: Option<(EntryId, Instant)>,
    /// This entry and all before it were seen to stand the horizon ago.
    pub stood: Option<EntryId>,
    /// Changes that wait for the next write to Redis. No more than entries were under way.
    pub removals: Vec<Removal>,
}

impl OutboxView {
    /// Nothing that was seen of it counts any more.
    pub fn distrust(&mut self) {
        (self.oldest, self.mark, self.stood) = (None, None, None);
    }

    /// Notes the newest entry, and after the horizon that all up to it have stood for so long, whatever time their ids
    /// show.
    pub fn mark_newest(&mut self, now: Instant, newest: Option<EntryId>, horizon: Duration) {
        let Some(newest) = newest else {
            (self.mark, self.stood) = (None, None);
            return;
        };
        match self.mark {
            Some((_, since)) if now.since(since) < horizon => return,
            Some((marked, _)) => self.stood = Some(marked),
            None => {}
        }
        self.mark = Some((newest, now));
    }
}

/// How far the relay's walk over a product's outbox has come, where it has not come to the end.
#[derive(Debug, Default)]
pub struct Walk {
    /// The entry behind which it goes on.
    pub behind: Option<EntryId>,
    /// Calls in a row that have handed out nothing.
    pub empty: u32,
}

/// What the relay knows of it.
#[derive(Debug, Default)]
pub struct Relay {
    /// It stands in the relay's line.
    pub waits: bool,
    /// How far the walk over its outbox has come, where it has not come to the end.
    pub walk: Option<Box<Walk>>,
}

/// When its records are removed that no repeat can need.
#[derive(Debug, Default)]
pub struct Retirement {
    /// It is to be asked whether its records are needed still, from this instant on.
    pub from: Instant,
    /// It stands in that line.
    pub waits: bool,
}

/// What the registry of names says of it.
#[derive(Debug, Default)]
pub struct Listing {
    /// The scan that last named it.
    pub scan: u64,
    /// Its name has left: its sale is over, or there never was one.
    pub has_left: bool,
}

/// One product in memory.
#[derive(Debug)]
pub struct Product {
    pub name: Identifier,
    pub keys: Keys,
    /// Its sale, once one was seen.
    pub sale: Option<Sale>,
    /// That is sold under a fence: by edges that obey it alone.
    pub is_fenced: bool,
    /// The highest sale id and generation under which it was seen suspended.
    pub suspended: Option<(u64, u32)>,
    /// Its orders belong into another topic, as the last refresh said: then there is no `sale`.
    pub is_foreign: bool,
    /// The sale's state as last seen; [`SaleState::SoldOut`] is kept in `sold_out_until` instead.
    pub state: SaleState,
    /// When what is scheduled opens, by this core's clock: never later than it does by Redis' clock.
    pub opens: Instant,
    /// Sold out is remembered before this instant.
    pub sold_out_until: Instant,
    /// Units left, as last seen.
    pub stock: u64,
    /// When `stock` and `state` were asked for; older than 100 ms is asked again.
    pub seen: Option<Instant>,
    /// The last refresh found it whole; a script may have refused it since.
    pub is_good: bool,
    /// What any core of this process has seen of it.
    pub sight: Arc<Sight>,
    /// Its orders under way.
    pub under_way: u32,
    /// Orders that this core has answered with a first 200.
    pub accepted: u64,
    pub admission: AdmissionState,
    pub refresh: Refresh,
    pub outbox: OutboxView,
    pub relay: Relay,
    pub retirement: Retirement,
    pub listing: Listing,
    /// `GET /queue` as last answered, and the requests that wait for the next; made by the first that asks.
    pub document: Option<Box<QueueDocument>>,
}

impl Product {
    /// The latest of its sales that this core has seen.
    pub(crate) fn seen(&self) -> Seen {
        Seen::of(self.latest())
    }

    /// Id and generation of the latest sale that was seen, open, suspended or fenced in the log. Both only ever rise, so a Redis that shows an earlier one
    /// has slept, or has lost what came since. A generation under which a sale is suspended may be a rebuild's that has not come to its
    /// end: its number is taken all the same.
    pub(crate) fn latest(&self) -> Option<(u64, u32)> {
        let fenced = self.sight.standing().ok().flatten().map(|fence| (fence.sale_id, fence.generation));
        self.suspended.max(self.sale.map(|sale| (sale.id, sale.generation))).max(fenced)
    }

    pub(crate) fn new(name: Identifier, sight: Arc<Sight>) -> Product {
        Product {
            name,
            keys: Keys::new(&name),
            sale: None,
            is_fenced: false,
            suspended: None,
            is_foreign: false,
            state: SaleState::Suspended,
            opens: Instant::default(),
            sold_out_until: Instant::default(),
            stock: 0,
            seen: None,
            is_good: false,
            sight,
            under_way: 0,
            accepted: 0,
            admission: AdmissionState::default(),
            refresh: Refresh::default(),
            outbox: OutboxView::default(),
            relay: Relay::default(),
            retirement: Retirement::default(),
            listing: Listing::default(),
            document: None,
        }
    }

    /// What `/metrics` shows of it.
    pub fn gauge(&self, now: Now) -> ProductGauge {
        let oldest = self.outbox.oldest.map_or(0, |(_, since)| now.instant.since(since).as_millis() as u64);
        ProductGauge {
            name: self.name,
            sale: self.sale,
            state: self.visible_state(now.instant),
            stock: self.known_stock(),
            outbox_entries: self.outbox.entries,
            outbox_orders: self.outbox.orders,
            outbox_oldest_ms: oldest,
            seen_ms: self.seen.map(|seen| now.instant.since(seen).as_millis() as u64),
            accepted: self.accepted,
            queue: self.admission.queue.as_ref().and_then(|queue| queue.gauge()),
        }
    }

    /// The sale opens `left` after Redis was asked for it, at `asked`.
    ///
    /// Counted from there the core is early by as long as the question travelled, and never late. An order that comes
    /// in that time is answered by the script, which goes by Redis' clock. So all cores open in one moment, however
    /// long their answers travel.
    pub fn schedule(&mut self, asked: Instant, left: Duration) {
        self.state = SaleState::Scheduled;
        self.opens = asked + left;
    }

    /// A request asks for it on this core.
    pub fn note_asked(&mut self, now: Instant) {
        if now.since(self.refresh.last_asked) >= ASKED_NOTED_EVERY {
            self.refresh.last_asked = now;
            self.sight.note_asked(now);
        }
    }

    /// Redis said that no unit was left.
    pub(crate) fn note_sold_out(&mut self, now: Instant) {
        self.stock = 0;
        self.sold_out_until = now + rare::instead(SOLD_OUT_REMEMBERED, Rare::SoldOutForgotten, Duration::ZERO);
    }

    /// Whether all that was left may have been sold since it was refreshed, a second ago or so.
    pub(crate) fn may_have_sold_out(&self) -> bool {
        self.sale.is_some_and(|sale| self.stock <= sale.rate.saturating_add(sale.burst))
    }

    /// Whether what is remembered is young enough for `GET /stock`.
    pub fn is_fresh(&self, now: Now) -> bool {
        self.seen.is_some_and(|seen| now.instant.since(seen) < STOCK_AGE_MAX)
    }

    /// Whether nothing of its sale is to be delivered or sold any more: closed, with an empty outbox, as last seen; or there
    /// is no sale that this core has ever seen.
    pub fn is_over(&self) -> bool {
        self.is_foreign || self.sale.is_none() || (self.state == SaleState::Closed && self.outbox.entries == 0)
    }

    /// Whether it may leave memory: no request has asked for it for long, nothing waits in it, nothing of it is under
    /// way.
    pub fn may_leave(&self, now: Instant) -> bool {
        now.since(self.refresh.last_asked) >= PRODUCT_IDLE_MIN
            && self.seen.is_some()
            && self.outbox.entries == 0
            && (self.state != SaleState::Suspended || self.sale.is_none())
            && !(self.refresh.is_under_way || self.refresh.is_due || self.refresh.is_wanted || self.refresh.is_active)
            && !self.relay.waits
            && !self.retirement.waits
            && self.admission.queue.is_none()
            && self.admission.waiters.is_empty()
            && self.refresh.stock_waiters.is_empty()
            && self.refresh.order_waiters.is_empty()
            && self.outbox.removals.is_empty()
            && self.document.as_ref().is_none_or(|document| document.is_idle())
    }

    /// Why no order can be sold where there is no sale.
    pub fn refusal(&self) -> Unavailable {
        if self.is_foreign { Unavailable::OtherTopic } else { Unavailable::Suspended }
    }

    /// The state as of now: what was scheduled is open once its time has come.
    pub fn state_at(&self, now: Instant) -> SaleState {
        if self.state == SaleState::Scheduled && now >= self.opens { SaleState::Open } else { self.state }
    }

    /// The state as a client is told.
    pub fn visible_state(&self, now: Instant) -> SaleState {
        let state = self.state_at(now);
        if state == SaleState::Open && self.stock == 0 { SaleState::SoldOut } else { state }
    }

    /// Units left, where that is known: what Redis showed of a sale before it was suspended may be any number by now.
    pub fn known_stock(&self) -> Option<u64> {
        (self.state != SaleState::Suspended).then_some(self.stock)
    }

    /// The answer of `GET /stock`.
    pub fn stock_answer(&self, now: Now) -> Answer {
        Answer::Stock { product: self.name, available: self.known_stock(), state: self.visible_state(now.instant) }
    }

    /// The same where what is remembered is young enough for one.
    pub fn fresh_stock(&self, now: Now) -> Option<Answer> {
        (self.is_fresh(now) && !self.is_foreign).then(|| self.stock_answer(now))
    }

    /// An order that comes by this place is under way: no other order of its user comes by one meanwhile.
    pub fn enter_turn(&mut self, turn: Turn) {
        if let Turn::Called { mark, .. } = turn
            && let Some(queue) = &mut self.admission.queue
        {
            queue.enter_called(mark);
        }
    }

    /// An order that came by this place is under way no more.
    pub fn leave_turn(&mut self, turn: Turn) {
        if let Turn::Called { mark, .. } = turn
            && let Some(queue) = &mut self.admission.queue
        {
            queue.leave_called(mark);
        }
    }

    /// Redis has served an order that came by a place, with a unit or without: the place is used up, and, where it says so,
    /// all of its user up to a later slot.
    pub fn use_turn_up(&mut self, turn: Turn, until: Option<Slot>) {
        if let Turn::Called { slot, mark, .. } = turn
            && let Some(queue) = &mut self.admission.queue
        {
            queue.handle_used_up(mark, until.unwrap_or(slot));
        }
    }
}
