//! What stands around every Kafka message: a length, a header, a correlation id.
//!
//! ```text
//! request   length:i32 | api key:i16 | version:i16 | correlation id:i32 | client id:nullable string | tags | body
//! response  length:i32 | correlation id:i32 | tags (not for ApiVersions) | body
//! ```
//!
//! Requests carry header version 2 and responses header version 1 throughout, since we speak flexible versions only
//! ([`super::versions`]), but for SaslHandshake, which has none. This module never looks into a body.

use bytes::{Buf, Bytes, BytesMut};

use super::limits::FRAME_BYTES_MAX;

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// Why the byte stream can no longer be trusted: the connection is to be closed, and what became of the requests in
/// flight on it is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length in front of a frame is negative, too small for a header, or above the bound.
    #[error("a response of {length} bytes where at most {bytes_max} are allowed")]
    Length {
        /// What stood there.
        length: i32,
        /// What was allowed.
        bytes_max: usize,
    },
    /// What stands there is the beginning of a TLS record (RFC 8446 section 5.1).
    #[error("it answers in TLS: --kafka-security must be ssl or sasl_ssl for this port")]
    Tls,
    /// A frame ends within its header.
    #[error("a response that ends within its header")]
    Header,
}

/// Starts a request at the end of `out`: everything up to its body, the length still open.
///
/// Returns where the request begins, for [`end_request`].
pub fn begin_request(out: &mut Vec<u8>, api_key: i16, version: i16, correlation_id: i32, client_id: &str) -> usize {
    let start = out.len();
    // The configuration bounds the client id far below; a longer one is cut rather than spelt wrongly.
    let client_id = &client_id.as_bytes()[..client_id.len().min(i16::MAX as usize)];
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(&api_key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    out.extend_from_slice(&(client_id.len() as i16).to_be_bytes());
    out.extend_from_slice(client_id);
    out.push(0); // no tagged fields
    start
}

/// Takes the tags of a header off again, right behind [`begin_request`]: header version 1, which one request still has.
pub fn drop_request_tags(out: &mut Vec<u8>) {
    let tags = out.pop();
    debug_assert_eq!(tags, Some(0), "right behind the header");
}

/// Ends the request that begins at `start`: fills its length in.
///
/// # Panics
/// Where the request is longer than any broker takes: our own mistake, batches are bounded far below.
pub fn end_request(out: &mut [u8], start: usize) {
    let length = out.len() - start - LENGTH_BYTES;
    assert!(length <= FRAME_BYTES_MAX, "a request of {length} bytes");
    out[start..start + LENGTH_BYTES].copy_from_slice(&(length as i32).to_be_bytes());
}

/// Takes one whole frame, without its length, off the front of `buffer`. `None`: more bytes are needed; room for them is
/// reserved, so that a long answer arrives in few reads.
///
/// # Errors
/// [`FrameError::Length`] as soon as the length can be read, not only when the frame is there.
pub fn take_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    let within = |length: &usize| (LENGTH_BYTES..=bytes_max.min(FRAME_BYTES_MAX)).contains(length);
    let Some(bytes) = usize::try_from(length).ok().filter(within) else {
        // Alert or handshake, version 3: no such length is within any bound.
        let is_tls = matches!(prefix, [0x15 | 0x16, 3, ..]);
        return Err(if is_tls { FrameError::Tls } else { FrameError::Length { length, bytes_max } });
    };
    if buffer.len() < LENGTH_BYTES + bytes {
        buffer.reserve(LENGTH_BYTES + bytes - buffer.len());
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(bytes).freeze()))
}

/// Takes the correlation id off the front of a frame.
///
/// # Errors
/// [`FrameError::Header`].
pub fn take_correlation_id(frame: &mut Bytes) -> Result<i32, FrameError> {
    frame.try_get_i32().map_err(|_| FrameError::Header)
}

/// Takes the tagged fields of response header version 1 off the front of a frame; none is defined, so all are skipped.
///
/// # Errors
/// [`FrameError::Header`].
pub fn skip_tags(frame: &mut Bytes) -> Result<(), FrameError> {
    let tags = take_varint(frame)?;
    for _ in 0..tags {
        take_varint(frame)?;
        let length = take_varint(frame)? as usize;
        if frame.remaining() < length {
            return Err(FrameError::Header);
        }
        frame.advance(length);
    }
    Ok(())
}

fn take_varint(frame: &mut Bytes) -> Result<u32, FrameError> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = frame.try_get_u8().map_err(|_| FrameError::Header)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(FrameError::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_its_length() {
        let mut out = b"before".to_vec();
        let start = begin_request(&mut out, 18, 4, 7, "me");
        out.extend_from_slice(b"body");
        end_request(&mut out, start);
        assert_eq!(out, b"before\0\0\0\x11\0\x12\0\x04\0\0\0\x07\0\x02me\0body");
    }

    #[test]
    fn frames_come_out_whole_however_they_are_split() {
        let stream = b"\0\0\0\x05hello\0\0\0\x04wide\0\0\0\x06worlds";
        for cut in 0..=stream.len() {
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(frame) = take_frame(&mut buffer, 6).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"hello"[..], b"wide", b"worlds"]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_their_bytes_arrive() {
        for length in [i32::MIN, -1, 0, 3, 101, i32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert_eq!(take_frame(&mut buffer, 100), Err(FrameError::Length { length, bytes_max: 100 }));
        }
        let mut buffer = BytesMut::from(&100i32.to_be_bytes()[..]);
        assert_eq!(take_frame(&mut buffer, 100), Ok(None));
        assert!(buffer.capacity() >= 104);
    }

    #[test]
    fn tags_of_a_header_are_skipped() {
        let mut frame = Bytes::from_static(b"\x02\x00\x01x\x05\x02yzrest");
        skip_tags(&mut frame).unwrap();
        assert_eq!(frame, "rest");
        for cut in 0..8 {
            let mut frame = Bytes::from_static(b"\x02\x00\x01x\x05\x02yzrest").slice(..cut);
            assert_eq!(skip_tags(&mut frame), Err(FrameError::Header), "{cut}");
        }
        assert_eq!(skip_tags(&mut Bytes::from_static(b"\xff\xff\xff\xff\xff\x01")), Err(FrameError::Header));
    }
}
