//! Stand-in: which listener.

/// Which listener a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Buyers.
    Public,
    /// The operator.
    Admin,
    /// The waiting room's page.
    WaitingRoom,
}
