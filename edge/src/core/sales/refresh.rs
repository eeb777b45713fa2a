//! Refreshing what is known of the sales (`lua/refresh.lua`): each second those that requests ask for, in turn all others, at once
//! where something changed, and for `GET /stock` when what is remembered is too old.
//!
//! What one core sees it shows the process' others (`board.rs`), so one refresh serves all. The first core walks through
//! all products, a bounded number a round, and so finds what no request asks for. The others refresh only what they are
//! asked for and the board does not show. An order needs none of this to be right: its script trusts no edge's memory.

use std::time::Duration;

use flux_protocol::resp::{self, Reply, Value};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::wakes::Wake;
use crate::limits::{
    ACTIVE_SPAN, CLOSED_REFRESH_INTERVAL, PLACES_WALKED_MAX, REFRESH_INTERVAL, REFRESH_PRODUCTS_MAX,
    REFRESHES_IDLE_MAX, REFRESHES_OUTSTANDING_MAX, STOCK_AGE_MAX,
};
use crate::redis::replies::Refreshed;
use crate::redis::scripts::SCRIPTS;
use crate::sale::SaleState;

/// By how much a round may come early.
const ROUND_EARLY_MAX: Duration = Duration::from_millis(100);
/// What a refresh younger than this has seen a core need not refresh that is not the first: the first will.
const REFRESHED_JUST_NOW: Duration = REFRESH_INTERVAL.saturating_sub(ROUND_EARLY_MAX);

impl Core {
    /// The round of every second.
    pub(crate) fn begin_refresh(&mut self, now: Now) {
        self.free_places(now);
        if !self.redis.is_ready() {
            return;
        }
        self.ask_identity(now);
        self.read_registry(now);
        self.begin_round(now);
        self.write_refreshes(now);
    }

    /// Asks Redis who it is: one answer a second vouches for all products (`witness.rs`).
    fn ask_identity(&mut self, now: Now) {
        self.redis.call(now.instant, PendingCall::Identity(now.instant), |out| {
            resp::command(out, &[b"INFO", b"server", b"replication"]);
        });
    }

    pub(crate) fn handle_identity(&mut self, now: Now, asked: Instant, reply: Option<Reply<'_>>) {
        let is_another = match reply.map(|reply| reply.value()) {
            Some(Value::Bulk(info)) => self.witness.see(asked, now.instant, &String::from_utf8_lossy(info)),
            Some(Value::Error(error)) => {
                self.refusals.note(&self.counters, error);
                false
            }
            _ => false,
        };
        if is_another {
            self.refreshes.suspect_all(&self.products);
            self.begin_round(now);
        }
    }

    /// What is to be refreshed in this round: what is asked for, then whose turn it is of all others.
    fn begin_round(&mut self, now: Now) {
        let mut active = std::mem::take(&mut self.refreshes.active);
        active.retain(|index| {
            let product = &self.products[*index];
            let is_active = now.instant.since(product.refresh.last_asked) < ACTIVE_SPAN
                || (self.is_first
                    && (product.sight.is_asked_for(now.instant, ACTIVE_SPAN) || product.outbox.entries > 0));
            if is_active {
                self.make_due(now, *index);
            } else {
                self.products[*index].refresh.is_active = false;
            }
            is_active
        });
        self.refreshes.active = active;
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

    /// One product of the walk; whether it is to be refreshed.
    fn walk_past(&mut self, now: Now, index: ProductIndex) -> bool {
        self.note_lacking(index);
        if self.leave_if_over(now, index) || !self.is_first || self.products[index].refresh.is_active {
            return false;
        }
        let product = &self.products[index];
        if product.sight.is_asked_for(now.instant, ACTIVE_SPAN) || product.outbox.entries > 0 {
            self.refreshes.make_active(&mut self.products, index);
        }
        self.make_due(now, index)
    }

    /// Puts a product into this round, unless it was refreshed just now; whether it was put.
    fn make_due(&mut self, now: Now, index: ProductIndex) -> bool {
        let is_suspect = self.refreshes.suspect > 0;
        if !self.is_first && !is_suspect {
            self.catch_up(now, index);
        }
        let product = &self.products[index];
        let is_asked_for = product.refresh.is_active && now.instant.since(product.refresh.last_asked) < ACTIVE_SPAN;
        let is_over = product.state == SaleState::Closed && product.outbox.entries == 0;
        let interval = match (is_over && !is_asked_for, self.is_first) {
            (true, _) => CLOSED_REFRESH_INTERVAL,
            // All cores go by its rounds: what it leaves out now is not seen for another second.
            (false, true) => ROUND_EARLY_MAX,
            (false, false) => REFRESHED_JUST_NOW,
        };
        let is_fresh = product.seen.is_some_and(|seen| now.instant.since(seen) < interval) && !is_suspect;
        !is_fresh && !product.refresh.is_under_way && self.refreshes.make_due(&mut self.products, index)
    }

    /// A request asks for the product. One that no request had asked for in a while is refreshed.
    pub(crate) fn note_asked(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        product.note_asked(now.instant);
        if !product.refresh.is_active {
            self.refreshes.make_active(&mut self.products, index);
            self.catch_up(now, index);
            let seen = self.products[index].seen;
            if seen.is_none_or(|seen| now.instant.since(seen) >= REFRESH_INTERVAL) {
                self.refreshes.want(&mut self.products, index);
            }
        }
    }

    /// Takes over what another core has seen since.
    pub(crate) fn catch_up(&mut self, now: Now, index: ProductIndex) {
        let product = &self.products[index];
        if let Some((asked, refreshed)) = product.sight.take(product.seen) {
            self.see(now, index, asked, refreshed);
        }
    }

    /// Whether the sale this core knows is still the latest that any core of the process knows, as far as its memory can be
    /// brought to that without asking Redis. Of a sale that another core has closed, or found suspended, it knows then, too.
    pub(crate) fn is_up_to_date(&mut self, now: Now, index: ProductIndex) -> bool {
        let product = &mut self.products[index];
        let Some(sale) = product.sale else { return true };
        if product.sight.is_suspended_since(product.seen) {
            self.catch_up(now, index);
            let product = &mut self.products[index];
            if product.sight.is_suspended_since(product.seen) {
                // A core that looked at the same time has left the words to it.
                product.state = SaleState::Suspended;
                self.refreshes.want(&mut self.products, index);
            }
        }
        let product = &mut self.products[index];
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

    /// Writes refreshes, as many as may be outstanding: first those that requests wait for.
    pub(crate) fn write_refreshes(&mut self, now: Now) {
        while self.refreshes.outstanding < REFRESHES_OUTSTANDING_MAX && self.refreshes.has_work() {
            let mut indices = Vec::new();
            while indices.len() < REFRESH_PRODUCTS_MAX
                && let Some(index) = self.refreshes.pop(&mut self.products)
            {
                indices.push(index);
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

    fn write_refresh(&mut self, now: Now, indices: Vec<ProductIndex>) {
        let mut keys: Vec<&[u8]> = Vec::with_capacity(9 * indices.len());
        for index in &indices {
            keys.extend(self.products[*index].keys.of_product());
        }
        let vouched = self.witness.vouches(now.instant);
        let mut out = Vec::new();
        SCRIPTS.refresh.write_call_with(&mut out, &keys, &[&vouched, self.config.topic.as_bytes()]);
        for index in &indices {
            let product = &mut self.products[*index];
            product.refresh.is_under_way = true;
            product.refresh.asked = now.instant;
        }
        self.refreshes.outstanding += 1;
        self.redis.call_script(now.instant, PendingCall::Refresh(indices), |to| to.extend_from_slice(&out));
    }

    /// What a refresh saw. No reply: the connection is gone.
    pub(crate) fn handle_refreshed(&mut self, now: Now, indices: &[ProductIndex], reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        for index in indices {
            let refreshed = items.as_mut().and_then(Refreshed::read);
            let learnt = refreshed.is_some();
            let product = &mut self.products[*index];
            product.refresh.is_under_way = false;
            let asked = product.refresh.asked;
            if let Some(refreshed) = refreshed {
                product.sight.publish(now.instant, asked, &refreshed);
                self.see(now, *index, asked, refreshed);
                if self.products[*index].is_over() {
                    self.note_over(now, *index);
                } else {
                    self.products[*index].listing.has_left = false;
                }
            }
            self.after_refresh(now, *index, learnt);
        }
        self.refreshes.outstanding -= 1;
    }

    /// The requests that waited for the refresh go on.
    fn after_refresh(&mut self, now: Now, index: ProductIndex, learnt: bool) {
        let refresh = &mut self.products[index].refresh;
        self.wakes.extend(refresh.order_waiters.drain(..), Wake::Again);
        let asked = refresh.asked;
        let mut waiters = std::mem::take(&mut refresh.stock_waiters);
        let product = &self.products[index];
        waiters.retain(|(came, reply_to)| {
            // Behind a slow Redis what was seen may be as old as the question.
            if learnt && came.since(asked) >= STOCK_AGE_MAX {
                return true;
            }
            let answer = match learnt {
                true if product.is_foreign => Answer::Unavailable(Unavailable::OtherTopic),
                true => product.stock_answer(now),
                false => Answer::Unavailable(Unavailable::Redis),
            };
            self.replies.complete(*reply_to, answer);
            false
        });
        let is_asked_again = !waiters.is_empty();
        self.products[index].refresh.stock_waiters = waiters;
        if is_asked_again {
            self.refreshes.want(&mut self.products, index);
        }
    }
}
