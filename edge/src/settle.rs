//! What follows Kafka's word on a record: the order's answer, and the deletion of its outbox entry.
//!
//! An entry is deleted only when every order in it was acknowledged; else it is left to the relay. Deletions travel
//! ahead of the next reserve call, in the same write, or by themselves after a few milliseconds.

use flux_protocol::kafka::producer::Settled as Published;
use flux_protocol::resp;
use flux_protocol::time::Now;

use crate::core::{Call, Core, Token};
use crate::limits::REMOVAL_ENTRIES_MAX;
use crate::outbox::{EntryIndex, Settled};
use crate::scripts::SCRIPTS;

impl Core {
    pub(crate) fn handle_settled(&mut self, now: Now, token: Token, published: Published) {
        let acknowledged = match published {
            Published::Acknowledged => true,
            Published::Refused(code) => {
                tracing::warn!(code, "Kafka refused a record; its order stays in the outbox");
                self.counters.records_refused.add(1);
                false
            }
            Published::Abandoned => {
                self.counters.records_left.add(1);
                false
            }
        };
        match token {
            Token::Order { order, entry } => self.published(now, order, entry, acknowledged),
            Token::Relayed(entry) => {
                self.counters.relayed.add(u64::from(acknowledged));
                self.settle_entry(now, entry, acknowledged);
            }
            Token::Operation(operation) => self.handle_event_settled(now, operation, acknowledged),
        }
    }

    pub(crate) fn settle_entry(&mut self, now: Now, entry: EntryIndex, acknowledged: bool) {
        let Settled::Delete { product, id, claimed } = self.entries.settle(entry, acknowledged) else { return };
        let removals = &mut self.products[product].removals;
        if removals.is_empty() {
            self.removals.push(product);
        }
        removals.push((id, claimed));
        self.removals_since.get_or_insert(now.instant);
    }

    /// Deletes acknowledged entries: plain `XDEL`, which a full memory still allows; claimed ones with their claims.
    pub(crate) fn write_removals(&mut self, now: Now) {
        self.removals_since = None;
        let mut text = String::new();
        let mut dirty = std::mem::take(&mut self.removals);
        for product in dirty.drain(..) {
            let product = &mut self.products[product];
            for chunk in product.removals.chunks(REMOVAL_ENTRIES_MAX) {
                let plain = chunk.iter().filter(|(_, claimed)| !claimed).count();
                if plain > 0 {
                    self.redis.call(now.instant, Call::Quiet, |out| {
                        resp::array_header(out, 2 + plain);
                        resp::bulk(out, b"XDEL");
                        resp::bulk(out, &product.keys.outbox);
                        for (id, _) in chunk.iter().filter(|(_, claimed)| !claimed) {
                            text.clear();
                            id.write(&mut text);
                            resp::bulk(out, text.as_bytes());
                        }
                    });
                }
                if plain < chunk.len() {
                    let ids: Vec<String> =
                        chunk.iter().filter(|(_, claimed)| *claimed).map(|(id, _)| id.to_string()).collect();
                    let ids: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
                    self.redis.call(now.instant, Call::Quiet, |out| {
                        SCRIPTS.settle.write_call_with(out, &[&product.keys.outbox, &product.keys.claims], &ids);
                    });
                }
            }
            product.removals.clear();
        }
        self.removals = dirty;
    }
}
