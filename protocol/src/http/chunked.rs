//! Chunked content (RFC 9112 section 7.1), joined in place.
//!
//! The chunks' data is moved left over their framing as it arrives, each byte once, so the content is one slice in
//! the end and the connection's buffer is all the memory it takes. Extensions and trailers are checked and dropped.

use std::ops::Range;

use httparse::{Error, Status};
use memchr::memchr;

use super::framing::is_token_byte;
use super::limits::{CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, FIELDS_MAX, Limits};
use super::refusal::Fault;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Size,
    /// So many bytes of this chunk are still to come.
    Data(usize),
    DataEnd,
    /// The trailer section, which began here.
    Trailers(usize),
}

/// Where the decoding of one body stands. All offsets are into the connection's buffer, which between two calls
/// nobody but the decoder alters otherwise than by appending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder {
    phase: Phase,
    /// Content joined so far.
    body: (usize, usize),
    /// Next byte to decode.
    next: usize,
    /// Bytes of the line under way that hold no LF.
    looked_at: usize,
    /// Bytes of framing so far.
    framing: usize,
}

impl Decoder {
    /// For content whose first chunk begins at offset `start`.
    pub(super) fn new(start: usize) -> Decoder {
        Decoder { phase: Phase::Size, body: (start, start), next: start, looked_at: start, framing: 0 }
    }

    /// The content, once it is complete.
    pub(super) fn body(&self) -> Range<usize> {
        self.body.0..self.body.1
    }

    /// Where the next message begins, once this one is complete.
    pub(super) fn consumed(&self) -> usize {
        self.next
    }

    /// Decodes what has arrived since the last time; whether the body is complete.
    ///
    /// # Errors
    /// A fault after which it is not known where the next message begins.
    pub(super) fn advance(&mut self, buffer: &mut [u8], limits: &Limits) -> Result<bool, Fault> {
        loop {
            match self.phase {
                Phase::Size => {
                    let budget = limits.chunk_framing_bytes_max - self.framing;
                    let (most, fault) = if budget < CHUNK_LINE_BYTES_MAX {
                        (budget, Fault::ChunkFramingTooLarge)
                    } else {
                        (CHUNK_LINE_BYTES_MAX, Fault::ChunkLineTooLong)
                    };
                    let Some(line) = self.line(buffer, most, fault)? else { return Ok(false) };
                    let size = chunk_size(&buffer[line], limits.body_bytes_max - (self.body.1 - self.body.0))?;
                    self.phase = if size == 0 { Phase::Trailers(self.next) } else { Phase::Data(size) };
                }
                Phase::Data(left) => {
                    let here = left.min(buffer.len() - self.next);
                    buffer.copy_within(self.next..self.next + here, self.body.1);
                    self.body.1 += here;
                    self.next += here;
                    if here < left {
                        self.phase = Phase::Data(left - here);
                        return Ok(false);
                    }
                    self.phase = Phase::DataEnd;
                }
                Phase::DataEnd => match &buffer[self.next..] {
                    [b'\r', b'\n', ..] => {
                        self.take_framing(2);
                        if self.framing > limits.chunk_framing_bytes_max {
                            return Err(Fault::ChunkFramingTooLarge);
                        }
                        self.phase = Phase::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(Fault::ChunkDataEnd),
                },
                Phase::Trailers(start) => {
                    let budget = limits.chunk_framing_bytes_max - self.framing;
                    let Some(line) = self.line(buffer, budget, Fault::TrailersTooLarge)? else { return Ok(false) };
                    if line.is_empty() {
                        return check_trailers(&buffer[start..self.next], limits).map(|()| true);
                    }
                }
            }
        }
    }

    fn take_framing(&mut self, bytes: usize) {
        self.next += bytes;
        self.looked_at = self.next;
        self.framing += bytes;
    }

    /// The next line without its CRLF, once it is all here; longer than `most` it is a `fault`.
    fn line(&mut self, buffer: &[u8], most: usize, fault: Fault) -> Result<Option<Range<usize>>, Fault> {
        let start = self.next;
        debug_assert!(start <= self.looked_at, "every line begins where the last one, or the data, ended");
        let end = buffer.len().min(start + most);
        let Some(offset) = memchr(b'\n', &buffer[self.looked_at..end]) else {
            self.looked_at = end;
            return if end - start == most { Err(fault) } else { Ok(None) };
        };
        let lf = self.looked_at + offset;
        if lf == start || buffer[lf - 1] != b'\r' {
            return Err(Fault::ChunkLineEnd);
        }
        self.take_framing(lf + 1 - start);
        Ok(Some(start..lf - 1))
    }
}

/// The size that a chunk's first line gives: `chunk-size [ chunk-ext ]`, of `room` bytes at most. However many digits it has, none
/// of them is lost (RFC 9112 section 7.1): what is well-formed and too large is told so.
fn chunk_size(line: &[u8], room: usize) -> Result<usize, Fault> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(digits);
    if digits.is_empty() || !matches!(extensions, [] | [b';' | b' ' | b'\t', ..]) {
        return Err(Fault::ChunkSize);
    }
    if !are_extensions(extensions) {
        return Err(Fault::ChunkExtension);
    }
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    };
    let size = digits.iter().fold(0_usize, |size, digit| size.saturating_mul(16).saturating_add(value(digit).into()));
    if size > room {
        return Err(Fault::ContentTooLarge);
    }
    if digits.len() > CHUNK_SIZE_DIGITS_MAX {
        return Err(Fault::ChunkSize);
    }
    Ok(size)
}

/// Whether `rest` is `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(name) = after_blanks(rest).strip_prefix(b";") else { return false };
        let Some(after) = after_token(after_blanks(name)) else { return false };
        rest = after;
        if let Some(value) = after_blanks(after).strip_prefix(b"=") {
            let value = after_blanks(value);
            let after = if value.first() == Some(&b'"') { after_quoted(&value[1..]) } else { after_token(value) };
            let Some(after) = after else { return false };
            rest = after;
        }
    }
    true
}

fn after_blanks(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[blanks..]
}

fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|&&byte| is_token_byte(byte)).count();
    if length == 0 { None } else { Some(&bytes[length..]) }
}

/// What follows a quoted string (RFC 9110 section 5.6.4) whose first quote has been read.
fn after_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
            [b'\\', ..] => return None,
            [b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
            _ => return None,
        };
    }
}

/// Whether `section`, its empty line included, is made of field lines. None of them is looked at: no field of ours
/// may come this late.
fn check_trailers(section: &[u8], limits: &Limits) -> Result<(), Fault> {
    let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(section, &mut headers[..limits.fields_max]) {
        Ok(Status::Complete((bytes, _))) if bytes == section.len() => Ok(()),
        Err(Error::TooManyHeaders) => Err(Fault::TrailersTooLarge),
        Ok(_) | Err(_) => Err(Fault::Trailers),
    }
}
