//! Stand-in: tickets.

/// Whom to answer: a request's place in a connection's burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The connection's place in its core's slab.
    pub conn: u32,
    /// Which of the connections that had this place.
    pub generation: u32,
    /// Which request of the burst.
    pub position: u32,
}
