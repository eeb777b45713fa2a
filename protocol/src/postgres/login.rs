//! From the start-up message to AuthenticationOk: trust, SCRAM-SHA-256 (bound to the TLS session where there is one), MD5,
//! and clear text where nobody can listen.
//!
//! Never sends a password in clear text over TCP but to a server whose name its certificate has proved, and never believes a server that broke off SCRAM before it had
//! proved that it knows the password too.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::config::{Host, PostgresConfig};
use super::error::ServerError;
use super::tls::{ChannelBinding, SslMode, end_point};
use crate::secret::{Secret, SharedSecret};

/// Why the login failed. Nothing was asked of the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server says why: a wrong password, no such database, too many connections, still starting up.
    #[error("{0}")]
    Refused(Box<ServerError>),
    /// The server asks for a password and there is none.
    #[error("the server asks for a password and there is none: in the URL, --postgres-password-file or passfile=")]
    PasswordMissing,
    /// The server asks for a method that is not spoken here; names it.
    #[error("the server asks for {0}, which is not supported: use scram-sha-256 in pg_hba.conf")]
    Method(&'static str),
    /// The server asks for the password in clear text over TCP.
    #[error(
        "the server asks for the password in clear text over TCP: use scram-sha-256 in pg_hba.conf, or sslmode=verify-full"
    )]
    ClearText,
    /// `channel_binding=require`, and the login would not prove that both ends see the same TLS session.
    #[error("channel_binding=require, and {0}")]
    Unbound(&'static str),
    /// The exchange of SCRAM went wrong: not the server that knows this password, or not a server of this protocol.
    #[error("SCRAM-SHA-256 failed: {0}")]
    Scram(String),
    /// Messages in an order that no server would send.
    #[error("the server broke the order of the login")]
    Order,
}

pub(super) struct Login {
    user: String,
    password: Option<Secret>,
    clear_text_allowed: bool,
    channel_binding: ChannelBinding,
    channel: Channel,
    /// The proof in SCRAM covers the TLS session.
    is_bound: bool,
    step: Step,
}

/// What the connection runs through.
enum Channel {
    Plain,
    /// TLS; the hash that a login can be bound to, where the server's certificate has one.
    Tls(Option<Vec<u8>>),
}

enum Step {
    /// Nothing was answered yet.
    Start,
    /// A password message was sent.
    Answered,
    /// The first SCRAM message was sent.
    ScramFirst(sasl::ScramSha256),
    /// The proof was sent; the server's is awaited.
    ScramFinal(sasl::ScramSha256),
    /// Both sides have proved what they know.
    Proven,
}

impl Login {
    pub(super) fn new(config: &PostgresConfig) -> Login {
        Login {
            user: config.user.clone(),
            password: config.password.as_ref().map(SharedSecret::get),
            clear_text_allowed: matches!(config.host, Host::Unix(_)),
            channel_binding: config.tls.channel_binding,
            channel: Channel::Plain,
            is_bound: false,
            step: Step::Start,
        }
    }

    /// The connection runs through TLS, and the server has shown this certificate.
    pub(super) fn handle_tls(&mut self, mode: SslMode, certificate: &[u8]) {
        self.channel = Channel::Tls(end_point(certificate));
        self.clear_text_allowed |= mode == SslMode::VerifyFull;
    }

    /// Takes one Authentication message; appends the answer to `out`. True: logged in.
    pub(super) fn handle(&mut self, message: &Message, out: &mut BytesMut) -> Result<bool, LoginError> {
        let step = std::mem::replace(&mut self.step, Step::Answered);
        self.step = match (step, message) {
            (Step::Start | Step::Answered | Step::Proven, Message::AuthenticationOk) => {
                if self.channel_binding == ChannelBinding::Require && !self.is_bound {
                    return Err(LoginError::Unbound("the server lets us in without"));
                }
                return Ok(true);
            }
            (Step::Start, Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_))
                if self.channel_binding == ChannelBinding::Require =>
            {
                return Err(LoginError::Unbound(
                    "the server asks for a password alone: use scram-sha-256 in pg_hba.conf",
                ));
            }
            (Step::Start, Message::AuthenticationCleartextPassword) => {
                if !self.clear_text_allowed {
                    return Err(LoginError::ClearText);
                }
                self.send_password(self.password()?.to_owned().as_bytes(), out);
                Step::Answered
            }
            (Step::Start, Message::AuthenticationMd5Password(body)) => {
                let hash = md5_hash(self.user.as_bytes(), self.password()?.as_bytes(), body.salt());
                self.send_password(hash.as_bytes(), out);
                Step::Answered
            }
            (Step::Start, Message::AuthenticationSasl(body)) => {
                let (mut has_plain, mut has_bound) = (false, false);
                let mut mechanisms = body.mechanisms();
                while let Some(mechanism) = mechanisms.next().map_err(|_| LoginError::Order)? {
                    has_plain |= mechanism == sasl::SCRAM_SHA_256;
                    has_bound |= mechanism == sasl::SCRAM_SHA_256_PLUS;
                }
                let (mechanism, binding) = self.mechanism(has_plain, has_bound)?;
                let scram = sasl::ScramSha256::new(self.password()?.as_bytes(), binding);
                frontend::sasl_initial_response(mechanism, scram.message(), out)
                    .expect("a nonce is short and without NUL");
                Step::ScramFirst(scram)
            }
            (Step::ScramFirst(mut scram), Message::AuthenticationSaslContinue(body)) => {
                scram.update(body.data()).map_err(|error| LoginError::Scram(error.to_string()))?;
                frontend::sasl_response(scram.message(), out).expect("a proof is short");
                Step::ScramFinal(scram)
            }
            (Step::ScramFinal(mut scram), Message::AuthenticationSaslFinal(body)) => {
                scram.finish(body.data()).map_err(|error| LoginError::Scram(error.to_string()))?;
                Step::Proven
            }
            (Step::Start, Message::AuthenticationGss | Message::AuthenticationSspi) => {
                return Err(LoginError::Method("GSSAPI or SSPI"));
            }
            (Step::Start, Message::AuthenticationKerberosV5 | Message::AuthenticationScmCredential) => {
                return Err(LoginError::Method("Kerberos V5 or SCM credentials"));
            }
            _ => return Err(LoginError::Order),
        };
        Ok(false)
    }

    /// Which of the mechanisms that the server offers, and what is said of channel binding (RFC 5802 section 6): a server that
    /// can bind hears of our being able to, so that nobody in between can take its offer away.
    fn mechanism(
        &mut self,
        has_plain: bool,
        has_bound: bool,
    ) -> Result<(&'static str, sasl::ChannelBinding), LoginError> {
        let end_point = match &self.channel {
            Channel::Tls(end_point) if self.channel_binding != ChannelBinding::Disable => end_point.clone(),
            Channel::Plain | Channel::Tls(_) => None,
        };
        match end_point {
            Some(end_point) if has_bound => {
                self.is_bound = true;
                Ok((sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(end_point)))
            }
            _ if self.channel_binding == ChannelBinding::Require => Err(LoginError::Unbound(if has_bound {
                "the server's certificate has no hash to bind to (RFC 5929): ECDSA or RSA with SHA-2 has"
            } else {
                "the server does not offer it: does a proxy end TLS in front of it?"
            })),
            _ if !has_plain => Err(LoginError::Method("a SASL mechanism other than SCRAM-SHA-256")),
            Some(_) => Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested())),
            None => Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported())),
        }
    }

    fn password(&self) -> Result<&str, LoginError> {
        self.password.as_ref().map(Secret::expose).ok_or(LoginError::PasswordMissing)
    }

    fn send_password(&self, password: &[u8], out: &mut BytesMut) {
        frontend::password_message(password, out).expect("the URL's password holds no NUL");
    }
}
