//! A TLS session and its socket, as [`Stream`](crate::Stream) carries them.
//!
//! One thread owns a session; its reader and its writer share it. Bytes to be sent are encrypted all at once and leave in
//! one system call. Ciphertext that the socket had no room for is written by a task, and until that is done nothing new is
//! encrypted: so no more waits here than one write and what the protocol itself has to say. **Reading goes on meanwhile**: a
//! peer that asks for new keys in both directions, with both full, would else wait for us as we for it. What an arriving
//! record asks us to say (new keys, tickets) is in the session's queue, and leaves with the next bytes that are written.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use flux_protocol::certificate;
use monoio::buf::{IoBuf, IoBufMut};
use rustls::{Connection, Error, HandshakeKind, ProtocolVersion};

use super::client::ClientTls;
use super::fault::Reason;
use super::server::ServerTls;
use crate::address::Address;
use crate::buffer::Window;
use crate::limits::{TLS_READ_BYTES_MAX, TLS_READ_BYTES_MIN, TLS_WRITE_BYTES_MAX};
use crate::notify::Notify;
use crate::socket::{ReadSocket, Socket, WriteSocket, shutdown, try_write, try_write_vectored};
use crate::spawn;

pub(crate) struct TlsStream {
    pub(crate) reader: TlsReader,
    pub(crate) writer: TlsWriter,
}

pub(crate) struct TlsReader {
    socket: ReadSocket,
    /// Ciphertext that was not looked at yet.
    incoming: Window,
    /// The last read had no room left: the next is given more.
    was_full: bool,
    link: Rc<Link>,
}

pub(crate) struct TlsWriter {
    link: Rc<Link>,
}

/// What both sides share.
struct Link {
    session: RefCell<Connection>,
    /// Absent while a task writes what the socket had no room for, and after that has failed.
    socket: RefCell<Option<WriteSocket>>,
    descriptor: RawFd,
    /// Notified when the task is done.
    settled: Notify,
    has_failed: Cell<bool>,
    /// Nothing more is written, and the peer is told when what waits has left.
    is_ending: Cell<bool>,
    /// The writer is gone.
    is_closed: Cell<bool>,
    peer: Peer,
}

/// Who is at the other end, and who counts what goes wrong with them.
enum Peer {
    Server(ClientTls, String),
    Client(ServerTls),
}

impl TlsStream {
    /// The handshake of a client with the server at `address`.
    pub(crate) async fn connect(mut socket: Socket, address: &Address, tls: &ClientTls) -> io::Result<TlsStream> {
        let (connection, name) = tls.begin(address)?;
        let (mut connection, mut incoming) = (Connection::from(connection), Window::with_capacity(TLS_READ_BYTES_MIN));
        match shake_hands(&mut socket, &mut connection, &mut incoming).await {
            Ok(()) => {}
            Err(Trouble::Tls(error)) => return Err(tls.fault(&error, &name)),
            Err(Trouble::Closed | Trouble::PlainHttp) => {
                let what = format!("it hung up during the handshake{}", tls.doubt(address));
                return Err(tls.failed(Reason::Closed, &name, what));
            }
            Err(Trouble::Io(error)) => return Err(tls.failed(Reason::Closed, &name, error.to_string())),
        }
        tls.figures().note_handshake(connection.handshake_kind() == Some(HandshakeKind::Resumed));
        tls.note_speaker(address);
        if let Some(expiry) = connection.peer_certificates().and_then(|chain| certificate::expiry(chain.first()?)) {
            tls.figures().note_peer_expiry(expiry);
        }
        Ok(TlsStream::new(socket, connection, incoming, Peer::Server(tls.clone(), name)))
    }

    /// The handshake of a server. A client that speaks HTTP in the clear is sent `to_plain_http`.
    pub(crate) async fn accept(mut socket: Socket, tls: &ServerTls, to_plain_http: &[u8]) -> io::Result<TlsStream> {
        let (mut connection, mut incoming) =
            (Connection::from(tls.begin()?), Window::with_capacity(TLS_READ_BYTES_MIN));
        match shake_hands(&mut socket, &mut connection, &mut incoming).await {
            Ok(()) => {}
            Err(Trouble::Tls(error)) => return Err(tls.fault(&error)),
            Err(Trouble::PlainHttp) => {
                // It is closed either way.
                let _ = try_write(socket.as_raw_fd(), to_plain_http);
                return Err(tls.failed(Reason::PlainHttp, "it spoke HTTP in the clear".to_owned()));
            }
            Err(Trouble::Closed) => {
                return Err(tls.failed(Reason::Closed, "it hung up during the handshake".to_owned()));
            }
            Err(Trouble::Io(error)) => return Err(tls.failed(Reason::Closed, error.to_string())),
        }
        tls.figures().note_handshake(connection.handshake_kind() == Some(HandshakeKind::Resumed));
        Ok(TlsStream::new(socket, connection, incoming, Peer::Client(tls.clone())))
    }

    fn new(socket: Socket, mut connection: Connection, incoming: Window, peer: Peer) -> TlsStream {
        // What is encrypted at once is bounded by what a write brings.
        connection.set_buffer_limit(None);
        let descriptor = socket.as_raw_fd();
        let (read, write) = socket.into_split();
        let link = Rc::new(Link {
            session: RefCell::new(connection),
            socket: RefCell::new(Some(write)),
            descriptor,
            settled: Notify::new(),
            has_failed: Cell::new(false),
            is_ending: Cell::new(false),
            is_closed: Cell::new(false),
            peer,
        });
        TlsStream {
            reader: TlsReader { socket: read, incoming, was_full: false, link: Rc::clone(&link) },
            writer: TlsWriter { link },
        }
    }

    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        let session = self.writer.link.session.borrow();
        Some(session.peer_certificates()?.first()?.to_vec())
    }
}

/// What keeps a handshake from its end.
enum Trouble {
    Tls(Error),
    Io(io::Error),
    Closed,
    /// The first byte is a letter, which no handshake begins with.
    PlainHttp,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

async fn shake_hands(socket: &mut Socket, connection: &mut Connection, incoming: &mut Window) -> Result<(), Trouble> {
    let mut is_first = matches!(connection, Connection::Server(_));
    loop {
        let is_done = !connection.is_handshaking();
        // What a server of TLS 1.3 has to say after the handshake, its tickets, leaves with its first answer.
        let waits = is_done
            && matches!(connection, Connection::Server(_))
            && connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let mut out = Vec::new();
        while connection.wants_write() && !waits {
            connection.write_tls(&mut out)?;
        }
        if !out.is_empty() {
            socket.write_all(out).await.0?;
        }
        if is_done {
            return Ok(());
        }
        if incoming.is_empty() {
            let (read, filled) = socket.read(std::mem::take(incoming)).await;
            *incoming = filled;
            match read {
                Ok(0) => return Err(Trouble::Closed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => drop(read?),
            }
            if std::mem::replace(&mut is_first, false) && incoming.unread()[0].is_ascii_uppercase() {
                return Err(Trouble::PlainHttp);
            }
        }
        if let Err(error) = take(connection, incoming) {
            // The alert: whether it is heard does not matter.
            let mut alert = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut alert)?;
            }
            let _ = try_write(socket.as_raw_fd(), &alert);
            return Err(Trouble::Tls(error));
        }
    }
}

/// Gives the session some of what has arrived: as much as it takes at once. False where it takes no more, because the peer
/// has said that nothing more comes.
fn take(connection: &mut Connection, incoming: &mut Window) -> Result<bool, Error> {
    let mut unread = &*incoming.unread();
    // A slice gives what it has, and its own bounds come before the session's: what is left to fail is a handshake beyond
    // all bounds.
    let taken = connection.read_tls(&mut unread).map_err(|error| Error::General(error.to_string()))?;
    incoming.consume(taken);
    connection.process_new_packets()?;
    Ok(taken > 0)
}

impl Link {
    /// Sends what the session has to say, as far as the socket has room; the rest is a task's.
    fn flush(self: &Rc<Link>) -> io::Result<()> {
        let mut slot = self.socket.borrow_mut();
        let mut session = self.session.borrow_mut();
        while slot.is_some() && session.wants_write() {
            match session.write_tls(&mut Wire(self.descriptor)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = slot.take().expect("it was there just now");
                    spawn(Rc::clone(self).write_rest(socket));
                }
                Err(error) => {
                    self.has_failed.set(true);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn write_rest(self: Rc<Link>, mut socket: WriteSocket) {
        loop {
            let mut rest = Vec::new();
            {
                let mut session = self.session.borrow_mut();
                while session.wants_write() {
                    session.write_tls(&mut rest).expect("a vector takes everything");
                }
            }
            if rest.is_empty() {
                break;
            }
            if socket.write_all(rest).await.0.is_err() {
                self.has_failed.set(true);
                // So that the reader comes to its end. The socket is here, so the number is still its own.
                let _ = shutdown(self.descriptor, Shutdown::Both);
                break;
            }
        }
        if self.is_ending.get() {
            let _ = shutdown(self.descriptor, Shutdown::Write);
        }
        if !self.is_closed.get() {
            *self.socket.borrow_mut() = Some(socket);
        }
        self.settled.notify();
    }

    /// Waits until nothing is left of what was written before.
    async fn settled(&self) -> io::Result<()> {
        loop {
            if self.has_failed.get() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if self.socket.borrow().is_some() {
                return Ok(());
            }
            self.settled.notified().await;
        }
    }

    /// Encrypts `bytes` and sends what there is room for; nothing where something is left from before.
    fn send(self: &Rc<Link>, bytes: &[u8]) -> io::Result<usize> {
        if self.has_failed.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.socket.borrow().is_none() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.session.borrow_mut().writer().write_all(bytes)?;
        self.flush()?;
        Ok(bytes.len())
    }

    /// Tells the peer that nothing more is written. In the session's queue; it leaves with a flush.
    fn say_goodbye(&self) {
        if !self.is_ending.replace(true) {
            self.session.borrow_mut().send_close_notify();
        }
    }

    fn fault(&self, error: &Error) -> io::Error {
        match &self.peer {
            Peer::Server(tls, name) => tls.fault(error, name),
            Peer::Client(tls) => tls.fault(error),
        }
    }
}

/// What became of a look at what had arrived.
enum Opened {
    /// So many bytes are in the caller's buffer.
    Bytes(usize),
    /// The peer has said that nothing more comes.
    End,
    /// More must arrive.
    Starved,
}

impl TlsReader {
    pub(crate) async fn read<B: IoBufMut>(&mut self, mut buffer: B) -> (io::Result<usize>, B) {
        if buffer.bytes_total() == 0 {
            return (Ok(0), buffer);
        }
        loop {
            match self.open(&mut buffer) {
                Ok(Opened::Bytes(count)) => return (Ok(count), buffer),
                Ok(Opened::End) => return (Ok(0), buffer),
                Ok(Opened::Starved) => {}
                Err(error) => {
                    // The alert, if it finds room: the connection is at its end either way.
                    let _ = self.link.flush();
                    self.link.has_failed.set(true);
                    return (Err(self.link.fault(&error)), buffer);
                }
            }
            // All of it was looked at: the window is empty.
            if self.was_full && self.incoming.capacity() < TLS_READ_BYTES_MAX {
                self.incoming = Window::with_capacity(self.incoming.capacity() * 2);
            }
            let room = self.incoming.capacity();
            let (read, filled) = self.socket.read(std::mem::take(&mut self.incoming)).await;
            self.incoming = filled;
            match read {
                Ok(0) => return (Ok(0), buffer),
                Ok(count) => self.was_full = count == room,
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    /// Decrypts what has arrived into the room of `buffer`, until one of them is at its end.
    fn open<B: IoBufMut>(&mut self, buffer: &mut B) -> Result<Opened, Error> {
        let mut session = self.link.session.borrow_mut();
        let mut room = Room { left: buffer.bytes_total(), filled: 0, buffer };
        loop {
            let mut plaintext = session.reader();
            // An error is "nothing there", or an end without a goodbye, which this session is never told of.
            while let Ok(chunk) = plaintext.fill_buf() {
                if chunk.is_empty() {
                    // The goodbye.
                    return Ok(if room.filled > 0 { room.finish() } else { Opened::End });
                }
                let count = room.put(chunk);
                plaintext.consume(count);
                if room.left == 0 {
                    return Ok(room.finish());
                }
            }
            if self.incoming.is_empty() || !take(&mut session, &mut self.incoming)? {
                return Ok(room.finish());
            }
        }
    }
}

/// The room of a caller's buffer, filled piece by piece.
struct Room<'a, B> {
    buffer: &'a mut B,
    left: usize,
    filled: usize,
}

impl<B: IoBufMut> Room<'_, B> {
    fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.left);
        // SAFETY: `bytes_total` bytes behind the pointer belong to the buffer, `filled` of them are written, and `left` is the
        // difference. The bytes come from the session, never from this buffer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.buffer.write_ptr().add(self.filled), count) };
        self.filled += count;
        self.left -= count;
        count
    }

    fn finish(self) -> Opened {
        if self.filled == 0 {
            return Opened::Starved;
        }
        // SAFETY: so many bytes behind the pointer were written.
        unsafe { self.buffer.set_init(self.filled) };
        Opened::Bytes(self.filled)
    }
}

impl TlsWriter {
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.link.send(bytes)
    }

    pub(crate) async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        let length = buffer.bytes_init();
        // SAFETY: so many bytes behind the pointer are initialised, and the buffer is held until the end.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.read_ptr(), length) };
        for part in bytes.chunks(TLS_WRITE_BYTES_MAX) {
            if let Err(error) = self.write_part(part).await {
                return (Err(error), buffer);
            }
        }
        (self.link.settled().await.map(|()| length), buffer)
    }

    async fn write_part(&self, part: &[u8]) -> io::Result<()> {
        self.link.settled().await?;
        self.link.send(part).map(|_| ())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write && !self.link.has_failed.get() {
            self.link.say_goodbye();
            self.link.flush()?;
            if self.link.socket.borrow().is_none() {
                // The task does it when it is done.
                return Ok(());
            }
        }
        shutdown(self.link.descriptor, how)
    }
}

impl AsRawFd for TlsWriter {
    fn as_raw_fd(&self) -> RawFd {
        self.link.descriptor
    }
}

impl Drop for TlsWriter {
    fn drop(&mut self) {
        let link = &self.link;
        link.is_closed.set(true);
        // A server's connection, closed, discards what has not left; a goodbye would not arrive.
        if matches!(link.peer, Peer::Client(_)) && !link.has_failed.get() && !link.is_ending.get() {
            link.say_goodbye();
            let _ = link.flush();
        }
        if link.socket.borrow_mut().take().is_none() {
            // A task writes for a peer that does not read, and nobody waits for it any more. It holds the socket, or has
            // failed and the reader does.
            let _ = shutdown(link.descriptor, Shutdown::Both);
        }
    }
}

/// The socket, as a session writes to it: without waiting, all pieces in one system call.
struct Wire(RawFd);

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        try_write(self.0, bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [piece] => try_write(self.0, piece),
            pieces => try_write_vectored(self.0, pieces),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
