//! An identity provider: keys of each algorithm, drawn anew, and tokens signed with them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// One key of an identity provider.
pub struct Signer {
    pub algorithm: Algorithm,
    key: EncodingKey,
    /// As PEM; `None`: a shared secret.
    pub public_pem: Option<String>,
    jwk: Value,
}

impl Signer {
    /// Draws a key for HS256, ES256, EdDSA or RS256.
    pub fn new(algorithm: Algorithm) -> Signer {
        let pair = |kind| KeyPair::generate_for(kind).expect("a key");
        let pair = match algorithm {
            Algorithm::ES256 => pair(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::RS256 => pair(&rcgen::PKCS_RSA_SHA256),
            // A shared secret needs as many random bytes as a public key of Ed25519 has.
            Algorithm::EdDSA | Algorithm::HS256 => pair(&rcgen::PKCS_ED25519),
            other => panic!("no signer for {other:?}"),
        };
        let private_pem = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(private_pem.as_bytes()),
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private_pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(private_pem.as_bytes()),
            _ => Ok(EncodingKey::from_secret(pair.public_key_raw())),
        };
        let key = key.expect("a key as it was written");
        let jwk = match algorithm {
            Algorithm::EdDSA => {
                json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": base64url(pair.public_key_raw()) })
            }
            _ => jwk_of(&key, algorithm),
        };
        let public_pem = (algorithm != Algorithm::HS256).then(|| pair.public_key_pem());
        Signer { algorithm, key, public_pem, jwk }
    }

    /// Its public half (of a shared secret: the secret) as a member of a JWK set.
    pub fn jwk(&self, id: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = id.into();
        jwk
    }

    /// A token for `subject`, good for an hour.
    pub fn token(&self, subject: &str) -> String {
        self.token_of(&json!({ "sub": subject, "exp": now_s() + 3600 }))
    }

    /// A token with these claims.
    pub fn token_of(&self, claims: &Value) -> String {
        self.token_with(&Header::new(self.algorithm), claims)
    }

    /// A token with this header.
    pub fn token_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).expect("a token")
    }

    /// The signature of any bytes, in base64url, as the last part of a token has it.
    pub fn sign(&self, message: &[u8]) -> String {
        jsonwebtoken::crypto::sign(message, &self.key, self.algorithm).expect("a signature")
    }
}

fn jwk_of(key: &EncodingKey, algorithm: Algorithm) -> Value {
    let jwk = Jwk::from_encoding_key(key, algorithm).expect("a JWK");
    serde_json::to_value(jwk).expect("JSON")
}

/// Base64url without padding (RFC 7515 section 2), by way of how the crate writes a shared secret.
pub fn base64url(bytes: &[u8]) -> String {
    let jwk = jwk_of(&EncodingKey::from_secret(bytes), Algorithm::HS256);
    jwk["k"].as_str().expect("a secret").to_owned()
}

/// Seconds since the Unix epoch.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
