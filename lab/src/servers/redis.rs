//! One Redis (or Valkey) of our own, on a free port and a Unix socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::control::{Controlled, Slot};
use crate::error::{Doing, LabError};
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::run_dir::RunDir;
use crate::servers::{Data, Encryption, find_in_path};

const READY_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(30);

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Keep an append-only file, synced every second.
    pub append_only: bool,
    /// More of redis-server's options, such as `["--maxmemory", "64mb"]`.
    pub arguments: Vec<String>,
    /// More of its environment.
    pub environment: Vec<(String, String)>,
    /// Whether it has a port with TLS, too.
    pub tls: Option<Box<Encryption>>,
}

/// A running (or stopped) Redis. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    options: RedisOptions,
    directory: PathBuf,
    log: PathBuf,
    port: Port,
    tls_port: Option<Port>,
    slot: Slot,
    _run: RunDir,
}

impl Redis {
    /// Starts one in `run` and waits until it answers.
    ///
    /// # Errors
    /// Where redis-server is missing or does not come up.
    pub fn start(run: &RunDir, options: RedisOptions) -> Result<Redis, LabError> {
        let port = Port::reserve()?;
        let directory = run.join(format!("redis-{}", port.number()));
        std::fs::create_dir_all(&directory).doing(|| format!("making {}", directory.display()))?;
        let log = run.join(format!("redis-{}.log", port.number()));
        let program = program()?;
        let tls_port = options.tls.as_ref().map(|_| Port::reserve()).transpose()?;
        let (slot, run_dir) = (Slot::new(libc::SIGTERM, STOP_MAX), run.clone());
        let mut redis = Redis { program, options, directory, log, port, tls_port, slot, _run: run_dir };
        redis.up()?;
        Ok(redis)
    }

    /// Starts it again after [`Controlled::stop`] or [`Controlled::kill`], on the same port, with the data that is on disk.
    /// Nothing happens where it runs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn up(&mut self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.number().to_string()]);
        command.arg("--dir").arg(&self.directory);
        command.arg("--unixsocket").arg(self.socket()).args(["--unixsocketperm", "777"]);
        command.args(["--daemonize", "no", "--save", "", "--maxmemory-policy", "noeviction"]);
        command.args(["--appendonly", if self.options.append_only { "yes" } else { "no" }]);
        command.args(["--tcp-backlog", "4096"]);
        if let (Some(tls), Some(port)) = (&self.options.tls, &self.tls_port) {
            command.args(["--tls-port", &port.number().to_string()]);
            command.arg("--tls-cert-file").arg(&tls.certificate).arg("--tls-key-file").arg(&tls.key);
            command.arg("--tls-ca-cert-file").arg(tls.clients.as_ref().unwrap_or(&tls.certificate));
            command.args(["--tls-auth-clients", if tls.clients.is_some() { "yes" } else { "no" }]);
        }
        command.args(&self.options.arguments);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        let process = self.slot.put(Process::start("redis-server", command, &self.log, Ending::KILL)?);
        let url = format!("redis://{}", self.port.address());
        process.wait_ready(READY_MAX, || ping(&url))
    }

    /// Ends it and starts it again. With [`Data::Keep`] it writes all it holds first, whatever its settings. Either way
    /// it is another Redis to its clients: its run id is new.
    ///
    /// # Errors
    /// Where it does not end or come up.
    pub fn restart(&mut self, data: Data) -> Result<(), LabError> {
        if data == Data::Keep && self.is_running() && !self.options.append_only {
            let mut connection = self.connection()?;
            redis::cmd("SAVE").exec(&mut connection).doing(|| "saving before a restart".to_owned())?;
        }
        self.stop()?;
        if data == Data::Lose {
            self.wipe()?;
        }
        self.up()
    }

    /// Removes its data from disk; it must not be running.
    ///
    /// # Errors
    /// Where the directory cannot be made anew.
    pub fn wipe(&mut self) -> Result<(), LabError> {
        let directory = &self.directory;
        std::fs::remove_dir_all(directory).doing(|| format!("emptying {}", directory.display()))?;
        std::fs::create_dir_all(directory).doing(|| format!("making {}", directory.display()))
    }

    /// Where its data lies.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }

    /// `redis://…`, over TCP.
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// `rediss://…`, where it has TLS.
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port.as_ref().map(|port| format!("rediss://{}", port.address()))
    }

    /// `redis+unix://…`, over its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A connection for a test's own questions; they time out after ten seconds.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub fn connection(&self) -> Result<redis::Connection, LabError> {
        connect(&self.url())
    }
}

impl Controlled for Redis {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn slot_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

/// A blocking connection to `url` whose calls time out after ten seconds.
pub(crate) fn connect(url: &str) -> Result<redis::Connection, LabError> {
    let doing = || format!("connecting to {url}");
    let limit = Duration::from_secs(10);
    let connection = redis::Client::open(url).doing(doing)?.get_connection_with_timeout(limit).doing(doing)?;
    connection.set_read_timeout(Some(limit)).doing(doing)?;
    connection.set_write_timeout(Some(limit)).doing(doing)?;
    Ok(connection)
}

fn ping(url: &str) -> bool {
    let Ok(client) = redis::Client::open(url) else { return false };
    let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else { return false };
    // LOADING is an error answer: not ready yet.
    redis::cmd("PING").query::<String>(&mut connection).is_ok_and(|answer| answer == "PONG")
}

/// Whether it could be started.
pub(crate) fn check_installed() -> Result<(), LabError> {
    program().map(drop)
}

fn program() -> Result<PathBuf, LabError> {
    if let Some(named) = std::env::var_os("FLUX_REDIS_SERVER") {
        return Ok(named.into());
    }
    find_in_path("redis-server").or_else(|| find_in_path("valkey-server")).ok_or_else(|| LabError::Missing {
        what: "redis-server (not in PATH, FLUX_REDIS_SERVER names none)".to_owned(),
        install: "sudo apt-get install redis-server".to_owned(),
    })
}
