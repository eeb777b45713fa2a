//! What the probe of a connection has found: whether Redis lets orders through, and what its clock shows (`servers/probe.rs` asks).

use std::sync::PoisonError;

use flux_protocol::time::{Instant, Now};
use tracing::{error, info, warn};

use crate::counters::Counters;
use crate::limits::CLOCK_SKEW_MAX_MS;

/// What is known of the Redis behind this core's connection.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// The question on its way: what the wall clock showed when it was asked.
    pub(crate) asked: Option<u64>,
    /// The next is due.
    pub(crate) next: Instant,
    /// Why no order gets through, where that is so.
    pub(crate) refuses: Option<String>,
    /// Redis' words, where it has refused this connection's login or its scripts: the connection is about to end.
    login_refused: Option<String>,
    /// What else the edge's ACL user may not do, and what follows, as last logged.
    pub(crate) lacks: Vec<String>,
    /// Redis' clock less this edge's, ms.
    skew_ms: i64,
    skew_is_told: bool,
}

impl Probe {
    /// When the next question is due; never while one is on its way.
    pub(crate) fn next_deadline(&self) -> Instant {
        if self.asked.is_some() { Instant::FAR_FUTURE } else { self.next }
    }

    /// The time by Redis' clock, ms since the epoch, as far as its last answer tells: what orders are dated with, so that an
    /// edge whose own clock is wrong dates none of them wrongly.
    pub(crate) fn redis_ms(&self, now: Now) -> u64 {
        now.wall_ms.saturating_add_signed(self.skew_ms)
    }

    /// Redis has answered: why no order gets through, where that is so. Logged when it changes.
    pub(crate) fn set_refusal(&mut self, counters: &Counters, refuses: Option<String>) {
        if refuses.is_none() && self.refuses.is_some() {
            info!("Redis lets orders through again");
        }
        self.tell_refusal(counters, refuses);
    }

    /// Whether Redis lets no order through, as far as is known.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.is_some()
    }

    /// Redis will not serve this connection; its words.
    pub(crate) fn handle_login_refused(&mut self, words: &str) {
        self.login_refused = Some(words.to_owned());
    }

    /// The connection is gone. What was found by it says nothing of the next; but a login that was refused is why there is none.
    pub(crate) fn handle_closed(&mut self, counters: &Counters) {
        let refused = self.login_refused.take();
        self.tell_refusal(counters, refused);
    }

    fn tell_refusal(&mut self, counters: &Counters, refuses: Option<String>) {
        if self.refuses == refuses {
            return;
        }
        if let Some(why) = &refuses {
            error!(why, "Redis lets no order through");
        }
        counters.redis_refuses.set(u64::from(refuses.is_some()));
        counters.redis_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&refuses);
        self.refuses = refuses;
    }

    /// Redis read its clock somewhere between the question and the answer. What is believed of the difference changes by no more
    /// than that proves: an answer that was seconds on its way, on a machine that is short of everything, proves nothing.
    pub(crate) fn note_time(
        &mut self,
        counters: &Counters,
        is_first: bool,
        asked_ms: u64,
        answered_ms: u64,
        there_ms: u64,
    ) {
        let least = there_ms.cast_signed() - answered_ms.cast_signed();
        let most = there_ms.cast_signed() - asked_ms.cast_signed();
        // The wall clock was set back meanwhile: the next answer tells.
        if least <= most {
            self.note_skew(counters, is_first, self.skew_ms.clamp(least, most));
        }
    }

    fn note_skew(&mut self, counters: &Counters, is_first: bool, skew_ms: i64) {
        self.skew_ms = skew_ms;
        counters.redis_clock_skew_ms.set(skew_ms.cast_unsigned());
        let is_large = skew_ms.unsigned_abs() >= CLOCK_SKEW_MAX_MS;
        let is_small = skew_ms.unsigned_abs() < CLOCK_SKEW_MAX_MS / 2;
        if is_first && is_large && !self.skew_is_told {
            self.skew_is_told = true;
            warn!(
                skew_ms,
                "this machine's clock is not Redis': orders are dated by Redis' clock; one of the two is wrong"
            );
        } else if is_small && self.skew_is_told {
            self.skew_is_told = false;
            info!(skew_ms, "this machine's clock and Redis' agree again");
        }
    }

    /// Redis' clock less this machine's, ms.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.skew_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is warned of clocks that are right looks for a fault that is none, and believes no warning any more.
    #[test]
    fn a_clock_is_called_wrong_only_where_it_is_and_until_it_is_right_again() {
        let far = CLOCK_SKEW_MAX_MS as i64;
        let told = |is_first: bool| {
            let (mut probe, counters) = (Probe::default(), Counters::default());
            [0, far - 1, far, far / 2, -far, far / 2 - 1, far / 2].map(|skew_ms| {
                let here_ms = 1_705_234_800_000;
                probe.note_time(&counters, is_first, here_ms, here_ms, here_ms.saturating_add_signed(skew_ms));
                probe.skew_is_told
            })
        };
        assert_eq!(told(true), [false, false, true, true, true, false, false]);
        assert_eq!(told(false), [false; 7], "one core of all says it");
    }
}
