//! A place in line: a second of arrival, and a lot within it.
//!
//! Never decides who is called, and never draws: the seed comes in.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::limits::{SLOT_US, SLOTS_MAX};

/// 0: came before the sale opened; n: in its n-th second. At most 2³¹ − 1.
pub type Slot = u32;

/// The lot: orders the people of one slot, the smaller first.
pub type Rank = u32;

/// Latest slot: a ticket keeps one bit of the word for itself. 68 years.
pub const SLOT_LAST: Slot = u32::MAX >> 1;

/// A place in line. The earlier one is the smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When.
    pub slot: Slot,
    /// Within that second.
    pub rank: Rank,
}

/// How far the line was called: everyone **before** it may order. Where a slot was called to its end the watermark is
/// rank 0 of the next, so that nobody is called at first, and each state has one spelling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub Place);

impl Watermark {
    /// Whether the user who has that place may order.
    pub fn has_called(self, place: Place) -> bool {
        place < self.0
    }

    /// The slot in which a place is given now, `second` being the slot that the clock shows: the clock's, but never one
    /// whose lots are already being called, and never so far ahead that counts without bound would have to be kept.
    pub fn issuing(self, second: Slot) -> Slot {
        let first = self.0.slot + Slot::from(self.0.rank > 0);
        second.clamp(first, self.0.slot + SLOTS_MAX - 1).min(SLOT_LAST)
    }
}

/// The slot of a moment on Redis' clock; both in µs since the Unix epoch.
pub fn slot_at(now_us: u64, opens_us: u64) -> Slot {
    match now_us.checked_sub(opens_us) {
        None => 0,
        Some(open_for) => u32::try_from(open_for / SLOT_US + 1).unwrap_or(SLOT_LAST).min(SLOT_LAST),
    }
}

/// A sale's seed: drawn when it opens, published when it ends, its SHA-256 published at once.
#[derive(Clone)]
pub struct Seed {
    bytes: [u8; 32],
    keyed: Hmac<Sha256>,
}

impl Seed {
    /// The seed of these bytes. Works the key into HMAC's state, once.
    pub fn new(bytes: [u8; 32]) -> Seed {
        Seed { bytes, keyed: Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length") }
    }

    /// The seed that 64 hexadecimal digits of either case spell, as `:sale` holds it.
    pub fn parse(text: &[u8]) -> Option<Seed> {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = text.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Seed::new(bytes))
    }

    /// The lot of a user: the first 32 bits of HMAC-SHA-256(seed, user id). With the published seed anyone gets the same.
    pub fn rank(&self, user: &[u8]) -> Rank {
        let digest = self.hmac(&[user]);
        u32::from_be_bytes(digest[..4].try_into().expect("32 bytes hold 4"))
    }

    /// What stands for a user where their id is too long to be kept: the first 64 bits of the same, the lot being their head.
    pub fn mark(&self, user: &[u8]) -> u64 {
        let digest = self.hmac(&[user]);
        u64::from_be_bytes(digest[..8].try_into().expect("32 bytes hold 8"))
    }

    /// What is published when the sale opens: SHA-256 of the seed.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.bytes).into()
    }

    /// The seed itself, for the time after the sale.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(super) fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(secret until the sale ends)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lot_is_the_head_of_a_plain_hmac() {
        // As OpenSSL has it: printf user-42 | openssl dgst -sha256 -mac HMAC -macopt hexkey:5e5e…
        let seed = Seed::parse("5e".repeat(32).as_bytes()).expect("a seed");
        assert_eq!(seed.rank(b"user-42"), 0x169f_1054);
        assert_eq!((seed.mark(b"user-42") >> 32) as u32, 0x169f_1054);
        assert_eq!(seed.hash()[..4], [0x99, 0x85, 0xb2, 0xe4]);
        assert_eq!(format!("{seed:?}"), "Seed(secret until the sale ends)");
    }

    #[test]
    fn a_seed_is_64_hexadecimal_digits_and_nothing_else() {
        assert!(Seed::parse("AB".repeat(32).as_bytes()).is_some());
        for text in ["", "5e", &"5e".repeat(33), &("5e".repeat(31) + "5"), &("5e".repeat(31) + "5g")] {
            assert!(Seed::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn slots_begin_with_the_sale_and_with_each_second() {
        let opens = 1_764_590_400_000_000;
        let slots = [0, opens - 1, opens, opens + 999_999, opens + 1_000_000, u64::MAX].map(|now| slot_at(now, opens));
        assert_eq!(slots, [0, 0, 1, 1, 2, SLOT_LAST]);
    }

    #[test]
    fn nobody_is_given_a_place_among_those_who_are_being_called() {
        let mark = |slot, rank| Watermark(Place { slot, rank });
        assert_eq!(mark(0, 0).issuing(0), 0, "before the sale opens");
        assert_eq!(mark(3, 7).issuing(9), 9, "the clock's");
        assert_eq!(mark(3, 7).issuing(3), 4, "the third is being called");
        assert_eq!(mark(4, 0).issuing(3), 4, "the third was called to its end");
        assert_eq!(mark(3, 7).issuing(1_000_000), 3 + SLOTS_MAX - 1, "the last slot that is counted takes the rest");
        for (slot, rank, second) in [(0, 0, 0), (3, 7, 0), (3, 7, 3), (4, 0, 3), (4, 0, 9)] {
            let first = Place { slot: mark(slot, rank).issuing(second), rank: 0 };
            assert!(!mark(slot, rank).has_called(first));
        }
        assert!(
            mark(3, 7).has_called(Place { slot: 3, rank: 6 }) && !mark(3, 7).has_called(Place { slot: 3, rank: 7 })
        );
    }
}
