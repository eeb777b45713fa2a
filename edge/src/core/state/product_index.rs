//! How the parts of a core name a product.

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
