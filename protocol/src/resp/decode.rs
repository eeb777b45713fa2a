//! Where one reply ends: a cursor over bytes that arrive in pieces.

use bytes::{Buf, BytesMut};

use super::reply::Reply;

/// Arrays inside arrays that a reply may hold; ours hold at most three (`XRANGE`: entries, entry, fields).
const DEPTH_MAX: usize = 8;
/// Bytes of a status or error line. Redis' own are under 1 KiB; an error of a script names its source line.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Bytes of a line that holds a number: 20 digits with their sign, the kind, and some slack.
const NUMBER_LINE_BYTES_MAX: usize = 24;

/// What a peer may make us hold before we hang up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one whole reply, headers included.
    pub reply_bytes_max: usize,
    /// Elements of one whole reply, those of inner arrays included.
    pub elements_max: usize,
}

impl Limits {
    /// For calls of ours: 512 relayed entries of 64 orders of 200 bytes fit.
    pub const DEFAULT: Limits = Limits { reply_bytes_max: 16 << 20, elements_max: 1 << 18 };
}

/// The peer does not speak RESP2 as agreed. Nothing after this can be believed: the connection is closed, and what
/// was outstanding on it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first byte of an element is none of `+ - : $ *`.
    #[error("an element begins with byte {0:#04x}")]
    Kind(u8),
    /// A number or a length is not one.
    #[error("a number is not one")]
    Number,
    /// A line or string does not end in CR LF, or holds one of them alone.
    #[error("a terminator is missing")]
    Terminator,
    /// A cap of [`Limits`], or on lines or depth, is passed.
    #[error("longer or deeper than allowed")]
    TooLarge,
}

/// Head of one element: everything up to and including its first CR LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// `+` or `-`: the text is the line between the kind and the terminator.
    Line,
    /// `:`
    Integer(i64),
    /// `$`: as many bytes and a terminator follow.
    Bulk(usize),
    /// `*`: as many elements follow.
    Array(usize),
    /// `$-1` or `*-1`.
    Null,
}

/// The head at the front of `bytes` and its length, or `None` where it is incomplete. `searched` bytes are known to
/// hold no line feed.
pub(super) fn head(bytes: &[u8], searched: usize) -> Result<Option<(Head, usize)>, Malformed> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let length_max = match kind {
        b'+' | b'-' => LINE_BYTES_MAX,
        b':' | b'$' | b'*' => NUMBER_LINE_BYTES_MAX,
        other => return Err(Malformed::Kind(*other)),
    };
    let within = &bytes[..bytes.len().min(length_max)];
    let Some(feed) = within[searched.min(within.len())..].iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < length_max { Ok(None) } else { Err(Malformed::TooLarge) };
    };
    let feed = searched + feed;
    if bytes[feed - 1] != b'\r' || feed < 2 {
        return Err(Malformed::Terminator);
    }
    let line = &bytes[1..feed - 1];
    let head = match kind {
        b':' => Head::Integer(integer(line)?),
        b'$' | b'*' if line == b"-1" => Head::Null,
        b'$' => Head::Bulk(length(line)?),
        b'*' => Head::Array(length(line)?),
        _ if line.contains(&b'\r') => return Err(Malformed::Terminator),
        _ => Head::Line,
    };
    Ok(Some((head, feed + 1)))
}

fn length(digits: &[u8]) -> Result<usize, Malformed> {
    // Ten digits are more than any cap; beyond them the value could overflow where a usize has 32 bits.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || (digits[0] == b'0' && digits.len() > 1) {
        return Err(Malformed::Number);
    }
    if digits.len() > 9 {
        return Err(Malformed::TooLarge);
    }
    Ok(digits.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0')))
}

fn integer(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Number)
}

/// Finds complete replies at the front of a buffer. It keeps its place between calls and looks at no byte twice, so a
/// reply that comes byte by byte costs no more than one that comes whole.
///
/// One decoder belongs to one connection. After [`Malformed`] both are done with.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Bytes of the reply that [`Decoder::poll`] yielded last; they leave the buffer with the next call.
    yielded: usize,
    /// Where the next element begins, counted from the front of the reply.
    at: usize,
    /// How many bytes from `at` are known to hold no line feed.
    searched: usize,
    /// Elements seen or announced in this reply.
    elements: usize,
    /// Elements still to come of each array that is open; the innermost is the last.
    open: [usize; DEPTH_MAX],
    depth: usize,
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    pub fn new(limits: Limits) -> Decoder {
        Decoder { limits, yielded: 0, at: 0, searched: 0, elements: 1, open: [0; DEPTH_MAX], depth: 0 }
    }

    /// The next complete reply in `buffer`, or `None` until more has arrived. The reply's bytes stay at the buffer's
    /// front until the next call takes them away; between calls bytes may only be appended.
    ///
    /// # Errors
    /// [`Malformed`]: close the connection.
    pub fn poll<'b>(&mut self, buffer: &'b mut BytesMut) -> Result<Option<Reply<'b>>, Malformed> {
        buffer.advance(std::mem::take(&mut self.yielded));
        let Some(length) = self.reply_bytes(buffer)? else { return Ok(None) };
        self.yielded = length;
        Ok(Some(Reply::new(&buffer[..length])))
    }

    /// Length of the complete reply at the front of `bytes`, or `None` until more has arrived: for a caller that keeps
    /// its buffer some other way. The next call must be handed what stands behind that reply.
    ///
    /// # Errors
    /// [`Malformed`]: close the connection.
    pub fn reply_bytes(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            let Some((head, head_bytes)) = head(&bytes[self.at.min(bytes.len())..], self.searched)? else {
                self.searched = bytes.len().saturating_sub(self.at);
                return Ok(None);
            };
            let mut end = self.at + head_bytes;
            match head {
                Head::Line | Head::Integer(_) | Head::Null => {}
                Head::Bulk(length) => {
                    end += length + 2;
                    if end > self.limits.reply_bytes_max {
                        return Err(Malformed::TooLarge);
                    }
                    if bytes.len() < end {
                        // The head is read again when more has come: a few bytes, never the string.
                        return Ok(None);
                    }
                    if &bytes[end - 2..end] != b"\r\n" {
                        return Err(Malformed::Terminator);
                    }
                }
                Head::Array(count) => {
                    self.elements = self.elements.saturating_add(count);
                    if self.elements > self.limits.elements_max || self.depth == DEPTH_MAX {
                        return Err(Malformed::TooLarge);
                    }
                    // An empty array is complete where it stands; another is counted down by its elements.
                    if count > 0 {
                        self.open[self.depth] = count;
                        self.depth += 1;
                        self.step(end);
                        continue;
                    }
                }
            }
            self.step(end);
            if self.at > self.limits.reply_bytes_max {
                return Err(Malformed::TooLarge);
            }
            if self.complete_element() {
                let length = self.at;
                (self.at, self.searched, self.elements, self.depth) = (0, 0, 1, 0);
                return Ok(Some(length));
            }
        }
    }

    fn step(&mut self, end: usize) {
        self.at = end;
        self.searched = 0;
    }

    /// Counts one finished element; whether that finished the reply.
    fn complete_element(&mut self) -> bool {
        while self.depth > 0 {
            let left = &mut self.open[self.depth - 1];
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.depth -= 1;
        }
        true
    }
}
