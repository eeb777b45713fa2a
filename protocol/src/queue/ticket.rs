//! A place, signed: what a visitor keeps so that no server has to.
//!
//! The text of a ticket is 24 bytes in base64url (RFC 4648 section 5), 32 characters:
//!
//! ```text
//!   0        4        8                24
//!   | slot   | rank   | tag            |    numbers big-endian; the first bit of `slot` says "has come"
//! ```
//!
//! The tag is the first half of HMAC-SHA-256 over those 8 bytes and the user id. Its key is derived from the sale's
//! seed, the product and the sale id, so a ticket of another sale or product has no valid tag and need not name them,
//! and whatever restores the seed after a loss restores every ticket. A program that knows the seed can write tickets:
//! it is published when the sale has ended and nothing can be had for one any more.
//!
//! Never says whether a place was called, and never why a ticket is not good: forged, foreign and stale are one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::place::{Place, SLOT_LAST, Seed};

/// Length of a ticket's text, in bytes.
pub const TICKET_TEXT_BYTES: usize = 32;

const PLACE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const TICKET_BYTES: usize = PLACE_BYTES + TAG_BYTES;
const HAS_COME: u32 = 1 << 31;

const _: () = assert!(TICKET_BYTES * 4 == TICKET_TEXT_BYTES * 3, "no padding, so one text for each ticket");
const _: () = assert!(SLOT_LAST & HAS_COME == 0);

/// What a good ticket says of the user who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Their place.
    pub place: Place,
    /// They have come to order after they were called, found no token, and were told to try again: not to be counted
    /// again, whichever core they come to.
    pub has_come: bool,
}

/// Signs and verifies the tickets of one sale. The state of HMAC after its key is worked out once.
#[derive(Clone)]
pub struct TicketKey {
    keyed: Hmac<Sha256>,
}

impl TicketKey {
    /// The key of a sale. No user id holds a blank, so no rank is ever the head of a key.
    pub fn new(seed: &Seed, product: &[u8], sale_id: u64) -> TicketKey {
        let key = seed.hmac(&[b"flux-gate ticket 1 ", product, b" ", sale_id.to_string().as_bytes()]);
        TicketKey { keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length") }
    }

    /// The text of a ticket for a user. ASCII, safe in a URL's query and in a header.
    pub fn sign(&self, ticket: Ticket, user: &[u8]) -> [u8; TICKET_TEXT_BYTES] {
        debug_assert!(ticket.place.slot <= SLOT_LAST);
        let slot = ticket.place.slot | if ticket.has_come { HAS_COME } else { 0 };
        let mut bytes = [0; TICKET_BYTES];
        bytes[..4].copy_from_slice(&slot.to_be_bytes());
        bytes[4..PLACE_BYTES].copy_from_slice(&ticket.place.rank.to_be_bytes());
        let tag = self.mac(&bytes[..PLACE_BYTES], user).finalize().into_bytes();
        bytes[PLACE_BYTES..].copy_from_slice(&tag[..TAG_BYTES]);
        encode(&bytes)
    }

    /// What the text says, if it is a ticket of this sale for this user; else `None`: as good as none. The tags are
    /// compared in constant time.
    pub fn verify(&self, text: &[u8], user: &[u8]) -> Option<Ticket> {
        let bytes = decode(text)?;
        let (place, tag) = bytes.split_at(PLACE_BYTES);
        self.mac(place, user).verify_truncated_left(tag).ok()?;
        Some(read(&bytes))
    }

    fn mac(&self, place: &[u8], user: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(place);
        mac.update(user);
        mac
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(secret)")
    }
}

impl Ticket {
    /// What a text claims, unverified: enough to show a position and to check the lot against a published seed.
    pub fn claimed(text: &[u8]) -> Option<Ticket> {
        decode(text).map(|bytes| read(&bytes))
    }

    /// Whether the lot is the user's true one under that seed.
    pub fn is_true_lot(self, seed: &Seed, user: &[u8]) -> bool {
        seed.rank(user) == self.place.rank
    }
}

fn read(bytes: &[u8; TICKET_BYTES]) -> Ticket {
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let slot = word(0);
    Ticket { place: Place { slot: slot & !HAS_COME, rank: word(4) }, has_come: slot & HAS_COME != 0 }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Six bits for each byte; 0xff: not of the alphabet.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

fn encode(bytes: &[u8; TICKET_BYTES]) -> [u8; TICKET_TEXT_BYTES] {
    let mut text = [0; TICKET_TEXT_BYTES];
    for (three, four) in bytes.as_chunks::<3>().0.iter().zip(text.as_chunks_mut::<4>().0) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        *four = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
    }
    text
}

fn decode(text: &[u8]) -> Option<[u8; TICKET_BYTES]> {
    let text: &[u8; TICKET_TEXT_BYTES] = text.try_into().ok()?;
    let mut bytes = [0; TICKET_BYTES];
    for (four, three) in text.as_chunks::<4>().0.iter().zip(bytes.as_chunks_mut::<3>().0) {
        let values = four.map(|byte| VALUES[usize::from(byte)]);
        if values.contains(&0xff) {
            return None;
        }
        let bits = values.iter().fold(0, |bits: u32, value| bits << 6 | u32::from(*value));
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seed() -> Seed {
        Seed::new([0x5e; 32])
    }

    fn key() -> TicketKey {
        TicketKey::new(&seed(), b"iphone-15", 1_705_234_700_000)
    }

    #[test]
    fn a_ticket_is_the_text_that_openssl_and_base64_make() {
        // key=$(printf 'flux-gate ticket 1 iphone-15 1705234700000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:5e… -r)
        // printf '\x80\x00\x00\x03\x16\x9f\x10\x54user-42' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$key
        let ticket = Ticket { place: Place { slot: 3, rank: seed().rank(b"user-42") }, has_come: true };
        let text = key().sign(ticket, b"user-42");
        assert_eq!(std::str::from_utf8(&text).expect("ASCII"), "gAAAAxafEFTgRYkemKkYepJSqWTD8MhP");
        assert_eq!(Ticket::claimed(&text), Some(ticket));
        assert!(ticket.is_true_lot(&seed(), b"user-42") && !ticket.is_true_lot(&seed(), b"user-43"));
    }

    proptest! {
        #[test]
        fn what_was_signed_is_read_back_and_by_its_owner_only(
            slot in 0..=SLOT_LAST, rank: u32, has_come: bool, user in "[A-Za-z0-9._:-]{1,64}", other in "[A-Za-z0-9._:-]{1,64}"
        ) {
            let ticket = Ticket { place: Place { slot, rank }, has_come };
            let text = key().sign(ticket, user.as_bytes());
            prop_assert_eq!(key().verify(&text, user.as_bytes()), Some(ticket));
            prop_assert!(user == other || key().verify(&text, other.as_bytes()).is_none());
        }
    }

    #[test]
    fn one_bit_of_any_byte_or_another_sale_and_it_is_no_ticket() {
        let ticket = Ticket { place: Place { slot: 3, rank: 7 }, has_come: false };
        let text = key().sign(ticket, b"u");
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut forged = text;
                forged[at] ^= 1 << bit;
                assert_eq!(key().verify(&forged, b"u"), None, "bit {bit} of byte {at}");
            }
        }
        for (product, sale_id) in [(&b"iphone-16"[..], 1_705_234_700_000), (b"iphone-15", 1_705_234_700_001)] {
            assert_eq!(TicketKey::new(&seed(), product, sale_id).verify(&text, b"u"), None);
        }
        assert_eq!(TicketKey::new(&Seed::new([1; 32]), b"iphone-15", 1_705_234_700_000).verify(&text, b"u"), None);
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_ticket() {
        let text = key().sign(Ticket { place: Place::default(), has_come: false }, b"u");
        for length in 0..text.len() {
            assert_eq!(Ticket::claimed(&text[..length]), None);
        }
        assert_eq!(Ticket::claimed(&[&text[..], b"A"].concat()), None);
        for byte in (0..=255u8).filter(|byte| !ALPHABET.contains(byte)) {
            let mut other = text;
            other[5] = byte;
            assert_eq!(Ticket::claimed(&other), None);
        }
    }
}
