//! The document of `GET /queue` as a core last learnt it, and who waits for the next (`reads/queue_document.rs` asks for it).

use bytes::Bytes;
use flux_protocol::time::Instant;

use crate::answer::ReplyTo;

/// The document of one product, as one core last learnt it.
#[derive(Debug, Default)]
pub struct QueueDocument {
    /// And when it was asked for.
    pub(crate) told: Option<(Instant, Bytes)>,
    /// The question on its way was asked then.
    pub(crate) asked: Option<Instant>,
    /// Requests that wait for it, and when each came.
    pub(crate) waiters: Vec<(Instant, ReplyTo)>,
}

impl QueueDocument {
    /// Whether no request waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_none() && self.waiters.is_empty()
    }

    /// The sale is another: what was told of the one before is not given away any more.
    pub(crate) fn forget(&mut self) {
        self.told = None;
    }
}
