//! `GET /order/{product}/{id}`: how far an order is, as Redis knows it.

use flux_protocol::order::Uuid;
use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core, Outcome};
use crate::limiter::Admission;
use crate::limits::TOKEN_WAITERS_MAX;
use crate::pending::Ticket;
use crate::product::{ProductIndex, State, TokenWaiter};
use crate::scripts::SCRIPTS;

impl Core {
    /// Takes a token, waits for one that may be had, and asks; 429 while the bucket is empty.
    pub(crate) fn ask_status(&mut self, now: Now, index: ProductIndex, id: Uuid, ticket: Ticket) -> Outcome {
        if self.products[index].state == State::Suspended {
            return Outcome::Now(Answer::Unavailable(Unavailable::Suspended));
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        let product = &mut self.products[index];
        let admission = match product.sale {
            Some(sale) if sale.rate > 0 => product.lease.admit(now.instant),
            _ => Admission::Admitted,
        };
        match admission {
            Admission::Admitted => self.write_status(now, index, id, ticket),
            Admission::Wait if product.token_waiters.len() < TOKEN_WAITERS_MAX => {
                product.token_waiters.push_back(TokenWaiter::Status(ticket, id));
                self.ask_for_tokens(now, index);
            }
            Admission::Wait | Admission::Refused => return Outcome::Now(Answer::StatusWaiting),
        }
        Outcome::Later
    }

    pub(crate) fn write_status(&mut self, now: Now, index: ProductIndex, id: Uuid, ticket: Ticket) {
        let product = &self.products[index];
        let keys: [&[u8]; 2] = [&product.keys.outbox, &product.keys.sale];
        self.redis.call(now.instant, Call::Status(ticket, id), |out| {
            SCRIPTS.status.write_call_with(out, &keys, &[&id.text()]);
        });
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
