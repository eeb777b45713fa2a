//! The threads of a proxy: one accepts, two a connection move its bytes, asking the shared state what becomes of each chunk.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Pair, Then, Way, Wire, set_to_reset};

/// Connections at once, two threads each; beyond, the newest is reset. Above any crowd that is sent through a proxy.
const CONNECTIONS_MAX: usize = 512;
/// Bytes in hand, a direction. More than one call of an edge, so that most travel as they were written.
const CHUNK_BYTES: usize = 32 << 10;
/// How often a blocked write looks whether its connection was ended meanwhile.
const WRITE_LOOK: Duration = Duration::from_millis(200);
/// How long a server may take to accept what the proxy hands on.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Serves clients until the proxy is over.
pub(super) fn accept(listener: &TcpListener, inner: &Arc<Inner>) {
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
