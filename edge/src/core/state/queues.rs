//! What the fair queues of all products share on one core: which orders were called and wait for a token, which
//! products have one, whose call is next.

use std::collections::VecDeque;

use flux_protocol::time::Instant;

use crate::core::state::orders::{OrderIndex, Orders, Stage};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::core::state::waiting_products::WaitingProducts;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Called orders that wait for a token, by when they began to.
    pub(crate) called: VecDeque<(Instant, OrderIndex)>,
    /// Products with a fair queue.
    pub(crate) products: Vec<ProductIndex>,
    /// Products that want tokens, or their queue's status, and found no place for a call.
    pub(crate) awaiting_call: WaitingProducts,
}

impl Queues {
    /// Called orders that wait for a token.
    pub(crate) fn orders_awaiting_token(&self, orders: &Orders) -> usize {
        let stages = self.called.iter().filter_map(|(_, index)| orders.get(*index));
        stages.filter(|order| order.stage == Stage::Called).count()
    }

    /// Orders that wait for any queue's status.
    pub(crate) fn orders_awaiting_status(&self, products: &Products, orders: &Orders) -> usize {
        let queues = self.products.iter().filter_map(|index| products[*index].admission.queue.as_ref());
        // Some were answered meanwhile: their time was up.
        queues.flat_map(|queue| &queue.waiters).filter(|order| orders.get(**order).is_some()).count()
    }
}
