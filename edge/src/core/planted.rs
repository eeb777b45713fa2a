//! What the planted bugs of an edge do (`flux_protocol::planted`). None of it is reached in a program that ships.

use flux_protocol::resp;
use flux_protocol::time::Now;

use crate::answer::Answer;
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::entries::EntryIndex;
use crate::core::state::orders::OrderIndex;

impl Core {
    /// Gives the unit of an order back whose reservation was not answered in time.
    pub(crate) fn compensate(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get(index).filter(|_| self.redis.is_ready()) else { return };
        let (stock, quantity) = (&self.products[order.product].keys.stock, order.wish.quantity.to_string());
        self.redis.call(now.instant, PendingCall::Quiet, |out| {
            resp::command(out, &[b"INCRBY", stock, quantity.as_bytes()]);
        });
    }

    /// Answers an order, and deletes its entry, before Kafka has said a word.
    pub(crate) fn settle_before_ack(&mut self, now: Now, index: OrderIndex, entry: EntryIndex) {
        self.outbox.remove_too_early(now.instant, &mut self.products, entry);
        if let Some(order) = self.orders.get(index) {
            let id = order.order_id;
            self.respond(now, index, Answer::Accepted { id, replayed: false });
        }
    }
}
