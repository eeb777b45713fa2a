//! A proxy on a Unix socket that loses the answer to one COMMIT, in the way it was told.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use flux_protocol::postgres::{Host, PostgresConfig};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The COMMIT never reaches the server.
    Unsent,
    /// The server commits; the connection breaks before its answer is heard.
    Unheard,
    /// The server commits; its answer never comes, and nobody says so.
    Silence,
}

pub(crate) struct Cutter {
    /// Through the proxy.
    pub(crate) config: PostgresConfig,
    shared: Arc<Shared>,
    directory: PathBuf,
}

struct Shared {
    cut: Cut,
    server: PathBuf,
    armed: AtomicBool,
    cuts: AtomicU32,
}

impl Cutter {
    pub(crate) fn start(server: &PostgresConfig, cut: Cut) -> Cutter {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("flux-cut-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).expect("a writable directory for temporary files");
        let mut config = server.clone();
        config.host = Host::Unix(directory.clone());
        let listener = UnixListener::bind(config.socket_path().expect("a path")).expect("a socket");
        let server = server.socket_path().expect("a server on a Unix socket");
        let shared = Arc::new(Shared { cut, server, armed: AtomicBool::new(false), cuts: AtomicU32::new(0) });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.serve(client.expect("a connection")));
            }
        });
        Cutter { config, shared, directory }
    }

    /// Cuts the next COMMIT.
    pub(crate) fn arm(&self) {
        self.shared.cuts.store(0, Ordering::SeqCst);
        self.shared.armed.store(true, Ordering::SeqCst);
    }

    /// How many were cut since.
    pub(crate) fn cuts(&self) -> u32 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Shared {
    fn serve(&self, mut client: UnixStream) {
        let mut server = UnixStream::connect(&self.server).expect("the server");
        let muted = Arc::new(AtomicBool::new(false));
        let answers = {
            let (from, to) = (server.try_clone().expect("a descriptor"), client.try_clone().expect("a descriptor"));
            let muted = Arc::clone(&muted);
            std::thread::spawn(move || answer(from, to, &muted))
        };
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read @ 1..) = client.read(&mut bytes) {
            let bytes = &bytes[..read];
            let commit = bytes.windows(7).any(|window| window == b"COMMIT\0");
            let cut = (commit && self.armed.swap(false, Ordering::SeqCst)).then_some(self.cut);
            if cut.is_some() {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                muted.store(true, Ordering::SeqCst);
            }
            if matches!(cut, Some(Cut::Unsent)) || server.write_all(bytes).is_err() {
                break;
            }
            if matches!(cut, Some(Cut::Unheard)) {
                break;
            }
        }
        // The server hears the end of it after what it was sent; the client hears nothing more.
        let _ = server.shutdown(Shutdown::Write);
        let _ = answers.join();
        let _ = client.shutdown(Shutdown::Both);
    }
}

fn answer(mut server: UnixStream, mut client: UnixStream, muted: &AtomicBool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = server.read(&mut bytes) {
        if !muted.load(Ordering::SeqCst) && client.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
    if !muted.load(Ordering::SeqCst) {
        let _ = client.shutdown(Shutdown::Both);
    }
}
