//! Which request goes out next: arrivals, repeats, replays. Pure: handed the time, hands out jobs.
//!
//! Never sends anything; one of these serves one thread.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::order::{Order, Orders};
use super::outcome::{Doubt, Outcome, Refusal};

/// When new buyers come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// So many buyers, all there at once; each connection serves one after the other.
    Buyers(u64),
    /// So many buyers at a constant rate a second, whether the earlier ones were answered or not.
    Rate {
        /// Buyers in all.
        buyers: u64,
        /// Buyers a second, above 0.
        per_second: f64,
    },
    /// A new buyer on every connection as soon as the one before is done, for so long.
    Closed(Duration),
}

/// What a buyer repeats, with the same key, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeat {
    /// After a 202, until it is a 200.
    pub pending: bool,
    /// After a 503 `unavailable`, and where no connection could be opened.
    pub unavailable: bool,
    /// Where the outcome is unknown.
    pub unknown: bool,
    /// After a 302 or 429, as the waiting room does.
    pub waiting: bool,
    /// Requests a buyer sends at most.
    pub attempts_max: u32,
    /// Rest before a repeat, in the middle (±50 % by lot); a larger `retry-after` is obeyed up to `retry_after_max`.
    pub pause: Duration,
    /// Rest in the waiting room, in the middle (±50 % by lot).
    pub waiting_pause: Duration,
    /// The longest `retry-after` that is obeyed; zero ignores the field.
    pub retry_after_max: Duration,
    /// Share (0 to 1) of accepted buyers who ask once more: the answer must name the same order.
    pub replay_share: f64,
}

impl Repeat {
    /// Nobody repeats anything.
    pub const NEVER: Repeat = Repeat {
        pending: false,
        unavailable: false,
        unknown: false,
        waiting: false,
        attempts_max: 1,
        pause: Duration::from_millis(200),
        waiting_pause: Duration::from_secs(2),
        retry_after_max: Duration::from_secs(5),
        replay_share: 0.0,
    };

    /// Everything is repeated until it is settled, up to 100 times.
    pub const UNTIL_SETTLED: Repeat =
        Repeat { pending: true, unavailable: true, unknown: true, waiting: true, attempts_max: 100, ..Repeat::NEVER };
}

/// One request to send.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) order: Arc<Order>,
    pub(super) attempt: u32,
    /// When it should go out, µs.
    pub(super) due_us: u64,
    replay: bool,
}

/// What [`Work::next`] has to say.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this.
    Job(Job),
    /// Nothing now.
    Rest,
    /// Nothing ever.
    Over,
}

/// Which part of the buyers falls to one thread, and its lots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) thread: u64,
    pub(super) threads: u64,
    pub(super) seed: u64,
}

/// The work of one thread.
#[derive(Debug)]
pub(super) struct Work {
    orders: Arc<Orders>,
    repeat: Repeat,
    arrival: Arrival,
    start_us: u64,
    /// After this nothing is begun, and from `arrivals_end_us` on nobody new comes.
    end_us: u64,
    arrivals_end_us: u64,
    /// Index of the next new buyer, and the distance to the one after (other threads have those between).
    next_buyer: u64,
    stride: u64,
    ready: VecDeque<Job>,
    later: BinaryHeap<Reverse<Later>>,
    /// Jobs handed out and not yet finished.
    out: u64,
    random: u64,
}

/// A job by when it is due; ties in the order they came.
#[derive(Debug)]
struct Later {
    due_us: u64,
    number: u64,
    job: Job,
}

impl PartialEq for Later {
    fn eq(&self, other: &Later) -> bool {
        (self.due_us, self.number) == (other.due_us, other.number)
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Later) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Later) -> std::cmp::Ordering {
        (self.due_us, self.number).cmp(&(other.due_us, other.number))
    }
}

impl Work {
    /// The work of one share; times in µs on the clock that later calls use.
    pub(super) fn new(
        orders: Arc<Orders>,
        arrival: Arrival,
        repeat: Repeat,
        share: Share,
        start_us: u64,
        length_max: Duration,
    ) -> Work {
        assert!(share.thread < share.threads && repeat.attempts_max > 0);
        let end_us = start_us + length_max.as_micros() as u64;
        let arrivals_end_us = match arrival {
            Arrival::Closed(length) => end_us.min(start_us + length.as_micros() as u64),
            Arrival::Buyers(_) | Arrival::Rate { .. } => end_us,
        };
        Work {
            orders,
            repeat,
            arrival,
            start_us,
            end_us,
            arrivals_end_us,
            next_buyer: share.thread,
            stride: share.threads,
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            out: 0,
            random: share.seed ^ (share.thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// The next request.
    pub(super) fn next(&mut self, now_us: u64) -> Next {
        self.advance(now_us);
        if let Some(job) = self.ready.pop_front() {
            self.out += 1;
            return Next::Job(job);
        }
        if let Some(job) = self.arrival_now(now_us) {
            self.out += 1;
            return Next::Job(job);
        }
        if self.is_over(now_us) { Next::Over } else { Next::Rest }
    }

    /// How many requests could go out now, as far as `limit`.
    pub(super) fn waiting(&mut self, now_us: u64, limit: usize) -> usize {
        self.advance(now_us);
        let arrived = match self.arrival {
            Arrival::Buyers(_) | Arrival::Rate { .. } => {
                let mut arrived = 0;
                while now_us < self.arrivals_end_us
                    && self.ready.len() + arrived < limit
                    && self.due(self.next_buyer + arrived as u64 * self.stride).is_some_and(|due_us| due_us <= now_us)
                {
                    arrived += 1;
                }
                arrived
            }
            // Every connection that is free has asked already.
            Arrival::Closed(_) => 0,
        };
        (self.ready.len() + arrived).min(limit)
    }

    /// Whether nothing is left to do, now or later.
    pub(super) fn is_over(&self, now_us: u64) -> bool {
        let more = self.due(self.next_buyer).is_some_and(|_| now_us < self.arrivals_end_us);
        self.out == 0 && self.ready.is_empty() && self.later.is_empty() && !more
    }

    /// No new buyers, no repeats: what is out is waited for, then it is over. Returns the jobs that never went out.
    pub(super) fn stop(&mut self) -> usize {
        self.end_us = 0;
        self.arrivals_end_us = 0;
        let dropped = self.ready.len() + self.later.len();
        self.ready.clear();
        self.later.clear();
        dropped
    }

    /// A job came to `outcome`. Returns whether this was the buyer's last request.
    pub(super) fn finished(&mut self, job: Job, outcome: &Outcome, retry_after: Option<Duration>, now_us: u64) -> bool {
        assert!(self.out > 0, "a job came back that was never handed out");
        self.out -= 1;
        let may = job.attempt + 1 < self.repeat.attempts_max && now_us < self.end_us;
        if let Some(pause) = self.pause_before_repeat(outcome, retry_after)
            && may
        {
            self.later_again(Job { attempt: job.attempt + 1, ..job }, now_us + pause.as_micros() as u64);
            return false;
        }
        let accepted = matches!(outcome, Outcome::Accepted { .. });
        if accepted && !job.replay && self.repeat.replay_share > 0.0 && now_us < self.end_us {
            let share = (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
            if share < self.repeat.replay_share {
                self.later_again(Job { attempt: job.attempt + 1, replay: true, ..job }, now_us);
                return false;
            }
        }
        true
    }

    fn later_again(&mut self, job: Job, due_us: u64) {
        // Any number that grows would do; the draw of lots is at hand and decides ties fairly.
        let number = self.draw();
        self.later.push(Reverse(Later { due_us, number, job: Job { due_us, ..job } }));
    }

    fn pause_before_repeat(&mut self, outcome: &Outcome, retry_after: Option<Duration>) -> Option<Duration> {
        let repeat = self.repeat;
        let (asked, pause) = match outcome {
            Outcome::Accepted { .. } => return None,
            Outcome::Pending { .. } => (repeat.pending, repeat.pause),
            Outcome::No(Refusal::Redirected | Refusal::Waiting) => (repeat.waiting, repeat.waiting_pause),
            Outcome::No(Refusal::Unavailable | Refusal::NotSent) => (repeat.unavailable, repeat.pause),
            Outcome::No(_) => return None,
            Outcome::Unknown(Doubt::Timeout | Doubt::Reset | Doubt::Said) => (repeat.unknown, repeat.pause),
            // Asking again would hide it.
            Outcome::Unknown(Doubt::Garbled) => return None,
        };
        if !asked {
            return None;
        }
        let lot = 0.5 + (self.draw() >> 11) as f64 / (1u64 << 53) as f64;
        let told = retry_after.unwrap_or_default().min(repeat.retry_after_max);
        Some(pause.mul_f64(lot).max(told))
    }

    /// Moves repeats that are due to the ready ones.
    fn advance(&mut self, now_us: u64) {
        while let Some(Reverse(first)) = self.later.peek() {
            if first.due_us > now_us {
                break;
            }
            if let Some(Reverse(first)) = self.later.pop() {
                self.ready.push_back(first.job);
            }
        }
    }

    fn arrival_now(&mut self, now_us: u64) -> Option<Job> {
        let due_us = self.due(self.next_buyer).filter(|due_us| *due_us <= now_us && now_us < self.arrivals_end_us)?;
        let order = self.orders.order(self.next_buyer);
        self.next_buyer += self.stride;
        // A buyer of the closed loop comes when a connection is free for it.
        let due_us = if matches!(self.arrival, Arrival::Rate { .. }) { due_us } else { now_us };
        Some(Job { order, attempt: 0, due_us, replay: false })
    }

    /// When buyer `index` comes; `None` where there is no such buyer.
    fn due(&self, index: u64) -> Option<u64> {
        if index >= self.orders.buyers_max() {
            return None;
        }
        match self.arrival {
            Arrival::Buyers(buyers) => (index < buyers).then_some(self.start_us),
            Arrival::Rate { buyers, per_second } => {
                (index < buyers).then(|| self.start_us + (index as f64 / per_second * 1e6) as u64)
            }
            Arrival::Closed(_) => Some(self.start_us),
        }
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flux_protocol::order::order_id;

    fn work(arrival: Arrival, repeat: Repeat, thread: u64, threads: u64) -> Work {
        let orders = Arc::new(Orders::unique("p", "w"));
        Work::new(orders, arrival, repeat, Share { thread, threads, seed: 7 }, 1_000, Duration::from_secs(60))
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { order_id: order_id(b"p", 1, b"u", b"k"), replayed: false }
    }

    fn job(work: &mut Work, now_us: u64) -> Job {
        match work.next(now_us) {
            Next::Job(job) => job,
            other => panic!("no job at {now_us}: {other:?}"),
        }
    }

    #[test]
    fn threads_share_the_buyers_without_overlap() {
        let mut keys = Vec::new();
        for thread in 0..3 {
            let mut work = work(Arrival::Buyers(10), Repeat::NEVER, thread, 3);
            loop {
                match work.next(1_000) {
                    Next::Job(job) => {
                        keys.push(job.order.key.clone());
                        assert!(work.finished(job, &accepted(), None, 1_000));
                    }
                    Next::Over => break,
                    Next::Rest => panic!("there is nothing to wait for"),
                }
            }
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10);
    }

    #[test]
    fn a_constant_rate_keeps_its_schedule_whatever_is_answered() {
        let mut work = work(Arrival::Rate { buyers: 3, per_second: 1_000.0 }, Repeat::NEVER, 0, 1);
        let first = job(&mut work, 1_000);
        assert!(matches!(work.next(1_999), Next::Rest));
        assert_eq!(work.waiting(9_000, 10), 2);
        assert_eq!((job(&mut work, 9_000).due_us, job(&mut work, 9_000).due_us), (2_000, 3_000));
        assert!(matches!(work.next(9_000), Next::Rest));
        assert!(work.finished(first, &accepted(), None, 9_000));
        assert!(!work.is_over(9_000), "two are out");
    }

    #[test]
    fn repeats_keep_the_key_and_obey_retry_after() {
        let repeat = Repeat { attempts_max: 3, ..Repeat::UNTIL_SETTLED };
        let mut work = work(Arrival::Buyers(1), repeat, 0, 1);
        let mut key = None;
        for attempt in 0..3 {
            let now_us = 1_000 + u64::from(attempt) * 10_000_000;
            let job = job(&mut work, now_us);
            assert_eq!(job.attempt, attempt);
            assert_eq!(key.get_or_insert(job.order.key.clone()), &job.order.key);
            let last = work.finished(job, &Outcome::Unknown(Doubt::Timeout), Some(Duration::from_secs(4)), now_us);
            assert_eq!(last, attempt == 2);
            assert!(!matches!(work.next(now_us + 3_999_999), Next::Job(_)));
        }
        assert!(matches!(work.next(99_000_000), Next::Over));
    }

    #[test]
    fn an_accepted_order_is_replayed_once_where_asked_and_refusals_are_final() {
        let mut first = work(Arrival::Buyers(1), Repeat { replay_share: 1.0, ..Repeat::NEVER }, 0, 1);
        let job1 = job(&mut first, 1_000);
        let key = job1.order.key.clone();
        assert!(!first.finished(job1, &accepted(), None, 1_000));
        let job2 = job(&mut first, 1_000);
        assert_eq!(job2.order.key, key);
        assert!(first.finished(job2, &accepted(), None, 1_000));
        assert!(first.is_over(1_000));

        let mut second = work(Arrival::Buyers(1), Repeat::UNTIL_SETTLED, 0, 1);
        let job3 = job(&mut second, 1_000);
        assert!(second.finished(job3, &Outcome::No(Refusal::SoldOut), None, 1_000));
    }

    #[test]
    fn after_the_end_nothing_begins() {
        let mut work = work(Arrival::Closed(Duration::from_secs(60)), Repeat::UNTIL_SETTLED, 0, 1);
        let out = job(&mut work, 1_000);
        work.stop();
        assert!(matches!(work.next(2_000), Next::Rest), "one is out");
        assert!(work.finished(out, &Outcome::Unknown(Doubt::Reset), None, 2_000));
        assert!(matches!(work.next(2_000), Next::Over));
    }
}
