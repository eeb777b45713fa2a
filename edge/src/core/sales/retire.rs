//! Removes a sale's idempotency records once no repeat can need them: the hash is emptied, its memory freed.
//!
//! On an edge's first core each product is asked about four times in the life of a record (`lua/retire.lua`, which decides).
//! One call is outstanding at a time. Never touches a sale that has sold anything within that life, nor one of whose orders
//! some stand in the outbox.

use std::time::Duration;

use flux_protocol::rare::{self, Rare};
use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::core::state::product::ProductIndex;
use crate::core::{Core, PendingCall};
use crate::redis::scripts::SCRIPTS;

impl Core {
    /// After a look that found the product's sale.
    pub(crate) fn retire_if_due(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        if now.instant >= product.retire_from && !std::mem::replace(&mut product.retire_waits, true) {
            self.retire_line.push(index);
        }
        self.retire_next(now);
    }

    fn retire_next(&mut self, now: Now) {
        if !self.redis.is_ready() {
            return;
        }
        if let Some(index) = self.retire_line.ask(now.instant) {
            let ttl = self.config.idempotency_ttl;
            let product = &mut self.products[index];
            product.retire_waits = false;
            product.retire_from = now.instant + rare::instead(ttl / 4, Rare::HastyRetire, Duration::ZERO);
            let keys: [&[u8]; 2] = [&product.keys.outbox, &product.keys.sale];
            let ttl = ttl.as_millis().to_string();
            self.redis.call_script(now.instant, PendingCall::Retire(index), |out| {
                SCRIPTS.retire.write_call_with(out, &keys, &[ttl.as_bytes()]);
            });
        }
    }

    /// `retire.lua`'s answer. No reply: the connection is gone, and the next look asks again.
    pub(crate) fn handle_retired(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        match reply.map(|reply| reply.value()) {
            Some(Value::Integer(retired)) => self.counters.records_retired.add(retired.max(0).cast_unsigned()),
            Some(Value::Error(error)) => {
                self.note_error(error);
                self.products[index].retire_from = now.instant;
            }
            Some(_) | None => self.products[index].retire_from = now.instant,
        }
        self.retire_line.answered();
        self.retire_next(now);
    }
}
