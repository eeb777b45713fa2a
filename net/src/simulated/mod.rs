//! In place of the kernel: sockets, time, tasks and chance that a simulation gives.
//!
//! With the feature `simulated` the modules that touch the operating system are replaced by these, of the same names
//! and the same interface, so that the programs above run unchanged under virtual time and from one seed. What they do
//! is a [`Host`]'s, which the simulation installs on its thread. The feature is never part of a program that ships.

pub mod clock;
pub mod doorbell;
pub mod listener;
pub mod random;
pub mod stream;
pub mod timer;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use flux_protocol::time::Now;

use crate::Address;

/// A task of a simulated process.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The kernel of a simulated machine, as seen by the process whose task is being run.
///
/// Descriptors are numbers that are never used twice in a run, so that a number kept too long hits nobody.
pub trait Host {
    /// The process' clocks.
    fn now(&self) -> Now;
    /// Starts a task of the same process.
    fn spawn(&self, task: Task);
    /// Fills `bytes` with what looks like chance.
    fn draw(&self, bytes: &mut [u8]);
    /// A timer that is not set.
    fn timer(&self) -> RawFd;
    /// Lets it fire once, so far from now.
    fn set_timer(&self, timer: RawFd, span: Duration);
    /// Whether it has fired since it was set; it then stands still.
    fn poll_timer(&self, timer: RawFd, context: &mut Context<'_>) -> Poll<()>;
    /// Begins to connect.
    fn connect(&self, address: &Address) -> RawFd;
    /// Whether the connection is made.
    fn poll_connected(&self, socket: RawFd, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Listens on a port.
    fn listen(&self, address: SocketAddr) -> io::Result<(RawFd, SocketAddr)>;
    /// The next connection.
    fn poll_accept(&self, listener: RawFd, context: &mut Context<'_>) -> Poll<io::Result<(RawFd, SocketAddr)>>;
    /// Appends what has arrived, `most` bytes of it; none at all is the end of the stream.
    fn poll_read(
        &self,
        socket: RawFd,
        most: usize,
        into: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;
    /// Sends as much as there is room for, at least a byte.
    fn poll_write(&self, socket: RawFd, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>>;
    /// The same without waiting: `WouldBlock` where there is no room.
    fn try_write(&self, socket: RawFd, bytes: &[u8]) -> io::Result<usize>;
    /// Whether something has arrived that was not read, or the peer has ended.
    fn has_unread(&self, socket: RawFd) -> bool;
    /// How long a peer of this connection may acknowledge nothing before it is given up.
    fn set_silence_max(&self, socket: RawFd, span: Duration);
    /// Ends directions of a connection, or a listener.
    fn shutdown(&self, socket: RawFd, how: Shutdown) -> io::Result<()>;
    /// Whatever it was, nobody holds it any more. Also called when no task runs, as where a process is killed.
    fn close(&self, descriptor: RawFd);
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Makes `host` the kernel of this thread's simulation until the guard is dropped.
#[must_use]
pub fn install(host: Rc<dyn Host>) -> Installed {
    HOST.set(Some(host));
    Installed(())
}

/// See [`install`].
#[derive(Debug)]
pub struct Installed(());

impl Drop for Installed {
    fn drop(&mut self) {
        HOST.set(None);
    }
}

/// # Panics
/// Where no host is installed: a program was built with the feature `simulated` and run outside a simulation.
pub(crate) fn host() -> Rc<dyn Host> {
    HOST.with_borrow(|host| host.clone()).expect("a simulation is installed on this thread")
}

/// A descriptor of the host, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Descriptor(pub(crate) RawFd);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // A run that has ended has taken its host, and all that it held, with it.
        if let Some(host) = HOST.with_borrow(|host| host.clone()) {
            host.close(self.0);
        }
    }
}

/// Starts a task of the process whose task is being run.
pub fn spawn<F: Future<Output = ()> + 'static>(task: F) {
    host().spawn(Box::pin(task));
}
