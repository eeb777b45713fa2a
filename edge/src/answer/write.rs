//! How an answer is written: status line, fields and body.
//!
//! The answers of the hot path are copied together from prebuilt pieces; nothing is allocated or formatted.

use std::time::Duration;

use flux_protocol::http::{Date, Persistence, response};
use flux_protocol::order::decimal;

use super::{Answer, Document};
use crate::retry_after::RetryAfter;

/// How one answer is framed; decided by its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// What it says about the connection.
    pub connection: Persistence,
    /// The request was HEAD: no body is sent.
    pub head_only: bool,
    /// The request's origin may read the answer.
    pub cors: bool,
}

/// What configuration adds to answers, prebuilt.
#[derive(Debug)]
pub struct Site {
    /// `<waiting room>?product=`, to which the product's name is added.
    waiting_room: Box<[u8]>,
    cors: Box<[u8]>,
    /// That the connection is kept, and for how long.
    keep_alive: Box<[u8]>,
    /// When those who are turned away are asked to come back.
    pub(crate) retry_after: RetryAfter,
}

impl Site {
    /// Of a waiting room's URL (validated by configuration), the origin whose scripts may read answers, and how long an idle
    /// connection is kept: a client that knows closes it before the edge does, and never sends into a close.
    pub fn new(waiting_room_url: &str, cors_origin: &str, keep_alive: Duration) -> Site {
        let joint = if waiting_room_url.contains('?') { '&' } else { '?' };
        let cors = format!(
            "access-control-allow-origin: {cors_origin}\r\nvary: origin\r\n\
             access-control-expose-headers: idempotency-replayed, retry-after\r\n"
        );
        let keep_alive = format!("connection: keep-alive\r\nkeep-alive: timeout={}\r\n\r\n", keep_alive.as_secs());
        Site {
            waiting_room: format!("{waiting_room_url}{joint}product=").into_bytes().into_boxed_slice(),
            cors: cors.into_bytes().into_boxed_slice(),
            keep_alive: keep_alive.into_bytes().into_boxed_slice(),
            retry_after: RetryAfter::default(),
        }
    }
}

/// A response being written: head first, the body's length filled in from its pieces.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    site: &'a Site,
    date: &'a Date,
    framing: Framing,
}

const BODY_JSON: &[u8] = b"content-type: application/json\r\n";
const REPLAYED: &[u8] = b"content-type: application/json\r\nidempotency-replayed: true\r\n";

impl Writer<'_> {
    /// Writes the whole response; `body` in pieces, none of which is copied twice.
    fn write(&mut self, status_line: &[u8], fields: &[u8], body: &[&[u8]]) {
        let out = &mut *self.out;
        out.extend_from_slice(status_line);
        out.extend_from_slice(fields);
        self.finish(body);
    }

    /// The same, with a `retry-after` of this caller's.
    fn write_retry(&mut self, status_line: &[u8], fields: &[u8], body: &[&[u8]]) {
        let seconds = self.site.retry_after.draw();
        self.write_retry_in(seconds, status_line, fields, body);
    }

    fn write_retry_in(&mut self, seconds: u32, status_line: &[u8], fields: &[u8], body: &[&[u8]]) {
        let out = &mut *self.out;
        out.extend_from_slice(status_line);
        out.extend_from_slice(fields);
        if seconds == 1 {
            out.extend_from_slice(b"retry-after: 1\r\n");
        } else {
            out.extend_from_slice(b"retry-after: ");
            out.extend_from_slice(decimal(u64::from(seconds), &mut [0; 20]));
            out.extend_from_slice(b"\r\n");
        }
        self.finish(body);
    }

    fn finish(&mut self, body: &[&[u8]]) {
        self.end(body, true);
    }

    /// A 204 has no length, and a 304 would name that of the page it does not send (RFC 9110 section 8.6).
    fn end(&mut self, body: &[&[u8]], has_length: bool) {
        let out = &mut *self.out;
        out.extend_from_slice(self.date.line());
        if has_length {
            let length: usize = body.iter().map(|piece| piece.len()).sum();
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(decimal(length as u64, &mut [0; 20]));
            out.extend_from_slice(b"\r\n");
        }
        if self.framing.cors {
            out.extend_from_slice(&self.site.cors);
        }
        out.extend_from_slice(match self.framing.connection {
            Persistence::KeepAlive | Persistence::KeepAliveOld => &self.site.keep_alive,
            Persistence::Close => b"connection: close\r\n\r\n",
        });
        if !self.framing.head_only {
            for piece in body {
                out.extend_from_slice(piece);
            }
        }
    }
}

/// As `flux_protocol::http::problem::refusal`, laid down when this is compiled; nothing in it needs escaping.
macro_rules! refusal {
    ($word:literal, $msg:literal, $title:literal) => {
        concat!(
            r#"{"status":""#,
            $word,
            r#"","msg":""#,
            $msg,
            r#"","type":"about:blank","title":""#,
            $title,
            r#"","detail":""#,
            $msg,
            r#""}"#
        )
        .as_bytes()
    };
}

/// As `flux_protocol::http::problem::error`, likewise.
macro_rules! error {
    ($error:literal, $title:literal, $status:literal) => {
        concat!(
            r#"{"error":""#,
            $error,
            r#"","type":"about:blank","title":""#,
            $title,
            r#"","status":"#,
            $status,
            r#","detail":""#,
            $error,
            r#""}"#
        )
        .as_bytes()
    };
}

impl Answer {
    /// Appends the whole response.
    pub fn write(&self, site: &Site, date: &Date, framing: Framing, out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        let mut writer = Writer { out, site, date, framing };
        match self {
            Answer::Accepted { id, replayed } => writer.write(
                b"HTTP/1.1 200 OK\r\n",
                if *replayed { REPLAYED } else { BODY_JSON },
                &[b"{\"status\":\"success\",\"msg\":\"Order accepted\",\"orderId\":\"", &id.text(), b"\"}"],
            ),
            Answer::Pending { id, replayed } => writer.write_retry(
                b"HTTP/1.1 202 Accepted\r\n",
                if *replayed { REPLAYED } else { BODY_JSON },
                &[b"{\"status\":\"pending\",\"msg\":\"Order reserved\",\"orderId\":\"", &id.text(), b"\"}"],
            ),
            Answer::Redirect(product) => {
                writer.out.extend_from_slice(b"HTTP/1.1 302 Found\r\nlocation: ");
                writer.out.extend_from_slice(&site.waiting_room);
                writer.out.extend_from_slice(product.as_bytes());
                writer.out.extend_from_slice(b"\r\ncache-control: no-store\r\n");
                writer.finish(&[]);
            }
            Answer::Waiting(product) => writer.write_retry(
                TOO_MANY,
                BODY_JSON,
                &[
                    b"{\"status\":\"waiting\",\"location\":\"",
                    &site.waiting_room,
                    product.as_bytes(),
                    b"\",",
                    WAITING_PROBLEM,
                ],
            ),
            Answer::InQueue { product, ticket, wants_json: false } => {
                writer.out.extend_from_slice(b"HTTP/1.1 302 Found\r\nlocation: ");
                for piece in [&site.waiting_room, product.as_bytes(), b"&ticket=", ticket] {
                    writer.out.extend_from_slice(piece);
                }
                writer.out.extend_from_slice(b"\r\ncache-control: no-store\r\n");
                writer.finish(&[]);
            }
            Answer::InQueue { product, ticket, wants_json: true } => writer.write_retry(
                TOO_MANY,
                BODY_JSON,
                &[
                    b"{\"status\":\"waiting\",\"location\":\"",
                    &site.waiting_room,
                    product.as_bytes(),
                    b"\",\"ticket\":\"",
                    ticket,
                    b"\",",
                    WAITING_PROBLEM,
                ],
            ),
            Answer::StatusWaiting => {
                writer.write_retry(TOO_MANY, BODY_JSON, &[b"{\"status\":\"waiting\",", WAITING_PROBLEM]);
            }
            Answer::Limited { seconds } => writer.write_retry_in(
                *seconds,
                TOO_MANY,
                BODY_JSON,
                &[refusal!("limited", "Too many requests", "Too Many Requests")],
            ),
            Answer::SoldOut => {
                writer.write(CONFLICT, BODY_JSON, &[refusal!("sold_out", "Inventory empty", "Conflict")]);
            }
            Answer::Insufficient { available } => writer.write(
                CONFLICT,
                BODY_JSON,
                &[
                    b"{\"status\":\"insufficient\",\"msg\":\"Not enough units left\",\"available\":",
                    decimal(*available, &mut digits),
                    b",\"type\":\"about:blank\",\"title\":\"Conflict\",\"detail\":\"Not enough units left\"}",
                ],
            ),
            Answer::LimitReached => writer.write(
                CONFLICT,
                BODY_JSON,
                &[refusal!("limit_reached", "Limit per customer reached", "Conflict")],
            ),
            Answer::KeyReused => writer.write(
                b"HTTP/1.1 422 Unprocessable Content\r\n",
                BODY_JSON,
                &[error!("Idempotency key reused with a different order", "Unprocessable Content", "422")],
            ),
            Answer::UnknownProduct => {
                writer.write(
                    b"HTTP/1.1 404 Not Found\r\n",
                    BODY_JSON,
                    &[error!("Unknown product", "Not Found", "404")],
                );
            }
            Answer::Unavailable(why) => writer.write_retry(
                UNAVAILABLE,
                BODY_JSON,
                &[
                    b"{\"status\":\"unavailable\",\"msg\":\"",
                    why.message().as_bytes(),
                    b"\",\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"detail\":\"",
                    why.message().as_bytes(),
                    b"\"}",
                ],
            ),
            Answer::Unknown => writer.write_retry(
                UNAVAILABLE,
                BODY_JSON,
                &[refusal!("unknown", "Outcome unknown, repeat with the same key", "Service Unavailable")],
            ),
            Answer::Stock { product, available, state } => writer.write(
                b"HTTP/1.1 200 OK\r\n",
                b"content-type: application/json\r\ncache-control: no-store\r\n",
                &[
                    b"{\"productId\":\"",
                    product.as_bytes(),
                    b"\",\"available\":",
                    available.map_or(b"null", |available| decimal(available, &mut digits)),
                    b",\"state\":\"",
                    state.name().as_bytes(),
                    b"\"}",
                ],
            ),
            Answer::Queue(document) => {
                // Kept by caches, which would hand to the waiting room what the shop had asked for without an origin.
                writer.framing.cors = true;
                writer.write(
                    b"HTTP/1.1 200 OK\r\n",
                    b"content-type: application/json\r\ncache-control: public, max-age=1\r\n",
                    &[document],
                );
            }
            Answer::Status { id, accepted } => writer.write(
                b"HTTP/1.1 200 OK\r\n",
                b"content-type: application/json\r\ncache-control: no-store\r\n",
                &[
                    b"{\"orderId\":\"",
                    &id.text(),
                    b"\",\"status\":\"",
                    if *accepted { b"accepted" } else { b"pending" },
                    b"\"}",
                ],
            ),
            Answer::Document(document) => document.write(&mut writer),
        }
    }
}

const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n";
/// The end of a body that says where to wait.
const WAITING_PROBLEM: &[u8] =
    b"\"type\":\"about:blank\",\"title\":\"Too Many Requests\",\"detail\":\"Not your turn yet\"}";
const CONFLICT: &[u8] = b"HTTP/1.1 409 Conflict\r\n";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n";

impl Document {
    fn write(&self, writer: &mut Writer<'_>) {
        let out = &mut *writer.out;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(decimal(u64::from(self.status), &mut [0; 20]));
        out.push(b' ');
        out.extend_from_slice(response::reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.fields {
            for piece in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        if !self.body.is_empty() {
            for piece in ["content-type: ", self.content_type, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        writer.end(&[&self.body], !matches!(self.status, 204 | 304));
    }
}
