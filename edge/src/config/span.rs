//! How a span of time is written in a flag.

use std::time::Duration;

/// The span that `text` says: a number and its unit, several of them added up.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be a span such as 500ms, 2s or 24h".into())
}
