//! What is to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::RawFd;

use super::network::{LinkName, Segment};

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A connect arrives where it was addressed to.
    Connect { socket: RawFd, port: u16, host: String },
    /// A segment arrives at this end.
    Arrive { at: RawFd, segment: Segment },
    /// A process' timer, as it was set for the nth time.
    Timer { timer: RawFd, setting: u64 },
    /// A peer's deadline.
    Peer { peer: usize, asked_for_us: u64 },
    /// The link of this connection has been cut for as long as its kernel bears it.
    Silence { socket: RawFd, link: LinkName, cut: u64 },
    /// A peer's kernel has heard nothing more of this connection, whose other end is gone, for as long as it bears it.
    Unheard { socket: RawFd },
}

struct Due {
    at_us: u64,
    /// Events of one instant happen in the order in which they were planned.
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at_us, self.number) == (other.at_us, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

#[derive(Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<Due>>,
    planned: u64,
}

impl Events {
    pub(super) fn plan(&mut self, at_us: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Reverse(Due { at_us, number: self.planned, event }));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|due| due.0.at_us)
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|due| (due.0.at_us, due.0.event))
    }
}
