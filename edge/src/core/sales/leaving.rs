//! Products that this core has no more use for: how they leave its memory, and when their places are free.
//!
//! Nothing is lost by it: a product that is asked for again is found in Redis (`discover.rs`). A sale that may still deliver stays,
//! and so does one that Redis has lost: only memory knows that it must be rebuilt.

use std::collections::HashSet;

use flux_protocol::time::Now;

use crate::core::Core;
use crate::core::state::product_index::ProductIndex;
use crate::limits::{LEFT_PRODUCT_KEPT, PRODUCTS_MAX, REFRESHES_IDLE_MAX};

impl Core {
    /// Removes a product that this core has no more use for; whether it was removed.
    pub(crate) fn leave_if_over(&mut self, now: Now, index: ProductIndex) -> bool {
        let product = &self.products[index];
        // The first core keeps what stands in the registry for as long as there is room: it would only learn of it again.
        let has_room = self.products.len() < PRODUCTS_MAX / 4 * 3;
        let is_kept = self.is_first && !product.listing.has_left && !product.is_foreign && has_room;
        product.is_over() && !is_kept && product.may_leave(now.instant) && self.products.leave(now.instant, index)
    }

    /// Once a second: places of products that have left are free, unless something under way still names them.
    pub(crate) fn free_places(&mut self, now: Now) {
        let is_due =
            |left: Option<(_, _)>| left.is_some_and(|(since, _)| now.instant.since(since) >= LEFT_PRODUCT_KEPT);
        if !is_due(self.products.first_left()) {
            return;
        }
        let named: HashSet<ProductIndex> = self.orders.products().chain(self.outbox.entries.products()).collect();
        for _ in 0..REFRESHES_IDLE_MAX {
            let Some((since, index)) = self.products.first_left().filter(|left| is_due(Some(*left))) else { return };
            debug_assert!(now.instant >= since);
            let is_referred_to = named.contains(&index)
                || !self.products[index].may_leave(now.instant)
                || self.queues.products.contains(&index);
            self.products.end_first_left(now.instant, is_referred_to);
        }
    }
}
