//! Redis as the worker needs it: one connection, one question at a time or many in one write.
//!
//! Never decides what an answer means and never repeats what it was asked, but for one thing: a script that Redis does
//! not know is loaded and called again, which is sound because it was refused before it began.

use std::time::Duration;

use bytes::BytesMut;
use flux_net::{Stream, Tail, within};
use flux_protocol::resp::{
    Belief, Decoder, ErrorKind, Limits, OwnedFrame, Reply, Script, Value, command, printable, with_user,
};

use flux_net::RedisTarget;
use flux_protocol::secret::SharedSecret;

/// A connection that cannot be made within this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all answers of one write may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Room made for one read.
const READ_BYTES: usize = 64 << 10;
/// An audit reads an outbox whole: 100,000 orders of 200 bytes by default, more where `--outbox-orders-max` says so.
const LIMITS: Limits = Limits { reply_bytes_max: 512 << 20, elements_max: 1 << 24 };
/// The oldest Redis we work with (a Valkey names the Redis version it is compatible with).
const MAJOR_MIN: u32 = 7;

/// Why Redis could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No connection. Nothing was done.
    #[error("Redis at {address} cannot be reached: {source}")]
    Unreachable { address: String, source: std::io::Error },
    /// The connection is gone, or no answer came in time. What was asked may or may not have been done, or yet be done.
    #[error("the connection to Redis was lost: {0}")]
    Lost(String),
    /// Redis answered with an error; what to believe of the command is said beside it.
    #[error("Redis: {message}")]
    Server { kind: ErrorKind, belief: Belief, message: String },
    /// Older than we can work with. Nothing was done.
    #[error("Redis {0} is too old: Redis 7.0 or Valkey 7.2 is needed")]
    TooOld(String),
    /// An answer of another shape than the command has.
    #[error("Redis' answer is not what was asked for: {0}")]
    Unexpected(&'static str),
}

impl RedisError {
    /// Whether the same may succeed later without an operator mending something.
    pub fn is_retryable(&self) -> bool {
        match self {
            RedisError::Unreachable { .. } | RedisError::Lost(_) => true,
            RedisError::Server { kind, .. } => {
                matches!(kind, ErrorKind::Loading | ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::MasterDown)
            }
            RedisError::TooOld(_) | RedisError::Unexpected(_) => false,
        }
    }
}

/// See the module. After [`RedisError::Lost`] the next question makes a new connection.
pub struct Redis {
    target: RedisTarget,
    connection: Option<Connection>,
}

struct Connection {
    stream: Stream,
    decoder: Decoder,
    unread: BytesMut,
}

impl Redis {
    /// Connects, logs in, and looks at the version.
    ///
    /// # Errors
    /// Nothing was done.
    pub async fn connect(target: &RedisTarget) -> Result<Redis, RedisError> {
        let mut redis = Redis { target: target.clone(), connection: None };
        redis.connection().await?;
        Ok(redis)
    }

    /// Asks one command.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn ask(&mut self, arguments: &[&[u8]]) -> Result<OwnedFrame, RedisError> {
        let mut wire = Vec::new();
        command(&mut wire, arguments);
        self.ask_many(wire, 1).await?.pop().ok_or(RedisError::Unexpected("no answer"))
    }

    /// Calls a script; its answer is an array of strings.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn call(
        &mut self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<Vec<String>, RedisError> {
        let mut wire = Vec::new();
        script.write_call_with(&mut wire, keys, arguments);
        let first = self.ask_many(wire.clone(), 1).await;
        let answer = match first {
            Err(RedisError::Server { kind: ErrorKind::NoScript, .. }) => {
                let mut load = Vec::new();
                script.write_load(&mut load);
                load.append(&mut wire);
                self.ask_many(load, 2).await?.pop()
            }
            other => other?.pop(),
        };
        strings(answer.ok_or(RedisError::Unexpected("no answer"))?)
    }

    /// Sends `wire`, which holds `count` commands, and waits for their answers. The first error ends it; the answers
    /// behind it are lost with the connection.
    ///
    /// # Errors
    /// [`RedisError`]. Where it is an error of one command, the commands behind it may have been carried out.
    pub async fn ask_many(&mut self, wire: Vec<u8>, count: usize) -> Result<Vec<OwnedFrame>, RedisError> {
        let answer = self.connection().await?.exchange(wire, count).await;
        match &answer {
            Ok(_) => {}
            Err(RedisError::Server { .. }) if count == 1 => {}
            Err(_) => self.connection = None,
        }
        answer
    }

    async fn connection(&mut self) -> Result<&mut Connection, RedisError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connection::open(&self.target).await?)),
        }
    }
}

impl Connection {
    async fn open(target: &RedisTarget) -> Result<Connection, RedisError> {
        let unreachable = |source| RedisError::Unreachable { address: target.address.to_string(), source };
        let stream = Stream::connect_with(&target.address, target.tls.as_ref(), CONNECT_TIMEOUT).await;
        let stream = stream.map_err(unreachable)?;
        let mut connection = Connection { stream, decoder: Decoder::new(LIMITS), unread: BytesMut::new() };
        let (mut hello, mut count) = (Vec::new(), 1);
        if let Some(password) = target.password.as_ref().map(SharedSecret::get) {
            let password = password.expose().as_bytes();
            match &target.user {
                Some(user) => command(&mut hello, &[b"AUTH", user.as_bytes(), password]),
                None => command(&mut hello, &[b"AUTH", password]),
            }
            count += 1;
        }
        if target.database != 0 {
            command(&mut hello, &[b"SELECT", target.database.to_string().as_bytes()]);
            count += 1;
        }
        command(&mut hello, &[b"INFO", b"server"]);
        let answers = connection.exchange(hello, count).await.map_err(|error| refused(target, error))?;
        let info = answers.into_iter().next_back().ok_or(RedisError::Unexpected("no answer"))?;
        let info = text(info)?;
        let version = info_field(&info, "redis_version").ok_or(RedisError::Unexpected("INFO without a version"))?;
        match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if major >= MAJOR_MIN => Ok(connection),
            _ => Err(RedisError::TooOld(version.to_owned())),
        }
    }

    async fn exchange(&mut self, wire: Vec<u8>, count: usize) -> Result<Vec<OwnedFrame>, RedisError> {
        let lost = |error: std::io::Error| RedisError::Lost(error.to_string());
        match within(ANSWER_TIMEOUT, self.write_and_read(wire, count)).await.map_err(lost)? {
            Some(answers) => answers,
            None => Err(RedisError::Lost("no answer in time".to_owned())),
        }
    }

    async fn write_and_read(&mut self, wire: Vec<u8>, count: usize) -> Result<Vec<OwnedFrame>, RedisError> {
        let lost = |error: std::io::Error| RedisError::Lost(error.to_string());
        self.stream.write_all(wire).await.0.map_err(lost)?;
        let mut answers = Vec::with_capacity(count);
        loop {
            while answers.len() < count {
                let polled =
                    self.decoder.poll(&mut self.unread).map_err(|error| RedisError::Lost(error.to_string()))?;
                let Some(reply) = polled else { break };
                answers.push(answer(reply)?);
            }
            if answers.len() == count {
                return Ok(answers);
            }
            self.unread.reserve(READ_BYTES);
            let (read, Tail(buffer)) = self.stream.read(Tail(std::mem::take(&mut self.unread))).await;
            self.unread = buffer;
            if read.map_err(lost)? == 0 {
                return Err(RedisError::Lost("Redis closed it".to_owned()));
            }
        }
    }
}

/// A login that came to nothing, with the user it was for. Where it may be for the password, another is looked for.
fn refused(target: &RedisTarget, error: RedisError) -> RedisError {
    match error {
        RedisError::Server { kind: ErrorKind::Denied, belief, message } => {
            target.password.iter().for_each(SharedSecret::note_refused);
            let message = with_user(message, target.user.as_deref());
            RedisError::Server { kind: ErrorKind::Denied, belief, message }
        }
        other => other,
    }
}

fn answer(reply: Reply<'_>) -> Result<OwnedFrame, RedisError> {
    if let Value::Error(error) = reply.value() {
        return Err(RedisError::Server {
            kind: error.kind(),
            belief: error.belief(),
            message: printable(error.message()),
        });
    }
    reply.to_frame().map_err(|_| RedisError::Unexpected("bytes that are no text in a status line"))
}

/// A string, number or status as text; empty for null.
///
/// # Errors
/// It is something else.
pub fn text(frame: OwnedFrame) -> Result<String, RedisError> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            String::from_utf8(bytes).map_err(|_| RedisError::Unexpected("bytes that are no text"))
        }
        OwnedFrame::Integer(number) => Ok(number.to_string()),
        OwnedFrame::Null => Ok(String::new()),
        OwnedFrame::Array(_) | OwnedFrame::Error(_) => Err(RedisError::Unexpected("an array where a text belongs")),
    }
}

/// The elements of an array.
///
/// # Errors
/// It is something else.
pub fn array(frame: OwnedFrame) -> Result<Vec<OwnedFrame>, RedisError> {
    match frame {
        OwnedFrame::Array(items) => Ok(items),
        _ => Err(RedisError::Unexpected("no array where one belongs")),
    }
}

/// An array of what [`text`] takes.
///
/// # Errors
/// It is something else.
pub fn strings(frame: OwnedFrame) -> Result<Vec<String>, RedisError> {
    array(frame)?.into_iter().map(text).collect()
}

/// A field of what `INFO` answers.
pub fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
