//! Tokens of one sale's bucket, as one core holds them: a lease taken from Redis, spent without asking again.
//!
//! The bucket itself lives in Redis beside the stock and is clocked by Redis (`lua/lease.lua`). This file decides
//! when to ask, for how much, and what to tell an order meanwhile. It never makes a token, and never hands one back to Redis.

use std::time::Duration;

use flux_protocol::observed::Bucket;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::rare::{self, Rare};
use flux_protocol::time::Instant;

use crate::limits::{LEASE_HORIZON, LEASE_LIFE_MAX, LEASE_TOKENS_MAX, STREAM_PAUSE_MAX};

/// What becomes of an order at the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A token was taken.
    Admitted,
    /// No token is at hand and the bucket may hold some: the order waits for the lease that is being asked for.
    Wait,
    /// The bucket is known to be empty until the instant this core asks again.
    Refused,
}

/// Tokens of one grant.
#[derive(Clone, Copy, Debug, Default)]
struct TokenLease {
    tokens: u64,
    /// They count only before this instant.
    expires: Instant,
}

impl TokenLease {
    fn left(&self, now: Instant) -> u64 {
        if now < self.expires || is_planted(Bug::LeaseNotExpired) { self.tokens } else { 0 }
    }
}

/// One core's share of one sale's bucket.
#[derive(Debug, Default)]
pub struct Tokens {
    /// What is being spent; each grant keeps its own end.
    current: TokenLease,
    /// What was asked for ahead of need.
    next: TokenLease,
    /// Tokens whose orders were told that there was nothing to spend them on. They die with the first of them.
    back: TokenLease,
    /// When the token that was taken last dies.
    last_expires: Instant,
    /// The bucket is known to be empty before this instant.
    empty_until: Instant,
    /// When the request in flight was sent, if there is one: its grant lives from here.
    asked_at: Option<Instant>,
    last_grant: u64,
    /// Orders that came since `window_from`.
    window_orders: u64,
    window_from: Instant,
    /// Orders that came in the window before, scaled to [`LEASE_HORIZON`].
    demand: u64,
    bucket: Bucket,
}

/// How long a lease of this bucket lives: min(200 ms, burst / (2·rate)). Zero where there is no limit.
pub fn lease_life(rate: u64, burst: u64) -> Duration {
    if rate == 0 {
        return Duration::ZERO;
    }
    let micros = burst.saturating_mul(500_000) / rate;
    LEASE_LIFE_MAX.min(Duration::from_micros(micros))
}

impl Tokens {
    /// Takes a token for an order that has just come.
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.count(now);
        if self.take(now) {
            Admission::Admitted
        } else if self.asked_at.is_none() && now < self.empty_until {
            Admission::Refused
        } else {
            Admission::Wait
        }
    }

    /// Takes a token for an order that has waited; no new demand.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.back.left(now) > 0 {
            self.back.tokens -= 1;
            self.last_expires = self.back.expires;
            self.bucket.spent(now);
            return true;
        }
        if self.current.left(now) == 0 {
            self.current = std::mem::take(&mut self.next);
            if self.current.left(now) == 0 {
                return false;
            }
        }
        self.current.tokens -= 1;
        self.last_expires = self.current.expires;
        self.bucket.spent(now);
        true
    }

    /// When the token that was taken last dies.
    pub fn last_expires(&self) -> Instant {
        self.last_expires
    }

    /// A token was taken, and nothing was sold for it: another may spend it, as long as it lives.
    pub fn give_back(&mut self, now: Instant, expires: Instant) {
        if now >= expires {
            return;
        }
        self.bucket.given_back(now);
        let held = self.back.left(now);
        let expires = if held > 0 { expires.min(self.back.expires) } else { expires };
        self.back = TokenLease { tokens: held + 1, expires };
    }

    /// How many tokens to ask for now, given orders waiting for one; `None`: nothing is to be asked.
    ///
    /// Asks ahead of need (at a quarter of the last grant), so that a steady stream never stands still. A stream that
    /// has ended needs nothing: asking on for no order would find the bucket empty for ever.
    pub fn wants(&self, now: Instant, waiting: usize) -> Option<u64> {
        if self.asked_at.is_some() || now < self.empty_until {
            return None;
        }
        let left = self.current.left(now) + self.next.left(now) + self.back.left(now);
        let is_steady = self.window_orders > 0 && now.since(self.window_from) < STREAM_PAUSE_MAX;
        let running_out = is_steady && left <= self.last_grant / 4;
        if waiting == 0 && !running_out {
            return None;
        }
        let wanted = (waiting as u64).max(self.demand.max(self.window_orders)).clamp(1, LEASE_TOKENS_MAX);
        Some(rare::instead(wanted, Rare::LoneToken, 1))
    }

    /// A request for tokens goes out.
    pub fn handle_asked(&mut self, now: Instant) {
        assert!(self.asked_at.is_none(), "one request for tokens at a time");
        self.asked_at = Some(now);
    }

    /// The answer: `granted` tokens of those `wanted`, good for `life` from when they were asked for. `next_due` is
    /// how long the bucket will hold no token after this grant (zero where it still holds some).
    pub fn handle_granted(&mut self, now: Instant, granted: u64, life: Duration, next_due: Duration) {
        let Some(asked_at) = self.asked_at.take() else { return };
        let lives_from = if is_planted(Bug::LeaseFromTheReply) { now } else { asked_at };
        let grant = TokenLease { tokens: granted, expires: lives_from + life };
        if self.current.left(now) == 0 {
            self.current = std::mem::take(&mut self.next);
        }
        if self.current.left(now) == 0 {
            self.current = grant;
        } else {
            self.next = grant;
        }
        self.last_grant = granted;
        self.empty_until = if next_due.is_zero() { Instant::default() } else { now + next_due };
    }

    /// Whether the request in flight has waited for longer than a lease may live.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.asked_at.is_some_and(|asked_at| now.since(asked_at) >= LEASE_LIFE_MAX)
    }

    /// The request was lost or refused: nothing was granted; orders that wait are to be told 503.
    pub fn handle_failed(&mut self) {
        self.asked_at = None;
    }

    /// Another sale: its bucket is another one.
    pub fn reset(&mut self, bucket: Bucket) {
        *self = Tokens { asked_at: self.asked_at, bucket, ..Tokens::default() };
    }

    fn count(&mut self, now: Instant) {
        let span = now.since(self.window_from);
        if span >= LEASE_HORIZON {
            let scaled = self.window_orders as u128 * LEASE_HORIZON.as_micros() / span.as_micros().max(1);
            self.demand = scaled as u64;
            self.window_orders = 0;
            self.window_from = now;
        }
        self.window_orders += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_millis(200);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1000)
    }

    #[test]
    fn a_lease_lives_no_longer_than_half_the_burst_takes() {
        assert_eq!(lease_life(0, 2), Duration::ZERO);
        assert_eq!(lease_life(50, 50), LEASE_LIFE_MAX);
        assert_eq!(lease_life(10_000, 100), Duration::from_millis(5));
    }

    #[test]
    fn orders_wait_for_the_first_lease_and_are_refused_when_the_bucket_is_empty() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        assert_eq!(lease.wants(at(0), 1), Some(1));
        lease.handle_asked(at(0));
        assert_eq!(lease.wants(at(0), 5), None, "one request at a time");
        lease.handle_granted(at(1), 2, LIFE, Duration::from_millis(20));
        assert!(lease.take(at(1)), "the order that waited");
        assert_eq!(lease.admit(at(1)), Admission::Admitted);
        assert_eq!(lease.admit(at(1)), Admission::Refused);
        assert_eq!(lease.wants(at(20), 0), None, "not before the next token is due");
        assert_eq!(lease.admit(at(22)), Admission::Wait);
    }

    #[test]
    fn nothing_is_asked_ahead_for_a_stream_that_has_ended() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.handle_granted(at(1), 1, LIFE, Duration::ZERO);
        assert!(lease.take(at(1)));
        assert_eq!(lease.wants(at(1), 0), Some(1), "another may be about to come");
        let ended_ms = STREAM_PAUSE_MAX.as_millis() as u64;
        assert_eq!(lease.wants(at(ended_ms - 1), 0), Some(1), "so it may still be");
        assert_eq!(lease.wants(at(ended_ms), 0), None, "none has come");
        assert_eq!(lease.wants(at(ended_ms), 3), Some(3), "whoever waits is asked for all the same");
    }

    #[test]
    fn tokens_die_with_their_own_lease() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.handle_granted(at(50), 10, LIFE, Duration::ZERO);
        assert_eq!(lease.admit(at(199)), Admission::Admitted, "199 ms after it was asked for");
        assert_eq!(lease.admit(at(200)), Admission::Wait, "life counts from when it was asked for");
    }

    #[test]
    fn a_lease_taken_ahead_of_need_outlives_the_one_before() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.handle_granted(at(1), 4, LIFE, Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(lease.admit(at(2)), Admission::Admitted);
        }
        assert!(lease.wants(at(2), 0).is_some(), "a quarter is left");
        lease.handle_asked(at(2));
        lease.handle_granted(at(3), 2, LIFE, Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(lease.admit(at(4)), Admission::Admitted, "the last of the first, then the second");
        }
        assert_eq!(lease.admit(at(4)), Admission::Wait);
    }

    #[test]
    fn a_token_that_was_given_back_is_spent_once_and_dies_when_it_would_have() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.handle_granted(at(1), 2, LIFE, Duration::from_secs(1));
        assert!(lease.take(at(1)) && lease.take(at(1)) && !lease.take(at(1)));
        let expires = lease.last_expires();
        lease.give_back(at(2), expires);
        assert!(lease.take(at(3)) && !lease.take(at(3)));
        lease.give_back(at(4), expires);
        assert!(!lease.take(at(200)), "200 ms after it was asked for");
        lease.give_back(at(200), expires);
        assert!(!lease.take(at(200)));
    }

    #[test]
    fn another_sale_asks_when_the_request_of_the_one_before_is_answered() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.reset(Bucket::of("phone", 2));
        assert_eq!(lease.admit(at(1)), Admission::Wait);
        assert_eq!(lease.wants(at(1), 1), None, "one request at a time, whichever sale it is of");
        lease.handle_failed();
        assert_eq!(lease.wants(at(2), 1), Some(1));
    }

    #[test]
    fn a_lost_request_grants_nothing() {
        let mut lease = Tokens::default();
        assert_eq!(lease.admit(at(0)), Admission::Wait);
        lease.handle_asked(at(0));
        lease.handle_failed();
        assert_eq!(lease.admit(at(1)), Admission::Wait);
        lease.handle_granted(at(1), 5, LIFE, Duration::ZERO);
        assert_eq!(lease.admit(at(1)), Admission::Wait, "an answer that nobody waits for is not taken");
    }
}
