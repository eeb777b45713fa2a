//! Looking at the sales: each second at those that requests ask for, in turn at all others, at once where something
//! changed, and for `GET /stock` when what is remembered is too old.
//!
//! What one core sees it shows the process' others (`board.rs`), so one look serves all. The first core walks through
//! all products, a bounded number a round, and so finds what no request asks for. The others look only at what they are
//! asked for and the board does not show. An order needs none of this to be right: its script trusts no edge's memory.

use std::collections::VecDeque;
use std::time::Duration;

use flux_protocol::resp::{self, Items, Reply, ServerError, Value};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Unavailable};
use crate::core::state::orders::ReplyTo;
use crate::core::state::product::{Product, ProductIndex, SaleState};
use crate::core::{Core, Outcome, PendingCall};
use crate::limits::{
    ACTIVE_SPAN, CLOSED_REFRESH_INTERVAL, PLACES_WALKED_MAX, REFRESH_INTERVAL, REFRESH_PRODUCTS_MAX,
    REFRESHES_IDLE_MAX, REFRESHES_OUTSTANDING_MAX, STOCK_WAITERS_MAX,
};
use crate::redis::replies::Look;
use crate::redis::scripts::SCRIPTS;

/// What a look younger than this has seen need not be looked at in the next round: a round may come a little early.
const LOOKED_JUST_NOW: Duration = REFRESH_INTERVAL.saturating_sub(Duration::from_millis(100));

/// Looks to be taken, and how far the walk has come.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    outstanding: usize,
    /// Requests wait for these.
    wanted: VecDeque<ProductIndex>,
    /// This round's.
    due: VecDeque<ProductIndex>,
    /// The place of the table at which the walk goes on.
    walked: usize,
    /// Places still to be walked past that are all looked at: Redis is another than it was.
    suspect: usize,
}

impl Core {
    /// The look of every second.
    pub(crate) fn refresh_if_due(&mut self, now: Now) {
        self.free_places(now);
        if !self.redis.is_ready() {
            return;
        }
        self.ask_identity(now);
        self.read_registry(now);
        self.begin_round(now);
        self.refresh_on(now);
    }

    /// Redis is another, or may be: all that this core looks at is looked at as soon as may be.
    pub(crate) fn suspect_all(&mut self) {
        self.refreshes.suspect = self.products.places();
    }

    /// Asks Redis who it is: one answer a second vouches for all products (`witness.rs`).
    fn ask_identity(&mut self, now: Now) {
        self.redis.call(now.instant, PendingCall::Identity(now.instant), |out| {
            resp::command(out, &[b"INFO", b"server", b"replication"]);
        });
    }

    pub(crate) fn handle_identity(&mut self, now: Now, asked: Instant, reply: Reply<'_>) {
        let is_another = match reply.value() {
            Value::Bulk(info) => self.witness.see(asked, &String::from_utf8_lossy(info)),
            Value::Error(error) => {
                self.note_error(error);
                false
            }
            _ => false,
        };
        if is_another {
            self.suspect_all();
            self.begin_round(now);
            self.refresh_on(now);
        }
    }

    /// What is to be looked at in this round: what is asked for, then whose turn it is of all others.
    fn begin_round(&mut self, now: Now) {
        let mut active = std::mem::take(&mut self.active);
        active.retain(|index| {
            let product = &self.products[*index];
            let is_active = now.instant.since(product.asked) < ACTIVE_SPAN
                || (self.is_first
                    && (product.sight.is_asked_for(now.instant, ACTIVE_SPAN) || product.outbox_entries > 0));
            if is_active {
                self.make_due(now, *index);
            } else {
                self.products[*index].is_active = false;
            }
            is_active
        });
        self.active = active;
        self.walk(now);
    }

    /// A step through the table, as far as the round's share goes.
    fn walk(&mut self, now: Now) {
        let places = self.products.places();
        let mut left = REFRESHES_IDLE_MAX.saturating_sub(self.refreshes.due.len());
        for _ in 0..places.min(PLACES_WALKED_MAX) {
            if left == 0 && self.refreshes.suspect == 0 {
                return;
            }
            let place = self.refreshes.walked;
            self.refreshes.walked = if place + 1 < places { place + 1 } else { 0 };
            if let Some(index) = self.products.named_at(place)
                && self.walk_past(now, index)
            {
                left = left.saturating_sub(1);
            }
            self.refreshes.suspect = self.refreshes.suspect.saturating_sub(1);
        }
    }

    /// One product of the walk; whether it is to be looked at.
    fn walk_past(&mut self, now: Now, index: ProductIndex) -> bool {
        self.note_lacking(index);
        if self.leave_if_over(now, index) || !self.is_first || self.products[index].is_active {
            return false;
        }
        let product = &self.products[index];
        if product.sight.is_asked_for(now.instant, ACTIVE_SPAN) || product.outbox_entries > 0 {
            self.make_active(index);
        }
        self.make_due(now, index)
    }

    /// Puts a product into this round, unless it was looked at just now; whether it was put.
    fn make_due(&mut self, now: Now, index: ProductIndex) -> bool {
        let is_suspect = self.refreshes.suspect > 0;
        if !self.is_first && !is_suspect {
            self.catch_up(now, index);
        }
        let product = &mut self.products[index];
        let is_asked_for = product.is_active && now.instant.since(product.asked) < ACTIVE_SPAN;
        let is_over = product.state == SaleState::Closed && product.outbox_entries == 0;
        let interval = if is_over && !is_asked_for { CLOSED_REFRESH_INTERVAL } else { LOOKED_JUST_NOW };
        let is_fresh = product.seen.is_some_and(|seen| now.instant.since(seen) < interval) && !is_suspect;
        if is_fresh || product.is_refreshing || std::mem::replace(&mut product.refresh_waits, true) {
            return false;
        }
        self.refreshes.due.push_back(index);
        true
    }

    /// It is looked at every second from now on, for as long as it is asked for.
    fn make_active(&mut self, index: ProductIndex) {
        if !std::mem::replace(&mut self.products[index].is_active, true) {
            self.active.push(index);
        }
    }

    /// A request asks for the product. One that no request had asked for in a while is looked at.
    pub(crate) fn note_asked(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        product.note_asked(now.instant);
        if !product.is_active {
            self.make_active(index);
            self.catch_up(now, index);
            let seen = self.products[index].seen;
            if seen.is_none_or(|seen| now.instant.since(seen) >= REFRESH_INTERVAL) {
                self.refresh_soon(now, index);
            }
        }
    }

    /// Takes over what another core has seen since.
    pub(crate) fn catch_up(&mut self, now: Now, index: ProductIndex) {
        let product = &self.products[index];
        if let Some((asked, look)) = product.sight.take(product.seen) {
            self.see(now, index, asked, look);
        }
    }

    /// Whether the sale this core knows is still the latest that any core of the process knows, as far as its memory can be
    /// brought to that without asking Redis. Of a sale that another core has closed it knows then, too.
    pub(crate) fn is_up_to_date(&mut self, now: Now, index: ProductIndex) -> bool {
        let product = &mut self.products[index];
        let Some(sale) = product.sale else { return true };
        if product.sight.is_replaced(sale.id) {
            self.catch_up(now, index);
            let product = &self.products[index];
            return product.sale.is_none_or(|sale| !product.sight.is_replaced(sale.id));
        }
        if product.sight.is_closed_since(sale.id, product.seen) && product.state != SaleState::Suspended {
            product.state = SaleState::Closed;
        }
        true
    }

    /// Writes looks, as many as may be outstanding: first those that requests wait for.
    fn refresh_on(&mut self, now: Now) {
        while self.refreshes.outstanding < REFRESHES_OUTSTANDING_MAX && self.redis.is_ready() {
            let mut indices = Vec::new();
            while indices.len() < REFRESH_PRODUCTS_MAX {
                let Some(index) = self.refreshes.wanted.pop_front().or_else(|| self.refreshes.due.pop_front()) else {
                    break;
                };
                let product = &mut self.products[index];
                if std::mem::replace(&mut product.refresh_waits, false) && !product.is_refreshing {
                    indices.push(index);
                }
            }
            if !indices.is_empty() {
                self.write_refresh(now, indices);
            } else if self.refreshes.suspect > 0 {
                self.walk(now);
            } else {
                return;
            }
        }
    }

    /// Looks at one product as soon as may be, unless it is being looked at.
    pub(crate) fn refresh_soon(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        if !product.is_refreshing && self.redis.is_ready() {
            product.refresh_waits = true;
            self.refreshes.wanted.push_back(index);
            self.refresh_on(now);
        }
    }

    /// Looks at one product now if what is remembered of it is as old as a sold-out may be.
    pub(crate) fn refresh_if_stale(&mut self, now: Now, index: ProductIndex) {
        if !self.products[index].is_fresh(now) {
            self.refresh_soon(now, index);
        }
    }

    fn write_refresh(&mut self, now: Now, indices: Vec<ProductIndex>) {
        let mut keys: Vec<&[u8]> = Vec::with_capacity(9 * indices.len());
        for index in &indices {
            keys.extend(self.products[*index].keys.of_product());
        }
        let vouched = self.witness.vouches(now.instant);
        let mut out = Vec::new();
        SCRIPTS.look.write_call_with(&mut out, &keys, &[&vouched, self.config.topic.as_bytes()]);
        for index in &indices {
            let product = &mut self.products[*index];
            product.is_refreshing = true;
            product.refresh_asked = now.instant;
        }
        self.refreshes.outstanding += 1;
        self.redis.call_script(now.instant, PendingCall::Refresh(indices), |to| to.extend_from_slice(&out));
    }

    /// What a look saw. No reply: the connection is gone.
    pub(crate) fn handle_refreshed(&mut self, now: Now, indices: &[ProductIndex], reply: Option<Reply<'_>>) {
        let mut items = self.items_of(reply);
        for index in indices {
            let look = items.as_mut().and_then(Look::read);
            let learnt = look.is_some();
            let product = &mut self.products[*index];
            product.is_refreshing = false;
            let asked = product.refresh_asked;
            if let Some(look) = look {
                product.sight.publish(asked, &look);
                self.see(now, *index, asked, look);
                if self.products[*index].is_over() {
                    self.note_over(now, *index);
                } else {
                    self.products[*index].has_left_registry = false;
                }
            }
            self.after_refresh(now, *index, learnt);
        }
        self.refreshes.outstanding -= 1;
        self.refresh_on(now);
    }

    /// The requests that waited for the look go on.
    fn after_refresh(&mut self, now: Now, index: ProductIndex, learnt: bool) {
        for order in std::mem::take(&mut self.products[index].refresh_waiters) {
            self.re_enter(now, order);
        }
        let mut waiters = std::mem::take(&mut self.products[index].stock_waiters);
        for reply_to in waiters.drain(..) {
            let product = &self.products[index];
            let answer = match learnt {
                true if product.is_foreign => Answer::Unavailable(Unavailable::OtherTopic),
                true => stock_of(now, product),
                false => Answer::Unavailable(Unavailable::Redis),
            };
            self.complete(reply_to, answer);
        }
        self.products[index].stock_waiters = waiters;
    }

    /// `GET /stock/{product}` of a product in memory.
    pub(crate) fn handle_stock(&mut self, now: Now, index: ProductIndex, reply_to: ReplyTo) -> Outcome {
        self.note_asked(now, index);
        if self.is_up_to_date(now, index) {
            if let Some(stock) = self.products[index].fresh_stock(now) {
                return Outcome::Now(stock);
            }
            self.catch_up(now, index);
            if let Some(stock) = self.products[index].fresh_stock(now) {
                return Outcome::Now(stock);
            }
        }
        let product = &mut self.products[index];
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if product.stock_waiters.len() >= STOCK_WAITERS_MAX {
            return Outcome::Now(Answer::Unavailable(Unavailable::Full));
        }
        product.stock_waiters.push(reply_to);
        self.refresh_soon(now, index);
        Outcome::Later
    }

    /// What an array holds; nothing where Redis refused, which is noted, or where no reply came.
    pub(crate) fn items_of<'b>(&mut self, reply: Option<Reply<'b>>) -> Option<Items<'b>> {
        reply?.items().unwrap_or_else(|error| {
            self.note_error(error);
            None
        })
    }

    /// An error reply: counted by its kind.
    pub(crate) fn note_error(&mut self, error: ServerError<'_>) {
        self.counters.redis_error(error.kind());
        self.refusals.note(error);
    }
}

impl Product {
    /// The answer of `GET /stock` where what is remembered is young enough for one.
    fn fresh_stock(&self, now: Now) -> Option<Answer> {
        (self.is_fresh(now) && !self.is_foreign).then(|| stock_of(now, self))
    }
}

fn stock_of(now: Now, product: &Product) -> Answer {
    Answer::Stock { product: product.name, available: product.stock, state: product.visible_state(now.instant) }
}
