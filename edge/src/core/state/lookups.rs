//! Replay look-ups: orders of sales that are remembered as sold out, or by places that are used up, gathered into one `EVALSHA` of
//! `lua/replay_lookup.lua`.
//!
//! While enough of them are on their way, orders gather for the next. Never reads a reply (`order/replay_lookup.rs` does), and
//! never touches a socket.

use std::collections::VecDeque;

use flux_protocol::resp;
use flux_protocol::time::Instant;

use crate::core::state::orders::{OrderIndex, Orders};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::core::state::waiting_products::has_share;
use crate::limits::{GATHERED_SALES_MAX, LOOKUP_RECORDS_MAX, LOOKUPS_GATHERED_MIN, LOOKUPS_WAITING_MAX};
use crate::redis::scripts::SCRIPTS;

/// Orders of one product whose ids were derived for the same sale travel in one group.
type GroupKey = (ProductIndex, u64);

/// A look-up's place among those on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupIndex(usize);

/// One look-up of records on its way.
#[derive(Debug, Default)]
pub struct Lookup {
    /// Orders in the order of the call, sale by sale.
    pub orders: Vec<OrderIndex>,
    /// Their products, and how many of the orders are of each one's sale.
    pub groups: Vec<(ProductIndex, usize)>,
    busy: bool,
}

/// The look-ups of one core.
#[derive(Debug, Default)]
pub struct Lookups {
    waiting: VecDeque<OrderIndex>,
    asked: Vec<Lookup>,
    batch: Vec<(GroupKey, OrderIndex)>,
}

impl Lookups {
    /// Puts an order in line for the next look-up.
    pub fn push(&mut self, order: OrderIndex) {
        self.waiting.push_back(order);
    }

    /// Whether an order of a product that has `own` orders under way may still get in line.
    pub fn has_place(&self, own: usize) -> bool {
        has_share(own, self.waiting.len(), LOOKUPS_WAITING_MAX)
    }

    /// Whether enough orders wait for a look-up, `outstanding` of which are on their way.
    pub fn wants_call(&self, outstanding: usize) -> bool {
        self.waiting.len() >= if outstanding == 0 { 1 } else { LOOKUPS_GATHERED_MIN }
    }

    /// Seals up to 512 waiting orders into a look-up and appends it to `out`. `None`: all that waited had given up.
    pub fn seal(
        &mut self,
        now: Instant,
        products: &Products,
        orders: &Orders,
        out: &mut Vec<u8>,
    ) -> Option<LookupIndex> {
        let place = self.asked.iter().position(|lookup| !lookup.busy).unwrap_or_else(|| {
            self.asked.push(Lookup::default());
            self.asked.len() - 1
        });
        self.batch.clear();
        let mut last = None;
        let mut sales = 0;
        while self.batch.len() < LOOKUP_RECORDS_MAX {
            let Some(index) = self.waiting.pop_front() else { break };
            let Some(order) = orders.get(index) else { continue };
            let sale = order.sale.expect("records are looked up under a sale");
            let key = (order.product, sale.id);
            // Counted as they change: never fewer than there are, and one where all are of one sale.
            sales += usize::from(last != Some(key));
            if sales > GATHERED_SALES_MAX {
                self.waiting.push_front(index);
                break;
            }
            last = Some(key);
            self.batch.push((key, index));
        }
        if self.batch.is_empty() {
            return None;
        }
        self.batch.sort_by_key(|(key, _)| *key);
        let lookup = &mut self.asked[place];
        lookup.fill(now, &self.batch, products, orders, out);
        Some(LookupIndex(place))
    }

    /// Takes a look-up whose reply is being read; give it back with [`Lookups::recycle`].
    pub fn take(&mut self, index: LookupIndex) -> Lookup {
        std::mem::take(&mut self.asked[index.0])
    }

    /// Gives a finished look-up's buffers back.
    pub fn recycle(&mut self, index: LookupIndex, mut lookup: Lookup) {
        lookup.busy = false;
        self.asked[index.0] = lookup;
    }
}

impl Lookup {
    /// Encodes the whole `EVALSHA`: all keys, then all arguments (see the head of `lua/replay_lookup.lua`).
    fn fill(
        &mut self,
        now: Instant,
        batch: &[(GroupKey, OrderIndex)],
        products: &Products,
        orders: &Orders,
        out: &mut Vec<u8>,
    ) {
        self.busy = true;
        self.orders.clear();
        self.groups.clear();
        self.orders.extend(batch.iter().map(|(_, index)| *index));
        let of_sales = || batch.chunk_by(|(a, _), (b, _)| a == b);
        self.groups.extend(of_sales().map(|of_sale| (of_sale[0].0.0, of_sale.len())));
        let groups = self.groups.len();
        resp::array_header(out, 3 + 3 * groups + 1 + 4 * groups + batch.len());
        resp::bulk(out, b"EVALSHA");
        resp::bulk(out, SCRIPTS.replay_lookup.digest());
        resp::bulk_number(out, 3 * groups as u64);
        for of_sale in of_sales() {
            let (product, sale_id) = of_sale[0].0;
            let keys = &products[product].keys;
            resp::bulk(out, &keys.stock);
            resp::bulk(out, &keys.sale);
            keys.write_records(out, sale_id);
        }
        resp::bulk_number(out, groups as u64);
        for of_sale in of_sales() {
            let (product, sale_id) = of_sale[0].0;
            resp::bulk_number(out, sale_id);
            resp::bulk_number(out, of_sale.len() as u64);
            products.seen_obeying(now, product).write(out);
            for (_, index) in of_sale {
                resp::bulk(out, &orders.get(*index).expect("sealed just now").order_id.text());
            }
        }
    }
}
