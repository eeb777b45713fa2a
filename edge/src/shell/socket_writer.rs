//! One open connection to Redis or to a broker, seen from the side that writes.
//!
//! What a machine wants to send is sent at once and directly, without waiting: a link's few large writes need no
//! completion and no task. Only where the socket has no room left does a task write the rest; until it is done the
//! machine is not asked again, so nothing piles up here. A reader is always pending beside it, in the link's own task.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use flux_net::{Notify, WriteHalf, spawn};

use crate::limits::shell::LINK_WRITE_BYTES;

/// The writing side of one connection.
pub(crate) struct SocketWriter {
    /// Absent while a task writes the rest of something, and after an error.
    writer: RefCell<Option<WriteHalf>>,
    descriptor: RawFd,
    closed: Cell<bool>,
    /// Said when the link can be written to again.
    writable: Rc<Notify>,
}

impl SocketWriter {
    /// Of a connection just opened.
    pub(crate) fn new(writer: WriteHalf, writable: Rc<Notify>) -> Rc<SocketWriter> {
        let descriptor = writer.as_raw_fd();
        Rc::new(SocketWriter { writer: RefCell::new(Some(writer)), descriptor, closed: Cell::new(false), writable })
    }

    /// Sends what `fill` appends, until it appends nothing or the socket is full.
    pub(crate) fn flush(self: &Rc<SocketWriter>, scratch: &mut Vec<u8>, mut fill: impl FnMut(&mut Vec<u8>)) {
        let mut slot = self.writer.borrow_mut();
        while let Some(writer) = &*slot {
            scratch.clear();
            fill(scratch);
            if scratch.is_empty() {
                return;
            }
            let sent = match writer.try_write(scratch) {
                Ok(sent) => sent,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
                Err(_) => {
                    // The reader sees the end and says so; what was not sent is lost with the connection.
                    *slot = None;
                    self.end();
                    return;
                }
            };
            if sent < scratch.len() {
                let writer = slot.take().expect("it was there just now");
                let rest = scratch.split_off(sent);
                spawn(Rc::clone(self).write_rest(writer, rest));
            }
        }
        if scratch.capacity() > 4 * LINK_WRITE_BYTES {
            *scratch = Vec::with_capacity(LINK_WRITE_BYTES);
        }
    }

    async fn write_rest(self: Rc<SocketWriter>, mut writer: WriteHalf, rest: Vec<u8>) {
        let (result, _) = writer.write_all(rest).await;
        match result {
            Ok(_) if !self.closed.get() => {
                *self.writer.borrow_mut() = Some(writer);
                self.writable.notify();
            }
            Ok(_) => {}
            Err(_) => self.end(),
        }
    }

    /// Ends both directions, so that the reader comes to its end. The reader's task does the rest.
    pub(crate) fn end(&self) {
        if !self.closed.get() {
            // Failing means that the peer was faster.
            let _ = flux_net::stream::shutdown(self.descriptor, Shutdown::Both);
        }
    }

    /// The reader has come to its end and is about to be dropped: nothing is written any more.
    pub(crate) fn close(&self) {
        self.end();
        self.closed.set(true);
        self.writer.borrow_mut().take();
    }
}
