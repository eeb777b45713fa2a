//! What can be made to go wrong.

use std::time::Duration;

use flux_protocol::time::{Instant, Now};

use super::backend::{Block, State};
use super::error::SqlError;
use super::statements::{Known, Verb};
use super::{Postgres, Power};
use crate::peer::SocketId;

/// What becomes of a COMMIT of something written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// The connection is reset before it arrives; the transaction is undone.
    NeverArrives,
    /// It is carried out, and the connection reset before its answer is sent.
    AnswerLost,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) is_paused: bool,
    pub(super) is_standby: bool,
    pub(super) is_disk_full: bool,
    pub(super) clock_offset_ms: i64,
    pub(super) commit: Option<CommitFault>,
    statement: Option<(Option<&'static str>, [u8; 5])>,
    logins_refused: Option<([u8; 5], Instant)>,
}

impl Faults {
    /// With which code whoever logs in now is refused.
    pub(super) fn login_refused(&mut self, now: Instant) -> Option<[u8; 5]> {
        self.logins_refused.filter(|(_, until)| now < *until).map(|(code, _)| code)
    }

    /// The error that a statement meets, if any.
    pub(super) fn statement(&mut self, known: &Known) -> Result<(), SqlError> {
        if let Some((name, code)) = self.statement
            && name.map_or(known.verb != Verb::Rollback, |name| name == known.name)
        {
            self.statement = None;
            let message = "by order of the simulation";
            // Shutdowns end the session with the statement.
            let ends = code.starts_with(b"57P");
            return Err(if ends { SqlError::fatal(&code, message) } else { SqlError::new(&code, message) });
        }
        if let (true, Some(verb)) = (self.is_standby, known.verb.written_as()) {
            return Err(SqlError::new(b"25006", format!("cannot execute {verb} in a read-only transaction")));
        }
        if self.is_disk_full && matches!(known.verb, Verb::Insert | Verb::Update | Verb::Copy | Verb::Define) {
            return Err(SqlError::new(b"53100", "could not extend file: No space left on device"));
        }
        Ok(())
    }
}

impl Postgres {
    /// A fast shutdown: every session is told (57P01) and ended, open transactions are rolled back.
    pub fn stop(&mut self, now: Now) {
        self.terminate_sessions(now);
        self.power = Power::Down;
    }

    /// SIGKILL: every connection is reset. A commit that was under way may or may not have been written.
    pub fn kill(&mut self, now: Now) {
        self.now = now;
        let sockets: Vec<SocketId> = self.backends.keys().copied().collect();
        for socket in sockets {
            let backend = &self.backends[&socket];
            let commits = matches!(&backend.state, State::Working(work) if work.task.is_commit())
                && matches!(backend.block, Block::Open | Block::Implicit);
            if commits && self.random.per_mille(500) {
                self.database.commit(socket);
            }
            self.end(socket);
        }
        self.power = Power::Down;
        self.faults.is_paused = false;
    }

    /// Listens again; lets nobody in before `recovery` has passed (57P03). What was committed is there.
    pub fn start(&mut self, now: Now, recovery: Duration) {
        self.now = now;
        if self.power == Power::Down {
            self.power = Power::Starting(now.instant + recovery);
        }
    }

    /// SIGSTOP: connections are accepted by the kernel, and nothing happens on any.
    pub fn pause(&mut self) {
        self.faults.is_paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self, now: Now) {
        self.now = now;
        self.faults.is_paused = false;
        let sockets: Vec<SocketId> = self.backends.keys().copied().collect();
        for socket in sockets {
            self.read(socket);
        }
        self.run();
    }

    /// Every session is told (57P01) and ended; new ones are let in.
    pub fn terminate_sessions(&mut self, now: Now) {
        self.now = now;
        self.faults.is_paused = false;
        let sockets: Vec<SocketId> = self.backends.keys().copied().collect();
        for socket in sockets {
            let message = "terminating connection due to administrator command";
            self.fail(socket, SqlError::fatal(b"57P01", message), false);
        }
        self.run();
    }

    /// Resets one connection, as a middlebox does; its transaction is rolled back. Nothing where it is gone.
    pub fn cut(&mut self, now: Now, socket: SocketId) {
        self.now = now;
        if self.backends.contains_key(&socket) {
            self.end(socket);
        }
        self.run();
    }

    /// The connections that are there.
    pub fn connections(&self) -> impl Iterator<Item = SocketId> {
        self.backends.keys().copied()
    }

    /// What happens to the next COMMIT of something written, whether it is said or comes with a Sync.
    pub fn fail_next_commit(&mut self, fault: CommitFault) {
        self.faults.commit = Some(fault);
    }

    /// The next statement fails with this SQLSTATE: any but ROLLBACK, or the next of the file `name`
    /// (`worker/sql/statements`; `commit`, `begin` and the like for the words of the code). Class 57P ends its session.
    ///
    /// # Panics
    /// Where there is no statement of this name.
    pub fn fail_next_statement(&mut self, name: Option<&'static str>, code: [u8; 5]) {
        let is_known = |name| super::statements::KNOWN.iter().any(|known| known.name == name);
        assert!(name.is_none_or(is_known), "a statement that is known");
        self.faults.statement = Some((name, code));
    }

    /// Whether a statement or a commit that was ordered to fail has not come yet.
    pub fn has_faults_to_come(&self) -> bool {
        self.faults.statement.is_some() || self.faults.commit.is_some()
    }

    /// Whoever logs in before `until` is refused with this SQLSTATE, such as 53300.
    pub fn refuse_logins(&mut self, code: [u8; 5], until: Instant) {
        self.faults.logins_refused = Some((code, until));
    }

    /// Writes fail (53100) as long as this is so.
    pub fn set_disk_full(&mut self, is_full: bool) {
        self.faults.is_disk_full = is_full;
    }

    /// Writes and row locks fail (25006) as long as this is so.
    pub fn set_standby(&mut self, is_standby: bool) {
        self.faults.is_standby = is_standby;
    }

    /// How far its clock is from the wall clock of the run.
    pub fn set_clock_offset_ms(&mut self, offset: i64) {
        self.faults.clock_offset_ms = offset;
    }
}
