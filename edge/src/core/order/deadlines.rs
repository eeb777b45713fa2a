//! What a deadline does to an order: it is answered, and never forgotten while its unit may be taken.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::state::orders::Stage;

impl Core {
    /// Orders past one of their deadlines.
    pub(crate) fn expire_orders(&mut self, now: Now) {
        while let Some(&(received, index)) = self.orders.by_received.front() {
            // One that was called and got its token stands here a second time, with its new time.
            let order = self.orders.get(index).filter(|order| order.received == received);
            let stage = order.map(|order| order.stage);
            let waits = !matches!(stage, None | Some(Stage::Publishing | Stage::Called));
            if waits && now.instant.since(received) < self.config.redis_deadline {
                break;
            }
            self.orders.by_received.pop_front();
            match stage {
                Some(Stage::Product | Stage::Token | Stage::Lookup) => {
                    self.respond(now, index, Answer::Unavailable(Unavailable::Redis));
                }
                Some(Stage::Queued) => {
                    self.orders.promised -= 1;
                    self.respond(now, index, Answer::Unavailable(Unavailable::Redis));
                }
                Some(Stage::Reserving) => {
                    if is_planted(Bug::CompensateOnTimeout) {
                        self.compensate(now, index);
                    }
                    self.respond_and_keep(now, index, &Answer::Unknown);
                }
                Some(Stage::Publishing | Stage::Called) | None => {}
            }
        }
        while let Some(&(reserved, index)) = self.orders.by_reserved.front() {
            let id = self.orders.get(index).map(|order| order.order_id);
            if id.is_some() && now.instant.since(reserved) < self.config.publish_deadline {
                break;
            }
            self.orders.by_reserved.pop_front();
            if let Some(id) = id {
                // From here on the relay is responsible for it, unless Kafka still acknowledges it to this core.
                self.respond(now, index, Answer::Pending { id, replayed: false });
            }
        }
    }
}
