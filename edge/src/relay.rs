//! The relay: delivers outbox entries that whoever wrote them did not see through.
//!
//! Runs on an edge's first core. A look that finds the same oldest entry as the one before asks `lua/relay.lua`, which
//! hands out entries older than the horizon, each to one relay for a while. Their orders are published under the ids
//! they have; the entry is deleted when Kafka has acknowledged all of them. A second delivery of an order is harmless:
//! the worker knows the reservation. Never gives a unit back.

use flux_protocol::order::Record;
use flux_protocol::resp::Reply;
use flux_protocol::time::Now;

use crate::core::{Call, Core, Token};
use crate::limits::{CALL_ORDERS_MAX, RELAY_CLAIM, RELAY_ENTRIES_MAX, RELAY_HORIZON_EXTRA};
use crate::outbox::{EntryHead, EntryId, EntryOrder};
use crate::product::ProductIndex;
use crate::scripts::SCRIPTS;

impl Core {
    /// After a look: whether entries may be waiting for a relay, and if so, which.
    pub(crate) fn relay_if_due(&mut self, now: Now, index: ProductIndex) {
        let stood = self.products[index].outbox_oldest.is_some_and(|(_, since)| now.instant > since);
        if self.is_first && stood {
            self.relay(now, index);
        }
    }

    /// Asks for entries to deliver, unless that is being asked or there is no room for them.
    fn relay(&mut self, now: Now, index: ProductIndex) {
        let horizon = self.config.publish_deadline + RELAY_HORIZON_EXTRA;
        let record_ttl_seconds = self.config.idempotency_ttl.as_secs();
        let product = &mut self.products[index];
        let Some((oldest, since)) = product.outbox_oldest else { return };
        let stood = now.instant.since(since);
        if product.relaying || !self.redis.is_ready() {
            return;
        }
        if self.producer.room() < self.promised + RELAY_ENTRIES_MAX * CALL_ORDERS_MAX {
            return;
        }
        product.relaying = true;
        // Its id may be of a clock that was set back: what was seen to stand so long is due all the same.
        let seen_standing = if stood >= horizon { oldest.to_string() } else { String::new() };
        let arguments = [
            self.config.edge_id.clone(),
            horizon.as_millis().to_string(),
            RELAY_CLAIM.as_millis().to_string(),
            RELAY_ENTRIES_MAX.to_string(),
            seen_standing,
        ];
        let ttl = record_ttl_seconds.to_string();
        let mut texts: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        texts.push(&product.keys.record_prefix);
        texts.push(ttl.as_bytes());
        let keys: [&[u8]; 3] = [&product.keys.outbox, &product.keys.claims, &product.keys.sale];
        self.redis.call(now.instant, Call::Relay(index), |out| SCRIPTS.relay.write_call_with(out, &keys, &texts));
    }

    /// The entries this relay has been handed. No reply: the connection is gone, and the claims will run out.
    pub(crate) fn handle_relay(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        self.products[index].relaying = false;
        let mut items = match reply.map(|reply| reply.items()) {
            Some(Ok(Some(items))) => items,
            Some(Err(error)) => return self.note_error(now, error),
            Some(Ok(None)) | None => return,
        };
        let mut handed_out = 0;
        while let (Some(id), Some(head), Some(orders)) = (items.next_bulk(), items.next_bulk(), items.next_bulk()) {
            handed_out += 1;
            if self.relay_entry(now, index, id, head, orders).is_none() {
                self.counters.relay_unreadable.add(1);
            }
        }
        if handed_out == RELAY_ENTRIES_MAX {
            // There may be more: a long outage leaves thousands.
            self.relay(now, index);
        }
    }

    /// Publishes one entry whole; `None` where it is not as `reserve.lua` writes them: it stays, counted.
    fn relay_entry(&mut self, now: Now, index: ProductIndex, id: &[u8], head: &[u8], lines: &[u8]) -> Option<()> {
        let id = EntryId::parse(id)?;
        let head = EntryHead::parse(head)?;
        let orders: Vec<EntryOrder> =
            lines.split(|byte| *byte == b'\n').map(EntryOrder::parse).collect::<Option<_>>()?;
        if orders.len() != head.orders as usize || orders.is_empty() || !self.producer.has_partition(head.partition) {
            return None;
        }
        let name = self.products[index].name;
        let entry = self.entries.insert(index, id, head.orders, true);
        for order in &orders {
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
            let token = Token::Relayed(entry);
            let at = order.timestamp_ms as i64;
            if self.producer.append(now.instant, head.partition, at, token, |value| record.write_json(value)).is_err() {
                self.settle_entry(now, entry, false);
            }
        }
        Some(())
    }
}
