//! What can go wrong in the proving ground, in one line a person can act on.

use std::io;

/// Why something of the lab could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program this machine lacks; the text says which and names the command that installs it.
    #[error("{what} is missing; install it with: {install}")]
    Missing {
        /// What is missing, and where it was looked for.
        what: String,
        /// The command that brings it.
        install: String,
    },
    /// Something was tried and did not work; the text says what, and shows the end of its log where there is one.
    #[error("{0}")]
    Failed(String),
    /// A server is up but not ready for this yet; the same again may work in a moment. Nothing was changed.
    #[error("{0}")]
    NotYet(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl LabError {
    /// A failure described by `text`.
    pub fn failed(text: impl Into<String>) -> LabError {
        LabError::Failed(text.into())
    }
}

/// Adds what was being done to an error of the operating system.
pub trait Doing<T> {
    /// `self`, its error told with `doing`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io { doing: doing(), source })
    }
}

impl<T> Doing<T> for Result<T, redis::RedisError> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::Failed(format!("{}: Redis: {error}", doing())))
    }
}

impl<T> Doing<T> for Result<T, postgres::Error> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, LabError> {
        // The crate's own text is only "db error"; what the server said is in its source.
        self.map_err(|error| match error.as_db_error() {
            Some(said) => LabError::Failed(format!("{}: PostgreSQL: {said}", doing())),
            None => LabError::Failed(format!("{}: PostgreSQL: {error}", doing())),
        })
    }
}
