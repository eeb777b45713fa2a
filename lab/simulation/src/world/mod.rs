//! A world under virtual time: processes that run the real programs, fake servers, a network between them, one seed.
//!
//! ```text
//!  process (tasks over flux_net) ──▶ kernel ──▶ network ──▶ peer (pure: bytes and time in, bytes out)
//!                                       ▲            │
//!                                       └── events, in order of virtual time ──┘
//! ```
//!
//! Nothing happens between two events: time passes only from one to the next. What chance decides (delays, pieces,
//! the processes' own draws) comes from the seed, so a run is repeated by its number alone; [`World::trace`] tells
//! whether two runs were the same. Faults (`faults`) are its methods; when they happen is the scenario's matter.

mod events;
mod faults;
mod kernel;
mod network;
mod process;
mod transport;

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flux_net::simulated::{Installed, Task, install};
use flux_protocol::time::Now;

use crate::peer::{Peer, SocketId};
use crate::random::Random;
use events::Event;
use kernel::{Inner, Kernel};
use network::{Owner, Segment, Socket, State};
pub use process::ProcessId;
use transport::Arrival;

/// Turns of one process without time passing, after which it is said to spin: a real one would burn its core.
const TURNS_WITHOUT_TIME_MAX: u32 = 100_000;

struct PeerPlace {
    host: String,
    peer: Rc<RefCell<dyn Peer>>,
    /// When its next deadline is planned for.
    planned_us: u64,
}

/// See the module.
pub struct World {
    kernel: Rc<Kernel>,
    peers: Vec<PeerPlace>,
    _installed: Installed,
}

impl World {
    /// An empty one that begins at `epoch_ms`, milliseconds since the Unix epoch. One a thread.
    pub fn new(random: Random, epoch_ms: u64) -> World {
        let kernel = Rc::new(Kernel(RefCell::new(Inner::new(random, epoch_ms))));
        let _installed = install(Rc::clone(&kernel) as Rc<dyn flux_net::simulated::Host>);
        World { kernel, peers: Vec::new(), _installed }
    }

    /// Puts a server into the network; it is reached by `host`.
    pub fn add_peer(&mut self, host: &str, peer: Rc<RefCell<dyn Peer>>) {
        self.peers.push(PeerPlace { host: host.to_owned(), peer, planned_us: u64::MAX });
        self.plan_peer(self.peers.len() - 1);
    }

    /// Starts a process. `start` is run as its task and gives its main futures; what it listens on is reached by `name`.
    pub fn start(&mut self, name: &str, start: impl FnOnce() -> Vec<Task>) -> ProcessId {
        let id = {
            let inner = &mut *self.kernel.0.borrow_mut();
            let random = inner.random.fork();
            inner.alive.push(inner.processes.len());
            inner.processes.push(process::Process::new(name, random));
            ProcessId(inner.processes.len() - 1)
        };
        for main in self.as_process(id, start) {
            self.kernel.0.borrow_mut().processes[id.0].add(main, true);
        }
        id
    }

    /// Runs something in the name of a process.
    fn as_process<R>(&self, id: ProcessId, run: impl FnOnce() -> R) -> R {
        self.kernel.0.borrow_mut().current = Some(id);
        let result = run();
        self.kernel.0.borrow_mut().current = None;
        result
    }

    /// Virtual time since the world began, and the true wall clock.
    pub fn now(&self) -> Now {
        self.kernel.0.borrow().now(0)
    }

    /// A running sum of what was sent and when.
    pub fn trace(&self) -> u64 {
        self.kernel.0.borrow().trace
    }

    /// Whether the process runs still (it may be paused).
    pub fn is_alive(&self, id: ProcessId) -> bool {
        self.kernel.0.borrow().processes[id.0].is_alive
    }

    /// How often a process has written to its sockets.
    pub fn writes(&self, id: ProcessId) -> u64 {
        self.kernel.0.borrow().processes[id.0].writes
    }

    /// Descriptors that a process holds.
    pub fn descriptors(&self, id: ProcessId) -> usize {
        self.kernel.0.borrow().processes[id.0].descriptors.len()
    }

    // Time.

    /// Lets so much time pass.
    pub fn run_for(&mut self, span: Duration) {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let end = self.kernel.0.borrow().now_us.saturating_add(span);
        self.run_until(end, || false);
    }

    /// Lets time pass until `is_done`, which is asked after every event, but no longer than `span`. Whether it was done.
    pub fn run_while_not(&mut self, span: Duration, mut is_done: impl FnMut() -> bool) -> bool {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let end = self.kernel.0.borrow().now_us.saturating_add(span);
        self.run_until(end, &mut is_done)
    }

    fn run_until(&mut self, end_us: u64, mut is_done: impl FnMut() -> bool) -> bool {
        loop {
            self.run_ready();
            if is_done() {
                return true;
            }
            let next = self.kernel.0.borrow().events.next_at();
            match next {
                Some(at) if at <= end_us => self.happen(),
                _ => {
                    let inner = &mut *self.kernel.0.borrow_mut();
                    inner.now_us = inner.now_us.max(end_us);
                    return false;
                }
            }
        }
    }

    fn happen(&mut self) {
        let event = {
            let inner = &mut *self.kernel.0.borrow_mut();
            let (at, event) = inner.events.pop().expect("one was seen just now");
            inner.now_us = inner.now_us.max(at);
            event
        };
        match event {
            Event::Connect { socket, port, host } => self.connect(socket, port, &host),
            Event::Arrive { at, segment } => self.arrive(at, segment),
            Event::Timer { timer, setting } => {
                let inner = &mut *self.kernel.0.borrow_mut();
                if let Some(timer) = inner.timers.get_mut(&timer).filter(|timer| timer.settings == setting) {
                    timer.has_fired = true;
                    if let Some(waiter) = timer.waiter.take() {
                        waiter.wake();
                    }
                }
            }
            Event::Peer { peer, asked_for_us } => {
                if self.peers[peer].planned_us == asked_for_us {
                    self.peers[peer].planned_us = u64::MAX;
                    let now = self.now();
                    self.peers[peer].peer.borrow_mut().handle_time(now);
                    self.let_speak(peer);
                }
            }
            Event::Silence { socket, link, cut } => {
                let inner = &mut *self.kernel.0.borrow_mut();
                let network = &mut inner.network;
                let is_cut = network.links.get(&link).is_some_and(|now| now.is_cut && now.cuts == cut);
                let Some(end) = network.sockets.get_mut(&socket).filter(|_| is_cut) else { return };
                end.break_with(io::ErrorKind::TimedOut);
                let other = end.other;
                network.discard_held(socket);
                if let Some(Owner::Peer(peer)) = network.sockets.get(&other).map(|end| end.owner)
                    && let Some(span) = self.peers[peer].peer.borrow().silence_max(id(other))
                {
                    let at_us = inner.now_us + u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
                    inner.events.plan(at_us, Event::Unheard { socket: other });
                }
            }
            Event::Unheard { socket } => {
                let now = self.now();
                let owner = self.kernel.0.borrow_mut().network.sockets.get_mut(&socket).map(|end| {
                    end.break_with(io::ErrorKind::TimedOut);
                    end.owner
                });
                if let Some(Owner::Peer(peer)) = owner {
                    self.peers[peer].peer.borrow_mut().handle_closed(now, id(socket));
                    self.let_speak(peer);
                }
            }
        }
    }

    // The network.

    fn connect(&mut self, descriptor: RawFd, port: u16, host: &str) {
        let now = self.now();
        let place = self.peers.iter().position(|place| place.host == host);
        let accepted = {
            let inner = &mut *self.kernel.0.borrow_mut();
            let Some(socket) = inner.network.sockets.get(&descriptor).filter(|socket| !socket.is_closed) else {
                return;
            };
            let link = socket.link.clone();
            if inner.network.links.get(&link).is_some_and(|link| link.is_cut) {
                return; // No answer at all: whoever waits has a limit of his own.
            }
            let listener = inner.network.listening_at.get(&format!("{host}:{port}")).copied();
            let owner = match (place, listener) {
                (Some(place), _) if self.peers[place].peer.borrow().is_listening(port) => Some(Owner::Peer(place)),
                (_, Some(listener)) => inner.network.listeners.get(&listener).map(|one| Owner::Process(one.owner)),
                _ => None,
            };
            match owner {
                None => {
                    let socket = inner.network.sockets.get_mut(&descriptor).expect("it was there just now");
                    socket.break_with(io::ErrorKind::ConnectionRefused);
                    return;
                }
                Some(owner) => {
                    let other = inner.nobodys_descriptor();
                    inner.network.sockets.insert(other, Socket::new(owner, descriptor, link, State::Open));
                    let socket = inner.network.sockets.get_mut(&descriptor).expect("it was there just now");
                    socket.state = State::Open;
                    socket.other = other;
                    socket.wake_reader();
                    if let (Owner::Process(_), Some(listener)) = (owner, listener)
                        && let Some(listening) = inner.network.listeners.get_mut(&listener)
                    {
                        listening.backlog.push_back(other);
                        if let Some(waiter) = listening.waiter.take() {
                            waiter.wake();
                        }
                    }
                    (owner, other)
                }
            }
        };
        if let (Owner::Peer(peer), other) = accepted {
            self.peers[peer].peer.borrow_mut().handle_open(now, id(other), port);
            self.let_speak(peer);
        }
    }

    fn arrive(&mut self, at: RawFd, segment: Segment) {
        let arrival = self.kernel.0.borrow_mut().arrive(at, segment);
        match arrival {
            Arrival::Done => {}
            Arrival::PeerBytes(peer) => self.hand_over(peer, at),
            Arrival::PeerEnd(peer, descriptor) => {
                let now = self.now();
                self.peers[peer].peer.borrow_mut().handle_closed(now, id(descriptor));
                self.kernel.0.borrow_mut().close_socket(descriptor);
                self.let_speak(peer);
            }
        }
    }

    /// Gives a peer what has arrived and it has not consumed.
    fn hand_over(&mut self, peer: usize, at: RawFd) {
        let now = self.now();
        let mut inbox = {
            let inner = &mut *self.kernel.0.borrow_mut();
            let Some(socket) = inner.network.sockets.get_mut(&at) else { return };
            std::mem::take(&mut socket.inbox)
        };
        let before = inbox.len();
        self.peers[peer].peer.borrow_mut().handle_bytes(now, id(at), &mut inbox);
        {
            let inner = &mut *self.kernel.0.borrow_mut();
            inner.network.consumed(at, before - inbox.len());
            if let Some(socket) = inner.network.sockets.get_mut(&at) {
                socket.inbox = inbox;
            }
        }
        self.let_speak(peer);
    }

    /// Sends what a peer has to say, closes what it closes, and plans its next deadline.
    fn let_speak(&mut self, peer: usize) {
        let server = Rc::clone(&self.peers[peer].peer);
        loop {
            let said = server.borrow_mut().poll_write();
            let Some((socket, bytes)) = said else { break };
            let inner = &mut *self.kernel.0.borrow_mut();
            if inner.network.sockets.get(&descriptor_of(socket)).is_some_and(|socket| !socket.is_closed) {
                inner.send_data(descriptor_of(socket), &bytes);
            }
        }
        loop {
            let closed = server.borrow_mut().poll_close();
            let Some(socket) = closed else { break };
            self.kernel.0.borrow_mut().close_socket(descriptor_of(socket));
        }
        self.plan_peer(peer);
    }

    fn plan_peer(&mut self, peer: usize) {
        let place = &mut self.peers[peer];
        let due_us = place.peer.borrow().next_deadline().as_micros();
        if due_us == u64::MAX || place.planned_us <= due_us {
            return;
        }
        let inner = &mut *self.kernel.0.borrow_mut();
        let at = due_us.max(inner.now_us);
        place.planned_us = due_us;
        inner.events.plan(at, Event::Peer { peer, asked_for_us: due_us });
    }

    // Processes.

    fn run_ready(&mut self) {
        let mut turns = 0;
        loop {
            let ready = self.kernel.0.borrow().first_ready();
            let Some(process) = ready else { return };
            turns += 1;
            assert!(turns < TURNS_WITHOUT_TIME_MAX, "process {process} spins: it never waits for anything");
            self.turn(ProcessId(process));
        }
    }

    /// Runs what is ready in a process, and its main futures when nothing else is.
    fn turn(&mut self, id: ProcessId) {
        let (tasks, mains) = self.kernel.0.borrow_mut().processes[id.0].take_ready();
        for task in tasks {
            self.poll(id, task);
        }
        let more_first = self.kernel.0.borrow().processes[id.0].is_ready();
        for main in mains {
            if more_first {
                self.kernel.0.borrow_mut().processes[id.0].put_off(main);
            } else {
                self.poll(id, main);
            }
        }
    }

    fn poll(&mut self, id: ProcessId, index: usize) {
        let taken = {
            let process = &mut self.kernel.0.borrow_mut().processes[id.0];
            if process.is_alive { process.take(index) } else { None }
        };
        let Some((mut task, waker)) = taken else { return };
        let waker = Waker::from(waker);
        let ended = self.as_process(id, || match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Some(task),
            Poll::Ready(()) => None, // Dropped here, where its descriptors are this process'.
        });
        let was_last = self.kernel.0.borrow_mut().processes[id.0].put_back(index, ended);
        if was_last {
            self.kill(id); // Its main futures have ended: the program returns.
        }
    }
}

impl Drop for World {
    /// Ends the processes while their kernel is still there: what they hold is given back to it.
    fn drop(&mut self) {
        let processes = self.kernel.0.borrow().processes.len();
        (0..processes).for_each(|process| self.kill(ProcessId(process)));
    }
}

fn id(descriptor: RawFd) -> SocketId {
    SocketId(u64::try_from(descriptor).expect("descriptors count up from 0"))
}

fn descriptor_of(socket: SocketId) -> RawFd {
    RawFd::try_from(socket.0).expect("it was a descriptor")
}
