//! One connection to the ledger's database: a [`Session`] with a socket.
//!
//! Never repeats anything and never decides what an answer means. After any error the connection is of no more use.

use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::secrets::file;
use flux_net::{Clock, ReadHalf, Tail, WriteHalf, within};
use flux_protocol::postgres::{
    Event, PostgresConfig, Session, SessionError, SessionOptions, Statement, TransactionStatus, pass_file,
};
use flux_protocol::secret::SharedSecret;

use super::error::LedgerError;
use super::reply::{Completed, Prepared, Reply};
use super::target::LedgerTarget;

/// A connection that cannot be made within this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Room that is made for one read.
const READ_BYTES: usize = 64 << 10;
/// Most bytes of rows that one run of statements may bring. What needs more is asked for in parts.
const ROWS_BYTES_MAX: usize = 256 << 20;
/// The oldest server we work with, as `server_version_num` writes it.
const VERSION_MIN: u32 = 140_000;

pub(super) struct Connection {
    reader: ReadHalf,
    writer: WriteHalf,
    session: Session,
    unread: BytesMut,
    unwritten: Vec<u8>,
    clock: Clock,
    target: LedgerTarget,
}

/// Events of one run, put together.
#[derive(Default)]
struct Collector {
    completed: Vec<Completed>,
    rows: Completed,
    rows_bytes: usize,
    failed: Option<flux_protocol::postgres::ServerError>,
    finished: Option<TransactionStatus>,
    version: Option<u32>,
}

impl Connection {
    pub(super) async fn open(target: &LedgerTarget, options: &SessionOptions) -> Result<Connection, LedgerError> {
        let (config, address) = (&target.config, target.address());
        let stream = target
            .connect(CONNECT_TIMEOUT)
            .await
            .map_err(|source| LedgerError::Unreachable { address: address.to_string(), source })?;
        let at = address.to_string();
        let clock = Clock::start();
        let mut session = Session::new(with_password(config)?, options.clone());
        if let Some(certificate) = stream.peer_certificate() {
            session.handle_tls(&certificate);
        }
        let (reader, writer) = stream.into_split();
        session.handle_open(clock.instant());
        let mut connection = Connection {
            reader,
            writer,
            session,
            unread: BytesMut::new(),
            unwritten: Vec::new(),
            clock,
            target: target.clone(),
        };
        let greeting = connection.run().await.map_err(|error| match error {
            Trouble::Session(SessionError::Login(source)) => {
                // It may be for the password, and another in its file by now.
                config.password.iter().for_each(SharedSecret::note_refused);
                LedgerError::Login { address: at.clone(), user: config.user.clone(), source }
            }
            other => other.into(),
        })?;
        match greeting.version {
            Some(version) if version < VERSION_MIN => Err(LedgerError::TooOld(version)),
            _ => Ok(connection),
        }
    }

    /// Asks for all of it in one write, and waits for all of the answer.
    pub(super) async fn ask(&mut self, asked: &[Prepared]) -> Result<Reply, LedgerError> {
        for Prepared { sql, params, copy, .. } in asked {
            self.session.statement(Statement { sql, params, copy: copy.as_ref() });
        }
        self.session.sync(self.clock.instant());
        self.reply().await
    }

    /// One statement whose text is not known at compile time.
    pub(super) async fn ask_one(&mut self, statement: Statement<'_>) -> Result<Reply, LedgerError> {
        self.session.statement(statement);
        self.session.sync(self.clock.instant());
        self.reply().await
    }

    /// Several statements in one text.
    pub(super) async fn ask_text(&mut self, sql: &str) -> Result<Reply, LedgerError> {
        self.session.simple(self.clock.instant(), sql);
        self.reply().await
    }

    /// Says goodbye; whether it was heard does not matter.
    pub(super) async fn close(mut self) {
        self.session.terminate();
        self.session.poll_write(&mut self.unwritten);
        let _ = within(CONNECT_TIMEOUT, self.writer.write_all(self.unwritten)).await;
    }

    async fn reply(&mut self) -> Result<Reply, LedgerError> {
        let Collector { completed, failed, finished, .. } = self.run().await?;
        let status = finished.ok_or(LedgerError::Unexpected("no end of the answer"))?;
        Ok(Reply { completed, failed, status })
    }

    /// Asks and waits. Where the answer is given up, so is the statement: the server is told to cancel it.
    async fn run(&mut self) -> Result<Collector, Trouble> {
        let outcome = self.exchange().await;
        if let Err(Trouble::Session(SessionError::Timeout) | Trouble::TooLong) = &outcome {
            self.cancel().await;
        }
        outcome
    }

    /// Whether it was heard does not matter: the server's own limit for the statement ends it too, a little earlier or
    /// later.
    async fn cancel(&self) {
        let Some(key) = self.session.cancel_key() else { return };
        if let Ok(mut stream) = self.target.connect(CONNECT_TIMEOUT).await {
            let _ = within(CONNECT_TIMEOUT, stream.write_all(key.request())).await;
        }
    }

    /// Writes what is to be written and reads until the answer is whole; both at once, because a server whose answer
    /// nobody reads stops reading too.
    async fn exchange(&mut self) -> Result<Collector, Trouble> {
        let mut collector = Collector::default();
        let Connection { reader, writer, session, unread, unwritten, clock, .. } = self;
        while collector.finished.is_none() && collector.version.is_none() {
            unwritten.clear();
            session.poll_write(unwritten);
            let out = std::mem::take(unwritten);
            let socket = writer.as_raw_fd();
            let read = async {
                let outcome = read(reader, session, unread, clock, &mut collector).await;
                if outcome.is_err() {
                    // Ends a write that the server does not take. The halves are here, so the number is still theirs.
                    let _ = flux_net::stream::shutdown(socket, Shutdown::Both);
                }
                outcome
            };
            let write = async {
                match out.is_empty() {
                    true => (Ok(0), out),
                    false => writer.write_all(out).await,
                }
            };
            // What the server still had to say tells more than the write that broke.
            let (outcome, (written, out)) = monoio::join!(read, write);
            *unwritten = out;
            outcome?;
            written?;
        }
        Ok(collector)
    }
}

/// With the password of the password file, where there is one and no other was given. The file is read for every connection, so
/// that what is changed there counts from the next one on.
fn with_password(config: &PostgresConfig) -> Result<PostgresConfig, LedgerError> {
    let mut config = config.clone();
    if let (Some(path), None) = (&config.passfile, &config.password) {
        let text = file::read_private(path).map_err(LedgerError::PassFile)?;
        config.password = pass_file::find(&text, &config).map(SharedSecret::new);
    }
    Ok(config)
}

/// Reads until the answer is whole or the session has something to write.
async fn read(
    reader: &mut ReadHalf,
    session: &mut Session,
    unread: &mut BytesMut,
    clock: &Clock,
    collector: &mut Collector,
) -> Result<(), Trouble> {
    loop {
        unread.reserve(READ_BYTES);
        let span = session.next_deadline().since(clock.instant());
        let Some((read, Tail(buffer))) = within(span, reader.read(Tail(std::mem::take(unread)))).await? else {
            session.handle_time(session.next_deadline())?;
            return Err(Trouble::Session(SessionError::Timeout));
        };
        *unread = buffer;
        if read? == 0 {
            session.handle_closed();
            return Err(Trouble::Closed);
        }
        let outcome = session.handle_bytes(clock.instant(), unread);
        while let Some(event) = session.poll_event() {
            collector.take(event)?;
        }
        outcome?;
        if collector.finished.is_some() || collector.version.is_some() || session.wants_write() {
            return Ok(());
        }
    }
}

impl Collector {
    fn take(&mut self, event: Event) -> Result<(), Trouble> {
        match event {
            Event::Ready { server_version } => self.version = Some(server_version),
            Event::Row(row) => {
                self.rows_bytes += row.bytes_held();
                if self.rows_bytes > ROWS_BYTES_MAX {
                    return Err(Trouble::TooLong);
                }
                self.rows.rows.push(row);
            }
            Event::Complete { rows } => {
                let rows = Completed { count: rows, ..std::mem::take(&mut self.rows) };
                self.completed.push(rows);
            }
            Event::Failed(error) => {
                self.rows = Completed::default();
                self.failed = Some(error);
            }
            Event::Synced(status) => self.finished = Some(status),
            Event::Notice(notice) => tracing::debug!(%notice, "PostgreSQL remarks"),
        }
        Ok(())
    }
}

/// What ended a connection.
enum Trouble {
    Session(SessionError),
    Io(std::io::Error),
    Closed,
    TooLong,
}

impl From<SessionError> for Trouble {
    fn from(error: SessionError) -> Trouble {
        Trouble::Session(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl From<Trouble> for LedgerError {
    fn from(trouble: Trouble) -> LedgerError {
        match trouble {
            Trouble::Session(error) => LedgerError::Lost(error.to_string()),
            Trouble::Io(error) => LedgerError::Lost(error.to_string()),
            Trouble::Closed => LedgerError::Lost("the server closed it".to_owned()),
            Trouble::TooLong => LedgerError::Unexpected("more rows than fit into memory"),
        }
    }
}
