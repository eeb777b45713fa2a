//! Redis' replies: cut anywhere they read the same, as `redis-protocol` reads them, within the caps and without an allocation.

use bytes::BytesMut;
use flux_edge::redis::replies::{Code, Head, Refreshed};
use flux_protocol::resp::{Decoder, Limits, Malformed, OwnedFrame, Reply, Value};
use redis_protocol::resp2::decode::decode;

use crate::allocation;
use crate::input::{Input, pieces};

/// Small enough that a fuzzer reaches them.
const LIMITS: Limits = Limits { reply_bytes_max: 600, elements_max: 40 };
/// Arrays inside arrays; the decoder's own bound is 8.
const DEPTH_MAX: usize = 8;

/// How to cut, then what Redis sends.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let stream = input.rest();
    let whole = read(&[stream]);
    assert_eq!(read(&pieces(stream, choice)), whole, "cut by {choice}");
    assert_eq!(read(&pieces(stream, 255)), whole, "byte by byte");

    let mut at = 0;
    for reply in &whole.0 {
        let reply_bytes = &stream[at..at + reply.len()];
        assert_eq!(reply_bytes, reply, "replies stand one behind the other");
        at += reply.len();
        assert!(reply.len() <= LIMITS.reply_bytes_max);
        agree(reply);
    }
}

/// All replies, and why there are no more of them; `None`: their bytes are over.
fn read(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Malformed>) {
    let mut decoder = Decoder::new(LIMITS);
    let (mut buffer, mut replies) = (BytesMut::with_capacity(pieces.iter().map(|piece| piece.len()).sum()), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let polled = allocation::within(0, "finding the end of a reply", || {
                decoder.poll(&mut buffer).map(|reply| reply.map(|reply| (reply.bytes().len(), weigh(reply.value(), 0))))
            });
            match polled {
                Ok(Some((length, elements))) => {
                    assert!(elements <= LIMITS.elements_max, "{elements} elements");
                    replies.push(buffer[..length].to_vec());
                }
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// Its elements, itself one of them. Every byte of it is looked at.
fn weigh(value: Value<'_>, depth: usize) -> usize {
    assert!(depth <= DEPTH_MAX, "deeper than is allowed");
    match value {
        Value::Array(items) => 1 + items.map(|item| weigh(item, depth + 1)).sum::<usize>(),
        Value::Bulk(text) | Value::Status(text) => usize::from(std::hint::black_box(text.len()) < usize::MAX),
        Value::Error(error) => {
            std::hint::black_box((error.kind(), error.belief()));
            1
        }
        Value::Integer(_) | Value::Null => 1,
    }
}

/// Held against `redis-protocol`, and handed to all who read replies.
fn agree(bytes: &[u8]) {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(bytes);
    let reply = decoder.poll(&mut buffer).expect("read before").expect("whole");
    if std::str::from_utf8(bytes).is_ok() {
        let (frame, length) = decode(bytes).expect("the library takes what we take").expect("a whole one");
        assert_eq!(length, bytes.len());
        assert_eq!(frame_of(reply.value()), frame);
        assert_eq!(reply.to_frame().expect("as the library"), frame);
    }
    read_by_all(reply);
}

/// None of them may panic, whatever a script is made to answer.
fn read_by_all(reply: Reply<'_>) {
    let Ok(Some(items)) = reply.items() else { return };
    let _ = Head::read(&mut items.clone());
    let _ = Refreshed::read(&mut items.clone());
    for item in items {
        let _ = Code::read(&item);
    }
}

fn frame_of(value: Value<'_>) -> OwnedFrame {
    match value {
        Value::Status(text) => OwnedFrame::SimpleString(text.to_vec()),
        Value::Error(error) => OwnedFrame::Error(String::from_utf8_lossy(error.message()).into_owned()),
        Value::Integer(number) => OwnedFrame::Integer(number),
        Value::Bulk(bytes) => OwnedFrame::BulkString(bytes.to_vec()),
        Value::Null => OwnedFrame::Null,
        Value::Array(items) => OwnedFrame::Array(items.map(frame_of).collect()),
    }
}
