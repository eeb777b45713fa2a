//! The three servers, for a command that runs once: each is waited for, for half a minute and no longer.
//!
//! Never decides what to do with them.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use flux_net::sleep;
use flux_protocol::kafka::cluster::ClusterConfig;
use flux_protocol::kafka::fetch::{FetchConfig, FetchEvent, Isolation};
use flux_protocol::kafka::log_reader::{Ends, LogReader};
use flux_protocol::kafka::records_decode::Entry;
use flux_protocol::order::{TopicRecord, Uuid};
use flux_protocol::postgres::{Param, SessionOptions, StatementLimit};
use flux_protocol::resp::ErrorKind;

use crate::config::Config;
use crate::kafka_driver::Driver;
use crate::ledger::{Ledger, LedgerError, Unasked};
use crate::limits::{FETCH_ANSWER_BYTES_MAX, FETCH_BUFFERED_BYTES_MAX, FETCH_WAIT};
use crate::redis::{Redis, RedisError};

/// How long a server may be out of reach before a command gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before a server that is not there is asked again.
pub const PAUSE: Duration = Duration::from_millis(250);
/// An audit's sums run over all orders: longer than a worker's statements may take.
const STATEMENT_LIMIT: StatementLimit = StatementLimit::Within(Duration::from_secs(300));

/// Exit code of a command that was refused, or whose account does not hold.
const EXIT_REFUSED: u8 = 1;
/// Exit code where a server could not be asked.
const EXIT_NOT_ASKED: u8 = 3;

/// Why a command ends before its end.
#[derive(Clone, Debug)]
pub enum Ended {
    /// A server was out of reach for [`PATIENCE`]. Run again when it is back.
    OutOfReach(String),
    /// A server is there and does not let itself be asked: a login, a right, a database or a topic is missing. Says which.
    NotAsked(String),
    /// Nothing that waiting would mend; says what to do.
    Refused(String),
    /// Only somebody who knows can say how to go on, and nothing was changed; says by which command lines.
    Undecided(String),
}

impl Ended {
    /// As the command line has it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Ended::OutOfReach(_) | Ended::NotAsked(_) => not_asked(),
            Ended::Refused(_) | Ended::Undecided(_) => ExitCode::from(EXIT_REFUSED),
        }
    }
}

/// The exit code where a server could not be asked, so that nothing can be said.
pub fn not_asked() -> ExitCode {
    ExitCode::from(EXIT_NOT_ASKED)
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::OutOfReach(line) | Ended::NotAsked(line) | Ended::Refused(line) | Ended::Undecided(line) => {
                f.write_str(line)
            }
        }
    }
}

impl From<LedgerError> for Ended {
    fn from(error: LedgerError) -> Ended {
        let line = error.to_string();
        match error.unasked() {
            _ if error.is_retryable() => Ended::OutOfReach(line),
            Some(Unasked::Denied) => Ended::NotAsked(line),
            Some(Unasked::NoTables) => Ended::NotAsked(format!(
                "{line}: is this the ledger's database? A flux-worker makes its tables when it starts"
            )),
            None => Ended::Refused(line),
        }
    }
}

impl From<RedisError> for Ended {
    fn from(error: RedisError) -> Ended {
        let line = error.to_string();
        match error {
            _ if error.is_retryable() => Ended::OutOfReach(line),
            RedisError::TooOld(_) | RedisError::Server { kind: ErrorKind::Denied, .. } => Ended::NotAsked(line),
            _ => Ended::Refused(line),
        }
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Refused(error.to_string())
    }
}

/// Connects to a server, which is waited for.
///
/// # Errors
/// [`Ended::OutOfReach`] or [`Ended::NotAsked`]: over a connection that was not made nothing was asked.
pub async fn connected<T, E: Into<Ended>>(mut connect: impl AsyncFnMut() -> Result<T, E>) -> Result<T, Ended> {
    let mut left = PATIENCE;
    loop {
        match connect().await.map_err(Into::into) {
            Ok(connection) => return Ok(connection),
            Err(Ended::OutOfReach(_)) if left > PAUSE => {}
            Err(Ended::Refused(line)) => return Err(Ended::NotAsked(line)),
            Err(ended) => return Err(ended),
        }
        sleep(PAUSE).await?;
        left -= PAUSE;
    }
}

/// Connects to the ledger, pinned: what is held over it (a lock) is gone with it, and is then not gone on without.
///
/// # Errors
/// [`Ended`].
pub async fn ledger(config: &Config) -> Result<Ledger, Ended> {
    let options = || SessionOptions {
        application_name: "flux-worker".to_owned(),
        statement: STATEMENT_LIMIT,
        ..SessionOptions::default()
    };
    connected(async || Ledger::connect_pinned(&config.postgres, options()).await).await
}

/// Connects to Redis.
///
/// # Errors
/// [`Ended`].
pub async fn redis(config: &Config) -> Result<Redis, Ended> {
    connected(async || Redis::connect(&config.redis).await).await
}

/// The topic, to be looked at.
pub struct Log {
    driver: Driver<LogReader>,
    topic: String,
}

/// A record that the ledger has not settled yet, and where it stands.
#[derive(Clone, Debug)]
pub struct Pending {
    pub partition: i32,
    pub offset: i64,
    /// What it says; `None`: no record of ours.
    pub record: Option<TopicRecord>,
}

impl Log {
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Connects when it is first asked.
    pub fn new(config: &Config, seed: u64) -> Log {
        let cluster = ClusterConfig {
            bootstrap: config.kafka.clone(),
            login: config.kafka_login.clone(),
            client_id: "flux-worker-command".to_owned(),
            topic: config.topic.clone(),
            seed,
        };
        let fetch = FetchConfig {
            // What was acknowledged is there, whatever transaction stands before it.
            isolation: Isolation::Uncommitted,
            answer_bytes_min: 1,
            answer_bytes_max: FETCH_ANSWER_BYTES_MAX,
            buffered_bytes_max: FETCH_BUFFERED_BYTES_MAX,
            wait: FETCH_WAIT,
            seed: seed.wrapping_add(1),
        };
        Log {
            driver: Driver::new(config.kafka_tls.as_ref(), |now| LogReader::new(cluster, fetch, now)),
            topic: config.topic.clone(),
        }
    }

    /// Where every partition ends now, behind all that was acknowledged (the high watermark).
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn ends(&mut self) -> Result<Ends, Ended> {
        self.ends_of(Isolation::Uncommitted).await
    }

    /// How far every partition can be read now: not beyond a transaction that is open (the last stable offset).
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn stable_ends(&mut self) -> Result<Ends, Ended> {
        self.ends_of(Isolation::Committed).await
    }

    async fn ends_of(&mut self, isolation: Isolation) -> Result<Ends, Ended> {
        let (mut asked, mut refusal) = (false, None);
        let found = self.driver.until(PATIENCE, |reader, now| {
            refusal = reader.refusal();
            if !std::mem::replace(&mut asked, true) {
                reader.ask_ends(now, isolation);
            }
            reader.ends().map(Ok).or_else(|| reader.topic_error().map(Err))
        });
        match found.await? {
            Some(Ok(ends)) => Ok(ends),
            Some(Err(3)) => Err(Ended::NotAsked(format!("Kafka has no topic {}", self.topic))),
            Some(Err(code)) => Err(Ended::NotAsked(match refusal {
                Some(why) => format!("Kafka: {why}"),
                None => format!("Kafka refuses the topic {}: error {code}", self.topic),
            })),
            None => Err(Ended::OutOfReach(refusal.unwrap_or_else(|| "Kafka has not answered for 30 s".to_owned()))),
        }
    }

    /// What stands in the log from `from` (by partition) up to `ends`.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn between(&mut self, from: &[i64], ends: &Ends) -> Result<Vec<Pending>, Ended> {
        let mut open: Vec<(i32, i64)> = Vec::new();
        let mut to_start: Vec<(i32, i64)> = Vec::new();
        for (partition, (from, end)) in (0..).zip(from.iter().zip(&ends.offsets)) {
            if from < end {
                open.push((partition, *end));
                to_start.push((partition, *from));
            }
        }
        let mut found = Vec::new();
        while !open.is_empty() {
            // One piece at a time: the patience is for silence, not for the whole log.
            let piece = self.driver.until(PATIENCE, |reader, now| {
                for (partition, offset) in to_start.drain(..) {
                    reader.start(now, partition, offset);
                }
                if let Some(event) = reader.poll_event() {
                    let denied = match event {
                        FetchEvent::Refused { code, .. } => reader.denial(code),
                        _ => None,
                    };
                    return Some(Err(match denied {
                        Some(denied) => Ended::NotAsked(format!("Kafka: {denied}")),
                        None => Ended::Refused(cannot_be_read(&event)),
                    }));
                }
                reader.poll_records().map(Ok)
            });
            let Some(piece) = piece.await? else {
                return Err(Ended::OutOfReach("Kafka has not answered for 30 s".to_owned()));
            };
            let mut fetched = piece?;
            let partition = fetched.partition;
            let Some(at) = open.iter().position(|(open, _)| *open == partition) else { continue };
            let end = open[at].1;
            for entry in &mut fetched.records {
                let (offset, record) = match entry {
                    Entry::Record(record) => {
                        (record.offset, record.value.and_then(|value| TopicRecord::parse(&value).ok()))
                    }
                    Entry::Unreadable(unreadable) => (unreadable.first_offset, None),
                };
                if offset < end {
                    found.push(Pending { partition, offset, record });
                }
            }
            if fetched.records.next_offset() >= end {
                open.swap_remove(at);
                let stop = |reader: &mut LogReader, _| {
                    reader.stop(partition);
                    Some(())
                };
                self.driver.until(Duration::ZERO, stop).await?;
            }
        }
        Ok(found)
    }
}

/// Why a partition cannot be read, in words.
fn cannot_be_read(event: &FetchEvent) -> String {
    match event {
        FetchEvent::OffsetOutOfRange { partition, offset } => {
            format!("partition {partition} cannot be read from offset {offset}: it is not in the log")
        }
        FetchEvent::Diverged { partition, offset, end_offset } => format!(
            "partition {partition} cannot be read from offset {offset}: the log is another one from {end_offset} on than \
             the ledger has read"
        ),
        FetchEvent::Damaged { partition, error } => format!("partition {partition} cannot be read: {error}"),
        FetchEvent::Refused { partition, code } => {
            format!("partition {partition} cannot be read: Kafka answers error {code}")
        }
    }
}

/// Where the ledger stands in each of `partitions` partitions; 0 where it has never been.
///
/// # Errors
/// [`Ended`].
pub async fn stored_offsets(ledger: &mut Ledger, ends: &Ends) -> Result<Vec<i64>, Ended> {
    let rows = ledger
        .query("SELECT partition, next_offset FROM offsets WHERE topic_id = $1", &[Param::Uuid(Uuid(ends.topic_id))])
        .await?;
    let mut offsets = vec![0; ends.offsets.len()];
    for row in rows {
        let (partition, offset): (Option<usize>, Option<i64>) = (row.get(0), row.get(1));
        if let (Some(partition), Some(offset)) = (partition, offset)
            && let Some(place) = offsets.get_mut(partition)
        {
            *place = offset;
        }
    }
    Ok(offsets)
}
