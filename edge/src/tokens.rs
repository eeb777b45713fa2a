//! Asking Redis for tokens, and what becomes of the orders that wait for them.

use std::time::Duration;

use flux_protocol::order::decimal;
use flux_protocol::resp::{ErrorKind, Reply};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core};
use crate::limiter::lease_life;
use crate::pending::Stage;
use crate::product::{ProductIndex, State, TokenWaiter};
use crate::scripts::SCRIPTS;

impl Core {
    /// Asks for tokens of the product's sale if more are wanted than are at hand.
    pub(crate) fn ask_for_tokens(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        let Some(sale) = product.sale else { return };
        if sale.rate == 0 || !self.redis.is_ready() {
            return;
        }
        if product.fair.is_some() {
            return self.ask_line(now, index, false);
        }
        let Some(wanted) = product.lease.wants(now.instant, product.token_waiters.len()) else { return };
        product.lease.handle_asked(now.instant);
        let life = lease_life(sale.rate, sale.burst).as_micros() as u64;
        let keys: [&[u8]; 3] = [&product.keys.rate, &product.keys.sale, &product.keys.stock];
        let (mut wanted_digits, mut life_digits) = ([0; 20], [0; 20]);
        let arguments = [decimal(wanted, &mut wanted_digits), decimal(life, &mut life_digits)];
        self.redis.call(now.instant, Call::Lease(index), |out| {
            SCRIPTS.lease.write_call_with(out, &keys, &arguments);
        });
    }

    /// The bucket's answer: `granted`, `life_us`, `next_due_us`, state. No reply: the connection is gone.
    pub(crate) fn handle_lease(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        let refusal = match reply.map(|reply| reply.items()) {
            Some(Ok(Some(mut items))) => match (items.next_number(), items.next_number(), items.next_number()) {
                (Some(granted), Some(life), Some(next_due)) => {
                    return self.grant(
                        now,
                        index,
                        granted,
                        Duration::from_micros(life),
                        Duration::from_micros(next_due),
                    );
                }
                _ => {
                    self.products[index].state = State::Suspended;
                    self.look_soon(now, index);
                    Unavailable::Suspended
                }
            },
            Some(Err(error)) => {
                self.note_error(now, error);
                if error.kind() == ErrorKind::NoScript {
                    // Loaded by now: whoever waits goes on waiting.
                    self.products[index].lease.handle_failed();
                    return self.ask_for_tokens(now, index);
                }
                Unavailable::Redis
            }
            Some(Ok(None)) | None => Unavailable::Redis,
        };
        self.products[index].lease.handle_failed();
        self.refuse_token_waiters(now, index, refusal);
    }

    /// No token can be had: whoever waits for one is told why.
    pub(crate) fn refuse_token_waiters(&mut self, now: Now, index: ProductIndex, refusal: Unavailable) {
        while let Some(waiter) = self.products[index].token_waiters.pop_front() {
            match waiter {
                TokenWaiter::Order(order) => self.respond(now, order, Answer::Unavailable(refusal)),
                TokenWaiter::Status(ticket, _) => self.complete(ticket, Answer::Unavailable(refusal)),
            }
        }
    }

    /// Tokens have come: those who wait are served in the order in which they came. Where none is left then, they are sent to
    /// the waiting room, but for those who stand at the door of a fair queue.
    pub(crate) fn grant(&mut self, now: Now, index: ProductIndex, granted: u64, life: Duration, next_due: Duration) {
        self.counters.lease(granted);
        self.products[index].lease.handle_granted(now.instant, granted, life, next_due);
        while let Some(&waiter) = self.products[index].token_waiters.front() {
            let gone = matches!(waiter, TokenWaiter::Order(order) if self.orders.get(order).is_none());
            if !gone && !self.products[index].lease.take(now.instant) {
                break;
            }
            self.products[index].token_waiters.pop_front();
            match waiter {
                TokenWaiter::Order(order) => {
                    self.let_in(now, order);
                    self.reserve_after_token(now, order);
                }
                TokenWaiter::Status(ticket, id) => self.write_status(now, index, id, ticket),
            }
        }
        if next_due.is_zero() {
            // The bucket still holds some: those who still wait are asked for again.
            return self.ask_for_tokens(now, index);
        }
        for _ in 0..self.products[index].token_waiters.len() {
            let Some(waiter) = self.products[index].token_waiters.pop_front() else { break };
            match waiter {
                TokenWaiter::Order(order) => match self.orders.get(order).map(|order| order.stage) {
                    Some(Stage::Held) => self.products[index].token_waiters.push_back(waiter),
                    Some(_) => {
                        let answer = self.turn_away(now, order, index);
                        self.respond(now, order, answer);
                    }
                    None => {}
                },
                TokenWaiter::Status(ticket, _) => self.complete(ticket, Answer::StatusWaiting),
            }
        }
    }
}
