//! The head of a message: finding its end without ever looking at a byte twice, then parsing it once.
//!
//! `httparse` starts over at byte 0 whenever it is asked, and takes bare LFs and any number of empty lines. So it is
//! asked twice at most: when the first bytes of a message arrive, which mostly are all of it, and when [`Scan`], which
//! remembers how far it has looked, has seen the end. The first try may only accept. Whatever it finds wrong is left
//! to the scan, which judges in the order of the bytes: the verdict never depends on how they arrived.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};
use memchr::{memchr, memchr_iter, memrchr};

use super::fields::{FieldSpans, Span};
use super::framing::{Framing, is_token_byte};
use super::limits::{BLANK_LINES_MAX, FIELDS_MAX, Limits, REQUEST_LINE_REST_BYTES_MAX};
use super::refusal::Fault;
use super::request::Method;
use super::target::{Target, is_host};

/// A parsed head, as offsets into the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// From the start of the buffer to the content.
    pub(super) bytes: u16,
    pub(super) method: Method,
    pub(super) version_minor: u8,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) framing: Framing,
    /// Absent: an absolute form without a path.
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) fields: FieldSpans,
    /// Why the message is refused although it is known where it ends.
    pub(super) fault: Option<Fault>,
}

/// How far the search for the end of a head has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// Bytes looked at.
    looked_at: usize,
    /// Where the line under way begins.
    line: usize,
    /// Where the request line begins: after the blank lines.
    start: usize,
    blank_lines: usize,
    request_line_seen: bool,
}

impl Scan {
    /// Whether nothing but empty lines has come.
    pub(super) fn is_idle(&self) -> bool {
        self.looked_at == self.start
    }

    /// Whether the message's method is `HEAD`, as far as it can be told of one that is no good: behind too many empty
    /// lines it is not looked for.
    pub(super) fn begins_with_head(&self, buffer: &[u8]) -> bool {
        self.blank_lines <= BLANK_LINES_MAX && buffer.get(self.start..).is_some_and(|line| line.starts_with(b"HEAD "))
    }

    /// Looks at what has arrived since the last time. `None`: more is needed.
    ///
    /// # Errors
    /// A fault after which the connection has to be closed.
    pub(super) fn advance(&mut self, buffer: &mut [u8], limits: &Limits) -> Result<Option<Head>, Fault> {
        if self.looked_at == 0 {
            let window = &buffer[..buffer.len().min(limits.head_bytes_max)];
            if let Some(head) = parse_at_once(window, limits) {
                return Ok(Some(head));
            }
        }
        match self.end(buffer, limits)? {
            Some(end) => parse(&buffer[..end], self.start, limits).map(Some),
            None => Ok(None),
        }
    }

    /// Where the head ends, once that is known.
    fn end(&mut self, buffer: &mut [u8], limits: &Limits) -> Result<Option<usize>, Fault> {
        let window = buffer.len().min(limits.head_bytes_max);
        let request_line_bytes_max = request_line_bytes_max(limits);
        loop {
            let awaits_request_line = !self.request_line_seen;
            if awaits_request_line && self.start < window {
                check_first_byte(buffer[self.start])?;
            }
            let Some(offset) = memchr(b'\n', &buffer[self.looked_at..window]) else {
                break;
            };
            let lf = self.looked_at + offset;
            if awaits_request_line && lf - self.start >= request_line_bytes_max {
                break;
            }
            if lf == self.line || buffer[lf - 1] != b'\r' {
                return Err(Fault::LineEnd);
            }
            let is_empty = lf - self.line == 1;
            if is_empty && self.request_line_seen {
                return Ok(Some(lf + 1));
            } else if is_empty {
                self.blank_lines += 1;
                self.start = lf + 1;
                if self.blank_lines > BLANK_LINES_MAX {
                    return Err(Fault::EmptyLines);
                }
            } else if awaits_request_line {
                check_request_line(&mut buffer[self.line..=lf])?;
                self.request_line_seen = true;
            }
            self.looked_at = lf + 1;
            self.line = lf + 1;
        }
        self.looked_at = window;
        if !self.request_line_seen && window - self.start > request_line_bytes_max {
            let line = &buffer[self.start..self.start + request_line_bytes_max];
            return Err(if line.contains(&b' ') { Fault::TargetTooLong } else { Fault::UnknownMethod });
        }
        if window == limits.head_bytes_max {
            return Err(Fault::FieldsTooLarge);
        }
        Ok(None)
    }
}

/// Longest request line, its CRLF included.
fn request_line_bytes_max(limits: &Limits) -> usize {
    limits.target_bytes_max + REQUEST_LINE_REST_BYTES_MAX
}

/// A request begins with a method or an empty line. A TLS hello sent to the wrong port, say, does not: it has no line
/// end to wait for either.
fn check_first_byte(byte: u8) -> Result<(), Fault> {
    if is_token_byte(byte) || matches!(byte, b'\r' | b'\n') { Ok(()) } else { Err(Fault::RequestLine) }
}

/// Judges a request line, its CRLF included, before the fields have come: a client of HTTP/0.9 or of another protocol
/// would wait for an answer and send none. A minor version later than ours is ours to read (RFC 9110 section 6.2) and
/// written over with our own.
fn check_request_line(line: &mut [u8]) -> Result<(), Fault> {
    match httparse::Request::new(&mut []).parse(line) {
        Ok(_) => return Ok(()),
        Err(Error::Version) => {}
        Err(_) => return Err(Fault::RequestLine),
    }
    let spaces = memchr_iter(b' ', line).count();
    let version = memrchr(b' ', line).map_or(0, |space| space + 1);
    match &mut line[version..] {
        _ if spaces != 2 => Err(Fault::RequestLine),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9', b'\r', b'\n'] => {
            *minor = b'1';
            check_request_line(line)
        }
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n'] => Err(Fault::Version),
        _ => Err(Fault::RequestLine),
    }
}

/// The short way: a head that is all here and whose framing is sound. `None` says nothing about it.
fn parse_at_once(window: &[u8], limits: &Limits) -> Option<Head> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(window, &mut space[..limits.fields_max]);
    let Ok(Status::Complete(bytes)) = parsed else { return None };
    let base = window.as_ptr() as usize;
    // Every line but the empty one is followed by a field's name or by the empty one.
    let follows_crlf = |at: usize| at >= 2 && window[at - 2..at] == *b"\r\n";
    let lines_end_by_crlf = follows_crlf(bytes)
        && follows_crlf(bytes - 2)
        && request.headers.iter().all(|header| follows_crlf(header.name.as_ptr() as usize - base));
    let request_line_bytes = request.headers.first().map_or(bytes - 2, |header| header.name.as_ptr() as usize - base);
    let is_short_enough = request_line_bytes <= request_line_bytes_max(limits);
    if !is_token_byte(window[0]) || !lines_end_by_crlf || !is_short_enough {
        return None;
    }
    judge(&request, window, bytes, limits).ok()
}

/// Parses the head that ends at the end of `buffer` and whose request line begins at `start`.
fn parse(buffer: &[u8], start: usize, limits: &Limits) -> Result<Head, Fault> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(&buffer[start..], &mut space[..limits.fields_max]) {
        Ok(Status::Complete(bytes)) if start + bytes == buffer.len() => judge(&request, buffer, buffer.len(), limits),
        Ok(_) => Err(Fault::Head),
        Err(Error::HeaderName) => Err(Fault::FieldName),
        Err(Error::HeaderValue) => Err(Fault::FieldValue),
        Err(Error::TooManyHeaders) => Err(Fault::TooManyFields),
        Err(Error::NewLine | Error::Status | Error::Token | Error::Version) => Err(Fault::RequestLine),
    }
}

/// What a well-formed head means. Framing first: what is wrong there ends the connection, all else is only refused.
fn judge(request: &httparse::Request<'_, '_>, buffer: &[u8], bytes: usize, limits: &Limits) -> Result<Head, Fault> {
    let (Some(name), Some(target), Some(version_minor)) = (request.method, request.path, request.version) else {
        return Err(Fault::RequestLine);
    };
    let (mut fields, control, repeated) = FieldSpans::collect(request.headers, buffer);
    let framing = control.framing(version_minor, limits.body_bytes_max)?;
    let method = match name {
        "POST" if !control.announces_content() => return Err(Fault::LengthRequired),
        // Its client takes whatever follows for a tunnel.
        "CONNECT" => return Err(Fault::Tunnel),
        "POST" => Some(Method::Post),
        "GET" => Some(Method::Get),
        "HEAD" => Some(Method::Head),
        "OPTIONS" => Some(Method::Options),
        "PUT" | "DELETE" | "TRACE" | "PATCH" => Some(Method::Other),
        _ => None,
    };
    let at = target.as_ptr() as usize - buffer.as_ptr() as usize;
    let target = Target::parse(target.as_bytes(), at, method.unwrap_or(Method::Other));
    let host_fault = match fields.host.get(buffer) {
        None if version_minor > 0 => Some(Fault::MissingHost),
        Some(host) if !is_host(host) => Some(Fault::Host),
        _ => None,
    };
    let method_fault = if method.is_none() { Some(Fault::UnknownMethod) } else { None };
    let expect_fault = control.expects_other(version_minor).then_some(Fault::Expectation);
    let fault = target.err().or(host_fault).or(repeated).or(method_fault).or(expect_fault);
    let nothing = Target { path: Span::ABSENT, query: Span::ABSENT, authority: Span::ABSENT };
    let target = target.unwrap_or(nothing);
    if !target.authority.is_absent() {
        fields.host = target.authority;
    }
    Ok(Head {
        bytes: bytes as u16,
        method: method.unwrap_or(Method::Other),
        version_minor,
        keep_alive: control.keep_alive(version_minor),
        expects_continue: control.expects_continue(version_minor),
        framing,
        path: target.path,
        query: target.query,
        fields,
        fault,
    })
}
