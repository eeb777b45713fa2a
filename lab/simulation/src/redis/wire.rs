//! Requests as they come over the wire: arrays of bulk strings (RESP2). Never the inline form, which no program of ours
//! speaks.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use super::keyspace::Text;

/// Bytes of one argument, as `proto-max-bulk-len` has it.
const BULK_BYTES_MAX: usize = 512 << 20;
/// Arguments of one request, as Redis itself bounds them (`INT_MAX`).
const ARGUMENTS_MAX: usize = i32::MAX as usize;

/// What is no request: Redis says so in these words and ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProtocolError(pub(super) String);

/// Takes the next whole request from the front of `received`; `None`: it has not come whole. An empty request yields no
/// arguments and no reply.
pub(super) fn request(received: &mut BytesMut) -> Result<Option<Vec<Text>>, ProtocolError> {
    let Some(places) = places(received)? else { return Ok(None) };
    let arguments = places.arguments.into_iter().map(|place| Text::from(&received[place])).collect();
    received.advance(places.end);
    Ok(Some(arguments))
}

/// Where the arguments of a whole request stand, and where it ends.
struct Places {
    arguments: Vec<Range<usize>>,
    end: usize,
}

fn places(bytes: &[u8]) -> Result<Option<Places>, ProtocolError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    if *first != b'*' {
        return Err(ProtocolError(format!("expected '*', got '{}'", first.escape_ascii())));
    }
    let Some((count, mut at)) = number(bytes, 1, "invalid multibulk length", ARGUMENTS_MAX)? else { return Ok(None) };
    let mut arguments = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let Some(kind) = bytes.get(at) else { return Ok(None) };
        if *kind != b'$' {
            return Err(ProtocolError(format!("expected '$', got '{}'", kind.escape_ascii())));
        }
        let Some((length, from)) = number(bytes, at + 1, "invalid bulk length", BULK_BYTES_MAX)? else {
            return Ok(None);
        };
        if bytes.len() < from + length + 2 {
            return Ok(None);
        }
        arguments.push(from..from + length);
        at = from + length + 2;
    }
    Ok(Some(Places { arguments, end: at }))
}

/// The number that begins at `from`, and what stands behind its line.
fn number(bytes: &[u8], from: usize, wrong: &str, max: usize) -> Result<Option<(usize, usize)>, ProtocolError> {
    let Some(end) = bytes[from..].iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let digits = bytes[from..from + end].strip_suffix(b"\r");
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match number {
        Some(number) if number <= max => Ok(Some((number, from + end + 1))),
        _ => Err(ProtocolError(wrong.to_owned())),
    }
}
