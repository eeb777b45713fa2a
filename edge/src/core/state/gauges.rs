//! Which products' figures are handed over for `/metrics` and the dashboard: all where there is room, else those that an operator
//! looks for, the latest sales that are not closed.
//!
//! There may be a hundred thousand: a bounded number of places is looked through each second, from where the last walk ended,
//! and compared with those chosen before. So each is weighed within seconds, wherever it stands.

use std::cmp::Reverse;

use flux_protocol::time::Now;

use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::counters::ProductGauge;
use crate::limits::{PRODUCT_GAUGE_PLACES_MAX, PRODUCT_GAUGES_MAX};
use crate::sale::SaleState;

/// The products chosen, and where the walk goes on.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// The latest sale first, those that are closed last.
    pub(crate) chosen: Vec<ProductIndex>,
    place: usize,
}

impl Gauges {
    /// Once a second: chooses anew, and hands the figures of the chosen over.
    pub(crate) fn poll(&mut self, now: Now, products: &Products, out: &mut Vec<ProductGauge>) {
        self.choose(products);
        // Its memory is used again.
        out.clear();
        out.extend(self.chosen.iter().map(|index| products[*index].gauge(now)));
    }

    fn choose(&mut self, products: &Products) {
        let Gauges { chosen, place } = self;
        let places = products.places();
        if products.len() <= PRODUCT_GAUGES_MAX {
            chosen.clear();
            chosen.extend(products.indices());
        } else {
            // A product that has left since has no name any more.
            chosen.retain(|index| products.named_at(index.place()) == Some(*index));
            for _ in 0..places.min(PRODUCT_GAUGE_PLACES_MAX) {
                *place = (*place + 1) % places;
                chosen.extend(products.named_at(*place));
            }
            chosen.sort_unstable_by_key(|index| index.place());
            chosen.dedup();
        }
        let latest_first = |index: &ProductIndex| {
            let product = &products[*index];
            (product.state == SaleState::Closed, Reverse(product.sale.map_or(0, |sale| sale.id)))
        };
        if chosen.len() > PRODUCT_GAUGES_MAX {
            chosen.select_nth_unstable_by_key(PRODUCT_GAUGES_MAX, latest_first);
            chosen.truncate(PRODUCT_GAUGES_MAX);
        }
        chosen.sort_unstable_by_key(latest_first);
    }
}
