//! Requests that are answered later, every one with the moment at which it is answered at the latest, and with what; and
//! the answers that have come.
//!
//! `routes.rs` puts each request here that it cannot answer at once, but for orders: those stand in the slab of orders
//! (`orders.rs`), or in discovery until their product is known, and have the deadlines of their stage (`deadlines.rs`). So
//! whatever a request waits for (a refresh, a document, a name, a status, an operation) need not think of a deadline, and no
//! new thing to wait for can forget one. Never knows what a request waits for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;

use crate::answer::{Answer, ReplyTo, Unavailable};

/// The connection that numbered replies name: none has this place, for a core has far fewer.
const NUMBERED: u32 = u32::MAX;

/// One request.
#[derive(Debug)]
struct Waiter {
    /// Its place in its connection's burst.
    reply_to: ReplyTo,
    /// What it is told when its time is up.
    late: Answer,
}

/// The requests of one core that wait, and the answers that have come. Bounded by the places in its connections' bursts.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    by_number: HashMap<u64, Waiter, RandomState>,
    /// By deadline; those answered meanwhile are still in it until theirs is over.
    by_deadline: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The one that is being decided on: most are answered at once, and never enter the map above.
    deciding: Option<(u64, ReplyTo)>,
    drawn: u64,
    /// Answers on their way to the shell.
    completions: VecDeque<(ReplyTo, Answer)>,
}

impl Replies {
    /// Takes a request in, before anything is asked for it. Returns the ticket by which it is to be answered in place of its
    /// own: it is good for one answer, however late that comes and whatever its place in the burst has become by then.
    pub(crate) fn begin(&mut self, reply_to: ReplyTo) -> ReplyTo {
        self.drawn += 1;
        self.deciding = Some((self.drawn, reply_to));
        ReplyTo { conn: NUMBERED, generation: (self.drawn >> 32) as u32, position: self.drawn as u32 }
    }

    /// The request that came last was answered at once.
    pub(crate) fn end(&mut self) {
        self.deciding = None;
    }

    /// The request that came last was not: it is told `late` at `deadline`, unless it has been answered by then.
    pub(crate) fn wait(&mut self, deadline: Instant, late: Answer) {
        let Some((number, reply_to)) = self.deciding.take() else { return };
        self.by_number.insert(number, Waiter { reply_to, late });
        self.by_deadline.push(Reverse((deadline, number)));
    }

    /// The request that an answer is for: `None` where it was answered already, perhaps at its deadline. A ticket that
    /// was not drawn here is an order's, and stays as it is.
    fn take(&mut self, reply_to: ReplyTo) -> Option<ReplyTo> {
        if reply_to.conn != NUMBERED {
            return Some(reply_to);
        }
        let number = number_of(reply_to);
        if let Some((_, own)) = self.deciding.take_if(|(deciding, _)| *deciding == number) {
            return Some(own);
        }
        self.by_number.remove(&number).map(|waiter| waiter.reply_to)
    }

    /// Answers the request that is to be replied to so, unless it was answered at its deadline.
    pub(crate) fn complete(&mut self, reply_to: ReplyTo, answer: Answer) {
        let is_forgotten = is_planted(Bug::WaiterForgotten) && answer == Answer::Unavailable(Unavailable::Redis);
        if let Some(reply_to) = self.take(reply_to).filter(|_| !is_forgotten) {
            self.completions.push_back((reply_to, answer));
        }
    }

    /// The next answer.
    pub(crate) fn poll(&mut self) -> Option<(ReplyTo, Answer)> {
        self.completions.pop_front()
    }

    /// Answers the requests whose time is up.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&Reverse((deadline, number))) = self.by_deadline.peek()
            && now >= deadline
        {
            self.by_deadline.pop();
            if let Some(waiter) = self.by_number.remove(&number) {
                self.completions.push_back((waiter.reply_to, waiter.late));
            }
        }
    }

    /// Whether no request waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }
}

fn number_of(numbered: ReplyTo) -> u64 {
    u64::from(numbered.generation) << 32 | u64::from(numbered.position)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everybody_is_answered_once_in_time_or_at_the_deadline() {
        let mut waiting = Replies::default();
        let place = ReplyTo { conn: 3, generation: 0, position: 0 };
        let at = |ms| Instant::default() + Duration::from_millis(ms);
        let wait = |waiting: &mut Replies, ms: u64, late: Answer| {
            let numbered = waiting.begin(place);
            waiting.wait(at(ms), late);
            numbered
        };
        let first = wait(&mut waiting, 500, Answer::Unknown);
        assert_eq!(waiting.take(first), Some(place));
        assert_eq!(waiting.take(first), None, "once");
        // The same place of the same connection, in its next burst: an answer to the first is none to the second.
        let second = wait(&mut waiting, 700, Answer::SoldOut);
        assert_eq!(waiting.take(first), None);
        waiting.expire(at(699));
        assert_eq!(waiting.poll(), None);
        waiting.expire(at(700));
        assert_eq!(waiting.poll(), Some((place, Answer::SoldOut)));
        assert!(waiting.is_empty() && waiting.take(second).is_none(), "too late");
        // Answered while it is decided on, or at once: nothing of it stays.
        let early = waiting.begin(place);
        assert_eq!(waiting.take(early), Some(place));
        waiting.wait(at(900), Answer::Unknown);
        let at_once = waiting.begin(place);
        waiting.end();
        waiting.expire(at(900));
        assert!(waiting.take(at_once).is_none() && waiting.poll().is_none() && waiting.is_empty());
        let order = ReplyTo { conn: 0, generation: 7, position: 1 };
        assert_eq!(waiting.take(order), Some(order), "an order has its own deadlines");
    }

    /// A core numbers ten thousand requests a second, and is up for weeks.
    #[test]
    fn who_asks_after_four_thousand_million_others_is_answered_too() {
        let mut waiting = Replies { drawn: u64::from(u32::MAX), ..Replies::default() };
        let place = ReplyTo { conn: 3, generation: 0, position: 0 };
        let numbered = waiting.begin(place);
        waiting.wait(Instant::FAR_FUTURE, Answer::Unknown);
        waiting.complete(numbered, Answer::SoldOut);
        assert_eq!(waiting.poll(), Some((place, Answer::SoldOut)));
    }
}
