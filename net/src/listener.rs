//! Listening sockets: one for each core on the same port, the kernel spreads connections over them (SO_REUSEPORT).

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use monoio::net::TcpListener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::limits::{
    BACKLOG_CONNECTIONS, BIND_PAUSE, BIND_TIME_MAX, DEFER_ACCEPT_SECONDS, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES,
    UNTAKEN_TIME_MAX,
};
use crate::runtime::on_epoll;
use crate::socket::numbered;
use crate::stream::Stream;

/// A socket that is bound and listens, outside any runtime.
pub type Bound = std::net::TcpListener;

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Several sockets share the port (SO_REUSEPORT).
    pub shared_port: bool,
    /// The kernel hands a connection over when its first bytes are there (TCP_DEFER_ACCEPT).
    pub wait_for_data: bool,
}

/// Binds and listens. Outside any runtime, so that a port that is taken is known before a thread is started.
///
/// Accepted sockets inherit all options: NODELAY, the sizes of their buffers, and how long a peer may leave answers
/// where they are. Fails for certain: nothing is bound then.
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for the connections of the old one to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.shared_port)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_tcp_user_timeout(Some(UNTAKEN_TIME_MAX))?;
    if options.wait_for_data {
        set_defer_accept(&socket)?;
    }
    bind_patiently(&socket, address)?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    Ok(socket.into())
}

/// Whether another socket has an address already, also where it would share its port with us. Which it is the kernel does not say:
/// one that listens, or a connection that has the port for its own end. Patient, as [`bind`] is: a process that has just ended has
/// none.
///
/// # Errors
/// That cannot be told: there is no such address here, or no right to its port.
pub fn is_taken(address: SocketAddr) -> io::Result<bool> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match bind_patiently(&socket, address) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        Err(error) => Err(error),
    }
}

/// The kernel closes the sockets in a killed process' ring a moment after its end: a supervisor that starts it again at
/// once would find the port taken.
fn bind_patiently(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let end = Instant::now() + BIND_TIME_MAX;
    loop {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(BIND_PAUSE);
            }
            result => return result,
        }
    }
}

fn set_defer_accept(socket: &Socket) -> io::Result<()> {
    let seconds: libc::c_int = DEFER_ACCEPT_SECONDS;
    // SAFETY: the option is an int, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("four bytes"),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A listening socket in a runtime. Several tasks may accept from it on a ring, where each pending accept takes one
/// connection a loop turn; on epoll one task takes all.
pub struct Listener {
    inner: TcpListener,
    closed: Cell<bool>,
}

impl Listener {
    /// Takes a bound socket into this thread's runtime.
    pub fn new(listener: Bound) -> io::Result<Listener> {
        // A ring waits in the kernel, and a non-blocking descriptor would answer EAGAIN there in place of waiting.
        listener.set_nonblocking(on_epoll())?;
        Ok(Listener { inner: TcpListener::from_std(listener)?, closed: Cell::new(false) })
    }

    /// How many tasks should accept at once.
    pub fn accept_tasks(&self, on_a_ring: usize) -> usize {
        if on_epoll() { 1 } else { on_a_ring }
    }

    /// The next connection. Must not be dropped while it waits: a connection accepted meanwhile would be lost. To end
    /// it, [`Listener::close`].
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        Ok((Stream::from_tcp(stream), peer))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Whether [`Listener::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Has the kernel leave newcomers where they are: whoever asks for a connection from now on hears nothing, asks again a second
    /// later, and finds the port closed by then, before they have sent anything. Connections that are under way are finished and
    /// can be accepted.
    ///
    /// # Errors
    /// The kernel takes no filter.
    pub fn ignore_newcomers(&self) -> io::Result<()> {
        // Of the byte with TCP's flags (RFC 9293 section 3.1), SYN without ACK. What is dropped here has no socket yet.
        const FLAGS: u32 = 13;
        const SYN: u32 = 0x02;
        const SYN_OR_ACK: u32 = 0x12;
        let step = |code: u32, jt, jf, value| SockFilter::new(code as u16, jt, jf, value);
        SockRef::from(&numbered(&self.as_raw_fd())).attach_filter(&[
            step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
            step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN_OR_ACK),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        ])
    }

    /// Whether a connection waits to be accepted.
    ///
    /// # Errors
    /// The socket cannot be asked.
    pub fn has_waiting(&self) -> io::Result<bool> {
        let descriptor = self.as_raw_fd();
        let descriptor = numbered(&descriptor);
        let mut asked = [PollFd::new(&descriptor, PollFlags::IN)];
        Ok(poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }

    /// Stops listening: every pending and later [`Listener::accept`] fails with `InvalidInput`. The port is free for
    /// others at once, the descriptor when the value is dropped.
    pub fn close(&self) {
        self.closed.set(true);
        // The one possible failure is that it is closed already.
        let _ = crate::stream::shutdown(self.as_raw_fd(), Shutdown::Both);
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
