//! Connections of the simulated network.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};

use super::{Descriptor, host};
use crate::{Address, ClientTls, ServerTls, within};

/// As the real one.
#[derive(Debug)]
pub struct Stream(Descriptor);

/// As the real one.
#[derive(Debug)]
pub struct ReadHalf(Rc<Descriptor>);

/// As the real one: dropping it ends the sending direction.
#[derive(Debug)]
pub struct WriteHalf(Rc<Descriptor>);

impl Stream {
    /// Connects within `limit`.
    pub async fn connect(address: &Address, limit: Duration) -> io::Result<Stream> {
        let stream = Stream::of(host().connect(address));
        let connected = poll_fn(|context| host().poll_connected(stream.0.0, context));
        match within(limit, connected).await? {
            Some(result) => result.map(|()| stream),
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// As [`Stream::connect`]: a simulated network has nobody who listens.
    ///
    /// # Panics
    /// Where TLS is asked for: a simulation is configured without.
    pub async fn connect_with(address: &Address, tls: Option<&ClientTls>, limit: Duration) -> io::Result<Stream> {
        assert!(tls.is_none(), "no simulation has TLS");
        Stream::connect(address, limit).await
    }

    /// See [`Stream::connect_with`].
    pub async fn secure(self, _: &Address, _: &ClientTls) -> io::Result<Stream> {
        unreachable!("no simulation has TLS")
    }

    /// See [`Stream::connect_with`].
    pub async fn serve_tls(self, _: &ServerTls, _: &[u8]) -> io::Result<Stream> {
        unreachable!("no simulation has TLS")
    }

    /// None: no simulation has TLS.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        None
    }

    pub(super) fn of(descriptor: RawFd) -> Stream {
        Stream(Descriptor(descriptor))
    }

    /// Reads what is there, at least one byte; 0 is the end of the stream.
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        read(self.0.0, buffer).await
    }

    /// Writes all of `buffer`.
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        write_all(self.0.0, buffer).await
    }

    /// Sends at once what there is room for.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        host().try_write(self.0.0, bytes)
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        host().shutdown(self.0.0, how)
    }

    /// Gives up sooner on a peer that acknowledges nothing.
    pub fn set_silence_max(&self, span: Duration) -> io::Result<()> {
        host().set_silence_max(self.0.0, span);
        Ok(())
    }

    /// Two ends that can be used at the same time by two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let shared = Rc::new(self.0);
        (ReadHalf(Rc::clone(&shared)), WriteHalf(shared))
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0
    }
}

impl ReadHalf {
    /// As [`Stream::read`].
    pub async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        read(self.0.0, buffer).await
    }
}

impl WriteHalf {
    /// As [`Stream::write_all`].
    pub async fn write_all<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        write_all(self.0.0, buffer).await
    }

    /// As [`Stream::try_write`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        host().try_write(self.0.0, bytes)
    }

    /// As [`Stream::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        host().shutdown(self.0.0, how)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) > 1 {
            // Failing means that it has ended already.
            let _ = shutdown(self.0.0, Shutdown::Write);
        }
    }
}

impl AsRawFd for WriteHalf {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0
    }
}

/// Ends directions of a socket by its number.
pub fn shutdown(descriptor: RawFd, how: Shutdown) -> io::Result<()> {
    host().shutdown(descriptor, how)
}

/// Whether bytes have arrived that nobody has read, or the peer has ended.
pub fn has_unread(descriptor: RawFd) -> bool {
    host().has_unread(descriptor)
}

/// Reads what is there without waiting, as much as `buffer` holds.
pub fn try_read(stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut arrived = Vec::new();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match host().poll_read(stream.0.0, buffer.len(), &mut arrived, &mut context) {
        std::task::Poll::Ready(result) => {
            result?;
            buffer[..arrived.len()].copy_from_slice(&arrived);
            Ok(arrived.len())
        }
        std::task::Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

async fn read<B: IoBufMut>(socket: RawFd, mut buffer: B) -> (io::Result<usize>, B) {
    let room = buffer.bytes_total();
    let mut arrived = Vec::new();
    let result = poll_fn(|context| host().poll_read(socket, room, &mut arrived, context)).await;
    assert!(arrived.len() <= room, "a host gives no more than it was asked for");
    // SAFETY: as many bytes as `bytes_total` says lie behind the pointer, and what `set_init` announces was written.
    unsafe {
        std::ptr::copy_nonoverlapping(arrived.as_ptr(), buffer.write_ptr(), arrived.len());
        buffer.set_init(arrived.len());
    }
    (result.map(|()| arrived.len()), buffer)
}

async fn write_all<B: IoBuf>(socket: RawFd, buffer: B) -> (io::Result<usize>, B) {
    let length = buffer.bytes_init();
    // SAFETY: so many bytes behind the pointer are initialised, and the buffer is held until the end.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.read_ptr(), length) };
    let mut written = 0;
    while written < length {
        match poll_fn(|context| host().poll_write(socket, &bytes[written..], context)).await {
            Ok(count) => written += count,
            Err(error) => return (Err(error), buffer),
        }
    }
    (Ok(written), buffer)
}
