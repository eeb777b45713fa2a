//! `GET /order/{product}/{id}`: how far an order is, as Redis knows it.
//!
//! Requests are gathered: one question (`lua/status.lua`) is on its way at a time, for up to 512 ids, each named once
//! however many requests ask for it; products take turns. It takes no token of the sale: a buyer who follows an order
//! must never cost another their turn.

use std::collections::{HashMap, VecDeque};

use flux_protocol::order::Uuid;
use flux_protocol::resp::{Arguments, Reply};
use flux_protocol::time::{Instant, Now};
use foldhash::fast::RandomState;

use crate::answer::{Answer, Unavailable};
use crate::core::schedule::has_share;
use crate::core::state::orders::ReplyTo;
use crate::core::state::product::{ProductIndex, SaleState, Seen};
use crate::core::state::products::Products;
use crate::core::{Core, Outcome, PendingCall};
use crate::limits::{GATHERED_SALES_MAX, STATUS_IDS_MAX, STATUSES_WAITING_MAX};
use crate::redis::scripts::SCRIPTS;

/// A request that waits for an order's status.
#[derive(Clone, Copy, Debug)]
struct Asker {
    reply_to: ReplyTo,
    id: Uuid,
    since: Instant,
}

/// An order in the question on its way, and the request that asked for it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Its place among the ids of its product.
    place: usize,
    /// `None`: the time was up, and they were told so.
    asker: Option<Asker>,
}

/// Those of one product in the question on its way.
#[derive(Debug)]
struct Group {
    ids: usize,
    asked: Vec<Asked>,
}

/// Statuses that are asked for.
#[derive(Debug, Default)]
pub struct Statuses {
    waiting: HashMap<ProductIndex, VecDeque<Asker>, RandomState>,
    /// Products for which requests wait, each once, in the order of their turns.
    line: VecDeque<ProductIndex>,
    /// Requests that wait, in all.
    count: usize,
    /// The question on its way, product by product.
    groups: Vec<Group>,
    places: HashMap<Uuid, usize, RandomState>,
    keys: Arguments,
    arguments: Arguments,
}

impl Statuses {
    /// Whether no request waits.
    pub fn is_idle(&self) -> bool {
        self.count == 0 && self.groups.is_empty()
    }

    /// Puts a request in line; whether there was a place.
    fn push(&mut self, product: ProductIndex, asker: Asker) -> bool {
        let of_product = self.waiting.get(&product).map_or(0, VecDeque::len);
        if !has_share(of_product, self.count, STATUSES_WAITING_MAX) {
            return false;
        }
        if of_product == 0 {
            self.line.push_back(product);
        }
        self.waiting.entry(product).or_default().push_back(asker);
        self.count += 1;
        true
    }

    /// Makes the next question of the requests that wait; whether there were any.
    fn seal(&mut self, products: &Products, out: &mut Vec<u8>) -> bool {
        assert!(self.groups.is_empty(), "one question at a time");
        self.keys.clear();
        self.arguments.clear();
        let groups = self.line.len().min(GATHERED_SALES_MAX);
        self.arguments.push_number(groups as u64);
        let mut left = STATUS_IDS_MAX;
        for taken in 0..groups {
            let product = self.line.pop_front().expect("as many as were counted");
            // What others leave of their share is for those behind them.
            let ids_max = left / (groups - taken);
            let group = self.take(product, ids_max, products[product].seen());
            left -= group.ids;
            let keys = &products[product].keys;
            self.keys.push(&keys.outbox);
            self.keys.push(&keys.sale);
            self.groups.push(group);
        }
        SCRIPTS.status.write_call(out, &[&self.keys], &[&self.arguments]);
        groups > 0
    }

    /// Takes the requests that wait for orders of a product, up to so many orders.
    fn take(&mut self, product: ProductIndex, ids_max: usize, seen: Seen) -> Group {
        let waiting = self.waiting.get_mut(&product).expect("it stands in line");
        self.places.clear();
        let mut ids = Vec::with_capacity(ids_max.min(waiting.len()));
        let mut asked = Vec::with_capacity(ids.capacity());
        while let Some(asker) = waiting.front() {
            let place = match self.places.get(&asker.id) {
                Some(place) => *place,
                None if ids.len() == ids_max => break,
                None => {
                    self.places.insert(asker.id, ids.len());
                    ids.push(asker.id);
                    ids.len() - 1
                }
            };
            asked.push(Asked { place, asker: waiting.pop_front() });
        }
        self.count -= asked.len();
        if waiting.is_empty() {
            self.waiting.remove(&product);
        } else {
            self.line.push_back(product);
        }
        self.arguments.push_number(ids.len() as u64);
        seen.texts().iter().for_each(|text| self.arguments.push(text.as_bytes()));
        ids.iter().for_each(|id| self.arguments.push(&id.text()));
        Group { ids: ids.len(), asked }
    }

    /// Takes out the requests that are late: `is_late` judges by when they came.
    fn expire(&mut self, is_late: impl Fn(Instant) -> bool, mut expired: impl FnMut(ReplyTo)) {
        for group in &mut self.groups {
            for asked in &mut group.asked {
                if let Some(asker) = asked.asker.take_if(|asker| is_late(asker.since)) {
                    expired(asker.reply_to);
                }
            }
        }
        self.waiting.retain(|_, waiting| {
            while let Some(asker) = waiting.pop_front_if(|asker| is_late(asker.since)) {
                self.count -= 1;
                expired(asker.reply_to);
            }
            !waiting.is_empty()
        });
        self.line.retain(|product| self.waiting.contains_key(product));
    }
}

impl Core {
    /// Asks, together with all other requests that do; 429 where too many wait.
    pub(crate) fn ask_status(&mut self, now: Now, index: ProductIndex, id: Uuid, reply_to: ReplyTo) -> Outcome {
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
        let mut items = self.items_of(reply);
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
                self.complete(reply_to, answer);
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
            self.complete(reply_to, Answer::Unavailable(Unavailable::Redis));
        }
    }

    /// The connection to Redis is gone: the requests that wait for a status are told so.
    pub(crate) fn refuse_statuses(&mut self) {
        let mut replies = Vec::new();
        self.statuses.expire(|_| true, |reply_to| replies.push(reply_to));
        for reply_to in replies {
            self.complete(reply_to, Answer::Unavailable(Unavailable::Redis));
        }
    }
}
