//! Keeps the records of standing entries alive: no idempotency record runs out before its order is delivered.
//!
//! The relay prolongs the records of what it takes over, but it rests while Kafka is away. So on an edge's first core the
//! outboxes in which entries stand are walked four times in the life of a record (`lua/prolong.lua`), and the records of
//! entries older than half of that life are given the whole of it again. One call is outstanding at a time. Never takes an
//! entry over, and never shortens a life.

use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::core::{Call, Core};
use crate::limits::PROLONG_ENTRIES_MAX;
use crate::outbox::EntryId;
use crate::product::ProductIndex;
use crate::scripts::SCRIPTS;

impl Core {
    /// After a look that found entries standing.
    pub(crate) fn prolong_if_due(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        if now.instant >= product.prolong_from && !std::mem::replace(&mut product.prolong_waits, true) {
            self.prolong_line.push(index);
        }
        self.prolong_next(now);
    }

    fn prolong_next(&mut self, now: Now) {
        if !self.redis.is_ready() {
            return;
        }
        if let Some(index) = self.prolong_line.ask(now.instant) {
            let product = &mut self.products[index];
            product.prolong_waits = false;
            product.prolong_from = now.instant + self.config.idempotency_ttl / 4;
            self.write_prolong(now, index, "-");
        }
    }

    fn write_prolong(&mut self, now: Now, index: ProductIndex, from: &str) {
        let product = &self.products[index];
        let ttl = self.config.idempotency_ttl;
        let numbers = [(ttl / 2).as_millis().to_string(), ttl.as_secs().to_string(), PROLONG_ENTRIES_MAX.to_string()];
        let [age, ttl, most] = numbers.each_ref().map(String::as_bytes);
        let arguments: [&[u8]; 5] = [from.as_bytes(), age, &product.keys.record_prefix, ttl, most];
        let keys: [&[u8]; 3] = [&product.keys.outbox, &product.keys.claims, &product.keys.sale];
        self.redis
            .call(now.instant, Call::Prolong(index), |out| SCRIPTS.prolong.write_call_with(out, &keys, &arguments));
    }

    /// How far the walk has come. No reply: the connection is gone, and the next look begins anew.
    pub(crate) fn handle_prolonged(&mut self, now: Now, index: ProductIndex, reply: Option<Reply<'_>>) {
        let last = match reply.map(|reply| reply.value()) {
            Some(Value::Bulk(b"")) => None,
            Some(Value::Bulk(id)) => EntryId::parse(id),
            Some(Value::Error(error)) => {
                self.note_error(now, error);
                self.products[index].prolong_from = now.instant;
                None
            }
            Some(_) | None => {
                self.products[index].prolong_from = now.instant;
                None
            }
        };
        match last {
            // Within the same walk: the line is asked only when this one is through.
            Some(id) => self.write_prolong(now, index, &format!("({id}")),
            None => {
                self.prolong_line.answered();
                self.prolong_next(now);
            }
        }
    }
}
