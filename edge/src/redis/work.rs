//! Kinds of work for Redis, and how many calls of each may be outstanding on one connection.
//!
//! Counted where calls are pushed and popped (`connection.rs`), so that no kind can pass its bound. Never knows what a call asks.

use crate::limits::{
    CALLS_OUTSTANDING_MAX, DISCOVER_CALLS_MAX, LEASES_OUTSTANDING_MAX, LOOKUPS_OUTSTANDING_MAX, OPERATIONS_MAX,
    QUEUES_OUTSTANDING_MAX, STATUS_CALLS_MAX,
};

/// Kinds of work for Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Orders.
    Reserve,
    /// Records of orders of sold-out sales.
    Lookup,
    /// Tokens for orders, and the status of fair queues.
    Tokens,
    /// How far orders are: `GET /order`.
    Status,
    /// Products that are not in memory.
    Discover,
    /// Refreshes of products in memory.
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
        debug_assert!(self.may(work), "{work:?}: the caller asks first whether it may");
        self.0[work as usize] += 1;
    }

    /// One was answered.
    pub fn end(&mut self, work: Work) {
        self.0[work as usize] -= 1;
    }
}
