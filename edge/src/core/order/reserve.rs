//! The script's answers to reserve calls, order by order: which orders are published, what each caller is told, what is
//! asked again.
//!
//! The story itself is in `order.rs`; this file is its middle. Unknown is never treated as failed here: an order whose
//! call got no readable answer is answered `unknown`, and whatever it reserved is the relay's.

use flux_protocol::order::Uuid;
use flux_protocol::outbox_entry::EntryId;
use flux_protocol::resp::{Belief, ErrorKind, Items, Reply, ServerError};
use flux_protocol::time::{Instant, Now};
use smallvec::SmallVec;

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::entries::{EntryIndex, Origin};
use crate::core::state::orders::{OrderIndex, Stage};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::reserve_calls::{BatchIndex, CallTerms, Group, ReserveBatch};
use crate::redis::replies::{Code, Head};
use crate::sale::SaleState;

/// An entry that a reply made this core's business, while the reply is read.
struct Opened {
    id: EntryId,
    index: EntryIndex,
    placed: u8,
}

impl Opened {
    /// The place of the next of its orders.
    fn next_place(&mut self) -> (EntryIndex, u8) {
        self.placed += 1;
        (self.index, self.placed - 1)
    }
}

impl Core {
    pub(crate) fn write_reserve(&mut self, now: Now) {
        let Some(partition) = self.producer.current_partition() else { return self.refuse_queued(now) };
        let terms = CallTerms { partition, outbox_orders_max: self.config.outbox_orders_max };
        let (reserve_calls, products, orders) = (&mut self.reserve_calls, &self.products, &mut self.orders);
        let mut sealed = None;
        self.redis.call_if(now.instant, |out| {
            sealed = reserve_calls.seal(now.instant, terms, products, orders, out);
            sealed.map(PendingCall::Reserve)
        });
        if let Some(index) = sealed {
            self.counters.reserve_call(self.reserve_calls.call(index).orders.len());
        }
    }

    /// No partition is known any more: what waits for a call is refused, nothing was reserved.
    fn refuse_queued(&mut self, now: Now) {
        while let Some(index) = self.reserve_calls.pop() {
            if self.orders.get(index).is_some() {
                self.orders.promised -= 1;
                self.respond(now, index, Answer::Unavailable(Unavailable::Kafka));
            }
        }
    }

    /// The script's answer for a whole call. No reply: the connection is gone, and it is asked again by the next.
    pub(crate) fn handle_reserved(&mut self, now: Now, index: BatchIndex, reply: Option<Reply<'_>>) {
        let Some(reply) = reply else { return self.reserve_calls.lost.push(index) };
        let mut items = match reply.items() {
            Ok(Some(items)) => Some(items),
            Ok(None) => None,
            Err(error) if error.kind() == ErrorKind::NoScript => {
                // Refused for certain: what is asked now is asked for the first time.
                self.redis.load_scripts(now.instant);
                return self.ask_reserve_again(now, index, false);
            }
            Err(error) => return self.handle_reserve_error(now, index, error),
        };
        let call = self.reserve_calls.take(index);
        let mut at = 0;
        for group in &call.groups {
            let orders = &call.orders[at..at + group.orders];
            let head = items.as_mut().and_then(|items| Head::read(items));
            self.handle_group(now, &call, group, orders, head, &mut items);
            at += group.orders;
        }
        self.reserve_calls.recycle(index, call);
    }

    fn handle_group(
        &mut self,
        now: Now,
        call: &ReserveBatch,
        group: &Group,
        orders: &[OrderIndex],
        head: Option<Head>,
        items: &mut Option<Items<'_>>,
    ) {
        let entry = match head {
            Some(Head::AllAccepted(id)) => {
                let entry = self.outbox.entries.insert(
                    (group.product, (group.sale_id, group.generation)),
                    id,
                    orders.len() as u32,
                    Origin::Reserved,
                    call.first_sent,
                );
                for (place, index) in orders.iter().enumerate() {
                    self.use_turn_up(*index, None);
                    self.publish(now, *index, (entry, place as u8), call, group);
                }
                return;
            }
            Some(Head::Mixed(id)) => id,
            refused => {
                let answer = self.refusal(now, group.product, refused);
                for index in orders {
                    self.refuse(now, *index, answer.clone(), call.repeated);
                }
                return;
            }
        };
        // The codes tell which orders are in the entry; they are counted before the first of them can settle.
        let codes: SmallVec<[Option<Code>; 64]> =
            orders.iter().map(|_| items.as_mut().and_then(Iterator::next).and_then(|item| Code::read(&item))).collect();
        let mut entries = self.open_entries(group, call.first_sent, entry, orders, &codes);
        for (index, code) in orders.iter().zip(&codes) {
            let place = self
                .entry_of(*index, code.as_ref(), entry)
                .and_then(|id| entries.iter_mut().find(|known| known.id == id))
                .map(Opened::next_place);
            match place {
                Some(place) => {
                    self.use_turn_up(*index, None);
                    self.publish(now, *index, place, call, group);
                }
                None => self.handle_code(now, *index, *code, group.product, call),
            }
        }
    }

    /// The entry that an order is this core's to deliver from: the call's own, or that of an earlier writing of it.
    fn entry_of(&self, index: OrderIndex, code: Option<&Code>, own: Option<EntryId>) -> Option<EntryId> {
        match code {
            Some(Code::Accepted) => own,
            Some(Code::Recorded(record)) if !record.delivered && self.is_own(index, record.reservation_id) => {
                Some(record.entry)
            }
            _ => None,
        }
    }

    /// The entries this reply makes this core's business. Their orders stand in them in the order of the call.
    fn open_entries(
        &mut self,
        group: &Group,
        asked: Instant,
        own: Option<EntryId>,
        orders: &[OrderIndex],
        codes: &[Option<Code>],
    ) -> SmallVec<[Opened; 2]> {
        let mut counted: SmallVec<[(EntryId, u32); 2]> = SmallVec::new();
        for id in orders.iter().zip(codes).filter_map(|(index, code)| self.entry_of(*index, code.as_ref(), own)) {
            match counted.iter_mut().find(|(known, _)| *known == id) {
                Some((_, orders)) => *orders += 1,
                None => counted.push((id, 1)),
            }
        }
        // Where a code could not be read, the call's own entry may hold an order that this core does not know of.
        let own_is_whole = codes.iter().all(Option::is_some);
        let mut open = |(id, orders): &(EntryId, u32)| {
            let origin = if own == Some(*id) && own_is_whole { Origin::Reserved } else { Origin::Recorded };
            let of = (group.product, (group.sale_id, group.generation));
            Opened { id: *id, index: self.outbox.entries.insert(of, *id, *orders, origin, asked), placed: 0 }
        };
        counted.iter().map(&mut open).collect()
    }

    fn is_own(&self, index: OrderIndex, reservation_id: Uuid) -> bool {
        self.orders.get(index).is_some_and(|order| order.reservation_id == reservation_id)
    }

    /// An order that is in none of this core's entries.
    fn handle_code(
        &mut self,
        now: Now,
        index: OrderIndex,
        code: Option<Code>,
        product: ProductIndex,
        call: &ReserveBatch,
    ) {
        let repeated = call.repeated;
        let Some(order) = self.orders.get(index) else { return };
        let (id, quantity, own) = (order.order_id, order.wish.quantity, order.reservation_id);
        let answer = match code {
            Some(Code::Recorded(record)) if record.reservation_id == own => Answer::Accepted { id, replayed: false },
            Some(Code::Recorded(record)) if record.quantity != quantity => Answer::KeyReused,
            Some(Code::Recorded(record)) if record.delivered => Answer::Accepted { id, replayed: true },
            Some(Code::Recorded(_)) => Answer::Pending { id, replayed: true },
            Some(Code::SoldOut) => {
                self.products[product].note_sold_out(now.instant);
                Answer::SoldOut
            }
            Some(Code::Closed) => {
                self.products[product].state = SaleState::Closed;
                Answer::SoldOut
            }
            Some(Code::NotOpen(left)) => {
                self.products[product].schedule(call.first_sent, left);
                self.turn_away(now, index, product)
            }
            Some(Code::OutboxFull) => Answer::Unavailable(Unavailable::OutboxFull),
            Some(Code::PlaceUsedUp(until)) => {
                self.use_turn_up(index, Some(until));
                self.send_behind(now, index, product, until)
            }
            Some(Code::Insufficient(available)) => Answer::Insufficient { available },
            Some(Code::LimitReached) => Answer::LimitReached,
            // An earlier writing of the call may have reserved under the sale that is gone.
            Some(Code::OtherSale) if repeated || order.waiters.is_empty() => Answer::Unknown,
            Some(Code::OtherSale) => return self.derive_again(now, index, product),
            None | Some(Code::Accepted) => Answer::Unknown,
        };
        match code {
            Some(Code::Recorded(_) | Code::PlaceUsedUp(_)) => self.give_token_back(now, index),
            Some(Code::Insufficient(_) | Code::LimitReached) => self.use_turn_up(index, None),
            _ => {}
        }
        let recorded = matches!(code, Some(Code::Recorded(_)));
        self.refuse(now, index, answer, repeated && !recorded);
    }

    /// Tells an order that it has no unit. `repeated`: an earlier writing of the call, whose reply was lost, may still
    /// lie in the socket of a Redis that was stopped, or have taken effect in one that is gone: then its outcome is
    /// unknown.
    fn refuse(&mut self, now: Now, index: OrderIndex, answer: Answer, repeated: bool) {
        self.unreserved(now, index, if repeated { Answer::Unknown } else { answer });
    }

    /// What a head that accepts no order tells its orders, and this core's memory.
    fn refusal(&mut self, now: Now, product: ProductIndex, head: Option<Head>) -> Answer {
        match head {
            Some(Head::Suspended) => {
                self.products[product].state = SaleState::Suspended;
                // The change may be a harmless one: a refresh that vouches for this connection takes it over.
                self.refreshes.want(&mut self.products, product);
                Answer::Unavailable(Unavailable::Suspended)
            }
            Some(Head::NotPermitted) => {
                // The probe says which, in the log and in `/readyz`.
                self.probe.next = now.instant;
                Answer::Unavailable(Unavailable::Redis)
            }
            Some(Head::OtherGeneration) => {
                self.refreshes.want(&mut self.products, product);
                Answer::Unavailable(Unavailable::Changed)
            }
            Some(Head::UnknownProduct) => {
                self.products[product].state = SaleState::Suspended;
                self.refreshes.want(&mut self.products, product);
                Answer::Unavailable(Unavailable::Suspended)
            }
            Some(Head::OutboxFull) => Answer::Unavailable(Unavailable::OutboxFull),
            Some(Head::AllAccepted(_) | Head::Mixed(_)) | None => Answer::Unknown,
        }
    }

    /// The sale is another than the id was derived for, and the old id has no record: once more, with the new one.
    fn derive_again(&mut self, now: Now, index: OrderIndex, product: ProductIndex) {
        self.orders.promised -= 1;
        let Some(order) = self.orders.get_mut(index) else { return };
        if std::mem::replace(&mut order.rederived, true) {
            return self.respond(now, index, Answer::Unavailable(Unavailable::Changed));
        }
        order.stage = Stage::Product;
        self.refreshes.hold(&mut self.products, product, index);
    }

    fn handle_reserve_error(&mut self, now: Now, index: BatchIndex, error: ServerError<'_>) {
        let answer = match error.belief() {
            Belief::Refused | Belief::Failed => Answer::Unavailable(Unavailable::Redis),
            Belief::Unknown => Answer::Unknown,
        };
        self.refusals.note(&self.counters, error);
        let call = self.reserve_calls.take(index);
        for order in &call.orders {
            self.refuse(now, *order, answer.clone(), call.repeated);
        }
        self.reserve_calls.recycle(index, call);
    }

    /// The connection to Redis is a new one: the calls that got no reply are asked again.
    pub(crate) fn repeat_lost(&mut self, now: Now) {
        for index in std::mem::take(&mut self.reserve_calls.lost) {
            self.ask_reserve_again(now, index, true);
        }
    }

    /// Writes a call once more, word for word; drops it where no caller waits for any of its orders: what it may have
    /// reserved is the relay's to deliver. `unknown`: whether the writing before had effects.
    fn ask_reserve_again(&mut self, now: Now, index: BatchIndex, unknown: bool) {
        let waited_for = |order: &OrderIndex| self.orders.get(*order).is_some_and(|order| !order.waiters.is_empty());
        if self.redis.is_ready() && self.reserve_calls.call(index).orders.iter().any(waited_for) {
            let reserve_calls = &mut self.reserve_calls;
            self.redis.call(now.instant, PendingCall::Reserve(index), |out| reserve_calls.repeat(index, unknown, out));
            return;
        }
        let call = self.reserve_calls.take(index);
        for order in &call.orders {
            self.unreserved(now, *order, Answer::Unknown);
        }
        self.reserve_calls.recycle(index, call);
    }

    /// The order took no unit here, or none that this core will deliver: its promised place is free again.
    fn unreserved(&mut self, now: Now, index: OrderIndex, answer: Answer) {
        if self.orders.get(index).is_some() {
            self.orders.promised -= 1;
            self.respond(now, index, answer);
        }
    }
}
