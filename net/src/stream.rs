//! Connected sockets, TCP or Unix, plain or with TLS around them, behind one type.
//!
//! A pending read or write is ended by [`Stream::shutdown`] (or a half's), never by dropping it: bytes that had
//! arrived would be lost, and on a ring the buffer stays with the kernel until it is done.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::net::{TcpStream, UnixStream};
use rustix::net::{self, RecvFlags};
use socket2::{SockRef, TcpKeepalive};

use crate::address::Address;
use crate::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, PEER_SILENCE_MAX};
use crate::resolve::resolve;
pub use crate::socket::shutdown;
use crate::socket::{ReadSocket, Socket, WriteSocket, numbered, try_write};
use crate::tls::stream::{TlsReader, TlsStream, TlsWriter};
use crate::tls::{ClientTls, ServerTls};
use crate::wait::within;

/// A connected socket.
pub struct Stream {
    inner: Inner,
}

enum Inner {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

/// The reading end of a split [`Stream`].
pub struct ReadHalf {
    inner: InnerReader,
}

enum InnerReader {
    Plain(ReadSocket),
    Tls(Box<TlsReader>),
}

/// The writing end of a split [`Stream`]. Dropping it ends the sending direction; the socket is closed when both
/// halves are gone.
pub struct WriteHalf {
    inner: InnerWriter,
}

enum InnerWriter {
    Plain(WriteSocket),
    Tls(TlsWriter),
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

    /// As [`Stream::connect`], and then, where `tls` is given, the TLS handshake, within the same `limit`. An error of the
    /// handshake is one line that says what is wrong with whom ([`TlsFault`](crate::tls::TlsFault)).
    pub async fn connect_with(address: &Address, tls: Option<&ClientTls>, limit: Duration) -> io::Result<Stream> {
        let Some(tls) = tls else { return Stream::connect(address, limit).await };
        let is_connected = Cell::new(false);
        let connect = async {
            let plain = Stream::connect_untimed(address).await?;
            is_connected.set(true);
            plain.secure(address, tls).await
        };
        match within(limit, Box::pin(connect)).await? {
            Some(result) => result,
            None if is_connected.get() => Err(tls.silent(address)),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Puts TLS around a connection on which nothing more is expected in the clear, as client: the handshake, and from then on
    /// all bytes. Takes as long as the peer does: bound it.
    ///
    /// # Errors
    /// As [`Stream::connect_with`]; of a connection that has TLS already, `InvalidInput`.
    pub async fn secure(self, address: &Address, tls: &ClientTls) -> io::Result<Stream> {
        let Inner::Plain(socket) = self.inner else { return Err(io::ErrorKind::InvalidInput.into()) };
        let stream = Box::pin(TlsStream::connect(socket, address, tls)).await?;
        Ok(Stream { inner: Inner::Tls(Box::new(stream)) })
    }

    /// Puts TLS around a connection that was accepted, as [`Stream::secure`] does for one that was made. A client that turns
    /// out to speak HTTP in the clear is sent `to_plain_http`.
    ///
    /// # Errors
    /// The handshake failed: the client has been told, and it has been counted.
    pub async fn serve_tls(self, tls: &ServerTls, to_plain_http: &[u8]) -> io::Result<Stream> {
        let Inner::Plain(socket) = self.inner else { return Err(io::ErrorKind::InvalidInput.into()) };
        let stream = Box::pin(TlsStream::accept(socket, tls, to_plain_http)).await?;
        Ok(Stream { inner: Inner::Tls(Box::new(stream)) })
    }

    /// The certificate that the peer showed in the handshake, DER-encoded (RFC 5280); `None` without TLS.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        match &self.inner {
            Inner::Plain(_) => None,
            Inner::Tls(stream) => stream.peer_certificate(),
        }
    }

    async fn connect_untimed(address: &Address) -> io::Result<Stream> {
        let (host, port) = match address {
            Address::Unix(path) => return Ok(Stream::plain(Socket::Unix(UnixStream::connect(path).await?))),
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
        Stream::plain(Socket::Tcp(stream))
    }

    fn plain(socket: Socket) -> Stream {
        Stream { inner: Inner::Plain(socket) }
    }

    /// Reads what is there, at least one byte, into the room of `buffer`; 0 is the end of the stream, whether or not a peer
    /// with TLS said goodbye: what is spoken here says itself where a message ends.
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.inner {
            Inner::Plain(socket) => socket.read(buffer).await,
            Inner::Tls(stream) => stream.reader.read(buffer).await,
        }
    }

    /// Writes all of `buffer`. After an error it is unknown how much of it has left; the connection is of no more use.
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.inner {
            Inner::Plain(socket) => socket.write_all(buffer).await,
            Inner::Tls(stream) => stream.writer.write_all(buffer).await,
        }
    }

    /// Sends at once what the socket has room for, without waiting: `WouldBlock` where it has none. With TLS all of `bytes`
    /// are encrypted and taken, and what of them finds no room is written by a task; until then it is `WouldBlock`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.inner {
            Inner::Plain(socket) => try_write(socket.as_raw_fd(), bytes),
            Inner::Tls(stream) => stream.writer.try_write(bytes),
        }
    }

    /// Ends one direction or both. A pending read then returns 0, a pending write an error. With TLS a peer is told that
    /// nothing more will be written (close_notify, RFC 8446 section 6.1).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.inner {
            Inner::Plain(socket) => shutdown(socket.as_raw_fd(), how),
            Inner::Tls(stream) => stream.writer.shutdown(how),
        }
    }

    /// Gives up sooner than [`PEER_SILENCE_MAX`] on a peer that acknowledges nothing (TCP_USER_TIMEOUT), and on what the
    /// kernel holds for it. Nothing for a Unix socket, whose peer has what was written.
    pub fn set_silence_max(&self, span: Duration) -> io::Result<()> {
        match &self.inner {
            Inner::Plain(Socket::Unix(_)) => Ok(()),
            Inner::Plain(Socket::Tcp(_)) | Inner::Tls(_) => {
                SockRef::from(&numbered(&self.as_raw_fd())).set_tcp_user_timeout(Some(span))
            }
        }
    }

    /// Two ends that can be used at the same time by two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self.inner {
            Inner::Plain(socket) => {
                let (read, write) = socket.into_split();
                (ReadHalf { inner: InnerReader::Plain(read) }, WriteHalf { inner: InnerWriter::Plain(write) })
            }
            Inner::Tls(stream) => {
                let TlsStream { reader, writer } = *stream;
                (ReadHalf { inner: InnerReader::Tls(Box::new(reader)) }, WriteHalf { inner: InnerWriter::Tls(writer) })
            }
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match &self.inner {
            Inner::Plain(socket) => socket.as_raw_fd(),
            Inner::Tls(stream) => stream.writer.as_raw_fd(),
        }
    }
}

impl ReadHalf {
    /// As [`Stream::read`].
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.inner {
            InnerReader::Plain(socket) => socket.read(buffer).await,
            InnerReader::Tls(reader) => reader.read(buffer).await,
        }
    }
}

impl WriteHalf {
    /// As [`Stream::write_all`].
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match &mut self.inner {
            InnerWriter::Plain(socket) => socket.write_all(buffer).await,
            InnerWriter::Tls(writer) => writer.write_all(buffer).await,
        }
    }

    /// As [`Stream::try_write`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.inner {
            InnerWriter::Plain(socket) => try_write(socket.as_raw_fd(), bytes),
            InnerWriter::Tls(writer) => writer.try_write(bytes),
        }
    }

    /// As [`Stream::shutdown`]; `Both` also ends the other half's pending read.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.inner {
            InnerWriter::Plain(socket) => shutdown(socket.as_raw_fd(), how),
            InnerWriter::Tls(writer) => writer.shutdown(how),
        }
    }
}

impl AsRawFd for WriteHalf {
    fn as_raw_fd(&self) -> RawFd {
        match &self.inner {
            InnerWriter::Plain(socket) => socket.as_raw_fd(),
            InnerWriter::Tls(writer) => writer.as_raw_fd(),
        }
    }
}

/// Whether bytes have arrived that nobody has read, or the peer has ended. By number: see [`shutdown`].
pub fn has_unread(descriptor: RawFd) -> bool {
    net::recv(numbered(&descriptor), &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok()
}

/// Reads what is there on the wire without waiting, as much as `buffer` holds: for a connection that is about to be closed, where unread
/// bytes would turn the close into a reset and take an answer that is still on its way with them. The number of bytes.
pub fn try_read(stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
    let (read, _) = net::recv(numbered(&stream.as_raw_fd()), buffer, RecvFlags::DONTWAIT)?;
    Ok(read)
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
