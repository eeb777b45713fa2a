//! What follows Kafka's word on a record: the order's answer, and what becomes of its outbox entry.
//!
//! An entry is deleted only when every order in it was acknowledged. Where its orders parted ways, those that were not
//! move to an entry of their own (`lua/split_entry.lua`), which the relay delivers; where none was, it is left as it is. All
//! this travels ahead of the next reserve call, in the same write, or by itself after a few milliseconds. No order
//! waits for its effect: an entry that stays after all is delivered once more, which does no harm.

use flux_protocol::kafka::producer::Settled as Published;
use flux_protocol::outbox_entry::EntryId;
use flux_protocol::resp::{self, Reply, Value};
use flux_protocol::time::Now;

use crate::answer::Answer;
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::entries::{EntryIndex, Removal};
use crate::core::state::orders::OrderIndex;
use crate::core::state::product::Product;
use crate::limits::REMOVAL_ENTRIES_MAX;
use crate::redis::connection::RedisConnection;
use crate::redis::scripts::SCRIPTS;

impl Core {
    /// Kafka's word on records: whether they were acknowledged; counted where they were not.
    pub(crate) fn is_acknowledged(&self, published: Published) -> bool {
        match published {
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
        }
    }

    /// Kafka has acknowledged an order, or will not acknowledge it to this core.
    pub(crate) fn published(&mut self, now: Now, index: OrderIndex, entry: EntryIndex, place: u8, acknowledged: bool) {
        // The entry's deletion is queued before the answer is.
        let in_time = self.outbox.settle(now.instant, &mut self.products, entry, place, acknowledged);
        let Some(order) = self.orders.get(index) else { return };
        let id = order.order_id;
        let answer = match (acknowledged, in_time) {
            (true, true) => Answer::Accepted { id, replayed: false },
            // This process was stopped meanwhile, and a rebuild may have sold the unit: the ledger knows.
            (true, false) => Answer::Unknown,
            (false, _) => Answer::Pending { id, replayed: false },
        };
        self.respond(now, index, answer);
    }

    /// Writes what is to be done with settled entries.
    pub(crate) fn write_removals(&mut self, now: Now) {
        let dirty = self.outbox.take_dirty();
        for index in &dirty {
            let product = &mut self.products[*index];
            for chunk in product.outbox.removals.chunks(REMOVAL_ENTRIES_MAX) {
                write_chunk(&mut self.redis, now, product, chunk);
            }
            product.outbox.removals.clear();
        }
        self.outbox.recycle(dirty);
    }

    /// `split_entry.lua`'s answer: where the orders that were not acknowledged stand now. No reply: the connection is gone.
    pub(crate) fn handle_split(&mut self, reply: Option<Reply<'_>>) {
        match reply.map(|reply| reply.value()) {
            Some(Value::Bulk(id)) if EntryId::parse(id).is_some() => self.counters.entries_parted.add(1),
            Some(Value::Error(error)) => self.refusals.note(&self.counters, error),
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
