//! When a connection is logged in: after ApiVersions, before anything else, and again on the same connection before the broker's
//! limit is over (KIP-368).
//!
//! The broker closes a connection that asks for anything else once its session has ended. So a session is renewed at 85 to 95 % of
//! its life, drawn for each connection, lest all of them do it in the same moment. From then on nothing new is sent; when what is
//! under way has been answered the login goes out, and when it is answered requests go on. Nothing is lost, and nothing changes
//! places.

use std::time::Duration;

use super::error::SaslError;
use super::exchange::{Exchange, Progress};
pub(crate) use super::exchange::{Incoming, Outgoing};
use super::identity::Identity;
use crate::time::Instant;

/// A session is renewed when so many thousandths of its life are over.
const RENEWED_AT_PERMILLE: (u64, u64) = (850, 950);

/// And so long before its end at the latest: requests that are under way then are looked at before the end, unless the broker is
/// slower than that. It matters to sessions of some seconds.
const RENEWAL_MARGIN: Duration = Duration::from_secs(1);

/// A broker takes no second login on a connection within a second.
const RENEWAL_GAP_MIN: Duration = Duration::from_millis(1_050);

/// How often keys that a helper derives are asked for.
const KEYS_POLL: Duration = Duration::from_millis(1);

#[derive(Debug)]
enum State {
    /// ApiVersions has not been answered.
    New,
    LoggingIn(Exchange),
    /// The same, while keys are derived.
    Deriving {
        exchange: Exchange,
        asked_at: Instant,
        deadline: Instant,
    },
    LoggedIn {
        renew_at: Instant,
    },
    /// It is to be renewed as soon as nothing is under way.
    Due,
}

/// The login of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    identity: Identity,
    /// How long keys may take.
    patience: Duration,
    state: State,
    /// It has been logged in once.
    was_valid: bool,
}

impl Session {
    pub(crate) fn new(identity: Identity, patience: Duration) -> Session {
        Session { identity, patience, state: State::New, was_valid: false }
    }

    /// Whether requests may be sent.
    pub(crate) fn is_valid(&self) -> bool {
        matches!(self.state, State::LoggedIn { .. })
    }

    /// Whether it is logged in, be it that the login is being renewed.
    pub(crate) fn is_open(&self) -> bool {
        self.was_valid
    }

    /// The first login, or the next one where it is due. Nothing may be under way on the connection.
    pub(crate) fn begin(&mut self) -> Outgoing {
        let (exchange, outgoing) = Exchange::new(&self.identity);
        self.state = State::LoggingIn(exchange);
        outgoing
    }

    /// Whether [`Session::begin`] is to be called as soon as nothing is under way.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.state, State::Due)
    }

    /// When [`Session::handle_time`] has something to do.
    pub(crate) fn next_time(&self) -> Instant {
        match self.state {
            State::LoggedIn { renew_at } => renew_at,
            State::Deriving { asked_at, .. } => asked_at + KEYS_POLL,
            State::New | State::LoggingIn(_) | State::Due => Instant::FAR_FUTURE,
        }
    }

    /// When the connection is to be given up because of it.
    pub(crate) fn deadline(&self) -> Instant {
        if let State::Deriving { deadline, .. } = self.state { deadline } else { Instant::FAR_FUTURE }
    }

    pub(crate) fn handle_time(&mut self, now: Instant) -> Result<Option<Outgoing>, SaslError> {
        if now < self.next_time() {
            return Ok(None);
        }
        match std::mem::replace(&mut self.state, State::Due) {
            State::LoggedIn { .. } => Ok(None),
            State::Deriving { mut exchange, deadline, .. } => match exchange.advance()? {
                Progress::Send(outgoing) => {
                    self.state = State::LoggingIn(exchange);
                    Ok(Some(outgoing))
                }
                Progress::Wait | Progress::Done(_) => {
                    self.state = State::Deriving { exchange, asked_at: now, deadline };
                    Ok(None)
                }
            },
            other => {
                self.state = other;
                Ok(None)
            }
        }
    }

    /// The answer to what went out last, at `asked`.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        asked: Instant,
        incoming: Incoming,
    ) -> Result<Option<Outgoing>, SaslError> {
        let State::LoggingIn(mut exchange) = std::mem::replace(&mut self.state, State::New) else {
            let what = "an answer that nobody asked for";
            return Err(SaslError::Challenge { mechanism: self.identity.mechanism(), what });
        };
        match exchange.handle(incoming)? {
            Progress::Send(outgoing) => {
                self.state = State::LoggingIn(exchange);
                return Ok(Some(outgoing));
            }
            Progress::Wait => {
                self.state = State::Deriving { exchange, asked_at: now, deadline: now + self.patience };
            }
            Progress::Done(life) => {
                self.was_valid = true;
                self.state = State::LoggedIn { renew_at: self.renew_at(asked, life) };
            }
        }
        Ok(None)
    }

    /// The broker counts from when it has answered, which is later than when it was asked.
    fn renew_at(&self, asked: Instant, life: Option<Duration>) -> Instant {
        let Some(life) = life else { return Instant::FAR_FUTURE };
        let (least, most) = RENEWED_AT_PERMILLE;
        let permille = self.identity.between(least, most);
        let micros = u64::try_from(life.as_micros()).unwrap_or(u64::MAX) / 1000;
        let renewed = Duration::from_micros(micros.saturating_mul(permille)).min(life.saturating_sub(RENEWAL_MARGIN));
        asked + renewed.max(RENEWAL_GAP_MIN)
    }
}
