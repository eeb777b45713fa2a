//! What a token's subject is called in Redis, in records and in the ledger: an identifier.
//!
//! Many identity providers have subjects that are none (`auth0|5f7c`, e-mail addresses). Those become `h-` and 128 bits of a
//! keyed hash: the same on all edges that hold the key, and nothing that a reader of the ledger could guess back without it.

use std::fmt;

use flux_protocol::order::Identifier;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shortest key, in bytes: as long as the hash that it gives is wide.
pub const SUBJECT_KEY_BYTES_MIN: usize = 16;
/// What a hashed subject begins with.
const PREFIX: &[u8; 2] = b"h-";
const HASH_BYTES: usize = 16;

/// The key that subjects are hashed with. Never shown.
#[derive(Clone)]
pub struct SubjectKey(Hmac<Sha256>);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey")
    }
}

impl SubjectKey {
    /// Of the configured bytes; `None` where there are fewer than [`SUBJECT_KEY_BYTES_MIN`].
    pub fn new(key: &[u8]) -> Option<SubjectKey> {
        let keyed = || Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        (key.len() >= SUBJECT_KEY_BYTES_MIN).then(|| SubjectKey(keyed()))
    }

    /// The identifier of `subject`: the subject itself where it is one, else its hash. A subject that looks like a hash is
    /// hashed too: nobody is let in under another's name by being called like their hash.
    pub fn identifier(&self, subject: &str) -> Identifier {
        match Identifier::new(subject.as_bytes()) {
            Some(identifier) if !looks_hashed(subject.as_bytes()) => identifier,
            _ => self.hashed(subject),
        }
    }

    fn hashed(&self, subject: &str) -> Identifier {
        let mut mac = self.0.clone();
        mac.update(subject.as_bytes());
        let tag = mac.finalize().into_bytes();
        let mut text = PREFIX.to_vec();
        for byte in &tag[..HASH_BYTES] {
            text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        Identifier::new(&text).expect("a prefix and hexadecimal digits")
    }
}

fn looks_hashed(subject: &[u8]) -> bool {
    subject.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == 2 * HASH_BYTES && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_stays_and_anything_else_is_hashed_under_the_key() {
        let key = SubjectKey::new(b"sixteen bytes at").expect("long enough");
        assert_eq!(key.identifier("user-42").as_str(), "user-42");
        assert_eq!(key.identifier("h-0").as_str(), "h-0", "no hash, by its length");
        let hashed = key.identifier("auth0|5f7c");
        assert_eq!((hashed.as_str().len(), &hashed.as_str()[..2]), (34, "h-"));
        assert_eq!(key.identifier("auth0|5f7c"), hashed, "the same each time");
        for other in ["auth0|5f7d", "a@b.example", "", "ü", &"x".repeat(65)] {
            assert_ne!(key.identifier(other), hashed, "{other}");
        }
        let foreign = SubjectKey::new(b"sixteen bytes of").expect("long enough");
        assert_ne!(foreign.identifier("auth0|5f7c"), hashed, "another key, another name");
        assert!(SubjectKey::new(b"fifteen bytes a").is_none());
        assert_eq!(format!("{key:?}"), "SubjectKey");
    }

    /// RFC 2104 over SHA-256, so that any other program can find the same name: `printf %s SUBJECT | openssl dgst -sha256
    /// -hmac KEY`.
    #[test]
    fn the_hash_is_what_openssl_says() {
        let key = SubjectKey::new(b"0123456789abcdef").expect("long enough");
        assert_eq!(key.identifier("auth0|x").as_str(), "h-61807e6637e4e4b6fe87fe46086c1e80");
    }

    #[test]
    fn nobody_is_let_in_by_being_called_like_anothers_hash() {
        let key = SubjectKey::new(b"sixteen bytes at").expect("long enough");
        let victim = key.identifier("victim@shop.example");
        assert_ne!(key.identifier(victim.as_str()), victim);
    }
}
