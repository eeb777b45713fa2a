//! The bearer token of a request: who it names, or why it names nobody.
//!
//! Each core has one [`Bearers`]: the keys in force and the tokens that it has found valid. A token that is remembered costs a
//! comparison; another one a signature, 2 to 100 µs by its algorithm. What can be told to be no good without a signature (its
//! shape, its algorithm, its key's id, its end) is refused before one is computed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flux_protocol::order::Identifier;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::keys::KeySet;
use super::remembered::Remembered;
use super::{IdentityProvider, Rules};

/// Longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 1024;

/// Why a request names nobody. Each is a 401; the text is the `error_description` (RFC 6750 section 3), ASCII without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No `authorization`, or not of the scheme `Bearer`.
    Missing,
    /// No JWT that the edge reads: its shape, or an algorithm other than RS256, ES256, EdDSA and HS256 (`none` is one).
    Malformed,
    /// Its header has `crit`: extensions that must be understood, and none is here (RFC 7515 section 4.1.11).
    Critical,
    /// No key of its algorithm and id.
    UnknownKey,
    Signature,
    /// `exp` is over.
    Expired,
    /// `nbf` is to come.
    NotYet,
    /// `aud` is missing or another's.
    Audience,
    /// `iss` is missing or another's.
    Issuer,
    /// `exp` or the user's claim is missing, or one of them, `nbf`, `iss` or `aud` of the wrong type.
    Claims,
}

/// Names of all [`Refusal`]s, in their order: the labels of `flux_edge_tokens_refused_total`.
pub const REFUSALS: [&str; 10] =
    ["missing", "malformed", "crit", "unknown_key", "signature", "expired", "not_yet", "audience", "issuer", "claims"];

const _: () = assert!(Refusal::Claims as usize + 1 == REFUSALS.len());

impl Refusal {
    /// What the caller is told.
    pub fn description(self) -> &'static str {
        match self {
            Refusal::Missing => "a bearer token is needed",
            Refusal::Malformed => "the token is no JWT by RS256, ES256, EdDSA or HS256",
            Refusal::Critical => "the token has crit: no extension of JWS is understood here",
            Refusal::UnknownKey => "the token was signed with a key that is not known here",
            Refusal::Signature => "the signature of the token is not valid",
            Refusal::Expired => "the token has expired",
            Refusal::NotYet => "the token is not valid yet",
            Refusal::Audience => "the token is for another audience",
            Refusal::Issuer => "the token is of another issuer",
            Refusal::Claims => "exp or the claim that names the user is missing, or a claim is of the wrong type",
        }
    }
}

/// What one core knows of bearer tokens.
pub struct Bearers {
    identity: Arc<IdentityProvider>,
    /// The keys of `version`.
    keys: Arc<KeySet>,
    version: u64,
    remembered: Remembered,
}

impl std::fmt::Debug for Bearers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearers").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Who a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: Identifier,
    /// A signature was computed for it: the token was not remembered.
    pub verified: bool,
}

/// A valid token.
struct Verified {
    user: Identifier,
    /// `exp` and the leeway, milliseconds since the Unix epoch.
    until_ms: u64,
}

impl Bearers {
    pub fn new(identity: Arc<IdentityProvider>) -> Bearers {
        let (version, keys) = (identity.version(), identity.keys());
        Bearers { identity, keys, version, remembered: Remembered::default() }
    }

    /// The user whom an `authorization` field names (RFC 6750 section 2.1). `wall_ms`: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// Why it names nobody.
    pub fn user(&mut self, authorization: Option<&[u8]>, wall_ms: u64) -> Result<Caller, Refusal> {
        let token = authorization.and_then(bearer_token).ok_or(Refusal::Missing)?;
        let version = self.identity.version();
        if version != self.version {
            // Read after the number: keys that are newer than it are read once more.
            (self.version, self.keys) = (version, self.identity.keys());
            self.remembered.clear();
        }
        if let Some(user) = self.remembered.find(token, wall_ms) {
            return Ok(Caller { user, verified: false });
        }
        let Verified { user, until_ms } = verify(&self.keys, self.identity.rules(), token, wall_ms)?;
        self.remembered.insert(token, user, until_ms, wall_ms);
        Ok(Caller { user, verified: true })
    }

    /// Whether `name`, which a body gives as its `userId`, is the user's: their identifier, or the subject that it stands for.
    pub fn is_user(&self, user: Identifier, name: &str) -> bool {
        user.as_str() == name || self.identity.rules().subject_key.identifier(name) == user
    }
}

fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn verify(keys: &KeySet, rules: &Rules, token: &[u8], wall_ms: u64) -> Result<Verified, Refusal> {
    // First: the crate does not read a header with members of a type that it does not expect.
    if names_extensions(token) {
        return Err(Refusal::Critical);
    }
    let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
    let is_known = matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA | Algorithm::HS256);
    if !is_known {
        return Err(Refusal::Malformed);
    }
    let mut candidates = keys.candidates(header.alg, header.kid.as_deref()).peekable();
    if candidates.peek().is_none() {
        return Err(Refusal::UnknownKey);
    }
    let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(token);
    let claims = claims.map_err(|_| Refusal::Malformed)?.claims;
    let until_ms = until_ms(&claims, rules).ok_or(Refusal::Claims)?;
    if until_ms <= wall_ms {
        return Err(Refusal::Expired);
    }
    if subject(&claims, rules).is_none() || !are_of_their_types(&claims) {
        return Err(Refusal::Claims);
    }
    let validation = validation(rules, header.alg);
    let mut refusal = Refusal::Signature;
    for candidate in candidates {
        match decode::<Map<String, Value>>(token, &candidate.key, &validation) {
            Ok(verified) => {
                let subject = subject(&verified.claims, rules).ok_or(Refusal::Claims)?;
                return Ok(Verified { user: rules.subject_key.identifier(&subject), until_ms });
            }
            Err(error) if matches!(error.kind(), ErrorKind::MissingRequiredClaim(_)) => {
                refusal = missing(&claims, rules)
            }
            Err(error) => refusal = refusal_of(error.kind()),
        }
        if refusal != Refusal::Signature {
            break;
        }
    }
    Err(refusal)
}

/// Whether its header has `crit` (RFC 7515, section 4.1.11), whatever is in it: we know no extension, and an empty one is invalid.
fn names_extensions(token: &[u8]) -> bool {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let members = header.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    members.is_some_and(|members| members.contains_key("crit"))
}

/// Whether `iss` is one string, and `aud` one or a list of them (RFC 7519, sections 4.1.1 and 4.1.3), where the token has them. The
/// crate takes a list of issuers of which one is right, and passes over an audience that is neither.
fn are_of_their_types(claims: &Map<String, Value>) -> bool {
    let is_audience = |value: &Value| match value {
        Value::Array(names) => names.iter().all(Value::is_string),
        value => value.is_string(),
    };
    claims.get("iss").is_none_or(Value::is_string) && claims.get("aud").is_none_or(is_audience)
}

fn validation(rules: &Rules, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = rules.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if !rules.audience.is_empty() {
        validation.set_audience(&rules.audience);
        required.push("aud");
    }
    if !rules.issuer.is_empty() {
        validation.set_issuer(&rules.issuer);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// What is told of a token that lacks a claim it must have. Where it lacks two, the crate names either, another one each time.
fn missing(claims: &Map<String, Value>, rules: &Rules) -> Refusal {
    let lacks = |claim: &str, wanted: &[String]| !wanted.is_empty() && !claims.contains_key(claim);
    if lacks("aud", &rules.audience) {
        Refusal::Audience
    } else if lacks("iss", &rules.issuer) {
        Refusal::Issuer
    } else {
        Refusal::Claims
    }
}

fn refusal_of(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYet,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidClaimFormat(_) => Refusal::Claims,
        ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::Base64(_) | ErrorKind::InvalidToken => Refusal::Malformed,
        // Whatever else keeps a signature from being verified.
        _ => Refusal::Signature,
    }
}

/// When a token with these claims is over: `exp` (a NumericDate, which may have a fraction) and the leeway.
fn until_ms(claims: &Map<String, Value>, rules: &Rules) -> Option<u64> {
    let seconds = claims.get("exp")?.as_f64().filter(|seconds| *seconds >= 0.0)?;
    // A float beyond the range becomes its end.
    let ms = (seconds * 1000.0) as u64;
    Some(ms.saturating_add(u64::try_from(rules.leeway.as_millis()).unwrap_or(u64::MAX)))
}

/// The user's claim: a string, or a whole number as some providers have it.
fn subject(claims: &Map<String, Value>, rules: &Rules) -> Option<String> {
    let subject = match claims.get(&rules.claim)? {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    (1..=SUBJECT_BYTES_MAX).contains(&subject.len()).then_some(subject)
}

#[cfg(test)]
#[path = "bearer_tests.rs"]
mod tests;
