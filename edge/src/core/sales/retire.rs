//! Removes a sale's idempotency records once no repeat can need them: the hash is emptied, its memory freed.
//!
//! On an edge's first core each product is asked about four times in the life of a record (`lua/retire.lua`, which decides).
//! One call is outstanding at a time. Never touches a sale that has sold anything within that life, nor one of whose orders
//! some stand in the outbox.

use std::time::Duration;

use flux_protocol::rare::{self, Rare};
use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::product_index::ProductIndex;
use crate::redis::scripts::SCRIPTS;

impl Core {
    /// After a refresh that found the product's sale.
    pub(crate) fn retire_if_due(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        if now.instant >= product.retirement.from && !std::mem::replace(&mut product.retirement.waits, true) {
            self.retire_queue.push(index);
        }
        self.retire_next(now);
    }

    fn retire_next(&mut self, now: Now) {
        if !self.redis.is_ready() {
            return;
        }
        if let Some(index) = self.retire_queue.ask(now.instant) {
            let ttl = self.config.idempotency_ttl;
            let product = &mut self.products[index];
            product.retirement.waits = false;
            product.retirement.from = now.instant + rare::instead(ttl / 4, Rare::HastyRetire, Duration::ZERO);
            let keys: [&[u8]; 2] = [&product.keys.outbox, &product.keys.sale];
            let ttl = ttl.as_millis().to_string();
            self.redis.call_script(now.instant, PendingCall::Retire(index), |out| {
                SCRIPTS.retire.write_call_with(out, &keys, &[ttl.as_bytes()]);
            });
        }
    }

    /// `retire.lua`'s answer. No reply: the connection is gone, and the next refresh asks again.
    pub(crate) fn handle_retired(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        match reply.map(|reply| reply.value()) {
            Some(Value::Integer(retired)) => self.counters.records_retired.add(retired.max(0).cast_unsigned()),
            Some(Value::Error(error)) => {
                self.refusals.note(&self.counters, error);
                self.products[index].retirement.from = now.instant;
            }
            Some(_) | None => self.products[index].retirement.from = now.instant,
        }
        self.retire_queue.answered();
        self.retire_next(now);
    }
}
