//! What the server keeps of one connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::Instant;

use super::statements::{Known, Output, Steps, Verb};
use super::table::Owner;
use super::values::Params;
use super::wire::Status;

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    None,
    /// Begun by a statement, ended by the next Sync.
    Implicit,
    Open,
    /// Rolled back already, its locks gone; only ROLLBACK or COMMIT ends it.
    Failed,
}

impl Block {
    pub(super) fn status(self) -> Status {
        match self {
            Block::None | Block::Implicit => Status::Idle,
            Block::Open => Status::Open,
            Block::Failed => Status::Failed,
        }
    }
}

/// The session's timeouts; `None`: switched off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) statement: Option<Duration>,
    pub(super) lock: Option<Duration>,
    pub(super) idle_in_transaction: Option<Duration>,
    /// The kernel's, of bytes that nobody acknowledges.
    pub(super) user_timeout: Option<Duration>,
    /// The kernel's, after which it asks whether the other side is there.
    pub(super) keepalive: Option<Duration>,
}

pub(super) enum State {
    /// The start-up message is awaited.
    Startup,
    /// A request is awaited.
    Reading,
    /// A COPY's data is awaited.
    Copying(Task, BytesMut),
    /// Its next turn is at [`Backend::wake`].
    Working(Work),
    /// Another transaction is awaited.
    Waiting(Work, Wait),
}

/// What is being carried out.
pub(super) struct Work {
    pub(super) task: Task,
    /// `None` before its first turn.
    pub(super) steps: Option<Steps>,
    pub(super) output: Output,
    pub(super) command: u64,
}

pub(super) enum Task {
    /// `is_simple`: asked by the simple protocol, where a statement is its own Sync.
    Statement { known: &'static Known, params: Params, data: Bytes, is_simple: bool },
    /// The commit at a Sync.
    ImplicitCommit,
}

impl Task {
    pub(super) fn is_commit(&self) -> bool {
        match self {
            Task::Statement { known, .. } => known.verb == Verb::Commit,
            Task::ImplicitCommit => true,
        }
    }

    pub(super) fn is_simple(&self) -> bool {
        matches!(self, Task::Statement { is_simple: true, .. })
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) owner: Owner,
    /// Whoever waits longer goes on first.
    pub(super) sequence: u64,
    pub(super) deadlock_check_at: Instant,
    pub(super) gives_up_at: Instant,
}

pub(super) struct Backend {
    /// Bounded by its client, which sends one run of statements and awaits the answer.
    pub(super) inbox: BytesMut,
    /// Written and not flushed.
    pub(super) outbox: BytesMut,
    pub(super) limits: Limits,
    /// Of its BackendKeyData.
    pub(super) secret: i32,
    pub(super) state: State,
    /// When its next turn is, and in which order among those of one instant.
    pub(super) wake: (Instant, u64),
    pub(super) block: Block,
    /// After an error, until the next Sync.
    pub(super) is_skipping: bool,
    /// `now()` of the transaction.
    pub(super) began_at: i64,
    pub(super) statement: Option<(&'static Known, Vec<u32>)>,
    pub(super) portal: Option<(&'static Known, Params)>,
    pub(super) statement_deadline: Instant,
    /// For the start-up message, or for the next request where a transaction is open.
    pub(super) idle_deadline: Instant,
    /// Its client is gone; when the server sees that.
    pub(super) leaves_at: Option<Instant>,
}

impl Backend {
    pub(super) fn new(startup_deadline: Instant) -> Backend {
        Backend {
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            limits: Limits::default(),
            secret: 0,
            state: State::Startup,
            wake: (Instant::FAR_FUTURE, 0),
            block: Block::None,
            is_skipping: false,
            began_at: 0,
            statement: None,
            portal: None,
            statement_deadline: Instant::FAR_FUTURE,
            idle_deadline: startup_deadline,
            leaves_at: None,
        }
    }
}
