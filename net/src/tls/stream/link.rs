//! What reader and writer of a TLS stream share: the session, and the way of its bytes out.
//!
//! Bytes to be sent are encrypted all at once and leave in one system call. Ciphertext that the socket had no room for is
//! written by a task, and until that is done nothing new is encrypted: so no more waits here than one write and what the
//! protocol itself has to say.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::rc::Rc;

use rustls::{Connection, Error};

use crate::notify::Notify;
use crate::socket::{WriteSocket, shutdown, try_write, try_write_vectored};
use crate::spawn;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;

/// See the module.
pub(super) struct Link {
    pub(super) session: RefCell<Connection>,
    /// Absent while a task writes what the socket had no room for, and after that has failed.
    pub(super) socket: RefCell<Option<WriteSocket>>,
    pub(super) descriptor: RawFd,
    /// Notified when the task is done.
    settled: Notify,
    pub(super) has_failed: Cell<bool>,
    /// Nothing more is written, and the peer is told when what waits has left.
    pub(super) is_ending: Cell<bool>,
    /// The writer is gone.
    pub(super) is_closed: Cell<bool>,
    pub(super) peer: Peer,
}

/// Who is at the other end, and who counts what goes wrong with them.
pub(super) enum Peer {
    Server(ClientTls, String),
    Client(ServerTls),
}

impl Link {
    /// Of a session whose handshake is done, and that writes to `socket`, of this number.
    pub(super) fn new(mut session: Connection, socket: WriteSocket, descriptor: RawFd, peer: Peer) -> Link {
        // What is encrypted at once is bounded by what a write brings.
        session.set_buffer_limit(None);
        Link {
            session: RefCell::new(session),
            socket: RefCell::new(Some(socket)),
            descriptor,
            settled: Notify::new(),
            has_failed: Cell::new(false),
            is_ending: Cell::new(false),
            is_closed: Cell::new(false),
            peer,
        }
    }

    /// Sends what the session has to say, as far as the socket has room; the rest is a task's.
    pub(super) fn flush(self: &Rc<Link>) -> io::Result<()> {
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
    pub(super) async fn settled(&self) -> io::Result<()> {
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
    pub(super) fn send(self: &Rc<Link>, bytes: &[u8]) -> io::Result<usize> {
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
    pub(super) fn say_goodbye(&self) {
        if !self.is_ending.replace(true) {
            self.session.borrow_mut().send_close_notify();
        }
    }

    pub(super) fn fault(&self, error: &Error) -> io::Error {
        match &self.peer {
            Peer::Server(tls, name) => tls.fault(error, name),
            Peer::Client(tls) => tls.fault(error),
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
