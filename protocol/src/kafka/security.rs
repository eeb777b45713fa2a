//! How brokers are spoken to: in the clear or through TLS, with a login or without (Kafka's `security.protocol`).

use std::fmt;
use std::str::FromStr;

/// Kafka's four words for the two questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaSecurity {
    /// No TLS, no login.
    #[default]
    Plaintext,
    /// TLS; who we are a client certificate may say.
    Ssl,
    /// A login by SASL over a connection that anybody on the way can read.
    SaslPlaintext,
    /// A login by SASL inside TLS.
    SaslSsl,
}

impl KafkaSecurity {
    /// All of them, in the order in which a manual names them.
    pub const ALL: [KafkaSecurity; 4] =
        [KafkaSecurity::Plaintext, KafkaSecurity::Ssl, KafkaSecurity::SaslPlaintext, KafkaSecurity::SaslSsl];

    /// Whether connections to brokers begin with a TLS handshake.
    pub fn is_encrypted(self) -> bool {
        matches!(self, KafkaSecurity::Ssl | KafkaSecurity::SaslSsl)
    }

    /// Whether a connection logs in by SASL before its first request.
    pub fn logs_in(self) -> bool {
        matches!(self, KafkaSecurity::SaslPlaintext | KafkaSecurity::SaslSsl)
    }

    /// As the flag and Kafka's own clients write it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            KafkaSecurity::Plaintext => "plaintext",
            KafkaSecurity::Ssl => "ssl",
            KafkaSecurity::SaslPlaintext => "sasl_plaintext",
            KafkaSecurity::SaslSsl => "sasl_ssl",
        }
    }
}

impl fmt::Display for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is none of the four words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be plaintext, ssl, sasl_plaintext or sasl_ssl")]
pub struct KafkaSecurityError;

impl FromStr for KafkaSecurity {
    type Err = KafkaSecurityError;

    /// Kafka's own clients write the words in capitals: both are taken.
    fn from_str(text: &str) -> Result<KafkaSecurity, KafkaSecurityError> {
        KafkaSecurity::ALL.into_iter().find(|word| text.eq_ignore_ascii_case(word.name())).ok_or(KafkaSecurityError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_kafka_writes_them_and_no_others() {
        for word in KafkaSecurity::ALL {
            assert_eq!(word.to_string().parse(), Ok(word));
            assert_eq!(word.name().to_uppercase().parse(), Ok(word));
        }
        assert_eq!("tls".parse::<KafkaSecurity>(), Err(KafkaSecurityError));
        let both = |word: KafkaSecurity| (word.is_encrypted(), word.logs_in());
        assert_eq!(
            KafkaSecurity::ALL.map(both),
            [(false, false), (true, false), (false, true), (true, true)],
            "each answers the two questions in its own way"
        );
    }
}
