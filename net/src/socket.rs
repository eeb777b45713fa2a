//! Plain sockets, TCP or Unix, behind one type: what [`crate::stream`] carries as it is, or with TLS around it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{TcpStream, UnixStream};

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
