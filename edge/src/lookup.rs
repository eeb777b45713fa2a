//! While a sale is remembered as sold out, or is closed: one `HMGET` for many orders instead of the script.
//!
//! A repeat of an accepted order must get its first answer even then; the script gives it, once a record is found.

use flux_protocol::resp::{Reply, Value};
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::{Call, Core};
use crate::gate::write_lookup;
use crate::pending::PendingIndex;

impl Core {
    pub(crate) fn write_lookup(&mut self, now: Now) {
        let (products, orders, redis) = (&self.products, &self.orders, &mut self.redis);
        self.gate.seal_lookups(orders, |sale, batch| {
            redis.call_if(now.instant, |out| {
                write_lookup(out, products, orders, sale, &batch);
                Some(Call::Lookup(batch))
            });
        });
    }

    /// The records, in the order of `batch`. No reply: the connection is gone, and nothing was reserved.
    pub(crate) fn handle_looked_up(&mut self, now: Now, batch: Vec<PendingIndex>, reply: Option<Reply<'_>>) {
        let mut items = match reply.map(|reply| reply.items()) {
            Some(Ok(items)) => items,
            Some(Err(error)) => {
                self.note_error(now, error);
                None
            }
            None => None,
        };
        for index in &batch {
            let item = items.as_mut().and_then(Iterator::next);
            match item.as_ref().and_then(found) {
                Some(false) => self.respond(now, *index, Answer::SoldOut),
                Some(true) => self.reserve_after_token(now, *index),
                None => self.respond(now, *index, Answer::Unavailable(Unavailable::Redis)),
            }
        }
        self.gate.lookup_done(batch);
    }
}

/// Whether a look-up found a record; `None` where it says neither.
fn found(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Bulk(_) => Some(true),
        _ => None,
    }
}
