//! One PostgreSQL cluster of our own, on a free port and a Unix socket.
//!
//! PostgreSQL refuses to run as root: there it runs as `postgres`, or as `nobody` where there is no such user.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::control::{Controlled, Slot};
use crate::error::{Doing, LabError};
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::run_dir::RunDir;
use crate::servers::{Data, Encryption, find_in_path};

const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Wait for the disk at every commit, as in production. Off, a killed server still keeps everything (the machine
    /// does not lose power with it), and many small tests run faster.
    pub fsync: bool,
    /// More settings, such as `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
    /// Whether it has TLS, for those who ask for it.
    pub tls: Option<Box<Encryption>>,
    /// Where the data lies, in place of the run's directory (a small tmpfs, for a disk that fills up).
    pub data: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> PostgresOptions {
        PostgresOptions { fsync: true, settings: Vec::new(), tls: None, data: None }
    }
}

/// A running (or stopped) PostgreSQL. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    account: Option<Account>,
    options: PostgresOptions,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    port: Port,
    slot: Slot,
    _run: RunDir,
}

/// The user the server runs as when we are root.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes a cluster in `run`, starts it and waits until it takes queries. Its superuser is `postgres`, no password.
    ///
    /// # Errors
    /// Where PostgreSQL is missing or does not come up.
    pub fn start(run: &RunDir, options: PostgresOptions) -> Result<Postgres, LabError> {
        let port = Port::reserve()?;
        let programs = programs()?;
        let account = account()?;
        let home = run.join(format!("postgres-{}", port.number()));
        let data = options.data.clone().unwrap_or_else(|| home.join("data"));
        let sockets = home.join("socket");
        let log = run.join(format!("postgres-{}.log", port.number()));
        let slot = Slot::new(libc::SIGINT, STOP_MAX);
        let mut postgres = Postgres { programs, account, options, data, sockets, log, port, slot, _run: run.clone() };
        for directory in [home.as_path(), &postgres.data, &postgres.sockets] {
            postgres.make_directory(directory)?;
        }
        postgres.initialise()?;
        if let Some(tls) = postgres.options.tls.clone() {
            postgres.lay_out(&tls.certificate, "server.crt")?;
            postgres.lay_out(&tls.key, "server.key")?;
            if let Some(clients) = &tls.clients {
                postgres.lay_out(clients, "clients.crt")?;
                postgres.ask_for_certificates()?;
            }
        }
        postgres.up()?;
        Ok(postgres)
    }

    /// Starts it again after [`Controlled::stop`] or [`Controlled::kill`], on the same port. Nothing happens where it runs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn up(&mut self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data);
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "127.0.0.1");
        set("port", &self.port.number().to_string());
        set("unix_socket_directories", &self.sockets.display().to_string());
        set("fsync", if self.options.fsync { "on" } else { "off" });
        set("logging_collector", "off");
        // In the data directory, where a killed server leaves nothing that outlives the run.
        set("dynamic_shared_memory_type", "mmap");
        if let Some(tls) = &self.options.tls {
            set("ssl", "on");
            if tls.clients.is_some() {
                set("ssl_ca_file", "clients.crt");
            }
            set("ssl_cert_file", "server.crt");
            set("ssl_key_file", "server.key");
        }
        for (name, value) in &self.options.settings {
            set(name, value);
        }
        let process = self.slot.put(Process::start("postgres", command, &self.log, Ending::QUIT)?);
        let url = url(&self.port, "postgres");
        process.wait_ready(READY_MAX, || answers(&url))
    }

    /// Ends it and starts it again, with its data or with a new, empty cluster.
    ///
    /// # Errors
    /// Where it does not end or come up.
    pub fn restart(&mut self, data: Data) -> Result<(), LabError> {
        self.stop()?;
        if data == Data::Lose {
            let path = self.data.clone();
            std::fs::remove_dir_all(&path).doing(|| format!("emptying {}", path.display()))?;
            self.make_directory(&path)?;
            self.initialise()?;
        }
        self.up()
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// Where it exists, or `name` is not made of letters, digits and `_`.
    pub fn create_database(&self, name: &str) -> Result<(), LabError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(LabError::failed(format!("{name:?} is no name for a database")));
        }
        let sql = format!("CREATE DATABASE \"{name}\"");
        self.client("postgres")?.batch_execute(&sql).doing(|| format!("creating database {name}"))
    }

    /// `postgres://…` of one of its databases, over TCP.
    pub fn url(&self, database: &str) -> String {
        url(&self.port, database)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The same over its Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}&port={}", self.sockets.display(), self.port.number())
    }

    /// A connection for a test's own questions.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub fn client(&self, database: &str) -> Result<postgres::Client, LabError> {
        connect(&self.url(database))
    }

    fn initialise(&self) -> Result<(), LabError> {
        let mut command = self.command("initdb");
        command.arg("-D").arg(&self.data);
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        let output = command.output().doing(|| format!("starting {}", self.programs.join("initdb").display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(LabError::failed(format!("initdb failed: {}", said.lines().collect::<Vec<_>>().join(" | "))))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        // The directory we stand in may be closed to that user.
        command.current_dir("/").env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
        command
    }

    /// Puts a copy of a file into the data directory, for the server's user alone.
    /// Who comes by TLS has to show a certificate. The first line that fits a connection decides.
    fn ask_for_certificates(&self) -> Result<(), LabError> {
        let file = self.data.join("pg_hba.conf");
        let doing = || format!("changing {}", file.display());
        let lines = std::fs::read_to_string(&file).doing(doing)?;
        std::fs::write(&file, format!("hostssl all all all trust clientcert=verify-ca\n{lines}")).doing(doing)
    }

    fn lay_out(&self, from: &Path, name: &str) -> Result<(), LabError> {
        let to = self.data.join(name);
        let doing = || format!("copying {} to {}", from.display(), to.display());
        std::fs::copy(from, &to).doing(doing)?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).doing(doing)?;
        if let Some(account) = self.account {
            std::os::unix::fs::chown(&to, Some(account.user), Some(account.group)).doing(doing)?;
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<(), LabError> {
        std::fs::create_dir_all(path).doing(|| format!("making {}", path.display()))?;
        if let Some(account) = self.account {
            std::os::unix::fs::chown(path, Some(account.user), Some(account.group))
                .doing(|| format!("giving {} to PostgreSQL's user", path.display()))?;
        }
        Ok(())
    }
}

impl Controlled for Postgres {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn slot_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.slot.empty();
        // A killed server leaves its lock file and, in the system, the small segment that guards its data directory;
        // the next start would have taken it over, but there is none. Line 7 of the file: its key and its id.
        let lock = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let segment = lock.lines().nth(6).and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<i32>().ok());
        if let Some(segment) = segment {
            // SAFETY: a system call that takes no memory of ours; nobody is attached to the segment any more.
            unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

fn url(port: &Port, database: &str) -> String {
    format!("postgres://postgres@{}/{database}", port.address())
}

/// A blocking connection to `url`; connecting times out after ten seconds, a statement after sixty.
pub(crate) fn connect(url: &str) -> Result<postgres::Client, LabError> {
    let doing = || format!("connecting to {url}");
    let mut config = url.parse::<postgres::Config>().doing(doing)?;
    config.connect_timeout(Duration::from_secs(10)).options("-c statement_timeout=60s");
    config.connect(postgres::NoTls).doing(doing)
}

fn answers(url: &str) -> bool {
    let Ok(mut config) = url.parse::<postgres::Config>() else { return false };
    config.connect_timeout(Duration::from_secs(1));
    config.connect(postgres::NoTls).is_ok_and(|mut client| client.simple_query("SELECT 1").is_ok())
}

/// Whether it could be started.
pub(crate) fn check_installed() -> Result<(), LabError> {
    programs().and_then(|_| account()).map(drop)
}

/// The directory of initdb and postgres: Debian keeps them out of PATH, by version; the newest is taken.
fn programs() -> Result<PathBuf, LabError> {
    if let Some(named) = std::env::var_os("FLUX_POSTGRES_BIN") {
        return Ok(named.into());
    }
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let directory = entry.path().join("bin");
        (directory.join("initdb").is_file() && directory.join("postgres").is_file()).then_some((version, directory))
    });
    let newest = debian.max_by_key(|(version, _)| *version).map(|(_, directory)| directory);
    newest.or_else(|| find_in_path("initdb")?.parent().map(Path::to_owned)).ok_or_else(|| LabError::Missing {
        what: "PostgreSQL (no initdb in /usr/lib/postgresql/*/bin nor in PATH, FLUX_POSTGRES_BIN names none)"
            .to_owned(),
        install: "sudo apt-get install postgresql".to_owned(),
    })
}

fn account() -> Result<Option<Account>, LabError> {
    // SAFETY: a system call without arguments that cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    ["postgres", "nobody"].into_iter().find_map(look_up).map(Some).ok_or_else(|| LabError::Missing {
        what: "a user for PostgreSQL, which does not run as root (neither postgres nor nobody exists),".to_owned(),
        install: "sudo adduser --system --group postgres".to_owned(),
    })
}

fn look_up(name: &str) -> Option<Account> {
    let name = CString::new(name).ok()?;
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut strings = [0; 4096];
    let mut found = std::ptr::null_mut();
    // SAFETY: every pointer is to memory of ours that outlives the call, with its true length.
    let code =
        unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), strings.as_mut_ptr(), strings.len(), &mut found) };
    if code != 0 || found.is_null() {
        return None;
    }
    // SAFETY: code 0 and a result mean that the entry was filled in.
    let entry = unsafe { entry.assume_init() };
    Some(Account { user: entry.pw_uid, group: entry.pw_gid })
}
