//! A TCP proxy on loopback whose wire misbehaves on command: it delays, holds, swallows, cuts, resets, damages, or stops
//! at the very byte at which a scenario wants to act.
//!
//! ```text
//!   client ──▶ accept ──▶ one pump a direction, a chunk at a time ──▶ server
//!                         every chunk asks the shared state: may I go on?
//! ```
//!
//! Two threads a connection, blocking: what it forwards need not be fast, and stays in order. Never speaks a protocol;
//! never keeps more than one chunk a direction in hand (the sockets' own buffers hold the rest back).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Doing, LabError};
use crate::ports::Port;

/// Connections at once, two threads each; beyond, the newest is reset. Above any crowd that is sent through a proxy.
const CONNECTIONS_MAX: usize = 512;
/// Bytes in hand, a direction. More than one call of an edge, so that most travel as they were written.
const CHUNK_BYTES: usize = 32 << 10;
/// How often a blocked write looks whether its connection was ended meanwhile.
const WRITE_LOOK: Duration = Duration::from_millis(200);
/// How long a server may take to accept what the proxy hands on.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: questions.
    ToServer = 0,
    /// From the server to the client: answers.
    ToClient = 1,
}

/// What happens to bytes that go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// They are forwarded.
    Pass,
    /// Each chunk waits so long first.
    Delay(Duration),
    /// They wait until the rule changes: a partition that heals, or a process that stands still.
    Hold,
    /// They vanish without a word, the end of the stream too: a half-open connection.
    Swallow,
    /// So many more are forwarded, counted over all connections; then their connection is reset.
    CutAfter(usize),
}

/// What happens when a pattern is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Bytes that go this way are held: from the pattern on where it is the pattern's own way, else from now on.
    Hold(Way),
    /// These bits of the pattern's last byte are turned over, once.
    Damage(u8),
}

struct Trap {
    way: Way,
    pattern: Vec<u8>,
    then: Then,
}

/// A connection that can be ended from outside.
struct Pair {
    id: u64,
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
}

struct State {
    target: Option<SocketAddr>,
    wires: [Wire; 2],
    trap: Option<Trap>,
    /// Patterns seen since the proxy was started.
    seen: u64,
    pairs: Vec<Pair>,
    /// Connections up to this id are over, whatever their pumps hold.
    ended_to: u64,
    next_id: u64,
    over: bool,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy. Dropping it resets every connection.
pub struct Proxy {
    port: Port,
    inner: Arc<Inner>,
    acceptor: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy on {}", self.port.address())
    }
}

impl Proxy {
    /// A proxy that listens at once and resets who comes before it has a target.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn new() -> Result<Proxy, LabError> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind(port.address()).doing(|| format!("listening on {}", port.address()))?;
        let state = State {
            target: None,
            wires: [Wire::Pass; 2],
            trap: None,
            seen: 0,
            pairs: Vec::new(),
            ended_to: 0,
            next_id: 1,
            over: false,
        };
        let inner = Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&inner);
        let acceptor = std::thread::Builder::new().name("proxy".to_owned());
        let acceptor = acceptor.spawn(move || accept(&listener, &accepting));
        let acceptor = Some(acceptor.doing(|| "starting the proxy's thread".to_owned())?);
        Ok(Proxy { port, inner, acceptor })
    }

    /// A proxy in front of `target`.
    ///
    /// # Errors
    /// As [`Proxy::new`].
    pub fn before(target: SocketAddr) -> Result<Proxy, LabError> {
        let proxy = Proxy::new()?;
        proxy.aim(target);
        Ok(proxy)
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// New connections go to `target`; those there are stay where they are.
    pub fn aim(&self, target: SocketAddr) {
        self.inner.lock().target = Some(target);
    }

    /// What happens to bytes that go `way`, from now on, on every connection.
    pub fn set(&self, way: Way, wire: Wire) {
        self.inner.lock().wires[way as usize] = wire;
        self.inner.changed.notify_all();
    }

    /// The same both ways.
    pub fn set_both(&self, wire: Wire) {
        self.inner.lock().wires = [wire; 2];
        self.inner.changed.notify_all();
    }

    /// All is well again: bytes in hand go on their way, and no pattern is looked for.
    pub fn pass(&self) {
        let mut state = self.inner.lock();
        state.wires = [Wire::Pass; 2];
        state.trap = None;
        drop(state);
        self.inner.changed.notify_all();
    }

    /// Looks for `pattern` among bytes that go `way`, once; then does `then`. [`Proxy::wait_seen`] tells when.
    ///
    /// A pattern that falls into two chunks is not seen; the next one is.
    pub fn trap(&self, way: Way, pattern: &[u8], then: Then) {
        self.inner.lock().trap = Some(Trap { way, pattern: pattern.to_vec(), then });
    }

    /// Waits until the pattern of the last [`Proxy::trap`] was seen.
    ///
    /// # Errors
    /// Where it was not within `timeout`.
    pub fn wait_seen(&self, timeout: Duration) -> Result<(), LabError> {
        let until = Instant::now() + timeout;
        let mut state = self.inner.lock();
        while let Some(trap) = &state.trap {
            let now = Instant::now();
            if now >= until {
                let pattern = String::from_utf8_lossy(&trap.pattern).into_owned();
                return Err(LabError::failed(format!("{pattern:?} was not seen within {timeout:?}")));
            }
            state = self.inner.changed.wait_timeout(state, until - now).unwrap_or_else(|error| error.into_inner()).0;
        }
        Ok(())
    }

    /// How many patterns were seen so far.
    pub fn seen(&self) -> u64 {
        self.inner.lock().seen
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.inner.lock().pairs.len()
    }

    /// Resets every connection (RST both ways); what is in hand is lost. New ones are served.
    pub fn reset(&self) {
        let mut state = self.inner.lock();
        state.end_all();
        drop(state);
        self.inner.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.over = true;
        state.end_all();
        drop(state);
        self.inner.changed.notify_all();
        // Wakes the acceptor; where even that fails its thread ends with the process.
        if TcpStream::connect(self.port.address()).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            // A panic there was printed there.
            let _ = acceptor.join();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn end_all(&mut self) {
        self.ended_to = self.next_id - 1;
        for pair in self.pairs.drain(..) {
            for stream in [&pair.client, &pair.server] {
                set_to_reset(stream);
                // Wakes whoever reads, and says nothing to the peer. A socket that is gone already is as good.
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
    }
}

/// The close of `stream` becomes a reset, and what it still holds is thrown away.
fn set_to_reset(stream: &TcpStream) {
    // It fails only where the socket is gone, which is what is wanted.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn accept(listener: &TcpListener, inner: &Arc<Inner>) {
    loop {
        // An error is a connection that was reset before it was accepted, or no descriptor: the next one is tried.
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let target = {
            let state = inner.lock();
            if state.over {
                return;
            }
            if state.pairs.len() < CONNECTIONS_MAX { state.target } else { None }
        };
        let server = target.and_then(|target| TcpStream::connect_timeout(&target, CONNECT_MAX).ok());
        let Some(server) = server else {
            set_to_reset(&client);
            continue;
        };
        if let Err(error) = start_pumps(inner, client, server) {
            eprintln!("proxy: a connection is lost: {error}");
        }
    }
}

fn start_pumps(inner: &Arc<Inner>, client: TcpStream, server: TcpStream) -> std::io::Result<()> {
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_LOOK))?;
    }
    let (client, server) = (Arc::new(client), Arc::new(server));
    let id = {
        let mut state = inner.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.pairs.push(Pair { id, client: Arc::clone(&client), server: Arc::clone(&server) });
        id
    };
    for (way, from, to) in [(Way::ToServer, &client, &server), (Way::ToClient, &server, &client)] {
        let pump = Pump { inner: Arc::clone(inner), id, way, from: Arc::clone(from), to: Arc::clone(to) };
        let thread = std::thread::Builder::new().name("proxy-pump".to_owned());
        thread.stack_size(128 << 10).spawn(move || pump.run())?;
    }
    Ok(())
}

/// One direction of one connection.
struct Pump {
    inner: Arc<Inner>,
    id: u64,
    way: Way,
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
}

/// What becomes of a chunk.
enum Verdict {
    Forward,
    /// The first so many bytes; then the rest is asked about again.
    ForwardFirst(usize),
    ForwardFirstAndReset(usize),
    Vanish,
    Over,
}

impl Pump {
    fn run(self) {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut swallowed = false;
        loop {
            match (&*self.from).read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => match self.chunk(&mut buffer[..length]) {
                    Passed::Yes => swallowed = false,
                    Passed::Vanished => swallowed = true,
                    Passed::Over => return self.leave(),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    // The peer has reset its side: the other one hears the same.
                    if !swallowed && matches!(self.ask(&mut []), Verdict::Forward | Verdict::ForwardFirst(_)) {
                        set_to_reset(&self.to);
                        let _ = self.to.shutdown(Shutdown::Both);
                    }
                    return self.leave();
                }
            }
        }
        // The end of the stream travels as bytes do.
        if matches!(self.ask(&mut []), Verdict::Forward | Verdict::ForwardFirst(_)) {
            let _ = self.to.shutdown(Shutdown::Write);
        }
        self.leave();
    }

    fn chunk(&self, chunk: &mut [u8]) -> Passed {
        let mut rest = chunk;
        loop {
            match self.ask(rest) {
                Verdict::Forward => return if self.write(rest) { Passed::Yes } else { Passed::Over },
                Verdict::ForwardFirst(length) => {
                    if !self.write(&rest[..length]) {
                        return Passed::Over;
                    }
                    rest = &mut rest[length..];
                }
                Verdict::ForwardFirstAndReset(length) => {
                    self.write(&rest[..length]);
                    set_to_reset(&self.from);
                    set_to_reset(&self.to);
                    let _ = self.from.shutdown(Shutdown::Both);
                    let _ = self.to.shutdown(Shutdown::Both);
                    return Passed::Over;
                }
                Verdict::Vanish => return Passed::Vanished,
                Verdict::Over => return Passed::Over,
            }
        }
    }

    /// Waits until `chunk` may go on, and says how.
    fn ask(&self, chunk: &mut [u8]) -> Verdict {
        let mut state = self.inner.lock();
        let mut delayed = false;
        loop {
            if state.over || self.id <= state.ended_to {
                return Verdict::Over;
            }
            match state.wires[self.way as usize] {
                Wire::Pass => break,
                Wire::Delay(_) if delayed => break,
                Wire::Delay(pause) => {
                    drop(state);
                    std::thread::sleep(pause);
                    delayed = true;
                    state = self.inner.lock();
                }
                Wire::Hold => {
                    state = self.inner.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                Wire::Swallow => return Verdict::Vanish,
                Wire::CutAfter(left) if chunk.len() >= left => {
                    state.wires[self.way as usize] = Wire::Pass;
                    return Verdict::ForwardFirstAndReset(left);
                }
                Wire::CutAfter(left) => {
                    state.wires[self.way as usize] = Wire::CutAfter(left - chunk.len());
                    return Verdict::Forward;
                }
            }
        }
        let at = state.trap.as_ref().filter(|trap| trap.way == self.way).and_then(|trap| find(chunk, &trap.pattern));
        let Some((at, trap)) = at.and_then(|at| Some((at, state.trap.take()?))) else { return Verdict::Forward };
        state.seen += 1;
        let verdict = match trap.then {
            Then::Hold(way) => {
                state.wires[way as usize] = Wire::Hold;
                if way == self.way { Verdict::ForwardFirst(at) } else { Verdict::Forward }
            }
            Then::Damage(bits) => {
                chunk[at + trap.pattern.len() - 1] ^= bits;
                Verdict::Forward
            }
        };
        drop(state);
        self.inner.changed.notify_all();
        verdict
    }

    /// Whether all of it went out.
    fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match (&*self.to).write(bytes) {
                Ok(0) => return false,
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let state = self.inner.lock();
                    if state.over || self.id <= state.ended_to {
                        return false;
                    }
                }
                Err(_) => {
                    set_to_reset(&self.from);
                    let _ = self.from.shutdown(Shutdown::Both);
                    return false;
                }
            }
        }
        true
    }

    /// The pair is forgotten when both ways have ended: the last one to hold the sockets closes them.
    fn leave(&self) {
        let mut state = self.inner.lock();
        // Each socket is held by the pair and by both pumps; where only this pump and the pair are left, it is over.
        state.pairs.retain(|pair| pair.id != self.id || Arc::strong_count(&pair.client) > 2);
    }
}

/// What became of a chunk that was handed to [`Pump::chunk`].
enum Passed {
    Yes,
    Vanished,
    Over,
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    (bytes.len() >= pattern.len()).then(|| bytes.windows(pattern.len()).position(|window| window == pattern))?
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
