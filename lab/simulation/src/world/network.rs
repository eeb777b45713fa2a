//! The simulated network: connections as two ends with segments on their way between them.
//!
//! Within a connection bytes keep their order; between connections nothing does. A link is the way between one process
//! and one address; it can be cut (segments wait, as they do for TCP's retransmission) and slowed. Never looks at a byte.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use flux_net::limits::PEER_SILENCE_MAX;

use super::process::ProcessId;

/// Bytes that may be on their way or unread in one direction before a writer has to wait.
pub(super) const WINDOW_BYTES: usize = 128 << 10;

/// Whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Process(ProcessId),
    /// The peer's place in the world's list.
    Peer(usize),
}

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Open,
    /// No more comes or goes; reading and writing fail with this.
    Broken(io::ErrorKind),
}

/// Names a link: who connected, and to where.
pub(super) type LinkName = (String, String);

/// One end of a connection.
pub(super) struct Socket {
    pub(super) owner: Owner,
    pub(super) other: RawFd,
    pub(super) link: LinkName,
    pub(super) state: State,
    pub(super) inbox: BytesMut,
    /// The other end sends no more.
    pub(super) is_ended: bool,
    /// This end sends no more.
    pub(super) is_write_shut: bool,
    /// This end reads no more.
    pub(super) is_read_shut: bool,
    /// This end asked for the connection. Where it closes, what has not left is discarded, as `flux_net` sets it.
    pub(super) is_outgoing: bool,
    /// Nobody holds it.
    pub(super) is_closed: bool,
    /// Written by this end and not read by the other.
    pub(super) unread_by_other: usize,
    /// How long the other end may acknowledge nothing, µs.
    pub(super) silence_max_us: u64,
    /// Nothing sent by this end may arrive before what it sent earlier.
    pub(super) arrives_after_us: u64,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Socket {
    pub(super) fn new(owner: Owner, other: RawFd, link: LinkName, state: State) -> Socket {
        Socket {
            owner,
            other,
            link,
            state,
            inbox: BytesMut::new(),
            is_ended: false,
            is_write_shut: false,
            is_read_shut: false,
            is_outgoing: false,
            is_closed: false,
            unread_by_other: 0,
            silence_max_us: PEER_SILENCE_MAX.as_micros() as u64,
            arrives_after_us: 0,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_all(&mut self) {
        self.wake_reader();
        self.wake_writer();
    }

    /// Ends it with an error.
    pub(super) fn break_with(&mut self, error: io::ErrorKind) {
        if !matches!(self.state, State::Broken(_)) {
            self.state = State::Broken(error);
            self.wake_all();
        }
    }

    /// How much this end may write now.
    pub(super) fn room(&self) -> usize {
        WINDOW_BYTES.saturating_sub(self.unread_by_other)
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Data(Bytes),
    /// The sender sends no more.
    End,
    /// The connection is over for both.
    Reset,
}

/// The way between a process and an address.
#[derive(Default)]
pub(super) struct Link {
    /// Counted up by each cut, so that a cut that was mended is told from a later one.
    pub(super) cuts: u64,
    pub(super) is_cut: bool,
    pub(super) slowed_by_us: u64,
    /// What waits for the link to be mended, in order.
    pub(super) held: VecDeque<(RawFd, Segment)>,
}

/// A listening process.
pub(super) struct Listening {
    pub(super) owner: ProcessId,
    pub(super) backlog: VecDeque<RawFd>,
    pub(super) is_closed: bool,
    pub(super) waiter: Option<Waker>,
}

/// All of it.
#[derive(Default)]
pub(super) struct Network {
    pub(super) sockets: BTreeMap<RawFd, Socket>,
    pub(super) links: BTreeMap<LinkName, Link>,
    pub(super) listeners: BTreeMap<RawFd, Listening>,
    /// By `host:port`.
    pub(super) listening_at: BTreeMap<String, RawFd>,
}

impl Network {
    /// A kernel gives up what it holds of this end's bytes (SO_LINGER of 0, a user timeout): they never arrive.
    pub(super) fn discard_held(&mut self, sender: RawFd) {
        let Some(socket) = self.sockets.get(&sender) else { return };
        if let Some(link) = self.links.get_mut(&socket.link) {
            link.held.retain(|(at, _)| *at != socket.other);
        }
    }

    /// Marks `count` bytes as read that `reader` had in its inbox.
    pub(super) fn consumed(&mut self, reader: RawFd, count: usize) {
        let Some(other) = self.sockets.get(&reader).map(|socket| socket.other) else { return };
        if let Some(writer) = self.sockets.get_mut(&other) {
            writer.unread_by_other = writer.unread_by_other.saturating_sub(count);
            if writer.room() > 0 {
                writer.wake_writer();
            }
        }
    }

    /// Forgets a connection of which both ends are closed.
    pub(super) fn tidy(&mut self, descriptor: RawFd) {
        let Some(socket) = self.sockets.get(&descriptor) else { return };
        let other = socket.other;
        if socket.is_closed && self.sockets.get(&other).is_none_or(|socket| socket.is_closed) {
            self.sockets.remove(&descriptor);
            self.sockets.remove(&other);
        }
    }
}
