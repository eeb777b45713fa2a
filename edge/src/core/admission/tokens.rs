//! Asking Redis for tokens, and what becomes of the orders that wait for them.

use std::time::Duration;

use flux_protocol::order::decimal;
use flux_protocol::resp::{ErrorKind, Items, Reply};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::schedule::Work;
use crate::core::state::orders::Stage;
use crate::core::state::product::{ProductIndex, SaleState};
use crate::core::state::token_lease::lease_life;
use crate::core::{Core, PendingCall};
use crate::redis::scripts::SCRIPTS;

/// Tokens that the bucket has granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseReply {
    count: u64,
    life: Duration,
    /// How long the bucket holds no token from now on.
    pub(crate) next_due: Duration,
    /// No unit was left.
    pub(crate) is_sold_out: bool,
}

impl LeaseReply {
    /// The first four words of a reply of `lease.lua`; `None` where it does not believe the sale.
    pub(crate) fn read(items: &mut Items<'_>) -> Option<LeaseReply> {
        let count = items.next_number()?;
        let (life, next_due) =
            (Duration::from_micros(items.next_number()?), Duration::from_micros(items.next_number()?));
        let is_sold_out = items.next_bulk()? == b"0";
        Some(LeaseReply { count, life, next_due, is_sold_out })
    }
}

/// Why a call of `lease.lua` has brought nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ungranted {
    /// The script was not loaded. It is by now: the orders that wait go on waiting while it is asked again.
    NotLoaded,
    /// The orders that wait are told so.
    Refused(Unavailable),
}

impl Core {
    /// Asks for tokens of the product's sale if more are wanted than are at hand.
    pub(crate) fn ask_for_tokens(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        let Some(sale) = product.sale else { return };
        if sale.rate == 0 || !self.redis.is_ready() {
            return;
        }
        if product.queue.is_some() {
            return self.ask_line(now, index, false);
        }
        let Some(wanted) = product.tokens.wants(now.instant, product.token_waiters.len()) else { return };
        if !self.redis.may(Work::Tokens) {
            return self.turns.leases.push(index);
        }
        product.tokens.handle_asked(now.instant);
        let life = lease_life(sale.rate, sale.burst).as_micros() as u64;
        let keys: [&[u8]; 3] = [&product.keys.rate, &product.keys.sale, &product.keys.stock];
        let (mut wanted_digits, mut life_digits) = ([0; 20], [0; 20]);
        let (mut id_digits, mut generation_digits) = ([0; 20], [0; 20]);
        let arguments = [
            decimal(wanted, &mut wanted_digits),
            decimal(life, &mut life_digits),
            decimal(sale.id, &mut id_digits),
            decimal(sale.generation.into(), &mut generation_digits),
        ];
        self.redis.call_script(now.instant, PendingCall::Lease(index), |out| {
            SCRIPTS.lease.write_call_with(out, &keys, &arguments);
        });
    }

    /// The bucket's answer: `granted`, `life_us`, `next_due_us`, state. No reply: the connection is gone.
    pub(crate) fn handle_lease(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        match self.read_lease(now, index, reply, LeaseReply::read) {
            Ok(grant) => self.grant(now, index, grant),
            Err(why) => {
                self.products[index].tokens.handle_failed();
                match why {
                    Ungranted::NotLoaded => self.ask_for_tokens(now, index),
                    Ungranted::Refused(refusal) => self.refuse_token_waiters(now, index, refusal),
                }
            }
        }
    }

    /// What `read` finds in a reply of `lease.lua`. A sale that the script does not believe is suspended.
    pub(crate) fn read_lease<T>(
        &mut self,
        now: Now,
        index: ProductIndex,
        reply: Option<Reply<'_>>,
        read: impl FnOnce(&mut Items<'_>) -> Option<T>,
    ) -> Result<T, Ungranted> {
        match reply.map(|reply| reply.items()) {
            Some(Ok(Some(mut items))) => read(&mut items).ok_or_else(|| {
                self.products[index].state = SaleState::Suspended;
                self.refresh_soon(now, index);
                Ungranted::Refused(Unavailable::Suspended)
            }),
            Some(Err(error)) => {
                self.note_error(error);
                match error.kind() {
                    ErrorKind::NoScript => Err(Ungranted::NotLoaded),
                    _ => Err(Ungranted::Refused(Unavailable::Redis)),
                }
            }
            Some(Ok(None)) | None => Err(Ungranted::Refused(Unavailable::Redis)),
        }
    }

    /// No token can be had: the orders that wait for one are told why.
    pub(crate) fn refuse_token_waiters(&mut self, now: Now, index: ProductIndex, refusal: Unavailable) {
        while let Some(order) = self.products[index].token_waiters.pop_front() {
            self.respond(now, order, Answer::Unavailable(refusal));
        }
    }

    /// Tokens have come: the orders that wait are served in the order in which they came. Where none is left, the
    /// others are sent to the waiting room, but for those at the door of a fair queue.
    pub(crate) fn grant(&mut self, now: Now, index: ProductIndex, grant: LeaseReply) {
        self.counters.lease(grant.count);
        self.products[index].tokens.handle_granted(now.instant, grant.count, grant.life, grant.next_due);
        if grant.is_sold_out {
            self.products[index].note_sold_out(now.instant);
        }
        self.hand_out_tokens(now, index);
        if grant.next_due.is_zero() {
            // The bucket still holds some: more are asked for, for the orders that still wait.
            return self.ask_for_tokens(now, index);
        }
        for _ in 0..self.products[index].token_waiters.len() {
            let Some(order) = self.products[index].token_waiters.pop_front() else { break };
            match self.orders.get(order).map(|order| order.stage) {
                Some(Stage::Held) => self.products[index].token_waiters.push_back(order),
                Some(_) if grant.is_sold_out => self.re_enter(now, order),
                Some(_) => {
                    let answer = self.turn_away(now, order, index);
                    self.respond(now, order, answer);
                }
                None => {}
            }
        }
    }

    /// The orders that wait for tokens get what there is, in the order in which they came.
    pub(crate) fn hand_out_tokens(&mut self, now: Now, index: ProductIndex) {
        while let Some(&order) = self.products[index].token_waiters.front() {
            let gone = self.orders.get(order).is_none();
            if !gone && !self.products[index].tokens.take(now.instant) {
                break;
            }
            self.products[index].token_waiters.pop_front();
            self.let_in(now, order);
            self.reserve_after_token(now, order);
        }
    }
}
