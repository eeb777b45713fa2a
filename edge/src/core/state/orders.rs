//! Orders under way on one core, and the requests that wait for each.
//!
//! Never allocates per order in steady state: freed places of the slab are used again, waiters beyond the first are rare and
//! live in the order's own small vector. A late reply finds by its index that its order is gone.

use std::collections::{HashMap, VecDeque};

use flux_protocol::order::{Identifier, Uuid};
use flux_protocol::queue::Slot;
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::answer::ReplyTo;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::waiting_products::has_share;
use crate::limits::{ORDERS_PENDING_MAX, WAITERS_PER_ORDER_MAX};
use crate::sale::{Sale, TicketText};
use crate::slab::{Key, Slab};

/// What a client wants, validated.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The buyer.
    pub user: Identifier,
    /// The buyer's idempotency key.
    pub key: Identifier,
    /// Units asked for.
    pub quantity: u16,
    /// The client reads JSON: over the limit it is told 429 in place of 302.
    pub wants_json: bool,
    /// What may be the user's ticket in the sale's queue, unverified.
    pub shown: Option<TicketText>,
}

/// Where an order stands. Later stages know more about its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Redis is being asked for its product, its sale, or its queue's status; nothing was asked for the order itself.
    Product,
    /// It waits for a lease of tokens.
    Token,
    /// It was called in its queue, and waits for a token.
    Called,
    /// Its record is being looked up: the sale is remembered as sold out, or its place in line is used up.
    Lookup,
    /// It waits for a place in a reserve call. Nothing was reserved.
    Queued,
    /// It is in a reserve call that was written: whether a unit was taken is unknown.
    Reserving,
    /// A unit is taken; its record is with the producer.
    Publishing,
}

/// By which place of its sale's line an order comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// By none: its sale has no fair queue, or no user waits in it.
    #[default]
    None,
    /// Its place was called. No other order of the user comes by a place on this core meanwhile.
    Called {
        /// The place's.
        slot: Slot,
        /// The user's, in their sale.
        mark: u64,
        /// When the token that it took dies.
        token_expires: Instant,
    },
    /// Its place was called, and is used up: only an order that was accepted before is answered, and takes no token.
    UsedUp {
        /// The place's.
        slot: Slot,
        /// So are all of the user up to this slot.
        until: Slot,
    },
}

impl Turn {
    /// The slot that `reserve.lua` is to judge by.
    pub fn slot(self) -> Option<Slot> {
        match self {
            Turn::None => None,
            Turn::Called { slot, .. } | Turn::UsedUp { slot, .. } => Some(slot),
        }
    }
}

/// One order under way.
#[derive(Debug)]
pub struct Order {
    /// The product it asks for.
    pub product: ProductIndex,
    /// The sale its id was derived for; `None` while the sale is not known. A call names this one, never a newer one.
    pub sale: Option<Sale>,
    /// Where it stands.
    pub stage: Stage,
    /// It was re-derived once for a newer sale: not again.
    pub rederived: bool,
    pub wish: Wish,
    /// The same for every repeat of the key within the sale.
    pub order_id: Uuid,
    /// This taking of units; sent again unchanged after a lost reply.
    pub reservation_id: Uuid,
    /// By which place it comes, once that is known.
    pub turn: Turn,
    /// When it was read, or was given its token after it was called; monotonic.
    pub received: Instant,
    /// When it was read, by Redis' clock: milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Requests to answer: the first made the order, the others joined it.
    pub waiters: SmallVec<[ReplyTo; 1]>,
}

/// Names an order while it is under way, and none after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderIndex(Key);

/// All orders under way on this core.
#[derive(Debug)]
pub struct Orders {
    all: Slab<Order>,
    by_order_id: HashMap<Uuid, OrderIndex, RandomState>,
    /// By when they were read, for the Redis deadline.
    pub by_received: VecDeque<(Instant, OrderIndex)>,
    /// By when they were reserved, for the publish deadline.
    pub by_reserved: VecDeque<(Instant, OrderIndex)>,
    /// Places with the producer promised to orders on their way through Redis.
    pub promised: usize,
}

/// Orders under way that are found without the table growing: more than a busy core has. A table that is full to more
/// than half grows now and then, as orders come and go.
const FOUND_AT_ONCE: usize = 2048;

impl Default for Orders {
    fn default() -> Orders {
        let by_order_id = HashMap::with_capacity_and_hasher(FOUND_AT_ONCE, RandomState::default());
        Orders {
            all: Slab::default(),
            by_order_id,
            by_received: VecDeque::new(),
            by_reserved: VecDeque::new(),
            promised: 0,
        }
    }
}

/// Why a request could not join an order under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Same key, user and product, other quantity: 422.
    OtherQuantity,
    /// As many wait for this order as may.
    Full,
}

impl Orders {
    /// How many orders are under way.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one more would be too many.
    pub fn is_full(&self) -> bool {
        self.len() >= ORDERS_PENDING_MAX
    }

    /// Whether one more order of a product that has `own` under way finds a place.
    pub fn has_place(&self, own: u32) -> bool {
        !self.is_full() && has_share(own as usize, self.len(), ORDERS_PENDING_MAX)
    }

    /// Makes an order of a wish. It has no id yet, so no repeat finds it: [`Orders::name`] gives it one.
    ///
    /// `received`: when its request was read. `timestamp_ms`: the same by Redis' clock. `reservation_id`: one that was never
    /// drawn before.
    pub fn insert(
        &mut self,
        product: ProductIndex,
        wish: Wish,
        reply_to: ReplyTo,
        received: Instant,
        timestamp_ms: u64,
        reservation_id: Uuid,
    ) -> OrderIndex {
        assert!(!self.is_full(), "the caller asks is_full first");
        let index = OrderIndex(self.all.insert(Order {
            product,
            sale: None,
            stage: Stage::Product,
            rederived: false,
            wish,
            order_id: reservation_id,
            reservation_id,
            turn: Turn::None,
            received,
            timestamp_ms,
            waiters: smallvec::smallvec![reply_to],
        }));
        self.by_received.push_back((received, index));
        index
    }

    /// Gives an order without an id the one that it has now that its sale is known, and makes it findable by it.
    pub fn name(&mut self, index: OrderIndex, sale: Sale, order_id: Uuid) {
        let Some(order) = self.get_mut(index) else { return };
        order.sale = Some(sale);
        order.order_id = order_id;
        self.by_order_id.insert(order_id, index);
    }

    /// An order that waited for its turn is under way from now on: its time begins anew.
    pub fn restart(&mut self, now: Instant, index: OrderIndex) {
        if let Some(order) = self.get_mut(index) {
            order.received = now;
            self.by_received.push_back((now, index));
        }
    }

    pub fn products(&self) -> impl Iterator<Item = ProductIndex> {
        self.all.iter().map(|order| order.product)
    }

    /// The order of that id, if it is under way.
    pub fn find(&self, order_id: &Uuid) -> Option<OrderIndex> {
        self.by_order_id.get(order_id).copied()
    }

    /// Lets `reply_to` wait for an order under way.
    ///
    /// # Errors
    /// [`JoinError`]: the request is to be answered at once instead.
    pub fn join(&mut self, index: OrderIndex, quantity: u16, reply_to: ReplyTo) -> Result<(), JoinError> {
        let order = self.get_mut(index).expect("found by its id, so it is under way");
        if order.wish.quantity != quantity {
            return Err(JoinError::OtherQuantity);
        }
        if order.waiters.len() >= WAITERS_PER_ORDER_MAX {
            return Err(JoinError::Full);
        }
        order.waiters.push(reply_to);
        Ok(())
    }

    /// The order at `index`, unless it is gone.
    pub fn get(&self, index: OrderIndex) -> Option<&Order> {
        self.all.get(index.0)
    }

    /// The order at `index`, unless it is gone.
    pub fn get_mut(&mut self, index: OrderIndex) -> Option<&mut Order> {
        self.all.get_mut(index.0)
    }

    /// An order is not found by its id any more, until it is given one anew.
    pub fn unname(&mut self, index: OrderIndex) {
        if let Some(order) = self.get(index) {
            let id = order.order_id;
            if self.by_order_id.get(&id) == Some(&index) {
                self.by_order_id.remove(&id);
            }
        }
    }

    /// Takes the order out; its place may be another's at once.
    pub fn remove(&mut self, index: OrderIndex) -> Option<Order> {
        let order = self.all.remove(index.0)?;
        if self.by_order_id.get(&order.order_id) == Some(&index) {
            self.by_order_id.remove(&order.order_id);
        }
        Some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(position: u32) -> ReplyTo {
        ReplyTo { conn: 1, generation: 1, position }
    }

    const SALE: Sale = Sale { id: 7, generation: 1, total: 1, rate: 0, burst: 2 };

    /// An order that has no id yet.
    fn insert(orders: &mut Orders) -> OrderIndex {
        let name = Identifier::new(b"someone").expect("an identifier");
        let wish = Wish { user: name, key: name, quantity: 2, wants_json: false, shown: None };
        orders.insert(ProductIndex::of_place(0), wish, reply_to(0), Instant::default(), 0, Uuid([9; 16]))
    }

    fn named(orders: &mut Orders, id: u8) -> OrderIndex {
        let index = insert(orders);
        orders.name(index, SALE, Uuid([id; 16]));
        index
    }

    #[test]
    fn a_place_used_again_is_not_mistaken_for_the_order_before() {
        let mut orders = Orders::default();
        let first = named(&mut orders, 1);
        assert_eq!(orders.find(&Uuid([1; 16])), Some(first));
        assert!(orders.remove(first).is_some());
        assert_eq!(orders.find(&Uuid([1; 16])), None);
        let second = named(&mut orders, 2);
        assert!(orders.get(first).is_none() && orders.get(second).is_some());
        assert!(orders.remove(first).is_none(), "gone once is gone");
        assert_eq!(orders.len(), 1);
    }

    #[test]
    fn joining_needs_the_same_quantity_and_is_bounded() {
        let mut orders = Orders::default();
        let index = named(&mut orders, 1);
        assert_eq!(orders.join(index, 1, reply_to(1)), Err(JoinError::OtherQuantity));
        for position in 1..WAITERS_PER_ORDER_MAX as u32 {
            assert_eq!(orders.join(index, 2, reply_to(position)), Ok(()));
        }
        assert_eq!(orders.join(index, 2, reply_to(0)), Err(JoinError::Full));
    }

    #[test]
    fn an_order_without_an_id_is_found_only_once_it_has_one() {
        let mut orders = Orders::default();
        let index = insert(&mut orders);
        assert_eq!(orders.find(&Uuid([9; 16])), None);
        orders.name(index, SALE, Uuid([2; 16]));
        assert_eq!(orders.find(&Uuid([2; 16])), Some(index));
        orders.unname(index);
        assert_eq!(orders.find(&Uuid([2; 16])), None, "it may be another's by now");
    }
}
