//! The reading side of a TLS stream: ciphertext from the socket, plaintext into the caller's buffer.

use std::io::{self, BufRead};
use std::rc::Rc;

use monoio::buf::IoBufMut;
use rustls::{Connection, Error};

use super::link::Link;
use crate::buffer::Window;
use crate::limits::TLS_READ_BYTES_MAX;
use crate::socket::ReadSocket;

pub(crate) struct TlsReader {
    socket: ReadSocket,
    /// Ciphertext that was not looked at yet.
    incoming: Window,
    /// The last read had no room left: the next is given more.
    was_full: bool,
    link: Rc<Link>,
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
    /// `incoming` is what came behind the handshake.
    pub(super) fn new(socket: ReadSocket, incoming: Window, link: Rc<Link>) -> TlsReader {
        TlsReader { socket, incoming, was_full: false, link }
    }

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

/// Gives the session some of what has arrived: as much as it takes at once. False where it takes no more, because the peer
/// has said that nothing more comes.
pub(super) fn take(connection: &mut Connection, incoming: &mut Window) -> Result<bool, Error> {
    let mut unread = &*incoming.unread();
    // A slice gives what it has, and its own bounds come before the session's: what is left to fail is a handshake beyond
    // all bounds.
    let taken = connection.read_tls(&mut unread).map_err(|error| Error::General(error.to_string()))?;
    incoming.consume(taken);
    connection.process_new_packets()?;
    Ok(taken > 0)
}
