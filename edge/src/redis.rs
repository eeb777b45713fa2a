//! One core's connection to Redis as a machine: logging in, loading scripts, one queue of calls whose replies come in
//! the order they were asked.
//!
//! Handed bytes and time, gives back bytes and replies. Never opens a socket; never gives a reply a meaning; never
//! repeats a call by itself: a call without a reply is handed back as lost when the connection goes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::{self, Decoder, Limits, Malformed, Reply, Value};
use flux_protocol::time::Instant;

use crate::limits::{REDIS_REPLY_OVERDUE, REDIS_WRITE_BYTES_MAX};
use crate::scripts;

/// Whom to log in as, and where.
#[derive(Clone, Default)]
pub struct Login {
    /// ACL user; `None` with a password: the default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: Option<String>,
    /// Database number.
    pub database: u32,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("database", &self.database).finish_non_exhaustive()
    }
}

const LIMITS: Limits = Limits::DEFAULT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Connected; replies to the login and to the first loading of scripts are awaited.
    Opening,
    Ready,
}

/// A call that was written and not answered.
#[derive(Debug)]
enum Asked<C> {
    /// AUTH, SELECT or SCRIPT LOAD of ours.
    Setup,
    /// The last of them: the connection is ready when it is answered.
    SetupEnd,
    Call(C),
}

/// Why a connection must be closed. Calls that were under way on it are lost: unknown.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// What came is not RESP.
    #[error("malformed reply from Redis: {0}")]
    Malformed(#[from] Malformed),
    /// A reply that nobody asked for.
    #[error("Redis sent a reply that nobody asked for")]
    Unasked,
    /// AUTH, SELECT or SCRIPT LOAD was refused; Redis' own words.
    #[error("Redis refused the login or a script (it must be Redis 7.0 or Valkey 7.2 at least): {0}")]
    Setup(String),
    /// The oldest call has waited for too long.
    #[error("Redis has not answered in time")]
    Overdue,
}

/// What came of one step of reading.
#[derive(Debug)]
pub enum Step<'b, C> {
    /// The buffer holds no further whole reply.
    Nothing,
    /// A reply of the login; read on.
    Login,
    /// The login is done and the scripts are loaded: calls may be written.
    Opened,
    /// The reply to this call; read on afterwards.
    Reply(C, Reply<'b>),
}

/// The machine. `C` names what a call was for.
#[derive(Debug)]
pub struct RedisLink<C> {
    login: Login,
    state: State,
    out: Vec<u8>,
    asked: VecDeque<(Asked<C>, Instant)>,
    decoder: Decoder,
    /// When the connection was last lost, to be told for how long.
    down_since: Instant,
}

impl<C> RedisLink<C> {
    /// A link that is closed.
    pub fn new(login: Login, now: Instant) -> RedisLink<C> {
        RedisLink {
            login,
            state: State::Closed,
            out: Vec::new(),
            asked: VecDeque::new(),
            decoder: Decoder::new(LIMITS),
            down_since: now,
        }
    }

    /// Whether calls may be written.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// For how long no calls could be written; zero while they can.
    pub fn down_for(&self, now: Instant) -> Duration {
        if self.is_ready() { Duration::ZERO } else { now.since(self.down_since) }
    }

    /// The socket is connected: the login goes out.
    pub fn handle_open(&mut self, now: Instant) {
        assert_eq!(self.state, State::Closed, "a link is opened once, then closed");
        self.state = State::Opening;
        self.out.clear();
        self.decoder = Decoder::new(LIMITS);
        let login = std::mem::take(&mut self.login);
        if let Some(password) = &login.password {
            match &login.user {
                Some(user) => resp::command(&mut self.out, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
                None => resp::command(&mut self.out, &[b"AUTH", password.as_bytes()]),
            }
            self.asked.push_back((Asked::Setup, now));
        }
        resp::command(&mut self.out, &[b"SELECT", login.database.to_string().as_bytes()]);
        self.asked.push_back((Asked::Setup, now));
        self.login = login;
        self.load_scripts(now);
        if let Some((last, _)) = self.asked.back_mut() {
            *last = Asked::SetupEnd;
        }
    }

    /// Loads every script; calls written after this find them.
    pub fn load_scripts(&mut self, now: Instant) {
        for script in scripts::SCRIPTS.all() {
            script.write_load(&mut self.out);
            self.asked.push_back((Asked::Setup, now));
        }
    }

    /// Writes one call: `write` appends exactly one command.
    pub fn call(&mut self, now: Instant, call: C, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        write(&mut self.out);
        self.asked.push_back((Asked::Call(call), now));
    }

    /// Writes one call, if there is one to write: `write` appends exactly one command and names it, or does neither.
    pub fn call_if(&mut self, now: Instant, write: impl FnOnce(&mut Vec<u8>) -> Option<C>) {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        let before = self.out.len();
        match write(&mut self.out) {
            Some(call) => self.asked.push_back((Asked::Call(call), now)),
            None => debug_assert_eq!(self.out.len(), before, "a command without a name would get another's reply"),
        }
    }

    /// Whether one write's worth of bytes waits already; what can wait should.
    pub fn is_write_full(&self) -> bool {
        self.out.len() >= REDIS_WRITE_BYTES_MAX
    }

    /// Appends what should go out now.
    pub fn poll_write(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.out);
        } else {
            out.append(&mut self.out);
        }
    }

    /// Reads the next reply out of `buffer`, which holds what was received and not yet read.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn next<'b>(&mut self, buffer: &'b mut BytesMut) -> Result<Step<'b, C>, LinkError> {
        let Some(reply) = self.decoder.poll(buffer)? else { return Ok(Step::Nothing) };
        if is_planted(Bug::ReplyToTheWrongRequest) {
            self.mix_up();
        }
        let (asked, _) = self.asked.pop_front().ok_or(LinkError::Unasked)?;
        let last = match asked {
            Asked::Call(call) => return Ok(Step::Reply(call, reply)),
            Asked::Setup => false,
            Asked::SetupEnd => true,
        };
        if let Value::Error(error) = reply.value() {
            return Err(LinkError::Setup(error.message().escape_ascii().to_string()));
        }
        if last {
            self.state = State::Ready;
        }
        Ok(if last { Step::Opened } else { Step::Login })
    }

    /// The planted bug: two calls of a kind get each other's replies.
    fn mix_up(&mut self) {
        if let (Some((Asked::Call(first), _)), Some((Asked::Call(second), _))) = (self.asked.front(), self.asked.get(1))
            && std::mem::discriminant(first) == std::mem::discriminant(second)
        {
            self.asked.swap(0, 1);
        }
    }

    /// The connection is gone. Calls without a reply are handed to `lost`, oldest first: what became of them is unknown.
    pub fn handle_closed(&mut self, now: Instant, mut lost: impl FnMut(C)) {
        if self.state == State::Ready {
            self.down_since = now;
        }
        self.state = State::Closed;
        self.out.clear();
        self.decoder = Decoder::new(LIMITS);
        for (asked, _) in self.asked.drain(..) {
            if let Asked::Call(call) = asked {
                lost(call);
            }
        }
    }

    /// When the oldest call will have waited for too long.
    pub fn next_deadline(&self) -> Instant {
        self.asked.front().map_or(Instant::FAR_FUTURE, |(_, asked_at)| *asked_at + REDIS_REPLY_OVERDUE)
    }

    /// Looks at the time.
    ///
    /// # Errors
    /// [`LinkError::Overdue`]: the connection must be closed; it may be half open.
    pub fn handle_time(&mut self, now: Instant) -> Result<(), LinkError> {
        if now >= self.next_deadline() { Err(LinkError::Overdue) } else { Ok(()) }
    }
}
