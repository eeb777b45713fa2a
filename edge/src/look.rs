//! Looking at the sales: every second at all of them and at the registry, at once where something changed, and for
//! `GET /stock` when what is remembered is too old.

use std::time::Duration;

use flux_protocol::order::Identifier;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::{self, Reply, ServerError, Value};
use flux_protocol::time::{Instant, Now};
use tracing::{error, warn};

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core, Outcome};
use crate::limits::{
    FOREIGN_TOPICS_MAX, GOOD_LOOK_AGE_MAX, LOOK_PRODUCTS_MAX, LOOKS_OUTSTANDING_MAX, REGISTRY_NAMES_MAX, STOCK_AGE_MAX,
    STOCK_WAITERS_MAX,
};
use crate::outbox::EntryId;
use crate::pending::Ticket;
use crate::product::{Product, ProductIndex, Sale, State};
use crate::reply::Look;
use crate::scripts::SCRIPTS;

impl Core {
    /// The look of every second: the registry, and all products that are not being looked at, a few calls at a time.
    pub(crate) fn look_if_due(&mut self, now: Now) {
        if !self.redis.is_ready() {
            return;
        }
        self.redis.call(now.instant, Call::Registry, |out| resp::command(out, &[b"SMEMBERS", b"flux:products"]));
        // Where there are so many that the round before has not ended yet, it goes on instead.
        if self.look_round as usize >= self.products.len() {
            self.look_round = 0;
        }
        self.look_on(now);
    }

    /// Goes on with the round, as far as calls may be outstanding.
    fn look_on(&mut self, now: Now) {
        while self.looks_outstanding < LOOKS_OUTSTANDING_MAX && self.redis.is_ready() {
            let end = self.products.len().min(self.look_round as usize + LOOK_PRODUCTS_MAX) as u32;
            if self.look_round >= end {
                return;
            }
            // Apart from each other: one flag vouches for all products of a call.
            let (good, other): (Vec<_>, Vec<_>) = (self.look_round..end)
                .map(ProductIndex)
                .filter(|index| !self.products[*index].looking)
                .partition(|index| self.products[*index].vouches(now));
            self.look_round = end;
            for indices in [good, other] {
                if !indices.is_empty() {
                    self.write_look(now, indices);
                }
            }
        }
    }

    /// Looks at one product now, unless it is being looked at.
    pub(crate) fn look_soon(&mut self, now: Now, index: ProductIndex) {
        if !self.products[index].looking && self.redis.is_ready() {
            self.write_look(now, vec![index]);
        }
    }

    /// Looks at one product now if what is remembered of it is as old as a sold-out may be.
    pub(crate) fn look_if_stale(&mut self, now: Now, index: ProductIndex) {
        if !self.products[index].is_fresh(now) {
            self.look_soon(now, index);
        }
    }

    fn write_look(&mut self, now: Now, indices: Vec<ProductIndex>) {
        let mut good = true;
        let mut keys: Vec<&[u8]> = Vec::with_capacity(9 * indices.len());
        for index in &indices {
            let product = &self.products[*index];
            good &= product.vouches(now);
            keys.extend(product.keys.of_product());
        }
        let vouches: &[u8] = if good { b"1" } else { b"0" };
        let mut out = Vec::new();
        SCRIPTS.look.write_call_with(&mut out, &keys, &[vouches, self.config.topic.as_bytes()]);
        for index in &indices {
            let product = &mut self.products[*index];
            product.looking = true;
            product.look_asked = now.instant;
        }
        self.looks_outstanding += 1;
        self.redis.call_script(now.instant, Call::Look(indices), |to| to.extend_from_slice(&out));
    }

    /// What a look saw. No reply: the connection is gone.
    pub(crate) fn handle_look(&mut self, now: Now, indices: &[ProductIndex], reply: Option<Reply<'_>>) {
        let mut items = match reply.map(|reply| reply.items()) {
            Some(Ok(items)) => items,
            Some(Err(error)) => {
                self.note_error(now, error);
                None
            }
            None => None,
        };
        for index in indices {
            let look = items.as_mut().and_then(Look::read);
            let learnt = look.is_some();
            let product = &mut self.products[*index];
            product.looking = false;
            let asked = product.look_asked;
            match look {
                Some(look) => self.see(now, *index, asked, look),
                // Nothing was learnt: what is remembered stays, but vouches for nothing.
                None => product.vouched = None,
            }
            self.after_look(now, *index, learnt);
        }
        self.looks_outstanding -= 1;
        self.look_on(now);
    }

    /// Remembers what a look saw that was asked for at `asked`: it vouches for no later moment.
    pub(crate) fn see(&mut self, now: Now, index: ProductIndex, asked: Instant, look: Look) {
        let before = self.products[index].sale;
        let look = match (&look, before) {
            (Look::Sale { sale, .. }, Some(known))
                if known.is_later_than(sale) && !is_planted(Bug::OlderSaleBelieved) =>
            {
                self.note_older_sale(index, *sale);
                Look::Suspended("behind".into())
            }
            _ => look,
        };
        let product = &mut self.products[index];
        product.seen = Some(asked);
        product.is_foreign = matches!(look, Look::Foreign(_));
        match look {
            Look::Foreign(topic) => {
                (product.sale, product.state, product.vouched) = (None, State::Suspended, None);
                (product.outbox_oldest, product.outbox_mark, product.outbox_stood) = (None, None, None);
                (product.outbox_entries, product.outbox_orders) = (0, 0);
                self.see_line(now, index, 0, None);
                let name = self.products[index].name;
                self.note_foreign(name, topic);
            }
            Look::Unknown => self.suspend(index, "unknown"),
            Look::Suspended(reason) => self.suspend(index, &reason),
            Look::Sale {
                sale,
                state,
                opens_in,
                stock,
                outbox_entries,
                outbox_orders,
                outbox_oldest,
                outbox_newest,
                line_seed,
            } => {
                if product.sale.is_none_or(|known| (known.id, known.generation) != (sale.id, sale.generation)) {
                    product.lease.reset();
                    product.sold_out_until = Instant::default();
                }
                if stock > product.stock {
                    // Units came back: what was remembered is not true any more.
                    product.sold_out_until = Instant::default();
                }
                product.sale = Some(sale);
                product.state = state;
                if state == State::Scheduled {
                    product.schedule(asked, opens_in);
                }
                product.stock = stock;
                product.vouched = Some(asked);
                product.outbox_entries = outbox_entries;
                product.outbox_orders = outbox_orders;
                product.outbox_oldest = outbox_oldest.map(|id| match product.outbox_oldest {
                    Some((known, since)) if known == id => (known, since),
                    _ => (id, now.instant),
                });
                product.mark_outbox(now, outbox_newest, self.config.relay_horizon());
                let stands = product.outbox_oldest.is_some_and(|(_, since)| now.instant > since);
                if self.is_first {
                    if stands {
                        self.relay_if_due(now, index);
                    }
                    self.retire_if_due(now, index);
                }
                self.see_line(now, index, sale.id, line_seed);
            }
        }
        let product = &self.products[index];
        let is_over = matches!(product.state, State::Closed | State::Suspended);
        if is_over || product.sale != before {
            self.redrive(now, index);
        }
    }

    /// Says once for each topic that sales of it stand here: an edge or a Redis is not where it was meant to be.
    pub(crate) fn note_foreign(&mut self, name: Identifier, topic: String) {
        if self.foreign_topics.contains(&topic) || self.foreign_topics.len() >= FOREIGN_TOPICS_MAX {
            return;
        }
        tracing::warn!(
            product = name.as_str(),
            topic,
            own = self.config.topic,
            "a sale on this Redis is of another topic: it and all others of that topic are left alone (503)"
        );
        self.foreign_topics.push(topic);
    }

    /// Redis cannot be trusted with the product: nothing is sold of it, and nothing that was seen of its outbox counts.
    fn suspend(&mut self, index: ProductIndex, reason: &str) {
        let product = &mut self.products[index];
        // A script may have said so since the last good look.
        if product.state != State::Suspended || product.vouched.is_some() {
            product.state = State::Suspended;
            self.counters.suspensions.add(1);
            // Once and then ever more rarely: where Redis is another one, all of a hundred thousand are.
            let suspensions = self.counters.suspensions.get();
            if suspensions.is_power_of_two() {
                warn!(product = product.name.as_str(), reason, suspensions, "a sale is suspended");
            }
        }
        product.vouched = None;
        (product.outbox_oldest, product.outbox_mark, product.outbox_stood) = (None, None, None);
    }

    /// Redis shows an earlier sale or generation than this core has seen. It is told until it ends, each time twice as
    /// rarely as before.
    fn note_older_sale(&self, index: ProductIndex, shown: Sale) {
        self.counters.older_sales.add(1);
        let seen = self.counters.older_sales.get();
        if !seen.is_power_of_two() {
            return;
        }
        let product = &self.products[index];
        let Some(known) = product.sale else { return };
        error!(
            product = product.name.as_str(),
            seen_sale = known.id,
            seen_generation = known.generation,
            shown_sale = shown.id,
            shown_generation = shown.generation,
            times = seen,
            "Redis shows an earlier sale than it has shown before: an old master that woke, or a copy that was put back; \
             nothing is sold from it"
        );
    }

    /// Those who waited for the look go on.
    fn after_look(&mut self, now: Now, index: ProductIndex, learnt: bool) {
        for order in std::mem::take(&mut self.products[index].look_waiters) {
            self.re_enter(now, order);
        }
        let mut waiters = std::mem::take(&mut self.products[index].stock_waiters);
        for ticket in waiters.drain(..) {
            let product = &self.products[index];
            let answer = match learnt {
                true if product.is_foreign => Answer::Unavailable(Unavailable::OtherTopic),
                true => stock_of(now, product),
                false => Answer::Unavailable(Unavailable::Redis),
            };
            self.complete(ticket, answer);
        }
        self.products[index].stock_waiters = waiters;
    }

    /// `GET /stock/{product}` of a product in memory.
    pub(crate) fn handle_stock(&mut self, now: Now, index: ProductIndex, ticket: Ticket) -> Outcome {
        let product = &mut self.products[index];
        if product.is_fresh(now) {
            return Outcome::Now(stock_of(now, product));
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if product.stock_waiters.len() >= STOCK_WAITERS_MAX {
            return Outcome::Now(Answer::Unavailable(Unavailable::Full));
        }
        product.stock_waiters.push(ticket);
        self.look_soon(now, index);
        Outcome::Later
    }

    /// The registry's names: those not in memory are learnt, those it lacks are put back.
    pub(crate) fn handle_registry(&mut self, now: Now, reply: Reply<'_>) {
        let items = match reply.items() {
            Ok(Some(items)) => items,
            Ok(None) => return,
            Err(error) => return self.note_error(now, error),
        };
        let known = self.products.len();
        let mut listed = vec![false; known];
        for item in items {
            let Value::Bulk(name) = item else { continue };
            let Some(name) = Identifier::new(name) else { continue };
            match self.products.find(name.as_bytes()) {
                Some(index) if (index.0 as usize) < known => listed[index.0 as usize] = true,
                Some(_) => {}
                None => drop(self.products.insert(name)),
            }
        }
        // The new ones stand behind all others: a round that has ended begins again with them, another comes to them.
        self.look_on(now);
        let lacking: Vec<&[u8]> = self
            .products
            .indices()
            .take(known)
            .filter(|index| !listed[index.0 as usize] && self.products[*index].sale.is_some())
            .take(REGISTRY_NAMES_MAX)
            .map(|index| self.products[index].name.as_bytes())
            .collect();
        if !lacking.is_empty() {
            self.redis.call(now.instant, Call::Quiet, |out| {
                resp::array_header(out, 2 + lacking.len());
                resp::bulk(out, b"SADD");
                resp::bulk(out, b"flux:products");
                lacking.iter().for_each(|name| resp::bulk(out, name));
            });
        }
    }

    /// An error reply: counted by its kind.
    pub(crate) fn note_error(&mut self, _now: Now, error: ServerError<'_>) {
        self.counters.redis_error(error.kind());
        self.refusals.note(error);
    }
}

impl Product {
    /// Notes the newest entry, and after the horizon that all up to it have stood for so long, whatever time their ids
    /// show.
    fn mark_outbox(&mut self, now: Now, newest: Option<EntryId>, horizon: Duration) {
        let Some(newest) = newest else {
            (self.outbox_mark, self.outbox_stood) = (None, None);
            return;
        };
        match self.outbox_mark {
            Some((_, since)) if now.instant.since(since) < horizon => return,
            Some((marked, _)) => self.outbox_stood = Some(marked),
            None => {}
        }
        self.outbox_mark = Some((newest, now.instant));
    }

    /// Whether the last good look came by this connection a moment ago.
    fn vouches(&self, now: Now) -> bool {
        self.vouched.is_some_and(|seen| now.instant.since(seen) < GOOD_LOOK_AGE_MAX)
    }

    /// Whether what is remembered is young enough for `GET /stock`.
    fn is_fresh(&self, now: Now) -> bool {
        self.seen.is_some_and(|seen| now.instant.since(seen) < STOCK_AGE_MAX)
    }
}

fn stock_of(now: Now, product: &Product) -> Answer {
    Answer::Stock { product: product.name, available: product.stock, state: product.visible_state(now.instant) }
}
