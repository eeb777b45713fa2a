//! How large a request may be. Every bound has its reason beside it; together they bound the buffer of a connection.

/// Most header fields any [`Limits`] may allow: the size of the array they are parsed into, on the stack.
pub(super) const FIELDS_MAX: usize = 64;
/// Most empty lines passed over before a request line. RFC 9112 section 2.2 wants at least one; some old clients
/// end a body with a CRLF too many. Endless ones would be work without a request.
pub(super) const BLANK_LINES_MAX: usize = 2;
/// What stands in a request line beside its target: the longest method we know, two spaces, version, CRLF.
pub(super) const REQUEST_LINE_REST_BYTES_MAX: usize = "OPTIONS".len() + 2 + "HTTP/1.1\r\n".len();
/// Longest chunk-size line, extensions and CRLF included. We act on no extension.
pub(super) const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most hexadecimal digits of a chunk size that we take: enough for any 32-bit size, and no room for a long run of zeros, which others
/// may read otherwise.
pub(super) const CHUNK_SIZE_DIGITS_MAX: usize = 8;

/// Bounds on one request, in bytes and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request line, header fields and the empty lines around them. Beyond: 431, or 414 where the request line alone
    /// is longer.
    pub head_bytes_max: usize,
    /// Header fields; at most 64. Beyond: 431.
    pub fields_max: usize,
    /// Content, without its chunk framing. Beyond: 413.
    pub body_bytes_max: usize,
    /// Request target. RFC 9112 section 3 recommends that request lines of 8,000 bytes are read. Beyond: 414.
    pub target_bytes_max: usize,
    /// All that a chunked body adds to its content: size lines, CRLFs, trailer section. Beyond: 413 (trailers: 431).
    pub chunk_framing_bytes_max: usize,
}

impl Limits {
    /// What the public listener reads: an order is some 300 bytes of head and 60 of body.
    pub const DEFAULT: Limits = Limits {
        head_bytes_max: 8 * 1024,
        fields_max: FIELDS_MAX,
        body_bytes_max: 4 * 1024,
        target_bytes_max: 8000,
        chunk_framing_bytes_max: 4 * 1024,
    };

    /// The most unread bytes at which [`Reader::read`](super::Reader::read) can still say that it needs more: a
    /// buffer that may grow to this size, and no further, is always enough.
    pub const fn buffer_bytes_max(&self) -> usize {
        self.head_bytes_max + self.body_bytes_max + self.chunk_framing_bytes_max
    }

    /// Whether the bounds fit each other. Offsets into a head are kept in 16 bits.
    pub(super) const fn are_sound(&self) -> bool {
        self.head_bytes_max <= u16::MAX as usize
            && self.fields_max <= FIELDS_MAX
            && self.target_bytes_max + REQUEST_LINE_REST_BYTES_MAX < self.head_bytes_max
            && self.body_bytes_max <= u32::MAX as usize
            && CHUNK_LINE_BYTES_MAX <= self.chunk_framing_bytes_max
    }
}

const _: () = assert!(Limits::DEFAULT.are_sound());

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
