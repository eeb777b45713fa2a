//! How many different people, in a fixed number of bytes.
//!
//! HyperLogLog's registers with the martingale estimate (Ting, "Streamed approximate counting of distinct elements",
//! KDD 2014; Cohen's historic inverse probability): each register keeps the longest run of zero bits that a lot of its
//! own has begun with. A user who changes a register was certainly not seen before, and is added with the inverse of
//! the chance that a newcomer would change one. So a user who comes again adds nothing, and the sum is right on
//! average.
//!
//! Lots are the keyed hash that is counted by ([`Seed::rank`](super::Seed::rank)): nobody can choose theirs.

use super::limits::DISTINCT_REGISTERS;
use super::place::Rank;

const INDEX_BITS: u32 = DISTINCT_REGISTERS.ilog2();

const _: () = assert!(DISTINCT_REGISTERS.is_power_of_two());

/// Counts the different ones among the lots it is shown.
#[derive(Clone)]
pub struct Distinct {
    registers: Box<[u8; DISTINCT_REGISTERS]>,
    /// Sum over the registers of 2 to the power of minus their value: over their number it is the chance that a newcomer
    /// changes one.
    open: f64,
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct { registers: Box::new([0; DISTINCT_REGISTERS]), open: DISTINCT_REGISTERS as f64 }
    }
}

impl Distinct {
    /// Shows it a lot; by how much the count of different ones rises.
    pub fn insert(&mut self, rank: Rank) -> f64 {
        let register = &mut self.registers[rank as usize % DISTINCT_REGISTERS];
        let run = (rank >> INDEX_BITS | 1 << (32 - INDEX_BITS)).trailing_zeros() as u8 + 1;
        if run <= *register {
            return 0.0;
        }
        let rise = DISTINCT_REGISTERS as f64 / self.open;
        self.open -= (-f64::from(*register)).exp2() - (-f64::from(run)).exp2();
        *register = run;
        rise
    }

    /// Forgets all it was shown.
    pub fn clear(&mut self) {
        self.registers.fill(0);
        self.open = DISTINCT_REGISTERS as f64;
    }
}

impl std::fmt::Debug for Distinct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distinct").field("open", &self.open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Seed;

    #[test]
    fn ten_tabs_count_once_and_the_count_is_right_within_its_error() {
        let seed = Seed::new([7; 32]);
        // The error is 2 % (1.04/√2048 × √ln 2) of many, next to none of few.
        for (people, error) in [(1u32, 0.0), (100, 4.0), (10_000, 600.0), (300_000, 18_000.0)] {
            let mut distinct = Distinct::default();
            let mut counted = 0.0;
            for tab in 0..10 {
                let before = counted;
                (0..people).for_each(|user| counted += distinct.insert(seed.rank(&user.to_be_bytes())));
                assert!(tab == 0 || counted == before, "nobody is new in the second tab");
            }
            assert!((counted - f64::from(people)).abs() <= error, "{counted} of {people}");
            distinct.clear();
            assert_eq!(distinct.insert(1), 1.0, "forgotten");
        }
    }
}
