//! Chance from one seed.

/// SplitMix64 (Steele, Lea, Flood 2014): every draw of a run comes from such a generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Draws that follow from `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        // The bias of the remainder is below 2^-32 for what is drawn here.
        self.bits() % end
    }

    /// True so many times in a thousand.
    pub fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// A generator of its own: what it draws does not depend on how often this one is asked afterwards.
    pub fn fork(&mut self) -> Random {
        Random(self.bits())
    }
}
