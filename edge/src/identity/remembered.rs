//! Tokens that were found valid a moment ago, so that a buyer's next request costs a comparison in place of a signature.
//!
//! A fixed number of places in sets of four: a token may stand in the set that its hash names. A token is found again by all
//! of its bytes, not by its hash, so nobody can be taken for another by a collision. What is remembered is at most
//! [`PLACES`] tokens of [`TOKEN_BYTES_MAX`] bytes, 8 MiB a core; longer tokens are verified each time.

use std::hash::BuildHasher;

use flux_protocol::order::Identifier;
use foldhash::quality::RandomState;

/// Places in all.
const PLACES: usize = 4096;
/// Places in which one token may stand.
const WAYS: usize = 4;
/// Longest token that is remembered.
const TOKEN_BYTES_MAX: usize = 2048;

struct Token {
    bytes: Box<[u8]>,
    user: Identifier,
    /// Until when it is valid, milliseconds since the Unix epoch.
    until_ms: u64,
    /// When it was asked for last, by the count of questions.
    asked: u64,
}

/// See the module. Allocates with its first token.
#[derive(Default)]
pub(super) struct Remembered {
    places: Vec<Option<Token>>,
    hasher: RandomState,
    /// Questions so far.
    asked: u64,
}

impl Remembered {
    /// The user of a token that was valid and still is.
    pub(super) fn find(&mut self, token: &[u8], now_ms: u64) -> Option<Identifier> {
        if self.places.is_empty() {
            return None;
        }
        self.asked += 1;
        let set = self.set_of(token);
        let found = self.places[set].iter_mut().flatten().find(|remembered| *remembered.bytes == *token)?;
        found.asked = self.asked;
        (now_ms < found.until_ms).then_some(found.user)
    }

    /// Remembers a token that [`Remembered::find`] did not find, in place of one that is over or was not asked for the longest.
    pub(super) fn insert(&mut self, token: &[u8], user: Identifier, until_ms: u64, now_ms: u64) {
        if token.len() > TOKEN_BYTES_MAX {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let set = self.set_of(token);
        let remembered = Token { bytes: token.into(), user, until_ms, asked: self.asked };
        let rank = |place: &Option<Token>| match place {
            Some(other) if other.bytes == remembered.bytes => 0,
            Some(other) if other.until_ms > now_ms => 2 + other.asked,
            Some(_) | None => 1,
        };
        let place = self.places[set].iter_mut().min_by_key(|place| rank(place)).expect("a set has places");
        *place = Some(remembered);
    }

    /// Forgets all of them: they were valid by keys that may be gone.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    fn set_of(&self, token: &[u8]) -> std::ops::Range<usize> {
        let set = self.hasher.hash_one(token) as usize % (PLACES / WAYS) * WAYS;
        set..set + WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Identifier {
        Identifier::new(name.as_bytes()).expect("a name")
    }

    #[test]
    fn a_token_is_found_by_all_of_its_bytes_until_it_is_over() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find(b"a.b.c", 0), None);
        remembered.insert(b"a.b.c", user("u"), 1000, 0);
        assert_eq!(remembered.find(b"a.b.c", 999), Some(user("u")));
        assert_eq!(remembered.find(b"a.b.d", 999), None);
        assert_eq!(remembered.find(b"a.b.c", 1000), None);
        remembered.insert(b"a.b.c", user("u"), 3000, 1000);
        assert_eq!(remembered.find(b"a.b.c", 2000), Some(user("u")));
        remembered.clear();
        assert_eq!(remembered.find(b"a.b.c", 2000), None);
    }

    #[test]
    fn memory_is_bounded_and_the_asked_for_stay() {
        let mut remembered = Remembered::default();
        remembered.insert(b"kept", user("kept"), u64::MAX, 0);
        for number in 0..4 * PLACES {
            remembered.insert(format!("token {number}").as_bytes(), user("u"), u64::MAX, 0);
            assert_eq!(remembered.find(b"kept", 0), Some(user("kept")), "asked for between any two others");
        }
        assert_eq!(remembered.places.len(), PLACES);
        let found = (0..4 * PLACES).filter(|number| remembered.find(format!("token {number}").as_bytes(), 0).is_some());
        assert!((PLACES / 2..PLACES).contains(&found.count()));
        let long = vec![b'x'; TOKEN_BYTES_MAX + 1];
        remembered.insert(&long, user("u"), u64::MAX, 0);
        assert_eq!(remembered.find(&long, 0), None);
    }
}
