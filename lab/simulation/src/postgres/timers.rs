//! What happens because time passes.

use flux_protocol::time::Instant;

use super::backend::{Backend, State};
use super::error::SqlError;
use super::{Postgres, Power};
use crate::peer::SocketId;

impl Postgres {
    /// Does all that is due. A paused server does nothing.
    pub(super) fn run(&mut self) {
        if self.faults.is_paused {
            return;
        }
        let now = self.now.instant;
        if matches!(self.power, Power::Starting(until) if until <= now) {
            self.power = Power::Up;
        }
        loop {
            // By time, then by the order in which it became due.
            let due = self.backends.iter().filter_map(|(socket, backend)| {
                let (at, sequence) = next(backend);
                (at <= now).then_some((at, sequence, *socket))
            });
            let Some((_, _, socket)) = due.min() else { return };
            self.act(socket);
        }
    }

    fn act(&mut self, socket: SocketId) {
        let now = self.now.instant;
        let is_deadlocked = self.is_deadlocked(socket);
        let backend = self.backend(socket);
        let is_simple = match &backend.state {
            State::Working(work) | State::Waiting(work, _) => work.task.is_simple(),
            State::Copying(..) | State::Startup | State::Reading => false,
        };
        let is_past = |deadline: Instant| deadline <= now;
        let error = match &mut backend.state {
            State::Startup if is_past(backend.idle_deadline) => return self.end(socket),
            State::Waiting(_, wait) if is_past(wait.deadlock_check_at) && is_deadlocked => {
                SqlError::new(b"40P01", "deadlock detected")
            }
            State::Waiting(_, wait) if is_past(wait.gives_up_at) => {
                SqlError::new(b"55P03", "canceling statement due to lock timeout")
            }
            State::Waiting(_, wait) if is_past(wait.deadlock_check_at) => {
                // Whoever closes the circle later finds it.
                wait.deadlock_check_at = Instant::FAR_FUTURE;
                return;
            }
            State::Waiting(..) | State::Working(_) | State::Copying(..) if is_past(backend.statement_deadline) => {
                SqlError::new(b"57014", "canceling statement due to statement timeout")
            }
            State::Reading if is_past(backend.idle_deadline) => {
                let message = "terminating connection due to idle-in-transaction timeout";
                SqlError::fatal(b"25P03", message)
            }
            State::Working(_) => return self.work(socket),
            State::Startup | State::Reading | State::Copying(..) => return self.end(socket),
            State::Waiting(..) => unreachable!("nothing of a wait is due but its limits"),
        };
        self.fail(socket, error, is_simple);
        self.read(socket);
    }

    pub(super) fn next_due(&self) -> Instant {
        if self.faults.is_paused {
            return Instant::FAR_FUTURE;
        }
        let power = if let Power::Starting(until) = self.power { until } else { Instant::FAR_FUTURE };
        self.backends.values().map(|backend| next(backend).0).min().map_or(power, |at| at.min(power))
    }
}

/// When something is due for a session, and in which order among what is due then.
fn next(backend: &Backend) -> (Instant, u64) {
    let leaves_at = backend.leaves_at.unwrap_or(Instant::FAR_FUTURE);
    let statement_deadline = backend.statement_deadline;
    match &backend.state {
        State::Startup | State::Reading => (backend.idle_deadline.min(leaves_at), 0),
        State::Copying(..) => (statement_deadline.min(leaves_at), 0),
        State::Working(_) => (backend.wake.0.min(statement_deadline), backend.wake.1),
        // Nobody looks at the client while a lock is awaited.
        State::Waiting(_, wait) => {
            (wait.deadlock_check_at.min(wait.gives_up_at).min(statement_deadline), wait.sequence)
        }
    }
}
