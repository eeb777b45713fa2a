//! A question to Redis twice a second on every core's connection: does it answer, would it let an order through, what time is it
//! there.
//!
//! A link on which nothing is asked tells nothing of a server that has fallen silent. A full memory, or an ACL user
//! that lacks a permission, shows only when an order comes. So `lua/probe.lua` is asked whether orders come or not.
//! What it finds is logged when it changes, shown in the metrics and by `/readyz`. Never refuses an order: the scripts
//! do that by themselves.

use std::sync::PoisonError;

use flux_protocol::resp::{Reply, printable};
use flux_protocol::time::Now;
use tracing::{error, info};

use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::limits::PROBE_INTERVAL;
use crate::redis::refusals::words;
use crate::redis::replies::number;
use crate::redis::rights::{Lacking, judge};
use crate::redis::scripts::SCRIPTS;

impl Core {
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

    /// What Redis answers. No reply: the connection is gone, and so is what was found by it ([`Probe::handle_closed`]).
    pub(crate) fn handle_probe(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let asked = self.probe.asked.take();
        let Some(reply) = reply else { return };
        let mut items = match reply.items() {
            Ok(Some(items)) => items,
            Ok(None) => return,
            Err(error) => {
                self.probe.set_refusal(&self.counters, Some(words(error)));
                return self.refusals.note(&self.counters, error);
            }
        };
        if let (Some(asked_ms), Some(there_us)) = (asked, items.next_bulk().and_then(number)) {
            self.probe.note_time(&self.counters, self.is_first, asked_ms, now.wall_ms, there_us / 1000);
        }
        if !self.is_first {
            return self.probe.set_refusal(&self.counters, None);
        }
        let mut denied = Vec::new();
        while let Some(missing) = items.next_bulk() {
            denied.push(printable(missing));
        }
        let Lacking { stops, others } = judge(denied.iter().map(String::as_str));
        if self.probe.lacks != others {
            if others.is_empty() {
                info!("the user of Redis has all rights again that an edge needs beside taking orders");
            } else {
                error!(lacking = others.join("; "), "the user of Redis lacks rights that an edge needs");
            }
            self.probe.lacks = others;
        }
        *self.counters.redis_lacks.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.probe.lacks.clone());
        let refuses = (!stops.is_empty()).then(|| format!("its user may not {}", stops.join(", ")));
        self.probe.set_refusal(&self.counters, refuses);
    }
}
