//! What can happen to processes and to the ways between them.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use super::events::Event;
use super::kernel::Kernel;
use super::network::{Owner, State};
use super::process::ProcessId;
use super::{World, id};

impl World {
    /// SIGKILL: nothing of it runs any more; what it wrote is on its way still.
    pub fn kill(&mut self, id: ProcessId) {
        let tasks = {
            let inner = &mut *self.kernel.0.borrow_mut();
            inner.alive.retain(|process| *process != id.0);
            inner.processes[id.0].end()
        };
        self.as_process(id, || drop(tasks));
        let inner = &mut *self.kernel.0.borrow_mut();
        // What was held by no task: connections in a backlog.
        let left = std::mem::take(&mut inner.processes[id.0].descriptors);
        left.into_iter().for_each(|descriptor| inner.close_socket(descriptor));
    }

    /// Kills a process when it has written so many times to its sockets, or when `is_due` says so after some event; lets time
    /// pass until then, but no longer than `longest`. False: it had ended before, or has not come so far.
    pub fn kill_when(&mut self, process: ProcessId, longest: Duration, mut is_due: impl FnMut(u64) -> bool) -> bool {
        let kernel = Rc::clone(&self.kernel);
        let look = |kernel: &Kernel| {
            let process = &kernel.0.borrow().processes[process.0];
            (process.is_alive, process.writes)
        };
        self.run_while_not(longest, || {
            let (is_alive, writes) = look(&kernel);
            !is_alive || is_due(writes)
        });
        let (is_alive, writes) = look(&kernel);
        let is_met = is_alive && is_due(writes);
        if is_met {
            self.kill(process);
        }
        is_met
    }

    /// Lets time pass until a process has written so many times to its sockets in all, or has ended, but no longer than `longest`.
    pub fn await_writes(&mut self, process: ProcessId, writes: u64, longest: Duration) {
        let kernel = Rc::clone(&self.kernel);
        self.run_while_not(longest, || {
            let process = &kernel.0.borrow().processes[process.0];
            !process.is_alive || process.writes >= writes
        });
    }

    /// SIGSTOP, or with `false` SIGCONT. Its kernel goes on taking what comes.
    pub fn pause(&mut self, id: ProcessId, is_paused: bool) {
        self.kernel.0.borrow_mut().processes[id.0].is_paused = is_paused;
    }

    /// Sets a process' wall clock so far from the true one.
    pub fn set_wall_offset(&mut self, id: ProcessId, offset_ms: i64) {
        self.kernel.0.borrow_mut().processes[id.0].wall_offset_ms = offset_ms;
    }

    /// Cuts the way from a process (by name) to `host:port`: what is sent waits, and where it waits for long the
    /// process' kernel gives its connections up.
    pub fn cut(&mut self, from: &str, to: &str) {
        let inner = &mut *self.kernel.0.borrow_mut();
        let name = (from.to_owned(), to.to_owned());
        let link = inner.network.links.entry(name.clone()).or_default();
        if link.is_cut {
            return;
        }
        link.is_cut = true;
        link.cuts += 1;
        let cut = link.cuts;
        let ends = inner.network.sockets.iter();
        for (socket, end) in ends.filter(|(_, end)| end.link == name && matches!(end.owner, Owner::Process(_))) {
            let event = Event::Silence { socket: *socket, link: name.clone(), cut };
            inner.events.plan(inner.now_us + end.silence_max_us, event);
        }
    }

    /// Mends a cut: what waited arrives.
    pub fn mend(&mut self, from: &str, to: &str) {
        let inner = &mut *self.kernel.0.borrow_mut();
        let Some(link) = inner.network.links.get_mut(&(from.to_owned(), to.to_owned())) else { return };
        link.is_cut = false;
        let now = inner.now_us;
        for (at, segment) in link.held.drain(..) {
            inner.events.plan(now, Event::Arrive { at, segment });
        }
    }

    /// Makes everything between them take so much longer.
    pub fn slow(&mut self, from: &str, to: &str, by: Duration) {
        let inner = &mut *self.kernel.0.borrow_mut();
        let link = inner.network.links.entry((from.to_owned(), to.to_owned())).or_default();
        link.slowed_by_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    }

    /// Resets every connection between them; what is on its way is lost, in both directions.
    pub fn reset(&mut self, from: &str, to: &str) {
        let (broken, peers) = {
            let inner = &mut *self.kernel.0.borrow_mut();
            let sockets = &mut inner.network.sockets;
            let hit: Vec<_> = sockets
                .iter_mut()
                .filter(|(_, socket)| socket.link.0 == from && socket.link.1 == to && socket.state == State::Open)
                .collect();
            let mut peers = Vec::new();
            let broken = hit.len();
            for (descriptor, socket) in hit {
                socket.inbox.clear();
                socket.break_with(io::ErrorKind::ConnectionReset);
                if let Owner::Peer(peer) = socket.owner {
                    peers.push((peer, *descriptor));
                }
            }
            (broken, peers)
        };
        let now = self.now();
        for (peer, descriptor) in peers {
            self.peers[peer].peer.borrow_mut().handle_closed(now, id(descriptor));
            self.let_speak(peer);
        }
        self.kernel.0.borrow_mut().note(broken as u64);
    }

    /// Something was done to a peer from outside: lets it go on with what lies in its sockets, and say what follows.
    pub fn stir(&mut self, host: &str) {
        for peer in 0..self.peers.len() {
            if self.peers[peer].host != host {
                continue;
            }
            let unread: Vec<RawFd> = {
                let inner = self.kernel.0.borrow();
                let unread = inner.network.sockets.iter().filter(|(_, socket)| {
                    socket.owner == Owner::Peer(peer) && !socket.is_closed && !socket.inbox.is_empty()
                });
                unread.map(|(descriptor, _)| *descriptor).collect()
            };
            self.let_speak(peer);
            unread.into_iter().for_each(|at| self.hand_over(peer, at));
        }
    }
}
