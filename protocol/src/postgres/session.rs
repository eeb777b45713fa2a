//! One connection to PostgreSQL as a state machine.
//!
//! ```text
//! handle_open ─▶ login ─▶ Event::Ready ─▶ statement* sync ─▶ Event::{Row,Complete,Failed}* Event::Synced ─▶ …
//! ```
//!
//! Statements are pipelined: any number may be asked for before the first answer is read. They are answered in order.
//! When one fails, the server skips the rest up to the next [`Session::sync`], and so do we: exactly one
//! [`Event::Failed`] stands for all of them. A COPY's rows are sent with its statement, before the server has said that
//! it wants them: where it does not, it discards them up to the sync, and its connection stays good.
//!
//! An `Err` from any `handle_*` ends the session: close the socket. What became of statements that were not answered is
//! then **unknown**; where a COMMIT was not among them, they are undone.

use std::collections::VecDeque;

use bytes::BytesMut;
use postgres_protocol::message::backend::{CommandCompleteBody, Message};
use postgres_protocol::message::frontend;

use super::config::PostgresConfig;
use super::copy::CopyRows;
use super::error::{ServerError, Severity, rows_of_tag};
use super::login::{Login, LoginError};
use super::options::{LOGIN_TIMEOUT, SessionOptions};
use super::param::Param;
use super::row::Row;
use super::wire::{self, WireError};
use crate::time::Instant;

/// Whether a transaction is open, as ReadyForQuery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// None.
    Idle,
    /// Open and good.
    Open,
    /// Open, failed: only ROLLBACK will do.
    Failed,
}

/// What has become known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Logged in. `server_version` is as `server_version_num` writes it, 150004 for 15.4; 0 where it was unreadable.
    Ready {
        /// The server's version.
        server_version: u32,
    },
    /// A row of the oldest statement that is not complete.
    Row(Row),
    /// The oldest statement is complete.
    Complete {
        /// Rows inserted, updated, copied or read, as its tag says.
        rows: u64,
    },
    /// The oldest statement failed for certain; those after it up to the next sync were skipped.
    Failed(ServerError),
    /// Everything up to the oldest outstanding sync is answered.
    Synced(TransactionStatus),
    /// The server remarks something. Nothing depends on it.
    Notice(ServerError),
}

/// Why the session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The login was refused; nothing was done.
    #[error("login refused: {0}")]
    Login(#[from] LoginError),
    /// The server ended the session and says why. Unanswered statements: unknown.
    #[error("the server ended the session: {0}")]
    Ended(Box<ServerError>),
    /// Bytes that are not the protocol. Unanswered statements: unknown.
    #[error("not PostgreSQL's protocol: {0}")]
    Wire(#[from] WireError),
    /// A message that answers nothing asked. Unanswered statements: unknown.
    #[error("PostgreSQL sent {0} out of turn")]
    OutOfTurn(&'static str),
    /// The server owes an answer and is silent. Unanswered statements: unknown.
    #[error("PostgreSQL did not answer in time")]
    Timeout,
}

/// One statement of the extended protocol.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Its text, with `$1`… for parameters.
    pub sql: &'a str,
    /// Their values.
    pub params: &'a [Param],
    /// The finished rows of a `COPY … FROM STDIN (FORMAT binary)`.
    pub copy: Option<&'a CopyRows>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// ParseComplete, BindComplete, then the outcome.
    Statement { copy: bool, phase: Phase },
    /// Any number of outcomes, then ReadyForQuery.
    Simple,
    /// ReadyForQuery.
    Sync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Parsing,
    Binding,
    Executing,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Not open yet.
    Fresh,
    /// The start-up message is sent.
    Login,
    /// Authenticated; parameters and the first ReadyForQuery are awaited.
    Starting,
    /// Open for statements.
    Up,
    /// Over.
    Closed,
}

/// See the module's documentation.
pub struct Session {
    config: PostgresConfig,
    options: SessionOptions,
    state: State,
    login: Login,
    expected: VecDeque<Expected>,
    out: BytesMut,
    events: VecDeque<Event>,
    deadline: Instant,
    server_version: u32,
    cancel_key: Option<CancelKey>,
}

/// By what a session's statement is cancelled from another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelKey {
    process: i32,
    secret: i32,
}

impl CancelKey {
    /// A CancelRequest: all that is to be sent on a connection of its own, which the server then closes without a word. What
    /// the session is carrying out fails with 57014, if it is carrying out anything by then.
    pub fn request(self) -> Vec<u8> {
        let mut out = BytesMut::new();
        frontend::cancel_request(self.process, self.secret, &mut out);
        out.to_vec()
    }
}

impl Session {
    /// A session that is not connected yet.
    pub fn new(config: PostgresConfig, options: SessionOptions) -> Session {
        Session {
            login: Login::new(&config),
            config,
            options,
            state: State::Fresh,
            expected: VecDeque::new(),
            out: BytesMut::new(),
            events: VecDeque::new(),
            deadline: Instant::FAR_FUTURE,
            server_version: 0,
            cancel_key: None,
        }
    }

    /// The socket runs through TLS, in which the server has shown this certificate (DER). Before [`Session::handle_open`].
    pub fn handle_tls(&mut self, certificate: &[u8]) {
        self.login.handle_tls(self.config.tls.mode, certificate);
    }

    /// The socket is connected.
    pub fn handle_open(&mut self, now: Instant) {
        assert_eq!(self.state, State::Fresh, "a session lives on one connection");
        self.options.write_startup(&self.config, &mut self.out);
        self.state = State::Login;
        self.deadline = now + LOGIN_TIMEOUT;
    }

    /// New bytes were appended to `bytes`; what is whole is taken from its front.
    ///
    /// # Errors
    /// [`SessionError`]: close the socket.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &mut BytesMut) -> Result<(), SessionError> {
        let outcome = self.take_messages(bytes);
        match &outcome {
            Err(_) => self.handle_closed(),
            Ok(()) if self.owes_answer() => self.deadline = self.reply_deadline(now),
            Ok(()) => self.deadline = Instant::FAR_FUTURE,
        }
        outcome
    }

    /// The socket is gone.
    pub fn handle_closed(&mut self) {
        self.state = State::Closed;
        self.deadline = Instant::FAR_FUTURE;
        self.out.clear();
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`SessionError::Timeout`]: close the socket.
    pub fn handle_time(&mut self, now: Instant) -> Result<(), SessionError> {
        if now < self.deadline {
            return Ok(());
        }
        self.handle_closed();
        Err(SessionError::Timeout)
    }

    /// When [`Session::handle_time`] should be called at the latest.
    pub fn next_deadline(&self) -> Instant {
        self.deadline
    }

    /// Appends what should go out now.
    pub fn poll_write(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.out);
        self.out.clear();
    }

    /// Whether [`Session::poll_write`] has something.
    pub fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// What has become known, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// By what its statements are cancelled, where one is being carried out; `None`: nothing is.
    pub fn cancel_key(&self) -> Option<CancelKey> {
        self.cancel_key.filter(|_| !self.expected.is_empty())
    }

    /// Whether statements may be asked for.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Asks for a statement. Nothing is answered before the next [`Session::sync`].
    pub fn statement(&mut self, statement: Statement<'_>) {
        assert!(self.is_up(), "statements are asked of a session that is up");
        let Statement { sql, params, copy } = statement;
        let out = &mut self.out;
        frontend::parse("", sql, params.iter().map(Param::oid), out).expect("no statement of ours holds a NUL");
        let formats = params.iter().map(Param::format);
        let bound = frontend::bind("", "", formats, params, |param, out| Ok(param.write(out)), [0i16; 0], out);
        assert!(bound.is_ok(), "parameters are few and shorter than a gigabyte");
        frontend::execute("", 0, out).expect("the portal has no name");
        if let Some(copy) = copy {
            out.extend_from_slice(copy.messages());
        }
        self.expected.push_back(Expected::Statement { copy: copy.is_some(), phase: Phase::Parsing });
    }

    /// Ends a run of statements: the server answers them and says whether a transaction is open.
    pub fn sync(&mut self, now: Instant) {
        assert!(self.is_up(), "statements are asked of a session that is up");
        frontend::sync(&mut self.out);
        self.expected.push_back(Expected::Sync);
        self.deadline = self.reply_deadline(now);
    }

    /// Asks for several statements in one text, without parameters (simple query protocol); its own sync.
    pub fn simple(&mut self, now: Instant, sql: &str) {
        assert!(self.is_up(), "statements are asked of a session that is up");
        frontend::query(sql, &mut self.out).expect("no statement of ours holds a NUL");
        self.expected.push_back(Expected::Simple);
        self.deadline = self.reply_deadline(now);
    }

    /// Says goodbye. Nothing is awaited.
    pub fn terminate(&mut self) {
        frontend::terminate(&mut self.out);
    }

    fn reply_deadline(&self, now: Instant) -> Instant {
        if self.state != State::Up {
            return now + LOGIN_TIMEOUT;
        }
        self.options.statement.reply_timeout().map_or(Instant::FAR_FUTURE, |timeout| now + timeout)
    }

    fn owes_answer(&self) -> bool {
        self.state != State::Up || self.expected.iter().any(|expected| !matches!(expected, Expected::Statement { .. }))
    }

    fn take_messages(&mut self, bytes: &mut BytesMut) -> Result<(), SessionError> {
        loop {
            let length_max = match self.state {
                State::Up => wire::MESSAGE_BYTES_MAX,
                State::Login | State::Starting => wire::LOGIN_MESSAGE_BYTES_MAX,
                State::Fresh | State::Closed => return Err(SessionError::OutOfTurn("bytes")),
            };
            let Some(message) = wire::next_message(bytes, length_max)? else { return Ok(()) };
            match message {
                Message::NoticeResponse(body) => {
                    self.events.push_back(Event::Notice(ServerError::read(body.fields())?))
                }
                Message::NotificationResponse(_) => {}
                Message::ParameterStatus(body) => self.take_parameter(body.name(), body.value()),
                message if self.state == State::Up => self.take_answer(message)?,
                message => self.take_login(message)?,
            }
        }
    }

    fn take_parameter(&mut self, name: std::io::Result<&str>, value: std::io::Result<&str>) {
        if let (Ok("server_version"), Ok(value)) = (name, value) {
            self.server_version = version_number(value);
        }
    }

    fn take_login(&mut self, message: Message) -> Result<(), SessionError> {
        match (&self.state, message) {
            (_, Message::ErrorResponse(body)) => {
                Err(SessionError::Login(LoginError::Refused(Box::new(ServerError::read(body.fields())?))))
            }
            (State::Starting, Message::BackendKeyData(body)) => {
                self.cancel_key = Some(CancelKey { process: body.process_id(), secret: body.secret_key() });
                Ok(())
            }
            (State::Starting, Message::ReadyForQuery(_)) => {
                self.state = State::Up;
                self.events.push_back(Event::Ready { server_version: self.server_version });
                Ok(())
            }
            (State::Login, message) => {
                if self.login.handle(&message, &mut self.out)? {
                    self.state = State::Starting;
                }
                Ok(())
            }
            (_, message) => Err(SessionError::OutOfTurn(message_name(&message))),
        }
    }

    fn take_answer(&mut self, message: Message) -> Result<(), SessionError> {
        if let Message::ErrorResponse(body) = &message {
            return self.take_error(ServerError::read(body.fields())?);
        }
        let out_of_turn = SessionError::OutOfTurn(message_name(&message));
        let Some(front) = self.expected.front_mut() else { return Err(out_of_turn) };
        match (front, message) {
            (Expected::Statement { phase: phase @ Phase::Parsing, .. }, Message::ParseComplete) => {
                *phase = Phase::Binding;
            }
            (Expected::Statement { phase: phase @ Phase::Binding, .. }, Message::BindComplete) => {
                *phase = Phase::Executing;
            }
            // The rows are on their way already.
            (Expected::Statement { copy: true, phase: Phase::Executing }, Message::CopyInResponse(body))
                if body.format() == 1 => {}
            (Expected::Statement { phase: Phase::Executing, .. }, Message::CommandComplete(body)) => {
                self.expected.pop_front();
                let rows = rows_of_completion(&body)?;
                self.events.push_back(Event::Complete { rows });
            }
            (Expected::Simple, Message::CommandComplete(body)) => {
                let rows = rows_of_completion(&body)?;
                self.events.push_back(Event::Complete { rows });
            }
            (Expected::Statement { phase: Phase::Executing, .. }, Message::EmptyQueryResponse) => {
                self.expected.pop_front();
                self.events.push_back(Event::Complete { rows: 0 });
            }
            (Expected::Simple, Message::EmptyQueryResponse | Message::RowDescription(_)) => {}
            (Expected::Statement { phase: Phase::Executing, .. } | Expected::Simple, Message::DataRow(body)) => {
                self.events.push_back(Event::Row(Row::read(&body)?));
            }
            (Expected::Sync | Expected::Simple, Message::ReadyForQuery(body)) => {
                self.expected.pop_front();
                self.events.push_back(Event::Synced(transaction_status(body.status())?));
            }
            _ => return Err(out_of_turn),
        }
        Ok(())
    }

    fn take_error(&mut self, error: ServerError) -> Result<(), SessionError> {
        if error.severity == Severity::Fatal {
            return Err(SessionError::Ended(Box::new(error)));
        }
        if self.expected.is_empty() {
            return Err(SessionError::OutOfTurn("ErrorResponse"));
        }
        while matches!(self.expected.front(), Some(Expected::Statement { .. })) {
            self.expected.pop_front();
        }
        self.events.push_back(Event::Failed(error));
        Ok(())
    }
}

fn rows_of_completion(body: &CommandCompleteBody) -> Result<u64, WireError> {
    body.tag().map(rows_of_tag).map_err(|_| WireError::Malformed("CommandComplete"))
}

fn transaction_status(byte: u8) -> Result<TransactionStatus, WireError> {
    match byte {
        b'I' => Ok(TransactionStatus::Idle),
        b'T' => Ok(TransactionStatus::Open),
        b'E' => Ok(TransactionStatus::Failed),
        _ => Err(WireError::Malformed("ReadyForQuery")),
    }
}

/// `15.4 (Debian 15.4-1)` is 150004, `16beta1` is 160000; 0 where it does not begin with a number.
fn version_number(text: &str) -> u32 {
    let (major, rest) = leading_number(text);
    let minor = rest.strip_prefix('.').map_or(0, |rest| leading_number(rest).0);
    major * 10_000 + minor
}

/// The digits that `text` begins with as a number up to 9999, 0 where there are none or too many, and what stands behind them.
fn leading_number(text: &str) -> (u32, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    (digits.parse().unwrap_or(0).min(9999), rest)
}

fn message_name(message: &Message) -> &'static str {
    match message {
        Message::BackendKeyData(_) => "BackendKeyData",
        Message::BindComplete => "BindComplete",
        Message::CommandComplete(_) => "CommandComplete",
        Message::CopyInResponse(_) => "CopyInResponse",
        Message::DataRow(_) => "DataRow",
        Message::EmptyQueryResponse => "EmptyQueryResponse",
        Message::ErrorResponse(_) => "ErrorResponse",
        Message::ParseComplete => "ParseComplete",
        Message::ReadyForQuery(_) => "ReadyForQuery",
        Message::RowDescription(_) => "RowDescription",
        _ => "a message",
    }
}

#[cfg(test)]
mod tests {
    use super::version_number;

    #[test]
    fn versions_are_numbers_and_what_is_none_is_0() {
        for (text, number) in [
            ("15.4 (Debian 15.4-1)", 150_004),
            ("16beta1", 160_000),
            ("17", 170_000),
            ("9.6.24", 90_006),
            ("015.4", 150_004),
            ("15.", 150_000),
            ("", 0),
            ("devel", 0),
            ("\u{29a};4 (Debian)", 0),
            ("99999999999.1", 1),
            ("15.99999", 159_999),
        ] {
            assert_eq!(version_number(text), number, "{text}");
        }
    }
}
