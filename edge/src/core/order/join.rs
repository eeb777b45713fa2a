//! One order that several requests ask for under one key: all of them wait for its one answer.

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::request::Outcome;
use crate::core::state::orders::{JoinError, OrderIndex, Stage};
use crate::sale::TicketText;

impl Core {
    /// Lets a request wait for an order that is under way, or answers it where it cannot.
    pub(super) fn join(
        &mut self,
        index: OrderIndex,
        quantity: u16,
        shown: Option<TicketText>,
        reply_to: ReplyTo,
    ) -> Outcome {
        let order = self.orders.get_mut(index).expect("found by its id");
        // A place that only one of two tabs shows is the place of both.
        order.wish.shown = order.wish.shown.or(shown);
        let stage = order.stage;
        if order.waiters.is_empty() {
            // Its own clients were told already that its outcome is unknown, or that it is pending.
            let answer = match order.stage {
                Stage::Publishing if order.wish.quantity != quantity => Answer::KeyReused,
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

    /// Two requests of one order that met only now: the clients of `index` wait for `other`.
    pub(super) fn merge(&mut self, index: OrderIndex, other: OrderIndex) -> Outcome {
        if let Some(order) = self.take_out(index) {
            for reply_to in order.waiters {
                if let Outcome::Now(answer) = self.join(other, order.wish.quantity, order.wish.shown, reply_to) {
                    self.replies.complete(reply_to, answer);
                }
            }
        }
        Outcome::Later
    }
}
