//! Asking Redis for tokens, and for the status of fair queues: one call of `lua/lease.lua` a product does both.

use std::time::Duration;

use flux_protocol::order::decimal;
use flux_protocol::queue::limits::HOLD_US;
use flux_protocol::resp::Arguments;
use flux_protocol::time::Now;

use crate::core::Core;
use crate::core::calls::{PendingCall, QueueStatusCall};
use crate::core::state::orders::{OrderIndex, Stage};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::queue_state::QueueState;
use crate::core::state::token_lease::lease_life;
use crate::core::state::wakes::Wake;
use crate::redis::scripts::SCRIPTS;
use crate::redis::work::Work;
use crate::sale::{GENERATION_TEXT_BYTES, SaleState, generation_text};

impl Core {
    /// Asks for tokens of the product's sale if more are wanted than are at hand.
    pub(crate) fn ask_for_tokens(&mut self, now: Now, index: ProductIndex) {
        let Some(sale) = self.products[index].sale else { return };
        if sale.rate == 0 || !self.redis.is_ready() {
            return;
        }
        // Where it may not be sold nobody needs a token.
        let Ok(fence) = self.products.fence(now.instant, index, (sale.id, sale.generation)) else { return };
        let product = &mut self.products[index];
        let admission = &mut product.admission;
        if admission.queue.is_some() {
            return self.ask_queue_status(now, index, false);
        }
        let Some(wanted) = admission.tokens.wants(now.instant, admission.waiters.len()) else { return };
        if !self.redis.may(Work::Tokens) {
            return self.queues.awaiting_call.push(index);
        }
        admission.tokens.handle_asked(now.instant);
        let life = lease_life(sale.rate, sale.burst).as_micros() as u64;
        let keys: [&[u8]; 3] = [&product.keys.rate, &product.keys.sale, &product.keys.stock];
        let (mut wanted_digits, mut life_digits) = ([0; 20], [0; 20]);
        let (mut id_digits, mut generation) = ([0; 20], [0; GENERATION_TEXT_BYTES]);
        let arguments = [
            decimal(wanted, &mut wanted_digits),
            decimal(life, &mut life_digits),
            decimal(sale.id, &mut id_digits),
            generation_text(sale.generation, fence, &mut generation),
        ];
        self.redis.call_script(now.instant, PendingCall::Lease(index), |out| {
            SCRIPTS.lease.write_call_with(out, &keys, &arguments);
        });
    }

    /// Reports to Redis, asks for the queue's status, and for tokens if more are wanted than are at hand: if that is due.
    /// `is_urgent`: orders wait for the status.
    pub(crate) fn ask_queue_status(&mut self, now: Now, index: ProductIndex, is_urgent: bool) {
        if !self.redis.is_ready() {
            return;
        }
        let Some(sale) = self.products[index].sale else { return };
        let Ok(fence) = self.products.fence(now.instant, index, (sale.id, sale.generation)) else { return };
        let product = &mut self.products[index];
        let may_move = product.visible_state(now.instant) == SaleState::Open;
        let admission = &mut product.admission;
        let Some(queue) = &mut admission.queue else { return };
        let wanted = admission.tokens.wants(now.instant, admission.waiters.len());
        if !queue.is_due(now.instant, is_urgent || wanted.is_some(), may_move) {
            return;
        }
        if !self.redis.may(Work::Tokens) {
            return self.queues.awaiting_call.push(index);
        }
        if wanted.is_some() {
            admission.tokens.handle_asked(now.instant);
        }
        let call = QueueStatusCall { product: index, sale_id: queue.sale_id(), wants_tokens: wanted.is_some() };
        let report = queue.handle_asked(now.instant);
        self.counters.queues.calls.add(1);
        let (mut keys, mut arguments) = (Arguments::default(), Arguments::default());
        let names = &product.keys;
        [&names.rate, &names.sale, &names.stock, &names.queue].into_iter().for_each(|key| keys.push(key));
        arguments.push_number(wanted.unwrap_or(0));
        arguments.push_number(lease_life(sale.rate, sale.burst).as_micros() as u64);
        arguments.push_number(sale.id);
        arguments.push(generation_text(sale.generation, fence, &mut [0; GENERATION_TEXT_BYTES]));
        arguments.push_number(report.served);
        arguments.push_number(report.arrived.len() as u64);
        let issued = report.issued.iter().map(|(slot, count)| (u64::from(*slot), *count));
        for (of, count) in report.arrived.iter().copied().chain(issued) {
            arguments.push_number(of);
            arguments.push_number(count);
        }
        self.redis.call_script(now.instant, PendingCall::QueueStatus(call), |out| {
            SCRIPTS.lease.write_call(out, &[&keys], &[&arguments]);
        });
    }

    /// Asks for the product that has waited longest what may not be wanted any more; whether there was one.
    pub(crate) fn ask_next_waiting(&mut self, now: Now) -> bool {
        let Some(index) = self.queues.awaiting_call.pop() else { return false };
        match &self.products[index].admission.queue {
            Some(queue) => self.ask_queue_status(now, index, !queue.waiters.is_empty()),
            None => self.ask_for_tokens(now, index),
        }
        true
    }

    /// What a refresh said of a product's queue: `seed` where it has a fair one. A closed sale has none any more: no user is
    /// called.
    pub(crate) fn see_queue(&mut self, now: Now, index: ProductIndex, sale_id: u64, seed: Option<[u8; 32]>) {
        let product = &mut self.products[index];
        let seed = seed.filter(|_| product.state != SaleState::Closed);
        let admission = &mut product.admission;
        if admission.queue.as_ref().map(|queue| queue.sale_id()) == seed.map(|_| sale_id) {
            return;
        }
        let before = admission.queue.take();
        admission.queue = seed.map(|seed| Box::new(QueueState::new(product.name.as_bytes(), sale_id, seed)));
        self.wakes.extend(before.into_iter().flat_map(|queue| queue.waiters), Wake::Again);
        if admission.queue.is_some() {
            if !self.queues.products.contains(&index) {
                self.queues.products.push(index);
            }
            self.ask_queue_status(now, index, true);
        }
    }

    /// Called orders that have waited for a token for as long as they may are told to retry; the status of queues that are due is
    /// asked for.
    pub(crate) fn poll_queues(&mut self, now: Now) {
        while let Some(&(since, index)) = self.queues.called.front() {
            let held = self.orders.get(index).filter(|order| order.stage == Stage::Called);
            let product = held.map(|order| order.product);
            if product.is_some() && now.instant.since(since) < Duration::from_micros(HOLD_US) {
                break;
            }
            self.queues.called.pop_front();
            if let Some(product) = product {
                self.wakes.push(index, Wake::TurnedAway);
                self.forget_gone(product, index);
            }
        }
        let mut queues = std::mem::take(&mut self.queues.products);
        queues.retain(|index| self.products[*index].admission.queue.is_some());
        for index in &queues {
            self.ask_queue_status(now, *index, false);
        }
        self.queues.products = queues;
    }

    /// Orders that were answered meanwhile leave the front, and so does the one that is about to be: no token is asked for them.
    fn forget_gone(&mut self, product: ProductIndex, going: OrderIndex) {
        let waiters = &mut self.products[product].admission.waiters;
        while let Some(index) = waiters.front()
            && (*index == going || self.orders.get(*index).is_none())
        {
            waiters.pop_front();
        }
    }
}
