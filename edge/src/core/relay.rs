//! The relay: delivers outbox entries that the edge which wrote them did not deliver.
//!
//! Runs on an edge's first core. A refresh that finds the same oldest entry as the one before puts the product in line; one
//! call of `lua/relay.lua` is outstanding at a time, and hands out entries older than the horizon, each to one relay for a
//! while. Their orders are published under the ids they have; the entry is deleted when Kafka has acknowledged all of
//! them. A record that Kafka refuses is tried again when the claim on its entry has run out, not before. A second
//! delivery of an order is harmless: the worker knows the reservation.
//!
//! The walk over an outbox goes on where the last call left off, and of what is in hand each partition has a share: entries
//! that others hold, or whose partition cannot be written, keep none behind them waiting.
//!
//! Rests while Kafka is away and while the edge drains. Never gives a unit back, and never takes the places with the
//! producer that were promised to orders on their way.

use std::time::Duration;

use flux_protocol::outbox_entry::{EntryHead, EntryId};
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::rare::{self, Rare};
use flux_protocol::resp::{Reply, printable};
use flux_protocol::time::{Instant, Now};
use tracing::warn;

use crate::core::Core;
use crate::core::calls::{PendingCall, RecordTag};
use crate::core::state::entries::EntryIndex;
use crate::core::state::product_index::ProductIndex;
use crate::limits::{
    CALL_ORDERS_MAX, REDIS_REPLY_OVERDUE, RELAY_CLAIM, RELAY_EMPTY_WALKS_MAX, RELAY_ENTRIES_IN_HAND_MAX,
    RELAY_ENTRIES_MAX,
};
use crate::redis::scripts::SCRIPTS;

impl Core {
    /// After a refresh that found entries standing: their product stands in line for the relay.
    pub(crate) fn relay_if_due(&mut self, now: Now, index: ProductIndex) {
        if let Some(walk) = &mut self.products[index].relay.walk {
            walk.empty = 0;
        }
        self.line_up_for_relay(now, index);
    }

    fn line_up_for_relay(&mut self, now: Now, index: ProductIndex) {
        if self.drain_until.is_none() && !std::mem::replace(&mut self.products[index].relay.waits, true) {
            self.relay_queue.push(index);
        }
        self.relay_next(now);
    }

    /// Asks for entries of the product that is first in line, unless such a call is outstanding, or the producer has no
    /// room for them.
    pub(crate) fn relay_next(&mut self, now: Now) {
        let entries = self.relay_entries_max();
        let has_room =
            entries > 0 && self.producer.room() >= self.orders.promised + RELAY_ENTRIES_MAX * CALL_ORDERS_MAX;
        if !(self.redis.is_ready() && self.producer.ready() && has_room) || self.drain_until.is_some() {
            return;
        }
        if let Some(index) = self.relay_queue.ask(now.instant) {
            self.products[index].relay.waits = false;
            self.write_relay(now, index, entries);
        }
    }

    /// How many entries may be asked for now.
    fn relay_entries_max(&self) -> usize {
        RELAY_ENTRIES_MAX.min(RELAY_ENTRIES_IN_HAND_MAX.saturating_sub(self.outbox.entries.claimed()))
    }

    fn write_relay(&mut self, now: Now, index: ProductIndex, entries: usize) {
        let product = &self.products[index];
        // What was seen to stand for so long is due although its id may be of a clock that was set back.
        let stood = product.outbox.stood.map_or_else(String::new, |id| id.to_string());
        let behind = product.relay.walk.as_ref().and_then(|walk| walk.behind);
        let share = (RELAY_ENTRIES_IN_HAND_MAX / self.producer.partition_count().unwrap_or(1).max(1)).max(1);
        let [_, generation] = self.products.seen_obeying(now.instant, index).texts();
        let mut arguments = vec![
            self.config.edge_id.clone(),
            rare::instead(self.config.relay_horizon(), Rare::HastyRelay, Duration::ZERO).as_millis().to_string(),
            RELAY_CLAIM.as_millis().to_string(),
            entries.to_string(),
            stood,
            self.config.topic.clone(),
            behind.map_or_else(String::new, |id| id.to_string()),
            share.to_string(),
            generation,
        ];
        for (partition, in_hand) in self.outbox.entries.claimed_by_partition() {
            arguments.extend([partition.to_string(), share.saturating_sub(in_hand).to_string()]);
        }
        let texts: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let keys: [&[u8]; 3] = [&product.keys.outbox, &product.keys.claims, &product.keys.sale];
        self.redis.call_script(now.instant, PendingCall::Relay(index), |out| {
            SCRIPTS.relay.write_call_with(out, &keys, &texts)
        });
    }

    /// The entries this relay has been handed. No reply: the connection is gone, and the claims will run out.
    pub(crate) fn handle_relay(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        let asked = self.relay_queue.answered();
        let (mut handed_out, mut behind) = (0_usize, None);
        match reply.map(|reply| reply.items()) {
            // This process was stopped meanwhile: a rebuild may have looked since, and others may hold the entries.
            Some(Ok(_)) if now.instant.since(asked) >= REDIS_REPLY_OVERDUE => {}
            Some(Ok(Some(mut items))) => {
                while let Some(id) = items.next_bulk() {
                    let (Some(head), Some(orders)) = (items.next_bulk(), items.next_bulk()) else {
                        behind = EntryId::parse(id);
                        break;
                    };
                    handed_out += 1;
                    if self.relay_entry(now, (index, asked), id, head, orders).is_none() {
                        self.note_unreadable(index, id);
                    }
                }
            }
            Some(Err(error)) => self.refusals.note(&self.counters, error),
            Some(Ok(None)) | None => {}
        }
        let Some(behind) = behind else {
            // At the end of the outbox, or nothing was learnt: the next walk begins at the oldest.
            self.products[index].relay.walk = None;
            return self.relay_next(now);
        };
        let walk = self.products[index].relay.walk.get_or_insert_default();
        walk.behind = Some(behind);
        walk.empty = if handed_out > 0 { 0 } else { walk.empty + 1 };
        if walk.empty < RELAY_EMPTY_WALKS_MAX {
            // There may be more, a long outage leaves thousands; behind the other products in line.
            self.line_up_for_relay(now, index);
        } else {
            self.relay_next(now);
        }
    }

    /// It stays where it is, and is met by each look: told once and then ever more rarely.
    fn note_unreadable(&self, index: ProductIndex, id: &[u8]) {
        self.counters.relay_unreadable.add(1);
        let times = self.counters.relay_unreadable.get();
        if times.is_power_of_two() {
            let (product, entry) = (self.products[index].name.as_str(), printable(id));
            warn!(
                product,
                entry,
                times,
                "an entry of an outbox cannot be read: it is none of an edge's, and stays (flux-worker audit)"
            );
        }
    }

    /// Publishes one entry whole; `None` where it is not as `reserve.lua` writes them: it stays, counted.
    fn relay_entry(
        &mut self,
        now: Now,
        (index, asked): (ProductIndex, Instant),
        id: &[u8],
        head: &[u8],
        lines: &[u8],
    ) -> Option<()> {
        let id = EntryId::parse(id)?;
        let head = EntryHead::parse(head)?;
        let orders = head.orders(lines)?;
        if orders.len() > CALL_ORDERS_MAX || !self.producer.has_partition(head.partition) {
            return None;
        }
        let name = self.products[index].name;
        let of = (index, (head.sale_id, head.generation));
        let entry = self.outbox.entries.insert_claimed(of, id, head.orders, head.partition, asked);
        if is_planted(Bug::RelayWithoutClaim) {
            self.outbox.remove_too_early(now.instant, &mut self.products, entry);
        }
        for (place, order) in orders.iter().enumerate() {
            let record = order.record(&head, name.as_str());
            let place = place as u8;
            let tag = RecordTag::Relayed { entry, place };
            // When it was reserved, by Redis' clock: what its edge believed of the time may be far from the broker's.
            let at = id.ms.cast_signed();
            if self.producer.append(now.instant, head.partition, at, tag, |value| record.write_json(value)).is_err() {
                self.outbox.settle(now.instant, &mut self.products, entry, place, false);
            }
        }
        Some(())
    }

    /// Kafka's word on an order of an entry that was handed to this relay.
    pub(crate) fn handle_relayed(&mut self, now: Now, entry: EntryIndex, place: u8, acknowledged: bool) {
        self.counters.relayed.add(u64::from(acknowledged));
        self.outbox.settle(now.instant, &mut self.products, entry, place, acknowledged);
    }
}
