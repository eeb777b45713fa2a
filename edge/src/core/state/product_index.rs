//! The name by which the parts of a core refer to a product.

use crate::slab::Key;

/// Names a product in this core's table for good: never the next one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProductIndex(pub Key);

impl ProductIndex {
    /// Its place in the table.
    pub(crate) fn place(self) -> usize {
        self.0.place as usize
    }
}

#[cfg(test)]
impl ProductIndex {
    /// One for tests that have no table.
    pub(crate) fn of_place(place: u32) -> ProductIndex {
        ProductIndex(Key { place, generation: 0 })
    }
}
