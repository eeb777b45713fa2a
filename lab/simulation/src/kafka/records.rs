//! The records of a batch one by one, byte by byte: what a broker that compacts has to tell apart.

use bytes::{Buf, Bytes};

use super::log::HEADER_BYTES;

/// Where a batch says of its records how many they are.
pub(super) const COUNT_AT: usize = 57;
/// Bits of a batch's attributes that name a compression, in their second byte.
const COMPRESSION: (usize, u8) = (22, 0b111);

/// One record (record format v2, Kafka's protocol guide).
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// As it stands in its batch, its length in front.
    pub(super) bytes: Bytes,
    pub(super) offset_delta: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// All records of a batch whose header was looked at; `None`: they are compressed, or cut short.
pub(super) fn records(batch: &Bytes) -> Option<Vec<Raw>> {
    if batch[COMPRESSION.0] & COMPRESSION.1 != 0 {
        return None;
    }
    let count = i32::from_be_bytes(*batch[COUNT_AT..].first_chunk::<4>()?);
    let mut rest = batch.slice(HEADER_BYTES..);
    (0..count).map(|_| next(&mut rest)).collect()
}

fn next(rest: &mut Bytes) -> Option<Raw> {
    let whole = rest.clone();
    let length = usize::try_from(varint(rest)?).ok()?;
    let mut record = (length <= rest.len()).then(|| rest.split_to(length))?;
    let bytes = whole.slice(..whole.len() - rest.len());
    let _attributes = record.try_get_u8().ok()?;
    let _timestamp_delta = varint(&mut record)?;
    let offset_delta = varint(&mut record)?;
    let (key, value) = (field(&mut record)?, field(&mut record)?);
    Some(Raw { bytes, offset_delta, key, value })
}

/// Bytes behind their length; −1 of them: none, which is not the same as empty.
fn field(from: &mut Bytes) -> Option<Option<Bytes>> {
    match varint(from)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok()?;
            (length <= from.len()).then(|| Some(from.split_to(length)))
        }
    }
}

/// A zigzag varint (Protocol Buffers' `sint64`).
fn varint(from: &mut Bytes) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
        }
    }
    None
}
