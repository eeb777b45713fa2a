//! Where one reply ends: a cursor over bytes that arrive in pieces.

use bytes::{Buf, BytesMut};

use super::head::{Head, Malformed, head};
use super::reply::Reply;

/// Arrays inside arrays that a reply may hold; ours hold at most three (`XRANGE`: entries, entry, fields).
const DEPTH_MAX: usize = 8;

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
