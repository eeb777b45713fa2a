//! Products in line for a call of which one is outstanding at a time: work that must not crowd out the sale.
//!
//! The caller that puts a product in line makes sure that it stands there once, so a line is never longer than the
//! number of products.

use std::collections::VecDeque;

use flux_protocol::time::Instant;

use crate::core::state::product_index::ProductIndex;

#[derive(Debug, Default)]
pub(crate) struct WorkQueue {
    waiting: VecDeque<ProductIndex>,
    /// When the call that is outstanding was asked for.
    asked: Option<Instant>,
}

impl WorkQueue {
    /// Puts a product at the end.
    pub(crate) fn push(&mut self, product: ProductIndex) {
        self.waiting.push_back(product);
    }

    /// The product whose turn it is, unless a call is outstanding; one is from now on.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<ProductIndex> {
        if self.asked.is_some() {
            return None;
        }
        let product = self.waiting.pop_front()?;
        self.asked = Some(now);
        Some(product)
    }

    /// The call that is outstanding has got its answer, or never will: when it was asked for.
    pub(crate) fn answered(&mut self) -> Instant {
        self.asked.take().expect("a call is answered once")
    }
}
