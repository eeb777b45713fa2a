//! The writing side of a TLS stream, until the goodbye.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use monoio::buf::IoBuf;

use super::link::{Link, Peer};
use crate::limits::TLS_WRITE_BYTES_MAX;
use crate::socket::shutdown;

pub(crate) struct TlsWriter {
    pub(super) link: Rc<Link>,
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
