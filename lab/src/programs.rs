//! The real `flux-edge` and `flux-worker`, as processes of ours: started with a given environment, waited for at
//! `/readyz?deep`, ended, killed, paused, their output in a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::control::{Controlled, Slot};
use crate::error::{Doing, LabError};
use crate::http_client;
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::run_dir::RunDir;

/// How long a program may take until it is ready.
pub const READY_MAX: Duration = Duration::from_secs(60);
/// How long it may take until it has drained and ended.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Variables of the environment, by name.
pub type Environment = Vec<(String, String)>;

/// A program of ours that can be started again and again with the same environment and ports.
#[derive(Debug)]
pub struct Program {
    name: String,
    binary: PathBuf,
    environment: Environment,
    /// A program that replaces itself by this one, with its arguments; empty: none.
    under: Vec<String>,
    log: PathBuf,
    probe: SocketAddr,
    slot: Slot,
    _run: RunDir,
}

impl Program {
    /// A program, not yet started. `name` names its log file in `run`; `probe` is the listener that answers `/readyz?deep`.
    pub fn new(run: &RunDir, name: &str, binary: PathBuf, environment: Environment, probe: SocketAddr) -> Program {
        let log = run.join(format!("{name}.log"));
        Program {
            name: name.to_owned(),
            binary,
            environment,
            under: Vec::new(),
            log,
            probe,
            slot: Slot::new(libc::SIGTERM, STOP_MAX),
            _run: run.clone(),
        }
    }

    /// Starts it without waiting. Nothing happens where it runs.
    ///
    /// # Errors
    /// Where it cannot be executed.
    pub fn launch(&mut self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = match self.under.split_first() {
            None => Command::new(&self.binary),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        // What the developer has set for a deployment of theirs must not reach a test.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"FLUX_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.slot.put(Process::start(&self.name, command, &self.log, Ending::KILL)?);
        Ok(())
    }

    /// Starts it and waits until `/readyz?deep` answers 200.
    ///
    /// # Errors
    /// Where it cannot be executed, ends, or is not ready within [`READY_MAX`].
    pub fn start(&mut self) -> Result<(), LabError> {
        self.launch()?;
        self.wait_ready(READY_MAX)
    }

    /// Waits until `/readyz?deep` answers 200.
    ///
    /// # Errors
    /// Where it ends first, or is not ready within `timeout`.
    pub fn wait_ready(&mut self, timeout: Duration) -> Result<(), LabError> {
        let probe = self.probe;
        let Some(process) = self.slot.process() else {
            return Err(LabError::failed(format!("{} was not started", self.name)));
        };
        process.wait_ready(timeout, || is_ready(probe))
    }

    /// What `/readyz?deep` says now.
    pub fn is_ready(&self) -> bool {
        is_ready(self.probe)
    }

    /// What its log is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SIGTERM, and waits until it has drained and ended. A promise of both programs is exit code 0 here.
    ///
    /// # Errors
    /// Where it still runs after `timeout`, or was not running.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let status = self.slot.end(timeout)?;
        status.ok_or_else(|| LabError::failed(format!("{} was not started", self.name)))
    }

    /// Any other signal.
    pub fn signal(&mut self, signal: i32) {
        self.slot.signal(signal);
    }

    /// SIGTERM without waiting.
    pub fn signal_terminate(&mut self) {
        self.slot.signal(libc::SIGTERM);
    }

    /// SIGHUP: it reads anew what it keeps in files.
    pub fn signal_reload(&mut self) {
        self.slot.signal(libc::SIGHUP);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// As [`Program::terminate`].
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, LabError> {
        match self.slot.process() {
            Some(process) => process.wait(timeout),
            None => Err(LabError::failed(format!("{} was not started", self.name))),
        }
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// From the next start on it is executed by `wrapper` (such as `["prlimit", "--nofile=64"]`), which must replace
    /// itself by it.
    pub fn run_under(&mut self, wrapper: &[&str]) {
        self.under = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All it has written so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Controlled for Program {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn slot_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

/// All servers are to be there, Kafka too: an edge that can answer without it is not enough to begin a test.
fn is_ready(probe: SocketAddr) -> bool {
    let answer = http_client::request(probe, "GET", "/readyz?deep", &[], b"", Duration::from_secs(2));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// One edge: its program and where it listens.
#[derive(Debug)]
pub struct Edge {
    /// To stop, kill, pause and start it.
    pub program: Program,
    public: Port,
    admin: Port,
    waiting_room: Port,
}

impl Edge {
    /// An edge on free ports of loopback, not yet started. `environment` wins over the addresses chosen here.
    ///
    /// # Errors
    /// Where the binary is not found.
    pub fn new(run: &RunDir, name: &str, environment: &[(String, String)]) -> Result<Edge, LabError> {
        Edge::of(edge_binary()?, run, name, environment)
    }

    /// The same of another build of the program.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn of(program: PathBuf, run: &RunDir, name: &str, environment: &[(String, String)]) -> Result<Edge, LabError> {
        let (public, admin, waiting_room) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
        let mut all: Environment = vec![
            ("FLUX_LISTEN".to_owned(), public.address().to_string()),
            ("FLUX_ADMIN".to_owned(), admin.address().to_string()),
            ("FLUX_WAITING_ROOM".to_owned(), waiting_room.address().to_string()),
            ("FLUX_WAITING_ROOM_URL".to_owned(), format!("http://{}/", waiting_room.address())),
        ];
        merge(&mut all, environment);
        let program = Program::new(run, name, program, all, admin.address());
        Ok(Edge { program, public, admin, waiting_room })
    }

    /// The public listener.
    pub fn public(&self) -> SocketAddr {
        self.public.address()
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The waiting room.
    pub fn waiting_room(&self) -> SocketAddr {
        self.waiting_room.address()
    }
}

/// One worker: its program and where it listens.
#[derive(Debug)]
pub struct Worker {
    /// To stop, kill, pause and start it.
    pub program: Program,
    admin: Port,
}

impl Worker {
    /// A worker whose listener is on a free port of loopback, not yet started. `environment` wins over that address.
    ///
    /// # Errors
    /// Where the binary is not found.
    pub fn new(run: &RunDir, name: &str, environment: &[(String, String)]) -> Result<Worker, LabError> {
        let admin = Port::reserve()?;
        let mut all: Environment = vec![("FLUX_WORKER_ADMIN".to_owned(), admin.address().to_string())];
        merge(&mut all, environment);
        let program = Program::new(run, name, worker_binary()?, all, admin.address());
        Ok(Worker { program, admin })
    }

    /// Its listener: livez, readyz, metrics, `GET /order`.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }
}

/// What a command that ran to its end said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs one of the programs with arguments (such as `flux-worker audit`) to its end.
///
/// # Errors
/// Where it cannot be executed.
pub fn run_to_end(binary: &Path, arguments: &[&str], environment: &[(String, String)]) -> Result<Ran, LabError> {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"FLUX_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    let ran = command.output().doing(|| format!("starting {}", binary.display()))?;
    Ok(Ran {
        code: ran.status.code(),
        output: String::from_utf8_lossy(&ran.stdout).into_owned(),
        errors: String::from_utf8_lossy(&ran.stderr).into_owned(),
    })
}

/// Where `flux-edge` is: `FLUX_EDGE_BIN`, or beside the running program (a test runs one directory below).
///
/// # Errors
/// Where it is in neither place.
pub fn edge_binary() -> Result<PathBuf, LabError> {
    find("flux-edge", "FLUX_EDGE_BIN")
}

/// Where `flux-worker` is: `FLUX_WORKER_BIN`, or beside the running program.
///
/// # Errors
/// Where it is in neither place.
pub fn worker_binary() -> Result<PathBuf, LabError> {
    find("flux-worker", "FLUX_WORKER_BIN")
}

fn find(name: &str, variable: &str) -> Result<PathBuf, LabError> {
    let install = format!("cargo build -p {name}");
    if let Some(named) = std::env::var_os(variable) {
        let named = PathBuf::from(named);
        let what = format!("{name} ({variable}={})", named.display());
        return if named.is_file() { Ok(named) } else { Err(LabError::Missing { what, install }) };
    }
    let program = std::env::current_exe().doing(|| "finding the running program".to_owned())?;
    let beside = program.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    beside.into_iter().find(|path| path.is_file()).ok_or_else(|| LabError::Missing {
        what: format!("{name} (not beside {}, {variable} is not set)", program.display()),
        install,
    })
}

fn merge(all: &mut Environment, more: &[(String, String)]) {
    for (name, value) in more {
        all.retain(|(other, _)| other != name);
        all.push((name.clone(), value.clone()));
    }
}
