//! What may be written to Redis now, and in which order.
//!
//! One core has one connection, whose replies come in the order of its calls: whatever is written stands in the way of
//! all that is written after it. So everything that a client can cause passes here:
//!
//! 1. deletions of delivered entries, which ride ahead of a reserve call, and reserve calls: first, always;
//! 2. then one call of each other kind that has something to ask, another kind first each time, and so on until one
//!    write is full. The first of them goes even where the reserve calls have filled it, so that orders do not starve
//!    the others either.
//!
//! A kind gathers what it has to ask, so that a call costs the more the more is asked for, and may have so many calls
//! outstanding and no more ([`Work::calls_max`]): between one reserve call and the next stands at most that, however
//! many requests ask. What waits meanwhile has a bound of its own, by kind and by product, and a deadline; a request
//! that finds no place is told so. Never looks at what is asked, nor at a reply.

use std::collections::{HashSet, VecDeque};

use flux_protocol::time::Now;
use foldhash::fast::RandomState;

use crate::core::Core;
use crate::core::state::product::ProductIndex;
use crate::limits::{
    CALLS_OUTSTANDING_MAX, DISCOVER_CALLS_MAX, LEASES_OUTSTANDING_MAX, LOOKUPS_OUTSTANDING_MAX, OPERATIONS_MAX,
    QUEUES_OUTSTANDING_MAX, REMOVAL_DELAY_MAX, STATUS_CALLS_MAX,
};

/// Kinds of work for Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Orders.
    Reserve,
    /// Records of orders of sold-out sales.
    Lookup,
    /// Tokens for orders, and news of a fair queue's line.
    Tokens,
    /// How far orders are: `GET /order`.
    Status,
    /// Products that are not in memory.
    Discover,
    /// Looks at products in memory.
    Refresh,
    /// Documents of `GET /queue`.
    Queue,
    /// `POST /init` and `POST /close`, which want the operator's token.
    Operation,
    /// What no client causes more of by asking more: deletions (as many entries as were reserved), the registry and the
    /// settings (by time), relay and retirement (one call at a time each).
    Upkeep,
}

impl Work {
    const COUNT: usize = Work::Upkeep as usize + 1;

    /// Calls that may be outstanding on one core; `None` where something else bounds them.
    pub const fn calls_max(self) -> Option<usize> {
        match self {
            Work::Reserve => Some(CALLS_OUTSTANDING_MAX),
            Work::Lookup => Some(LOOKUPS_OUTSTANDING_MAX),
            Work::Tokens => Some(LEASES_OUTSTANDING_MAX),
            Work::Status => Some(STATUS_CALLS_MAX),
            Work::Discover => Some(DISCOVER_CALLS_MAX),
            Work::Queue => Some(QUEUES_OUTSTANDING_MAX),
            Work::Operation => Some(OPERATIONS_MAX),
            Work::Refresh | Work::Upkeep => None,
        }
    }
}

/// Names the kind of work that a call is.
pub trait Scheduled {
    fn work(&self) -> Work;
}

/// Calls without a reply, by kind. Counted where calls are pushed and popped, so it cannot be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outstanding([u32; Work::COUNT]);

impl Outstanding {
    /// How many.
    pub fn of(&self, work: Work) -> usize {
        self.0[work as usize] as usize
    }

    /// Whether one more may be asked.
    pub fn may(&self, work: Work) -> bool {
        work.calls_max().is_none_or(|max| self.of(work) < max)
    }

    /// One is asked.
    pub fn begin(&mut self, work: Work) {
        debug_assert!(self.may(work), "{work:?}: whoever asks looks first whether it may");
        self.0[work as usize] += 1;
    }

    /// One was answered.
    pub fn end(&mut self, work: Work) {
        self.0[work as usize] -= 1;
    }
}

/// Whether a product that holds `own` of the `used` places may take one more of `places`: none holds more than three times
/// what is free, so however many ask for some products, another always finds one.
pub fn has_share(own: usize, used: usize, places: usize) -> bool {
    own < 3 * places.saturating_sub(used)
}

/// What clients can cause beside reserve calls.
const IN_TURN: [Work; 5] = [Work::Lookup, Work::Tokens, Work::Status, Work::Discover, Work::Queue];

/// Whose turn it is, and the products that wait for theirs.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: usize,
    /// Products that want tokens, or news of their lines.
    pub(crate) leases: ProductLine,
    /// Products whose document of `GET /queue` is wanted.
    pub(crate) queues: ProductLine,
}

/// Products in line, each once, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct ProductLine {
    waiting: VecDeque<ProductIndex>,
    members: HashSet<ProductIndex, RandomState>,
}

impl ProductLine {
    /// Puts a product at the end, unless it stands in line.
    pub(crate) fn push(&mut self, product: ProductIndex) {
        if self.members.insert(product) {
            self.waiting.push_back(product);
        }
    }

    /// Takes out whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<ProductIndex> {
        let product = self.waiting.pop_front()?;
        self.members.remove(&product);
        Some(product)
    }
}

impl Core {
    /// Writes what may be written now.
    pub(crate) fn write_in_turn(&mut self, now: Now) {
        let due = self.removals_since.is_some_and(|since| now.instant >= since + REMOVAL_DELAY_MAX);
        if due || (!self.removals.is_empty() && self.reserve_calls.may_call()) {
            self.write_removals(now);
        }
        while self.reserve_calls.may_call() && !self.redis.is_write_full() {
            self.write_reserve(now);
        }
        let mut is_first = true;
        loop {
            let mut is_idle = true;
            for place in 0..IN_TURN.len() {
                let work = IN_TURN[(self.turns.next + place) % IN_TURN.len()];
                let may = self.redis.may(work) && (is_first || !self.redis.is_write_full());
                if may && self.write_next(now, work) {
                    (is_first, is_idle) = (false, false);
                }
            }
            if is_idle {
                break;
            }
            self.turns.next = (self.turns.next + 1) % IN_TURN.len();
        }
    }

    /// Writes the next call of a kind that may be asked; whether there was anything to ask.
    fn write_next(&mut self, now: Now, work: Work) -> bool {
        match work {
            Work::Lookup => self.write_lookup(now),
            Work::Tokens => self.write_next_lease(now),
            Work::Status => self.write_statuses(now),
            Work::Discover => self.write_discovery(now),
            Work::Queue => self.write_next_queue(now),
            Work::Reserve | Work::Refresh | Work::Operation | Work::Upkeep => false,
        }
    }

    /// Asks for the product that has waited longest what may not be wanted any more; whether there was one.
    fn write_next_lease(&mut self, now: Now) -> bool {
        let Some(index) = self.turns.leases.pop() else { return false };
        match &self.products[index].queue {
            Some(queue) => self.ask_line(now, index, !queue.waiters.is_empty()),
            None => self.ask_for_tokens(now, index),
        }
        true
    }

    fn write_next_queue(&mut self, now: Now) -> bool {
        let Some(index) = self.turns.queues.pop() else { return false };
        self.write_queue(now, index);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::has_share;

    #[test]
    fn whoever_takes_all_they_may_leaves_places_for_others() {
        let mut held = [0; 5];
        for product in 0..held.len() {
            while has_share(held[product], held.iter().sum(), 1 << 15) {
                held[product] += 1;
            }
            assert!(held[product] > 0, "a newcomer finds a place");
        }
        assert_eq!(held[0], 3 << 13, "alone it holds three quarters");
        assert!(held.iter().sum::<usize>() < 1 << 15);
    }
}
