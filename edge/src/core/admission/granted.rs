//! What `lua/lease.lua` answers: tokens for the orders that wait for them, and the status of a fair queue.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::{ErrorKind, Items, Reply};
use flux_protocol::time::Now;

use crate::answer::Unavailable;
use crate::core::Core;
use crate::core::calls::QueueStatusCall;
use crate::core::state::orders::{OrderIndex, Stage, Turn};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::wakes::Wake;
use crate::redis::lease_reply::{LeaseReply, QueueReply};
use crate::sale::SaleState;

/// Why a call of `lease.lua` has brought nothing.
#[derive(Clone, Copy, Debug)]
enum Ungranted {
    /// The script was not loaded. It is by now: the orders that wait go on waiting while it is asked again.
    NotLoaded,
    /// The orders that wait are told so.
    Refused(Unavailable),
}

impl Core {
    /// The bucket's answer: `granted`, `life_us`, `next_due_us`, state. No reply: the connection is gone.
    pub(crate) fn handle_lease(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        match self.read_lease(index, reply, LeaseReply::read) {
            Ok(lease) => self.grant(now, index, lease),
            Err(why) => {
                self.products[index].admission.tokens.handle_failed();
                match why {
                    Ungranted::NotLoaded => self.ask_for_tokens(now, index),
                    Ungranted::Refused(refusal) => self.refuse_token_waiters(index, refusal),
                }
            }
        }
    }

    /// The same where there is a fair queue. No reply: the connection is gone.
    pub(crate) fn handle_queue_status(&mut self, now: Now, call: QueueStatusCall, reply: Option<Reply<'_>>) {
        let index = call.product;
        let admission = &mut self.products[index].admission;
        if admission.queue.as_ref().is_none_or(|queue| queue.sale_id() != call.sale_id) {
            // Tokens of a sale that is over, and a queue in which no user waits any more.
            if call.wants_tokens {
                admission.tokens.handle_failed();
                self.ask_for_tokens(now, index);
            }
            return;
        }
        match self.read_lease(index, reply, QueueReply::read) {
            Ok(reply) => self.queue_moved(now, call, &reply),
            Err(why) => self.queue_status_failed(now, call, why),
        }
    }

    /// What `read` finds in a reply of `lease.lua`. A sale that the script does not believe is suspended.
    fn read_lease<T>(
        &mut self,
        index: ProductIndex,
        reply: Option<Reply<'_>>,
        read: impl FnOnce(&mut Items<'_>) -> Option<T>,
    ) -> Result<T, Ungranted> {
        match reply.map(|reply| reply.items()) {
            Some(Ok(Some(mut items))) => read(&mut items).ok_or_else(|| {
                self.products[index].state = SaleState::Suspended;
                self.refreshes.want(&mut self.products, index);
                Ungranted::Refused(Unavailable::Suspended)
            }),
            Some(Err(error)) => {
                self.refusals.note(&self.counters, error);
                match error.kind() {
                    ErrorKind::NoScript => Err(Ungranted::NotLoaded),
                    _ => Err(Ungranted::Refused(Unavailable::Redis)),
                }
            }
            Some(Ok(None)) | None => Err(Ungranted::Refused(Unavailable::Redis)),
        }
    }

    fn queue_status_failed(&mut self, now: Now, call: QueueStatusCall, why: Ungranted) {
        self.counters.queues.calls_failed.add(1);
        let admission = &mut self.products[call.product].admission;
        admission.queue.as_mut().expect("the call is of its sale").handle_failed();
        if call.wants_tokens {
            admission.tokens.handle_failed();
        }
        let refusal = match why {
            Ungranted::NotLoaded => return self.ask_queue_status(now, call.product, true),
            Ungranted::Refused(refusal) => refusal,
        };
        self.refuse_status_waiters(call.product, refusal);
        if call.wants_tokens {
            self.refuse_token_waiters(call.product, refusal);
        }
    }

    fn queue_moved(&mut self, now: Now, call: QueueStatusCall, reply: &QueueReply) {
        let product = &mut self.products[call.product];
        let queue = product.admission.queue.as_mut().expect("the call is of its sale");
        let is_sold_out = reply.lease.is_sold_out && !is_planted(Bug::EndlessLine);
        let told = queue.handle_reply(now.instant, &reply.moved, is_sold_out, reply.redis_us, reply.opens_us);
        self.counters.queues.told(&told);
        if call.wants_tokens {
            queue.handle_granted(!reply.lease.next_due.is_zero());
        }
        let waiters = std::mem::take(&mut queue.waiters);
        if is_sold_out {
            product.note_sold_out(now.instant);
        }
        if call.wants_tokens {
            self.grant(now, call.product, LeaseReply { is_sold_out, ..reply.lease });
        }
        self.wakes.extend(waiters, Wake::Again);
    }

    /// No token can be had: the orders that wait for one are told why.
    pub(crate) fn refuse_token_waiters(&mut self, index: ProductIndex, refusal: Unavailable) {
        self.wakes.extend(self.products[index].admission.waiters.drain(..), Wake::Refused(refusal));
    }

    /// The queue's status cannot be had: the orders that wait for it are told why.
    pub(crate) fn refuse_status_waiters(&mut self, index: ProductIndex, refusal: Unavailable) {
        let Some(queue) = &mut self.products[index].admission.queue else { return };
        self.wakes.extend(queue.waiters.drain(..), Wake::Refused(refusal));
    }

    /// Tokens have come: the orders that wait are served in the order in which they came. Where none is left, the
    /// others are sent to the waiting room, but for those that were called in a fair queue.
    fn grant(&mut self, now: Now, index: ProductIndex, lease: LeaseReply) {
        self.counters.lease(lease.count);
        let tokens = &mut self.products[index].admission.tokens;
        tokens.handle_granted(now.instant, lease.count, lease.life, lease.next_due);
        if lease.is_sold_out {
            self.products[index].note_sold_out(now.instant);
        }
        self.hand_out_tokens(now, index);
        if lease.next_due.is_zero() {
            // The bucket still holds some: more are asked for, for the orders that still wait.
            return self.ask_for_tokens(now, index);
        }
        let (waiters, orders, wakes) = (&mut self.products[index].admission.waiters, &self.orders, &mut self.wakes);
        waiters.retain(|order| match orders.get(*order).map(|order| order.stage) {
            Some(Stage::Called) => true,
            Some(_) => {
                wakes.push(*order, if lease.is_sold_out { Wake::Again } else { Wake::TurnedAway });
                false
            }
            None => false,
        });
    }

    /// The orders that wait for tokens get what there is, in the order in which they came.
    fn hand_out_tokens(&mut self, now: Now, index: ProductIndex) {
        while let Some(&order) = self.products[index].admission.waiters.front() {
            let gone = self.orders.get(order).is_none();
            let admission = &mut self.products[index].admission;
            if !gone && !admission.tokens.take(now.instant) {
                break;
            }
            admission.waiters.pop_front();
            if !gone {
                self.let_in(now, order);
                self.wakes.push(order, Wake::Admitted);
            }
        }
    }

    /// A called order has got its token. Its time begins anew: until now it waited for its turn, not for Redis.
    fn let_in(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get_mut(index).filter(|order| order.stage == Stage::Called) else { return };
        let admission = &mut self.products[order.product].admission;
        if let Turn::Called { token_expires, .. } = &mut order.turn {
            *token_expires = admission.tokens.last_expires();
        }
        if let Some(queue) = &mut admission.queue {
            let mark = queue.mark(order.wish.user.as_bytes());
            queue.serve(mark);
        }
        self.orders.restart(now.instant, index);
    }

    /// An order that came by a place got an answer that needs no token: the next order that waits gets it.
    pub(crate) fn give_token_back(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get(index) else { return };
        if let Turn::Called { token_expires, .. } = order.turn {
            let product = order.product;
            self.products[product].admission.tokens.give_back(now.instant, token_expires);
            self.hand_out_tokens(now, product);
        }
    }
}
