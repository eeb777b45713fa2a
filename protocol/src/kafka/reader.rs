//! Kafka's primitive types, read from a response that may be hostile.
//!
//! The kafka-protocol crate reserves memory for an array by the length that the peer claims, so four bytes can ask
//! for hundreds of gigabytes, and it allocates for each array. The answers that come with every batch, to produce and
//! fetch, go through this reader instead: it never allocates by a claimed length, never reads past the end, and never
//! panics.

use bytes::{Buf, Bytes};

/// The bytes are not what the message's schema says. The connection they came over is closed; what was asked is
/// unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed Kafka message: {0}")]
pub struct Malformed(pub &'static str);

/// A cursor over one message.
#[derive(Clone, Debug)]
pub struct Reader(Bytes);

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader(bytes)
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// The next `length` bytes, without a copy.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.0.len() {
            return Err(Malformed("a length reaches past the end"));
        }
        Ok(self.0.split_to(length))
    }

    /// INT8.
    pub fn int8(&mut self) -> Result<i8, Malformed> {
        self.0.try_get_i8().map_err(|_| Malformed("cut off"))
    }

    /// INT16, big endian.
    pub fn int16(&mut self) -> Result<i16, Malformed> {
        self.0.try_get_i16().map_err(|_| Malformed("cut off"))
    }

    /// INT32, big endian.
    pub fn int32(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed("cut off"))
    }

    /// INT64, big endian.
    pub fn int64(&mut self) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed("cut off"))
    }

    /// BOOLEAN.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.int8()? != 0)
    }

    /// UUID.
    pub fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        let mut uuid = [0; 16];
        self.0.try_copy_to_slice(&mut uuid).map_err(|_| Malformed("cut off"))?;
        Ok(uuid)
    }

    /// UNSIGNED_VARINT: seven bits a byte, least significant first, at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint_bits(5)?).map_err(|_| Malformed("a varint of more than 32 bits"))
    }

    /// VARINT: zigzag over [`Reader::unsigned_varint`].
    pub fn varint(&mut self) -> Result<i32, Malformed> {
        let bits = self.unsigned_varint()?;
        Ok((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }

    /// VARLONG: zigzag, at most 64 bits.
    pub fn varlong(&mut self) -> Result<i64, Malformed> {
        let bits = self.varint_bits(10)?;
        Ok((bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    fn varint_bits(&mut self, bytes_max: usize) -> Result<u64, Malformed> {
        let mut bits = 0u64;
        for (index, &byte) in self.0.iter().take(bytes_max).enumerate() {
            let part = u64::from(byte & 0x7f);
            if index == 9 && part > 1 {
                return Err(Malformed("a varint of more than 64 bits"));
            }
            bits |= part << (7 * index);
            if byte & 0x80 == 0 {
                self.0.advance(index + 1);
                return Ok(bits);
            }
        }
        Err(Malformed("a varint without an end"))
    }

    /// VARINT length and that many bytes; -1 is null.
    pub fn varint_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.varint()? {
            -1 => Ok(None),
            length => Ok(Some(self.take(usize::try_from(length).map_err(|_| Malformed("a negative length"))?)?)),
        }
    }

    /// COMPACT_NULLABLE_BYTES, COMPACT_RECORDS: length plus one as an unsigned varint.
    pub fn compact_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.unsigned_varint()? {
            0 => Ok(None),
            length => Ok(Some(self.take(length as usize - 1)?)),
        }
    }

    /// COMPACT_NULLABLE_STRING.
    pub fn compact_nullable_string(&mut self) -> Result<Option<String>, Malformed> {
        self.compact_bytes()?.map(text).transpose()
    }

    /// COMPACT_STRING.
    pub fn compact_string(&mut self) -> Result<String, Malformed> {
        self.compact_nullable_string()?.ok_or(Malformed("null where a string belongs"))
    }

    /// The length of a COMPACT_ARRAY, null as 0. Never more than the bytes that are left, as no element is empty.
    pub fn compact_array(&mut self) -> Result<usize, Malformed> {
        let length = (self.unsigned_varint()? as usize).saturating_sub(1);
        self.check_length(length)
    }

    /// The length of an ARRAY (INT32), null as 0, bounded likewise.
    pub fn array(&mut self) -> Result<usize, Malformed> {
        match self.int32()? {
            -1 => Ok(0),
            length => self.check_length(usize::try_from(length).map_err(|_| Malformed("a negative length"))?),
        }
    }

    fn check_length(&self, length: usize) -> Result<usize, Malformed> {
        if length > self.0.len() { Err(Malformed("an array longer than its message")) } else { Ok(length) }
    }

    /// STRING (INT16 length).
    pub fn string(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.int16()?).map_err(|_| Malformed("a negative length"))?;
        text(self.take(length)?)
    }

    /// BYTES (INT32 length); -1 is null.
    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.int32()? {
            -1 => Ok(None),
            length => Ok(Some(self.take(usize::try_from(length).map_err(|_| Malformed("a negative length"))?)?)),
        }
    }

    /// Skips the tagged fields of a flexible version; none of those we know matters to a consumer.
    pub fn skip_tagged_fields(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let length = self.unsigned_varint()?;
            self.take(length as usize)?;
        }
        Ok(())
    }
}

fn text(bytes: Bytes) -> Result<String, Malformed> {
    String::from_utf8(bytes.into()).map_err(|_| Malformed("a string that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_the_edges() {
        let read = |bytes: &'static [u8]| Reader::new(Bytes::from_static(bytes));
        assert_eq!(read(&[0x01]).varint(), Ok(-1));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
        assert_eq!(read(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MAX));
        assert!(read(&[0xfe, 0xff, 0xff, 0xff, 0x1f]).varint().is_err(), "33 bits");
        assert!(read(&[0x80; 6]).varint().is_err(), "no end");
        assert!(read(&[0x80]).varint().is_err(), "cut off");
        let longest = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read(longest).varlong(), Ok(i64::MIN));
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varlong().is_err(), "65 bits");
    }

    #[test]
    fn a_claimed_length_reserves_nothing() {
        let huge = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(Reader::new(huge.clone()).compact_array().is_err());
        assert!(Reader::new(huge).compact_bytes().is_err());
        assert!(Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff])).array().is_err());
        assert!(Reader::new(Bytes::from_static(&[0x80, 0, 0, 0])).array().is_err());
        let tags = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(Reader::new(tags).skip_tagged_fields().is_err());
    }
}
