//! What can go wrong with the ledger, and what its caller must then believe.

use flux_net::secrets::file::SecretFileError;
use flux_protocol::postgres::{ErrorClass, LoginError, ServerError};

/// `SQLSTATE`s by which a server says that there is nothing it lets us ask (PostgreSQL, appendix A).
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const UNDEFINED_TABLE: &str = "42P01";
const INVALID_SCHEMA_NAME: &str = "3F000";

/// Why a server that is there cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// The login, or a right, or the server is too old.
    Denied,
    /// The ledger's tables are not there.
    NoTables,
}

/// Why the ledger could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No connection. Nothing was done.
    #[error("PostgreSQL at {address} cannot be reached: {source}")]
    Unreachable { address: String, source: std::io::Error },
    /// Connected, but the login was refused. Nothing was done.
    #[error("PostgreSQL at {address} refuses the login of {user}: {source}")]
    Login { address: String, user: String, source: LoginError },
    /// The password file is of no use. Nothing was done.
    #[error("PostgreSQL's passfile: {0}")]
    PassFile(SecretFileError),
    /// The server is older than we can work with. Nothing was done.
    #[error("PostgreSQL {} is too old: 14 or later is needed", .0 / 10_000)]
    TooOld(u32),
    /// The database was migrated by a newer program. Nothing was done.
    #[error("the database's schema is version {found}, this program knows up to {known}: a newer one has migrated it")]
    NewerSchema {
        /// In the database.
        found: i32,
        /// In this program.
        known: i32,
    },
    /// No worker of this version has migrated the database yet.
    #[error(
        "the database's schema is version {found}, this program's is {known}: start a flux-worker of this version, which brings it up \
         to date, and run again"
    )]
    OlderSchema {
        /// In the database.
        found: i32,
        /// In this program.
        known: i32,
    },
    /// The connection is gone. What was asked without a transaction may or may not have been done; an open transaction
    /// whose COMMIT was not sent is undone.
    #[error("the connection to PostgreSQL was lost: {0}")]
    Lost(String),
    /// The server refused a statement. It failed for certain, and its transaction with it.
    #[error("PostgreSQL: {0}")]
    Server(Box<ServerError>),
    /// An answer that does not fit what was asked, or an answer too long to keep.
    #[error("PostgreSQL's answer is not what was asked for: {0}")]
    Unexpected(&'static str),
}

impl LedgerError {
    /// Whether the same may succeed later without an operator mending something.
    pub fn is_retryable(&self) -> bool {
        match self {
            LedgerError::Unreachable { .. } | LedgerError::Lost(_) => true,
            LedgerError::Login { source: LoginError::Refused(error), .. } => is_retryable(error.class()),
            LedgerError::Server(error) => is_retryable(error.class()),
            LedgerError::Login { .. }
            | LedgerError::PassFile(_)
            | LedgerError::TooOld(_)
            | LedgerError::NewerSchema { .. }
            | LedgerError::OlderSchema { .. }
            | LedgerError::Unexpected(_) => false,
        }
    }

    /// Whether the server did not let itself be asked, and why, where waiting does not mend that.
    pub fn unasked(&self) -> Option<Unasked> {
        match self {
            LedgerError::Login { .. } | LedgerError::PassFile(_) | LedgerError::TooOld(_) => Some(Unasked::Denied),
            LedgerError::Server(error) if error.class() == ErrorClass::Login => Some(Unasked::Denied),
            LedgerError::Server(error) => match error.code.as_str() {
                INSUFFICIENT_PRIVILEGE => Some(Unasked::Denied),
                UNDEFINED_TABLE | INVALID_SCHEMA_NAME => Some(Unasked::NoTables),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the disk is full: retried, and an operator should know.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, LedgerError::Server(error) if error.class() == ErrorClass::DiskFull)
    }
}

pub(super) fn is_retryable(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Conflict | ErrorClass::Retryable | ErrorClass::Canceled | ErrorClass::DiskFull => true,
        ErrorClass::Duplicate | ErrorClass::Constraint | ErrorClass::Data | ErrorClass::Login | ErrorClass::Other => {
            false
        }
    }
}

/// Why a batch is not stored, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Hand the same batch in again, after a pause. It remembers what of it is stored and what is in doubt.
    #[error("the batch is to be stored again: {0}")]
    Retry(LedgerError),
    /// The offset does not stand where this worker read it: another one has gone on. Drop the batch, and claim the
    /// partition anew before going on with it. Nothing of it was stored by us but what went before.
    #[error("another worker has taken partition {partition} on from offset {expected}")]
    Fenced {
        partition: i32,
        /// Where it was believed to stand.
        expected: i64,
    },
    /// The tables refuse what they took before: it is no record's fault, and nothing of the batch was set aside for it.
    /// Hand it in again, after pauses that grow, until an operator has mended the tables.
    #[error("the tables refuse every order, so none is set aside: {0}")]
    Systematic(LedgerError),
    /// Nothing that waiting would mend: a missing table, a missing privilege, a bug. Not stored.
    #[error("the batch cannot be stored: {0}")]
    Fatal(LedgerError),
}
