//! Requests out of a connection's bytes: cut anywhere they are the same, none is longer than what came, none ends elsewhere than
//! by the letter of RFC 9112, and what was taken reads the same when it is written down again.

use flux_protocol::http::{KeyField, Limits, Method, Read, Reader, Refusal, Request, media};

use crate::allocation;
use crate::http_reference;
use crate::input::{Input, pieces};

/// Bounds that a short input reaches.
const TIGHT: Limits = Limits {
    head_bytes_max: 300,
    fields_max: 8,
    body_bytes_max: 40,
    target_bytes_max: 60,
    chunk_framing_bytes_max: 256,
};
/// Whatever fits into [`Limits::DEFAULT`] fits in here when it is written down again.
const WIDE: Limits =
    Limits { head_bytes_max: 60_000, target_bytes_max: 40_000, body_bytes_max: 60_000, ..Limits::DEFAULT };

/// How to cut, which bounds; then what a client sends.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (choice, limits) = (input.byte(), if input.byte() & 1 == 0 { Limits::DEFAULT } else { TIGHT });
    let stream = input.rest();
    let whole = read(&[stream], limits);
    assert_eq!(read(&pieces(stream, choice), limits), whole, "cut by {choice}");
    assert_eq!(read(&pieces(stream, 255), limits), whole, "byte by byte");

    let mut at = 0;
    for (taken, length) in &whole {
        let message = &stream[at..at + length];
        at += length;
        let Taken::Request(request) = taken else { continue };
        assert_eq!(http_reference::content(message).as_deref(), Ok(&request.body[..]), "where it ends, what is in it");
        assert!(request.body.len() <= limits.body_bytes_max);
        let again = request.written();
        let parsed = read(&[&again], WIDE);
        assert_eq!(parsed, [(Taken::Request(request.clone()), again.len())], "{}", again.escape_ascii());
    }
}

/// What was read, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Taken {
    Request(Box<Owned>),
    Refused(Refusal),
}

/// A request that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    method: Method,
    version_minor: u8,
    path: String,
    query: Option<String>,
    key: Option<Option<Vec<u8>>>,
    fields: [(&'static str, Option<Vec<u8>>); 10],
    lines: [(&'static str, Vec<Vec<u8>>); 2],
    body: Vec<u8>,
    keep_alive: bool,
}

/// All that is read until the connection ends, each with the bytes it took up.
fn read(pieces: &[&[u8]], limits: Limits) -> Vec<(Taken, usize)> {
    let (mut reader, mut buffer, mut all) = (Reader::new(limits), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let unread = buffer.len();
            let (taken, length) = match allocation::within(0, "reading a request", || reader.read(&mut buffer)) {
                Read::Incomplete => {
                    assert!(unread < limits.buffer_bytes_max(), "{unread} bytes, and still no end");
                    break;
                }
                Read::Request(request, length) => (Taken::Request(Box::new(Owned::of(&request))), length),
                Read::Refused(refusal) => (Taken::Refused(refusal), refusal.consumed),
            };
            assert!(length <= unread, "{length} bytes of {unread}");
            let is_over = match &taken {
                Taken::Request(request) => !request.keep_alive,
                Taken::Refused(refusal) => refusal.close,
            };
            assert!(is_over || length > 0, "an endless message of no bytes");
            all.push((taken, length));
            if is_over {
                return all;
            }
            buffer.drain(..length);
        }
    }
    all
}

impl Owned {
    fn of(request: &Request<'_>) -> Owned {
        let fields = &request.fields;
        let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
        look_at(request);
        Owned {
            method: request.method,
            version_minor: request.version_minor,
            path: request.path.to_owned(),
            query: request.query.map(str::to_owned),
            key: match fields.idempotency_key {
                KeyField::Absent => None,
                KeyField::One(key) => Some(Some(key.to_vec())),
                KeyField::Conflict => Some(None),
            },
            fields: [
                ("host", owned(fields.host)),
                ("content-type", owned(fields.content_type)),
                ("content-encoding", owned(fields.content_encoding)),
                ("accept", owned(fields.accept)),
                ("authorization", owned(fields.authorization)),
                ("origin", owned(fields.origin)),
                ("access-control-request-method", owned(fields.access_control_request_method)),
                ("x-queue-ticket", owned(fields.x_queue_ticket)),
                ("if-none-match", owned(fields.if_none_match)),
                ("accept-encoding", owned(fields.accept_encoding)),
            ],
            lines: [("forwarded", &fields.forwarded), ("x-forwarded-for", &fields.x_forwarded_for)]
                .map(|(name, lines)| (name, lines.iter().map(<[u8]>::to_vec).collect())),
            body: request.body.to_vec(),
            keep_alive: request.keep_alive,
        }
    }

    /// The request as a client would send it.
    fn written(&self) -> Vec<u8> {
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Options => "OPTIONS",
            Method::Other => "PUT",
        };
        let mut out = format!("{method} {}", self.path).into_bytes();
        if let Some(query) = &self.query {
            out.extend_from_slice(format!("?{query}").as_bytes());
        }
        out.extend_from_slice(format!(" HTTP/1.{}\r\n", self.version_minor).as_bytes());
        let mut field = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        for (name, value) in &self.fields {
            if let Some(value) = value {
                field(name, value);
            }
        }
        for (name, lines) in &self.lines {
            lines.iter().rev().for_each(|line| field(name, line));
        }
        match &self.key {
            Some(Some(key)) => field("idempotency-key", &[b"\"", &key[..], b"\""].concat()),
            Some(None) => ["a", "b"].iter().for_each(|key| field("x-idempotency-key", key.as_bytes())),
            None => {}
        }
        match (self.keep_alive, self.version_minor) {
            (true, 0) => field("connection", b"keep-alive"),
            (false, 1) => field("connection", b"close"),
            _ => {}
        }
        if self.method == Method::Post || !self.body.is_empty() {
            field("content-length", self.body.len().to_string().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

/// What routes ask of fields whose grammar is nobody's but theirs.
fn look_at(request: &Request<'_>) {
    let fields = &request.fields;
    let accept = fields.accept.unwrap_or_default();
    assert!(media::weight(accept, "application/json") <= 1000);
    std::hint::black_box(media::names_json(accept));
    std::hint::black_box(media::is_json(fields.content_type.unwrap_or_default()));
    std::hint::black_box(media::is_identity(fields.content_encoding.unwrap_or_default()));
    std::hint::black_box(media::accepts_gzip(fields.accept_encoding.unwrap_or_default()));
    std::hint::black_box(media::names_tag(fields.if_none_match.unwrap_or_default(), b"\"tag\""));
}
