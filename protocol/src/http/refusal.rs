//! Why a message is refused, and the answer that says so.

use super::{Connection, Date, response};

/// One reason to refuse a message: a status of RFC 9110 and the text of the JSON `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) error: &'static str,
}

impl Fault {
    pub(super) const fn new(status: u16, error: &'static str) -> Fault {
        Fault { status, error }
    }
}

/// An HTTP message that is not served. Nothing was done on its behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// What was wrong, for the JSON `error`: ASCII, nothing to escape, never a byte of the message.
    pub error: &'static str,
    /// Whether the connection ends here: its framing can no longer be trusted, or the client asked for it.
    pub close: bool,
    /// Where the connection goes on: the bytes that the refused message took up. Zero where it ends.
    pub consumed: usize,
    /// Whether the answer goes without its body: the request was a `HEAD`.
    pub head_only: bool,
    /// The minor version of the request, 1 where it is not known.
    pub version_minor: u8,
}

impl Refusal {
    /// The client took too long over its request (RFC 9110 section 15.5.9). For the caller's timeouts.
    pub const TIMEOUT: Refusal = Refusal::closing(408, "Request Timeout");

    /// A refusal that ends the connection.
    pub const fn closing(status: u16, error: &'static str) -> Refusal {
        Refusal { status, error, close: true, consumed: 0, head_only: false, version_minor: 1 }
    }

    /// What the answer has to say about the connection.
    pub fn connection(&self) -> Connection {
        Connection::after(self.version_minor, !self.close)
    }

    /// Appends the whole answer: status, `{"error":"…"}`, `connection: close` where it ends.
    pub fn write(&self, out: &mut Vec<u8>, date: &Date) {
        debug_assert!(self.error.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')));
        let body = [b"{\"error\":\"", self.error.as_bytes(), b"\"}"];
        response::write_parts(
            out,
            self.status,
            date,
            &[response::JSON, response::NO_STORE],
            &body,
            self.connection(),
            self.head_only,
        );
    }
}
