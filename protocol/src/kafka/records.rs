//! Record batch v2, written by hand into one buffer.
//!
//! ```text
//! base offset:i64 | length:i32 | leader epoch:i32 | magic:i8 = 2 | crc:u32 | attributes:i16 | last offset delta:i32
//! | base timestamp:i64 | max timestamp:i64 | producer id:i64 | producer epoch:i16 | base sequence:i32 | count:i32 | records
//!
//! record   length:varint | attributes:i8 | timestamp delta:varint | offset delta:varint | key length:varint | key
//!          | value length:varint | value | count of headers:varint
//! ```
//!
//! Values are written by their owner straight into the batch; lengths are filled in behind them, the header and its
//! CRC-32C last. Records have no headers and no compression, and a key only where they are given one. Never sends anything and never reads a batch
//! (decoding is the consumer's).

/// Bytes in front of the first record.
pub const HEADER_BYTES: usize = 61;

/// Longest value of one record, bytes. An order takes 300; the bound keeps a batch that has just not been full below the
/// broker's default of 1 MiB.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// A value longer than [`VALUE_BYTES_MAX`]; how long. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {0} bytes, where at most {VALUE_BYTES_MAX} are allowed")]
pub struct ValueTooLong(pub usize);

/// Where the part begins that the length counts.
const LENGTH_END: usize = 12;
/// Where the part begins that the CRC covers.
const CRC_END: usize = 21;

/// Bytes that are set aside for each of a record's two lengths: enough for 64 to 8,191 bytes, which is what an order takes.
const LENGTH_VARINT_BYTES: usize = 2;

/// The producer of a batch, by which the broker tells duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    /// From InitProducerId; never negative.
    pub id: i64,
    /// From InitProducerId.
    pub epoch: i16,
}

/// A record without a time (`RecordBatch.NO_TIMESTAMP`): no broker refuses it for its clock.
pub const NO_TIMESTAMP: i64 = -1;

/// A batch that records are appended to. Reusable: [`BatchBuilder::clear`] keeps its buffer.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch without a buffer.
    pub const fn new() -> BatchBuilder {
        BatchBuilder { buffer: Vec::new(), count: 0, base_timestamp: 0, max_timestamp: 0 }
    }

    /// Makes the batch empty.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.count = 0;
    }

    /// Records in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Its bytes so far; 0 where it is empty.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether some record in it has a time.
    pub fn is_timed(&self) -> bool {
        self.max_timestamp != NO_TIMESTAMP
    }

    /// Bytes its buffer holds on to.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Appends a record whose value is what `write` appends to the buffer it is given (it must not do anything else to
    /// it), under `key` where it has one: what compaction keeps the last record of. `timestamp_ms` is milliseconds since the
    /// Unix epoch, or [`NO_TIMESTAMP`].
    ///
    /// # Errors
    /// [`ValueTooLong`] where the value has more than [`VALUE_BYTES_MAX`]: the batch is as before.
    #[inline]
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ValueTooLong> {
        if self.count == 0 {
            self.buffer.clear();
            self.buffer.resize(HEADER_BYTES, 0);
            (self.base_timestamp, self.max_timestamp) = (timestamp_ms, timestamp_ms);
        }
        let start = self.buffer.len();

        // Up to the value everything has a known width but the two lengths: room is set aside for the usual one.
        let mut head = [0; RECORD_HEAD_BYTES_MAX];
        let mut at = LENGTH_VARINT_BYTES + 1; // length, attributes = 0
        at += put_varint(&mut head[at..], timestamp_ms.wrapping_sub(self.base_timestamp));
        at += put_varint(&mut head[at..], i64::from(self.count));
        let mut fixed = at - LENGTH_VARINT_BYTES; // between the two lengths
        if let Some(key) = key {
            at += put_varint(&mut head[at..], key.len() as i64);
            self.buffer.extend_from_slice(&head[..at]);
            self.buffer.extend_from_slice(key);
            self.buffer.extend_from_slice(&[0; LENGTH_VARINT_BYTES]);
            fixed = at - LENGTH_VARINT_BYTES + key.len();
        } else {
            head[at] = NO_KEY;
            fixed += 1;
            self.buffer.extend_from_slice(&head[..at + 1 + LENGTH_VARINT_BYTES]);
        }

        let value_start = self.buffer.len();
        write(&mut self.buffer);
        assert!(self.buffer.len() >= value_start, "a value's writer has taken bytes away");
        let value_bytes = self.buffer.len() - value_start;
        if value_bytes > VALUE_BYTES_MAX {
            self.buffer.truncate(if self.count == 0 { 0 } else { start });
            return Err(ValueTooLong(value_bytes));
        }
        self.buffer.push(0); // no headers

        let value_width = varint_width(value_bytes as i64);
        let record_bytes = fixed + value_width + value_bytes + 1;
        let record_width = varint_width(record_bytes as i64);
        if value_width != LENGTH_VARINT_BYTES || record_width != LENGTH_VARINT_BYTES {
            self.make_room(start, fixed, record_width, value_width, value_bytes);
        }
        put_varint(&mut self.buffer[start..], record_bytes as i64);
        put_varint(&mut self.buffer[start + record_width + fixed..], value_bytes as i64);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        Ok(())
    }

    /// Moves what stands around the lengths of a small or large record to where it belongs.
    #[cold]
    fn make_room(&mut self, start: usize, fixed: usize, record_width: usize, value_width: usize, value_bytes: usize) {
        let old_fixed = start + LENGTH_VARINT_BYTES;
        let old_value = old_fixed + fixed + LENGTH_VARINT_BYTES;
        let new_fixed = start + record_width;
        let new_value = new_fixed + fixed + value_width;
        let tail = value_bytes + 1; // with the count of headers
        // What moves towards the end goes from the last to the first, what moves towards the start the other way.
        if new_value > old_value {
            self.buffer.resize(new_value + tail, 0);
            self.buffer.copy_within(old_value..old_value + tail, new_value);
            self.buffer.copy_within(old_fixed..old_fixed + fixed, new_fixed);
        } else {
            self.buffer.copy_within(old_fixed..old_fixed + fixed, new_fixed);
            self.buffer.copy_within(old_value..old_value + tail, new_value);
            self.buffer.truncate(new_value + tail);
        }
    }

    /// Fills the header in: from now on the batch can be sent, as often as need be, as [`BatchBuilder::bytes`].
    ///
    /// # Panics
    /// Where it is empty.
    pub fn seal(&mut self, producer: ProducerId, base_sequence: i32) {
        assert!(self.count > 0 && base_sequence >= 0 && producer.id >= 0, "not a batch that may be sent");
        let length = (self.buffer.len() - LENGTH_END) as i32;
        let header = &mut self.buffer[..HEADER_BYTES];
        let mut put = Put { header, at: 0 };
        put.bytes(&0i64.to_be_bytes()); // base offset: the broker's
        put.bytes(&length.to_be_bytes());
        put.bytes(&(-1i32).to_be_bytes()); // leader epoch: the broker's
        put.bytes(&[2]);
        put.bytes(&[0; 4]); // CRC, below
        put.bytes(&0i16.to_be_bytes()); // attributes: no compression, create time
        put.bytes(&(self.count as i32 - 1).to_be_bytes());
        put.bytes(&self.base_timestamp.to_be_bytes());
        put.bytes(&self.max_timestamp.to_be_bytes());
        put.bytes(&producer.id.to_be_bytes());
        put.bytes(&producer.epoch.to_be_bytes());
        put.bytes(&base_sequence.to_be_bytes());
        put.bytes(&(self.count as i32).to_be_bytes());
        debug_assert_eq!(put.at, HEADER_BYTES);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &self.buffer[CRC_END..]) as u32;
        self.buffer[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_be_bytes());
    }

    /// The batch as it goes over the wire; its header is right once it is sealed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Calls `each` with timestamp, key and value of each record, in order: for splitting a batch that a broker found
    /// too large.
    pub fn for_each(&self, mut each: impl FnMut(i64, Option<&[u8]>, &[u8])) {
        let mut rest = self.buffer.get(HEADER_BYTES..).unwrap_or(&[]);
        for _ in 0..self.count {
            let (_, after) = take_varint(rest);
            let (timestamp_delta, after) = take_varint(&after[1..]);
            let (_, after) = take_varint(after);
            let (key_bytes, after) = take_varint(after);
            let (key, after) = after.split_at(key_bytes.max(0) as usize);
            let (value_bytes, after) = take_varint(after);
            let (value, after) = after.split_at(value_bytes as usize);
            each(self.base_timestamp.wrapping_add(timestamp_delta), (key_bytes >= 0).then_some(key), value);
            rest = &after[1..];
        }
        debug_assert!(rest.is_empty());
    }
}

struct Put<'a> {
    header: &'a mut [u8],
    at: usize,
}

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.header[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Two lengths, attributes, a timestamp delta of ten bytes, an offset delta of five, the key's length of five.
const RECORD_HEAD_BYTES_MAX: usize = 2 * LENGTH_VARINT_BYTES + 1 + 10 + 5 + 5;

/// −1 in zigzag.
const NO_KEY: u8 = 1;

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that `value` takes as a zigzag varint.
fn varint_width(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` as a zigzag varint to the front of `out`; returns its width.
fn put_varint(out: &mut [u8], value: i64) -> usize {
    let mut rest = zigzag(value);
    let mut at = 0;
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Reads back what [`put_varint`] wrote.
fn take_varint(bytes: &[u8]) -> (i64, &[u8]) {
    let mut value = 0u64;
    let mut shift = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            return ((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[index + 1..]);
        }
    }
    unreachable!("only what this module wrote is read back")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    type Written = (i64, Option<Vec<u8>>, Vec<u8>);

    fn build(records: &[Written], producer: ProducerId, sequence: i32) -> BatchBuilder {
        let mut batch = BatchBuilder::new();
        for (timestamp, key, value) in records {
            batch.append(*timestamp, key.as_deref(), |out| out.extend_from_slice(value)).unwrap();
        }
        batch.seal(producer, sequence);
        batch
    }

    fn check_against_the_crate(records: &[Written], producer: ProducerId, sequence: i32) {
        let batch = build(records, producer, sequence);
        let mut bytes = Bytes::copy_from_slice(batch.bytes());
        let decoded = RecordBatchDecoder::decode(&mut bytes).unwrap().records; // checks the CRC
        assert!(bytes.is_empty());
        assert_eq!(decoded.len(), records.len());
        for (index, (found, (timestamp, key, value))) in decoded.iter().zip(records).enumerate() {
            assert_eq!(found.value.as_deref(), Some(&value[..]));
            assert_eq!(found.key.as_deref(), key.as_deref());
            assert!(found.headers.is_empty());
            assert_eq!(found.timestamp, *timestamp);
            assert_eq!(found.offset, index as i64);
            assert_eq!(found.sequence, sequence + index as i32);
            assert_eq!((found.producer_id, found.producer_epoch), (producer.id, producer.epoch));
            assert!(!found.transactional && !found.control);
        }
        let mut index = 0;
        batch.for_each(|timestamp, key, value| {
            let expected = &records[index];
            assert_eq!((timestamp, key, value), (expected.0, expected.1.as_deref(), &expected.2[..]));
            index += 1;
        });
        assert_eq!(index, records.len());
    }

    /// Lengths around every width of the two lengths of a record.
    #[test]
    fn lengths_of_every_width() {
        let producer = ProducerId { id: 7, epoch: 3 };
        for bytes in (0..140).chain(8_100..8_300).chain([20_000, VALUE_BYTES_MAX]) {
            for key in [0, 1, 60, 64, 300, 9_000] {
                let key = Some(vec![b'k'; key]);
                let records =
                    [(5, key.clone(), vec![b'x'; bytes]), (6, None, vec![b'y'; 300]), (4, key, vec![b'z'; bytes])];
                check_against_the_crate(&records, producer, 0);
            }
            let records = [(5, None, vec![b'x'; bytes]), (6, None, vec![b'y'; 300]), (4, None, vec![b'z'; bytes])];
            check_against_the_crate(&records, producer, 0);
        }
    }

    #[test]
    fn a_value_too_long_leaves_the_batch_as_it_was() {
        let producer = ProducerId { id: 7, epoch: 3 };
        let too_long = vec![b'x'; VALUE_BYTES_MAX + 1];
        let mut batch = BatchBuilder::new();
        assert_eq!(batch.append(99, None, |out| out.extend_from_slice(&too_long)), Err(ValueTooLong(too_long.len())));
        assert!(batch.is_empty() && batch.bytes().is_empty());
        batch.append(10, None, |out| out.extend_from_slice(b"first")).unwrap();
        assert_eq!(batch.append(99, None, |out| out.extend_from_slice(&too_long)), Err(ValueTooLong(too_long.len())));
        batch.append(10, None, |out| out.extend_from_slice(b"second")).unwrap();
        batch.seal(producer, 5);
        let same = build(&[(10, None, b"first".to_vec()), (10, None, b"second".to_vec())], producer, 5);
        assert_eq!(batch.bytes(), same.bytes());
    }

    #[test]
    fn a_batch_can_be_sealed_again() {
        let mut batch = build(&[(1, None, b"x".to_vec())], ProducerId { id: 1, epoch: 0 }, 9);
        batch.seal(ProducerId { id: 2, epoch: 0 }, 0);
        assert_eq!(batch.bytes(), build(&[(1, None, b"x".to_vec())], ProducerId { id: 2, epoch: 0 }, 0).bytes());
        batch.clear();
        assert!(batch.is_empty() && batch.bytes().is_empty());
        batch.append(1, None, |out| out.push(b'x')).unwrap();
        batch.seal(ProducerId { id: 2, epoch: 0 }, 0);
        assert_eq!(batch.bytes(), build(&[(1, None, b"x".to_vec())], ProducerId { id: 2, epoch: 0 }, 0).bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn the_crate_reads_what_was_written(
            base in 0i64..1 << 52,
            records in proptest::collection::vec((-70_000i64..70_000_000, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)), proptest::collection::vec(any::<u8>(), 0..600)), 1..60),
            id in 0i64.., epoch in 0i16.., sequence in 0i32..1 << 30,
        ) {
            let records: Vec<_> = records.into_iter().map(|(delta, key, value)| (base + delta, key, value)).collect();
            check_against_the_crate(&records, ProducerId { id, epoch }, sequence);
        }
    }
}
