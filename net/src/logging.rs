//! Logs on standard error: text on a terminal, one JSON object a line otherwise. `RUST_LOG` chooses what; default: info.
//!
//! A thread of its own writes them. Whoever logs never waits for who reads the log, and a log that cannot be written (a disk that
//! is full, a pipe whose reader has gone) ends nothing: such lines are lost, and so are those beyond [`LINES_WAITING_MAX`] that a
//! reader who stalls leaves waiting; [`lines_lost`] counts these.

use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the log's reader: some MiB.
const LINES_WAITING_MAX: usize = 16_384;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts logging. Once, before anything is logged. What was logged last is written when the guard is dropped, or lost after a
/// second of trying.
pub fn start() -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_WAITING_MAX).thread_name("log").finish(stderr());
    // Set before only where a test started it twice; the counter of the first is kept then.
    let _ = DROPPED.set(writer.error_counter());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(stderr().is_terminal())
        .log_internal_errors(false);
    if stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
    guard
}

/// Lines of the log that were lost since its reader was too slow.
pub fn lines_lost() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Writes a line on standard output: what a command was asked for.
///
/// # Errors
/// It cannot be written, as where the reader of a pipe has gone.
pub fn say(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(stdout().lock(), "{line}")
}

/// Writes a line on standard error: why a program ends. Where that is closed or full there is nobody to be told, and the exit code
/// says it.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(stderr().lock(), "{line}");
}
