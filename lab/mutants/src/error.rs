//! What can go wrong with the tool itself; never a mutant that is killed.

use std::path::Path;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum MutantsError {
    /// A file or a program could not be read, written or started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// All else.
    #[error("{0}")]
    Other(String),
}

/// Names what was tried with `path`.
pub(crate) fn doing<T>(what: &str, path: &Path, outcome: std::io::Result<T>) -> Result<T, MutantsError> {
    outcome.map_err(|source| MutantsError::Io { what: format!("{what} {}", path.display()), source })
}
