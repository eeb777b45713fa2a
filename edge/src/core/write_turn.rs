//! What may be written to Redis now, and in which order.
//!
//! One core has one connection, whose replies come in the order of its calls: whatever is written stands in the way of
//! all that is written after it. So everything that a client can cause passes here:
//!
//! 1. refreshes of sales, of which few may be outstanding;
//! 2. deletions of delivered entries, which ride ahead of a reserve call, and reserve calls;
//! 3. then one call of each other kind that has something to ask, another kind first each time, and so on until one
//!    write is full. The first of them goes even where the reserve calls have filled it, so that orders do not starve
//!    the others either.
//!
//! A kind gathers what it has to ask, so that a call costs the more the more is asked for, and may have so many calls
//! outstanding and no more ([`Work::calls_max`]): between one reserve call and the next stands at most that, however
//! many requests ask. What waits meanwhile has a bound of its own, by kind and by product, and a deadline; a request
//! that finds no place is told so. Never looks at what is asked, nor at a reply.

use flux_protocol::time::Now;

use crate::core::Core;
use crate::redis::work::Work;

/// What clients can cause beside reserve calls.
const IN_TURN: [Work; 5] = [Work::Lookup, Work::Tokens, Work::Status, Work::Discover, Work::Queue];

impl Core {
    /// Writes what may be written now.
    pub(crate) fn write_in_turn(&mut self, now: Now) {
        self.write_refreshes(now);
        let due = now.instant >= self.outbox.next_deadline();
        if due || (!self.outbox.is_clean() && self.reserve_calls.may_call()) {
            self.write_removals(now);
        }
        while self.reserve_calls.may_call() && !self.redis.is_write_full() {
            self.write_reserve(now);
        }
        let mut is_first = true;
        loop {
            let mut is_idle = true;
            for place in 0..IN_TURN.len() {
                let work = IN_TURN[(self.next_in_turn + place) % IN_TURN.len()];
                let may = self.redis.may(work) && (is_first || !self.redis.is_write_full());
                if may && self.write_next(now, work) {
                    (is_first, is_idle) = (false, false);
                }
            }
            if is_idle {
                break;
            }
            self.next_in_turn = (self.next_in_turn + 1) % IN_TURN.len();
        }
    }

    /// Writes the next call of a kind that may be asked; whether there was anything to ask.
    fn write_next(&mut self, now: Now, work: Work) -> bool {
        match work {
            Work::Lookup => self.write_lookup(now),
            Work::Tokens => self.ask_next_waiting(now),
            Work::Status => self.write_statuses(now),
            Work::Discover => self.write_discovery(now),
            Work::Queue => self.write_next_document(now),
            Work::Reserve | Work::Refresh | Work::Operation | Work::Upkeep => false,
        }
    }

    fn write_next_document(&mut self, now: Now) -> bool {
        let Some(index) = self.documents_wanted.pop() else { return false };
        self.write_document(now, index);
        true
    }
}
