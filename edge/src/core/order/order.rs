//! THE hot path, from top to bottom the story of one order: parse, validate, admit, reserve, publish, respond.
//!
//! What this core's memory decides about an order is here. The rest of the story is in other files: a product that is
//! not in memory (`discover.rs`), the fair queue (`fair_queue.rs`), tokens (`tokens.rs`), the reserve call (`reserve_calls.rs`) and its
//! answer (`reserve.rs`), the records of a sold-out sale (`replay_lookup.rs`), Kafka's answer (`settle.rs`), deadlines
//! (`deadlines.rs`). Nothing on the way of an order that is well-formed allocates, locks, formats or logs.

use std::time::Duration;

use flux_protocol::http::{Fields, KeyField, Request, media, order_body};
use flux_protocol::order::{Identifier, Record, Uuid, order_id};
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::schedule::has_share;
use crate::core::state::orders::{JoinError, Order, OrderIndex, ReplyTo, Stage, Turn};
use crate::core::state::outbox::EntryIndex;
use crate::core::state::product::{ProductIndex, SaleState};
use crate::core::state::queue_state::TicketText;
use crate::core::state::reserve_calls::{Group, ReserveBatch};
use crate::core::state::token_lease::Admission;
use crate::core::{Core, Outcome, RecordTag};
use crate::counters::OrderOutcome;
use crate::limits::{LOOKUPS_WAITING_MAX, ORDERS_PENDING_MAX, TOKEN_WAITERS_MAX};

/// What a client wants, validated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) user: Identifier,
    pub(crate) key: Identifier,
    pub(crate) quantity: u16,
    /// It reads JSON: 429 in place of 302.
    pub(crate) wants_json: bool,
    /// What may be a ticket in the sale's line, unverified.
    pub(crate) shown: Option<TicketText>,
}

/// The way an order takes, as far as this core's memory tells.
pub(crate) enum Way {
    Answer(Answer),
    /// The same order is under way.
    Join(OrderIndex),
    /// Sold out or closed, as far as is remembered, or its place is used up: its record is looked up, so that a repeat gets its
    /// first answer.
    LookUp(Turn),
    /// A token is being asked for.
    AwaitToken,
    /// It was called in its line, and waits for a token.
    Hold(Turn),
    /// Where its line stands is being asked for.
    AwaitLine,
    Reserve(Turn),
}

impl Core {
    // Parse, validate.

    /// `POST /order`.
    pub(crate) fn handle_order(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        let (name, wish) = match parse(request) {
            Ok(order) => order,
            Err(answer) => return self.answered(answer),
        };
        if self.draining {
            return self.answered(Answer::Unavailable(Unavailable::Draining));
        }
        match self.products.known(name.as_bytes()) {
            Some(product) => self.enter(now, product, wish, reply_to),
            None => self.discover_for_order(now, name, wish, reply_to),
        }
    }

    pub(crate) fn answered(&self, answer: Answer) -> Outcome {
        self.counters.order_answered(OrderOutcome::of(&answer), Duration::ZERO);
        Outcome::Now(answer)
    }

    fn enter(&mut self, now: Now, product: ProductIndex, wish: Wish, reply_to: ReplyTo) -> Outcome {
        self.note_asked(now, product);
        if !self.is_up_to_date(now, product) {
            return self.await_refresh(now, product, wish, reply_to);
        }
        let Some(sale) = self.products[product].sale else {
            return self.answered(Answer::Unavailable(self.products[product].refusal()));
        };
        let name = self.products[product].name;
        let id = id_of(name, sale.id, &wish);
        let (stage, turn) = match self.way(now, product, &wish, id) {
            Way::Answer(answer) => return self.answered(answer),
            Way::Join(index) => return self.join(index, wish.quantity, wish.shown, reply_to),
            Way::LookUp(turn) => (Stage::Lookup, turn),
            Way::AwaitToken => (Stage::Token, Turn::None),
            Way::Hold(turn) => (Stage::Held, turn),
            Way::AwaitLine => {
                let order = self.insert_nameless(now, product, now.instant, wish, reply_to);
                self.await_line(now, order, product);
                return Outcome::Later;
            }
            Way::Reserve(turn) => (Stage::Queued, turn),
        };
        let reservation_id = self.draw_reservation_id();
        let order = Order {
            product,
            sale: Some(sale),
            stage,
            rederived: false,
            wants_json: wish.wants_json,
            quantity: wish.quantity,
            order_id: id,
            reservation_id,
            user: wish.user,
            key: wish.key,
            shown: wish.shown,
            turn: Turn::None,
            received: now.instant,
            timestamp_ms: self.redis_ms(now),
            waiters: smallvec::smallvec![reply_to],
        };
        let index = self.orders.insert(order, true);
        self.products[product].pending += 1;
        self.by_received.push_back((now.instant, index));
        self.take_turn(index, turn);
        self.go(now, index, stage);
        Outcome::Later
    }

    /// Another core knows of a newer sale: whatever is remembered of the one before is nothing to answer by.
    fn await_refresh(&mut self, now: Now, product: ProductIndex, wish: Wish, reply_to: ReplyTo) -> Outcome {
        if !self.redis.is_ready() {
            return self.answered(Answer::Unavailable(Unavailable::Redis));
        }
        if self.orders.is_full() {
            return self.answered(Answer::Unavailable(Unavailable::Full));
        }
        let order = self.insert_nameless(now, product, now.instant, wish, reply_to);
        self.look_for(now, order, product);
        Outcome::Later
    }

    /// An order waits for a look at its product's sale.
    pub(crate) fn look_for(&mut self, now: Now, index: OrderIndex, product: ProductIndex) {
        self.products[product].refresh_waiters.push(index);
        self.refresh_soon(now, product);
    }

    /// Sends an order that had to wait for its product or its sale on its way.
    pub(crate) fn re_enter(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get(index) else { return };
        let product = order.product;
        if !self.is_up_to_date(now, product) && self.products[product].state != SaleState::Suspended {
            // The look had been written before the newer sale was opened.
            return self.look_for(now, index, product);
        }
        let Some(order) = self.orders.get(index) else { return };
        let wish = Wish {
            user: order.user,
            key: order.key,
            quantity: order.quantity,
            wants_json: order.wants_json,
            shown: order.shown,
        };
        let Some(sale) = self.products[product].sale else {
            return self.respond(now, index, Answer::Unavailable(self.products[product].refusal()));
        };
        if order.rederived && order.sale.is_some_and(|of| of.id == sale.id) {
            // The look learnt nothing new: the sale that this id was derived for is gone, and no other is known.
            return self.respond(now, index, Answer::Unavailable(Unavailable::Changed));
        }
        self.set_out(now, index);
        let name = self.products[product].name;
        let id = id_of(name, sale.id, &wish);
        let (stage, turn) = match self.way(now, product, &wish, id) {
            Way::Answer(answer) => return self.respond(now, index, answer),
            Way::Join(other) => return self.merge(index, other),
            Way::LookUp(turn) => (Stage::Lookup, turn),
            Way::AwaitToken => (Stage::Token, Turn::None),
            Way::Hold(turn) => (Stage::Held, turn),
            Way::AwaitLine => return self.await_line(now, index, product),
            Way::Reserve(turn) => (Stage::Queued, turn),
        };
        self.orders.rename(index, sale, id);
        self.take_turn(index, turn);
        self.go(now, index, stage);
    }

    /// An order goes back to its beginning: no longer found by an id that may be another's by now, and away from the
    /// door, where its deadline stood still: it begins anew.
    pub(crate) fn set_out(&mut self, now: Now, index: OrderIndex) {
        self.orders.unname(index);
        self.take_turn(index, Turn::None);
        let Some(order) = self.orders.get_mut(index) else { return };
        if std::mem::replace(&mut order.stage, Stage::Product) == Stage::Held {
            order.received = now.instant;
            self.by_received.push_back((now.instant, index));
        }
    }

    /// The sale of a product is another, or over: the orders that wait for its tokens, for news of its line or for a
    /// look set out anew, by what is known now.
    pub(crate) fn redrive(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        let mut orders: Vec<OrderIndex> = product.token_waiters.drain(..).collect();
        orders.extend(product.queue.iter_mut().flat_map(|queue| queue.waiters.drain(..)));
        orders.append(&mut product.refresh_waiters);
        for order in orders {
            self.re_enter(now, order);
        }
    }

    // Admit.

    /// The first of: suspended, under way here, Redis away, no place for one more order, not yet open, closed or sold
    /// out (its record is looked up), Kafka's topic unknown, no place with the producer, no token. Where there is a
    /// line it decides in place of the last, and of the opening.
    fn way(&mut self, now: Now, index: ProductIndex, wish: &Wish, id: Uuid) -> Way {
        if self.products[index].state == SaleState::Suspended {
            return Way::Answer(Answer::Unavailable(Unavailable::Suspended));
        }
        if let Some(order) = self.orders.find(&id) {
            return Way::Join(order);
        }
        if !self.redis.is_ready() {
            return Way::Answer(Answer::Unavailable(Unavailable::Redis));
        }
        if !self.has_place(index) {
            return Way::Answer(Answer::Unavailable(Unavailable::Full));
        }
        let state = self.products[index].state_at(now.instant);
        if matches!(state, SaleState::Closed | SaleState::Scheduled) {
            // Another edge may have opened it meanwhile: remembered no longer than a sold-out is.
            self.refresh_if_stale(now, index);
        }
        let has_room = self.has_room();
        let has_partition = self.producer.current_partition().is_some();
        let product = &mut self.products[index];
        let may_look_up =
            has_share(product.pending as usize, self.reserve_calls.lookups_waiting(), LOOKUPS_WAITING_MAX);
        if state == SaleState::Scheduled {
            if product.queue.is_some() {
                return self.way_in_line(now, index, wish);
            }
            return Way::Answer(waiting_room(product.name, wish.wants_json));
        }
        if state == SaleState::Closed || now.instant < product.sold_out_until {
            if is_planted(Bug::ReplayLostWhenSoldOut) {
                return Way::Answer(Answer::SoldOut);
            }
            if !may_look_up {
                return Way::Answer(Answer::Unavailable(Unavailable::Full));
            }
            return Way::LookUp(Turn::None);
        }
        if !has_partition {
            return Way::Answer(Answer::Unavailable(Unavailable::Kafka));
        }
        if !has_room {
            return Way::Answer(Answer::Unavailable(Unavailable::Full));
        }
        if product.queue.is_some() {
            return self.way_in_line(now, index, wish);
        }
        if product.sale.is_some_and(|sale| sale.rate == 0) {
            return Way::Reserve(Turn::None);
        }
        match product.tokens.admit(now.instant) {
            Admission::Admitted => Way::Reserve(Turn::None),
            Admission::Wait if product.token_waiters.len() < TOKEN_WAITERS_MAX => Way::AwaitToken,
            // Redis is too slow to answer: that does not say that the bucket is empty.
            Admission::Wait if product.tokens.is_overdue(now.instant) => {
                Way::Answer(Answer::Unavailable(Unavailable::Redis))
            }
            // Nothing was left when it was last looked at: there is nothing to wait for, unless units came back.
            Admission::Refused if product.stock == 0 && may_look_up => Way::LookUp(Turn::None),
            Admission::Wait | Admission::Refused => Way::Answer(waiting_room(product.name, wish.wants_json)),
        }
    }

    /// Whether one more order of the product finds a place among those under way.
    pub(crate) fn has_place(&self, index: ProductIndex) -> bool {
        !self.orders.is_full()
            && has_share(self.products[index].pending as usize, self.orders.len(), ORDERS_PENDING_MAX)
    }

    /// Whether the producer has a place for one more order than those that were promised one.
    pub(crate) fn has_room(&self) -> bool {
        self.promised < self.producer.room()
    }

    fn go(&mut self, now: Now, index: OrderIndex, stage: Stage) {
        let order = self.orders.get_mut(index).expect("inserted just now");
        order.stage = stage;
        let product = order.product;
        match stage {
            Stage::Lookup => self.reserve_calls.push_lookup(index),
            Stage::Token => self.products[product].token_waiters.push_back(index),
            Stage::Held => {
                self.products[product].token_waiters.push_back(index);
                self.by_held.push_back((now.instant, index));
            }
            Stage::Queued => {
                self.promised += 1;
                self.reserve_calls.push(index, self.products[product].pending);
            }
            Stage::Product | Stage::Reserving | Stage::Publishing => unreachable!("not a way in"),
        }
        if stage != Stage::Lookup {
            self.ask_for_tokens(now, product);
        }
    }

    fn join(&mut self, index: OrderIndex, quantity: u16, shown: Option<TicketText>, reply_to: ReplyTo) -> Outcome {
        let order = self.orders.get_mut(index).expect("found by its id");
        // A place that only one of two tabs shows is the place of both.
        order.shown = order.shown.or(shown);
        let stage = order.stage;
        if order.waiters.is_empty() {
            // Its own callers were told already that its outcome is unknown, or that it is pending.
            let answer = match order.stage {
                Stage::Publishing if order.quantity != quantity => Answer::KeyReused,
                Stage::Publishing => Answer::Pending { id: order.order_id, replayed: true },
                _ => Answer::Unknown,
            };
            return self.answered(answer);
        }
        match self.orders.join(index, quantity, reply_to) {
            Ok(()) => Outcome::Later,
            Err(JoinError::OtherQuantity) => self.answered(if stage == Stage::Publishing {
                Answer::KeyReused
            } else {
                // Whether the other order will stand is not known yet.
                Answer::Unavailable(Unavailable::Busy)
            }),
            Err(JoinError::Full) => self.answered(Answer::Unavailable(Unavailable::Full)),
        }
    }

    /// Two requests of one order that met only now: the callers of `index` wait for `other`.
    fn merge(&mut self, index: OrderIndex, other: OrderIndex) {
        let Some(order) = self.orders.remove(index) else { return };
        self.products[order.product].pending -= 1;
        self.leave_door(order.product, order.turn);
        for reply_to in order.waiters {
            if let Outcome::Now(answer) = self.join(other, order.quantity, order.shown, reply_to) {
                self.complete(reply_to, answer);
            }
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
        let too_old = self.is_too_old(now, call.first_sent);
        let order = self.orders.get_mut(index).expect("an order stays until its call is answered");
        order.stage = Stage::Publishing;
        let (id, timestamp_ms) = (order.order_id, order.timestamp_ms);
        self.promised -= 1;
        let record = Record {
            order_id: id,
            reservation_id: order.reservation_id,
            product_id: self.products[group.product].name.as_str(),
            user_id: order.user.as_str(),
            quantity: order.quantity,
            sale_id: group.sale_id,
            sale_total: group.sale_total,
            generation: group.generation,
            timestamp: timestamp_ms,
        };
        let token = RecordTag::Order { order: index, entry, place };
        let taken = !too_old
            && self
                .producer
                .append(now.instant, call.partition, timestamp_ms as i64, token, |value| record.write_json(value))
                .is_ok();
        if taken {
            self.by_reserved.push_back((now.instant, index));
            if is_planted(Bug::SettleBeforeAck) {
                self.settle_before_ack(now, index, entry);
            }
        } else {
            self.counters.records_left.add(1);
            self.settle_entry(now, entry, place, false);
            self.respond(now, index, Answer::Pending { id, replayed: false });
        }
    }

    /// Kafka has acknowledged an order, or will not acknowledge it to this core.
    pub(crate) fn published(&mut self, now: Now, index: OrderIndex, entry: EntryIndex, place: u8, acknowledged: bool) {
        // The entry's deletion is queued before the answer is.
        self.settle_entry(now, entry, place, acknowledged);
        let Some(order) = self.orders.get(index) else { return };
        let id = order.order_id;
        let answer = if acknowledged {
            Answer::Accepted { id, replayed: false }
        } else {
            Answer::Pending { id, replayed: false }
        };
        self.respond(now, index, answer);
    }

    // Respond.

    /// Answers every caller that waits for an order, and removes it.
    pub(crate) fn respond(&mut self, now: Now, index: OrderIndex, answer: Answer) {
        let Some(order) = self.orders.remove(index) else { return };
        self.products[order.product].pending -= 1;
        self.leave_door(order.product, order.turn);
        let span = now.instant.since(order.received);
        for (position, reply_to) in order.waiters.iter().enumerate() {
            let answer = if position == 0 { answer.clone() } else { replayed(&answer) };
            let outcome = OrderOutcome::of(&answer);
            self.counters.order_answered(outcome, span);
            self.products[order.product].accepted += u64::from(outcome == OrderOutcome::Accepted);
            self.complete(*reply_to, answer);
        }
    }
}

/// The order's id.
fn id_of(product: Identifier, sale_id: u64, wish: &Wish) -> Uuid {
    let sale_id = if is_planted(Bug::IdWithoutSale) { 0 } else { sale_id };
    order_id(product.as_bytes(), sale_id, wish.user.as_bytes(), wish.key.as_bytes())
}

/// What a request that joined an order is told: the same, marked as a replay.
pub(crate) fn replayed(answer: &Answer) -> Answer {
    match answer {
        Answer::Accepted { id, .. } => Answer::Accepted { id: *id, replayed: true },
        Answer::Pending { id, .. } => Answer::Pending { id: *id, replayed: true },
        other => other.clone(),
    }
}

/// Over the limit: where to go.
pub(crate) fn waiting_room(product: Identifier, wants_json: bool) -> Answer {
    if wants_json { Answer::Waiting(product) } else { Answer::Redirect(product) }
}

fn parse(request: &Request<'_>) -> Result<(Identifier, Wish), Answer> {
    check_content(&request.fields)?;
    let key = match request.fields.idempotency_key {
        KeyField::Absent => return Err(Answer::error(400, "Missing Idempotency Key")),
        KeyField::Conflict => return Err(Answer::error(400, "Conflicting Idempotency Keys")),
        KeyField::One(key) => Identifier::new(key).ok_or_else(|| Answer::error(400, "Invalid Idempotency Key"))?,
    };
    let body = order_body::parse(request.body).map_err(|error| Answer::error(400, &error.to_string()))?;
    let identifier =
        |text: &str| Identifier::new(text.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid identifier"));
    let (product, user) = (identifier(&body.product_id)?, identifier(&body.user_id)?);
    // A script cannot read a redirect.
    let wants_json = request.fields.accept.is_some_and(media::names_json);
    // A text of another length is no ticket.
    let shown = request.fields.x_queue_ticket.and_then(|text| text.try_into().ok());
    Ok((product, Wish { user, key, quantity: body.quantity, wants_json, shown }))
}

/// A body is JSON and comes as it is (RFC 9110 sections 15.5.16 and 12.5.3).
pub(crate) fn check_content(fields: &Fields<'_>) -> Result<(), Answer> {
    if !fields.content_type.is_none_or(media::is_json) {
        return Err(Answer::error(415, "content-type must be application/json"));
    }
    if !fields.content_encoding.is_none_or(media::is_identity) {
        let refused = Answer::error(415, "content-encoding must be identity");
        return Err(refused.with_field("accept-encoding", "identity"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::{Limits, Read, Reader};

    use super::*;

    #[test]
    fn only_a_caller_that_takes_json_is_told_in_json() {
        for (accept, wants_json) in
            [("application/json", true), ("text/html, application/json;q=0.1", true), ("application/json;q=0", false)]
        {
            let body = r#"{"productId":"p","userId":"u"}"#;
            let mut bytes = format!(
                "POST /order HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes();
            let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else {
                panic!("a whole request")
            };
            let (_, wish) = parse(&request).expect("an order");
            assert_eq!(wish.wants_json, wants_json, "{accept}");
        }
    }
}
