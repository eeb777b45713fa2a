//! Connected sockets, TCP or Unix, behind one type.
//!
//! A pending read or write is ended by [`Stream::shutdown`] (or a half's), never by dropping it: bytes that had
//! arrived would be lost, and on a ring the buffer stays with the kernel until it is done.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};
use rustix::net::{self, RecvFlags, SendFlags};
use socket2::{SockRef, TcpKeepalive};

use crate::address::Address;
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, PEER_SILENCE_MAX};
use crate::resolve::resolve;
use crate::wait::within;

/// A connected socket.
pub struct Stream {
    socket: Socket,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The reading end of a split [`Stream`].
pub struct ReadHalf {
    socket: ReadSocket,
}

enum ReadSocket {
    Tcp(OwnedReadHalf<TcpStream>),
    Unix(OwnedReadHalf<UnixStream>),
}

/// The writing end of a split [`Stream`]. Dropping it ends the sending direction; the socket is closed when both
/// halves are gone.
pub struct WriteHalf {
    socket: WriteSocket,
}

enum WriteSocket {
    Tcp(OwnedWriteHalf<TcpStream>),
    Unix(OwnedWriteHalf<UnixStream>),
}

impl Stream {
    /// Connects, looking the name up first and trying its addresses in turn, all of it within `limit` (`TimedOut`
    /// beyond). After an error there is no connection, for certain.
    ///
    /// A TCP connection gets NODELAY, keep-alive probes and a user timeout, so that a peer that has vanished is
    /// noticed; and where it is closed, what has not left yet is discarded (SO_LINGER of 0).
    pub async fn connect(address: &Address, limit: Duration) -> io::Result<Stream> {
        match within(limit, Stream::connect_untimed(address)).await? {
            Some(result) => result,
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn connect_untimed(address: &Address) -> io::Result<Stream> {
        let (host, port) = match address {
            Address::Unix(path) => return Ok(Stream { socket: Socket::Unix(UnixStream::connect(path).await?) }),
            Address::Tcp { host, port } => (host, *port),
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for peer in resolve(host, port).await? {
            match TcpStream::connect_addr(peer).await {
                Ok(stream) => {
                    watch_peer(&SockRef::from(&numbered(&stream.as_raw_fd())))?;
                    return Ok(Stream::from_tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn from_tcp(stream: TcpStream) -> Stream {
        Stream { socket: Socket::Tcp(stream) }
    }

    /// Reads what is there, at least one byte, into the room of `buffer`; 0 is the end of the stream.
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.read(buffer).await,
            Socket::Unix(stream) => stream.read(buffer).await,
        }
    }

    /// Writes all of `buffer`. After an error it is unknown how much of it has left; the connection is of no more use.
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(buffer).await,
            Socket::Unix(stream) => stream.write_all(buffer).await,
        }
    }

    /// Sends at once what the socket has room for, without waiting: `WouldBlock` where it has none.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        try_write(self.as_raw_fd(), bytes)
    }

    /// Ends one direction or both. A pending read then returns 0, a pending write an error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        shutdown(self.as_raw_fd(), how)
    }

    /// Gives up sooner than [`PEER_SILENCE_MAX`] on a peer that acknowledges nothing (TCP_USER_TIMEOUT), and on what the
    /// kernel holds for it. Nothing for a Unix socket, whose peer has what was written.
    pub fn set_silence_max(&self, span: Duration) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => SockRef::from(&numbered(&stream.as_raw_fd())).set_tcp_user_timeout(Some(span)),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Two ends that can be used at the same time by two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self.socket {
            Socket::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf { socket: ReadSocket::Tcp(read) }, WriteHalf { socket: WriteSocket::Tcp(write) })
            }
            Socket::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf { socket: ReadSocket::Unix(read) }, WriteHalf { socket: WriteSocket::Unix(write) })
            }
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl ReadHalf {
    /// As [`Stream::read`].
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.socket {
            ReadSocket::Tcp(half) => half.read(buffer).await,
            ReadSocket::Unix(half) => half.read(buffer).await,
        }
    }
}

impl WriteHalf {
    /// As [`Stream::write_all`].
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.socket {
            WriteSocket::Tcp(half) => half.write_all(buffer).await,
            WriteSocket::Unix(half) => half.write_all(buffer).await,
        }
    }

    /// As [`Stream::try_write`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        try_write(self.as_raw_fd(), bytes)
    }

    /// As [`Stream::shutdown`]; `Both` also ends the other half's pending read.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        shutdown(self.as_raw_fd(), how)
    }
}

impl AsRawFd for WriteHalf {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: monoio's halves share the stream behind an `UnsafeCell` of one thread; reading the descriptor's
        // number through a shared reference for the length of this expression touches nothing that another changes.
        unsafe {
            match &self.socket {
                WriteSocket::Tcp(half) => (*half.0.get()).as_raw_fd(),
                WriteSocket::Unix(half) => (*half.0.get()).as_raw_fd(),
            }
        }
    }
}

/// Ends directions of a socket that is known by its number only: for a supervisor that keeps the numbers of streams
/// that are open for certain, such as a table from which a stream is struck out before it is dropped.
///
/// Linux numbers descriptors anew: with the number of a closed one this would hit a stranger's.
pub fn shutdown(descriptor: RawFd, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => net::Shutdown::Read,
        Shutdown::Write => net::Shutdown::Write,
        Shutdown::Both => net::Shutdown::Both,
    };
    Ok(net::shutdown(numbered(&descriptor), how)?)
}

fn try_write(descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(numbered(&descriptor), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Whether bytes have arrived that nobody has read, or the peer has ended. By number: see [`shutdown`].
pub fn has_unread(descriptor: RawFd) -> bool {
    net::recv(numbered(&descriptor), &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok()
}

/// Reads what is there without waiting, as much as `buffer` holds: for a connection that is about to be closed, where unread
/// bytes would turn the close into a reset and take an answer that is still on its way with them. The number of bytes.
pub fn try_read(stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
    let (read, _) = net::recv(numbered(&stream.as_raw_fd()), buffer, RecvFlags::DONTWAIT)?;
    Ok(read)
}

/// A descriptor that is known by its number only.
fn numbered(descriptor: &RawFd) -> BorrowedFd<'_> {
    // SAFETY: what is asked of it is a system call on a socket. Its owner is the caller's stream, or a table from which a
    // stream is struck out before it is dropped; see [`shutdown`].
    unsafe { BorrowedFd::borrow_raw(*descriptor) }
}

fn watch_peer(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // A close discards what has not left yet: the caller has given it up, and it must not arrive after all.
    socket.set_linger(Some(Duration::ZERO))?;
    let probes =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(PEER_SILENCE_MAX))
}
