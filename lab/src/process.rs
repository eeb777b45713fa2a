//! Child processes that are never left behind: killed on drop, when this process exits, and by the kernel when this
//! process is itself killed.
//!
//! Never touches a process it did not start.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, Once, OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::error::{Doing, LabError};
use crate::run_dir;

/// How often a wait looks again. Nothing measured depends on it.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a [`Process`] does when it is dropped or when its parent dies.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The signal that ends it at once, children included: sent on drop and by the kernel when we die.
    pub signal: i32,
    /// How long that may take before SIGKILL follows.
    pub grace: Duration,
}

impl Ending {
    /// SIGKILL: for programs that leave nothing in the system which their death does not clear.
    pub const KILL: Ending = Ending { signal: libc::SIGKILL, grace: Duration::ZERO };
    /// SIGQUIT, PostgreSQL's immediate shutdown: SIGKILL would leave shared memory segments behind.
    pub const QUIT: Ending = Ending { signal: libc::SIGQUIT, grace: Duration::from_secs(5) };
}

/// A running child process with its own descendants.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    ending: Ending,
    exited: Option<ExitStatus>,
    /// While paused: a shell that kills what we stopped should we die meanwhile (a stopped process cannot act on the
    /// death of its parent).
    guard: Option<Child>,
}

/// Processes to end when this process exits without dropping them (servers shared by all tests stand in a static).
static LIVE: Mutex<Vec<(u32, i32)>> = Mutex::new(Vec::new());

extern "C" fn end_leftovers() {
    if let Ok(mut live) = LIVE.try_lock() {
        for (pid, signal) in live.drain(..) {
            for descendant in descendants(pid) {
                send(descendant, signal);
            }
            send(pid, signal);
            wait_gone(&[pid], Duration::from_secs(5));
        }
    }
    run_dir::remove_leftovers();
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    ///
    /// # Errors
    /// Where the program cannot be executed or the log cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &Path, ending: Ending) -> Result<Process, LabError> {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // SAFETY: the handler is a plain function without arguments that lives as long as the program.
            unsafe { libc::atexit(end_leftovers) };
        });
        let out = open_log(log).doing(|| format!("opening {}", log.display()))?;
        let err = out.try_clone().doing(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // A group of its own: Ctrl-C reaches us, and we end the children in order.
        command.process_group(0);
        let parent = std::process::id();
        let signal = ending.signal;
        // SAFETY: between fork and exec only prctl, getppid and an error value that allocates nothing.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have died before the line above took effect.
                if libc::getppid() as u32 != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = spawn_from_lasting_thread(command).doing(|| format!("starting {name} ({program})"))?;
        if let Ok(mut live) = LIVE.lock() {
            live.push((child.id(), signal));
        }
        Ok(Process { name: name.to_owned(), log: log.to_owned(), child, ending, exited: None, guard: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.note_exit(status);
        }
        self.exited
    }

    fn note_exit(&mut self, status: ExitStatus) {
        self.exited = Some(status);
        let pid = self.child.id();
        if let Ok(mut live) = LIVE.lock() {
            live.retain(|(other, _)| *other != pid);
        }
    }

    /// Sends `signal` to it alone. Nothing happens where it has ended.
    pub fn signal(&mut self, signal: i32) {
        if self.exited().is_none() {
            send(self.pid(), signal);
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// Where it still runs after `timeout`; the text shows the end of its log.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(self.failure(&format!("has not ended within {timeout:?}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks it to end by `signal` and waits.
    ///
    /// # Errors
    /// As [`Process::wait`]; it still runs then.
    pub fn stop(&mut self, signal: i32, timeout: Duration) -> Result<ExitStatus, LabError> {
        self.resume();
        self.signal(signal);
        self.wait(timeout)
    }

    /// SIGKILL to it and to all its descendants, as a power cut would end them. Returns when they are gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            let pid = self.pid();
            // Stopped first, or it could replace a child while we count them.
            send(pid, libc::SIGSTOP);
            let below = descendants(pid);
            send(pid, libc::SIGKILL);
            for descendant in &below {
                send(*descendant, libc::SIGKILL);
            }
            if let Ok(status) = self.child.wait() {
                self.note_exit(status);
            }
            wait_gone(&below, Duration::from_secs(5));
        }
        self.drop_guard();
    }

    /// SIGSTOP to it and to all its descendants.
    ///
    /// # Errors
    /// Where the guard cannot be started that ends the stopped processes should this one die.
    pub fn pause(&mut self) -> Result<(), LabError> {
        if self.guard.is_some() || self.exited().is_some() {
            return Ok(());
        }
        let pid = self.pid();
        send(pid, libc::SIGSTOP);
        let mut stopped = vec![pid];
        stopped.extend(descendants(pid));
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read -r nothing; kill -9 \"$@\"", "flux-lab-guard"]);
        shell.args(stopped.iter().map(u32::to_string));
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        match shell.spawn() {
            Ok(guard) => self.guard = Some(guard),
            Err(source) => {
                send(pid, libc::SIGCONT);
                return Err(LabError::Io { doing: format!("starting the guard of paused {}", self.name), source });
            }
        }
        for descendant in &stopped[1..] {
            send(*descendant, libc::SIGSTOP);
        }
        Ok(())
    }

    /// SIGCONT to what [`Process::pause`] stopped. Nothing happens where it was not paused.
    pub fn resume(&mut self) {
        if self.guard.is_none() {
            return;
        }
        self.drop_guard();
        if self.exited().is_none() {
            let pid = self.pid();
            for descendant in descendants(pid) {
                send(descendant, libc::SIGCONT);
            }
            send(pid, libc::SIGCONT);
        }
    }

    fn drop_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Killed while its standard input is still open, so that it never gets to its own kill.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }

    /// An error about this process: `what` it did, and the end of its log.
    pub fn failure(&self, what: &str) -> LabError {
        LabError::Failed(format!(
            "{} {what}; the end of its log ({}):\n{}",
            self.name,
            self.log.display(),
            run_dir::log_tail(&self.log, 12)
        ))
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// Where the process ends before it is ready, or is not within `timeout`.
    pub fn wait_ready(&mut self, timeout: Duration, mut ready: impl FnMut() -> bool) -> Result<(), LabError> {
        let until = Instant::now() + timeout;
        let mut pause = LOOK_AGAIN;
        while !ready() {
            if let Some(status) = self.exited() {
                return Err(self.failure(&format!("ended before it was ready ({})", describe(status))));
            }
            if Instant::now() >= until {
                return Err(self.failure(&format!("was not ready within {timeout:?}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() && self.ending.signal != libc::SIGKILL {
            self.resume();
            let (signal, grace) = (self.ending.signal, self.ending.grace);
            // What does not end this way is killed below.
            let _ = self.stop(signal, grace);
        }
        self.kill();
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// PR_SET_PDEATHSIG fires when the *thread* that spawned the child ends, and a test's thread ends with the test. One
/// thread that lasts as long as the process spawns them all.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, todo) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in todo {
                // The asker waits for the answer, so sending cannot fail.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let gone = || io::Error::other("the spawning thread has ended");
    let (answer, spawned) = mpsc::sync_channel(1);
    spawner.lock().map_err(|_| gone())?.send((command, answer)).map_err(|_| gone())?;
    spawned.recv().map_err(|_| gone())?
}

fn send(pid: u32, signal: i32) {
    // SAFETY: a system call on a process that we started or that descends from one; a process that is gone makes it
    // fail with ESRCH, which is as good.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Every process below `pid`, as /proc shows it now.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    for entry in entries.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some((parent, _)) = stat(child) {
            parents.push((child, parent));
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(child, _)| *child));
        at += 1;
    }
    found.remove(0);
    found
}

/// Parent and state letter of a process, or `None` where it is gone.
fn stat(pid: u32) -> Option<(u32, u8)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so the fields are counted from its end.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Waits until none of `pids` runs (a zombie that its new parent has not reaped does not).
fn wait_gone(pids: &[u32], timeout: Duration) {
    let until = Instant::now() + timeout;
    while pids.iter().any(|pid| stat(*pid).is_some_and(|(_, state)| state != b'Z')) && Instant::now() < until {
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::RunDir;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn alive(pid: u32) -> bool {
        stat(pid).is_some_and(|(_, state)| state != b'Z')
    }

    #[test]
    fn dropping_kills_the_whole_tree() {
        let dir = RunDir::new().unwrap();
        let log = dir.join("tree.log");
        let process = Process::start("tree", shell("sleep 600 & sleep 600"), &log, Ending::KILL).unwrap();
        let pid = process.pid();
        let mut below = descendants(pid);
        while below.len() < 2 {
            std::thread::sleep(LOOK_AGAIN);
            below = descendants(pid);
        }
        drop(process);
        assert!(!alive(pid) && below.iter().all(|pid| !alive(*pid)));
    }

    #[test]
    fn a_paused_process_stands_still_and_goes_on() {
        let dir = RunDir::new().unwrap();
        let mut process = Process::start("still", shell("exec sleep 600"), &dir.join("x.log"), Ending::KILL).unwrap();
        let state = |pid| stat(pid).map(|(_, state)| state);
        process.pause().unwrap();
        while state(process.pid()) != Some(b'T') {
            std::thread::sleep(LOOK_AGAIN);
        }
        process.resume();
        while state(process.pid()) == Some(b'T') {
            std::thread::sleep(LOOK_AGAIN);
        }
        assert!(alive(process.pid()));
    }

    #[test]
    fn an_early_end_is_told_with_its_log() {
        let dir = RunDir::new().unwrap();
        let mut process =
            Process::start("short", shell("echo no such option; exit 2"), &dir.join("x.log"), Ending::KILL).unwrap();
        let error = process.wait_ready(Duration::from_secs(60), || false).unwrap_err().to_string();
        assert!(error.contains("exit code 2") && error.contains("no such option"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let dir = RunDir::new().unwrap();
        let command = Command::new("/nonexistent/program");
        let error = Process::start("ghost", command, &dir.join("x.log"), Ending::KILL).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/program"), "{error}");
    }
}
