//! One connection of a cluster, from the wish to open it to its end.
//!
//! Never decides what follows from its end.

use super::target::Lane;
use crate::kafka::client::BrokerKey;
use crate::kafka::connection::BrokerConnection;
use crate::kafka::limits::{PROBE_IDLE, SILENCE_MAX};
use crate::kafka::metadata::{Address, NodeId};
use crate::time::Instant;

#[derive(Debug)]
pub(super) enum Purpose<P> {
    Metadata,
    User(P),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Known by its address only.
    Bootstrap,
    Node(NodeId, Lane),
}

#[derive(Debug)]
pub(super) enum Socket<P> {
    Opening { deadline: Instant },
    Open(BrokerConnection<Purpose<P>>),
}

#[derive(Debug)]
pub(super) struct Slot<P> {
    pub(super) key: BrokerKey,
    pub(super) peer: Peer,
    pub(super) address: Address,
    pub(super) socket: Socket<P>,
    /// When bytes came by it last, or it was begun.
    pub(super) heard: Instant,
    /// It was asked for something, a sign of life where there was nothing else, and has said nothing for too long.
    pub(super) is_silent: bool,
}

impl<P> Slot<P> {
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.socket, Socket::Open(connection) if connection.is_ready())
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(&self.socket, Socket::Open(connection) if connection.is_open())
    }

    pub(super) fn in_flight(&self) -> usize {
        match &self.socket {
            Socket::Open(connection) => connection.in_flight(),
            Socket::Opening { .. } => 0,
        }
    }

    /// When a sign of life is to be asked for, or something has been owed for too long; where neither, never.
    pub(super) fn probe_deadline(&self) -> Instant {
        match &self.socket {
            Socket::Open(connection) if connection.is_ready() && !self.is_silent => match connection.owes_since() {
                // An answer to an earlier request is a sign of life, too.
                Some(since) => since.max(self.heard) + SILENCE_MAX,
                None => self.heard + PROBE_IDLE,
            },
            _ => Instant::FAR_FUTURE,
        }
    }

    /// When it is given up, or its login is to be renewed.
    pub(super) fn deadline(&self) -> Instant {
        match &self.socket {
            Socket::Opening { deadline } => *deadline,
            Socket::Open(connection) => connection.deadline().min(connection.next_time()),
        }
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        match &self.socket {
            Socket::Opening { deadline } => *deadline <= now,
            Socket::Open(connection) => connection.deadline() <= now,
        }
    }
}
