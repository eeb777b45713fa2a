//! What a deadline does to an order: it is answered, and never forgotten while its unit may be taken.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::order::order::replayed;
use crate::core::state::orders::{OrderIndex, Stage};
use crate::counters::OrderOutcome;

impl Core {
    /// Orders past one of their deadlines.
    pub(crate) fn expire_orders(&mut self, now: Now) {
        while let Some(&(received, index)) = self.by_received.front() {
            // One that was let in at the door stands here a second time, with its new time.
            let order = self.orders.get(index).filter(|order| order.received == received);
            let stage = order.map(|order| order.stage);
            let waits = !matches!(stage, None | Some(Stage::Publishing | Stage::Held));
            if waits && now.instant.since(received) < self.config.redis_deadline {
                break;
            }
            self.by_received.pop_front();
            match stage {
                Some(Stage::Product | Stage::Token | Stage::Lookup) => {
                    self.respond(now, index, Answer::Unavailable(Unavailable::Redis));
                }
                Some(Stage::Queued) => {
                    self.promised -= 1;
                    self.respond(now, index, Answer::Unavailable(Unavailable::Redis));
                }
                Some(Stage::Reserving) => {
                    if is_planted(Bug::CompensateOnTimeout) {
                        self.compensate(now, index);
                    }
                    self.answer_and_keep(now, index, Answer::Unknown);
                }
                Some(Stage::Publishing | Stage::Held) | None => {}
            }
        }
        while let Some(&(reserved, index)) = self.by_reserved.front() {
            let order = self.orders.get(index);
            if order.is_some() && now.instant.since(reserved) < self.config.publish_deadline {
                break;
            }
            self.by_reserved.pop_front();
            if let Some(order) = order {
                // From here on the relay is responsible for it, unless Kafka still acknowledges it to this core.
                let id = order.order_id;
                self.respond(now, index, Answer::Pending { id, replayed: false });
            }
        }
    }

    /// Answers the callers of an order whose unit may be taken; the order itself stays until Redis has answered.
    fn answer_and_keep(&mut self, now: Now, index: OrderIndex, answer: Answer) {
        let Some(order) = self.orders.get_mut(index) else { return };
        let span = now.instant.since(order.received);
        let waiters = std::mem::take(&mut order.waiters);
        for (position, reply_to) in waiters.iter().enumerate() {
            let answer = if position == 0 { answer.clone() } else { replayed(&answer) };
            self.counters.order_answered(OrderOutcome::of(&answer), span);
            self.complete(*reply_to, answer);
        }
    }

    /// No partition is known any more: what waits for a call is refused, nothing was reserved.
    pub(crate) fn refuse_queued(&mut self, now: Now) {
        while let Some(index) = self.reserve_calls.pop() {
            if self.orders.get(index).is_some() {
                self.promised -= 1;
                self.respond(now, index, Answer::Unavailable(Unavailable::Kafka));
            }
        }
    }
}
