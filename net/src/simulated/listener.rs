//! Listening sockets of the simulated network.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};

use super::stream::Stream;
use super::{Descriptor, host};

/// As the real one; the simulated network knows no options.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Several sockets share the port.
    pub shared_port: bool,
    /// Connections are handed over when their first bytes are there.
    pub wait_for_data: bool,
}

/// A bound socket.
#[derive(Debug)]
pub struct Bound {
    descriptor: Descriptor,
    address: SocketAddr,
}

impl Bound {
    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Binds and listens.
pub fn bind(address: SocketAddr, _options: ListenOptions) -> io::Result<Bound> {
    let (descriptor, address) = host().listen(address)?;
    Ok(Bound { descriptor: Descriptor(descriptor), address })
}

/// Nobody shares a port here.
pub fn is_taken(_address: SocketAddr) -> io::Result<bool> {
    Ok(false)
}

/// As the real one.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    closed: Cell<bool>,
}

impl Listener {
    /// Takes a bound socket.
    pub fn new(bound: Bound) -> io::Result<Listener> {
        Ok(Listener { bound, closed: Cell::new(false) })
    }

    /// How many tasks should accept at once.
    pub fn accept_tasks(&self, _on_a_ring: usize) -> usize {
        1
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (descriptor, peer) = poll_fn(|context| host().poll_accept(self.bound.descriptor.0, context)).await?;
        Ok((Stream::of(descriptor), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.local_addr()
    }

    /// Whether [`Listener::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// There is no queue in which newcomers could be lost.
    pub fn ignore_newcomers(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody is in it.
    pub fn has_waiting(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Stops listening.
    pub fn close(&self) {
        self.closed.set(true);
        // Nobody else ends it, so there is nothing to fail.
        let _ = host().shutdown(self.bound.descriptor.0, Shutdown::Both);
    }
}
