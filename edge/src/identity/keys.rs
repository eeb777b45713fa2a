//! The keys that tokens are verified with, from one file: a JWK set (RFC 7517) or public keys as PEM (RFC 7468).
//!
//! Every key has one algorithm, and a token is only ever held against keys of the algorithm that its header names: a public
//! key is never taken for a shared secret. That a file is neither JSON nor PEM is a mistake and no secret: a shared secret is a
//! JWK of type `oct`.

use std::path::Path;

use flux_net::secrets::file::is_open_to_others;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use thiserror::Error;

use super::sound_key;

/// Most keys of one file.
const KEYS_MAX: usize = 64;
/// Longest file: 64 keys of the largest kind, with their certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a file of keys. Never repeats what stands in it.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Unreadable { path: String, error: std::io::Error },
    /// More than 1 MiB.
    #[error("{0} is larger than 1 MiB: no file of keys")]
    TooLarge(String),
    /// Neither JSON nor PEM.
    #[error("{0} is neither a JWK set (JSON) nor public keys as PEM; a shared secret is a JWK of type oct")]
    NoKeys(String),
    /// JSON that is no JWK set.
    #[error("{path}: {why}")]
    Json { path: String, why: String },
    /// A key that cannot be taken.
    #[error("{path}, key {place}: {why}")]
    Key {
        path: String,
        /// From 1.
        place: usize,
        why: &'static str,
    },
    /// All keys of a set are for something else.
    #[error("{0} has no key for signatures by RS256, ES256, EdDSA or HS256")]
    NoneUsable(String),
    /// More than 64.
    #[error("{0} has more than {KEYS_MAX} keys")]
    TooMany(String),
}

/// One key and the one algorithm it is for.
#[derive(Debug)]
pub(super) struct Key {
    /// `kid`, where the file gives one.
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of a file, at least one.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// It holds a shared secret, with which whoever reads the file signs tokens, and everybody may read it.
    pub is_secret_in_the_open: bool,
}

impl KeySet {
    /// Reads a file. Of a JWK set, keys for encryption and of other algorithms are left out, as RFC 7517 section 5 has it.
    ///
    /// # Errors
    /// What is wrong with it; a private key is an error too, since it has no business on an edge.
    pub fn read(path: &Path) -> Result<KeySet, KeysError> {
        let name = path.display().to_string();
        let unreadable = |error| KeysError::Unreadable { path: name.clone(), error };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.len() > FILE_BYTES_MAX {
            return Err(KeysError::TooLarge(name));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let mut set = KeySet::parse(&name, &bytes)?;
        set.is_secret_in_the_open =
            is_open_to_others(&metadata) && set.keys.iter().any(|key| key.algorithm == Algorithm::HS256);
        Ok(set)
    }

    /// The keys that the bytes of a file hold; `name` is what errors call it.
    ///
    /// # Errors
    /// As of [`KeySet::read`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<KeySet, KeysError> {
        let keys = match std::str::from_utf8(bytes).map(str::trim_start) {
            Ok(text) if text.starts_with('{') => of_jwks(name, text)?,
            Ok(text) if text.contains("-----BEGIN ") => of_pem(name, text)?,
            _ => return Err(KeysError::NoKeys(name.to_owned())),
        };
        match keys.len() {
            0 => Err(KeysError::NoneUsable(name.to_owned())),
            1..=KEYS_MAX => Ok(KeySet { keys, is_secret_in_the_open: false }),
            _ => Err(KeysError::TooMany(name.to_owned())),
        }
    }

    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that a token may have been signed with, by the `alg` and `kid` of its header. A key without an id may be any.
    pub(super) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let fits = move |key: &&Key| match (id, &key.id) {
            (Some(wanted), Some(has)) => wanted == has,
            _ => true,
        };
        self.keys.iter().filter(move |key| key.algorithm == algorithm).filter(fits)
    }
}

fn of_jwks(name: &str, text: &str) -> Result<Vec<Key>, KeysError> {
    let wrong = |why: String| KeysError::Json { path: name.to_owned(), why };
    let mut set: Map<String, Value> = serde_json::from_str(text).map_err(|error| wrong(format!("no JSON: {error}")))?;
    let members = match set.remove("keys") {
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err(wrong("\"keys\" is no array".to_owned())),
        None if set.contains_key("kty") => vec![Value::Object(set)],
        None => return Err(wrong("no JWK set: \"keys\" is missing".to_owned())),
    };
    let mut keys = Vec::with_capacity(members.len().min(KEYS_MAX));
    for (index, member) in members.into_iter().enumerate() {
        let key = of_jwk(member).map_err(|why| KeysError::Key { path: name.to_owned(), place: index + 1, why })?;
        keys.extend(key);
    }
    Ok(keys)
}

/// `None`: a key for something else.
fn of_jwk(member: Value) -> Result<Option<Key>, &'static str> {
    if member.get("d").is_some() {
        return Err(PRIVATE);
    }
    // A type, a curve or a use that the crate does not know is nothing for us either.
    let Ok(jwk) = serde_json::from_value::<Jwk>(member) else { return Ok(None) };
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        _ => return Ok(None),
    };
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let fits = jwk.common.key_algorithm.is_none_or(|only| only == named);
    if !(signs && verifies && fits) {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "a member is not base64url")?;
    checked(algorithm, key, jwk.common.key_id).map(Some)
}

const PRIVATE: &str = "a private key: an edge is given the public one";

fn of_pem(name: &str, text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let wrong = |why| KeysError::Key { path: name.to_owned(), place: keys.len() + 1, why };
        rest = &rest[begin..];
        let end = rest.find("-----END ").ok_or_else(|| wrong("it has no end"))?;
        let end = end + rest[end..].find('\n').unwrap_or(rest.len() - end);
        let (block, after) = rest.split_at(end);
        let key = of_pem_block(block).map_err(wrong)?;
        keys.push(key);
        rest = after;
    }
    Ok(keys)
}

fn of_pem_block(block: &str) -> Result<Key, &'static str> {
    let label = block.trim_start_matches("-----BEGIN ").split("-----").next().unwrap_or_default();
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => return Err("a certificate: openssl x509 -pubkey -noout prints its public key"),
        _ if label.contains("PRIVATE") => return Err(PRIVATE),
        _ => return Err("no public key"),
    }
    let bytes = block.as_bytes();
    if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        return checked(Algorithm::ES256, key, None);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(bytes) {
        return checked(Algorithm::EdDSA, key, None);
    }
    match DecodingKey::from_rsa_pem(bytes) {
        Ok(key) => checked(Algorithm::RS256, key, None),
        Err(_) => Err("neither RSA, P-256 nor Ed25519"),
    }
}

fn checked(algorithm: Algorithm, key: DecodingKey, id: Option<String>) -> Result<Key, &'static str> {
    sound_key::check(algorithm, &key)?;
    Ok(Key { id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        KeySet::parse("keys", text.as_bytes()).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn what_is_no_file_of_keys_is_told_without_repeating_it() {
        let short = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
        for (text, word) in [
            ("a secret of a shop, which is no key", "neither a JWK set"),
            ("", "neither"),
            ("{", "no JSON"),
            (r#"{"keys":{}}"#, "no array"),
            (r#"{"issuer":"https://id.example"}"#, "\"keys\" is missing"),
            (r#"{"keys":[]}"#, "no key for signatures"),
            (r#"{"keys":[{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}]}"#, "no key for signatures"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#, "key 1: not on the curve P-256"),
            (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}"#, "private"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "2048 bits"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AQAB"}"#, "Ed25519"),
            (short, "less than 32 bytes"),
            ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "private"),
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "openssl x509"),
            ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "neither RSA"),
            ("-----BEGIN PUBLIC KEY-----\nAA==\n", "no end"),
        ] {
            let line = refusal(text);
            assert!(line.contains(word) && !line.contains('\n') && !line.contains("c2VjcmV0"), "{text}: {line}");
        }
    }

    #[test]
    fn keys_for_something_else_are_left_out_and_many_are_refused() {
        let secret = |more: &str| format!(r#"{{"kty":"oct","k":"{}"{more}}}"#, "A".repeat(43));
        let set = |keys: &[String]| KeySet::parse("keys", format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
        let keys = set(&[
            secret(r#","kid":"a""#),
            secret(r#","use":"enc""#),
            secret(r#","alg":"HS512""#),
            secret(r#","key_ops":["encrypt"]"#),
            r#"{"kty":"unheard of"}"#.to_owned(),
        ])
        .expect("one of them is good");
        assert_eq!(keys.len(), 1);
        let found = |algorithm, id| keys.candidates(algorithm, id).count();
        assert_eq!((found(Algorithm::HS256, Some("a")), found(Algorithm::HS256, None)), (1, 1));
        assert_eq!((found(Algorithm::HS256, Some("b")), found(Algorithm::RS256, Some("a"))), (0, 0));
        assert!(matches!(set(&vec![secret(""); KEYS_MAX + 1]), Err(KeysError::TooMany(_))));
    }
}
