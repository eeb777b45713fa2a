//! The fair queue in the life of a core: the way of an order through it, and the call that reports, learns where the line
//! stands and takes tokens, all in one (`lua/lease.lua`).
//!
//! Sales without a fair queue meet nothing of this but one question: whether they have one.

use std::time::Duration;

use flux_protocol::order::Identifier;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::queue::limits::{HOLD_US, TICKS};
use flux_protocol::queue::{Moved, Place, Slot, Watermark};
use flux_protocol::resp::{Arguments, Items, Reply};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::admission::tokens::{LeaseReply, Ungranted};
use crate::core::order::order::{Way, Wish, waiting_room};
use crate::core::schedule::{Work, has_share};
use crate::core::state::orders::{OrderIndex, Stage, Turn};
use crate::core::state::product::{Product, ProductIndex, SaleState};
use crate::core::state::queue_state::{Called, QueueState, TicketText, Verdict};
use crate::core::state::token_lease::lease_life;
use crate::core::{Core, PendingCall};
use crate::limits::{LOOKUPS_WAITING_MAX, TOKEN_WAITERS_MAX};
use crate::redis::scripts::SCRIPTS;

/// A call for tokens of a sale with a fair queue.
#[derive(Clone, Copy, Debug)]
pub struct LineCall {
    product: ProductIndex,
    sale_id: u64,
    wants_tokens: bool,
}

/// What `lease.lua` answers where there is a line.
struct LineReply {
    grant: LeaseReply,
    redis_us: u64,
    opens_us: u64,
    moved: Moved,
}

impl LineReply {
    fn read(items: &mut Items<'_>) -> Option<LineReply> {
        let grant = LeaseReply::read(items)?;
        let (redis_us, opens_us) = (items.next_number()?, items.next_number()?);
        let watermark = mark(items)?;
        let is_free = items.next_number()? == 1;
        let (issued, called, tick) = (items.next_number()?, items.next_number()?, items.next_number()?);
        let mut marks = [Watermark::default(); TICKS];
        for place in &mut marks {
            *place = mark(items)?;
        }
        let moved = Moved { watermark, is_free, issued, called, tick, marks };
        Some(LineReply { grant, redis_us, opens_us, moved })
    }
}

fn mark(items: &mut Items<'_>) -> Option<Watermark> {
    let slot = u32::try_from(items.next_number()?).ok()?;
    let rank = u32::try_from(items.next_number()?).ok()?;
    Some(Watermark(Place { slot, rank }))
}

impl Core {
    /// What a look said of a product's line: `seed` where it has a fair queue. A closed sale has none any more: no user
    /// is called.
    pub(crate) fn see_line(&mut self, now: Now, index: ProductIndex, sale_id: u64, seed: Option<[u8; 32]>) {
        let product = &mut self.products[index];
        let seed = seed.filter(|_| product.state != SaleState::Closed);
        if product.queue.as_ref().map(|queue| queue.sale_id()) == seed.map(|_| sale_id) {
            return;
        }
        let before = product.queue.take();
        product.queue = seed.map(|seed| Box::new(QueueState::new(product.name.as_bytes(), sale_id, seed)));
        // The caller, which has taken the look, sends them on their way again.
        product.refresh_waiters.extend(before.into_iter().flat_map(|queue| queue.waiters));
        if product.queue.is_some() {
            if !self.fair_products.contains(&index) {
                self.fair_products.push(index);
            }
            self.ask_line(now, index, true);
        }
    }

    /// The way of an order whose sale has a fair queue.
    pub(crate) fn way_in_line(&mut self, now: Now, index: ProductIndex, wish: &Wish) -> Way {
        let Product { name, queue, tokens, token_waiters, pending, .. } = &mut self.products[index];
        let queue = queue.as_mut().expect("the caller asks whether there is one");
        let has_place = token_waiters.len() < TOKEN_WAITERS_MAX;
        let user = wish.user.as_bytes();
        let ticket = match queue.admit(now.instant, tokens, user, wish.shown.as_ref()) {
            Verdict::Admitted(called) => {
                let token_expires = tokens.last_expires();
                return Way::Reserve(called.map_or(Turn::None, |Called { slot, mark }| Turn::Called {
                    slot,
                    mark,
                    token_expires,
                }));
            }
            Verdict::Held(Called { slot, mark }) if has_place => {
                return Way::Hold(Turn::Called { slot, mark, token_expires: now.instant });
            }
            Verdict::UsedUp { slot, until }
                if has_share(*pending as usize, self.reserve_calls.lookups_waiting(), LOOKUPS_WAITING_MAX) =>
            {
                return Way::LookUp(Turn::UsedUp { slot, until });
            }
            Verdict::UsedUp { .. } => return Way::Answer(Answer::Unavailable(Unavailable::Full)),
            Verdict::Wait if has_place => return Way::AwaitToken,
            Verdict::Unknown if queue.waiters.len() < TOKEN_WAITERS_MAX => return Way::AwaitLine,
            Verdict::Unknown => return Way::Answer(Answer::Unavailable(Unavailable::Redis)),
            Verdict::Line(ticket) => Some(ticket),
            Verdict::Held(_) => {
                self.counters.lines.turned_away.add(1);
                queue.send_away(now.instant, user, wish.shown.as_ref())
            }
            Verdict::Wait => queue.send_to_line(now.instant, user, wish.shown.as_ref()),
        };
        Way::Answer(in_line(*name, ticket, wish.wants_json))
    }

    /// An order that waits for news of the line.
    pub(crate) fn await_line(&mut self, now: Now, index: OrderIndex, product: ProductIndex) {
        let queue = self.products[product].queue.as_mut().expect("its line is unknown");
        queue.waiters.push(index);
        self.ask_line(now, product, true);
    }

    /// Over the limit or too early: to the waiting room, with a place in line where there is one.
    pub(crate) fn turn_away(&mut self, now: Now, index: OrderIndex, product: ProductIndex) -> Answer {
        let Product { name, queue, .. } = &mut self.products[product];
        let order = self.orders.get(index).expect("the caller has looked");
        let Some(queue) = queue else { return waiting_room(*name, order.wants_json) };
        let (user, shown) = (order.user.as_bytes(), order.shown.as_ref());
        let ticket = match order.stage {
            Stage::Held => {
                self.counters.lines.turned_away.add(1);
                queue.send_away(now.instant, user, shown)
            }
            _ => queue.send_to_line(now.instant, user, shown),
        };
        in_line(*name, ticket, order.wants_json)
    }

    /// A called order has got its token at the door. Its time begins anew: until now it waited for its turn, not for Redis.
    pub(crate) fn let_in(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get_mut(index).filter(|order| order.stage == Stage::Held) else { return };
        order.received = now.instant;
        self.by_received.push_back((now.instant, index));
        let product = &mut self.products[order.product];
        if let Turn::Called { token_expires, .. } = &mut order.turn {
            *token_expires = product.tokens.last_expires();
        }
        if let Some(queue) = &mut product.queue {
            let mark = queue.mark(order.user.as_bytes());
            queue.serve(mark);
        }
    }

    /// An order comes by another place from now on, or by none: while it comes by one, no other order of its user does.
    pub(crate) fn take_turn(&mut self, index: OrderIndex, turn: Turn) {
        let Some(order) = self.orders.get_mut(index) else { return };
        let (product, before) = (order.product, std::mem::replace(&mut order.turn, turn));
        self.leave_door(product, before);
        if let Turn::Called { mark, .. } = turn
            && let Some(queue) = &mut self.products[product].queue
        {
            queue.enter_door(mark);
        }
    }

    /// An order that came by this place is under way no more.
    pub(crate) fn leave_door(&mut self, product: ProductIndex, turn: Turn) {
        if let Turn::Called { mark, .. } = turn
            && let Some(queue) = &mut self.products[product].queue
        {
            queue.leave_door(mark);
        }
    }

    /// Redis has served an order that came by a place, with a unit or without: the place is used up, and, where it says so, all
    /// of its user up to a later slot.
    pub(crate) fn use_turn_up(&mut self, index: OrderIndex, until: Option<Slot>) {
        let Some(order) = self.orders.get(index) else { return };
        if let Turn::Called { slot, mark, .. } = order.turn
            && let Some(queue) = &mut self.products[order.product].queue
        {
            queue.handle_used_up(mark, until.unwrap_or(slot));
        }
    }

    /// An order that came by a place got an answer that needs no token: the next order that waits gets it.
    pub(crate) fn give_token_back(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get(index) else { return };
        if let Turn::Called { token_expires, .. } = order.turn {
            let product = order.product;
            self.products[product].tokens.give_back(now.instant, token_expires);
            self.hand_out_tokens(now, product);
        }
    }

    /// An order whose place is used up, with all of its user up to that slot, joins the line anew: behind all users who
    /// wait.
    pub(crate) fn send_behind(&mut self, now: Now, index: OrderIndex, product: ProductIndex, until: Slot) -> Answer {
        let Product { name, queue, .. } = &mut self.products[product];
        let order = self.orders.get(index).expect("the caller has looked");
        let Some(queue) = queue else { return waiting_room(*name, order.wants_json) };
        let ticket = queue.send_behind(now.instant, order.user.as_bytes(), until);
        in_line(*name, ticket, order.wants_json)
    }

    /// Orders that have stood at the door for as long as they may are told to retry; lines that are due are asked for.
    pub(crate) fn poll_queues(&mut self, now: Now) {
        while let Some(&(since, index)) = self.by_held.front() {
            let held = self.orders.get(index).filter(|order| order.stage == Stage::Held);
            let product = held.map(|order| order.product);
            if product.is_some() && now.instant.since(since) < Duration::from_micros(HOLD_US) {
                break;
            }
            self.by_held.pop_front();
            if let Some(product) = product {
                let answer = self.turn_away(now, index, product);
                self.respond(now, index, answer);
                self.forget_gone(product);
            }
        }
        let mut lines = std::mem::take(&mut self.fair_products);
        lines.retain(|index| self.products[*index].queue.is_some());
        for index in &lines {
            self.ask_line(now, *index, false);
        }
        self.fair_products = lines;
    }

    /// Called orders that wait at the doors of all lines for a token.
    pub(crate) fn orders_at_door(&self) -> usize {
        let stages = self.by_held.iter().filter_map(|(_, index)| self.orders.get(*index));
        stages.filter(|order| order.stage == Stage::Held).count()
    }

    /// Orders that wait for news of any line.
    pub(crate) fn orders_awaiting_news(&self) -> usize {
        let lines = self.fair_products.iter().filter_map(|index| self.products[*index].queue.as_ref());
        // Some were answered meanwhile: their time was up.
        lines.flat_map(|queue| &queue.waiters).filter(|order| self.orders.get(**order).is_some()).count()
    }

    /// Orders that were answered meanwhile leave the front: no token is asked for them.
    fn forget_gone(&mut self, product: ProductIndex) {
        let waiters = &mut self.products[product].token_waiters;
        while let Some(index) = waiters.front()
            && self.orders.get(*index).is_none()
        {
            waiters.pop_front();
        }
    }

    /// Reports to Redis, asks where the line stands, and for tokens if more are wanted than are at hand: if that is
    /// due. `is_urgent`: orders wait for news.
    pub(crate) fn ask_line(&mut self, now: Now, index: ProductIndex, is_urgent: bool) {
        if !self.redis.is_ready() {
            return;
        }
        let product = &mut self.products[index];
        let may_move = product.visible_state(now.instant) == SaleState::Open;
        let (Some(sale), Some(queue)) = (product.sale, &mut product.queue) else { return };
        let wanted = product.tokens.wants(now.instant, product.token_waiters.len());
        if !queue.is_due(now.instant, is_urgent || wanted.is_some(), may_move) {
            return;
        }
        if !self.redis.may(Work::Tokens) {
            return self.turns.leases.push(index);
        }
        if wanted.is_some() {
            product.tokens.handle_asked(now.instant);
        }
        let call = LineCall { product: index, sale_id: queue.sale_id(), wants_tokens: wanted.is_some() };
        let report = queue.handle_asked(now.instant);
        self.counters.lines.calls.add(1);
        let (mut keys, mut arguments) = (Arguments::default(), Arguments::default());
        let names = &product.keys;
        [&names.rate, &names.sale, &names.stock, &names.queue].into_iter().for_each(|key| keys.push(key));
        arguments.push_number(wanted.unwrap_or(0));
        arguments.push_number(lease_life(sale.rate, sale.burst).as_micros() as u64);
        arguments.push_number(sale.id);
        arguments.push_number(sale.generation.into());
        arguments.push_number(report.served);
        arguments.push_number(report.arrived.len() as u64);
        let issued = report.issued.iter().map(|(slot, count)| (u64::from(*slot), *count));
        for (of, count) in report.arrived.iter().copied().chain(issued) {
            arguments.push_number(of);
            arguments.push_number(count);
        }
        self.redis.call_script(now.instant, PendingCall::Line(call), |out| {
            SCRIPTS.lease.write_call(out, &[&keys], &[&arguments])
        });
    }

    /// The answer of `lease.lua`. No reply: the connection is gone.
    pub(crate) fn handle_line(&mut self, now: Now, call: LineCall, reply: Option<Reply<'_>>) {
        let index = call.product;
        let is_current = self.products[index].queue.as_ref().is_some_and(|queue| queue.sale_id() == call.sale_id);
        if !is_current {
            // Tokens of a sale that is over, and a line in which nobody stands any more.
            if call.wants_tokens {
                self.products[index].tokens.handle_failed();
                self.ask_for_tokens(now, index);
            }
            return;
        }
        match self.read_lease(now, index, reply, LineReply::read) {
            Ok(reply) => self.line_moved(now, call, &reply),
            Err(why) => self.line_failed(now, call, why),
        }
    }

    fn line_failed(&mut self, now: Now, call: LineCall, why: Ungranted) {
        self.counters.lines.calls_failed.add(1);
        let product = &mut self.products[call.product];
        let queue = product.queue.as_mut().expect("the call is of its sale");
        queue.handle_failed();
        if call.wants_tokens {
            product.tokens.handle_failed();
        }
        let refusal = match why {
            Ungranted::NotLoaded => return self.ask_line(now, call.product, true),
            Ungranted::Refused(refusal) => refusal,
        };
        self.refuse_line_waiters(now, call.product, refusal);
        if call.wants_tokens {
            self.refuse_token_waiters(now, call.product, refusal);
        }
    }

    /// No news of the line can be had: the orders that wait for it are told why.
    pub(crate) fn refuse_line_waiters(&mut self, now: Now, index: ProductIndex, refusal: Unavailable) {
        let Some(queue) = &mut self.products[index].queue else { return };
        for order in std::mem::take(&mut queue.waiters) {
            self.respond(now, order, Answer::Unavailable(refusal));
        }
    }

    fn line_moved(&mut self, now: Now, call: LineCall, reply: &LineReply) {
        let product = &mut self.products[call.product];
        let queue = product.queue.as_mut().expect("the call is of its sale");
        let is_sold_out = reply.grant.is_sold_out && !is_planted(Bug::EndlessLine);
        let told = queue.handle_reply(now.instant, &reply.moved, is_sold_out, reply.redis_us, reply.opens_us);
        self.counters.lines.told(&told);
        if call.wants_tokens {
            queue.handle_granted(!reply.grant.next_due.is_zero());
        }
        let waiters = std::mem::take(&mut queue.waiters);
        if is_sold_out {
            product.note_sold_out(now.instant);
        }
        if call.wants_tokens {
            let mut grant = reply.grant;
            grant.is_sold_out = is_sold_out;
            self.grant(now, call.product, grant);
        }
        for order in waiters {
            self.re_enter(now, order);
        }
    }
}

fn in_line(product: Identifier, ticket: Option<TicketText>, wants_json: bool) -> Answer {
    match ticket {
        Some(ticket) => Answer::InLine { product, ticket, wants_json },
        None => Answer::Unavailable(Unavailable::Redis),
    }
}
