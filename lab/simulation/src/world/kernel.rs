//! The kernel of every simulated process: what `flux_net`'s simulated half asks of the world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf;
use flux_net::Address;
use flux_net::simulated::{Host, Task};
use flux_protocol::time::{Instant, Now};

use super::events::{Event, Events};
use super::network::{Listening, Network, Owner, Segment, Socket, State};
use super::process::{Process, ProcessId};
use crate::random::Random;

pub(super) struct Timer {
    pub(super) settings: u64,
    pub(super) has_fired: bool,
    pub(super) waiter: Option<Waker>,
}

pub(super) struct Inner {
    pub(super) now_us: u64,
    /// Milliseconds since the Unix epoch at the beginning.
    pub(super) epoch_ms: u64,
    pub(super) events: Events,
    pub(super) random: Random,
    pub(super) processes: Vec<Process>,
    /// Those that run still, in the order in which they were started.
    pub(super) alive: Vec<usize>,
    pub(super) network: Network,
    pub(super) timers: BTreeMap<RawFd, Timer>,
    /// Whose task runs.
    pub(super) current: Option<ProcessId>,
    pub(super) descriptors_given: RawFd,
    /// A running sum of all that was sent and when: two runs of one seed agree in it.
    pub(super) trace: u64,
}

/// See the module.
pub(super) struct Kernel(pub(super) RefCell<Inner>);

impl Inner {
    pub(super) fn new(mut random: Random, epoch_ms: u64) -> Inner {
        Inner {
            now_us: 1_000_000,
            epoch_ms,
            events: Events::default(),
            random: random.fork(),
            processes: Vec::new(),
            alive: Vec::new(),
            network: Network::default(),
            timers: BTreeMap::new(),
            current: None,
            descriptors_given: 0,
            trace: 0,
        }
    }

    /// The first process that has something to do.
    pub(super) fn first_ready(&self) -> Option<usize> {
        self.alive.iter().copied().find(|process| self.processes[*process].is_ready())
    }

    pub(super) fn now(&self, offset_ms: i64) -> Now {
        let wall_ms = (self.epoch_ms + self.now_us / 1000).saturating_add_signed(offset_ms);
        Now { instant: Instant::from_micros(self.now_us), wall_ms }
    }

    pub(super) fn process(&mut self) -> &mut Process {
        let current = self.current.expect("only a task of a process asks the kernel");
        &mut self.processes[current.0]
    }

    /// A number of its own, held by the running process.
    fn descriptor(&mut self) -> RawFd {
        let descriptor = self.nobodys_descriptor();
        self.process().descriptors.insert(descriptor);
        descriptor
    }

    pub(super) fn nobodys_descriptor(&mut self) -> RawFd {
        self.descriptors_given += 1;
        self.descriptors_given
    }

    pub(super) fn note(&mut self, what: u64) {
        // FNV-1a over words: not for strength, only to tell two runs apart.
        self.trace = (self.trace ^ what ^ self.now_us).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Host for Kernel {
    fn now(&self) -> Now {
        let mut inner = self.0.borrow_mut();
        let offset = inner.process().wall_offset_ms;
        inner.now(offset)
    }

    fn spawn(&self, task: Task) {
        self.0.borrow_mut().process().add(task, false);
    }

    fn draw(&self, bytes: &mut [u8]) {
        let mut inner = self.0.borrow_mut();
        let random = &mut inner.process().random;
        for chunk in bytes.chunks_mut(8) {
            let drawn = random.bits().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }

    fn timer(&self) -> RawFd {
        let mut inner = self.0.borrow_mut();
        let timer = inner.descriptor();
        inner.timers.insert(timer, Timer { settings: 0, has_fired: false, waiter: None });
        timer
    }

    fn set_timer(&self, timer: RawFd, span: Duration) {
        let mut inner = self.0.borrow_mut();
        let at = inner.now_us.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)).saturating_add(1);
        let Some(state) = inner.timers.get_mut(&timer) else { return };
        state.settings += 1;
        state.has_fired = false;
        let setting = state.settings;
        inner.events.plan(at, Event::Timer { timer, setting });
    }

    fn poll_timer(&self, timer: RawFd, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        let state = inner.timers.get_mut(&timer).expect("a timer is held while it is waited for");
        if std::mem::take(&mut state.has_fired) {
            return Poll::Ready(());
        }
        state.waiter = Some(context.waker().clone());
        Poll::Pending
    }

    fn connect(&self, address: &Address) -> RawFd {
        let mut inner = self.0.borrow_mut();
        let (host, port) = match address {
            Address::Tcp { host, port } => (host.clone(), *port),
            Address::Unix(path) => (path.display().to_string(), 0),
        };
        let socket = inner.descriptor();
        let link = (inner.process().name.clone(), format!("{host}:{port}"));
        let owner = Owner::Process(inner.current.expect("a task runs"));
        let outgoing = Socket { is_outgoing: true, ..Socket::new(owner, 0, link, State::Connecting) };
        inner.network.sockets.insert(socket, outgoing);
        let at = inner.now_us + inner.delay_us();
        inner.events.plan(at, Event::Connect { socket, port, host });
        socket
    }

    fn poll_connected(&self, socket: RawFd, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        let Some(socket) = inner.network.sockets.get_mut(&socket) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        match socket.state {
            State::Open => Poll::Ready(Ok(())),
            State::Broken(error) => Poll::Ready(Err(error.into())),
            State::Connecting => {
                socket.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn listen(&self, address: SocketAddr) -> io::Result<(RawFd, SocketAddr)> {
        let mut inner = self.0.borrow_mut();
        let place = format!("{}:{}", inner.process().name, address.port());
        // As with SO_REUSEPORT one port may be listened on by several cores; the simulated ones each take one.
        let mut port = address.port();
        let mut name = place;
        while inner.network.listening_at.contains_key(&name) {
            port += 1;
            name = format!("{}:{port}", inner.process().name);
        }
        let descriptor = inner.descriptor();
        let owner = inner.current.expect("a task runs");
        inner.network.listening_at.insert(name, descriptor);
        let listening = Listening { owner, backlog: Default::default(), is_closed: false, waiter: None };
        inner.network.listeners.insert(descriptor, listening);
        Ok((descriptor, SocketAddr::new(address.ip(), port)))
    }

    fn poll_accept(&self, listener: RawFd, context: &mut Context<'_>) -> Poll<io::Result<(RawFd, SocketAddr)>> {
        let mut inner = self.0.borrow_mut();
        let Some(listening) = inner.network.listeners.get_mut(&listener) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        if listening.is_closed {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        match listening.backlog.pop_front() {
            Some(socket) => {
                inner.process().descriptors.insert(socket);
                Poll::Ready(Ok((socket, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1))))
            }
            None => {
                listening.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_read(
        &self,
        descriptor: RawFd,
        most: usize,
        into: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        let Some(socket) = inner.network.sockets.get_mut(&descriptor) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if socket.is_read_shut {
            return Poll::Ready(Ok(()));
        }
        if socket.inbox.is_empty() {
            if let State::Broken(error) = socket.state {
                return Poll::Ready(Err(error.into()));
            }
            if socket.is_ended {
                return Poll::Ready(Ok(()));
            }
            socket.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = socket.inbox.len().min(most);
        into.extend_from_slice(&socket.inbox[..count]);
        socket.inbox.advance(count);
        inner.network.consumed(descriptor, count);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, descriptor: RawFd, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        match inner.write(descriptor, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(socket) = inner.network.sockets.get_mut(&descriptor) {
                    socket.writer = Some(context.waker().clone());
                }
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn try_write(&self, descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(descriptor, bytes)
    }

    fn has_unread(&self, descriptor: RawFd) -> bool {
        let inner = self.0.borrow();
        inner.network.sockets.get(&descriptor).is_some_and(|socket| !socket.inbox.is_empty() || socket.is_ended)
    }

    fn set_silence_max(&self, descriptor: RawFd, span: Duration) {
        if let Some(socket) = self.0.borrow_mut().network.sockets.get_mut(&descriptor) {
            socket.silence_max_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        }
    }

    fn shutdown(&self, descriptor: RawFd, how: Shutdown) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        if let Some(listening) = inner.network.listeners.get_mut(&descriptor) {
            listening.is_closed = true;
            if let Some(waiter) = listening.waiter.take() {
                waiter.wake();
            }
            inner.network.listening_at.retain(|_, listener| *listener != descriptor);
            return Ok(());
        }
        let socket = inner.network.sockets.get_mut(&descriptor).ok_or(io::ErrorKind::NotConnected)?;
        if socket.state != State::Open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            socket.is_read_shut = true;
            socket.wake_reader();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) && !std::mem::replace(&mut socket.is_write_shut, true) {
            socket.wake_writer();
            inner.send(descriptor, Segment::End);
        }
        Ok(())
    }

    fn close(&self, descriptor: RawFd) {
        let mut inner = self.0.borrow_mut();
        if inner.timers.remove(&descriptor).is_some() {
        } else if let Some(listening) = inner.network.listeners.remove(&descriptor) {
            inner.network.listening_at.retain(|_, listener| *listener != descriptor);
            for socket in listening.backlog {
                inner.close_socket(socket);
            }
        } else {
            inner.close_socket(descriptor);
        }
        if let Some(current) = inner.current {
            inner.processes[current.0].descriptors.remove(&descriptor);
        }
    }
}
