//! THE hot path, from top to bottom the story of one order: parse, validate, admit, reserve, publish, respond.
//!
//! Every branch an order can take is here; what it calls is elsewhere. Nothing on the way allocates, locks, formats
//! or logs. Retries, reconnects and metadata live in other files.

use flux_protocol::http::{KeyField, Request, order_body};
use flux_protocol::order::{Identifier, Record, order_id};
use flux_protocol::resp::{Belief, ErrorKind, Items, Reply, ServerError, Value};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core, Outcome, Token, is_too_old};
use crate::counters::OrderOutcome;
use crate::gate::{CallIndex, CallTerms, Group};
use crate::limiter::Admission;
use crate::limits::{LOOKUPS_WAITING_MAX, SOLD_OUT_REMEMBERED, TOKEN_WAITERS_MAX};
use crate::outbox::{EntryId, EntryIndex};
use crate::pending::{JoinError, Pending, PendingIndex, Stage, Ticket};
use crate::product::{ProductIndex, State};
use crate::reply::{Code, Head};

/// What a client wants, validated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) user: Identifier,
    pub(crate) key: Identifier,
    pub(crate) quantity: u16,
    /// It reads JSON: 429 in place of 302.
    pub(crate) wants_json: bool,
}

/// The way an order takes, as far as this core's memory tells.
enum Way {
    Answer(Answer),
    /// The same order is under way.
    Join(PendingIndex),
    /// Sold out or closed, as far as is remembered: its record is looked up, so that a repeat gets its first answer.
    LookUp,
    /// A token is being asked for.
    AwaitToken,
    Reserve,
}

impl Core {
    // Parse, validate.

    /// `POST /order`.
    pub(crate) fn handle_order(&mut self, now: Now, request: &Request<'_>, ticket: Ticket) -> Outcome {
        let (name, wish) = match parse(request) {
            Ok(order) => order,
            Err(answer) => return self.answered(now, now.instant, answer),
        };
        if self.draining {
            return self.answered(now, now.instant, Answer::Unavailable(Unavailable::Draining));
        }
        match self.products.find(name.as_bytes()) {
            Some(product) => self.enter(now, product, wish, ticket),
            None => self.find_for_order(now, name, wish, ticket),
        }
    }

    fn answered(&mut self, now: Now, since: flux_protocol::time::Instant, answer: Answer) -> Outcome {
        self.counters.order_answered(OrderOutcome::of(&answer), now.instant.since(since));
        Outcome::Now(answer)
    }

    fn enter(&mut self, now: Now, product: ProductIndex, wish: Wish, ticket: Ticket) -> Outcome {
        let Some(sale) = self.products[product].sale else {
            return self.answered(now, now.instant, Answer::Unavailable(Unavailable::Suspended));
        };
        let name = self.products[product].name;
        let id = order_id(name.as_bytes(), sale.id, wish.user.as_bytes(), wish.key.as_bytes());
        let stage = match self.way(now, product, &wish, id) {
            Way::Answer(answer) => return self.answered(now, now.instant, answer),
            Way::Join(index) => return self.join(now, index, wish.quantity, ticket),
            Way::LookUp => Stage::Lookup,
            Way::AwaitToken => Stage::Token,
            Way::Reserve => Stage::Queued,
        };
        let reservation_id = self.draw_reservation_id();
        let order = Pending {
            product,
            stage,
            rederived: false,
            wants_json: wish.wants_json,
            quantity: wish.quantity,
            order_id: id,
            reservation_id,
            user: wish.user,
            key: wish.key,
            received: now.instant,
            timestamp_ms: now.wall_ms,
            waiters: smallvec::smallvec![ticket],
        };
        let index = self.orders.insert(order, true);
        self.by_received.push_back((now.instant, index));
        self.go(now, index, stage);
        Outcome::Later
    }

    /// Sends an order that had to wait for its product or its sale on its way.
    pub(crate) fn re_enter(&mut self, now: Now, index: PendingIndex) {
        let Some(order) = self.orders.get(index) else { return };
        let product = order.product;
        let wish = Wish { user: order.user, key: order.key, quantity: order.quantity, wants_json: order.wants_json };
        let Some(sale) = self.products[product].sale else {
            return self.respond(now, index, Answer::Unavailable(Unavailable::Suspended));
        };
        let name = self.products[product].name;
        let id = order_id(name.as_bytes(), sale.id, wish.user.as_bytes(), wish.key.as_bytes());
        let stage = match self.way(now, product, &wish, id) {
            Way::Answer(answer) => return self.respond(now, index, answer),
            Way::Join(other) if other != index => return self.merge(now, index, other),
            Way::Join(_) => unreachable!("an order that waits has no id of this sale yet"),
            Way::LookUp => Stage::Lookup,
            Way::AwaitToken => Stage::Token,
            Way::Reserve => Stage::Queued,
        };
        self.orders.rename(index, id);
        self.go(now, index, stage);
    }

    // Admit.

    /// The first of: suspended, under way here, closed or sold out (its record is looked up), no place, no token.
    fn way(&mut self, now: Now, product: ProductIndex, wish: &Wish, id: flux_protocol::order::Uuid) -> Way {
        if self.products[product].state == State::Suspended {
            return Way::Answer(Answer::Unavailable(Unavailable::Suspended));
        }
        if let Some(index) = self.orders.find(&id) {
            return Way::Join(index);
        }
        if !self.redis.is_ready() {
            return Way::Answer(Answer::Unavailable(Unavailable::Redis));
        }
        if self.orders.is_full() || !self.has_room() {
            return Way::Answer(Answer::Unavailable(Unavailable::Full));
        }
        if self.producer.current_partition().is_none() {
            return Way::Answer(Answer::Unavailable(Unavailable::Kafka));
        }
        let product = &mut self.products[product];
        if product.state == State::Scheduled {
            return Way::Answer(waiting_room(product.name, wish.wants_json));
        }
        if product.state == State::Closed || now.instant < product.sold_out_until {
            if self.gate.lookups_waiting() >= LOOKUPS_WAITING_MAX {
                return Way::Answer(Answer::Unavailable(Unavailable::Full));
            }
            return Way::LookUp;
        }
        if product.sale.is_some_and(|sale| sale.rate == 0) {
            return Way::Reserve;
        }
        match product.lease.admit(now.instant) {
            Admission::Admitted => Way::Reserve,
            Admission::Wait if product.token_waiters.len() < TOKEN_WAITERS_MAX => Way::AwaitToken,
            Admission::Wait | Admission::Refused => Way::Answer(waiting_room(product.name, wish.wants_json)),
        }
    }

    /// Whether the producer has a place for one more order than those that were promised one.
    pub(crate) fn has_room(&self) -> bool {
        self.promised < self.producer.room()
    }

    fn go(&mut self, now: Now, index: PendingIndex, stage: Stage) {
        let order = self.orders.get_mut(index).expect("inserted just now");
        order.stage = stage;
        let product = order.product;
        match stage {
            Stage::Lookup => self.gate.push_lookup(index),
            Stage::Token => self.products[product].token_waiters.push_back(index),
            Stage::Queued => {
                self.promised += 1;
                self.gate.push(index);
            }
            Stage::Product | Stage::Reserving | Stage::Publishing => unreachable!("not a way in"),
        }
        if stage != Stage::Lookup {
            self.ask_for_tokens(now, product);
        }
    }

    fn join(&mut self, now: Now, index: PendingIndex, quantity: u16, ticket: Ticket) -> Outcome {
        let order = self.orders.get(index).expect("found by its id");
        if order.waiters.is_empty() {
            // Its own callers were told already that its outcome is unknown, or that it is pending.
            let answer = match order.stage {
                _ if order.quantity != quantity => Answer::KeyReused,
                Stage::Publishing => Answer::Pending { id: order.order_id, replayed: true },
                _ => Answer::Unknown,
            };
            return self.answered(now, now.instant, answer);
        }
        match self.orders.join(index, quantity, ticket) {
            Ok(()) => Outcome::Later,
            Err(JoinError::OtherQuantity) => self.answered(now, now.instant, Answer::KeyReused),
            Err(JoinError::Full) => self.answered(now, now.instant, Answer::Unavailable(Unavailable::Full)),
        }
    }

    /// Two requests of one order that met only now: those who wait for `index` wait for `other`.
    fn merge(&mut self, now: Now, index: PendingIndex, other: PendingIndex) {
        let Some(order) = self.orders.remove(index) else { return };
        for ticket in order.waiters {
            if let Outcome::Now(answer) = self.join(now, other, order.quantity, ticket) {
                self.complete(ticket, answer);
            }
        }
    }

    /// A lease came or a place is free: an order that waited for a token has one.
    pub(crate) fn reserve_after_token(&mut self, now: Now, index: PendingIndex) {
        if self.orders.get(index).is_none() {
            return;
        }
        if self.has_room() {
            self.go(now, index, Stage::Queued);
        } else {
            self.respond(now, index, Answer::Unavailable(Unavailable::Full));
        }
    }

    // Reserve.

    pub(crate) fn write_reserve(&mut self, now: Now) {
        let Some(partition) = self.producer.current_partition() else { return self.refuse_queued(now) };
        let terms = CallTerms {
            partition,
            record_ttl_seconds: self.config.idempotency_ttl.as_secs(),
            outbox_orders_max: self.config.outbox_orders_max,
        };
        let (gate, products, orders) = (&mut self.gate, &self.products, &mut self.orders);
        let mut sealed = None;
        self.redis.call_if(now.instant, |out| {
            sealed = gate.seal(now.instant, terms, products, orders, out);
            sealed.map(Call::Reserve)
        });
        if let Some(index) = sealed {
            self.counters.reserve_call(self.gate.call(index).orders.len());
        }
    }

    /// The script's answer for a whole call.
    pub(crate) fn handle_reserved(&mut self, now: Now, index: CallIndex, reply: Reply<'_>) {
        let mut items = match reply.items() {
            Ok(Some(items)) => Some(items),
            Ok(None) => None,
            Err(error) if error.kind() == ErrorKind::NoScript => {
                self.redis.load_scripts(now.instant);
                return self.repeat_reserve(now, index);
            }
            Err(error) => return self.handle_reserve_error(now, index, error),
        };
        let call = self.gate.take(index);
        let mut at = 0;
        for group in &call.groups {
            let orders = &call.orders[at..at + group.orders];
            let head = items.as_mut().and_then(|items| Head::read(items));
            self.handle_group(now, group, orders, call.partition, is_too_old(now, call.sent), head, &mut items);
            at += group.orders;
        }
        self.gate.recycle(index, call);
    }

    #[expect(clippy::too_many_arguments, reason = "one call's context, used once; a struct would only rename it")]
    fn handle_group(
        &mut self,
        now: Now,
        group: &Group,
        orders: &[PendingIndex],
        partition: i32,
        too_old: bool,
        head: Option<Head>,
        items: &mut Option<Items<'_>>,
    ) {
        let entry = match head {
            Some(Head::AllAccepted(id)) => {
                let entry = self.entries.insert(group.product, id, orders.len() as u32, false);
                for index in orders {
                    self.publish(now, *index, entry, partition, group, too_old);
                }
                return;
            }
            Some(Head::Mixed(id)) => id,
            refused => {
                let answer = self.refusal(now, group.product, refused);
                for index in orders {
                    self.unreserved(now, *index, answer.clone());
                }
                return;
            }
        };
        // The codes name who is in the entry; it is counted before the first of its orders can settle.
        let codes: smallvec::SmallVec<[Option<Code>; 64]> = orders
            .iter()
            .map(|_| items.as_mut().and_then(Iterator::next).and_then(|item| Code::read(&item)))
            .collect();
        let entries = self.open_entries(group.product, entry, orders, &codes);
        for (index, code) in orders.iter().zip(&codes) {
            let own = |id| entries.iter().find(|(known, _)| *known == id).map(|(_, place)| *place);
            let place = match code {
                Some(Code::Accepted) => entry.and_then(own),
                Some(Code::Recorded(record)) if self.is_own(*index, record.reservation_id) => own(record.entry),
                _ => None,
            };
            match place {
                Some(place) => self.publish(now, *index, place, partition, group, too_old),
                None => self.handle_code(now, *index, *code, group.product),
            }
        }
    }

    /// The entries this reply makes this core's business: the call's own, and those of its repeats.
    fn open_entries(
        &mut self,
        product: ProductIndex,
        own: Option<EntryId>,
        orders: &[PendingIndex],
        codes: &[Option<Code>],
    ) -> smallvec::SmallVec<[(EntryId, EntryIndex); 2]> {
        let mut counted: smallvec::SmallVec<[(EntryId, u32); 2]> = smallvec::SmallVec::new();
        for (index, code) in orders.iter().zip(codes) {
            let id = match code {
                Some(Code::Accepted) => own,
                Some(Code::Recorded(record)) if !record.delivered && self.is_own(*index, record.reservation_id) => {
                    Some(record.entry)
                }
                _ => None,
            };
            if let Some(id) = id {
                match counted.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, orders)) => *orders += 1,
                    None => counted.push((id, 1)),
                }
            }
        }
        counted.iter().map(|(id, orders)| (*id, self.entries.insert(product, *id, *orders, false))).collect()
    }

    fn is_own(&self, index: PendingIndex, reservation_id: flux_protocol::order::Uuid) -> bool {
        self.orders.get(index).is_some_and(|order| order.reservation_id == reservation_id)
    }

    /// An order that is in none of this core's entries.
    fn handle_code(&mut self, now: Now, index: PendingIndex, code: Option<Code>, product: ProductIndex) {
        let Some(order) = self.orders.get(index) else { return };
        let (id, quantity, own) = (order.order_id, order.quantity, order.reservation_id);
        let answer = match code {
            Some(Code::Recorded(record)) if record.reservation_id == own => Answer::Accepted { id, replayed: false },
            Some(Code::Recorded(record)) if record.quantity != quantity => Answer::KeyReused,
            Some(Code::Recorded(record)) if record.delivered => Answer::Accepted { id, replayed: true },
            Some(Code::Recorded(_)) => Answer::Pending { id, replayed: true },
            Some(Code::SoldOut) => {
                self.products[product].sold_out_until = now.instant + SOLD_OUT_REMEMBERED;
                Answer::SoldOut
            }
            Some(Code::Closed) => {
                self.products[product].state = State::Closed;
                Answer::SoldOut
            }
            Some(Code::NotOpen) => {
                self.products[product].state = State::Scheduled;
                let wants_json = order.wants_json;
                waiting_room(self.products[product].name, wants_json)
            }
            Some(Code::OutboxFull) => Answer::Unavailable(Unavailable::OutboxFull),
            Some(Code::Insufficient(available)) => Answer::Insufficient { available },
            Some(Code::LimitReached) => Answer::LimitReached,
            Some(Code::OtherSale) => return self.derive_again(now, index, product),
            None | Some(Code::Accepted) => Answer::Unknown,
        };
        self.unreserved(now, index, answer);
    }

    /// What a head that accepts nobody tells its orders, and this core's memory.
    fn refusal(&mut self, now: Now, product: ProductIndex, head: Option<Head>) -> Answer {
        match head {
            Some(Head::Suspended) => {
                self.products[product].state = State::Suspended;
                Answer::Unavailable(Unavailable::Suspended)
            }
            Some(Head::OtherGeneration) => {
                self.look_soon(now, product);
                Answer::Unavailable(Unavailable::Changed)
            }
            Some(Head::UnknownProduct) => {
                self.products[product].state = State::Suspended;
                self.look_soon(now, product);
                Answer::Unavailable(Unavailable::Suspended)
            }
            Some(Head::OutboxFull) => Answer::Unavailable(Unavailable::OutboxFull),
            Some(Head::AllAccepted(_) | Head::Mixed(_)) | None => Answer::Unknown,
        }
    }

    /// The sale is another than the id was derived for, and the old id has no record: once more, with the new one.
    fn derive_again(&mut self, now: Now, index: PendingIndex, product: ProductIndex) {
        self.promised -= 1;
        let Some(order) = self.orders.get_mut(index) else { return };
        if std::mem::replace(&mut order.rederived, true) {
            return self.respond(now, index, Answer::Unavailable(Unavailable::Changed));
        }
        order.stage = Stage::Product;
        self.products[product].look_waiters.push(index);
        self.look_soon(now, product);
    }

    fn handle_reserve_error(&mut self, now: Now, index: CallIndex, error: ServerError<'_>) {
        let answer = match error.belief() {
            Belief::Refused | Belief::Failed => Answer::Unavailable(Unavailable::Redis),
            Belief::Unknown => Answer::Unknown,
        };
        self.note_error(now, error);
        let call = self.gate.take(index);
        for order in &call.orders {
            self.unreserved(now, *order, answer.clone());
        }
        self.gate.recycle(index, call);
    }

    /// Asks a call again that got no reply, word for word; drops it where nobody waits for any of its orders: what
    /// it may have reserved is the relay's.
    pub(crate) fn repeat_reserve(&mut self, now: Now, index: CallIndex) {
        let waited_for = |order: &PendingIndex| self.orders.get(*order).is_some_and(|order| !order.waiters.is_empty());
        if self.redis.is_ready() && self.gate.call(index).orders.iter().any(waited_for) {
            let gate = &mut self.gate;
            self.redis.call(now.instant, Call::Reserve(index), |out| gate.repeat(now.instant, index, out));
            return;
        }
        let call = self.gate.take(index);
        for order in &call.orders {
            self.unreserved(now, *order, Answer::Unknown);
        }
        self.gate.recycle(index, call);
    }

    /// The order took no unit here, or none that this core will see through: its promised place is free again.
    fn unreserved(&mut self, now: Now, index: PendingIndex, answer: Answer) {
        if self.orders.get(index).is_some() {
            self.promised -= 1;
            self.respond(now, index, answer);
        }
    }

    // Publish.

    fn publish(&mut self, now: Now, index: PendingIndex, entry: EntryIndex, partition: i32, group: &Group, too_old: bool) {
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
        let token = Token::Order { order: index, entry };
        let taken = !too_old
            && self
                .producer
                .append(now.instant, partition, timestamp_ms as i64, token, |value| record.write_json(value))
                .is_ok();
        if taken {
            self.by_reserved.push_back((now.instant, index));
        } else {
            self.counters.records_left.add(1);
            self.settle_entry(now, entry, false);
            self.respond(now, index, Answer::Pending { id, replayed: false });
        }
    }

    /// Kafka has acknowledged an order, or will not to this core.
    pub(crate) fn published(&mut self, now: Now, index: PendingIndex, entry: EntryIndex, acknowledged: bool) {
        // The entry's deletion is queued before the answer is.
        self.settle_entry(now, entry, acknowledged);
        let Some(order) = self.orders.get(index) else { return };
        let id = order.order_id;
        let answer =
            if acknowledged { Answer::Accepted { id, replayed: false } } else { Answer::Pending { id, replayed: false } };
        self.respond(now, index, answer);
    }

    // Respond.

    /// Answers all who wait for an order and lets go of it.
    pub(crate) fn respond(&mut self, now: Now, index: PendingIndex, answer: Answer) {
        let Some(order) = self.orders.remove(index) else { return };
        let span = now.instant.since(order.received);
        for (position, ticket) in order.waiters.iter().enumerate() {
            let answer = if position == 0 { answer.clone() } else { replayed(&answer) };
            self.counters.order_answered(OrderOutcome::of(&answer), span);
            self.complete(*ticket, answer);
        }
    }
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
    if !request.fields.content_type.is_none_or(is_json) {
        return Err(Answer::error(415, "content-type must be application/json"));
    }
    let key = match request.fields.idempotency_key {
        KeyField::Absent => return Err(Answer::error(400, "Missing Idempotency Key")),
        KeyField::Conflict => return Err(Answer::error(400, "Conflicting Idempotency Keys")),
        KeyField::One(key) => Identifier::new(key).ok_or_else(|| Answer::error(400, "Invalid Idempotency Key"))?,
    };
    let body = order_body::parse(request.body).map_err(|error| Answer::error(400, &error.to_string()))?;
    let identifier = |text: &str| Identifier::new(text.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid identifier"));
    let (product, user) = (identifier(&body.product_id)?, identifier(&body.user_id)?);
    Ok((product, Wish { user, key, quantity: body.quantity, wants_json: wants_json(request.fields.accept) }))
}

/// Whether a media type is JSON, with any parameters (RFC 9110 section 8.3.1).
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Whether `accept` names JSON: a script that cannot read a redirect.
pub(crate) fn wants_json(accept: Option<&[u8]>) -> bool {
    accept.is_some_and(|accept| accept.split(|byte| *byte == b',').any(is_json))
}

/// Whether a look-up found a record.
pub(crate) fn found(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Bulk(_) => Some(true),
        _ => None,
    }
}
