//! Who we are to Kafka's brokers, out of the flags that edge and worker share.

use std::path::PathBuf;

use clap::Args;
use flux_protocol::kafka::sasl::identity::Identity;
use flux_protocol::kafka::sasl::mechanism::Mechanism;
use flux_protocol::kafka::security::KafkaSecurity;
use flux_protocol::secret::{Secret, SharedSecret};

use super::{Kept, Secrets, Source, file};
use crate::random;

/// Who we are to the brokers; an empty text counts as nothing.
#[derive(Args, Clone, Debug, Default)]
pub struct KafkaLogin {
    /// How to log in to brokers: plain, scram-sha-256, scram-sha-512, oauthbearer; with --kafka-security sasl_…
    #[arg(long = "kafka-sasl-mechanism", env = "FLUX_KAFKA_SASL_MECHANISM", value_name = "MECHANISM")]
    pub mechanism: Option<String>,

    /// As whom
    #[arg(long = "kafka-sasl-user", env = "FLUX_KAFKA_SASL_USER", value_name = "USER")]
    pub user: Option<String>,

    /// Its password; every user of the machine may read a flag: the variable or the file is better
    #[arg(
        id = PASSWORD_ID,
        long = "kafka-sasl-password",
        env = "FLUX_KAFKA_SASL_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<Secret>,

    /// A file that holds its password; read anew on SIGHUP
    #[arg(long = "kafka-sasl-password-file", env = "FLUX_KAFKA_SASL_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// oauthbearer: a file that holds the token; read anew every 10 s
    #[arg(long = "kafka-sasl-token-file", env = "FLUX_KAFKA_SASL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// oauthbearer: a command, run by /bin/sh, that writes the token; again when 80 % of the token's life are over
    #[arg(long = "kafka-sasl-token-command", env = "FLUX_KAFKA_SASL_TOKEN_COMMAND", value_name = "COMMAND")]
    pub token_command: Option<String>,
}

/// What clap calls the flag that may hold a password ([`crate::flags::parse`]).
pub const PASSWORD_ID: &str = "kafka_sasl_password";

const PASSWORD_FILE: &str = "--kafka-sasl-password-file";
const TOKEN_FILE: &str = "--kafka-sasl-token-file";
const TOKEN_COMMAND: &str = "--kafka-sasl-token-command";

impl KafkaLogin {
    /// Who we are; `None` where brokers want no login.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn checked(self, security: KafkaSecurity, secrets: &mut Secrets) -> Result<Option<Identity>, String> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let path = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let (mechanism, user, token_command) = (given(self.mechanism), given(self.user), given(self.token_command));
        let password = self.password.filter(|password| !password.is_empty());
        secrets.note_used(
            PASSWORD_ID,
            "--kafka-sasl-password",
            "FLUX_KAFKA_SASL_PASSWORD or FLUX_KAFKA_SASL_PASSWORD_FILE",
        );
        let (password_file, token_file) = (path(self.password_file), path(self.token_file));
        if !security.logs_in() {
            let nothing = user.is_none() && password.is_none() && password_file.is_none();
            // A login that was meant and never happens would be noticed when it is too late.
            return if mechanism.is_none() && nothing && token_file.is_none() && token_command.is_none() {
                Ok(None)
            } else {
                Err(format!("--kafka-sasl-… is for --kafka-security sasl_plaintext or sasl_ssl, and it is {security}"))
            };
        }
        let mechanism = mechanism.ok_or(format!("--kafka-security {security} needs --kafka-sasl-mechanism"))?;
        let mechanism: Mechanism = mechanism.parse().map_err(|error| format!("--kafka-sasl-mechanism {error}"))?;
        if user.as_ref().is_some_and(|user| user.contains('\0')) {
            return Err("--kafka-sasl-user must hold no NUL".to_owned());
        }
        let user = user.unwrap_or_default();
        let secret = if mechanism.wants_password() {
            if user.is_empty() {
                return Err(format!("{mechanism} needs --kafka-sasl-user"));
            }
            if token_file.is_some() || token_command.is_some() {
                return Err(format!("{TOKEN_FILE} and {TOKEN_COMMAND} are for oauthbearer, not for {mechanism}"));
            }
            match (password, password_file) {
                (Some(password), None) if password.expose().contains('\0') => {
                    return Err("--kafka-sasl-password must hold no NUL".to_owned());
                }
                (Some(password), None) => SharedSecret::new(password),
                (None, Some(path)) => secrets.file(PASSWORD_FILE, path)?,
                (Some(_), Some(_)) => return Err(format!("--kafka-sasl-password or {PASSWORD_FILE}, not both")),
                (None, None) => return Err(format!("{mechanism} needs FLUX_KAFKA_SASL_PASSWORD or {PASSWORD_FILE}")),
            }
        } else {
            if password.is_some() || password_file.is_some() {
                return Err(format!("oauthbearer takes no password, but {TOKEN_FILE} or {TOKEN_COMMAND}"));
            }
            match (token_file, token_command) {
                (Some(path), None) => {
                    let token = secrets.file(TOKEN_FILE, path)?;
                    secrets.kept.last_mut().expect("it was put there just now").is_token = true;
                    token
                }
                // It is run when the program runs: who gives tokens may come later than we do.
                (None, Some(command)) => {
                    let (secret, source) = (SharedSecret::from(""), Source::Command(command));
                    secrets.kept.push(Kept { flag: TOKEN_COMMAND, source, is_token: true, secret: secret.clone() });
                    secret
                }
                _ => return Err(format!("oauthbearer needs {TOKEN_FILE} or {TOKEN_COMMAND}, one of them")),
            }
        };
        let is_readable = matches!(mechanism, Mechanism::Plain | Mechanism::OAuthBearer) && !security.is_encrypted();
        if is_readable {
            secrets.warnings.push(format!(
                "{mechanism} over {security}: whoever can listen on the way to a broker reads the secret; use sasl_ssl"
            ));
        }
        Ok(Some(Identity::new(mechanism, &user, secret, random::draw())))
    }
}

/// Whether `secret` is a token that a broker could take: what it may hold is RFC 6750's `b64token`.
pub(super) fn is_token(secret: &Secret) -> bool {
    let text = secret.expose().trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Reads a token's file.
pub(super) fn token_in(path: &std::path::Path) -> Result<Secret, String> {
    let token = file::read(path).map_err(|error| error.to_string())?.secret;
    if is_token(&token) { Ok(token) } else { Err(format!("{} holds no token", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(words: &[(&str, &str)]) -> KafkaLogin {
        let word = |name: &str| words.iter().find(|(its, _)| *its == name).map(|(_, word)| (*word).to_owned());
        KafkaLogin {
            mechanism: word("mechanism"),
            user: word("user"),
            password: word("password").map(|password| Secret::new(&password)),
            password_file: word("password_file").map(PathBuf::from),
            token_file: word("token_file").map(PathBuf::from),
            token_command: word("token_command"),
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let scram = [("mechanism", "scram-sha-256"), ("user", "shop"), ("password", "hunter2")];
        let command = [("mechanism", "oauthbearer"), ("token_command", "echo a.b.c")];
        for good in [&scram[..], &command] {
            let mut secrets = Secrets::default();
            let found = login(good).checked(KafkaSecurity::SaslSsl, &mut secrets).expect("it is whole");
            assert!(found.is_some_and(|found| !format!("{found:?} {secrets:?}").contains("hunter2")));
            assert!(secrets.warnings.is_empty());
        }
        let wrong = |words: &[(&str, &str)], security| {
            let line = login(words).checked(security, &mut Secrets::default()).map(drop).expect_err("it is wrong");
            assert!(!line.contains('\n') && !line.contains("hunter2"), "{line}");
            line
        };
        let with = |word: (&'static str, &'static str)| [&scram[..], &[word]].concat();
        for (words, named) in [
            (vec![], "--kafka-sasl-mechanism"),
            (vec![("mechanism", "gssapi")], "--kafka-sasl-mechanism must be plain"),
            (vec![("mechanism", "plain")], "--kafka-sasl-user"),
            (vec![("mechanism", "plain"), ("user", "a")], "FLUX_KAFKA_SASL_PASSWORD"),
            (vec![("mechanism", "plain"), ("user", "a"), ("password", "hunter2\0")], "NUL"),
            (vec![("mechanism", "oauthbearer")], "--kafka-sasl-token-file"),
            (vec![("mechanism", "oauthbearer"), ("password", "hunter2")], "takes no password"),
            (
                vec![("mechanism", "plain"), ("user", "a"), ("password_file", "/nonexistent")],
                "--kafka-sasl-password-file",
            ),
            (with(("password_file", "/nonexistent")), "not both"),
            (with(("token_file", "/nonexistent")), "for oauthbearer"),
        ] {
            let line = wrong(&words, KafkaSecurity::SaslPlaintext);
            assert!(line.contains(named), "{words:?}: {line}");
        }
        assert!(wrong(&scram, KafkaSecurity::Ssl).contains("--kafka-security"), "a login that would never happen");
        assert!(
            login(&[("user", "")]).checked(KafkaSecurity::Plaintext, &mut Secrets::default()).expect("empty").is_none()
        );
    }

    #[test]
    fn a_secret_that_anybody_on_the_way_reads_is_warned_of() {
        for (mechanism, warned) in [("plain", 1), ("scram-sha-512", 0)] {
            let mut secrets = Secrets::default();
            let words = [("mechanism", mechanism), ("user", "shop"), ("password", "x")];
            login(&words).checked(KafkaSecurity::SaslPlaintext, &mut secrets).expect("it is whole");
            assert_eq!(secrets.warnings.len(), warned, "{mechanism}");
        }
    }

    #[test]
    fn tokens_hold_what_an_authorization_field_may() {
        for (text, good) in [("a.b-c_d~e+/==", true), ("", false), ("=", false), ("a b", false), ("a\x01b", false)] {
            assert_eq!(is_token(&Secret::new(text)), good, "{text:?}");
        }
    }
}
