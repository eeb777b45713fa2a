//! Rare branches that a world may ask for: the code asks here whether to take its seldom path, where nothing is wrong with
//! either.
//!
//! What is right only because it hardly ever happens is found where it happens often. Each branch is one that the programs take
//! by themselves, under load or after a fault: to take it at any time breaks no promise, and costs time only. A process may
//! also stand still between any two of its steps; [`standstill`] says for how long, where that makes what it knows old. Without the
//! feature `planted-bugs` none is ever taken, and [`is_taken`] is a constant that the compiler removes. The simulation draws
//! for each run which of them there are.

/// What can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rare {
    /// A reserve call takes one order only, however many wait.
    LoneOrder,
    /// A record has a batch of its own.
    LoneRecord,
    /// One token is asked for, however many are wanted.
    LoneToken,
    /// A page of the registry names one product.
    ShortPage,
    /// The relay takes entries that have hardly stood: the edge that wrote them is still publishing them.
    HastyRelay,
    /// Records are asked to be let go each time somebody looks.
    HastyRetire,
    /// A sold-out is not remembered.
    SoldOutForgotten,
    /// A core does not remember whose places are used up.
    TurnForgotten,
    /// The worker looks at each order before it stores any.
    CarefulStore,
    /// A return that Redis has given back is not noted, as if the worker had died there.
    ReturnNotNoted,
    /// Returns wait for another second.
    ReturnsLater,
    /// The worker stands still between the ledger's word of what is to be given back and what it says to Redis.
    ReturnsOutOfDate,
}

/// All of them.
pub const RARES: [Rare; 12] = [
    Rare::LoneOrder,
    Rare::LoneRecord,
    Rare::LoneToken,
    Rare::ShortPage,
    Rare::HastyRelay,
    Rare::HastyRetire,
    Rare::SoldOutForgotten,
    Rare::TurnForgotten,
    Rare::CarefulStore,
    Rare::ReturnNotNoted,
    Rare::ReturnsLater,
    Rare::ReturnsOutOfDate,
];

#[cfg(feature = "planted-bugs")]
mod taking {
    use std::cell::Cell;
    use std::time::Duration;

    use super::Rare;

    /// How often a branch that there is is taken, of so many times that it is asked for.
    const ONE_IN: u64 = 4;
    /// Longest that somebody stands still: a rebuild, and some more.
    const STANDSTILL_MAX_US: u64 = 30_000_000;

    thread_local! {
        static THERE_ARE: Cell<u32> = const { Cell::new(0) };
        static DRAWN: Cell<u64> = const { Cell::new(0) };
    }

    /// From now on there are these branches in this thread, and `seed` says when each is taken.
    pub fn allow(rares: &[Rare], seed: u64) {
        THERE_ARE.set(rares.iter().fold(0, |bits, rare| bits | 1 << *rare as u32));
        DRAWN.set(seed);
    }

    /// Whether it is taken this time.
    #[must_use]
    pub fn is_taken(rare: Rare) -> bool {
        is_allowed(rare) && drawn().is_multiple_of(ONE_IN)
    }

    /// For how long somebody stands still here this time, if they do.
    #[must_use]
    pub fn standstill(rare: Rare) -> Option<Duration> {
        is_taken(rare).then(|| Duration::from_micros(drawn() % STANDSTILL_MAX_US))
    }

    fn is_allowed(rare: Rare) -> bool {
        THERE_ARE.get() & 1 << rare as u32 != 0
    }

    fn drawn() -> u64 {
        // SplitMix64, as all chance of a simulation.
        let drawn = DRAWN.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        DRAWN.set(drawn);
        let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(feature = "planted-bugs")]
pub use taking::{allow, is_taken, standstill};

/// Whether it is taken: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_taken(_rare: Rare) -> bool {
    false
}

/// For how long somebody stands still here: they do not.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn standstill(_rare: Rare) -> Option<std::time::Duration> {
    None
}

/// `usual`, or where the rare branch is taken `seldom`.
#[inline(always)]
#[must_use]
pub fn instead<T>(usual: T, rare: Rare, seldom: T) -> T {
    if is_taken(rare) { seldom } else { usual }
}
