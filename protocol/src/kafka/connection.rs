//! One connection to one broker: the handshake, the login, the version of each request, and the requests in flight.
//!
//! A broker answers the requests of a connection in the order it got them, so answers are matched with a queue; the
//! correlation id must agree or the stream is not what it seems. Never retries, never knows which broker it speaks to
//! ([`super::cluster`] does both).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};

use super::frame::{self, FrameError};
use super::limits::{CONNECT_TIMEOUT, CONNECTION_REQUESTS_MAX, RESPONSE_BYTES_MAX, SASL_RESPONSE_BYTES_MAX};
use super::sasl::error::SaslError;
use super::sasl::identity::Identity;
use super::sasl::session::{Incoming, Outgoing, Session};
use super::versions::{ApiKeyCode, OURS, OURS_COUNT, choose, index_of, key};
use super::wire::{self, WireError};
use crate::time::Instant;

/// Why a connection can no longer be used. Close it; what became of the requests in flight on it is **unknown**.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The stream is not cut into frames as it should be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An answer that is not what its request and version ask for.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An answer to another request than the one that is due.
    #[error("an answer to request {found} where {expected} is due")]
    Correlation {
        /// What was due.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// Bytes where no request is in flight.
    #[error("an answer that nobody asked for")]
    Unsolicited,
    /// The broker refused the handshake: it is older than Kafka 3.9.
    #[error("the broker refused ApiVersions with error {0}: Kafka 3.9 or later is needed")]
    Handshake(i16),
    /// We are not logged in.
    #[error(transparent)]
    Login(#[from] SaslError),
}

/// The version of SaslHandshake: the answers to it are followed by SaslAuthenticate.
const SASL_HANDSHAKE_VERSION: i16 = 1;
/// The version of SaslAuthenticate: the first of them with a flexible header.
const AUTHENTICATE_VERSION: i16 = 2;
const _: () = assert!(SASL_HANDSHAKE_VERSION != AUTHENTICATE_VERSION, "answers are told apart by it");

/// Why a request was not sent. It had no effect at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection, or its handshake or login is not over: ask again later.
    #[error("no connection is ready")]
    NotReady,
    /// As many requests are in flight as may be ([`CONNECTION_REQUESTS_MAX`]), or the login is being renewed: ask again when an
    /// answer has come.
    #[error("too many requests are in flight, or the login is being renewed")]
    Full,
    /// We and this broker have no version of the request in common. Asking it again is useless.
    #[error("no common version of request {0}")]
    Unsupported(ApiKeyCode),
    /// The message has a field that the chosen version lacks. Our own mistake.
    #[error("the request cannot be written: {0}")]
    Encode(String),
}

/// What a request may cost: how long its answer may take (then the connection is given up), and how long it may be.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// From sending to the whole answer.
    pub timeout: Duration,
    /// Longest answer, bytes.
    pub response_bytes_max: usize,
}

impl RequestLimits {
    /// An answer of at most [`RESPONSE_BYTES_MAX`] within `timeout`.
    pub const fn within(timeout: Duration) -> RequestLimits {
        RequestLimits { timeout, response_bytes_max: RESPONSE_BYTES_MAX }
    }
}

/// An answer, not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version it was asked in.
    pub version: i16,
    /// Everything after the header.
    pub body: Bytes,
}

impl Answer {
    /// What the broker says. `R` is the request's type.
    ///
    /// # Errors
    /// [`WireError`]: close the connection it came from (in a cluster: [`super::cluster::Cluster::close_broker`]).
    pub fn decode<R: Request>(&self) -> Result<R::Response, WireError> {
        wire::decode(&self.body, self.version)
    }
}

#[derive(Debug)]
enum Purpose<P> {
    Handshake,
    /// SaslHandshake or SaslAuthenticate.
    Login,
    /// A question whose answer tells only that there is one.
    Probe,
    Request(P),
}

#[derive(Debug)]
struct InFlight<P> {
    correlation_id: i32,
    version: i16,
    response_bytes_max: usize,
    asked: Instant,
    deadline: Instant,
    purpose: Purpose<P>,
}

/// One connection. `P` is what the caller ties to each request and gets back with its answer.
#[derive(Debug)]
pub struct BrokerConnection<P> {
    client_id: String,
    /// By place in [`OURS`]; empty until the handshake is over.
    versions: Option<[Option<i16>; OURS_COUNT]>,
    /// `None`: the broker wants no login.
    login: Option<Box<Session>>,
    in_flight: VecDeque<InFlight<P>>,
    correlation_id_next: i32,
    out: Vec<u8>,
}

impl<P> BrokerConnection<P> {
    /// A connection whose socket has just opened: the handshake is the first thing to go out, the login the second.
    pub fn open(now: Instant, client_id: &str, login: Option<&Identity>) -> BrokerConnection<P> {
        let mut connection = BrokerConnection {
            client_id: client_id.to_owned(),
            versions: None,
            login: login.map(|identity| Box::new(Session::new(identity.clone(), CONNECT_TIMEOUT))),
            in_flight: VecDeque::new(),
            correlation_id_next: 0,
            out: Vec::new(),
        };
        connection.ask_for_versions(now, CONNECT_TIMEOUT, Purpose::Handshake);
        connection
    }

    fn ask_for_versions(&mut self, now: Instant, timeout: Duration, purpose: Purpose<P>) {
        let version = OURS[index_of(key::API_VERSIONS).expect("the handshake is a request of ours")].max;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("flux-gate"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let start = self.begin(key::API_VERSIONS, version);
        request.encode(&mut self.out, version).expect("a constant message of a version the crate knows");
        self.end(now, start, version, RequestLimits::within(timeout), purpose);
    }

    /// Asks for a sign of life, where the handshake is over and nothing else is under way. Its answer goes nowhere; one that
    /// takes longer than `timeout` ends the connection as any other does.
    pub fn probe(&mut self, now: Instant, timeout: Duration) {
        if self.is_ready() && self.in_flight.is_empty() {
            self.ask_for_versions(now, timeout, Purpose::Probe);
        }
    }

    /// Since when the answer that is due is waited for, one to a sign of life included; `None`: none is.
    pub fn owes_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|due| due.asked)
    }

    /// Whether handshake and login are over, and the login is not being renewed: requests may be sent.
    pub fn is_ready(&self) -> bool {
        self.versions.is_some() && self.login.as_ref().is_none_or(|login| login.is_valid())
    }

    /// Whether requests may be sent, or may be as soon as the login has been renewed.
    pub fn is_open(&self) -> bool {
        self.versions.is_some() && self.login.as_ref().is_none_or(|login| login.is_open())
    }

    /// The version in which this broker gets a request: the highest both know. `None` before the handshake is over, or
    /// where there is none.
    pub fn version(&self, api_key: ApiKeyCode) -> Option<i16> {
        self.versions.as_ref()?[index_of(api_key)?]
    }

    /// Requests without an answer, the handshake among them.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends a request of any kind; its answer will come with `token`.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent.
    pub fn request<R: Request>(
        &mut self,
        now: Instant,
        request: &R,
        token: P,
        limits: RequestLimits,
    ) -> Result<(), RequestError> {
        let version = self.may_send(R::KEY)?;
        let start = self.begin(R::KEY, version);
        if let Err(error) = request.encode(&mut self.out, version) {
            self.out.truncate(start);
            return Err(RequestError::Encode(error.to_string()));
        }
        self.end(now, start, version, limits, Purpose::Request(token));
        Ok(())
    }

    /// Sends a request whose body `write` appends by itself, in the version it is told.
    ///
    /// # Errors
    /// [`RequestError`]: nothing was sent, and `write` was not called.
    pub fn request_with(
        &mut self,
        now: Instant,
        api_key: ApiKeyCode,
        token: P,
        limits: RequestLimits,
        write: impl FnOnce(&mut Vec<u8>, i16),
    ) -> Result<(), RequestError> {
        let version = self.may_send(api_key)?;
        let start = self.begin(api_key, version);
        write(&mut self.out, version);
        self.end(now, start, version, limits, Purpose::Request(token));
        Ok(())
    }

    /// The version in which a request of this kind would be sent now.
    ///
    /// # Errors
    /// Why it would not be.
    pub fn may_send(&self, api_key: ApiKeyCode) -> Result<i16, RequestError> {
        if !self.is_open() {
            return Err(RequestError::NotReady);
        }
        let version = self.version(api_key).ok_or(RequestError::Unsupported(api_key))?;
        let has_room = self.in_flight.len() < CONNECTION_REQUESTS_MAX && self.is_ready();
        if has_room { Ok(version) } else { Err(RequestError::Full) }
    }

    fn begin(&mut self, api_key: ApiKeyCode, version: i16) -> usize {
        frame::begin_request(&mut self.out, api_key, version, self.correlation_id_next, &self.client_id)
    }

    fn end(&mut self, now: Instant, start: usize, version: i16, limits: RequestLimits, purpose: Purpose<P>) {
        frame::end_request(&mut self.out, start);
        self.in_flight.push_back(InFlight {
            correlation_id: self.correlation_id_next,
            version,
            response_bytes_max: limits.response_bytes_max,
            asked: now,
            deadline: now + limits.timeout,
            purpose,
        });
        self.correlation_id_next = self.correlation_id_next.wrapping_add(1);
    }

    /// SaslHandshake is the one request of ours with the old header, without tags, of both question and answer.
    fn send_login(&mut self, now: Instant, outgoing: Outgoing) {
        let (start, version) = match outgoing {
            Outgoing::Handshake(mechanism) => {
                let start = self.begin(key::SASL_HANDSHAKE, SASL_HANDSHAKE_VERSION);
                frame::drop_request_tags(&mut self.out);
                let request =
                    SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
                request.encode(&mut self.out, SASL_HANDSHAKE_VERSION).expect("a name of a version the crate knows");
                (start, SASL_HANDSHAKE_VERSION)
            }
            Outgoing::Authenticate(bytes) => {
                let start = self.begin(key::SASL_AUTHENTICATE, AUTHENTICATE_VERSION);
                let request = SaslAuthenticateRequest::default().with_auth_bytes(bytes);
                request.encode(&mut self.out, AUTHENTICATE_VERSION).expect("bytes of a version the crate knows");
                (start, AUTHENTICATE_VERSION)
            }
        };
        let limits = RequestLimits { timeout: CONNECT_TIMEOUT, response_bytes_max: SASL_RESPONSE_BYTES_MAX };
        self.end(now, start, version, limits, Purpose::Login);
    }

    /// When [`BrokerConnection::handle_time`] has something to do.
    pub fn next_time(&self) -> Instant {
        self.login.as_ref().map_or(Instant::FAR_FUTURE, |login| login.next_time())
    }

    /// Renews the login where that is due.
    ///
    /// # Errors
    /// [`ConnectionError`], as of [`BrokerConnection::next_answer`].
    pub fn handle_time(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(login) = &mut self.login
            && let Some(outgoing) = login.handle_time(now)?
        {
            self.send_login(now, outgoing);
        }
        self.renew_login(now);
        Ok(())
    }

    /// Begins the next login where it is due and nothing is under way.
    fn renew_login(&mut self, now: Instant) {
        if let Some(login) = self.login.as_mut().filter(|login| login.is_due())
            && self.in_flight.is_empty()
        {
            let outgoing = login.begin();
            self.send_login(now, outgoing);
        }
    }

    fn handle_login(&mut self, now: Instant, asked: Instant, body: Bytes, version: i16) -> Result<(), ConnectionError> {
        let login = self.login.as_mut().ok_or(ConnectionError::Unsolicited)?;
        let incoming = if version == SASL_HANDSHAKE_VERSION {
            Incoming::Handshake(body)
        } else {
            let answer: SaslAuthenticateResponse = wire::decode(&body, version)?;
            Incoming::Authenticate {
                error: answer.error_code,
                words: answer.error_message.map_or_else(String::new, |words| words.to_string()),
                challenge: answer.auth_bytes,
                life: u64::try_from(answer.session_lifetime_ms).unwrap_or_default(),
            }
        };
        if let Some(outgoing) = login.handle_answer(now, asked, incoming)? {
            self.send_login(now, outgoing);
        }
        Ok(())
    }

    /// Takes the next answer out of what has arrived; call it until it returns `None`. The answers to handshake and login are
    /// dealt with here and not returned.
    ///
    /// # Errors
    /// [`ConnectionError`]: close the socket; take what was in flight with [`BrokerConnection::into_tokens`].
    pub fn next_answer(&mut self, now: Instant, buffer: &mut BytesMut) -> Result<Option<(P, Answer)>, ConnectionError> {
        loop {
            self.renew_login(now);
            let Some(due) = self.in_flight.front() else {
                return if buffer.is_empty() { Ok(None) } else { Err(ConnectionError::Unsolicited) };
            };
            let Some(mut frame) = frame::take_frame(buffer, due.response_bytes_max)? else {
                return Ok(None);
            };
            let found = frame::take_correlation_id(&mut frame)?;
            if found != due.correlation_id {
                return Err(ConnectionError::Correlation { expected: due.correlation_id, found });
            }
            // Of the others only SaslHandshake and ApiVersions have the old header.
            let is_old = match due.purpose {
                Purpose::Handshake | Purpose::Probe => true,
                Purpose::Login => due.version == SASL_HANDSHAKE_VERSION,
                Purpose::Request(_) => false,
            };
            if !is_old {
                frame::skip_tags(&mut frame)?;
            }
            let (version, asked) = (due.version, due.asked);
            match self.in_flight.pop_front().expect("it was looked at above").purpose {
                Purpose::Handshake => {
                    self.shake_hands(&frame, version)?;
                    if let Some(login) = &mut self.login {
                        let outgoing = login.begin();
                        self.send_login(now, outgoing);
                    }
                }
                Purpose::Login => self.handle_login(now, asked, frame, version)?,
                Purpose::Probe => {}
                Purpose::Request(token) => return Ok(Some((token, Answer { version, body: frame }))),
            }
        }
    }

    /// The answer to ApiVersions. An old broker answers error 35 in version 0, whose first field is the error too.
    fn shake_hands(&mut self, body: &Bytes, version: i16) -> Result<(), ConnectionError> {
        let error = body.first_chunk().map_or(0, |bytes| i16::from_be_bytes(*bytes));
        if error != 0 {
            return Err(ConnectionError::Handshake(error));
        }
        let response: ApiVersionsResponse = wire::decode(body, version)?;
        let mut versions = [None; OURS_COUNT];
        for theirs in &response.api_keys {
            if let Some(index) = index_of(theirs.api_key) {
                versions[index] = choose(OURS[index], theirs.min_version, theirs.max_version);
            }
        }
        self.versions = Some(versions);
        Ok(())
    }

    /// Moves what should go out now to the end of `out`. Costs one comparison where there is nothing; where `out` is empty
    /// the two buffers change places and nothing is copied.
    pub fn poll_write(&mut self, out: &mut Vec<u8>) {
        if self.out.is_empty() {
            return;
        }
        if out.is_empty() {
            std::mem::swap(out, &mut self.out);
        } else {
            out.append(&mut self.out);
        }
    }

    /// When the answer that is due must have come; later, the connection is to be given up.
    pub fn deadline(&self) -> Instant {
        let answer = self.in_flight.front().map_or(Instant::FAR_FUTURE, |request| request.deadline);
        self.login.as_ref().map_or(answer, |login| login.deadline().min(answer))
    }

    /// The tokens of the requests in flight, oldest first: what became of them is unknown.
    pub fn into_tokens(self) -> impl Iterator<Item = P> {
        self.in_flight.into_iter().filter_map(|request| match request.purpose {
            Purpose::Handshake | Purpose::Login | Purpose::Probe => None,
            Purpose::Request(token) => Some(token),
        })
    }
}
