//! A question to Redis twice a second on every core's connection: does it answer, would it let an order through, what time is it
//! there.
//!
//! A link on which nothing is asked tells nothing of a server that has fallen silent. A full memory, or an ACL user
//! that lacks a permission, shows only when an order comes. So `lua/probe.lua` is asked whether orders come or not.
//! What it finds is logged when it changes, shown in the metrics and by `/readyz`. Never refuses an order: the scripts
//! do that by themselves.

use std::sync::PoisonError;

use flux_protocol::resp::{Reply, printable};
use flux_protocol::time::{Instant, Now};
use tracing::{error, info, warn};

use crate::core::{Core, PendingCall};
use crate::limits::{CLOCK_SKEW_MAX_MS, PROBE_INTERVAL};
use crate::redis::refusals::words;
use crate::redis::replies::number;
use crate::redis::scripts::SCRIPTS;

/// What is known of the Redis behind this core's connection.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// The question on its way: what the wall clock showed when it was asked.
    asked: Option<u64>,
    /// The next is due.
    next: Instant,
    /// Why no order gets through, where that is so.
    refuses: Option<String>,
    /// What else the edge's ACL user may not do, as last logged.
    lacks: Vec<String>,
    /// Redis' clock less this edge's, ms.
    skew_ms: i64,
    skew_is_told: bool,
}

impl Probe {
    /// When the next question is due; never while one is on its way.
    pub(crate) fn next_deadline(&self) -> Instant {
        if self.asked.is_some() { Instant::FAR_FUTURE } else { self.next }
    }
}

impl Core {
    /// The time by Redis' clock, ms since the epoch, as far as its last answer tells: what orders are dated with, so that an
    /// edge whose own clock is wrong dates none of them wrongly.
    pub(crate) fn redis_ms(&self, now: Now) -> u64 {
        now.wall_ms.saturating_add_signed(self.probe.skew_ms)
    }

    /// Asks at once: the connection is a new one.
    pub(crate) fn probe_now(&mut self, now: Now) {
        self.probe.next = now.instant;
        self.probe_if_due(now);
    }

    /// Asks, where it is time to and no question is on its way.
    pub(crate) fn probe_if_due(&mut self, now: Now) {
        if !self.redis.is_ready() || self.probe.next_deadline() > now.instant {
            return;
        }
        self.probe.asked = Some(now.wall_ms);
        self.probe.next = now.instant + PROBE_INTERVAL;
        // What one user may do is the same on all connections of the process.
        let looks_closely: &[u8] = if self.is_first { b"1" } else { b"0" };
        self.redis.call_script(now.instant, PendingCall::Probe, |out| {
            SCRIPTS.probe.write_call_with(out, &[], &[looks_closely])
        });
    }

    /// What Redis answers. No reply: the connection is gone, which says enough.
    pub(crate) fn handle_probe(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let asked = self.probe.asked.take();
        let Some(reply) = reply else { return self.set_refusal(None) };
        let mut items = match reply.items() {
            Ok(Some(items)) => items,
            Ok(None) => return,
            Err(error) => {
                self.set_refusal(Some(words(error)));
                return self.note_error(error);
            }
        };
        if let (Some(asked_ms), Some(there_us)) = (asked, items.next_bulk().and_then(number)) {
            self.note_time(asked_ms, now.wall_ms, there_us / 1000);
        }
        if !self.is_first {
            return self.set_refusal(None);
        }
        let (mut without, mut lacks) = (Vec::new(), Vec::new());
        while let Some(missing) = items.next_bulk() {
            match missing.split_first() {
                Some((b'!', command)) => without.push(printable(command.trim_ascii())),
                Some((_, command)) => lacks.push(printable(command.trim_ascii())),
                None => {}
            }
        }
        if self.probe.lacks != lacks {
            if !lacks.is_empty() {
                warn!(missing = lacks.join(", "), "the user of Redis lacks permissions that are needed now and then");
            }
            self.probe.lacks = lacks;
        }
        let refuses = (!without.is_empty()).then(|| format!("its user may not {}", without.join(", ")));
        self.set_refusal(refuses);
    }

    fn set_refusal(&mut self, refuses: Option<String>) {
        if self.probe.refuses == refuses {
            return;
        }
        match &refuses {
            Some(why) => error!(why, "Redis lets no order through"),
            None => info!("Redis lets orders through again"),
        }
        self.counters.redis_refuses.set(u64::from(refuses.is_some()));
        self.counters.redis_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&refuses);
        self.probe.refuses = refuses;
    }

    /// Says once that a broker has refused the records' times.
    pub(crate) fn note_untimed(&mut self) {
        if self.producer.is_untimed() && self.counters.records_untimed.get() == 0 {
            self.counters.records_untimed.set(1);
            error!(
                skew_ms = self.probe.skew_ms,
                "a broker refuses the times of records: its clock and Redis' are far apart; records travel without times now, \
                 and none is lost by it: set message.timestamp.type LogAppendTime, and mend the clocks"
            );
        }
    }

    /// Redis read its clock somewhere between the question and the answer. What is believed of the difference changes by no more
    /// than that proves: an answer that was seconds on its way, on a machine that is short of everything, proves nothing.
    fn note_time(&mut self, asked_ms: u64, answered_ms: u64, there_ms: u64) {
        let least = there_ms.cast_signed() - answered_ms.cast_signed();
        let most = there_ms.cast_signed() - asked_ms.cast_signed();
        // The wall clock was set back meanwhile: the next answer tells.
        if least <= most {
            self.note_skew(self.probe.skew_ms.clamp(least, most));
        }
    }

    fn note_skew(&mut self, skew_ms: i64) {
        self.probe.skew_ms = skew_ms;
        self.counters.redis_clock_skew_ms.set(skew_ms.cast_unsigned());
        let is_large = skew_ms.unsigned_abs() >= CLOCK_SKEW_MAX_MS;
        let is_small = skew_ms.unsigned_abs() < CLOCK_SKEW_MAX_MS / 2;
        if self.is_first && is_large && !self.probe.skew_is_told {
            self.probe.skew_is_told = true;
            warn!(
                skew_ms,
                "this machine's clock is not Redis': orders are dated by Redis' clock; one of the two is wrong"
            );
        } else if is_small && self.probe.skew_is_told {
            self.probe.skew_is_told = false;
            info!(skew_ms, "this machine's clock and Redis' agree again");
        }
    }
}
