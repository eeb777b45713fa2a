//! A real Redis in a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::resp::{Decoder, Limits, OwnedFrame};

use crate::mask::Names;
use crate::sides::{Side, decode, encode};

/// How long it may take to answer before the test gives up: never what a test measures.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the real one.
struct Wire {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Wire {
    fn connect(address: SocketAddr) -> std::io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Wire { stream, decoder: Decoder::new(Limits::DEFAULT), buffer: BytesMut::new() })
    }

    fn exchange(&mut self, arguments: &[String]) -> std::io::Result<OwnedFrame> {
        self.stream.write_all(&encode(arguments))?;
        loop {
            if let Some(reply) = decode(&mut self.decoder, &mut self.buffer) {
                return Ok(reply);
            }
            let mut chunk = [0; 64 << 10];
            let length = self.stream.read(&mut chunk)?;
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }

    fn line(&mut self, line: &str) -> std::io::Result<OwnedFrame> {
        self.exchange(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }
}

/// Ended when dropped.
pub(crate) struct Real {
    child: Child,
    /// What the sequences are asked through.
    wire: Wire,
    /// What faults come through: the other may be in the middle of a transaction.
    admin: Wire,
    names: Names,
}

impl Real {
    pub(crate) fn start() -> Real {
        // Where another process takes the port in between, ours ends by itself and another port is tried.
        for _ in 0..100 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
            let mut child = Command::new("redis-server")
                .args(["--port", &free.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--enable-debug-command", "yes", "--databases", "1", "--dir", "/"])
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            while child.try_wait().expect("our own process").is_none() {
                if let Ok([wire, admin]) = connections(free, child.id()) {
                    return Real { child, wire, admin, names: Names::default() };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("redis-server does not come up");
    }

    /// As it was at the start, as far as the fake's beginning goes.
    pub(crate) fn reset(&mut self) {
        for line in ["CONFIG SET maxmemory 0", "REPLICAOF NO ONE", "FLUSHALL", "SCRIPT FLUSH"] {
            self.must(line);
        }
        self.wire.line("DISCARD").expect("Redis answers");
        self.names = Names::default();
        self.look_who();
    }

    fn must(&mut self, line: &str) {
        let reply = self.admin.line(line).expect("Redis answers");
        assert!(!matches!(reply, OwnedFrame::Error(_)), "{line}: {reply:?}");
    }
}

/// Two connections to the server whose process is `pid`.
fn connections(address: SocketAddr, pid: u32) -> std::io::Result<[Wire; 2]> {
    let (wire, mut admin) = (Wire::connect(address)?, Wire::connect(address)?);
    let OwnedFrame::BulkString(info) = admin.line("INFO server")? else {
        return Err(std::io::ErrorKind::InvalidData.into());
    };
    let ours = String::from_utf8_lossy(&info).contains(&format!("process_id:{pid}\r\n"));
    if ours { Ok([wire, admin]) } else { Err(std::io::ErrorKind::AddrInUse.into()) }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have ended already; either way none is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Side for Real {
    fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    fn exchange(&mut self, arguments: &[String]) -> OwnedFrame {
        self.wire.exchange(arguments).unwrap_or_else(|error| panic!("Redis does not answer {arguments:?}: {error}"))
    }

    fn info(&mut self, section: &str) -> OwnedFrame {
        self.admin.exchange(&["INFO".to_owned(), section.to_owned()]).expect("Redis answers")
    }

    fn wait(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn set_full(&mut self, full: bool) {
        self.must("CONFIG SET maxmemory-policy noeviction");
        self.must(if full { "CONFIG SET maxmemory 1" } else { "CONFIG SET maxmemory 0" });
    }

    fn set_replica(&mut self, replica: bool) {
        // Nobody answers there, so the data stays as it is.
        self.must(if replica { "REPLICAOF 127.0.0.1 1" } else { "REPLICAOF NO ONE" });
        self.look_who();
    }

    fn renew(&mut self) {
        self.must("DEBUG CHANGE-REPL-ID");
        self.look_who();
    }
}
