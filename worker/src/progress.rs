//! When a command that takes long is to say how far it is.

use flux_net::{Clock, within};
use flux_protocol::time::Instant;
use tracing::info;

use crate::limits::PROGRESS_INTERVAL;

/// Due every [`PROGRESS_INTERVAL`].
pub struct Progress {
    clock: Clock,
    next: Instant,
}

impl Progress {
    /// Due first when the interval has passed.
    pub fn new() -> Progress {
        let clock = Clock::start();
        Progress { next: clock.instant() + PROGRESS_INTERVAL, clock }
    }

    /// Whether it is due; then not again before the interval has passed.
    pub fn is_due(&mut self) -> bool {
        let now = self.clock.instant();
        let is_due = now >= self.next;
        if is_due {
            self.next = now + PROGRESS_INTERVAL;
        }
        is_due
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

/// Waits for `future`, and says every [`PROGRESS_INTERVAL`] that `what` goes on still.
///
/// # Errors
/// The process has no descriptor left for a timer.
pub async fn told<F: Future>(what: &str, future: F) -> std::io::Result<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut seconds = 0;
    loop {
        if let Some(output) = within(PROGRESS_INTERVAL, future.as_mut()).await? {
            return Ok(output);
        }
        seconds += PROGRESS_INTERVAL.as_secs();
        info!(seconds, "{what}");
    }
}
