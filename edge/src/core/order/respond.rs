//! Answering orders: every client that waits for one is told, and what the order held is free again.

use std::time::Duration;

use flux_protocol::time::Now;

use crate::answer::Answer;
use crate::core::Core;
use crate::core::request::Outcome;
use crate::core::state::orders::{Order, OrderIndex};
use crate::counters::OrderOutcome;

impl Core {
    /// The answer to a request that no order was made of.
    pub(crate) fn answered(&self, answer: Answer) -> Outcome {
        self.counters.order_answered(OrderOutcome::of(&answer), Duration::ZERO);
        Outcome::Now(answer)
    }

    /// Answers every client that waits for an order, and removes it.
    pub(crate) fn respond(&mut self, now: Now, index: OrderIndex, answer: Answer) {
        let Some(order) = self.take_out(index) else { return };
        let span = now.instant.since(order.received);
        for (position, reply_to) in order.waiters.iter().enumerate() {
            let answer = if position == 0 { answer.clone() } else { answer.replayed() };
            let outcome = OrderOutcome::of(&answer);
            self.counters.order_answered(outcome, span);
            self.products[order.product].accepted += u64::from(outcome == OrderOutcome::Accepted);
            self.replies.complete(*reply_to, answer);
        }
    }

    /// Answers the clients of an order whose unit may be taken; the order itself stays until Redis has answered.
    pub(crate) fn respond_and_keep(&mut self, now: Now, index: OrderIndex, answer: &Answer) {
        let Some(order) = self.orders.get_mut(index) else { return };
        let span = now.instant.since(order.received);
        let waiters = std::mem::take(&mut order.waiters);
        for (position, reply_to) in waiters.iter().enumerate() {
            let answer = if position == 0 { answer.clone() } else { answer.replayed() };
            self.counters.order_answered(OrderOutcome::of(&answer), span);
            self.replies.complete(*reply_to, answer);
        }
    }

    /// Removes an order, whose clients are the caller's to answer.
    pub(crate) fn take_out(&mut self, index: OrderIndex) -> Option<Order> {
        let order = self.orders.remove(index)?;
        let product = &mut self.products[order.product];
        product.under_way -= 1;
        product.leave_turn(order.turn);
        Some(order)
    }
}
