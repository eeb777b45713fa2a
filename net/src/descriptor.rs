//! Waiting until a descriptor that is no socket (timerfd, eventfd) can be read, on either driver.
//!
//! monoio has no type for that, but its `TcpStream` takes any descriptor, and `readable` asks nothing of it that only
//! a socket has: a one-shot poll on a ring, a registration on epoll. Reading is then a direct call on a descriptor
//! that is non-blocking.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use monoio::net::TcpStream;
use rustix::io::Errno;

/// A descriptor that counts in eight bytes: a timerfd or an eventfd, non-blocking.
pub(crate) struct Counter {
    stream: TcpStream,
}

impl Counter {
    /// Takes the descriptor over. Only inside a runtime; on epoll it is registered there, and that can fail.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Counter> {
        // `std`'s type is only a wrapper around the number on its way to monoio's; no socket call is made on it.
        Ok(Counter { stream: TcpStream::from_std(descriptor.into())? })
    }

    /// Waits until the count is not zero, takes it and sets it back to zero.
    pub(crate) async fn take(&self) -> io::Result<u64> {
        loop {
            self.stream.readable(false).await?;
            if let Some(count) = self.try_take()? {
                return Ok(count);
            }
        }
    }

    fn try_take(&self) -> io::Result<Option<u64>> {
        let mut count = [0; 8];
        match rustix::io::read(self, &mut count) {
            Ok(8) => Ok(Some(u64::from_ne_bytes(count))),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor, and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }
}
