//! What follows Kafka's word on a record: the order's answer, and what becomes of its outbox entry.
//!
//! An entry is deleted only when every order in it was acknowledged. Where its orders parted ways, those that were not
//! move to an entry of their own (`lua/split_entry.lua`), which the relay delivers; where none was, it is left as it is. All
//! this travels ahead of the next reserve call, in the same write, or by itself after a few milliseconds. No order
//! waits for its effect: an entry that stays after all is delivered once more, which does no harm.

use flux_protocol::kafka::producer::Settled as Published;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::{self, Reply, Value};
use flux_protocol::time::Now;

use crate::core::state::outbox::{EntryId, EntryIndex, EntryOutcome, Removal};
use crate::core::state::product::{Product, ProductIndex};
use crate::core::{Core, PendingCall, RecordTag};
use crate::limits::REMOVAL_ENTRIES_MAX;
use crate::redis::connection::RedisConnection;
use crate::redis::scripts::SCRIPTS;

impl Core {
    pub(crate) fn handle_settled(&mut self, now: Now, tag: RecordTag, published: Published) {
        let acknowledged = match published {
            Published::Acknowledged => true,
            Published::Refused(code) => {
                self.counters.records_refused.add(1);
                // Once and then ever more rarely: a topic that takes nothing must not fill a disk.
                let refused = self.counters.records_refused.get();
                if refused.is_power_of_two() {
                    tracing::warn!(code, refused, "Kafka refused a record; its order stays in the outbox");
                }
                false
            }
            Published::Abandoned => {
                self.counters.records_left.add(1);
                false
            }
        };
        match token {
            RecordTag::Order { order, entry, place } => self.published(now, order, entry, place, acknowledged),
            RecordTag::Relayed { entry, place } => {
                self.counters.relayed.add(u64::from(acknowledged));
                self.settle_entry(now, entry, place, acknowledged);
            }
            RecordTag::Operation(operation) => self.handle_event_settled(now, operation, acknowledged),
        }
    }

    pub(crate) fn settle_entry(&mut self, now: Now, entry: EntryIndex, place: u8, acknowledged: bool) {
        if acknowledged && is_planted(Bug::EntryGoneWithFirstOrder) {
            self.remove_too_early(now, entry);
        }
        if let EntryOutcome::Remove(product, removal) = self.entries.settle(entry, place, acknowledged) {
            self.queue_removal(now, product, removal);
        }
    }

    pub(crate) fn queue_removal(&mut self, now: Now, product: ProductIndex, removal: Removal) {
        let removals = &mut self.products[product].removals;
        if removals.is_empty() {
            self.removals.push(product);
        }
        removals.push(removal);
        self.removals_since.get_or_insert(now.instant);
    }

    /// Writes what is to be done with settled entries.
    pub(crate) fn write_removals(&mut self, now: Now) {
        self.removals_since = None;
        let mut dirty = std::mem::take(&mut self.removals);
        for index in dirty.drain(..) {
            let product = &mut self.products[index];
            for chunk in product.removals.chunks(REMOVAL_ENTRIES_MAX) {
                write_chunk(&mut self.redis, now, product, chunk);
            }
            product.removals.clear();
        }
        self.removals = dirty;
    }

    /// `split_entry.lua`'s answer: where the orders that were not acknowledged stand now.
    pub(crate) fn handle_split(&mut self, reply: Reply<'_>) {
        match reply.value() {
            Value::Bulk(id) if EntryId::parse(id).is_some() => self.counters.entries_parted.add(1),
            Value::Error(error) => self.note_error(error),
            // Gone, suspended, or another than was believed: the relay, or a rebuild, delivers what stands.
            _ => {}
        }
    }
}

/// Plain `XDEL`s, which a full memory still allows and which cost least; claimed entries go with their claims.
fn write_chunk(redis: &mut RedisConnection<PendingCall>, now: Now, product: &Product, chunk: &[Removal]) {
    let whole = |wanted: bool| {
        chunk.iter().filter_map(move |removal| match removal {
            Removal::Whole { id, claimed } if *claimed == wanted => Some(*id),
            _ => None,
        })
    };
    let plain = whole(false).count();
    if plain > 0 {
        redis.call(now.instant, PendingCall::Quiet, |out| {
            resp::array_header(out, 2 + plain);
            resp::bulk(out, b"XDEL");
            resp::bulk(out, &product.keys.outbox);
            whole(false).for_each(|id| id.write_bulk(out));
        });
    }
    let claimed: Vec<String> = whole(true).map(|id| id.to_string()).collect();
    if !claimed.is_empty() {
        let ids: Vec<&[u8]> = claimed.iter().map(String::as_bytes).collect();
        redis.call_script(now.instant, PendingCall::Quiet, |out| {
            SCRIPTS.settle.write_call_with(out, &[&product.keys.outbox, &product.keys.claims], &ids);
        });
    }
    for removal in chunk {
        if let Removal::Part { id, orders, acknowledged } = removal {
            write_split(redis, now, product, *id, *orders, *acknowledged);
        }
    }
}

fn write_split(
    redis: &mut RedisConnection<PendingCall>,
    now: Now,
    product: &Product,
    id: EntryId,
    orders: u32,
    acknowledged: u64,
) {
    // The script counts places from 1.
    let places = (0..orders).filter(|place| acknowledged >> place & 1 == 1).map(|place| (place + 1).to_string());
    let numbers: Vec<String> = [id.to_string(), orders.to_string()].into_iter().chain(places).collect();
    let arguments: Vec<&[u8]> = numbers.iter().map(String::as_bytes).collect();
    let keys: [&[u8]; 3] = [&product.keys.outbox, &product.keys.claims, &product.keys.sale];
    redis.call_script(now.instant, PendingCall::SplitEntry, |out| {
        SCRIPTS.split_entry.write_call_with(out, &keys, &arguments)
    });
}
