//! Products that are not in memory: Redis is asked for them before a client is told 404.
//!
//! One such call is outstanding a core, for up to 64 names; a name that Redis does not know is remembered for 100 ms,
//! so that a crowd with a wrong name costs ten calls a second. Without a registry at all the answer is 503: a Redis
//! that lost everything must not say that a product never was. The registry is asked for once a name was not found, not
//! before: a Redis that is emptied between the two has none either.

use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::redis_keys;
use flux_protocol::resp::{self, Reply, Value};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::request::Outcome;
use crate::core::state::discovery::Waiter;
use crate::core::state::orders::Wish;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::wakes::Wake;
use crate::counters::OrderOutcome;
use crate::limits::UNKNOWN_REMEMBERED;
use crate::redis::keys::Keys;
use crate::redis::replies::Refreshed;
use crate::redis::scripts::SCRIPTS;

impl Core {
    pub(crate) fn discover_for_order(&mut self, now: Now, name: Identifier, wish: Wish, reply_to: ReplyTo) -> Outcome {
        self.discover(now, name, Waiter::Order(wish, reply_to))
    }

    pub(crate) fn discover_for_stock(&mut self, now: Now, name: Identifier, reply_to: ReplyTo) -> Outcome {
        self.discover(now, name, Waiter::Stock(reply_to))
    }

    pub(crate) fn discover_for_queue(&mut self, now: Now, name: Identifier, reply_to: ReplyTo) -> Outcome {
        self.discover(now, name, Waiter::Queue(reply_to))
    }

    pub(crate) fn discover_for_status(&mut self, now: Now, name: Identifier, id: Uuid, reply_to: ReplyTo) -> Outcome {
        self.discover(now, name, Waiter::Status(reply_to, id))
    }

    fn discover(&mut self, now: Now, name: Identifier, waiter: Waiter) -> Outcome {
        if self.products.is_unknown(now.instant, &name) {
            return Outcome::Now(Answer::UnknownProduct);
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if !self.discovery.push(now.instant, name, waiter) {
            return Outcome::Now(Answer::Unavailable(Unavailable::Full));
        }
        Outcome::Later
    }

    /// Asks for names; whether a request waits for one.
    pub(crate) fn write_discovery(&mut self, now: Now) -> bool {
        if !self.discovery.take_names(now.instant) {
            return false;
        }
        let keys: Vec<Keys> = self.discovery.asked.iter().map(Keys::new).collect();
        let keys: Vec<&[u8]> = keys.iter().flat_map(Keys::of_product).collect();
        let (vouched, topic) = (self.witness.vouches(now.instant), self.config.topic.as_bytes());
        let write = |out: &mut Vec<u8>| SCRIPTS.refresh.write_call_with(out, &keys, &[&vouched, topic]);
        self.redis.call_script(now.instant, PendingCall::Discover, write);
        true
    }

    /// What Redis knows of the names. No reply: the connection is gone.
    pub(crate) fn handle_discovered(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        let discovery = &mut self.discovery;
        discovery.seen.clear();
        discovery.seen.extend(discovery.asked.iter().map(|_| items.as_mut().and_then(Refreshed::read)));
        if discovery.seen.contains(&Some(Refreshed::Unknown)) && self.redis.is_ready() {
            let exists = |out: &mut Vec<u8>| resp::command(out, &[b"EXISTS", redis_keys::REGISTRY.as_bytes()]);
            self.redis.call(now.instant, PendingCall::RegistryExists, exists);
        } else {
            self.answer_discoveries(now, false);
        }
    }

    /// Whether there is a registry. No reply: the connection is gone.
    pub(crate) fn handle_registry_exists(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let registry_exists = match reply.map(|reply| reply.value()) {
            Some(Value::Error(error)) => {
                self.refusals.note(&self.counters, error);
                false
            }
            Some(value) => value == Value::Integer(1),
            None => {
                self.discovery.seen.fill(None);
                false
            }
        };
        self.answer_discoveries(now, registry_exists);
    }

    /// Answers all requests that wait for the names that were asked for.
    fn answer_discoveries(&mut self, now: Now, registry_exists: bool) {
        let names = std::mem::take(&mut self.discovery.asked);
        let asked_at = self.discovery.asked_at;
        let mut answers = Vec::with_capacity(names.len());
        for (name, refreshed) in names.iter().zip(std::mem::take(&mut self.discovery.seen)) {
            let answer = match refreshed {
                // Another core has seen a sale of it.
                Some(Refreshed::Unknown)
                    if self.products.board().known(name).is_some_and(|sight| sight.has_seen_a_sale()) =>
                {
                    Err(Answer::Unavailable(Unavailable::Suspended))
                }
                Some(Refreshed::Unknown) if registry_exists => {
                    self.products.remember_unknown(now.instant, *name, now.instant + UNKNOWN_REMEMBERED);
                    Err(Answer::UnknownProduct)
                }
                Some(Refreshed::Foreign(topic)) => {
                    self.note_foreign(*name, topic);
                    Err(Answer::Unavailable(Unavailable::OtherTopic))
                }
                Some(Refreshed::Unknown) => Err(Answer::Unavailable(Unavailable::Suspended)),
                None => Err(Answer::Unavailable(Unavailable::Redis)),
                Some(refreshed) => match self.products.insert(now.instant, *name) {
                    Some(index) => {
                        self.products[index].sight.publish(now.instant, asked_at, &refreshed);
                        self.see(now, index, asked_at, refreshed);
                        Ok(index)
                    }
                    None => Err(Answer::Unavailable(Unavailable::Full)),
                },
            };
            answers.push(answer);
        }
        for (name, since, waiter) in std::mem::take(&mut self.discovery.asking) {
            let place = names.iter().position(|asked| *asked == name).expect("asked for with the call");
            match &answers[place] {
                Ok(index) => self.found(now, *index, since, waiter),
                Err(answer) => self.tell(now, since, waiter, answer.clone()),
            }
        }
        self.discovery.asked = names;
    }

    fn found(&mut self, now: Now, index: ProductIndex, since: Instant, waiter: Waiter) {
        let outcome = match waiter {
            Waiter::Order(wish, reply_to) => {
                if self.orders.has_place(self.products[index].under_way) {
                    self.products[index].under_way += 1;
                    let (id, timestamp_ms) = (self.ids.draw(), self.probe.redis_ms(now));
                    let order = self.orders.insert(index, wish, reply_to, since, timestamp_ms, id);
                    self.wakes.push(order, Wake::Again);
                    Outcome::Later
                } else {
                    Outcome::Now(Answer::Unavailable(Unavailable::Full))
                }
            }
            Waiter::Stock(reply_to) => self.handle_stock(now, index, reply_to),
            Waiter::Queue(reply_to) => self.handle_queue(now, index, reply_to),
            Waiter::Status(reply_to, id) => self.handle_order_status(now, index, id, reply_to),
        };
        if let Outcome::Now(answer) = outcome {
            self.tell(now, since, waiter, answer);
        }
    }

    fn tell(&mut self, now: Now, since: Instant, waiter: Waiter, answer: Answer) {
        if matches!(waiter, Waiter::Order(..)) {
            self.counters.order_answered(OrderOutcome::of(&answer), now.instant.since(since));
        }
        self.replies.complete(waiter.reply_to(), answer);
    }

    /// Requests that have waited past the deadline for a name.
    pub(crate) fn expire_discoveries(&mut self, now: Now) {
        for (since, waiter) in self.discovery.expire(now.instant, self.config.redis_deadline) {
            self.tell(now, since, waiter, Answer::Unavailable(Unavailable::Redis));
        }
    }
}
