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

mod pump;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Doing, LabError};
use crate::ports::Port;

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
        let acceptor = acceptor.spawn(move || pump::accept(&listener, &accepting));
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
                // Wakes the reader, and says nothing to the peer. A socket that is gone already is as good.
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

#[cfg(test)]
mod tests;
