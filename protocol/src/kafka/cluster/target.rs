//! Whom a request of a cluster's user is for.

use crate::kafka::metadata::NodeId;

/// Which of several connections to the same broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

impl Lane {
    /// Produce, fetch, metadata.
    pub const DATA: Lane = Lane(0);
    /// A group's coordinator: heartbeats must not wait behind a fetch.
    pub const GROUP: Lane = Lane(1);
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker whose connection is ready, the least busy one.
    Any,
    /// The broker with this id, over this lane; see [`Cluster::connect`].
    Node(NodeId, Lane),
}
