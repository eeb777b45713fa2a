//! Statements as they are carried out: turn by turn, waiting for each other, ending transactions.

use std::time::Duration;

use super::backend::{Block, State, Task, Wait, Work};
use super::error::SqlError;
use super::faults::CommitFault;
use super::statements::{Known, Scope, Verb, read_copy};
use super::table::Stop;
use super::wire;
use super::{DEADLOCK_TIMEOUT, Postgres};
use crate::peer::SocketId;
use flux_protocol::time::Instant;

/// The server's buffer of a connection: what does not fit into it is sent before the end of the answer
/// (`PQ_SEND_BUFFER_SIZE`, `pqcomm.c`).
const OUTBOX_BYTES: usize = 8192;

impl Postgres {
    /// One turn of a session that is working.
    pub(super) fn work(&mut self, socket: SocketId) {
        let now = self.now.instant;
        let backend = self.backend(socket);
        if backend.leaves_at.is_some_and(|at| at <= now) {
            return self.end(socket);
        }
        let State::Working(mut work) = std::mem::replace(&mut backend.state, State::Reading) else {
            unreachable!("whoever has a turn is working")
        };
        let outcome = if work.steps.is_none() { self.plan(socket, &mut work) } else { Ok(()) };
        match outcome.map_err(Stop::from).and_then(|()| self.steps(socket, &mut work)) {
            Ok(()) if work.steps.as_ref().is_some_and(|steps| !steps.is_empty()) => {
                let takes = self.draw_turn(false);
                self.wake_at(socket, takes);
                self.backend(socket).state = State::Working(work);
                return;
            }
            Ok(()) => self.finish(socket, work),
            Err(Stop::Wait(owner)) => return self.wait(socket, work, owner),
            Err(Stop::Fail(error)) => {
                let is_commit = work.task.is_commit();
                self.fail(socket, error, work.task.is_simple());
                // A COMMIT that fails has ended its transaction.
                if let (true, Some(backend)) = (is_commit, self.backends.get_mut(&socket)) {
                    backend.block = Block::None;
                }
            }
        }
        self.read(socket);
    }

    fn plan(&mut self, socket: SocketId, work: &mut Work) -> Result<(), SqlError> {
        let Task::Statement { known, params, data, .. } = &work.task else {
            work.steps = Some(Default::default());
            return Ok(());
        };
        self.faults.statement(known)?;
        if known.verb == Verb::Declare && self.backends[&socket].block == Block::Implicit {
            return Err(SqlError::new(b"25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.backends[&socket].block != Block::Failed {
            self.look_for_relations(socket, known)?;
        }
        let now = self.backends[&socket].began_at;
        let mut scope = Scope {
            database: &mut self.database,
            output: &mut work.output,
            random: &mut self.random,
            owner: socket,
            command: work.command,
            now,
        };
        work.steps = Some(match known.verb {
            Verb::Copy => read_copy(&mut scope, data.clone()),
            _ => (known.plan)(&mut scope, params)?,
        });
        Ok(())
    }

    fn look_for_relations(&self, socket: SocketId, known: &Known) -> Result<(), SqlError> {
        let is_missing = |name: &&&'static str| self.database.relations.get(socket, name).is_none();
        match known.relations.iter().find(is_missing) {
            None => Ok(()),
            Some(name) => Err(SqlError::new(b"42P01", format!("relation \"{name}\" does not exist"))),
        }
    }

    /// As many steps as this turn takes.
    fn steps(&mut self, socket: SocketId, work: &mut Work) -> Result<(), Stop> {
        let now = self.backends[&socket].began_at;
        let most = 1_u64 << self.random.below(u64::from(self.pace.rows_of_turn_log2_max) + 1);
        let steps = work.steps.as_mut().expect("it was planned");
        for _ in 0..most {
            let Some(step) = steps.front_mut() else { break };
            step(&mut Scope {
                database: &mut self.database,
                output: &mut work.output,
                random: &mut self.random,
                owner: socket,
                command: work.command,
                now,
            })?;
            steps.pop_front();
        }
        Ok(())
    }

    fn wait(&mut self, socket: SocketId, work: Work, owner: SocketId) {
        let now = self.now.instant;
        let sequence = self.next_sequence();
        let backend = self.backend(socket);
        let gives_up_at = backend.limits.lock.map_or(Instant::FAR_FUTURE, |limit| now + limit);
        let wait = Wait { owner, sequence, deadlock_check_at: now + DEADLOCK_TIMEOUT, gives_up_at };
        backend.state = State::Waiting(work, wait);
    }

    /// Whether who waits for whom comes back to this session.
    pub(super) fn is_deadlocked(&self, socket: SocketId) -> bool {
        let mut at = socket;
        for _ in 0..self.backends.len() {
            match self.backends.get(&at).map(|backend| &backend.state) {
                Some(State::Waiting(_, wait)) if wait.owner == socket => return true,
                Some(State::Waiting(_, wait)) => at = wait.owner,
                _ => return false,
            }
        }
        false
    }

    /// A transaction has ended: those who waited for it go on, the longest first.
    fn release(&mut self, owner: SocketId) {
        let waits = self.backends.iter().filter_map(|(socket, backend)| match &backend.state {
            State::Waiting(_, wait) if wait.owner == owner => Some((wait.sequence, *socket)),
            _ => None,
        });
        let mut waiting: Vec<_> = waits.collect();
        waiting.sort_unstable();
        for (_, socket) in waiting {
            self.wake_at(socket, Duration::ZERO);
            let backend = self.backend(socket);
            backend.state = match std::mem::replace(&mut backend.state, State::Reading) {
                State::Waiting(work, _) => State::Working(work),
                _ => unreachable!("looked at above"),
            };
        }
    }

    fn finish(&mut self, socket: SocketId, work: Work) {
        self.backend(socket).statement_deadline = Instant::FAR_FUTURE;
        let Task::Statement { known, is_simple, .. } = &work.task else {
            if self.commit(socket) {
                self.ready(socket);
            }
            return;
        };
        let tag = match known.verb {
            Verb::Begin => self.begin(socket),
            Verb::Commit | Verb::Rollback => match self.end_block(socket, known.verb) {
                Some(tag) => tag,
                None => return,
            },
            Verb::Select | Verb::Lock => format!("SELECT {}", work.output.rows.len()),
            Verb::Insert => format!("INSERT 0 {}", work.output.count),
            Verb::Update => format!("UPDATE {}", work.output.count),
            Verb::Copy => format!("COPY {}", work.output.count),
            Verb::Declare => "DECLARE CURSOR".to_owned(),
            Verb::Fetch => format!("FETCH {}", work.output.rows.len()),
            Verb::Define => String::new(),
        };
        for row in &work.output.rows {
            let backend = self.backend(socket);
            wire::row(&mut backend.outbox, row);
            if backend.outbox.len() > OUTBOX_BYTES {
                self.flush(socket);
            }
        }
        let backend = self.backend(socket);
        for tag in work.output.tags {
            wire::complete(&mut backend.outbox, tag);
        }
        if known.verb != Verb::Define {
            wire::complete(&mut backend.outbox, &tag);
        }
        if *is_simple && (backend.block != Block::Implicit || self.commit(socket)) {
            self.ready(socket);
        }
    }

    fn begin(&mut self, socket: SocketId) -> String {
        let backend = self.backend(socket);
        if backend.block == Block::Open {
            let already = SqlError::new(b"25001", "there is already a transaction in progress");
            wire::warning(&mut backend.outbox, &already);
        }
        backend.block = Block::Open;
        "BEGIN".to_owned()
    }

    /// COMMIT or ROLLBACK; `None`: the connection has ended with it.
    fn end_block(&mut self, socket: SocketId, verb: Verb) -> Option<String> {
        let backend = self.backend(socket);
        if backend.block == Block::Implicit {
            let none = SqlError::new(b"25P01", "there is no transaction in progress");
            wire::warning(&mut backend.outbox, &none);
        }
        if verb == Verb::Rollback || backend.block == Block::Failed {
            self.rollback(socket);
            return Some("ROLLBACK".to_owned());
        }
        self.commit(socket).then(|| "COMMIT".to_owned())
    }

    /// False: the connection has ended with it.
    fn commit(&mut self, socket: SocketId) -> bool {
        let fault = if self.database.is_written_by(socket) { self.faults.commit.take() } else { None };
        match fault {
            Some(CommitFault::NeverArrives) => {
                self.end(socket);
                false
            }
            Some(CommitFault::AnswerLost) => {
                self.database.commit(socket);
                self.end(socket);
                false
            }
            None => {
                self.database.commit(socket);
                self.backend(socket).block = Block::None;
                self.release(socket);
                true
            }
        }
    }

    fn rollback(&mut self, socket: SocketId) {
        self.database.rollback(socket);
        self.backend(socket).block = Block::None;
        self.release(socket);
    }

    /// Answers with an error, and undoes the transaction at once: its locks are not kept for the ROLLBACK.
    pub(super) fn fail(&mut self, socket: SocketId, error: SqlError, is_simple: bool) {
        if error.is_stranger {
            self.strangers.push(error.message.clone());
        }
        let block = self.backend(socket).block;
        self.rollback(socket);
        let backend = self.backend(socket);
        backend.block = if matches!(block, Block::Open | Block::Failed) { Block::Failed } else { Block::None };
        backend.state = State::Reading;
        backend.statement_deadline = Instant::FAR_FUTURE;
        wire::error(&mut backend.outbox, &error);
        self.flush(socket);
        if error.is_fatal {
            self.end(socket);
        } else if is_simple {
            self.ready(socket);
        } else {
            self.backend(socket).is_skipping = true;
        }
    }

    /// The session is over: what it has not committed is undone, what it held is free.
    pub(super) fn end(&mut self, socket: SocketId) {
        self.database.rollback(socket);
        self.database.release_session(socket);
        let backend = self.backends.remove(&socket).expect("a session that is there");
        if backend.leaves_at.is_none() {
            self.closes.push_back(socket);
        }
        self.release(socket);
    }
}
