//! Which connections are to exist, and when each may be tried again.
//!
//! Never opens one: whether it exists already, and where its broker listens, is not known here.

use std::time::Duration;

use super::slot::Peer;
use super::target::Lane;
use crate::kafka::backoff::{SplitMix64, backoff};
use crate::kafka::metadata::{Address, NodeId};
use crate::time::Instant;

/// A connection that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) peer: Peer,
    pub(super) not_before: Instant,
    failures: u32,
}

/// The start, and the way back in when all that is known is out of reach.
#[derive(Debug)]
pub(super) struct Bootstrap {
    brokers: Vec<(String, u16)>,
    next: usize,
    kept: Kept,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) kept: Vec<Kept>,
    pub(super) bootstrap: Bootstrap,
}

impl Kept {
    fn new(peer: Peer, now: Instant) -> Kept {
        Kept { peer, not_before: now, failures: 0 }
    }
}

impl Bootstrap {
    pub(super) fn not_before(&self) -> Instant {
        self.kept.not_before
    }

    /// Whether the broker whose turn it is listens at `address`.
    pub(super) fn is_next(&self, address: &Address) -> bool {
        let (host, port) = &self.brokers[self.next];
        address.host == *host && address.port == *port
    }

    /// The broker whose turn it is; then it is the next one's.
    pub(super) fn take_next(&mut self) -> Address {
        let (host, port) = self.brokers[self.next].clone();
        self.skip();
        Address { host, port }
    }

    pub(super) fn skip(&mut self) {
        self.next = (self.next + 1) % self.brokers.len();
    }
}

impl Wanted {
    /// Only a way in is wanted; the first broker is drawn.
    ///
    /// # Panics
    /// Where there is no broker.
    pub(super) fn new(brokers: Vec<(String, u16)>, now: Instant, random: &mut SplitMix64) -> Wanted {
        assert!(!brokers.is_empty(), "no bootstrap broker");
        let next = random.below(brokers.len() as u64) as usize;
        Wanted { kept: Vec::new(), bootstrap: Bootstrap { brokers, next, kept: Kept::new(Peer::Bootstrap, now) } }
    }

    /// `false`: it was wanted before.
    pub(super) fn add(&mut self, now: Instant, peer: Peer) -> bool {
        let is_new = !self.kept.iter().any(|kept| kept.peer == peer);
        if is_new {
            self.kept.push(Kept::new(peer, now));
        }
        is_new
    }

    pub(super) fn remove(&mut self, peer: Peer) {
        self.kept.retain(|kept| kept.peer != peer);
    }

    /// Nodes to which a connection is wanted, and over which lane.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (NodeId, Lane)> {
        self.kept.iter().filter_map(|kept| match kept.peer {
            Peer::Node(node, lane) => Some((node, lane)),
            Peer::Bootstrap => None,
        })
    }

    /// A connection has become ready.
    pub(super) fn note_ready(&mut self, peer: Peer) {
        if let Some(kept) = self.find(peer) {
            kept.failures = 0;
        }
    }

    /// A connection has ended by no wish of ours: waits before the next attempt, and by `longer` besides.
    pub(super) fn note_failure(&mut self, now: Instant, peer: Peer, longer: Duration, random: &mut SplitMix64) {
        // The bootstrap list is gone through once before the wait grows.
        let attempts_a_round = if peer == Peer::Bootstrap { self.bootstrap.brokers.len() as u32 } else { 1 };
        if let Some(kept) = self.find(peer) {
            kept.failures = kept.failures.saturating_add(1);
            kept.not_before = now + backoff(kept.failures.div_ceil(attempts_a_round), random) + longer;
        }
    }

    fn find(&mut self, peer: Peer) -> Option<&mut Kept> {
        match peer {
            Peer::Bootstrap => Some(&mut self.bootstrap.kept),
            Peer::Node(..) => self.kept.iter_mut().find(|kept| kept.peer == peer),
        }
    }
}
