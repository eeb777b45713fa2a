//! A secret: it is compared and sent where it must be, and never shown.

use std::fmt;

use subtle::ConstantTimeEq;

/// A password or token. `Debug` shows three asterisks, `Display` does not exist.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes it over.
    pub fn new(secret: &str) -> Secret {
        Secret(secret.into())
    }

    /// The secret itself, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret, in a time that depends on the candidate's length alone.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// Whether an `authorization` field carries it as a bearer token (RFC 6750 section 2.1).
    pub fn matches_bearer(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|field| field.split_at_checked(7)) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.matches(token.trim_ascii())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_passes() {
        let token = Secret::new("s3cret");
        assert!(token.matches_bearer(Some(b"Bearer s3cret")));
        assert!(token.matches_bearer(Some(b"bearer  s3cret")));
        for wrong in [&b"Bearer s3cre"[..], b"Bearer s3crets", b"Basic s3cret", b"s3cret", b"Bearer", b"Bearer ", b""] {
            assert!(!token.matches_bearer(Some(wrong)), "{wrong:?}");
        }
        assert!(!token.matches_bearer(None));
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "***");
    }
}
