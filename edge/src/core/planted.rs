//! What the planted bugs of an edge do (`flux_protocol::planted`). None of it is reached in a program that ships.

use flux_protocol::resp;
use flux_protocol::time::Now;

use crate::answer::Answer;
use crate::core::state::orders::OrderIndex;
use crate::core::state::outbox::{EntryIndex, Removal};
use crate::core::{Core, PendingCall};

impl Core {
    /// Gives the unit of an order back whose reservation was not answered in time.
    pub(crate) fn compensate(&mut self, now: Now, index: OrderIndex) {
        let Some(order) = self.orders.get(index).filter(|_| self.redis.is_ready()) else { return };
        let (stock, quantity) = (&self.products[order.product].keys.stock, order.quantity.to_string());
        self.redis.call(now.instant, PendingCall::Quiet, |out| {
            resp::command(out, &[b"INCRBY", stock, quantity.as_bytes()]);
        });
    }

    /// Answers an order, and deletes its entry, before Kafka has said a word.
    pub(crate) fn settle_before_ack(&mut self, now: Now, index: OrderIndex, entry: EntryIndex) {
        self.remove_too_early(now, entry);
        if let Some(order) = self.orders.get(index) {
            let id = order.order_id;
            self.respond(now, index, Answer::Accepted { id, replayed: false });
        }
    }

    /// Deletes an entry whatever has become of its orders.
    pub(crate) fn remove_too_early(&mut self, now: Now, entry: EntryIndex) {
        let (product, id) = self.entries.place_of(entry);
        self.queue_removal(now, product, Removal::Whole { id, claimed: true });
    }
}
