//! `GET /order/{product}/{id}`: how far an order is, as Redis knows it.

use flux_protocol::order::Uuid;
use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core, Outcome};
use crate::limiter::Admission;
use crate::pending::Ticket;
use crate::product::{ProductIndex, State};
use crate::scripts::SCRIPTS;

impl Core {
    /// Takes a token and asks; without a token at hand the answer is 429 at once.
    pub(crate) fn ask_status(&mut self, now: Now, index: ProductIndex, id: Uuid, ticket: Ticket) -> Outcome {
        if self.products[index].state == State::Suspended {
            return Outcome::Now(Answer::Unavailable(Unavailable::Suspended));
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        let product = &mut self.products[index];
        let limited = product.sale.is_some_and(|sale| sale.rate > 0);
        if limited && product.lease.admit(now.instant) != Admission::Admitted {
            self.ask_for_tokens(now, index);
            return Outcome::Now(Answer::StatusWaiting);
        }
        let product = &self.products[index];
        let record = [&product.keys.record_prefix[..], &id.text()].concat();
        let keys: [&[u8]; 3] = [&record, &product.keys.outbox, &product.keys.sale];
        self.redis.call(now.instant, Call::Status(ticket, id), |out| SCRIPTS.status.write_call_with(out, &keys, &[]));
        Outcome::Later
    }

    /// `status.lua`'s answer.
    pub(crate) fn handle_status(&mut self, now: Now, ticket: Ticket, id: Uuid, reply: Option<Reply<'_>>) {
        let answer = match reply.map(|reply| reply.value()) {
            Some(Value::Bulk(b"P")) => Answer::Status { id, accepted: false },
            Some(Value::Bulk(b"A")) => Answer::Status { id, accepted: true },
            Some(Value::Bulk(b"")) => Answer::error(404, "Unknown order"),
            Some(Value::Bulk(_)) => Answer::Unavailable(Unavailable::Suspended),
            Some(Value::Error(error)) => {
                self.note_error(now, error);
                Answer::Unavailable(Unavailable::Redis)
            }
            Some(_) | None => Answer::Unavailable(Unavailable::Redis),
        };
        self.complete(ticket, answer);
    }
}
