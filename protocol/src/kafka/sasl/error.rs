//! Why a login came to nothing: one line each, which names what is missing.

use super::mechanism::Mechanism;

/// Bytes kept of what a broker says: its own messages are shorter, and from outside.
const WORDS_BYTES_MAX: usize = 240;

/// Why a broker was not logged in to. Nothing was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The broker does not offer the mechanism on this listener.
    #[error("the broker offers no login by {wanted}; it offers {offered} (--kafka-sasl-mechanism)")]
    Mechanism {
        /// What we were told to use.
        wanted: Mechanism,
        /// What it has, a comma between them.
        offered: String,
    },
    /// The listener wants no login at all.
    #[error("the broker wants no login on this listener: --kafka-security plaintext or ssl, or another port")]
    NotWanted,
    /// The broker has refused us; its words.
    #[error("the broker refuses {who} by {mechanism}: {words}")]
    Refused {
        /// The user, or the token.
        who: String,
        /// How.
        mechanism: Mechanism,
        /// What it said.
        words: String,
    },
    /// The broker's answer does not prove that it knows the password.
    #[error("the broker did not prove that it knows the password of {0}: it is not the one that it says it is")]
    Proof(String),
    /// The password would be stretched too little, or so much that only an attacker asks for it.
    #[error("the broker asks for {0} iterations of SCRAM, where {min} to {max} are sound", min = super::scram::ITERATIONS_MIN, max = super::scram::ITERATIONS_MAX)]
    Iterations(u64),
    /// A challenge that is none.
    #[error("the broker broke the login by {mechanism}: {what}")]
    Challenge {
        /// How we log in.
        mechanism: Mechanism,
        /// What is wrong.
        what: &'static str,
    },
    /// There is no token yet: the file or the command gave none.
    #[error("there is no token to log in with yet (--kafka-sasl-token-file, --kafka-sasl-token-command)")]
    NoToken,
    /// An error that SaslHandshake does not have.
    #[error("the broker answered SaslHandshake with error {0}")]
    Handshake(i16),
}

impl SaslError {
    /// Whether the broker has looked at who we are, and did not like it: another password or token may help.
    pub fn is_refusal(&self) -> bool {
        matches!(self, SaslError::Refused { .. })
    }
}

/// What a broker says, without what a terminal or a log would take for its own, and not too long.
pub(super) fn printable(words: &str) -> String {
    let mut kept = String::new();
    for letter in words.chars() {
        if kept.len() + letter.len_utf8() > WORDS_BYTES_MAX {
            break;
        }
        kept.push(if letter.is_control() { ' ' } else { letter });
    }
    kept
}
