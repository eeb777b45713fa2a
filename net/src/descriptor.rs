//! Waiting until a descriptor that is no socket (timerfd, eventfd) can be read, on either driver.
//!
//! monoio has no type for that, but its `TcpStream` takes any descriptor, and `readable` asks nothing of it that only
//! a socket has: a one-shot poll on a ring, a registration on epoll. Reading is then a direct call on a descriptor
//! that is non-blocking.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use monoio::net::TcpStream;

/// A descriptor that counts in eight bytes: a timerfd or an eventfd, non-blocking.
pub(crate) struct Counter {
    stream: TcpStream,
}

impl Counter {
    /// Takes the descriptor over. Only inside a runtime; on epoll it is registered there, and that can fail.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Counter> {
        // SAFETY: the descriptor is owned and handed on, so that it is closed exactly once. `std`'s type is only a
        // wrapper around the number on its way to monoio's; no socket call is made on it.
        let stream = unsafe { std::net::TcpStream::from_raw_fd(descriptor.into_raw_fd()) };
        Ok(Counter { stream: TcpStream::from_std(stream)? })
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
        let mut count = 0_u64;
        // SAFETY: the buffer is eight bytes of this frame, which is what timerfd and eventfd write.
        let read = unsafe { libc::read(self.stream.as_raw_fd(), (&raw mut count).cast(), 8) };
        if read == 8 {
            return Ok(Some(count));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        }
    }
}

impl AsRawFd for Counter {
    fn as_raw_fd(&self) -> i32 {
        self.stream.as_raw_fd()
    }
}

/// Turns the result of a system call that makes a descriptor into an owned one.
pub(crate) fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
