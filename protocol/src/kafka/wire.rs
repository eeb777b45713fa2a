//! Decoding a message that may be malformed or hostile.
//!
//! kafka-protocol sets aside room for as many array elements as the message *says* it has: five bytes could ask for
//! hundreds of gigabytes, and a failed allocation ends the process. [`decode`] hands the crate a buffer that refuses any
//! variable-length number larger than what is left of the message. In the flexible versions, the only ones we speak
//! ([`super::versions`]), each such number is a length, a count or a tag, and each element counted takes a byte or more.
//!
//! Never checks what a message means.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// A message that is not what its kind and version say: the connection is to be closed, what was asked on it is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} message: {reason}")]
pub struct WireError {
    /// The type it was to be.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// The message of type `M` that `body` holds, all of it.
///
/// # Errors
/// [`WireError`] where the body is cut off, too long, or holds a count or length beyond its own end.
pub fn decode<M: Decodable>(body: &Bytes, version: i16) -> Result<M, WireError> {
    let kind = std::any::type_name::<M>().rsplit("::").next().unwrap_or("Kafka");
    let mut bounded = Bounded { rest: body.clone(), varint: 0, shift: 0 };
    let message = M::decode(&mut bounded, version).map_err(|error| WireError { kind, reason: error.to_string() })?;
    if bounded.has_remaining() {
        return Err(WireError { kind, reason: format!("{} bytes too many", bounded.remaining()) });
    }
    Ok(message)
}

/// Bytes that refuse to say a variable-length number larger than themselves. Tags are spared: they name, not count.
struct Bounded {
    rest: Bytes,
    /// The number that single bytes are spelling just now, and how far it has got.
    varint: u64,
    shift: u32,
}

/// Numbers up to this one are let through even where fewer bytes are left: tags are small numbers that count nothing, and
/// room for this many elements is no harm.
const SMALL: u64 = 127;

impl Buf for Bounded {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        (self.varint, self.shift) = (0, 0);
        self.rest.advance(count);
    }

    /// The crate reads variable-length numbers, and nothing else that is above 127, byte by byte through this.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.rest.try_get_u8()?;
        self.varint |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        if byte < 0x80 || self.shift >= 35 {
            let (varint, available) = (self.varint, self.rest.remaining());
            (self.varint, self.shift) = (0, 0);
            // A count or length is spelt with one added to it.
            if varint > SMALL.max(available as u64 + 1) {
                return Err(TryGetError { requested: usize::try_from(varint).unwrap_or(usize::MAX), available });
            }
        }
        Ok(byte)
    }
}

impl ByteBuf for Bounded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        (self.varint, self.shift) = (0, 0);
        self.rest.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{MetadataResponse, ProduceResponse};
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn a_count_beyond_the_end_is_an_error_not_an_allocation() {
        for varint in [&b"\xff\xff\xff\xff\x0f"[..], b"\xff\xff\xff\xff\xff", b"\x80\x80\x80\x80\x08", b"\xff\xff\x7f"]
        {
            let mut body = 0i32.to_be_bytes().to_vec(); // throttle time, then the count of brokers
            body.extend_from_slice(varint);
            body.extend_from_slice(&[0; 40]);
            decode::<MetadataResponse>(&Bytes::from(body), 12).unwrap_err();
            let mut body = varint.to_vec(); // count of topics
            body.extend_from_slice(&[0; 40]);
            decode::<ProduceResponse>(&Bytes::from(body), 12).unwrap_err();
        }
    }

    #[test]
    fn bytes_too_many_are_an_error() {
        let mut body = Vec::new();
        MetadataResponse::default().encode(&mut body, 12).unwrap();
        assert_eq!(decode::<MetadataResponse>(&Bytes::from(body.clone()), 12), Ok(MetadataResponse::default()));
        body.push(0);
        let error = decode::<MetadataResponse>(&Bytes::from(body), 12).unwrap_err();
        assert_eq!(error.to_string(), "not a MetadataResponse message: 1 bytes too many");
    }
}
