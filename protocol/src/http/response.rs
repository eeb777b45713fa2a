//! Responses, appended to a caller's buffer: nothing is allocated beyond it, nothing is sent.
//!
//! [`write()`] is for any answer, [`Template`] for those that are sent often and hardly differ: all but the date, the
//! connection and one gap in the body is laid down once. Field values come from our own code and from validated
//! identifiers, never from a request as it is.

use super::date::Date;
use crate::order::decimal;

/// The interim answer to `Expect: 100-continue` (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The field of every JSON answer.
pub const JSON: (&str, &str) = ("content-type", "application/json");
/// The field of answers that hold for this moment and this caller only.
pub const NO_STORE: (&str, &str) = ("cache-control", "no-store");

/// What a response says about its connection (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as HTTP/1.1 does unless told otherwise: nothing is said.
    KeepAlive,
    /// It stays open for a client of HTTP/1.0 that asked for it, and is told so.
    KeepAliveOld,
    /// It is closed after this response.
    Close,
}

impl Persistence {
    /// What to say to a client that spoke HTTP/1.`version_minor`.
    pub const fn after(version_minor: u8, keep_alive: bool) -> Persistence {
        match (keep_alive, version_minor) {
            (false, _) => Persistence::Close,
            (true, 0) => Persistence::KeepAliveOld,
            (true, _) => Persistence::KeepAlive,
        }
    }

    fn line(self) -> &'static [u8] {
        match self {
            Persistence::KeepAlive => b"",
            Persistence::KeepAliveOld => b"connection: keep-alive\r\n",
            Persistence::Close => b"connection: close\r\n",
        }
    }
}

impl From<bool> for Persistence {
    /// Keep-alive or not, for a client of HTTP/1.1.
    fn from(keep_alive: bool) -> Persistence {
        Persistence::after(1, keep_alive)
    }
}

/// The reason phrase of `status` (RFC 9110 section 15); empty for one that this project does not send.
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Whether a response of this status has no content by definition, and so no `content-length` (RFC 9110 section 8.6).
const fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Appends a whole response. `head_only` leaves the body out and its length in, as `HEAD` wants it.
pub fn write(
    out: &mut Vec<u8>,
    status: u16,
    date: &Date,
    fields: &[(&str, &str)],
    body: &[u8],
    connection: impl Into<Persistence>,
    head_only: bool,
) {
    write_parts(out, status, date, fields, &[body], connection.into(), head_only);
}

/// As [`write()`], with the body in several parts.
pub fn write_parts(
    out: &mut Vec<u8>,
    status: u16,
    date: &Date,
    fields: &[(&str, &str)],
    body: &[&[u8]],
    connection: Persistence,
    head_only: bool,
) {
    begin(out, status);
    for (name, value) in fields {
        field(out, name, &[value]);
    }
    end(out, status, date, body, connection, head_only);
}

/// Appends the status line. [`field`] any number of times and [`end`] have to follow.
pub fn begin(out: &mut Vec<u8>, status: u16) {
    assert!((100..=999).contains(&status), "a status has three digits");
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(decimal(u64::from(status), &mut [0; 20]));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a field line; its value may come in parts.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[&str]) {
    debug_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for part in value {
        debug_assert!(part.bytes().all(|byte| matches!(byte, b' '..=b'~')), "a field value is printable ASCII");
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends what is left after the fields: length, date, connection and body.
pub fn end(out: &mut Vec<u8>, status: u16, date: &Date, body: &[&[u8]], connection: Persistence, head_only: bool) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    if is_bodiless(status) {
        debug_assert!(length == 0, "a {status} has no body");
    } else {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(decimal(length as u64, &mut [0; 20]));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(date.line());
    out.extend_from_slice(connection.line());
    out.extend_from_slice(b"\r\n");
    if !head_only {
        for part in body {
            out.extend_from_slice(part);
        }
    }
}

/// A response laid down in advance: three copies (four with a gap) when it is sent.
#[derive(Clone, Debug)]
pub struct Template {
    /// Status line, fields, length.
    head: Vec<u8>,
    body: Vec<u8>,
    /// Which part of the body is filled in when it is sent.
    gap: std::ops::Range<usize>,
}

impl Template {
    /// A response that is always the same.
    pub fn new(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Template {
        Template::with_gap(status, fields, body, 0, b"")
    }

    /// A response whose body has a gap of `gap_bytes` between two constant parts, an order id for example.
    pub fn with_gap(status: u16, fields: &[(&str, &str)], before: &[u8], gap_bytes: usize, after: &[u8]) -> Template {
        let mut body = before.to_vec();
        body.resize(before.len() + gap_bytes, b' ');
        body.extend_from_slice(after);
        let mut head = Vec::new();
        begin(&mut head, status);
        for (name, value) in fields {
            field(&mut head, name, &[value]);
        }
        if is_bodiless(status) {
            assert!(body.is_empty(), "a {status} has no body");
        } else {
            let mut digits = [0; 20];
            let length = decimal(body.len() as u64, &mut digits);
            let length = std::str::from_utf8(length).expect("decimal digits");
            field(&mut head, "content-length", &[length]);
        }
        Template { head, body, gap: before.len()..before.len() + gap_bytes }
    }

    /// Appends the response, `gap` in its place: exactly as many bytes as the template has room for.
    pub fn write(&self, out: &mut Vec<u8>, date: &Date, connection: Persistence, head_only: bool, gap: &[u8]) {
        assert!(gap.len() == self.gap.len(), "the length has been laid down already");
        out.reserve(self.head.len() + self.body.len() + 64);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(date.line());
        out.extend_from_slice(connection.line());
        out.extend_from_slice(b"\r\n");
        if !head_only {
            let body = out.len();
            out.extend_from_slice(&self.body);
            out[body + self.gap.start..body + self.gap.end].copy_from_slice(gap);
        }
    }
}
