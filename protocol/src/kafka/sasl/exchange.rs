//! One login over one connection: what SaslHandshake and SaslAuthenticate carry, until both sides are content.
//!
//! ```text
//! SaslHandshake v1     mechanism ▶                     ◀ error, mechanisms that the listener offers
//! SaslAuthenticate v2  what the mechanism says ▶       ◀ error and words, what the mechanism says, life of the session
//! ```

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::error::{SaslError, printable};
use super::identity::Identity;
use super::mechanism::Mechanism;
use super::scram::{ClientFirst, Expected, ServerFirst, Wrong, prove, saslname};
use crate::secret::Secret;

/// Kafka's error 33: the listener has other mechanisms.
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
/// Error 34: on a listener without SASL, among others.
const ILLEGAL_SASL_STATE: i16 = 34;

/// What goes out next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// SaslHandshake with this mechanism.
    Handshake(Mechanism),
    /// SaslAuthenticate with these bytes, which are a secret.
    Authenticate(Bytes),
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// SaslHandshake's answer, whole.
    Handshake(Bytes),
    /// SaslAuthenticate's: an error and words of it, what the mechanism says, for how many milliseconds the session lasts (0: for
    /// ever).
    Authenticate { error: i16, words: String, challenge: Bytes, life: u64 },
}

/// How far a login has come.
#[derive(Debug)]
pub(crate) enum Progress {
    Send(Outgoing),
    /// Ask again a little later: [`Exchange::advance`].
    Wait,
    /// Logged in; for how long, where there is a limit.
    Done(Option<Duration>),
}

/// One login. The secret is the one that there was when it began.
#[derive(Debug)]
pub(crate) struct Exchange {
    identity: Identity,
    secret: Secret,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Handshake,
    /// One message was all there is to say: the next answer decides.
    Said,
    ScramFirst(ClientFirst),
    ScramKeys(ClientFirst, ServerFirst),
    ScramLast(Expected),
    /// The broker has told why it does not like the token, and its refusal comes next.
    TokenRefused(String),
}

impl Exchange {
    pub(crate) fn new(identity: &Identity) -> (Exchange, Outgoing) {
        let exchange = Exchange { identity: identity.clone(), secret: identity.secret(), step: Step::Handshake };
        (exchange, Outgoing::Handshake(identity.mechanism()))
    }

    pub(crate) fn handle(&mut self, incoming: Incoming) -> Result<Progress, SaslError> {
        match (incoming, &self.step) {
            (Incoming::Handshake(body), Step::Handshake) => self.handle_handshake(&body),
            (Incoming::Authenticate { error: 0, challenge, life, .. }, _) => {
                self.handle_challenge(&challenge, (life > 0).then(|| Duration::from_millis(life)))
            }
            // What it said before says more.
            (Incoming::Authenticate { .. }, Step::TokenRefused(words)) => Err(self.refused(words)),
            (Incoming::Authenticate { error, words, .. }, _) if words.is_empty() => {
                Err(self.refused(&format!("error {error}")))
            }
            (Incoming::Authenticate { words, .. }, _) => Err(self.refused(&words)),
            (Incoming::Handshake(_), _) => Err(self.broken("an answer that nobody asked for")),
        }
    }

    /// The answer to SaslHandshake v1: an error, and names. Read by hand, since the crate would set aside room for as many names
    /// as the message says it has.
    fn handle_handshake(&mut self, body: &Bytes) -> Result<Progress, SaslError> {
        let short = self.broken("an answer to SaslHandshake that is cut off");
        let mut rest = body.clone();
        match rest.try_get_i16().map_err(|_| short.clone())? {
            0 => self.first(),
            UNSUPPORTED_SASL_MECHANISM => {
                let count = rest.try_get_i32().map_err(|_| short.clone())?;
                let mut offered = Vec::new();
                for _ in 0..count {
                    let length = rest.try_get_u16().map_err(|_| short.clone())?;
                    if usize::from(length) > rest.len() {
                        return Err(short);
                    }
                    offered.push(printable(&String::from_utf8_lossy(&rest.split_to(length.into()))));
                }
                let offered = if offered.is_empty() { "none".to_owned() } else { printable(&offered.join(", ")) };
                Err(SaslError::Mechanism { wanted: self.identity.mechanism(), offered })
            }
            ILLEGAL_SASL_STATE => Err(SaslError::NotWanted),
            other => Err(SaslError::Handshake(other)),
        }
    }

    fn first(&mut self) -> Result<Progress, SaslError> {
        let user = self.identity.user();
        let secret = self.secret.expose();
        let message = match self.identity.mechanism() {
            Mechanism::Plain => {
                self.step = Step::Said;
                format!("\0{user}\0{secret}")
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                let first = ClientFirst::new(user, self.identity.nonce());
                let message = first.message();
                self.step = Step::ScramFirst(first);
                message
            }
            Mechanism::OAuthBearer if self.secret.is_empty() => {
                self.identity.renew_secret();
                return Err(SaslError::NoToken);
            }
            Mechanism::OAuthBearer => {
                self.step = Step::Said;
                let acts_for = if user.is_empty() { String::new() } else { format!("a={}", saslname(user)) };
                format!("n,{acts_for},\x01auth=Bearer {secret}\x01\x01")
            }
        };
        Ok(send(message))
    }

    fn handle_challenge(&mut self, challenge: &[u8], life: Option<Duration>) -> Result<Progress, SaslError> {
        match std::mem::replace(&mut self.step, Step::Said) {
            Step::Said if challenge.is_empty() => Ok(Progress::Done(life)),
            // RFC 7628 section 3.2.3: the error as JSON; a lone ^A asks for the failure itself.
            Step::Said if self.identity.mechanism() == Mechanism::OAuthBearer => {
                self.step = Step::TokenRefused(String::from_utf8_lossy(challenge).into_owned());
                Ok(send("\x01".to_owned()))
            }
            Step::Said => Err(self.broken("a challenge where none belongs")),
            Step::ScramFirst(first) => {
                let server = ServerFirst::read(challenge, &first).map_err(|wrong| self.wrong(wrong))?;
                self.step = Step::ScramKeys(first, server);
                self.advance()
            }
            Step::ScramLast(expected) => {
                expected.verify(challenge).map_err(|wrong| self.wrong(wrong))?;
                Ok(Progress::Done(life))
            }
            Step::TokenRefused(words) => Err(self.refused(&words)),
            Step::Handshake | Step::ScramKeys(..) => Err(self.broken("an answer that nobody asked for")),
        }
    }

    /// Goes on where keys are waited for.
    pub(crate) fn advance(&mut self) -> Result<Progress, SaslError> {
        let Step::ScramKeys(first, server) = &self.step else { return Ok(Progress::Wait) };
        let Some(keys) = self.identity.keys(&self.secret, &server.salt, server.iterations) else {
            return Ok(Progress::Wait);
        };
        let (message, expected) = prove(self.identity.algorithm(), &keys, first, server);
        self.step = Step::ScramLast(expected);
        Ok(send(message))
    }

    fn wrong(&self, wrong: Wrong) -> SaslError {
        match wrong {
            Wrong::Form(what) => self.broken(what),
            Wrong::Iterations(count) => SaslError::Iterations(count),
            Wrong::Refused(words) => self.refused(&words),
            Wrong::Proof => SaslError::Proof(self.identity.who()),
        }
    }

    fn broken(&self, what: &'static str) -> SaslError {
        SaslError::Challenge { mechanism: self.identity.mechanism(), what }
    }

    fn refused(&self, words: &str) -> SaslError {
        self.identity.renew_secret();
        let words = self.secret.redact(&printable(words));
        SaslError::Refused { who: self.identity.who(), mechanism: self.identity.mechanism(), words }
    }
}

fn send(message: String) -> Progress {
    Progress::Send(Outgoing::Authenticate(Bytes::from(message)))
}
