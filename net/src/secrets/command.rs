//! A command that writes a token on its standard output.
//!
//! What it writes on standard error goes nowhere: it may well repeat a secret.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use flux_protocol::secret::Secret;
use rustix::process::{Pid, Signal, kill_process_group};

use super::file::{SECRET_BYTES_MAX, one_line};

/// A command that takes longer is ended.
pub const COMMAND_TIME_MAX: Duration = Duration::from_secs(20);

/// How often it is looked at whether it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Why a command gave no token.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no shell, or no process to be had.
    #[error("the command cannot be run: {0}")]
    Run(std::io::Error),
    /// It says itself that it failed.
    #[error("the command ended with {0}")]
    Failed(ExitStatus),
    /// [`COMMAND_TIME_MAX`].
    #[error("the command took longer than {0:?} and was ended")]
    TooLong(Duration),
    /// Nothing, several lines, or no text.
    #[error("the command wrote no token: one line of text is wanted")]
    NoToken,
}

/// Runs `command` by `/bin/sh -c`, and gives the one line that it writes.
///
/// # Errors
/// [`CommandError`].
pub fn run(command: &str, time_max: Duration) -> Result<Secret, CommandError> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that what it has started ends with it.
        .process_group(0)
        .spawn()
        .map_err(CommandError::Run)?;
    let outcome = wait(&mut child, time_max);
    if outcome.is_err() {
        end(&mut child);
    }
    outcome
}

fn wait(child: &mut Child, time_max: Duration) -> Result<Secret, CommandError> {
    let end = Instant::now() + time_max;
    let mut out = child.stdout.take().expect("it was asked for").take(SECRET_BYTES_MAX as u64 + 1);
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("token".to_owned())
        .spawn(move || {
            let mut written = Vec::new();
            let read = out.read_to_end(&mut written);
            // Nobody listens any more where it took too long.
            let _ = sender.send(read.map(|_| written));
        })
        .map_err(CommandError::Run)?;
    let too_long = || CommandError::TooLong(time_max);
    let written = receiver.recv_timeout(time_max).map_err(|_| too_long())?.map_err(CommandError::Run)?;
    // Whoever writes on finds the pipe closed, and fails by that.
    if written.len() > SECRET_BYTES_MAX {
        return Err(CommandError::NoToken);
    }
    let status = loop {
        match child.try_wait().map_err(CommandError::Run)? {
            Some(status) => break status,
            None if Instant::now() >= end => return Err(too_long()),
            None => thread::sleep(LOOK_INTERVAL),
        }
    };
    if !status.success() {
        return Err(CommandError::Failed(status));
    }
    one_line(&written).map_err(|_| CommandError::NoToken)
}

fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_the_token_and_everything_else_is_named() {
        let run = |command: &str| run(command, Duration::from_secs(10));
        assert_eq!(run("printf 'a.b.c\\n'").expect("a token").expose(), "a.b.c");
        let failed = run("echo hunter2; exit 3").expect_err("it says so").to_string();
        assert!(failed.contains("3") && !failed.contains("hunter2"), "{failed}");
        for command in ["true", "echo a; echo b", "head -c 70000 /dev/zero | tr '\\0' x"] {
            assert!(matches!(run(command), Err(CommandError::NoToken)), "{command}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let hangs = run("sleep 600 & sleep 600", Duration::from_millis(100));
        assert!(matches!(hangs, Err(CommandError::TooLong(_))), "{hangs:?}");
        let silent = run("exec >&-; sleep 600", Duration::from_millis(100));
        assert!(matches!(silent, Err(CommandError::TooLong(_))), "{silent:?}");
    }
}
