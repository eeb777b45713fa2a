//! One connection's requests, in their order: the start-up, the extended and the simple protocol, COPY's data.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::Instant;

use super::backend::{Backend, Block, Limits, State, Task, Work};
use super::error::SqlError;
use super::statements::{Known, Output, Verb, find};
use super::values::{Params, read_param};
use super::wire::{self, Request};
use super::{CONNECTIONS_MAX, Postgres, Power, SERVER_VERSION};
use crate::peer::SocketId;

/// Columns of the COPY that is known.
const COPY_COLUMNS: i16 = 10;

impl Postgres {
    /// Takes requests as long as nothing is being carried out.
    pub(super) fn read(&mut self, socket: SocketId) {
        while let Some(backend) = self.backends.get_mut(&socket) {
            let is_first = matches!(backend.state, State::Startup);
            if matches!(backend.state, State::Working(_) | State::Waiting(..)) {
                return;
            }
            let Some(request) = wire::next_request(&mut backend.inbox, is_first) else { return };
            backend.idle_deadline = Instant::FAR_FUTURE;
            let outcome = match (&mut backend.state, request) {
                (_, Request::Stranger(what)) => Err(SqlError { is_stranger: true, ..SqlError::fatal(b"08P01", what) }),
                (State::Startup, Request::Startup(parameters)) => self.log_in(socket, &parameters),
                (State::Startup, Request::Cancel { process, secret }) => {
                    self.cancel(process, secret);
                    self.end(socket);
                    return;
                }
                (State::Startup, _) => unreachable!("a first message is a start-up message or a stranger"),
                (State::Copying(..), request) => self.take_copy(socket, request),
                (_, request) => self.take(socket, request),
            };
            if let Err(error) = outcome {
                self.fail(socket, error, false);
            }
        }
    }

    fn log_in(&mut self, socket: SocketId, parameters: &[(String, String)]) -> Result<(), SqlError> {
        if self.power != Power::Up {
            return Err(SqlError::fatal(b"57P03", "the database system is starting up"));
        }
        if let Some(code) = self.faults.login_refused(self.now.instant) {
            return Err(SqlError::fatal(&code, "login refused by the simulation"));
        }
        if self.backends.len() > CONNECTIONS_MAX {
            return Err(SqlError::fatal(b"53300", "sorry, too many clients already"));
        }
        let limits = limits(parameters)?;
        let (process, secret) = (socket.0 as i32, self.random.bits() as i32);
        let backend = self.backend(socket);
        backend.limits = limits;
        backend.secret = secret;
        backend.state = State::Reading;
        let out = &mut backend.outbox;
        wire::authenticated(out);
        wire::parameter(out, "server_version", SERVER_VERSION);
        wire::parameter(out, "server_encoding", "UTF8");
        wire::parameter(out, "client_encoding", "UTF8");
        wire::parameter(out, "standard_conforming_strings", "on");
        wire::key_data(out, process, secret);
        self.ready(socket);
        Ok(())
    }

    /// Cancels what the session of this key is carrying out, if it is.
    fn cancel(&mut self, process: i32, secret: i32) {
        let socket = SocketId(process as u64);
        let Some(backend) = self.backends.get(&socket).filter(|backend| backend.secret == secret) else { return };
        let is_simple = match &backend.state {
            State::Working(work) | State::Waiting(work, _) => work.task.is_simple(),
            State::Copying(..) => false,
            State::Startup | State::Reading => return,
        };
        self.fail(socket, SqlError::new(b"57014", "canceling statement due to user request"), is_simple);
        self.read(socket);
    }

    fn take(&mut self, socket: SocketId, request: Request) -> Result<(), SqlError> {
        if self.backend(socket).is_skipping && !matches!(request, Request::Sync | Request::Terminate) {
            return Ok(());
        }
        match request {
            Request::Parse { sql, oids } => {
                let known = self.begin_statement(socket, &sql)?;
                let backend = self.backend(socket);
                backend.statement = Some((known, oids));
                wire::parse_complete(&mut backend.outbox);
            }
            Request::Bind { formats, values } => {
                let backend = self.backend(socket);
                let Some((known, oids)) = &backend.statement else {
                    return Err(SqlError::new(b"26000", "unnamed prepared statement does not exist"));
                };
                let params = bind(oids, &formats, values)?;
                backend.portal = Some((known, params));
                wire::bind_complete(&mut backend.outbox);
            }
            Request::Execute => {
                let Some((known, params)) = self.backend(socket).portal.take() else {
                    return Err(SqlError::new(b"34000", "portal \"\" does not exist"));
                };
                let task = Task::Statement { known, params, data: Bytes::new(), is_simple: false };
                if known.verb == Verb::Copy {
                    let backend = self.backend(socket);
                    backend.state = State::Copying(task, BytesMut::new());
                    wire::copy_in(&mut backend.outbox, COPY_COLUMNS);
                    self.flush(socket);
                } else {
                    self.schedule(socket, task);
                }
            }
            Request::Sync => {
                let backend = self.backend(socket);
                backend.is_skipping = false;
                // A commit is beyond the reach of statement_timeout.
                backend.statement_deadline = Instant::FAR_FUTURE;
                if self.backend(socket).block == Block::Implicit {
                    self.schedule(socket, Task::ImplicitCommit);
                } else {
                    self.ready(socket);
                }
            }
            Request::Query(sql) => match self.begin_statement(socket, &sql) {
                Ok(known) if known.verb == Verb::Copy => {
                    self.fail(socket, SqlError::stranger("COPY by the simple protocol"), true);
                }
                Ok(known) => {
                    let params = Params::default();
                    self.schedule(socket, Task::Statement { known, params, data: Bytes::new(), is_simple: true });
                }
                Err(error) => self.fail(socket, error, true),
            },
            Request::Flush => self.flush(socket),
            // Left over from a COPY that failed.
            Request::CopyData(_) | Request::CopyDone | Request::CopyFail(_) => {}
            Request::Terminate => self.end(socket),
            Request::Startup(_) | Request::Cancel { .. } | Request::Stranger(_) => unreachable!("taken before"),
        }
        Ok(())
    }

    /// A statement's text has come: the transaction begins with it, where none is open, and its time runs.
    fn begin_statement(&mut self, socket: SocketId, sql: &str) -> Result<&'static Known, SqlError> {
        let (clock, now, with_changed) = (self.clock(), self.now.instant, self.with_changed);
        let backend = self.backend(socket);
        if backend.statement_deadline == Instant::FAR_FUTURE
            && let Some(limit) = backend.limits.statement
        {
            backend.statement_deadline = now + limit;
        }
        if backend.block == Block::None {
            backend.block = Block::Implicit;
            backend.began_at = clock;
        }
        let known =
            find(sql, with_changed).ok_or_else(|| SqlError::stranger(format!("this statement is not known: {sql}")))?;
        if backend.block == Block::Failed && !matches!(known.verb, Verb::Commit | Verb::Rollback) {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new(b"25P02", message));
        }
        Ok(known)
    }

    fn take_copy(&mut self, socket: SocketId, request: Request) -> Result<(), SqlError> {
        let backend = self.backend(socket);
        let State::Copying(_, data) = &mut backend.state else { unreachable!("a COPY was asked for") };
        match request {
            Request::CopyData(more) => data.extend_from_slice(&more),
            Request::CopyDone => {
                let State::Copying(task, data) = std::mem::replace(&mut backend.state, State::Reading) else {
                    unreachable!("looked at above")
                };
                let Task::Statement { known, params, is_simple, .. } = task else {
                    unreachable!("a COPY is a statement")
                };
                self.schedule(socket, Task::Statement { known, params, data: data.freeze(), is_simple });
            }
            Request::CopyFail(why) => {
                return Err(SqlError::new(b"57014", format!("COPY from stdin failed: {why}")));
            }
            Request::Sync | Request::Flush => {}
            _ => return Err(SqlError::new(b"08P01", "unexpected message type during COPY from stdin")),
        }
        Ok(())
    }

    fn schedule(&mut self, socket: SocketId, task: Task) {
        let is_durable = task.is_commit() && self.database.is_written_by(socket);
        let takes = match task {
            Task::ImplicitCommit if !is_durable => Duration::ZERO,
            _ => self.draw_turn(is_durable),
        };
        let command = self.database.next_command();
        self.wake_at(socket, takes);
        self.backend(socket).state = State::Working(Work { task, steps: None, output: Output::default(), command });
    }

    pub(super) fn wake_at(&mut self, socket: SocketId, after: Duration) {
        let wake = (self.now.instant + after, self.next_sequence());
        self.backend(socket).wake = wake;
    }

    /// ReadyForQuery. A transaction that is open now may not stay so for ever.
    pub(super) fn ready(&mut self, socket: SocketId) {
        let now = self.now.instant;
        let backend = self.backend(socket);
        wire::ready(&mut backend.outbox, backend.block.status());
        let is_open = matches!(backend.block, Block::Open | Block::Failed);
        backend.idle_deadline = match backend.limits.idle_in_transaction {
            Some(limit) if is_open => now + limit,
            _ => Instant::FAR_FUTURE,
        };
        self.flush(socket);
    }

    pub(super) fn flush(&mut self, socket: SocketId) {
        let backend = self.backend(socket);
        let bytes = backend.outbox.split().freeze();
        if !bytes.is_empty() && backend.leaves_at.is_none() {
            self.writes.push_back((socket, bytes));
        }
    }

    pub(super) fn backend(&mut self, socket: SocketId) -> &mut Backend {
        self.backends.get_mut(&socket).expect("a session that is there")
    }
}

fn bind(oids: &[u32], formats: &[i16], values: Vec<Option<Bytes>>) -> Result<Params, SqlError> {
    let format = |at: usize| match formats {
        [] => 0,
        [all] => *all,
        each => each.get(at).copied().unwrap_or(0),
    };
    let read = |(at, value)| read_param(oids.get(at).copied().unwrap_or(0), format(at), value);
    values.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Params)
}

/// What the start-up message sets. Whatever this fake's answers would depend on, or it does not know, is a stranger.
fn limits(parameters: &[(String, String)]) -> Result<Limits, SqlError> {
    let mut limits = Limits::default();
    for (name, value) in parameters {
        let timeout = || -> Result<Option<Duration>, SqlError> {
            let milliseconds = value.parse::<u32>().ok().filter(|milliseconds| i32::try_from(*milliseconds).is_ok());
            let invalid = || SqlError::fatal(b"22023", format!("invalid value for parameter \"{name}\": \"{value}\""));
            let milliseconds = milliseconds.ok_or_else(invalid)?;
            Ok((milliseconds > 0).then(|| Duration::from_millis(milliseconds.into())))
        };
        match (&**name, &**value) {
            ("statement_timeout", _) => limits.statement = timeout()?,
            ("lock_timeout", _) => limits.lock = timeout()?,
            ("idle_in_transaction_session_timeout", _) => limits.idle_in_transaction = timeout()?,
            ("tcp_user_timeout", _) => limits.user_timeout = timeout()?,
            ("tcp_keepalives_idle" | "tcp_keepalives_interval", _) => {
                limits.keepalive = timeout()?.map(|count| count * 1000);
            }
            ("user" | "database" | "application_name", _)
            | ("client_encoding", "UTF8")
            | ("DateStyle", "ISO")
            | ("TimeZone", "UTC")
            | ("synchronous_commit", "on") => {}
            _ => {
                let what = format!("{name}={value} at start-up");
                return Err(SqlError { is_stranger: true, ..SqlError::fatal(b"42704", what) });
            }
        }
    }
    Ok(limits)
}
