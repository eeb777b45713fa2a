//! The relay: delivers outbox entries that whoever wrote them did not see through.
//!
//! Runs on an edge's first core. A look that finds the same oldest entry as the one before puts the product in line; one
//! call of `lua/relay.lua` is outstanding at a time, and hands out entries older than the horizon, each to one relay for a
//! while. Their orders are published under the ids they have; the entry is deleted when Kafka has acknowledged all of
//! them. A record that Kafka refuses is tried again when the claim on its entry has run out, not before. A second
//! delivery of an order is harmless: the worker knows the reservation.
//!
//! Rests while Kafka is away and while the edge drains. Never gives a unit back, and never takes the places with the
//! producer that were promised to orders on their way.

use flux_protocol::order::Record;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::Reply;
use flux_protocol::time::Now;

use crate::core::{Call, Core, Token};
use crate::limits::{CALL_ORDERS_MAX, REDIS_REPLY_OVERDUE, RELAY_CLAIM, RELAY_ENTRIES_IN_HAND_MAX, RELAY_ENTRIES_MAX};
use crate::outbox::{EntryHead, EntryId, EntryOrder, Origin};
use crate::product::ProductIndex;
use crate::scripts::SCRIPTS;

impl Core {
    /// After a look that found entries standing: their product stands in line for the relay.
    pub(crate) fn relay_if_due(&mut self, now: Now, index: ProductIndex) {
        if !self.draining && !std::mem::replace(&mut self.products[index].relay_waits, true) {
            self.relay_line.push(index);
        }
        self.relay_next(now);
    }

    /// Asks for entries of the product that is first in line, unless that is being asked, or there is nowhere to go
    /// with them.
    pub(crate) fn relay_next(&mut self, now: Now) {
        let has_room = self.producer.room() >= self.promised + RELAY_ENTRIES_MAX * CALL_ORDERS_MAX
            && self.entries.claimed() + RELAY_ENTRIES_MAX <= RELAY_ENTRIES_IN_HAND_MAX;
        if !(self.redis.is_ready() && self.producer.ready() && has_room) || self.draining {
            return;
        }
        if let Some(index) = self.relay_line.ask(now.instant) {
            self.products[index].relay_waits = false;
            self.write_relay(now, index);
        }
    }

    fn write_relay(&mut self, now: Now, index: ProductIndex) {
        let product = &self.products[index];
        // What was seen to stand for so long is due although its id may be of a clock that was set back.
        let stood = product.outbox_stood.map_or_else(String::new, |id| id.to_string());
        let arguments = [
            self.config.edge_id.clone(),
            self.config.relay_horizon().as_millis().to_string(),
            RELAY_CLAIM.as_millis().to_string(),
            RELAY_ENTRIES_MAX.to_string(),
            stood,
            self.config.topic.clone(),
        ];
        let texts = arguments.each_ref().map(String::as_bytes);
        let keys: [&[u8]; 3] = [&product.keys.outbox, &product.keys.claims, &product.keys.sale];
        self.redis
            .call_script(now.instant, Call::Relay(index), |out| SCRIPTS.relay.write_call_with(out, &keys, &texts));
    }

    /// The entries this relay has been handed. No reply: the connection is gone, and the claims will run out.
    pub(crate) fn handle_relay(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        let asked = self.relay_line.answered();
        let handed_out = match reply.map(|reply| reply.items()) {
            // This process was stopped meanwhile: a rebuild may have looked since, and others may hold the entries.
            Some(Ok(_)) if now.instant.since(asked) >= REDIS_REPLY_OVERDUE => 0,
            Some(Ok(Some(mut items))) => {
                let mut handed_out = 0;
                while let (Some(id), Some(head), Some(orders)) =
                    (items.next_bulk(), items.next_bulk(), items.next_bulk())
                {
                    handed_out += 1;
                    if self.relay_entry(now, index, id, head, orders).is_none() {
                        self.counters.relay_unreadable.add(1);
                    }
                }
                handed_out
            }
            Some(Err(error)) => {
                self.note_error(now, error);
                0
            }
            Some(Ok(None)) | None => 0,
        };
        if handed_out == RELAY_ENTRIES_MAX {
            // There may be more, a long outage leaves thousands; behind the other products in line.
            self.relay_if_due(now, index);
        } else {
            self.relay_next(now);
        }
    }

    /// Publishes one entry whole; `None` where it is not as `reserve.lua` writes them: it stays, counted.
    fn relay_entry(&mut self, now: Now, index: ProductIndex, id: &[u8], head: &[u8], lines: &[u8]) -> Option<()> {
        let id = EntryId::parse(id)?;
        let head = EntryHead::parse(head)?;
        let orders: Vec<EntryOrder> =
            lines.split(|byte| *byte == b'\n').map(EntryOrder::parse).collect::<Option<_>>()?;
        let whole = orders.len() == head.orders as usize && orders.len() <= CALL_ORDERS_MAX;
        if !whole || !self.producer.has_partition(head.partition) {
            return None;
        }
        let name = self.products[index].name;
        let entry = self.entries.insert(index, id, head.orders, Origin::Claimed);
        if is_planted(Bug::RelayWithoutClaim) {
            self.remove_too_early(now, entry);
        }
        for (place, order) in orders.iter().enumerate() {
            let record = Record {
                order_id: order.order_id,
                reservation_id: order.reservation_id,
                product_id: name.as_str(),
                user_id: order.user.as_str(),
                quantity: order.quantity,
                sale_id: head.sale_id,
                sale_total: head.sale_total,
                generation: head.generation,
                timestamp: order.timestamp_ms,
            };
            let place = place as u8;
            let token = Token::Relayed { entry, place };
            let at = order.timestamp_ms as i64;
            if self.producer.append(now.instant, head.partition, at, token, |value| record.write_json(value)).is_err() {
                self.settle_entry(now, entry, place, false);
            }
        }
        Some(())
    }
}
