//! What one core remembers of the products: their keys in Redis, the sale as it last saw it, its tokens.
//!
//! A memory, not a truth: every script checks sale and generation against what stands in Redis, and a product that has left
//! is asked for again (`discover.rs`). Never decides whether a unit may be sold. The table itself is in `products.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use flux_protocol::order::{Identifier, decimal};
use flux_protocol::rare::{self, Rare};
use flux_protocol::resp;
use flux_protocol::time::{Instant, Now};

use crate::answer::Unavailable;
use crate::core::reads::queue_document::QueueDocument;
use crate::core::relay::Walk;
use crate::core::state::board::Sight;
use crate::core::state::orders::{OrderIndex, ReplyTo};
use crate::core::state::outbox::{EntryId, Removal};
use crate::core::state::queue_state::QueueState;
use crate::core::state::token_lease::Tokens;
use crate::counters::ProductGauge;
use crate::limits::{ASKED_NOTED_EVERY, PRODUCT_IDLE_MIN, SOLD_OUT_REMEMBERED, STOCK_AGE_MAX};

/// A product's place in this core's table, and which of those that had the place over time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductIndex {
    slot: u32,
    generation: u32,
}

impl ProductIndex {
    /// The product of that generation at a place of the table.
    pub fn new(slot: u32, generation: u32) -> ProductIndex {
        ProductIndex { slot, generation }
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

#[cfg(test)]
impl ProductIndex {
    /// One for tests that have no table.
    pub(crate) fn of_slot(slot: u32) -> ProductIndex {
        ProductIndex { slot, generation: 0 }
    }
}

/// The state of a sale, as `GET /stock` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    /// Units may be sold.
    Open,
    /// Opens later.
    Scheduled,
    /// Not a unit is left.
    SoldOut,
    /// Redis is not the one that opened the sale, or a key is missing: nothing is sold until a rebuild.
    Suspended,
    /// Ended by the operator.
    Closed,
}

impl SaleState {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            SaleState::Open => "open",
            SaleState::Scheduled => "scheduled",
            SaleState::SoldOut => "sold_out",
            SaleState::Suspended => "suspended",
            SaleState::Closed => "closed",
        }
    }
}

/// A sale as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Rises with every `/init`.
    pub id: u64,
    /// Rises with every rebuild.
    pub generation: u32,
    /// Units in all.
    pub total: u64,
    /// Orders a second; 0 is no limit.
    pub rate: u64,
    /// Orders.
    pub burst: u64,
}

impl Sale {
    /// Whether `other` came before this one: an earlier sale, or an earlier generation of the same. Sale ids and
    /// generations only ever rise, so a Redis that shows an earlier one than was seen has slept, or has lost what came
    /// since.
    pub fn is_later_than(&self, other: &Sale) -> bool {
        (self.id, self.generation) > (other.id, other.generation)
    }
}

/// The latest sale id and generation that a core has seen of a product, as the scripts take them: an earlier one is never
/// believed (`is_behind` of `lua/trust.lua`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(Option<(u64, u32)>);

impl Seen {
    /// Of a product whose sale, as far as it is known, is this.
    pub fn of(sale: Option<&Sale>) -> Seen {
        Seen(sale.map(|sale| (sale.id, sale.generation)))
    }

    /// Appends the two as arguments of a call; they are empty where no sale was seen.
    pub fn write(self, out: &mut Vec<u8>) {
        match self.0 {
            Some((id, generation)) => {
                resp::bulk_number(out, id);
                resp::bulk_number(out, generation.into());
            }
            None => {
                resp::bulk(out, b"");
                resp::bulk(out, b"");
            }
        }
    }

    /// The two in words.
    pub fn texts(self) -> [String; 2] {
        self.0.map_or_else(Default::default, |(id, generation)| [id.to_string(), generation.to_string()])
    }
}

/// The keys of a product in Redis; the braces are the cluster's hash tag.
#[derive(Debug)]
pub struct Keys {
    /// Units left, a plain integer.
    pub stock: Box<[u8]>,
    /// The sale's fields.
    pub sale: Box<[u8]>,
    /// Earlier sales.
    pub sales: Box<[u8]>,
    /// The stream of orders reserved and not yet acknowledged.
    pub outbox: Box<[u8]>,
    /// Which edge relays which entry, until when.
    pub claims: Box<[u8]>,
    /// Units by user.
    pub users: Box<[u8]>,
    /// Reservations given back.
    pub returned: Box<[u8]>,
    /// The token bucket.
    pub rate: Box<[u8]>,
    /// The line of a fair queue.
    pub queue: Box<[u8]>,
    /// `idempotency:{P}:`, to which a sale's id is added.
    records_prefix: Box<[u8]>,
}

impl Keys {
    /// Of a product's name.
    pub fn new(product: &Identifier) -> Keys {
        let key = |name: &str| format!("product:{{{product}}}:{name}").into_bytes().into_boxed_slice();
        Keys {
            stock: key("stock"),
            sale: key("sale"),
            sales: key("sales"),
            outbox: key("outbox"),
            claims: key("claims"),
            users: key("users"),
            returned: key("returned"),
            rate: key("rate"),
            queue: key("queue"),
            records_prefix: format!("idempotency:{{{product}}}:").into_bytes().into_boxed_slice(),
        }
    }

    /// All nine keys, in the order that look, init and close take them.
    pub fn of_product(&self) -> [&[u8]; 9] {
        let [stock, sale, outbox, claims, users, returned] = self.of_sale();
        [stock, sale, outbox, claims, users, returned, &self.rate, &self.sales, &self.queue]
    }

    /// The six keys that reserve takes before the records, in their order.
    pub fn of_sale(&self) -> [&[u8]; 6] {
        [&self.stock, &self.sale, &self.outbox, &self.claims, &self.users, &self.returned]
    }

    /// Appends the key of a sale's idempotency records as one bulk string.
    pub fn write_records(&self, out: &mut Vec<u8>, sale_id: u64) {
        resp::bulk_parts(out, &[&self.records_prefix, decimal(sale_id, &mut [0; 20])]);
    }
}

/// One product in memory.
#[derive(Debug)]
pub struct Product {
    pub name: Identifier,
    pub keys: Keys,
    /// Its sale, once one was seen.
    pub sale: Option<Sale>,
    /// Its orders belong into another topic, as the last look said: then there is no `sale`.
    pub is_foreign: bool,
    /// The sale's state as last seen; [`SaleState::SoldOut`] is kept in `sold_out_until` instead.
    pub state: SaleState,
    /// When what is scheduled opens, by this core's clock: never later than it does by Redis' clock.
    pub opens: Instant,
    /// Sold out is remembered before this instant.
    pub sold_out_until: Instant,
    /// Tokens of this core.
    pub tokens: Tokens,
    /// What this core knows of its line, where it has a fair queue.
    pub queue: Option<Box<QueueState>>,
    /// `GET /queue` as last answered, and the requests that wait for the next; made by the first that asks.
    pub document: Option<Box<QueueDocument>>,
    /// Its orders under way.
    pub pending: u32,
    /// Orders that wait for tokens.
    pub token_waiters: VecDeque<OrderIndex>,
    /// Orders that this core has answered with a first 200.
    pub accepted: u64,
    /// Units left, as last seen.
    pub stock: u64,
    /// When `stock` and `state` were asked for; older than 100 ms is asked again.
    pub seen: Option<Instant>,
    /// The last look found it whole; a script may have refused it since.
    pub is_good: bool,
    /// What any core of this process has seen of it.
    pub sight: Arc<Sight>,
    /// When this core was last asked for it, give or take.
    pub asked: Instant,
    /// It stands among those that are looked at every second.
    pub is_active: bool,
    /// The scan of the registry that last named it.
    pub listed_in: u64,
    /// Its name has left the registry: its sale is over, or there never was one.
    pub has_left_registry: bool,
    /// A look is on its way.
    pub is_refreshing: bool,
    /// It stands in a line for a look.
    pub refresh_waits: bool,
    /// When the look on its way was asked for.
    pub refresh_asked: Instant,
    /// Requests of `GET /stock` that wait for the look.
    pub stock_waiters: Vec<ReplyTo>,
    /// Orders that wait for a look because the sale changed under them.
    pub refresh_waiters: Vec<OrderIndex>,
    /// Changes to its outbox that wait for the next write to Redis. No more than entries were under way.
    pub removals: Vec<Removal>,
    /// Outbox entries as the last look counted them.
    pub outbox_entries: u64,
    /// Undelivered orders as the last look counted them.
    pub outbox_orders: u64,
    /// The oldest outbox entry at the last look, and when this core first saw it stand.
    pub outbox_oldest: Option<(EntryId, Instant)>,
    /// The newest outbox entry at some look, and when that was.
    pub outbox_mark: Option<(EntryId, Instant)>,
    /// This entry and all before it were seen to stand the horizon ago.
    pub outbox_stood: Option<EntryId>,
    /// It stands in the relay's line.
    pub relay_waits: bool,
    /// How far the relay's walk over its outbox has come, where it has not come to the end.
    pub(crate) relay_walk: Option<Box<Walk>>,
    /// It is to be asked whether its records are needed still, from this instant on.
    pub retire_from: Instant,
    /// It stands in that line.
    pub retire_waits: bool,
}

impl Product {
    /// The latest of its sales that this core has seen.
    pub(crate) fn seen(&self) -> Seen {
        Seen::of(self.sale.as_ref())
    }

    pub(crate) fn new(name: Identifier, sight: Arc<Sight>) -> Product {
        Product {
            name,
            keys: Keys::new(&name),
            sale: None,
            is_foreign: false,
            state: SaleState::Suspended,
            opens: Instant::default(),
            sold_out_until: Instant::default(),
            tokens: Tokens::default(),
            queue: None,
            document: None,
            pending: 0,
            token_waiters: VecDeque::new(),
            accepted: 0,
            stock: 0,
            seen: None,
            is_good: false,
            sight,
            asked: Instant::default(),
            is_active: false,
            listed_in: 0,
            has_left_registry: false,
            is_refreshing: false,
            refresh_waits: false,
            refresh_asked: Instant::default(),
            stock_waiters: Vec::new(),
            refresh_waiters: Vec::new(),
            removals: Vec::new(),
            outbox_entries: 0,
            outbox_orders: 0,
            outbox_oldest: None,
            outbox_mark: None,
            outbox_stood: None,
            relay_waits: false,
            relay_walk: None,
            retire_from: Instant::default(),
            retire_waits: false,
        }
    }

    /// What `/metrics` shows of it.
    pub fn gauge(&self, now: Now) -> ProductGauge {
        let oldest = self.outbox_oldest.map_or(0, |(_, since)| now.instant.since(since).as_millis() as u64);
        ProductGauge {
            name: self.name,
            sale: self.sale,
            state: self.visible_state(now.instant),
            stock: self.stock,
            outbox_entries: self.outbox_entries,
            outbox_orders: self.outbox_orders,
            outbox_oldest_ms: oldest,
            seen_ms: self.seen.map(|seen| now.instant.since(seen).as_millis() as u64),
            accepted: self.accepted,
            line: self.queue.as_ref().and_then(|queue| queue.gauge()),
        }
    }

    /// The sale opens `left` after Redis was asked for it, at `asked`.
    ///
    /// Counted from there the core is early by as long as the question travelled, and never late. An order that comes
    /// in that time is answered by the script, which goes by Redis' clock. So all cores open in one moment, however
    /// long their answers travel.
    pub fn schedule(&mut self, asked: Instant, left: Duration) {
        self.state = SaleState::Scheduled;
        self.opens = asked + left;
    }

    /// A request asks for it on this core.
    pub fn note_asked(&mut self, now: Instant) {
        if now.since(self.asked) >= ASKED_NOTED_EVERY {
            self.asked = now;
            self.sight.note_asked(now);
        }
    }

    /// Redis said that no unit was left.
    pub(crate) fn note_sold_out(&mut self, now: Instant) {
        self.stock = 0;
        self.sold_out_until = now + rare::instead(SOLD_OUT_REMEMBERED, Rare::SoldOutForgotten, Duration::ZERO);
    }

    /// Whether what is remembered is young enough for `GET /stock`.
    pub fn is_fresh(&self, now: Now) -> bool {
        self.seen.is_some_and(|seen| now.instant.since(seen) < STOCK_AGE_MAX)
    }

    /// Whether nothing of its sale is to be delivered or sold any more: closed, with an empty outbox, as last seen; or there
    /// is no sale that this core has ever seen.
    pub fn is_over(&self) -> bool {
        self.is_foreign || self.sale.is_none() || (self.state == SaleState::Closed && self.outbox_entries == 0)
    }

    /// Whether it may leave memory: no request has asked for it for long, nothing waits in it, nothing of it is under
    /// way.
    pub fn may_leave(&self, now: Instant) -> bool {
        now.since(self.asked) >= PRODUCT_IDLE_MIN
            && self.seen.is_some()
            && self.outbox_entries == 0
            && (self.state != SaleState::Suspended || self.sale.is_none())
            && !(self.is_refreshing || self.refresh_waits || self.is_active)
            && !self.relay_waits
            && !self.retire_waits
            && self.queue.is_none()
            && self.token_waiters.is_empty()
            && self.stock_waiters.is_empty()
            && self.refresh_waiters.is_empty()
            && self.removals.is_empty()
            && self.document.as_ref().is_none_or(|document| document.is_idle())
    }

    /// Why no order can be sold where there is no sale.
    pub fn refusal(&self) -> Unavailable {
        if self.is_foreign { Unavailable::OtherTopic } else { Unavailable::Suspended }
    }

    /// The state as of now: what was scheduled is open once its time has come.
    pub fn state_at(&self, now: Instant) -> SaleState {
        if self.state == SaleState::Scheduled && now >= self.opens { SaleState::Open } else { self.state }
    }

    /// The state as a client is told.
    pub fn visible_state(&self, now: Instant) -> SaleState {
        let state = self.state_at(now);
        if state == SaleState::Open && self.stock == 0 { SaleState::SoldOut } else { state }
    }
}
