//! A fake PostgreSQL: the ledger's statements over tables, transactions and locks.
//!
//! ```text
//! bytes ─▶ wire ─▶ session ─▶ work: a statement, step by step ─▶ table: rows, locks, undo
//!                    ▲           │ a row that another transaction holds
//!                    └── timers ◀┘ waits: deadlock, lock_timeout, statement_timeout
//! ```
//!
//! READ COMMITTED only, as the worker asks for. Every statement takes a drawn time, and others have their turn between
//! two of its rows, so that sessions cross as they do in PostgreSQL. A statement that is not known word by word is
//! answered with an error and kept in [`Postgres::strangers`]: a run in which there is one proves nothing.
//!
//! It never plans a query, and what it commits is never lost: a crash of the machine under it is another experiment.

mod backend;
mod database;
mod error;
mod faults;
mod ledger;
mod peer;
mod rows;
mod session;
mod statements;
mod table;
mod timers;
mod values;
mod wire;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use flux_protocol::time::{Instant, Now};

use crate::peer::SocketId;
use crate::random::Random;
use backend::Backend;
use database::Database;
use faults::Faults;

pub use error::SqlError;
pub use faults::CommitFault;
pub use rows::{DeadLetter, Migration, Offset, Order, Product, Rejected, Return, Sale};
pub use values::EPOCH_MICROS;

/// Where it listens.
pub const PORT: u16 = 5432;
/// As `ParameterStatus` writes it.
const SERVER_VERSION: &str = "15.14 (Debian 15.14-0+deb12u1)";
/// Sessions at once: PostgreSQL's default for `max_connections`.
const CONNECTIONS_MAX: usize = 100;
/// How long a wait lasts before it is looked at for a deadlock: PostgreSQL's default for `deadlock_timeout`.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client may take to say who it is: PostgreSQL's default for `authentication_timeout`.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long things take, microseconds: at least and at most, drawn evenly.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One turn of a statement.
    pub turn_us: (u64, u64),
    /// A commit of something written: one write to the disk.
    pub commit_us: (u64, u64),
    /// How many turns and commits in a thousand take a stall longer.
    pub stalls_per_mille: u64,
    /// A stall.
    pub stall_us: (u64, u64),
    /// Until the server sees that its client is gone.
    pub notice_us: (u64, u64),
    /// Rows that a turn takes at most, a power of two: each turn draws its own.
    pub rows_of_turn_log2_max: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            turn_us: (20, 400),
            commit_us: (200, 4_000),
            stalls_per_mille: 5,
            stall_us: (5_000, 100_000),
            notice_us: (50, 20_000),
            rows_of_turn_log2_max: 10,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Up,
    /// Listens, and lets nobody in before.
    Starting(Instant),
    Down,
}

/// See the module.
pub struct Postgres {
    random: Random,
    pace: Pace,
    power: Power,
    faults: Faults,
    database: Database,
    backends: BTreeMap<SocketId, Backend>,
    /// Numbers turns and waits, so that what is due at one instant is taken in the order in which it came to be due.
    sequence: u64,
    now: Now,
    strangers: Vec<String>,
    /// Whether it knows statements that have changed since their meaning was written.
    with_changed: bool,
    writes: VecDeque<(SocketId, Bytes)>,
    closes: VecDeque<SocketId>,
}

impl Postgres {
    /// An empty database, up.
    pub fn new(random: Random, pace: Pace) -> Postgres {
        Postgres {
            random,
            pace,
            power: Power::Up,
            faults: Faults::default(),
            database: Database::new(),
            backends: BTreeMap::new(),
            sequence: 0,
            now: Now::default(),
            strangers: Vec::new(),
            with_changed: false,
            writes: VecDeque::new(),
            closes: VecDeque::new(),
        }
    }

    /// Takes a statement that has changed for what it was before. Only beside a real server: there it comes out whether the meaning is
    /// still right, and not merely that the words are others.
    pub fn with_changed_statements(mut self) -> Postgres {
        self.with_changed = true;
        self
    }

    /// What was asked and is not known here, in its order. Must be empty at the end of every run.
    pub fn strangers(&self) -> &[String] {
        &self.strangers
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn draw(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_micros(least + self.random.below(most - least + 1))
    }

    /// How long the next turn takes, or a commit.
    fn draw_turn(&mut self, is_commit: bool) -> Duration {
        let usual = self.draw(if is_commit { self.pace.commit_us } else { self.pace.turn_us });
        if self.random.per_mille(self.pace.stalls_per_mille) { usual + self.draw(self.pace.stall_us) } else { usual }
    }

    /// The server's clock as `now()` tells it, microseconds since 2000-01-01 UTC.
    fn clock(&self) -> i64 {
        let wall_ms = i64::try_from(self.now.wall_ms).expect("a wall clock of our days");
        (wall_ms + self.faults.clock_offset_ms) * 1000 - EPOCH_MICROS
    }
}
