//! Whether a key that came from a file is one to hold tokens against: with lengths and values that its algorithm asks for.
//!
//! A key that no token can fit is better told when it is read, while the keys of before are still there; and one that everybody
//! can sign with must never come into force.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use curve25519_dalek::edwards::CompressedEdwardsY;
use flux_protocol::certificate::rsa_public_key;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

/// Shortest shared secret (RFC 7518 section 3.2: as long as the hash).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest modulus of RSA (RFC 7518 section 3.3).
const MODULUS_BYTES_MIN: usize = 2048 / 8;
/// Longest: verifying grows with its square.
const MODULUS_BYTES_MAX: usize = 8192 / 8;
/// A point of P-256, uncompressed (SEC 1 section 2.3.3).
const P256_BYTES: usize = 65;

/// Looks at a key of one algorithm.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(algorithm: Algorithm, key: &DecodingKey) -> Result<(), &'static str> {
    match (algorithm, key.kind()) {
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => check_p256(point),
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => check_ed25519(point),
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => check_rsa(n, e),
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(key)) => match rsa_public_key(key) {
            Some((modulus, exponent)) => check_rsa(modulus, exponent),
            None => Err("not RSA"),
        },
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) if secret.len() >= SECRET_BYTES_MIN => Ok(()),
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(_)) => Err("a shared secret of less than 32 bytes"),
        _ => Err("not a key of its algorithm"),
    }
}

fn check_p256(point: &[u8]) -> Result<(), &'static str> {
    match ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point) {
        Ok(_) if point.len() == P256_BYTES => Ok(()),
        _ => Err("not on the curve P-256"),
    }
}

/// A point of small order has a signature that fits any text, and needs no private key (RFC 8032 section 5.1.7 checks none).
fn check_ed25519(point: &[u8]) -> Result<(), &'static str> {
    let decoded = CompressedEdwardsY::from_slice(point).ok().and_then(|point| point.decompress());
    match decoded {
        Some(point) if point.is_small_order() => Err("a point of small order: anybody could sign with it"),
        Some(_) => Ok(()),
        None => Err("not a point of Ed25519"),
    }
}

/// RFC 8017 section 3.1: the exponent is odd and at least 3; with 1 a signature is its own text. Nobody makes one of more than
/// 33 bits, and verifying takes the longer for each.
fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), &'static str> {
    let (modulus, exponent) = (digits(modulus), digits(exponent));
    if modulus.len() < MODULUS_BYTES_MIN {
        return Err("RSA of less than 2048 bits");
    }
    if modulus.len() > MODULUS_BYTES_MAX {
        return Err("RSA of more than 8192 bits");
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err("RSA with an even modulus");
    }
    // Five bytes at most: four with all their bits, or one bit of the fifth.
    let value = exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    match value {
        3..0x2_0000_0000 if value % 2 == 1 && exponent.len() <= 5 => Ok(()),
        _ => Err("RSA with an exponent that is even, less than 3 or more than 33 bits"),
    }
}

/// A big-endian number without the zeros before it.
fn digits(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    use flux_test_support::identity::base64url;

    use super::*;

    /// What is said of a JWK.
    fn checked(jwk: &str) -> Result<(), &'static str> {
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(jwk).expect("a JWK");
        let key = DecodingKey::from_jwk(&jwk).expect("base64url");
        let algorithm = match jwk.algorithm {
            jsonwebtoken::jwk::AlgorithmParameters::RSA(_) => Algorithm::RS256,
            jsonwebtoken::jwk::AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
            _ => Algorithm::EdDSA,
        };
        check(algorithm, &key)
    }

    #[test]
    fn a_key_that_no_token_fits_or_that_anybody_can_sign_with_is_refused() {
        let p256 = |x: &[u8], y: &[u8]| {
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, base64url(x), base64url(y))
        };
        let ed25519 = |x: &[u8]| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, base64url(x));
        let rsa = |n: &[u8], e: &[u8]| format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, base64url(n), base64url(e));
        let (mut identity, mut order_two, mut twisted) = ([0; 32], [0xff; 32], [0; 32]);
        identity[0] = 1;
        (order_two[0], order_two[31]) = (0xec, 0x7f);
        twisted[0] = 2;
        let odd = [0xff; MODULUS_BYTES_MIN];
        let mut even = odd;
        even[MODULUS_BYTES_MIN - 1] = 0xfe;
        for (key, word) in [
            (p256(&[1; 32], &[1; 32]), "not on the curve"),
            (p256(&[0; 32], &[0; 32]), "not on the curve"),
            (ed25519(&[0; 32]), "small order"),
            (ed25519(&identity), "small order"),
            (ed25519(&order_two), "small order"),
            (ed25519(&twisted), "not a point"),
            (ed25519(&[9; 31]), "not a point"),
            (rsa(&odd, &[1]), "exponent"),
            (rsa(&odd, &[2]), "exponent"),
            (rsa(&odd, &[]), "exponent"),
            (rsa(&odd, &[0xff; 5]), "exponent"),
            (rsa(&even, &[1, 0, 1]), "even modulus"),
            (rsa(&[0xff; MODULUS_BYTES_MAX + 1], &[3]), "more than 8192"),
            (rsa(&[&[0][..], &odd[1..]].concat(), &[3]), "less than 2048"),
        ] {
            let line = checked(&key).expect_err(&key);
            assert!(line.contains(word), "{key}: {line}");
        }
        for exponent in [&[3][..], &[1, 0, 1], &[0, 1, 0, 1]] {
            assert_eq!(checked(&rsa(&odd, exponent)), Ok(()));
        }
    }
}
