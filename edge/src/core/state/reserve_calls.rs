//! Reserve calls: orders gathered into one `EVALSHA` of `lua/reserve.lua`, sent while fewer than two are outstanding.
//!
//! Load itself makes the batches: while two calls are on their way, orders gather for the next. Where one product has
//! many orders under way its further ones stand in a line of their own, so that those of other products do not stand
//! behind them. A call's bytes are kept until its reply, so that it can be asked again word for word after a lost
//! connection: the reservation ids in it make the repeat harmless. Never reads a reply (`order/reserve.rs` does), and never
//! touches a socket.

use std::collections::VecDeque;

use flux_protocol::order::decimal;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::queue::Slot;
use flux_protocol::rare::{self, Rare};
use flux_protocol::resp;
use flux_protocol::time::Instant;

use crate::core::state::orders::{Order, OrderIndex, Orders, Stage};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::limits::{CALL_ORDERS_MAX, CALLS_OUTSTANDING_MAX, CROWD_PLACES_MIN, ORDERS_IN_LINE_TOGETHER_MAX};
use crate::redis::scripts::SCRIPTS;
use crate::sale::write_generation;

/// A reserve call's place among those outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchIndex(usize);

/// Orders of one product whose ids were derived for the same sale and generation travel in one group: a refresh may have
/// learnt of a newer sale while they waited.
type GroupKey = (ProductIndex, u64, u32);

/// The orders of one product in a call: they share an outbox entry and a head in the reply.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub product: ProductIndex,
    /// The sale the ids were derived for.
    pub sale_id: u64,
    /// Its total, for the records.
    pub sale_total: u64,
    /// The generation the call insists on.
    pub generation: u32,
    /// How many of the call's orders.
    pub orders: usize,
    /// What each of them wants; `None` where they differ, or one was called by its place.
    quantity: Option<u16>,
}

/// One reserve call on its way.
#[derive(Debug, Default)]
pub struct ReserveBatch {
    /// Orders in the order of the reply's codes, group by group.
    pub orders: Vec<OrderIndex>,
    pub groups: Vec<Group>,
    /// The partition that the outbox entries name.
    pub partition: i32,
    /// When it was first written: whatever it reserved is no older.
    pub first_sent: Instant,
    /// It was written more than once, and an earlier writing may have had effects.
    pub repeated: bool,
    bytes: Vec<u8>,
    busy: bool,
}

/// What a reserve call is made with beyond its orders.
#[derive(Clone, Copy, Debug)]
pub struct CallTerms {
    /// Where the call's records will go.
    pub partition: i32,
    /// Orders one product's outbox may hold.
    pub outbox_orders_max: u64,
}

/// The reserve calls of one core: orders in line for the next, and those without a reply.
#[derive(Debug, Default)]
pub struct ReserveCalls {
    queue: VecDeque<OrderIndex>,
    /// Orders of products that have many under way.
    crowd: VecDeque<OrderIndex>,
    calls: Vec<ReserveBatch>,
    outstanding: usize,
    batch: Vec<(GroupKey, OrderIndex)>,
    /// Calls whose replies were lost; they are asked again. No more than may be outstanding.
    pub(crate) lost: Vec<BatchIndex>,
}

impl ReserveCalls {
    /// Puts an order in line for the next call. `under_way`: how many of its product are.
    pub fn push(&mut self, order: OrderIndex, under_way: u32) {
        let is_one_of_many = under_way as usize > ORDERS_IN_LINE_TOGETHER_MAX;
        if is_one_of_many { &mut self.crowd } else { &mut self.queue }.push_back(order);
    }

    /// Takes an order out of the line.
    pub fn pop(&mut self) -> Option<OrderIndex> {
        self.queue.pop_front().or_else(|| self.crowd.pop_front())
    }

    /// The next order of a call that has `held` orders: the last places are for the crowd, if there is one.
    fn next(&mut self, held: usize) -> Option<OrderIndex> {
        if held >= CALL_ORDERS_MAX - CROWD_PLACES_MIN
            && let Some(order) = self.crowd.pop_front()
        {
            return Some(order);
        }
        self.pop()
    }

    /// Orders in line for a reserve call, some of which may have given up.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.crowd.len()
    }

    /// Whether a reserve call may be written now.
    pub fn may_call(&self) -> bool {
        self.outstanding < CALLS_OUTSTANDING_MAX && self.waiting() > 0
    }

    /// Seals up to 64 waiting orders into a call and appends it to `out`. `None`: all that waited had given up.
    pub fn seal(
        &mut self,
        now: Instant,
        terms: CallTerms,
        products: &Products,
        orders: &mut Orders,
        out: &mut Vec<u8>,
    ) -> Option<BatchIndex> {
        assert!(self.outstanding < CALLS_OUTSTANDING_MAX, "the caller asks may_call first");
        self.batch.clear();
        let most = rare::instead(CALL_ORDERS_MAX, Rare::LoneOrder, 1);
        while self.batch.len() < most {
            let Some(index) = self.next(self.batch.len()) else { break };
            if let Some(order) = orders.get_mut(index) {
                order.stage = Stage::Reserving;
                let sale = order.sale.expect("an order is queued under a sale");
                self.batch.push(((order.product, sale.id, sale.generation), index));
            }
        }
        if self.batch.is_empty() {
            return None;
        }
        // Stable: orders of one product keep their order of arrival.
        self.batch.sort_by_key(|(key, _)| *key);
        let place = self.calls.iter().position(|call| !call.busy).unwrap_or_else(|| {
            self.calls.push(ReserveBatch::default());
            self.calls.len() - 1
        });
        let call = &mut self.calls[place];
        call.fill(now, &self.batch, terms, products, orders);
        call.busy = true;
        call.first_sent = now;
        call.repeated = false;
        out.extend_from_slice(&call.bytes);
        self.outstanding += 1;
        Some(BatchIndex(place))
    }

    /// The call at `index`; its reply has come or is to come.
    pub fn call(&self, index: BatchIndex) -> &ReserveBatch {
        &self.calls[index.0]
    }

    /// Writes a call once more, word for word. `unknown`: whether the writing before had effects.
    pub fn repeat(&mut self, index: BatchIndex, unknown: bool, out: &mut Vec<u8>) {
        let call = &mut self.calls[index.0];
        assert!(call.busy, "only a call without a reply is repeated");
        call.repeated |= unknown;
        out.extend_from_slice(&call.bytes);
    }

    /// Takes a call whose reply is being read; give it back with [`ReserveCalls::recycle`].
    pub fn take(&mut self, index: BatchIndex) -> ReserveBatch {
        assert!(self.calls[index.0].busy, "a call is answered once");
        self.outstanding -= 1;
        std::mem::take(&mut self.calls[index.0])
    }

    /// Gives a finished call's buffers back.
    pub fn recycle(&mut self, index: BatchIndex, mut call: ReserveBatch) {
        call.busy = false;
        self.calls[index.0] = call;
    }
}

impl ReserveBatch {
    /// Encodes the whole `EVALSHA`: all keys, then all arguments (see the head of `lua/reserve.lua`).
    fn fill(
        &mut self,
        now: Instant,
        batch: &[(GroupKey, OrderIndex)],
        terms: CallTerms,
        products: &Products,
        orders: &Orders,
    ) {
        self.orders.clear();
        self.groups.clear();
        self.bytes.clear();
        self.partition = terms.partition;
        for (key, index) in batch {
            let order = orders.get(*index).expect("sealed just now");
            let quantity = slot_of(order).is_none().then_some(order.wish.quantity);
            match self.groups.last_mut() {
                Some(group) if (group.product, group.sale_id, group.generation) == *key => {
                    group.orders += 1;
                    group.quantity = group.quantity.filter(|shared| quantity == Some(*shared));
                }
                _ => {
                    let sale = order.sale.expect("sealed just now");
                    self.groups.push(Group {
                        product: key.0,
                        sale_id: sale.id,
                        sale_total: sale.total,
                        generation: sale.generation,
                        orders: 1,
                        quantity,
                    });
                }
            }
            self.orders.push(*index);
        }
        let (groups, count) = (self.groups.len(), self.orders.len());
        let out = &mut self.bytes;
        let keys = 7 * groups;
        let apart = self.groups.iter().filter(|group| group.quantity.is_none()).map(|group| group.orders);
        let arguments = 2 + 5 * groups + 3 * count + apart.sum::<usize>();
        resp::array_header(out, 3 + keys + arguments);
        resp::bulk(out, b"EVALSHA");
        resp::bulk(out, SCRIPTS.reserve.digest());
        resp::bulk_number(out, keys as u64);
        for group in &self.groups {
            let keys = &products[group.product].keys;
            for key in keys.of_sale() {
                resp::bulk(out, key);
            }
            keys.write_records(out, group.sale_id);
        }
        resp::bulk_number(out, groups as u64);
        resp::bulk_number(out, terms.outbox_orders_max);
        let mut at = 0;
        for group in &self.groups {
            resp::bulk_number(out, group.orders as u64);
            resp::bulk_number(out, group.sale_id);
            // Without a fence where it may not be sold: the script refuses it then.
            let fence = products.fence(now, group.product, (group.sale_id, group.generation));
            write_generation(out, group.generation, fence.ok().flatten());
            resp::bulk_number(out, terms.partition as u64);
            match group.quantity {
                Some(quantity) => resp::bulk_number(out, u64::from(quantity)),
                None => resp::bulk(out, b""),
            }
            let of_group = &self.orders[at..at + group.orders];
            let of_group = || of_group.iter().map(|index| orders.get(*index).expect("sealed just now"));
            for (place, order) in of_group().enumerate() {
                let (quantity, timestamp) = (&mut [0; 20], &mut [0; 20]);
                let quantity = decimal(u64::from(order.wish.quantity), quantity);
                resp::bulk_parts(out, &[&order.reservation_id.text(), b" ", quantity, b" "]);
                resp::bulk(out, &order.order_id.text());
                let end: &[u8] = if place + 1 < group.orders { b"\n" } else { b"" };
                let timestamp = decimal(order.timestamp_ms, timestamp);
                resp::bulk_parts(out, &[b" ", order.wish.user.as_bytes(), b" ", timestamp, end]);
            }
            for order in of_group().filter(|_| group.quantity.is_none()) {
                let (quantity, place) = (&mut [0; 20], &mut [0; 20]);
                let quantity = decimal(u64::from(order.wish.quantity), quantity);
                match slot_of(order) {
                    None => resp::bulk(out, quantity),
                    Some(slot) => resp::bulk_parts(out, &[quantity, b" ", decimal(slot.into(), place)]),
                }
            }
            at += group.orders;
        }
    }
}

/// The slot that `reserve.lua` is to judge the order by.
fn slot_of(order: &Order) -> Option<Slot> {
    order.turn.slot().filter(|_| !is_planted(Bug::PlaceNeverUsedUp))
}
