//! THE hot path, from top to bottom the story of one order: parse, validate, admit, publish, respond.
//!
//! What this core's memory decides about an order is here. The rest of the story: what the request says (`parse.rs`), one order
//! that several requests ask for (`join.rs`), a product that is not in memory
//! (`sales/discover.rs`), a memory that is too old (`sales/refresh.rs`), tokens and the fair queue (`admission/`), the
//! reserve call (`state/reserve_calls.rs`) and its answer (`reserve.rs`), the records of a sold-out sale
//! (`replay_lookup.rs`), Kafka's answer (`settle.rs`), deadlines (`deadlines.rs`), the answer itself (`respond.rs`). An order
//! that had to wait comes back through one queue (`state/wakes.rs`), which is emptied here. Nothing on the way of an order that
//! is well-formed allocates, locks, formats or logs.

use flux_protocol::fence::Refusal;
use flux_protocol::http::Request;
use flux_protocol::order::{Identifier, Record, Uuid, order_id};
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Now;

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::admission::Way;
use crate::core::calls::RecordTag;
use crate::core::order::parse::parse;
use crate::core::request::Outcome;
use crate::core::state::entries::EntryIndex;
use crate::core::state::orders::{OrderIndex, Stage, Turn, Wish};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::reserve_calls::{Group, ReserveBatch};
use crate::core::state::wakes::Wake;
use crate::sale::SaleState;
use crate::throttle::TooOften;

/// An order on its way in.
#[derive(Clone, Copy)]
enum Entrant {
    /// A request that has just come: an order is made of it only where it cannot be answered at once.
    New(Wish, ReplyTo),
    /// An order that had to wait for its product, its sale or its queue's status.
    Waited(OrderIndex),
}

impl Core {
    // Parse, validate.

    /// `POST /order`.
    pub(crate) fn handle_order(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        let (name, wish) = match parse(now, request, self.bearers.as_mut(), &self.counters) {
            Ok(order) => order,
            Err(answer) => return self.answered(answer),
        };
        if self.drain_until.is_some_and(|until| now.instant + self.config.order_time_max() > until) {
            // Its answer might find nobody who writes it.
            return self.answered(Answer::Unavailable(Unavailable::Draining));
        }
        if let Some(users) = &self.config.users
            && let Err(TooOften { seconds }) = users.take(wish.user.as_bytes(), now.instant)
        {
            return self.answered(Answer::Limited { seconds });
        }
        match self.products.known(name.as_bytes()) {
            Some(product) => {
                self.note_asked(now, product);
                self.enter(now, product, Entrant::New(wish, reply_to))
            }
            None => match self.discover_for_order(now, name, wish, reply_to) {
                Outcome::Now(answer) => self.answered(answer),
                Outcome::Later => Outcome::Later,
            },
        }
    }

    /// The way in, for a request that has just come and for an order that had to wait: as far as its sale is known.
    fn enter(&mut self, now: Now, product: ProductIndex, entrant: Entrant) -> Outcome {
        if !self.is_up_to_date(now, product)
            && let Some(outcome) = self.await_refresh(now, product, entrant)
        {
            return outcome;
        }
        let Some(sale) = self.products[product].sale else {
            let why = self.untrusted(self.products[product].refusal());
            return self.turn_back(now, entrant, Answer::Unavailable(why));
        };
        let wish = match entrant {
            Entrant::New(wish, _) => wish,
            Entrant::Waited(index) => {
                let Some(order) = self.orders.get(index) else { return Outcome::Later };
                if order.rederived && order.sale.is_some_and(|of| of.id == sale.id) {
                    // The refresh learnt nothing new: the sale that this id was derived for is gone, and no other is known.
                    return self.turn_back(now, entrant, Answer::Unavailable(Unavailable::Changed));
                }
                let wish = order.wish;
                self.set_out(now, index);
                wish
            }
        };
        let id = id_of(self.products[product].name, sale.id, &wish);
        match self.way(now, product, &wish, id) {
            Way::Answer(answer) => self.turn_back(now, entrant, answer),
            Way::Join(other) => match entrant {
                Entrant::New(wish, reply_to) => self.join(other, wish.quantity, wish.shown, reply_to),
                Entrant::Waited(index) => self.merge(index, other),
            },
            Way::AwaitStatus => {
                let index = self.order_of(now, product, entrant);
                self.await_status(now, index, product);
                Outcome::Later
            }
            Way::Go(stage, turn) => {
                let index = self.order_of(now, product, entrant);
                self.orders.name(index, sale, id);
                self.take_turn(index, turn);
                self.go(now, index, stage);
                Outcome::Later
            }
        }
    }

    /// Another core knows of a newer sale: whatever is remembered of the one before is nothing to answer by. `None` where a refresh
    /// has found that Redis cannot be trusted with it: that is answered.
    fn await_refresh(&mut self, now: Now, product: ProductIndex, entrant: Entrant) -> Option<Outcome> {
        match entrant {
            Entrant::New(..) if !self.redis.is_ready() => {
                return Some(self.answered(Answer::Unavailable(Unavailable::Redis)));
            }
            Entrant::New(..) if self.orders.is_full() => {
                return Some(self.answered(Answer::Unavailable(Unavailable::Full)));
            }
            Entrant::Waited(_) if self.products[product].state == SaleState::Suspended => return None,
            // For an order that waited the refresh had been written before the newer sale was opened.
            Entrant::New(..) | Entrant::Waited(_) => {}
        }
        let order = self.order_of(now, product, entrant);
        self.refreshes.hold(&mut self.products, product, order);
        Some(Outcome::Later)
    }

    /// The order of an entrant: made now, where it was only a request.
    fn order_of(&mut self, now: Now, product: ProductIndex, entrant: Entrant) -> OrderIndex {
        match entrant {
            Entrant::New(wish, reply_to) => {
                self.products[product].under_way += 1;
                let (id, timestamp_ms) = (self.ids.draw(), self.probe.redis_ms(now));
                self.orders.insert(product, wish, reply_to, now.instant, timestamp_ms, id)
            }
            Entrant::Waited(index) => index,
        }
    }

    /// The answer to an entrant that goes no further.
    fn turn_back(&mut self, now: Now, entrant: Entrant, answer: Answer) -> Outcome {
        match entrant {
            Entrant::New(..) => self.answered(answer),
            Entrant::Waited(index) => {
                self.respond(now, index, answer);
                Outcome::Later
            }
        }
    }

    /// An order goes back to its beginning: no longer found by an id that may be another's by now, and without its place in the
    /// queue. Where it was called and waited for a token its deadline stood still: it begins anew.
    pub(crate) fn set_out(&mut self, now: Now, index: OrderIndex) {
        self.orders.unname(index);
        self.take_turn(index, Turn::None);
        let Some(order) = self.orders.get_mut(index) else { return };
        if std::mem::replace(&mut order.stage, Stage::Product) == Stage::Called {
            self.orders.restart(now.instant, index);
        }
    }

    /// The orders that were woken go on, each as it was woken. Hardly any event wakes one.
    #[inline]
    pub(crate) fn drive_woken(&mut self, now: Now) {
        if !self.wakes.is_empty() {
            self.drive_all_woken(now);
        }
    }

    #[cold]
    fn drive_all_woken(&mut self, now: Now) {
        while let Some((index, wake)) = self.wakes.pop() {
            let Some(order) = self.orders.get(index) else { continue };
            let product = order.product;
            match wake {
                Wake::Again => {
                    // The clients that wait for the order have been told, or wait on.
                    let _ = self.enter(now, product, Entrant::Waited(index));
                }
                Wake::Admitted => self.reserve_after_token(now, index),
                Wake::TurnedAway => {
                    let answer = self.turn_away(now, index, product);
                    self.respond(now, index, answer);
                }
                Wake::Refused(why) => self.respond(now, index, Answer::Unavailable(why)),
            }
        }
    }

    /// Why a sale cannot be trusted: where Redis lets no order through that is it, and no rebuild mends it.
    fn untrusted(&self, why: Unavailable) -> Unavailable {
        if why == Unavailable::Suspended && self.probe.refuses() { Unavailable::Redis } else { why }
    }

    // Admit.

    /// Why the fences forbid to sell a product's sale as it was last seen; `None`: they do not, or it is sold under none.
    fn fence_refusal(&mut self, now: Now, index: ProductIndex) -> Option<Unavailable> {
        let product = &self.products[index];
        let sale = product.sale.filter(|_| product.is_fenced)?;
        match self.products.fence(now.instant, index, (sale.id, sale.generation)) {
            Ok(_) => None,
            // Another is in force, and shows when it has been opened.
            Err(Refusal::Behind) => {
                self.refreshes.want(&mut self.products, index);
                Some(Unavailable::Suspended)
            }
            Err(Refusal::NotCurrent | Refusal::NoFence | Refusal::Ahead | Refusal::OtherRedis) => {
                Some(Unavailable::Fenced)
            }
        }
    }

    /// The first of: suspended, under way here, Redis away, no place for one more order, a fence that forbids it, not yet
    /// open, closed or sold out (its record is looked up), Kafka's topic unknown, no place with the producer, no token. Where there is a fair
    /// queue it decides in place of the last, and of the opening.
    fn way(&mut self, now: Now, index: ProductIndex, wish: &Wish, id: Uuid) -> Way {
        if self.products[index].state == SaleState::Suspended {
            return Way::Answer(Answer::Unavailable(self.untrusted(Unavailable::Suspended)));
        }
        if let Some(order) = self.orders.find(&id) {
            return Way::Join(order);
        }
        if !self.redis.is_ready() {
            return Way::Answer(Answer::Unavailable(Unavailable::Redis));
        }
        if !self.orders.has_place(self.products[index].under_way) {
            return Way::Answer(Answer::Unavailable(Unavailable::Full));
        }
        if let Some(why) = self.fence_refusal(now, index) {
            return Way::Answer(Answer::Unavailable(why));
        }
        let state = self.products[index].state_at(now.instant);
        if matches!(state, SaleState::Closed | SaleState::Scheduled) && !self.products[index].is_fresh(now) {
            // Another edge may have opened it meanwhile: remembered no longer than a sold-out is.
            self.refreshes.want(&mut self.products, index);
        }
        let product = &self.products[index];
        if state == SaleState::Scheduled {
            if product.admission.queue.is_some() {
                return self.admit(now, index, wish);
            }
            return Way::Answer(Answer::waiting_room(product.name, wish.wants_json));
        }
        if state == SaleState::Closed || now.instant < product.sold_out_until {
            if is_planted(Bug::ReplayLostWhenSoldOut) {
                return Way::Answer(Answer::SoldOut);
            }
            if !self.lookups.has_place(self.products[index].under_way as usize) {
                return Way::Answer(Answer::Unavailable(Unavailable::Full));
            }
            return Way::Go(Stage::Lookup, Turn::None);
        }
        if self.producer.current_partition().is_none() {
            return Way::Answer(Answer::Unavailable(Unavailable::Kafka));
        }
        if !self.has_room() {
            return Way::Answer(Answer::Unavailable(Unavailable::Full));
        }
        self.admit(now, index, wish)
    }

    /// Whether the producer has a place for one more order than those that were promised one.
    fn has_room(&self) -> bool {
        self.orders.promised < self.producer.room()
    }

    fn go(&mut self, now: Now, index: OrderIndex, stage: Stage) {
        let order = self.orders.get_mut(index).expect("inserted just now");
        order.stage = stage;
        let product = order.product;
        match stage {
            Stage::Lookup => self.lookups.push(index),
            Stage::Token => self.products[product].admission.waiters.push_back(index),
            Stage::Called => {
                self.products[product].admission.waiters.push_back(index);
                self.queues.called.push_back((now.instant, index));
            }
            Stage::Queued => {
                self.orders.promised += 1;
                self.reserve_calls.push(index, self.products[product].under_way);
            }
            Stage::Product | Stage::Reserving | Stage::Publishing => unreachable!("not a way in"),
        }
        if stage != Stage::Lookup {
            self.ask_for_tokens(now, product);
        }
    }

    /// An order that waited has its token, or needs none: it is queued for a reserve call, where the producer has a
    /// place.
    pub(crate) fn reserve_after_token(&mut self, now: Now, index: OrderIndex) {
        if self.orders.get(index).is_none() {
            return;
        }
        if self.has_room() {
            self.go(now, index, Stage::Queued);
        } else {
            self.respond(now, index, Answer::Unavailable(Unavailable::Full));
        }
    }

    // Publish.

    /// `place`: the order's in its entry, from 0.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        index: OrderIndex,
        (entry, place): (EntryIndex, u8),
        call: &ReserveBatch,
        group: &Group,
    ) {
        let too_old = self.config.is_too_old(now.instant, call.first_sent);
        self.orders.promised -= 1;
        let order = self.orders.get_mut(index).expect("an order stays until its call is answered");
        order.stage = Stage::Publishing;
        let (id, timestamp_ms) = (order.order_id, order.timestamp_ms);
        let record = Record {
            order_id: id,
            reservation_id: order.reservation_id,
            product_id: self.products[group.product].name.as_str(),
            user_id: order.wish.user.as_str(),
            quantity: order.wish.quantity,
            sale_id: group.sale_id,
            sale_total: group.sale_total,
            generation: group.generation,
            timestamp: timestamp_ms,
        };
        let tag = RecordTag::Order { order: index, entry, place };
        let taken = !too_old
            && self
                .producer
                .append(now.instant, call.partition, timestamp_ms as i64, tag, |value| record.write_json(value))
                .is_ok();
        if taken {
            self.orders.by_reserved.push_back((now.instant, index));
            if is_planted(Bug::SettleBeforeAck) {
                self.settle_before_ack(now, index, entry);
            }
        } else {
            self.counters.records_left.add(1);
            self.outbox.settle(now.instant, &mut self.products, entry, place, false);
            self.respond(now, index, Answer::Pending { id, replayed: false });
        }
    }
}

fn id_of(product: Identifier, sale_id: u64, wish: &Wish) -> Uuid {
    let sale_id = if is_planted(Bug::IdWithoutSale) { 0 } else { sale_id };
    order_id(product.as_bytes(), sale_id, wish.user.as_bytes(), wish.key.as_bytes())
}
