//! Instructions of a path, counted by valgrind's callgrind.
//!
//! This program runs itself twice under it, for a number of bursts and for twice as many: the difference is what the
//! second half cost, without start, connecting and warming up. Never counts what the kernel does.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use thiserror::Error;

use crate::drive::CLIENTS;
use crate::path::Path;

/// Bursts of the shorter run. Some thousand requests: what happens once in many of them has happened, and a run takes a
/// second.
const BURSTS: u64 = 100;

/// Why there is no count.
#[derive(Debug, Error)]
pub enum ValgrindError {
    /// The program is not there.
    #[error("valgrind is missing: sudo apt-get install valgrind")]
    Missing,
    /// It, or this program, could not be started.
    #[error("cannot start valgrind: {0}")]
    Start(#[from] io::Error),
    /// The run ended badly; its last words.
    #[error("a run under valgrind failed:\n{0}")]
    Run(String),
}

/// Instructions of one request on `path`, everything between its bytes and its answer's in a share of the burst's.
///
/// # Errors
/// [`ValgrindError`].
pub fn instructions_per_request(path: Path) -> Result<u64, ValgrindError> {
    let program = std::env::current_exe()?;
    let (shorter, longer) = (run(&program, path, BURSTS)?, run(&program, path, 2 * BURSTS)?);
    Ok((longer - shorter) / (BURSTS * CLIENTS as u64))
}

fn run(program: &PathBuf, path: Path, bursts: u64) -> Result<u64, ValgrindError> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    valgrind.args(["drive", path.name(), &bursts.to_string()]);
    let output = valgrind.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ValgrindError::Missing,
        _ => ValgrindError::Start(error),
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => Err(ValgrindError::Run(said.into_owned())),
    }
}
