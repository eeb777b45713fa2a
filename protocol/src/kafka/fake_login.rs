//! The login of a scripted broker: what it offers, whom it knows, how long a session lasts. It watches that nothing else is asked
//! before a login, during one, or after a session's end.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::client::BrokerKey;
use super::sasl::mechanism::Mechanism;
use super::sasl::scram::{Algorithm, SHA_256, SHA_512};
use super::versions::key;
use crate::time::Instant;

const NONCE: &str = "of-the-broker";

pub(crate) struct FakeLogin {
    pub(crate) offered: Vec<Mechanism>,
    pub(crate) passwords: HashMap<String, String>,
    pub(crate) tokens: Vec<String>,
    pub(crate) life: Option<Duration>,
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    /// It does not know the password, and lets everybody in.
    pub(crate) is_impostor: bool,
    pub(crate) logins: usize,
    connections: BTreeMap<BrokerKey, State>,
}

enum State {
    Shaken(Mechanism),
    Scram { mechanism: Mechanism, user: String, signed: String },
    TokenRefused,
    In { until: Option<Instant>, since: Instant },
}

impl FakeLogin {
    pub(crate) fn new(offered: &[Mechanism], user: &str, password: &str) -> FakeLogin {
        FakeLogin {
            offered: offered.to_vec(),
            passwords: HashMap::from([(user.to_owned(), password.to_owned())]),
            tokens: Vec::new(),
            life: None,
            iterations: 4096,
            salt: b"a salt".to_vec(),
            is_impostor: false,
            logins: 0,
            connections: BTreeMap::new(),
        }
    }

    /// The answer's body, and whether its header has tags, where the request is one of a login.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        connection: BrokerKey,
        api_key: i16,
        frame: &mut Bytes,
    ) -> Option<(Vec<u8>, bool)> {
        match api_key {
            key::API_VERSIONS => None,
            key::SASL_HANDSHAKE => Some((self.shake_hands(now, connection, frame), false)),
            key::SASL_AUTHENTICATE => {
                let request = SaslAuthenticateRequest::decode(frame, 2).unwrap();
                let response = self.authenticate(now, connection, &request.auth_bytes);
                let mut body = Vec::new();
                response.encode(&mut body, 2).unwrap();
                Some((body, true))
            }
            other => {
                let Some(State::In { until, .. }) = self.connections.get(&connection) else {
                    panic!("request {other} without a login, or during one")
                };
                assert!(until.is_none_or(|until| now < until), "request {other} after the end of the session");
                None
            }
        }
    }

    fn shake_hands(&mut self, now: Instant, connection: BrokerKey, frame: &mut Bytes) -> Vec<u8> {
        if let Some(State::In { since, .. }) = self.connections.get(&connection) {
            assert!(now.since(*since) >= Duration::from_secs(1), "a broker takes no second login within a second");
        }
        let length = usize::from(frame.get_u16());
        let name = frame.split_to(length);
        assert!(frame.is_empty());
        let mechanism: Mechanism = std::str::from_utf8(&name).unwrap().parse().unwrap();
        let is_offered = self.offered.contains(&mechanism);
        if is_offered {
            self.connections.insert(connection, State::Shaken(mechanism));
        }
        let mut body = Vec::new();
        body.put_i16(if is_offered { 0 } else { 33 });
        body.put_i32(self.offered.len() as i32);
        for offered in &self.offered {
            body.put_u16(offered.name().len() as u16);
            body.put_slice(offered.name().as_bytes());
        }
        body
    }

    fn authenticate(&mut self, now: Instant, connection: BrokerKey, message: &Bytes) -> SaslAuthenticateResponse {
        let text = std::str::from_utf8(message).unwrap();
        let state = self.connections.remove(&connection).expect("SaslHandshake comes first");
        match state {
            State::Shaken(Mechanism::Plain) => {
                let mut parts = text.split('\0').skip(1);
                let (user, password) = (parts.next().unwrap(), parts.next().unwrap());
                if self.passwords.get(user).is_some_and(|its| its == password) {
                    self.let_in(now, connection, String::new())
                } else {
                    refused(&format!("Authentication failed: {user} is not known with {password}"))
                }
            }
            State::Shaken(Mechanism::OAuthBearer) if self.tokens.iter().any(|token| text.contains(&**token)) => {
                self.let_in(now, connection, String::new())
            }
            State::Shaken(Mechanism::OAuthBearer) => {
                self.connections.insert(connection, State::TokenRefused);
                challenge("{\"status\":\"invalid_token\"}")
            }
            State::TokenRefused => {
                assert_eq!(text, "\x01");
                refused("refused")
            }
            State::Shaken(mechanism) => {
                let bare = text.strip_prefix("n,,").unwrap();
                let (user, nonce) = bare.strip_prefix("n=").unwrap().split_once(",r=").unwrap();
                let user = user.replace("=2C", ",").replace("=3D", "=");
                let (salt, iterations) = (STANDARD.encode(&self.salt), self.iterations);
                let first = format!("r={nonce}{NONCE},s={salt},i={iterations}");
                let signed = format!("{bare},{first}");
                self.connections.insert(connection, State::Scram { mechanism, user, signed });
                challenge(&first)
            }
            State::Scram { mechanism, user, signed } => self.prove(now, connection, (mechanism, &user), &signed, text),
            State::In { .. } => panic!("SaslAuthenticate without SaslHandshake"),
        }
    }

    fn prove(
        &mut self,
        now: Instant,
        connection: BrokerKey,
        (mechanism, user): (Mechanism, &str),
        signed: &str,
        last: &str,
    ) -> SaslAuthenticateResponse {
        let Algorithm { hash, hmac, stretch } = if mechanism == Mechanism::ScramSha512 { SHA_512 } else { SHA_256 };
        let (unproven, proof) = last.split_once(",p=").unwrap();
        let signed = format!("{signed},{unproven}");
        let password = self.passwords.get(user).cloned();
        let salted = stretch(password.as_deref().unwrap_or("unknown").as_bytes(), &self.salt, self.iterations);
        let stored = hash(&hmac(&salted, b"Client Key"));
        let signature = hmac(&stored, signed.as_bytes());
        let key: Vec<u8> = STANDARD.decode(proof).unwrap().iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let verdict = hmac(&hmac(&salted, b"Server Key"), signed.as_bytes());
        if self.is_impostor {
            self.let_in(now, connection, "v=AAAA".to_owned())
        } else if password.is_some() && hash(&key) == stored {
            self.let_in(now, connection, format!("v={}", STANDARD.encode(verdict)))
        } else {
            refused("Authentication failed during authentication due to invalid credentials")
        }
    }

    fn let_in(&mut self, now: Instant, connection: BrokerKey, last: String) -> SaslAuthenticateResponse {
        self.logins += 1;
        let until = self.life.map(|life| now + life);
        self.connections.insert(connection, State::In { until, since: now });
        let life_ms = self.life.map_or(0, |life| life.as_millis() as i64);
        challenge(&last).with_session_lifetime_ms(life_ms)
    }
}

fn challenge(text: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default().with_auth_bytes(Bytes::from(text.to_owned()))
}

fn refused(words: &str) -> SaslAuthenticateResponse {
    let words = StrBytes::from_string(words.to_owned());
    SaslAuthenticateResponse::default().with_error_code(58).with_error_message(Some(words))
}
