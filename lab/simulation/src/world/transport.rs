//! How bytes travel: delays, pieces, arrival, the end of a connection.

use std::io;
use std::os::fd::RawFd;

use bytes::Bytes;

use super::events::Event;
use super::kernel::Inner;
use super::network::{Network, Owner, Segment, State};

/// Microseconds a segment travels at least.
const DELAY_US_MIN: u64 = 20;
/// Most of what is added by chance, as a rule.
const JITTER_US: u64 = 200;
/// And now and then.
const JITTER_US_RARE: u64 = 20_000;
/// How often that is, of a thousand segments.
const RARE_PER_MILLE: u64 = 10;
/// How often a write arrives in two pieces, of a thousand.
const SPLIT_PER_MILLE: u64 = 100;

/// What follows where something has arrived.
pub(super) enum Arrival {
    /// Nothing: who reads it has been woken.
    Done,
    /// This peer has bytes to read at the end where they arrived.
    PeerBytes(usize),
    /// This peer's end of a connection is over.
    PeerEnd(usize, RawFd),
}

impl Inner {
    pub(super) fn delay_us(&mut self) -> u64 {
        let span = if self.random.per_mille(RARE_PER_MILLE) { JITTER_US_RARE } else { JITTER_US };
        DELAY_US_MIN + self.random.below(span)
    }

    /// Sends a segment from this end to the other.
    pub(super) fn send(&mut self, from: RawFd, segment: Segment) {
        let delay = self.delay_us();
        let now = self.now_us;
        let Some(socket) = self.network.sockets.get_mut(&from) else { return };
        let slowed = self.network.links.get(&socket.link).map_or(0, |link| link.slowed_by_us);
        socket.arrives_after_us = socket.arrives_after_us.max(now + delay + slowed);
        let (at, to) = (socket.arrives_after_us, socket.other);
        if let Segment::Data(bytes) = &segment {
            let first = u64::from(bytes.first().copied().unwrap_or(0));
            self.note((bytes.len() as u64) << 8 | first);
        }
        self.events.plan(at, Event::Arrive { at: to, segment });
    }

    /// Sends bytes, sometimes in two pieces.
    pub(super) fn send_data(&mut self, from: RawFd, bytes: &[u8]) {
        if let Some(socket) = self.network.sockets.get_mut(&from) {
            socket.unread_by_other += bytes.len();
        }
        if bytes.len() > 1 && self.random.per_mille(SPLIT_PER_MILLE) {
            let cut = 1 + self.random.below(bytes.len() as u64 - 1) as usize;
            self.send(from, Segment::Data(Bytes::copy_from_slice(&bytes[..cut])));
            self.send(from, Segment::Data(Bytes::copy_from_slice(&bytes[cut..])));
        } else {
            self.send(from, Segment::Data(Bytes::copy_from_slice(bytes)));
        }
    }

    /// Nobody holds this end any more.
    pub(super) fn close_socket(&mut self, descriptor: RawFd) {
        let Some(socket) = self.network.sockets.get_mut(&descriptor) else { return };
        if socket.is_closed {
            return;
        }
        socket.is_closed = true;
        socket.reader = None;
        socket.writer = None;
        let unread = !socket.inbox.is_empty();
        let ended = socket.is_write_shut;
        let (state, discards) = (socket.state, socket.is_outgoing);
        if discards {
            self.network.discard_held(descriptor);
        }
        match state {
            State::Open if unread => self.send(descriptor, Segment::Reset),
            State::Open if !ended => self.send(descriptor, Segment::End),
            _ => {}
        }
        self.network.tidy(descriptor);
    }

    /// A segment has come to this end.
    pub(super) fn arrive(&mut self, at: RawFd, segment: Segment) -> Arrival {
        let Network { sockets, links, .. } = &mut self.network;
        let Some(socket) = sockets.get_mut(&at) else { return Arrival::Done };
        if let Some(link) = links.get_mut(&socket.link).filter(|link| link.is_cut) {
            link.held.push_back((at, segment));
            return Arrival::Done;
        }
        if socket.state != State::Open {
            return Arrival::Done;
        }
        let (owner, other) = (socket.owner, socket.other);
        if socket.is_closed {
            // Nobody is there to read it: its sender is told.
            let Some(sender) = sockets.get_mut(&other).filter(|_| matches!(segment, Segment::Data(_))) else {
                return Arrival::Done;
            };
            let was_open = sender.state == State::Open && !sender.is_closed;
            sender.break_with(io::ErrorKind::ConnectionReset);
            return match sender.owner {
                Owner::Peer(peer) if was_open => Arrival::PeerEnd(peer, other),
                _ => Arrival::Done,
            };
        }
        match segment {
            Segment::Data(bytes) => {
                socket.inbox.extend_from_slice(&bytes);
                socket.wake_reader();
                match owner {
                    Owner::Peer(peer) => Arrival::PeerBytes(peer),
                    Owner::Process(_) => Arrival::Done,
                }
            }
            Segment::End | Segment::Reset => {
                if matches!(segment, Segment::Reset) {
                    socket.break_with(io::ErrorKind::ConnectionReset);
                }
                socket.is_ended = true;
                socket.wake_reader();
                match owner {
                    Owner::Peer(peer) => Arrival::PeerEnd(peer, at),
                    Owner::Process(_) => Arrival::Done,
                }
            }
        }
    }

    pub(super) fn write(&mut self, descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.network.sockets.get(&descriptor).ok_or(io::ErrorKind::NotConnected)?;
        if let State::Broken(error) = socket.state {
            return Err(error.into());
        }
        if socket.is_write_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = socket.room().min(bytes.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Owner::Process(process) = socket.owner {
            self.processes[process.0].writes += 1;
        }
        self.send_data(descriptor, &bytes[..count]);
        Ok(count)
    }
}
