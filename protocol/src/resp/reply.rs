//! One complete reply, read where it lies.

use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::error::ServerError;
use super::head::{Head, head};

/// Exactly one complete reply whose lengths and terminators were checked by the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    bytes: &'a [u8],
}

/// What an element of a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A status line, such as `OK`.
    Status(&'a [u8]),
    /// An error.
    Error(ServerError<'a>),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(&'a [u8]),
    /// No value (a null string or null array).
    Null,
    /// Elements in order.
    Array(Items<'a>),
}

impl<'a> Reply<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reply<'a> {
        Reply { bytes }
    }

    /// The reply as it came over the wire.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What it says.
    pub fn value(self) -> Value<'a> {
        match read_head(self.bytes) {
            // The array is all there is, so its end need not be looked for.
            (Head::Array(left), head_bytes) => Value::Array(Items { bytes: &self.bytes[head_bytes..], left }),
            _ => element(self.bytes).0,
        }
    }

    /// The elements of an array; `None` where the reply is neither array nor error.
    ///
    /// # Errors
    /// The error that Redis answered with.
    pub fn items(self) -> Result<Option<Items<'a>>, ServerError<'a>> {
        match self.value() {
            Value::Array(items) => Ok(Some(items)),
            Value::Error(error) => Err(error),
            _ => Ok(None),
        }
    }

    /// The reply as an owned tree, for replies whose shape is deep and whose rate is low.
    ///
    /// # Errors
    /// None for a reply that the decoder yielded, unless `redis-protocol` refuses what we took.
    pub fn to_frame(self) -> Result<OwnedFrame, RedisProtocolError> {
        let frame = decode(self.bytes)?;
        let (frame, length) = frame.expect("the reply is complete");
        assert_eq!(length, self.bytes.len(), "one reply, the whole of it");
        Ok(frame)
    }
}

/// The elements of an array, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Items<'a> {
    /// The next element where it is a string; `None` where it is anything else, or there is none.
    pub fn next_bulk(&mut self) -> Option<&'a [u8]> {
        match self.next() {
            Some(Value::Bulk(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The next element where it is a number, sent as an integer or as a string of decimal digits.
    pub fn next_number(&mut self) -> Option<u64> {
        match self.next() {
            Some(Value::Integer(value)) => u64::try_from(value).ok(),
            Some(Value::Bulk(bytes)) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.left == 0 {
            return None;
        }
        let (value, length) = element(self.bytes);
        self.bytes = &self.bytes[length..];
        self.left -= 1;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Items<'_> {}

fn read_head(bytes: &[u8]) -> (Head, usize) {
    head(bytes, 0).ok().flatten().expect("the decoder yields complete replies only")
}

/// The element at the front of `bytes` and its length. The decoder has seen it whole and bounded its depth.
fn element(bytes: &[u8]) -> (Value<'_>, usize) {
    let (head, head_bytes) = read_head(bytes);
    match head {
        Head::Line if bytes[0] == b'+' => (Value::Status(&bytes[1..head_bytes - 2]), head_bytes),
        Head::Line => (Value::Error(ServerError::new(&bytes[1..head_bytes - 2])), head_bytes),
        Head::Integer(value) => (Value::Integer(value), head_bytes),
        Head::Null => (Value::Null, head_bytes),
        Head::Bulk(length) => (Value::Bulk(&bytes[head_bytes..head_bytes + length]), head_bytes + length + 2),
        Head::Array(left) => {
            let mut end = head_bytes;
            for _ in 0..left {
                end += element(&bytes[end..]).1;
            }
            (Value::Array(Items { bytes: &bytes[head_bytes..end], left }), end)
        }
    }
}
