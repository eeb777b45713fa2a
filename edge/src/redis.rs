//! Stand-in: Redis' login.

/// Whom to log in as, and where.
#[derive(Clone, Default)]
pub struct Login {
    /// ACL user; `None` with a password: the default user.
    pub user: Option<String>,
    /// Never shown.
    pub password: Option<String>,
    /// Database number.
    pub database: u32,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("database", &self.database).finish_non_exhaustive()
    }
}

/// Why a connection must be closed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The oldest call has waited for too long.
    #[error("Redis has not answered in time")]
    Overdue,
}
