//! What is counted of the handshakes of one link or listener, over all cores of a process.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Reason;

/// Counters of one link or listener. A handshake touches them once, so cores share them.
#[derive(Debug, Default)]
pub struct TlsFigures {
    full: AtomicU64,
    resumed: AtomicU64,
    failures: [AtomicU64; Reason::ALL.len()],
    reload_failures: AtomicU64,
    own_expiry: AtomicU64,
    peer_expiry: AtomicU64,
}

impl TlsFigures {
    /// Handshakes with certificates and a key exchange.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Handshakes that went on from an earlier session.
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Handshakes that failed for this reason.
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failures[reason as usize].load(Ordering::Relaxed)
    }

    /// Times that the files could not be read anew, and what was there before stayed.
    pub fn reload_failures(&self) -> u64 {
        self.reload_failures.load(Ordering::Relaxed)
    }

    /// When the certificate that is shown to peers expires, seconds since the Unix epoch; `None` where none is shown.
    pub fn own_expiry(&self) -> Option<u64> {
        Some(self.own_expiry.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }

    /// When the certificate expires that a peer showed last, seconds since the Unix epoch; `None` where none did.
    pub fn peer_expiry(&self) -> Option<u64> {
        Some(self.peer_expiry.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }

    pub(super) fn note_handshake(&self, is_resumed: bool) {
        let counter = if is_resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self, reason: Reason) {
        self.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_reload_failure(&self) {
        self.reload_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_own_expiry(&self, seconds: Option<u64>) {
        self.own_expiry.store(seconds.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn note_peer_expiry(&self, seconds: u64) {
        self.peer_expiry.store(seconds, Ordering::Relaxed);
    }
}
