//! Names that requests ask for and that are not in memory: those in line, and those being asked for (`sales/discover.rs` asks).

use std::time::Duration;

use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::time::Instant;

use crate::answer::ReplyTo;
use crate::core::state::orders::Wish;
use crate::limits::{DISCOVER_NAMES_MAX, DISCOVER_WAITERS_MAX};
use crate::redis::replies::Refreshed;

/// What waits for a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    Order(Wish, ReplyTo),
    Stock(ReplyTo),
    Queue(ReplyTo),
    Status(ReplyTo, Uuid),
}

impl Waiter {
    /// Where its answer goes.
    pub(crate) fn reply_to(&self) -> ReplyTo {
        match self {
            Waiter::Order(_, reply_to)
            | Waiter::Stock(reply_to)
            | Waiter::Queue(reply_to)
            | Waiter::Status(reply_to, _) => *reply_to,
        }
    }
}

/// Names being asked for.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// In line for the next call.
    pub(crate) waiting: Vec<(Identifier, Instant, Waiter)>,
    /// The names of the call on its way, and the requests that wait for them.
    pub(crate) asked: Vec<Identifier>,
    pub(crate) asking: Vec<(Identifier, Instant, Waiter)>,
    /// When the call on its way was asked for: what it finds is not believed to be younger.
    pub(crate) asked_at: Instant,
    /// What it found, until the registry was asked for too.
    pub(crate) seen: Vec<Option<Refreshed>>,
}

impl Discovery {
    /// Whether no request waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.asking.is_empty()
    }

    /// Takes a request in; whether there was a place.
    pub(crate) fn push(&mut self, now: Instant, name: Identifier, waiter: Waiter) -> bool {
        let has_place = self.waiting.len() + self.asking.len() < DISCOVER_WAITERS_MAX;
        if has_place {
            self.waiting.push((name, now, waiter));
        }
        has_place
    }

    /// Takes the next names to ask for, and with them the requests that wait for them; whether there are any.
    pub(crate) fn take_names(&mut self, now: Instant) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        self.asked.clear();
        let asked = &mut self.asked;
        self.asking = self
            .waiting
            .extract_if(.., |(name, _, _)| {
                let listed = asked.contains(name);
                if !listed && asked.len() < DISCOVER_NAMES_MAX {
                    asked.push(*name);
                    return true;
                }
                listed
            })
            .collect();
        self.asked_at = now;
        true
    }

    /// Takes out the requests that have waited for `span`.
    pub(crate) fn expire(&mut self, now: Instant, span: Duration) -> Vec<(Instant, Waiter)> {
        let is_late = |since: &Instant| now.since(*since) >= span;
        self.waiting
            .extract_if(.., |(_, since, _)| is_late(since))
            .chain(self.asking.extract_if(.., |(_, since, _)| is_late(since)))
            .map(|(_, since, waiter)| (since, waiter))
            .collect()
    }
}
