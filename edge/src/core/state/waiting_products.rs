//! Products in line for a call, and how products share places that are bounded in all.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;

use crate::core::state::product_index::ProductIndex;

/// Whether a product that holds `own` of the `used` places may take one more of `places`: none holds more than three times
/// what is free, so however many ask for some products, another always finds one.
pub fn has_share(own: usize, used: usize, places: usize) -> bool {
    own < 3 * places.saturating_sub(used)
}

/// Products in line, each once, first come, first served.
#[derive(Debug, Default)]
pub(crate) struct WaitingProducts {
    waiting: VecDeque<ProductIndex>,
    members: HashSet<ProductIndex, RandomState>,
}

impl WaitingProducts {
    /// Puts a product at the end, unless it stands in line.
    pub(crate) fn push(&mut self, product: ProductIndex) {
        if self.members.insert(product) {
            self.waiting.push_back(product);
        }
    }

    /// Takes out whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<ProductIndex> {
        let product = self.waiting.pop_front()?;
        self.members.remove(&product);
        Some(product)
    }
}

#[cfg(test)]
mod tests {
    use super::has_share;

    #[test]
    fn whoever_takes_all_they_may_leaves_places_for_others() {
        let mut held = [0; 5];
        for product in 0..held.len() {
            while has_share(held[product], held.iter().sum(), 1 << 15) {
                held[product] += 1;
            }
            assert!(held[product] > 0, "a newcomer finds a place");
        }
        assert_eq!(held[0], 3 << 13, "alone it holds three quarters");
        assert!(held.iter().sum::<usize>() < 1 << 15);
    }
}
