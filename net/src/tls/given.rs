//! What an operator said of a link's TLS, flag by flag, made into what can be used.

use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::client::{ClientTls, TlsOptions, Verification};
use super::fault::FlagNames;

/// The link to Redis, as both programs' flags call it.
pub const REDIS: FlagNames = FlagNames {
    ca: "--redis-tls-ca",
    certificate: "--redis-tls-cert",
    key: "--redis-tls-key",
    server_name: "--redis-tls-server-name",
};
/// The links to Kafka's brokers.
pub const KAFKA: FlagNames = FlagNames {
    ca: "--kafka-tls-ca",
    certificate: "--kafka-tls-cert",
    key: "--kafka-tls-key",
    server_name: "--kafka-tls-server-name",
};

/// Values of the flags, as text. An empty one is unset: compose files pass those.
#[derive(Clone, Debug, Default)]
pub struct TlsGiven {
    /// Files of trusted issuers, a comma between them.
    pub ca: Option<String>,
    /// File of our certificate.
    pub certificate: Option<String>,
    /// File of its key.
    pub key: Option<String>,
    /// The name that the server's certificate must have.
    pub server_name: Option<String>,
}

impl TlsGiven {
    /// The TLS of the link `name`, where it has any. `asked_by` is what asks for TLS on that link, for messages.
    ///
    /// # Errors
    /// One line that names the flag: something is given to a link that has no TLS, or is incomplete, or a file cannot be used.
    pub fn load(
        self,
        name: &'static str,
        flags: FlagNames,
        is_encrypted: bool,
        asked_by: &str,
    ) -> Result<Option<ClientTls>, String> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let [ca, certificate, key, server_name] = [self.ca, self.certificate, self.key, self.server_name].map(given);
        if !is_encrypted {
            let named = [
                (&ca, flags.ca),
                (&certificate, flags.certificate),
                (&key, flags.key),
                (&server_name, flags.server_name),
            ];
            return match named.iter().find(|(value, _)| value.is_some()) {
                Some((_, flag)) => Err(format!("{flag} says how TLS is to be, and TLS is not asked for: {asked_by}")),
                None => Ok(None),
            };
        }
        let server_name = match server_name {
            None => None,
            Some(text) => Some(
                ServerName::try_from(text)
                    .map_err(|_| format!("{} must be a name or an address, without a port", flags.server_name))?,
            ),
        };
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err(format!("{} needs {}", flags.certificate, flags.key)),
            (None, Some(_)) => return Err(format!("{} needs {}", flags.key, flags.certificate)),
        };
        let ca = ca.as_deref().unwrap_or_default().split(',').filter(|file| !file.is_empty()).map(PathBuf::from);
        let own = identity.is_some();
        let options = TlsOptions { ca: ca.collect(), identity, server_name, verification: Verification::Full, flags };
        ClientTls::load(name, options).map(Some).map_err(|error| {
            let about = if own { format!("{}, {}", flags.ca, flags.certificate) } else { flags.ca.to_owned() };
            format!("{about}: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(given: TlsGiven, is_encrypted: bool) -> String {
        given.load("redis", REDIS, is_encrypted, "--redis rediss://… does").expect_err("a mistake")
    }

    #[test]
    fn mistakes_are_one_line_that_names_the_flag() {
        let some = |text: &str| Some(text.to_owned());
        let none = TlsGiven::default;
        for (given, is_encrypted, words) in [
            (TlsGiven { server_name: some("a"), ..none() }, false, &["--redis-tls-server-name", "rediss://"][..]),
            (TlsGiven { certificate: some("/c"), ..none() }, true, &["--redis-tls-cert needs --redis-tls-key"]),
            (TlsGiven { key: some("/k"), ..none() }, true, &["--redis-tls-key needs --redis-tls-cert"]),
            (TlsGiven { server_name: some("a b"), ..none() }, true, &["--redis-tls-server-name"]),
            (TlsGiven { ca: some("/nonexistent/ca.pem"), ..none() }, true, &["--redis-tls-ca", "/nonexistent/ca.pem"]),
        ] {
            let line = mistake(given, is_encrypted);
            assert!(words.iter().all(|word| line.contains(word)) && !line.contains('\n'), "{line}");
        }
        let empty = TlsGiven { ca: some(""), server_name: some(""), ..none() };
        assert!(empty.load("redis", REDIS, false, "").expect("nothing was given").is_none());
    }
}
