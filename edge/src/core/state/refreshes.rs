//! Which sales are to be refreshed, and how far the walk through all products has come (`sales/refresh.rs` asks Redis).
//!
//! A part of the core that finds what is remembered of a product not enough says so here ([`Refreshes::want`]), and never asks
//! Redis for it: the refresh goes out with the next write.

use std::collections::VecDeque;

use flux_protocol::time::Instant;

use crate::core::state::orders::OrderIndex;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    /// When the next round begins.
    pub(crate) next_round: Instant,
    /// Refreshes on their way.
    pub(crate) outstanding: usize,
    /// Requests wait for these. Each once.
    wanted: VecDeque<ProductIndex>,
    /// This round's. Each once.
    pub(crate) due: VecDeque<ProductIndex>,
    /// The place of the table at which the walk goes on.
    pub(crate) walked: usize,
    /// Places still to be walked past whose products are all refreshed: Redis is another than it was.
    pub(crate) suspect: usize,
    /// Products that are refreshed every second.
    pub(crate) active: Vec<ProductIndex>,
    /// Topics of sales on this Redis that are not this edge's, as far as they were named in the log.
    pub(crate) foreign_topics: Vec<String>,
}

impl Refreshes {
    /// The first round begins at `now`.
    pub(crate) fn new(now: Instant) -> Refreshes {
        Refreshes { next_round: now, ..Refreshes::default() }
    }

    /// A product is to be refreshed as soon as may be, unless it is being refreshed.
    pub(crate) fn want(&mut self, products: &mut Products, index: ProductIndex) {
        let refresh = &mut products[index].refresh;
        if !refresh.is_under_way && !std::mem::replace(&mut refresh.is_wanted, true) {
            self.wanted.push_back(index);
        }
    }

    /// An order waits for a refresh of its product's sale.
    pub(crate) fn hold(&mut self, products: &mut Products, index: ProductIndex, order: OrderIndex) {
        products[index].refresh.order_waiters.push(order);
        self.want(products, index);
    }

    /// Puts a product into this round; whether it was not in it yet.
    pub(crate) fn make_due(&mut self, products: &mut Products, index: ProductIndex) -> bool {
        let is_new = !std::mem::replace(&mut products[index].refresh.is_due, true);
        if is_new {
            self.due.push_back(index);
        }
        is_new
    }

    /// It is refreshed every second from now on, for as long as it is asked for.
    pub(crate) fn make_active(&mut self, products: &mut Products, index: ProductIndex) {
        if !std::mem::replace(&mut products[index].refresh.is_active, true) {
            self.active.push(index);
        }
    }

    /// Redis is another, or may be: all that this core refreshes is due at once.
    pub(crate) fn suspect_all(&mut self, products: &Products) {
        self.suspect = products.places();
    }

    /// Whether any product is to be refreshed now.
    pub(crate) fn has_work(&self) -> bool {
        !self.wanted.is_empty() || !self.due.is_empty() || self.suspect > 0
    }

    /// The product that is to be refreshed next: first those that requests wait for.
    pub(crate) fn pop(&mut self, products: &mut Products) -> Option<ProductIndex> {
        loop {
            let index = self.wanted.pop_front().or_else(|| self.due.pop_front())?;
            let refresh = &mut products[index].refresh;
            let stands = std::mem::take(&mut refresh.is_wanted) | std::mem::take(&mut refresh.is_due);
            if stands && !refresh.is_under_way {
                return Some(index);
            }
        }
    }
}
