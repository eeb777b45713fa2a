//! What comes in, and what it gets at once.

use flux_protocol::http::{Fields, media};

use crate::answer::Answer;

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

impl Role {
    /// Whether pages of the configured origin may read what this listener says of itself, before or without a request
    /// that names an origin. Such an answer holds nothing of any buyer's; a browser compares the one origin it names
    /// with the page's.
    pub(crate) fn is_open_to_scripts(self) -> bool {
        self == Role::Public
    }
}

/// What a request gets at once.
#[derive(Debug)]
pub enum Outcome {
    Now(Answer),
    /// It comes through [`Machine::poll_completion`](crate::core::machine::Machine::poll_completion), exactly once.
    Later,
}

/// A body is JSON and comes as it is (RFC 9110 sections 15.5.16 and 12.5.3).
pub(crate) fn check_content(fields: &Fields<'_>) -> Result<(), Answer> {
    if !fields.content_type.is_none_or(media::is_json) {
        return Err(Answer::error(415, "content-type must be application/json"));
    }
    if !fields.content_encoding.is_none_or(media::is_identity) {
        let refused = Answer::error(415, "content-encoding must be identity");
        return Err(refused.with_field("accept-encoding", "identity"));
    }
    Ok(())
}
