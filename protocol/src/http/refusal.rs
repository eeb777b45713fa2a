//! Why a message is refused, and the answer that says so.

use super::date::Date;
use super::problem;
use super::response::{self, Persistence};

/// What may be wrong with a message, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    // The head. The connection ends.
    EmptyLines,
    RequestLine,
    LineEnd,
    Version,
    TargetTooLong,
    FieldsTooLarge,
    TooManyFields,
    FieldName,
    FieldValue,
    Head,
    // Where the message ends. The connection ends.
    ContentLength,
    LengthAndCoding,
    CodingInOldVersion,
    TransferEncoding,
    UnknownCoding,
    LengthRequired,
    ContentTooLarge,
    Tunnel,
    // Chunks. The connection ends.
    ChunkSize,
    ChunkExtension,
    ChunkLineTooLong,
    ChunkLineEnd,
    ChunkDataEnd,
    ChunkFramingTooLarge,
    Trailers,
    TrailersTooLarge,
    // All else. The message is read to its end, and the connection goes on.
    Target,
    PercentInPath,
    MissingHost,
    Host,
    RepeatedHost,
    RepeatedContentType,
    RepeatedContentEncoding,
    RepeatedAuthorization,
    RepeatedOrigin,
    RepeatedRequestMethod,
    RepeatedTicket,
    UnknownMethod,
    Expectation,
}

impl Fault {
    /// The status of RFC 9110 and RFC 9112 for it, and the text of the JSON `error`.
    const fn answer(self) -> (u16, &'static str) {
        match self {
            Fault::EmptyLines => (400, "Empty lines before the request line"),
            Fault::RequestLine => (400, "Malformed request line"),
            Fault::LineEnd => (400, "Line not ended by CRLF"),
            Fault::Version => (505, "Unsupported HTTP version"),
            Fault::TargetTooLong => (414, "Request target too long"),
            Fault::FieldsTooLarge => (431, "Header fields too large"),
            Fault::TooManyFields => (431, "Too many header fields"),
            Fault::FieldName => (400, "Malformed header field name"),
            Fault::FieldValue => (400, "Malformed header field value"),
            Fault::Head => (400, "Malformed head"),
            Fault::ContentLength => (400, "Malformed content-length"),
            Fault::LengthAndCoding => (400, "Both content-length and transfer-encoding"),
            Fault::CodingInOldVersion => (400, "No transfer-encoding in HTTP/1.0"),
            Fault::TransferEncoding => (400, "Malformed transfer-encoding"),
            Fault::UnknownCoding => (501, "Unsupported transfer-encoding"),
            Fault::LengthRequired => (411, "Length Required"),
            Fault::ContentTooLarge => (413, "Content Too Large"),
            Fault::Tunnel => (501, "No tunnels here"),
            Fault::ChunkSize => (400, "Malformed chunk size"),
            Fault::ChunkExtension => (400, "Malformed chunk extension"),
            Fault::ChunkLineTooLong => (400, "Chunk size line too long"),
            Fault::ChunkLineEnd => (400, "Chunk line not ended by CRLF"),
            Fault::ChunkDataEnd => (400, "No CRLF after chunk data"),
            Fault::ChunkFramingTooLarge => (413, "Too much chunk framing"),
            Fault::Trailers => (400, "Malformed trailer section"),
            Fault::TrailersTooLarge => (431, "Trailer section too large"),
            Fault::Target => (400, "Malformed request target"),
            Fault::PercentInPath => (400, "Percent sign in path"),
            Fault::MissingHost => (400, "Missing host"),
            Fault::Host => (400, "Malformed host"),
            Fault::RepeatedHost => (400, "More than one host"),
            Fault::RepeatedContentType => (400, "More than one content-type"),
            Fault::RepeatedContentEncoding => (400, "More than one content-encoding"),
            Fault::RepeatedAuthorization => (400, "More than one authorization"),
            Fault::RepeatedOrigin => (400, "More than one origin"),
            Fault::RepeatedRequestMethod => (400, "More than one access-control-request-method"),
            Fault::RepeatedTicket => (400, "More than one x-queue-ticket"),
            Fault::UnknownMethod => (501, "Unknown method"),
            Fault::Expectation => (417, "Expectation Failed"),
        }
    }

    /// The refusal that ends the connection.
    pub(super) fn refusal(self) -> Refusal {
        let (status, error) = self.answer();
        Refusal::closing(status, error)
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
    /// The bytes that the refused message took up: where the connection goes on. Zero where that is not known.
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
    pub fn connection(&self) -> Persistence {
        Persistence::after(self.version_minor, !self.close)
    }

    /// Appends the whole answer: status, `{"error":"…", …}`, `connection: close` where it ends.
    pub fn write(&self, out: &mut Vec<u8>, date: &Date) {
        let body = problem::error(self.status, self.error);
        let fields = [response::JSON, response::NO_STORE];
        response::write(out, self.status, date, &fields, body.as_bytes(), self.connection(), self.head_only);
    }
}
