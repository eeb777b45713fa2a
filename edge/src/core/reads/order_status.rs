//! `GET /order/{product}/{id}`: how far an order is, as Redis knows it.
//!
//! Requests are gathered: one question (`lua/status.lua`) is on its way at a time, for up to 512 ids, each named once
//! however many requests ask for it; products take turns. It takes no token of the sale: a buyer who follows an order
//! must never cost another their turn.

use flux_protocol::order::Uuid;
use flux_protocol::resp::Reply;
use flux_protocol::time::Now;

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::request::Outcome;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::statuses::{Asked, Asker, Group};
use crate::sale::SaleState;

impl Core {
    /// Asks, together with all other requests that do; 429 where too many wait.
    pub(crate) fn handle_order_status(
        &mut self,
        now: Now,
        index: ProductIndex,
        id: Uuid,
        reply_to: ReplyTo,
    ) -> Outcome {
        if self.products[index].state == SaleState::Suspended {
            return Outcome::Now(Answer::Unavailable(Unavailable::Suspended));
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if self.statuses.push(index, Asker { reply_to, id, since: now.instant }) {
            Outcome::Later
        } else {
            Outcome::Now(Answer::StatusWaiting)
        }
    }

    /// Writes the next question; whether any request waited for one.
    pub(crate) fn write_statuses(&mut self, now: Now) -> bool {
        if self.statuses.count == 0 {
            return false;
        }
        let (statuses, products) = (&mut self.statuses, &self.products);
        self.redis.call_script_if(now.instant, |out| statuses.seal(products, out).then_some(PendingCall::Status))
    }

    /// `status.lua`'s answer. No reply: the connection is gone.
    pub(crate) fn handle_statuses(&mut self, reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        for Group { ids, asked } in std::mem::take(&mut self.statuses.groups) {
            let letters = items.as_mut().and_then(|items| items.next_bulk());
            for Asked { place, asker } in asked {
                let Some(Asker { reply_to, id, .. }) = asker else { continue };
                let answer = match letters {
                    Some(letters) if letters.len() == ids && letters != b"S" => match letters[place] {
                        b'P' => Answer::Status { id, accepted: false },
                        b'A' => Answer::Status { id, accepted: true },
                        b'-' => Answer::error(404, "Unknown order"),
                        _ => Answer::Unavailable(Unavailable::Redis),
                    },
                    Some(b"S") => Answer::Unavailable(Unavailable::Suspended),
                    Some(_) | None => Answer::Unavailable(Unavailable::Redis),
                };
                self.replies.complete(reply_to, answer);
            }
        }
    }

    /// Answers the requests that have waited for a status past the deadline.
    pub(crate) fn expire_statuses(&mut self, now: Now) {
        if self.statuses.is_idle() {
            return;
        }
        let mut replies = Vec::new();
        let deadline = self.config.redis_deadline;
        self.statuses.expire(|since| now.instant.since(since) >= deadline, |reply_to| replies.push(reply_to));
        for reply_to in replies {
            self.replies.complete(reply_to, Answer::Unavailable(Unavailable::Redis));
        }
    }

    /// The connection to Redis is gone: the requests that wait for a status are told so.
    pub(crate) fn refuse_statuses(&mut self) {
        let mut replies = Vec::new();
        self.statuses.expire(|_| true, |reply_to| replies.push(reply_to));
        for reply_to in replies {
            self.replies.complete(reply_to, Answer::Unavailable(Unavailable::Redis));
        }
    }
}
