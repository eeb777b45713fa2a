//! Frames: a length, a header, a body. What cannot be read ends the connection, as with a real broker.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

/// Longest request taken (`socket.request.max.bytes`).
const REQUEST_BYTES_MAX: usize = 100 << 20;

/// A request on its way through a broker.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) body: Bytes,
}

/// The next whole request, taken off the front.
///
/// # Errors
/// It is none: the connection is to be closed.
pub(super) fn next(received: &mut BytesMut) -> Result<Option<Asked>, String> {
    let Some(length) = received.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
        return Ok(None);
    };
    if length > REQUEST_BYTES_MAX {
        return Err(format!("a request of {length} bytes"));
    }
    if received.len() < 4 + length {
        return Ok(None);
    }
    received.advance(4);
    let mut frame = received.split_to(length).freeze();
    let key = frame.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)).ok_or("an empty request")?;
    let key = ApiKey::try_from(key).map_err(|_| format!("api key {key}"))?;
    let header = RequestHeader::decode(&mut frame, 2).map_err(|error| format!("{key:?}: {error}"))?;
    let correlation = header.correlation_id;
    Ok(Some(Asked { key, version: header.request_api_version, correlation, body: frame }))
}

impl Asked {
    /// Its body as a request.
    ///
    /// # Errors
    /// It is none of this version.
    pub(super) fn decode<T: Decodable>(&self) -> Result<T, String> {
        let mut body = self.body.clone();
        T::decode(&mut body, self.version).map_err(|error| format!("{:?} {}: {error}", self.key, self.version))
    }

    /// A response as a frame.
    pub(super) fn answer(&self, response: &impl Encodable) -> Bytes {
        let mut body = Vec::new();
        response.encode(&mut body, self.version).expect("the fake fills only what the version has");
        // The one response whose header has no tags, whatever its version (Kafka's protocol guide).
        let has_tags = self.key != ApiKey::ApiVersions;
        let mut out = BytesMut::with_capacity(9 + body.len());
        out.put_u32(u32::try_from(4 + usize::from(has_tags) + body.len()).expect("answers are small"));
        out.put_i32(self.correlation);
        if has_tags {
            out.put_u8(0);
        }
        out.extend_from_slice(&body);
        out.freeze()
    }
}
