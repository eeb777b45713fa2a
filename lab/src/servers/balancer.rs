//! What stands in front of edges: a real nginx or HAProxy, with the configuration that `deploy/` shows, on ports of our own.
//!
//! Of an example only addresses, ports and paths are changed: what is tested is what is shown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Doing, LabError};
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::programs::Edge;
use crate::run_dir::RunDir;
use crate::servers::find_in_path;

const READY_MAX: Duration = Duration::from_secs(30);
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `deploy/haproxy.cfg`.
    Haproxy,
    /// `deploy/haproxy-tcp.cfg`.
    HaproxyTcp,
    /// `deploy/nginx.conf`.
    Nginx,
}

impl Kind {
    /// Where the program is, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let name = match self {
            Kind::Haproxy | Kind::HaproxyTcp => "haproxy",
            Kind::Nginx => "nginx",
        };
        // Debian keeps them out of a user's PATH.
        find_in_path(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
    }

    /// The example, as it stands in `deploy/`.
    pub const fn example(self) -> &'static str {
        match self {
            Kind::Haproxy => include_str!("../../../deploy/haproxy.cfg"),
            Kind::HaproxyTcp => include_str!("../../../deploy/haproxy-tcp.cfg"),
            Kind::Nginx => include_str!("../../../deploy/nginx.conf"),
        }
    }
}

/// One that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Balancer {
    port: Port,
    process: Process,
    _run: RunDir,
}

impl Balancer {
    /// Starts one in front of two edges (or of one, as if it were two), and waits until it takes connections. Where `is_secret` it speaks TLS with a
    /// certificate of our own, for `localhost`, as the examples do; else HTTP, as our crowds do.
    ///
    /// # Errors
    /// Where it is missing, refuses its configuration, or does not come up; the text shows the end of its log.
    pub fn start(run: &RunDir, kind: Kind, edges: &[Edge], is_secret: bool) -> Result<Balancer, LabError> {
        Balancer::start_changed(run, kind, edges, is_secret, |text| text)
    }

    /// The same with this certificate and its key (files, PEM).
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn start_showing(
        run: &RunDir,
        kind: Kind,
        edges: &[Edge],
        certificate: &Path,
        key: &Path,
    ) -> Result<Balancer, LabError> {
        let lay_out = |directory: &Path| {
            for (from, to) in [(certificate, CERTIFICATE), (key, KEY)] {
                std::fs::copy(from, directory.join(to)).doing(|| format!("copying {}", from.display()))?;
            }
            Ok(())
        };
        Balancer::start_with(run, kind, edges, true, lay_out, |text| text)
    }

    /// The same with another configuration than the example's.
    ///
    /// # Errors
    /// As [`Balancer::start`].
    pub fn start_changed(
        run: &RunDir,
        kind: Kind,
        edges: &[Edge],
        is_secret: bool,
        change: impl FnOnce(String) -> String,
    ) -> Result<Balancer, LabError> {
        Balancer::start_with(run, kind, edges, is_secret, make_certificate, change)
    }

    fn start_with(
        run: &RunDir,
        kind: Kind,
        edges: &[Edge],
        is_secret: bool,
        lay_out: impl FnOnce(&Path) -> Result<(), LabError>,
        change: impl FnOnce(String) -> String,
    ) -> Result<Balancer, LabError> {
        let program = kind.program().ok_or_else(|| LabError::Missing {
            what: format!("{kind:?}"),
            install: "sudo apt-get install nginx-light haproxy".to_owned(),
        })?;
        let port = Port::reserve()?;
        let directory = run.join(format!("balancer-{}", port.number()));
        std::fs::create_dir_all(&directory).doing(|| format!("making {}", directory.display()))?;
        lay_out(&directory)?;
        join_certificate(&directory)?;
        let configuration = directory.join("configuration");
        let mut text = of_example(kind, &directory, port.address(), edges);
        if !is_secret {
            text = without_tls(&text);
        }
        std::fs::write(&configuration, change(text)).doing(|| format!("writing {}", configuration.display()))?;
        let mut command = Command::new(program);
        match kind {
            Kind::Haproxy | Kind::HaproxyTcp => command.arg("-db").arg("-f").arg(&configuration),
            Kind::Nginx => command.arg("-p").arg(&directory).arg("-c").arg(&configuration).args(["-e", "stderr"]),
        };
        let log = run.join(format!("balancer-{}.log", port.number()));
        let mut process = Process::start("balancer", command, &log, Ending::KILL)?;
        let address = port.address();
        process.wait_ready(READY_MAX, || std::net::TcpStream::connect(address).is_ok())?;
        Ok(Balancer { port, process, _run: run.clone() })
    }

    /// Its process, with those below it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// The example with our addresses in it.
fn of_example(kind: Kind, directory: &Path, listen: SocketAddr, edges: &[Edge]) -> String {
    assert!(matches!(edges.len(), 1 | 2), "the examples have two edges");
    let mut text = kind.example().to_owned();
    // One alone is both of them.
    for (number, edge) in edges.iter().cycle().take(2).enumerate() {
        let name = format!("edge-{}", number + 1);
        // HAProxy's check goes to the admin listener; its port stands behind each server's.
        text =
            text.replace(&format!("{name}:3000 port 3001"), &format!("{} port {}", edge.public(), edge.admin().port()));
        text = text.replace(&format!("{name}:3000"), &edge.public().to_string());
    }
    let path = |name: &str| directory.join(name).display().to_string();
    match kind {
        Kind::Haproxy | Kind::HaproxyTcp => text
            .replace("bind :443", &format!("bind {listen}"))
            .replace("/etc/haproxy/shop.pem", &path("both.pem"))
            // As many as this machine's limits allow are enough.
            .replace("maxconn 50000", "maxconn 2000"),
        Kind::Nginx => {
            let here = format!(
                "daemon off;\npid {};\nerror_log stderr;\n{}",
                path("pid"),
                text.replace("listen 443", &format!("listen {listen}"))
                    .replace("/etc/nginx/shop.pem", &path("certificate.pem"))
                    .replace("/etc/nginx/shop.key", &path("key.pem"))
                    .replace("worker_rlimit_nofile 100000;", "")
                    .replace("worker_connections 40000", "worker_connections 2000"),
            );
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("    {kind}_temp_path {};\n", path(kind)))
                .concat();
            here.replace("http {\n", &format!("http {{\n    access_log off;\n{temporary}"))
        }
    }
}

/// The same listener without TLS.
fn without_tls(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" ssl ") {
        Some((listener, _)) if line.trim_start().starts_with("listen") => format!("{listener};"),
        Some((listener, _)) if line.trim_start().starts_with("bind") => listener.to_owned(),
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

/// A key, and its certificate.
fn make_certificate(directory: &Path) -> Result<(), LabError> {
    let (key, certificate) = (directory.join(KEY), directory.join(CERTIFICATE));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let made = command.output().doing(|| "making a certificate with openssl".to_owned())?;
    if !made.status.success() {
        return Err(LabError::failed(format!("openssl: {}", String::from_utf8_lossy(&made.stderr))));
    }
    Ok(())
}

/// Both in one file, as HAProxy wants them.
fn join_certificate(directory: &Path) -> Result<(), LabError> {
    let both =
        [KEY, CERTIFICATE].map(|name| std::fs::read(directory.join(name))).into_iter().collect::<Result<Vec<_>, _>>();
    let both = both.doing(|| "reading the certificate".to_owned())?.concat();
    let path = directory.join("both.pem");
    std::fs::write(&path, both).doing(|| format!("writing {}", path.display()))
}
