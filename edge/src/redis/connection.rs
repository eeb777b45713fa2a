//! One core's connection to Redis as a machine: logging in, loading scripts, one queue of calls whose replies come in
//! the order they were asked.
//!
//! Handed bytes and time, gives back bytes and replies. Never opens a socket; never gives a reply a meaning. A call without
//! a reply is handed back as lost when the connection goes; the link repeats by itself only what was refused with
//! `NOSCRIPT`, for then nothing ran: it loads the scripts and asks the same bytes again.
//!
//! It counts what is outstanding of each kind of work, where calls are pushed and popped, so that no kind can pass its
//! bound ([`crate::redis::work`]).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::{self, Decoder, ErrorKind, Limits, Malformed, Reply, ServerError, Value};
use flux_protocol::secret::SharedSecret;
use flux_protocol::time::Instant;

use crate::limits::{
    REDIS_REPLY_OVERDUE, REDIS_SILENCE_MAX, REDIS_WRITE_BYTES_MAX, SCRIPT_CALL_TRIES_MAX, SPARE_CALLS_MAX,
};
use crate::redis::work::{Outstanding, Scheduled, Work};
use crate::redis::{refusals, scripts};

/// Whom to log in as, and where.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// ACL user; `None` with a password: the default user.
    pub user: Option<String>,
    /// As it is when a connection begins.
    pub password: Option<SharedSecret>,
    /// Database number.
    pub database: u32,
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

/// What stands in line for its reply.
#[derive(Debug)]
struct Entry<C> {
    asked: Asked<C>,
    /// When it was last written.
    at: Instant,
    /// How many times the scripts had been loaded when it was written.
    loads: u64,
    /// How often it was written.
    tries: u32,
    /// Its bytes, where it is a script's call that may be asked again; else empty.
    bytes: Vec<u8>,
}

/// Why a connection must be closed. Calls that were under way on it are lost: unknown.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// What came is not RESP.
    #[error("malformed reply from Redis: {0}")]
    Malformed(#[from] Malformed),
    /// A reply to no call.
    #[error("Redis sent a reply that nobody asked for")]
    Unasked,
    /// AUTH, SELECT or SCRIPT LOAD has to wait; Redis' own words.
    #[error("Redis cannot serve yet: {0}")]
    NotYet(String),
    /// Its user may not; Redis' own words.
    #[error("Redis refused the login, or its user may not load scripts: {0}")]
    Denied(String),
    /// AUTH, SELECT or SCRIPT LOAD was refused for another reason; Redis' own words.
    #[error("Redis refused the login or a script (it must be Redis 7.0 or Valkey 7.2 at least): {0}")]
    Setup(String),
    /// The oldest call has waited for too long.
    #[error("Redis has not answered in time")]
    Overdue,
}

impl ConnectionError {
    /// Redis' own words, where it has refused the login or the scripts.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            ConnectionError::NotYet(words) | ConnectionError::Denied(words) | ConnectionError::Setup(words) => {
                Some(words)
            }
            ConnectionError::Malformed(_) | ConnectionError::Unasked | ConnectionError::Overdue => None,
        }
    }
}

/// What came of one step of reading.
#[derive(Debug)]
pub enum Step<'b, C> {
    /// The buffer holds no further whole reply.
    Nothing,
    /// A reply to what the link asked for itself; read on.
    Own,
    /// The login is done and the scripts are loaded: calls may be written.
    Opened,
    /// The reply to this call; read on afterwards.
    Reply(C, Reply<'b>),
}

/// The machine. `C` names what a call was for.
#[derive(Debug)]
pub struct RedisConnection<C> {
    login: Login,
    state: State,
    out: Vec<u8>,
    asked: VecDeque<Entry<C>>,
    outstanding: Outstanding,
    /// How many times the scripts were loaded by this connection.
    loads: u64,
    /// Buffers of calls that were answered.
    spare: Vec<Vec<u8>>,
    decoder: Decoder,
    /// When the connection was last lost, to be told for how long.
    down_since: Instant,
    /// Why the connection is to be closed although its socket is quiet.
    failed: Option<ConnectionError>,
}

impl<C: Scheduled> RedisConnection<C> {
    /// A link that is closed.
    pub fn new(login: Login, now: Instant) -> RedisConnection<C> {
        RedisConnection {
            login,
            state: State::Closed,
            out: Vec::new(),
            asked: VecDeque::new(),
            outstanding: Outstanding::default(),
            loads: 0,
            spare: Vec::new(),
            decoder: Decoder::new(LIMITS),
            down_since: now,
            failed: None,
        }
    }

    /// Whether calls may be written.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// For how long no calls could be written, or the oldest of them has gone without an answer; zero while they are answered
    /// within [`REDIS_SILENCE_MAX`].
    pub fn down_for(&self, now: Instant) -> Duration {
        if !self.is_ready() {
            return now.since(self.down_since);
        }
        let waits = self.asked.front().map_or(Duration::ZERO, |entry| now.since(entry.at));
        if waits < REDIS_SILENCE_MAX { Duration::ZERO } else { waits }
    }

    /// The socket is connected: the login goes out.
    pub fn handle_open(&mut self, now: Instant) {
        assert_eq!(self.state, State::Closed, "a link is opened once, then closed");
        self.state = State::Opening;
        self.out.clear();
        self.decoder = Decoder::new(LIMITS);
        let login = std::mem::take(&mut self.login);
        if let Some(password) = &login.password {
            let password = password.get();
            let password = password.expose().as_bytes();
            match &login.user {
                Some(user) => resp::command(&mut self.out, &[b"AUTH", user.as_bytes(), password]),
                None => resp::command(&mut self.out, &[b"AUTH", password]),
            }
            self.push(Asked::Setup, now, Vec::new());
        }
        resp::command(&mut self.out, &[b"SELECT", login.database.to_string().as_bytes()]);
        self.push(Asked::Setup, now, Vec::new());
        self.login = login;
        self.load_scripts(now);
        if let Some(last) = self.asked.back_mut() {
            last.asked = Asked::SetupEnd;
        }
    }

    fn push(&mut self, asked: Asked<C>, at: Instant, bytes: Vec<u8>) {
        self.asked.push_back(Entry { asked, at, loads: self.loads, tries: 1, bytes });
    }

    /// Loads every script; calls written after this find them.
    pub fn load_scripts(&mut self, now: Instant) {
        for script in scripts::SCRIPTS.all() {
            script.write_load(&mut self.out);
            self.push(Asked::Setup, now, Vec::new());
        }
        self.loads += 1;
    }

    /// Whether one more call of this kind of work may be written now.
    pub fn may(&self, work: Work) -> bool {
        self.is_ready() && self.outstanding.may(work)
    }

    /// How many calls of this kind of work have no reply yet.
    pub fn outstanding(&self, work: Work) -> usize {
        self.outstanding.of(work)
    }

    fn begin(&mut self, now: Instant, call: C, bytes: Vec<u8>) {
        self.outstanding.begin(call.work());
        self.push(Asked::Call(call), now, bytes);
    }

    /// Writes one command: `write` appends exactly one. What is asked by a script goes by [`RedisConnection::call_script`].
    pub fn call(&mut self, now: Instant, call: C, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        write(&mut self.out);
        self.begin(now, call, Vec::new());
    }

    /// Writes one call of a script: `write` appends exactly one. Where Redis does not know the script, it is loaded,
    /// and the call is written again before the caller hears of it.
    pub fn call_script(&mut self, now: Instant, call: C, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        let mut bytes = self.spare.pop().unwrap_or_default();
        write(&mut bytes);
        self.out.extend_from_slice(&bytes);
        self.begin(now, call, bytes);
    }

    /// [`RedisConnection::call_script`], if there is one to write: `write` appends exactly one and names it, or does neither.
    /// Whether there was one.
    pub fn call_script_if(&mut self, now: Instant, write: impl FnOnce(&mut Vec<u8>) -> Option<C>) -> bool {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        let mut bytes = self.spare.pop().unwrap_or_default();
        let Some(call) = write(&mut bytes) else {
            debug_assert!(bytes.is_empty(), "a command without a name would get another's reply");
            self.spare.push(bytes);
            return false;
        };
        self.out.extend_from_slice(&bytes);
        self.begin(now, call, bytes);
        true
    }

    /// Writes one call, if there is one to write: `write` appends exactly one command and names it, or does neither.
    pub fn call_if(&mut self, now: Instant, write: impl FnOnce(&mut Vec<u8>) -> Option<C>) {
        assert!(self.is_ready(), "calls are written on a ready connection only");
        let before = self.out.len();
        match write(&mut self.out) {
            Some(call) => self.begin(now, call, Vec::new()),
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
    pub fn next<'b>(&mut self, now: Instant, buffer: &'b mut BytesMut) -> Result<Step<'b, C>, ConnectionError> {
        let Some(reply) = self.decoder.poll(buffer)? else { return Ok(Step::Nothing) };
        if is_planted(Bug::ReplyToTheWrongRequest) {
            self.mix_up();
        }
        let mut entry = self.asked.pop_front().ok_or(ConnectionError::Unasked)?;
        let last = match entry.asked {
            Asked::Call(call) => {
                if !entry.bytes.is_empty() && entry.tries < SCRIPT_CALL_TRIES_MAX && is_unknown_script(&reply) {
                    entry.asked = Asked::Call(call);
                    self.ask_again(now, entry);
                    return Ok(Step::Own);
                }
                self.outstanding.end(call.work());
                self.keep(entry.bytes);
                return Ok(Step::Reply(call, reply));
            }
            Asked::Setup => false,
            Asked::SetupEnd => true,
        };
        if let Value::Error(error) = reply.value() {
            return Err(self.login.refused(error));
        }
        if last {
            self.state = State::Ready;
        }
        Ok(if last { Step::Opened } else { Step::Own })
    }

    /// Loads the scripts, unless that was done since the call was written, and writes the call behind.
    fn ask_again(&mut self, now: Instant, mut entry: Entry<C>) {
        if entry.loads == self.loads {
            self.load_scripts(now);
        }
        self.out.extend_from_slice(&entry.bytes);
        (entry.at, entry.loads, entry.tries) = (now, self.loads, entry.tries + 1);
        self.asked.push_back(entry);
    }

    /// Keeps a buffer for the next call, unless there are enough, or it has grown beyond what one write holds.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_CALLS_MAX && (1..=2 * REDIS_WRITE_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The planted bug: two calls of a kind get each other's replies.
    fn mix_up(&mut self) {
        if let (Some(Entry { asked: Asked::Call(first), .. }), Some(Entry { asked: Asked::Call(second), .. })) =
            (self.asked.front(), self.asked.get(1))
            && std::mem::discriminant(first) == std::mem::discriminant(second)
        {
            self.asked.swap(0, 1);
        }
    }

    /// The connection is gone. Calls without a reply are handed to `lost`, oldest first: what became of them is unknown.
    pub fn handle_closed(&mut self, now: Instant, mut lost: impl FnMut(C)) {
        if self.state == State::Ready {
            // A call that had no answer when the connection went counts as time without Redis, too.
            self.down_since = self.asked.front().map_or(now, |entry| entry.at);
        }
        self.state = State::Closed;
        self.failed = None;
        self.out.clear();
        self.decoder = Decoder::new(LIMITS);
        self.outstanding = Outstanding::default();
        for entry in self.asked.drain(..) {
            if let Asked::Call(call) = entry.asked {
                lost(call);
            }
        }
    }

    /// When the oldest call will have waited for too long.
    pub fn next_deadline(&self) -> Instant {
        self.asked.front().map_or(Instant::FAR_FUTURE, |entry| entry.at + REDIS_REPLY_OVERDUE)
    }

    /// Looks at the time: where the oldest call is overdue the connection may be half open.
    pub fn handle_time(&mut self, now: Instant) {
        if now >= self.next_deadline() {
            self.failed = Some(ConnectionError::Overdue);
        }
    }

    /// Why the connection must be closed although nothing came by it.
    pub fn poll_failure(&mut self) -> Option<ConnectionError> {
        self.failed.take()
    }
}

fn is_unknown_script(reply: &Reply<'_>) -> bool {
    matches!(reply.value(), Value::Error(error) if error.kind() == ErrorKind::NoScript)
}

impl Login {
    /// Why it came to nothing: a Redis that still reads its data is another matter than one that refuses us. Where it may be for the
    /// password, another is looked for.
    fn refused(&self, error: ServerError<'_>) -> ConnectionError {
        let words = refusals::words(error);
        match error.kind() {
            ErrorKind::Loading | ErrorKind::Busy | ErrorKind::MasterDown | ErrorKind::ClusterDown => {
                ConnectionError::NotYet(words)
            }
            ErrorKind::Denied => {
                self.password.iter().for_each(SharedSecret::note_refused);
                ConnectionError::Denied(resp::with_user(words, self.user.as_deref()))
            }
            _ => ConnectionError::Setup(words),
        }
    }
}
