//! Plain sockets, TCP or Unix, behind one type: what [`crate::stream`] carries as it is, or with TLS around it.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};
use rustix::net::{self, SendFlags};

/// A connected socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Its reading end.
pub(crate) enum ReadSocket {
    Tcp(OwnedReadHalf<TcpStream>),
    Unix(OwnedReadHalf<UnixStream>),
}

/// Its writing end. Dropping it ends the sending direction; the socket is closed when both halves are gone.
pub(crate) enum WriteSocket {
    Tcp(OwnedWriteHalf<TcpStream>),
    Unix(OwnedWriteHalf<UnixStream>),
}

impl Socket {
    pub(crate) async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            Socket::Tcp(stream) => stream.read(buffer).await,
            Socket::Unix(stream) => stream.read(buffer).await,
        }
    }

    pub(crate) async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            Socket::Tcp(stream) => stream.write_all(buffer).await,
            Socket::Unix(stream) => stream.write_all(buffer).await,
        }
    }

    pub(crate) fn into_split(self) -> (ReadSocket, WriteSocket) {
        match self {
            Socket::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadSocket::Tcp(read), WriteSocket::Tcp(write))
            }
            Socket::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadSocket::Unix(read), WriteSocket::Unix(write))
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl ReadSocket {
    pub(crate) async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            ReadSocket::Tcp(half) => half.read(buffer).await,
            ReadSocket::Unix(half) => half.read(buffer).await,
        }
    }
}

impl WriteSocket {
    pub(crate) async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            WriteSocket::Tcp(half) => half.write_all(buffer).await,
            WriteSocket::Unix(half) => half.write_all(buffer).await,
        }
    }
}

impl AsRawFd for WriteSocket {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: monoio's halves share the stream behind an `UnsafeCell` of one thread; reading the descriptor's
        // number through a shared reference for the length of this expression touches nothing that another changes.
        unsafe {
            match self {
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

/// Sends at once what the socket has room for.
pub(crate) fn try_write(descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(numbered(&descriptor), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// As [`try_write`], of several pieces in one system call.
pub(crate) fn try_write_vectored(descriptor: RawFd, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(net::sendmsg(numbered(&descriptor), pieces, &mut net::SendAncillaryBuffer::default(), flags)?)
}

/// A descriptor that is known by its number only.
pub(crate) fn numbered(descriptor: &RawFd) -> BorrowedFd<'_> {
    // SAFETY: what is asked of it is a system call on a socket. Its owner is the caller's stream, or a table from which a
    // stream is struck out before it is dropped; see [`shutdown`].
    unsafe { BorrowedFd::borrow_raw(*descriptor) }
}
