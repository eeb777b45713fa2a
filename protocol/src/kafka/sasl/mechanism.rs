//! The ways to log in.

use std::fmt;
use std::str::FromStr;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password as it is (RFC 4616): anybody on the way reads it where there is no TLS.
    Plain,
    /// A proof of the password, and the broker's proof (RFC 5802, 7677).
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
    /// A token of an identity provider (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// All of them, in the order in which a manual names them.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::OAuthBearer];

    /// As SaslHandshake writes it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Whether it wants a user and a password; the other one wants a token.
    pub fn wants_password(self) -> bool {
        !matches!(self, Mechanism::OAuthBearer)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no mechanism of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be plain, scram-sha-256, scram-sha-512 or oauthbearer")]
pub struct MechanismError;

impl FromStr for Mechanism {
    type Err = MechanismError;

    fn from_str(text: &str) -> Result<Mechanism, MechanismError> {
        Mechanism::ALL.into_iter().find(|word| text.eq_ignore_ascii_case(word.name())).ok_or(MechanismError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_flags_and_as_kafka_write_them() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
            assert_eq!(mechanism.to_string().to_lowercase().parse(), Ok(mechanism));
        }
        assert_eq!("SCRAM-SHA-1".parse::<Mechanism>(), Err(MechanismError));
    }
}
