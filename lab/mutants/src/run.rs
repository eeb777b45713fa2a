//! Runs one test program until it ends, one of its tests fails, or its time is up, and leaves nothing of it behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{MutantsError, doing};
use crate::mutant::Kind;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was wrong.
    Passed,
    /// A test failed, or a run of the simulation: its name, or what was said.
    Failed(String),
    /// It ended without a word, or with none that is known: its status.
    Crashed(String),
    /// It did not end in time.
    Hung,
}

/// How long a program may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    wall: Duration,
    /// Of the processor: who turns in a circle is told from who waits for a machine that is busy.
    processor: Duration,
}

impl Patience {
    /// For who takes `span` without a mutant. Rust is tested without servers to wait for: there only the processor's time counts.
    pub fn of(span: Duration, kind: Kind) -> Patience {
        let minute = Duration::from_secs(60);
        match kind {
            Kind::Lua | Kind::Sql => Patience { wall: 10 * span + minute, processor: 3 * span + minute },
            Kind::Rust => Patience { wall: 10 * (span + minute), processor: 3 * span + minute / 3 },
        }
    }
}

/// Memory that a program and each of its servers may have: a mutant that asks for all there is must not get it.
const MEMORY_BYTES: u64 = 12 << 30;

/// SIGXCPU; whom it does not end, the kernel kills 5 s later.
const PROCESSOR_TIME_IS_UP: i32 = 24;

/// Runs `program` with `arguments`.
///
/// # Errors
/// Where it cannot be started.
pub fn run(program: &Path, arguments: &[String], patience: Patience) -> Result<Outcome, MutantsError> {
    let scratch = doing("making a directory in", &std::env::temp_dir(), tempfile::tempdir())?;
    // PostgreSQL may run as another user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    doing("opening", scratch.path(), fs::set_permissions(scratch.path(), open))?;
    let mut command = Command::new("prlimit");
    let seconds = patience.processor.as_secs().max(1);
    command.arg(format!("--as={MEMORY_BYTES}")).arg(format!("--cpu={seconds}:{}", seconds + 5));
    command.arg("--core=0").arg("--").arg(program).args(arguments);
    command.env("TMPDIR", scratch.path()).env("RUST_BACKTRACE", "0");
    // What fails with a mutant is not to be noted in the tree as a case for ever.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    let log = scratch.path().join("stderr");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(doing("making", &log, fs::File::create(&log))?);
    let child = doing("starting", program, command.spawn())?;
    Ok(watch(child, patience.wall))
}

fn watch(mut child: Child, patience: Duration) -> Outcome {
    let (told, heard) = channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                if told.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    let end = Instant::now() + patience;
    let mut wants_reason = None;
    let outcome = loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if wants_reason.is_some() => {
                break Some(Outcome::Failed(format!("{}: {}", wants_reason.unwrap_or_default(), line.trim())));
            }
            Ok(line) => {
                if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                    break Some(Outcome::Failed(name.to_owned()));
                }
                // The simulation's word, whose reason stands in the next line.
                wants_reason = line.strip_suffix(" fails:").filter(|_| line.starts_with("seed ")).map(str::to_owned);
            }
            Err(RecvTimeoutError::Timeout) => break Some(Outcome::Hung),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    if let Some(outcome) = outcome {
        end_all(child.id());
        let _ = child.wait();
        return outcome;
    }
    // Its output has ended; so has it, or it will.
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Outcome::Passed,
            Ok(Some(status)) if status.signal() == Some(PROCESSOR_TIME_IS_UP) => return Outcome::Hung,
            Ok(Some(status)) => return Outcome::Crashed(status.to_string()),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                end_all(child.id());
                let _ = child.wait();
                return Outcome::Hung;
            }
        }
    }
}

/// Ends a process that we started and all that it started. A PostgreSQL is asked first: what it shares with its children would
/// outlive it.
fn end_all(pid: u32) {
    let all = family(pid);
    let (servers, others): (Vec<u32>, Vec<u32>) = all.into_iter().partition(|pid| name_of(*pid) == "postgres");
    signal("-QUIT", &servers);
    signal("-KILL", &others);
    let end = Instant::now() + Duration::from_secs(5);
    while servers.iter().any(|pid| name_of(*pid) == "postgres") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let left: Vec<u32> = servers.into_iter().filter(|pid| name_of(*pid) == "postgres").collect();
    signal("-KILL", &left);
}

fn signal(which: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let mut command = Command::new("kill");
        command.arg(which).args(pids.iter().map(u32::to_string)).stderr(Stdio::null());
        // A program that has ended by itself is no longer there to be told.
        let _ = command.status();
    }
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A process with all its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state, then the parent.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        if let Some(parent) = behind.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let of = all[at];
        all.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str, wall: Duration) -> Outcome {
        let patience = Patience { wall, processor: Duration::from_secs(1) };
        let arguments = ["-c".to_owned(), script.to_owned()];
        run(Path::new("/bin/sh"), &arguments, patience).expect("a shell")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_first_failure_ends_it() {
        assert_eq!(told("echo 'test a::b ... ok'", LONG), Outcome::Passed);
        let script = "echo 'test a ... ok'; echo 'test a::b ... FAILED'; sleep 1000";
        assert_eq!(told(script, LONG), Outcome::Failed("a::b".to_owned()));
        let script = "echo 'seed 7 fails:'; echo ' a unit lost'; sleep 1000";
        assert_eq!(told(script, LONG), Outcome::Failed("seed 7: a unit lost".to_owned()));
        assert!(matches!(told("exit 3", LONG), Outcome::Crashed(_)));
    }

    #[test]
    fn what_hangs_is_ended() {
        assert_eq!(told("sleep 1000", Duration::from_millis(10)), Outcome::Hung);
        assert_eq!(told("exec 2>&1; while :; do :; done", LONG), Outcome::Hung);
    }

    #[test]
    fn what_is_ended_takes_all_along_that_it_started() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("a shell");
        let mut pid = String::new();
        BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut pid).expect("its word");
        end_all(shell.id());
        assert!(!shell.wait().expect("ours").success());
        let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            std::thread::yield_now();
        }
    }
}
