//! An isolated PostgreSQL for tests: a data directory of its own, a Unix socket and a TCP port of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use flux_protocol::postgres::PostgresConfig;
use flux_protocol::secret::SharedSecret;

/// Debian's places, the newest first; else what is in the path.
const BINARIES: &[&str] = &[
    "/usr/lib/postgresql/18/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/14/bin",
];

pub struct Server {
    directory: PathBuf,
    port: u16,
    durable: bool,
    has_tls: bool,
    process: Option<Child>,
    databases: AtomicU32,
}

impl Server {
    /// One server for all tests of this process that leave it alone. It ends with the last of them.
    pub fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of its own, quick rather than safe against a crash of the machine.
    pub fn start() -> Server {
        Server::start_as(false)
    }

    /// A server that syncs its files, for measurements.
    #[allow(dead_code)]
    pub fn durable() -> Server {
        Server::start_as(true)
    }

    /// A server of its own that has TLS, with this certificate and key (files, PEM).
    #[allow(dead_code)]
    pub fn with_tls(certificate: &Path, key: &Path) -> Server {
        Server::start_with(false, Some([(certificate, "server.crt"), (key, "server.key")]))
    }

    fn start_as(durable: bool) -> Server {
        Server::start_with(durable, None)
    }

    fn start_with(durable: bool, tls: Option<[(&Path, &str); 2]>) -> Server {
        let directory = fresh_directory();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("a free port").port();
        let has_tls = tls.is_some();
        let mut server = Server { directory, port, durable, has_tls, process: None, databases: AtomicU32::new(0) };
        server.initialise();
        for (from, name) in tls.into_iter().flatten() {
            server.lay_out(from, name);
        }
        server.restart();
        server.sql("create role shop login password 'pass word:@%'; create role clear login password 'x'");
        server
    }

    fn initialise(&self) {
        let data = self.directory.join("data");
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]);
        let output = initdb.output().expect("initdb runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let access =
            "local all all trust\nhost all clear 127.0.0.1/32 password\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), access).expect("a writable directory");
    }

    /// Puts a copy of a file into the data directory, for the server's user alone.
    fn lay_out(&self, from: &Path, name: &str) {
        let to = self.directory.join("data").join(name);
        std::fs::copy(from, &to).expect("a writable directory");
        let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&to, secret).expect("a file of ours");
        if is_root() {
            let status = Command::new("chown").arg("postgres:postgres").arg(&to).status().expect("chown runs");
            assert!(status.success(), "there is a user postgres");
        }
    }

    /// Starts the process on the same data, and waits until it lets us in.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs");
        // After a SIGKILL its children may hold the shared memory for a moment: then it does not start, and is started again.
        for _ in 0..100 {
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.directory.join("data")).arg("-k").arg(&self.directory);
            command.args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-c", "max_connections=60"]);
            if self.has_tls {
                command.args(["-c", "ssl=on"]);
            }
            if !self.durable {
                command.args(["-c", "fsync=off"]);
            }
            let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log"));
            let log = log.expect("a writable directory");
            command.stdout(Stdio::null()).stderr(log);
            let mut process = command.spawn().expect("postgres runs");
            for _ in 0..300 {
                if process.try_wait().expect("a child").is_some() {
                    break;
                }
                if self.answers() {
                    self.process = Some(process);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "PostgreSQL does not start: {}",
            std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
        );
    }

    /// SIGKILL, as a machine that loses power: its backends with it, which would serve on for a moment.
    #[allow(dead_code)]
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let id = process.id();
            let backends = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
            process.kill().expect("a child");
            process.wait().expect("a child");
            // Those that have ended by themselves meanwhile are no failure.
            let _ = Command::new("kill").arg("-KILL").args(backends.split_whitespace()).output();
        }
    }

    fn answers(&self) -> bool {
        self.psql("select 1").is_ok()
    }

    fn sql(&self, sql: &str) {
        self.psql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn psql(&self, sql: &str) -> Result<(), String> {
        let mut command = Command::new("psql");
        command.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string(), "-U", "postgres", "-qXc", sql]);
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// A new empty database, reached over the Unix socket without a password.
    pub fn database(&self) -> PostgresConfig {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("create database {name}"));
        let url = format!("postgres://postgres@/{name}?host={}&port={}", self.directory.display(), self.port);
        PostgresConfig::parse(&url).expect("a URL")
    }

    /// The server over TCP, where it asks for passwords.
    #[allow(dead_code)]
    pub fn tcp(&self, user: &str, password: Option<&str>) -> PostgresConfig {
        let mut config = PostgresConfig::parse(&format!("postgres://127.0.0.1:{}/postgres", self.port)).expect("a URL");
        config.user = user.to_owned();
        config.password = password.map(SharedSecret::from);
        config
    }

    /// Its port on 127.0.0.1.
    #[allow(dead_code)]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A server's program, not run as root: PostgreSQL refuses that.
    fn command(&self, program: &str) -> Command {
        let place = BINARIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.exists());
        let program = place.unwrap_or_else(|| PathBuf::from(program));
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT ends the backends with it; what they leave behind is removed anyway.
            let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout.trim_ascii() == b"0"
}

/// A directory that the server's user may write, with a path short enough for a socket.
fn fresh_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("flux-pg-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).expect("a writable directory for temporary files");
    if is_root() {
        let status = Command::new("chown").arg("postgres:postgres").arg(&directory).status().expect("chown runs");
        assert!(status.success(), "there is a user postgres");
    }
    directory
}
