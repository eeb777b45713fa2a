//! Protocol 3.0 from the server's side: requests out of bytes, answers into bytes (PostgreSQL documentation, "Message
//! Formats"). Never knows what a statement means.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::SqlError;
use super::values::AnswerRow;

/// Protocol 3.0, as a start-up message names it.
const VERSION_3: i32 = 196_608;
/// A CancelRequest, in its place.
const CANCEL: i32 = 80_877_102;
/// Longest message that is taken, bytes; PostgreSQL takes a gigabyte.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a client says. Statements and portals without a name only: ours has no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Startup(Vec<(String, String)>),
    /// Another session's statement is to be cancelled.
    Cancel {
        process: i32,
        secret: i32,
    },
    Parse {
        sql: String,
        oids: Vec<u32>,
    },
    Bind {
        formats: Vec<i16>,
        values: Vec<Option<Bytes>>,
    },
    Execute,
    Sync,
    Flush,
    Query(String),
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    Terminate,
    /// What our client never says; names it.
    Stranger(String),
}

/// Whether ReadyForQuery says that a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Idle,
    Open,
    Failed,
}

/// Takes the next whole request; `None`: more must arrive first. `is_first`: a start-up message is awaited.
pub(super) fn next_request(bytes: &mut BytesMut, is_first: bool) -> Option<Request> {
    let head = if is_first { 0 } else { 1 };
    let length = bytes.get(head..head + 4)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Some(Request::Stranger(format!("a message of {length} bytes")));
    }
    if bytes.len() < head + length {
        return None;
    }
    let mut body = bytes.split_to(head + length).freeze();
    let kind = if is_first { 0 } else { body.get_u8() };
    body.advance(4);
    let request = if is_first { startup(&mut body) } else { request(kind, &mut body) };
    Some(match request {
        Some(request) if body.is_empty() => request,
        _ => Request::Stranger(format!("a message of type {:?} that cannot be read", char::from(kind))),
    })
}

fn startup(body: &mut Bytes) -> Option<Request> {
    match body.try_get_i32().ok()? {
        VERSION_3 => {}
        CANCEL => return Some(Request::Cancel { process: body.try_get_i32().ok()?, secret: body.try_get_i32().ok()? }),
        _ => return None,
    }
    let mut parameters = Vec::new();
    loop {
        let name = text(body)?;
        if name.is_empty() {
            return Some(Request::Startup(parameters));
        }
        parameters.push((name, text(body)?));
    }
}

fn request(kind: u8, body: &mut Bytes) -> Option<Request> {
    let rest = |body: &mut Bytes| body.split_to(body.len());
    Some(match kind {
        b'P' => {
            let name = text(body)?;
            let sql = text(body)?;
            let oids = counted(body, |body| body.try_get_u32().ok())?;
            if name.is_empty() { Request::Parse { sql, oids } } else { Request::Stranger("a named statement".into()) }
        }
        b'B' => {
            let names = (text(body)?, text(body)?);
            let formats = counted(body, |body| body.try_get_i16().ok())?;
            let values = counted(body, value)?;
            let results = counted(body, |body| body.try_get_i16().ok())?;
            if !names.0.is_empty() || !names.1.is_empty() || results.iter().any(|format| *format != 0) {
                Request::Stranger("a portal with a name, or one that answers in binary".into())
            } else {
                Request::Bind { formats, values }
            }
        }
        b'E' => match (text(body)?.is_empty(), body.try_get_i32().ok()?) {
            (true, 0) => Request::Execute,
            _ => Request::Stranger("an Execute of part of the rows".into()),
        },
        b'S' => Request::Sync,
        b'H' => Request::Flush,
        b'Q' => Request::Query(text(body)?),
        b'd' => Request::CopyData(rest(body)),
        b'c' => Request::CopyDone,
        b'f' => Request::CopyFail(text(body)?),
        b'X' => Request::Terminate,
        other => {
            rest(body);
            Request::Stranger(format!("a message of type {:?}", char::from(other)))
        }
    })
}

/// A string up to its NUL.
fn text(body: &mut Bytes) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = body.split_to(end);
    body.advance(1);
    String::from_utf8(text.to_vec()).ok()
}

fn counted<T>(body: &mut Bytes, mut one: impl FnMut(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count = body.try_get_u16().ok()?;
    (0..count).map(|_| one(body)).collect()
}

fn value(body: &mut Bytes) -> Option<Option<Bytes>> {
    match usize::try_from(body.try_get_i32().ok()?) {
        Err(_) => Some(None),
        Ok(length) if length <= body.len() => Some(Some(body.split_to(length))),
        Ok(_) => None,
    }
}

fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - at).expect("answers are far smaller");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn string(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// AuthenticationOk: whoever asks is trusted.
pub(super) fn authenticated(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_i32(0));
}

pub(super) fn parameter(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name);
        string(out, value);
    });
}

pub(super) fn key_data(out: &mut BytesMut, process: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(process);
        out.put_i32(secret);
    });
}

pub(super) fn ready(out: &mut BytesMut, status: Status) {
    let status = match status {
        Status::Idle => b'I',
        Status::Open => b'T',
        Status::Failed => b'E',
    };
    message(out, b'Z', |out| out.put_u8(status));
}

pub(super) fn parse_complete(out: &mut BytesMut) {
    message(out, b'1', |_| {});
}

pub(super) fn bind_complete(out: &mut BytesMut) {
    message(out, b'2', |_| {});
}

/// CopyInResponse: so many columns, all in binary.
pub(super) fn copy_in(out: &mut BytesMut, columns: i16) {
    message(out, b'G', |out| {
        out.put_u8(1);
        out.put_i16(columns);
        for _ in 0..columns {
            out.put_i16(1);
        }
    });
}

pub(super) fn row(out: &mut BytesMut, row: &AnswerRow) {
    message(out, b'D', |out| {
        out.put_i16(i16::try_from(row.len()).expect("a row has few columns"));
        for value in row {
            match value {
                None => out.put_i32(-1),
                Some(value) => {
                    out.put_i32(i32::try_from(value.len()).expect("a value is far smaller"));
                    out.put_slice(value.as_bytes());
                }
            }
        }
    });
}

pub(super) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| string(out, tag));
}

pub(super) fn error(out: &mut BytesMut, error: &SqlError) {
    let severity = if error.is_fatal { "FATAL" } else { "ERROR" };
    report(out, b'E', severity, error);
}

pub(super) fn warning(out: &mut BytesMut, error: &SqlError) {
    report(out, b'N', "WARNING", error);
}

fn report(out: &mut BytesMut, kind: u8, severity: &str, error: &SqlError) {
    message(out, kind, |out| {
        let mut field = |kind: u8, value: &str| {
            out.put_u8(kind);
            string(out, value);
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', std::str::from_utf8(&error.code).expect("letters and digits"));
        field(b'M', &error.message);
        if !error.table.is_empty() {
            field(b's', "public");
            field(b't', error.table);
        }
        if !error.constraint.is_empty() {
            field(b'n', &error.constraint);
        }
        out.put_u8(0);
    });
}
