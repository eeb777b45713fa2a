//! Stand-in: a sale's state.

/// The state of a sale, as `GET /stock` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Units may be sold.
    Open,
    /// Opens later.
    Scheduled,
    /// Not a unit is left.
    SoldOut,
    /// Redis is not the one that opened the sale, or a key is missing: nothing is sold until a rebuild.
    Suspended,
    /// Ended by the operator.
    Closed,
}

impl State {
    /// As the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Scheduled => "scheduled",
            State::SoldOut => "sold_out",
            State::Suspended => "suspended",
            State::Closed => "closed",
        }
    }
}
