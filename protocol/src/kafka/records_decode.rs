//! Record batches (magic 2) as a fetch brings them: checked when they arrive, decoded record by record when the owner
//! takes them.
//!
//! A fetch gives whole batches from the one that holds the asked offset on, and perhaps a part of one more:
//!
//! ```text
//!  base offset i64 │ length i32 │ leader epoch i32 │ magic i8 │ crc u32 │ attributes i16 │ last offset delta i32 │
//!  0                 8            12                 16         17        21               23
//!  first timestamp i64 │ max timestamp i64 │ producer id i64 │ epoch i16 │ base sequence i32 │ count i32 │ records
//!  27                    35                  43                51          53                  57          61
//! ```
//!
//! Decoding is lazy so that memory stays bounded by what was fetched, however well it was compressed: at most one batch
//! is unpacked at a time, and no list of records is ever built. Keys and values are copied out, so that a record keeps
//! nothing alive but itself: neither the answer it came in nor what a batch unpacked to, whose size its own says nothing
//! of.
//!
//! Never gives a record below the asked offset, of an aborted transaction, or of a control batch; never gives an offset
//! twice or out of order; never skips anything else silently.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use smallvec::SmallVec;

use super::decompress::{Compression, decompress};
use super::reader::{Malformed, Reader};

/// Most bytes that one batch may unpack to. A batch is 1 MiB packed by default; more than this is an attack or a
/// mistake, and becomes [`Entry::Unreadable`].
pub const UNPACKED_BYTES_MAX: usize = 32 << 20;

/// Bytes before the records.
const HEADER_BYTES: usize = 61;
/// Base offset and length: what the length does not count.
const PREFIX_BYTES: usize = 12;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

const ATTRIBUTE_COMPRESSION: i16 = 7;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// One record. Headers are passed over: nothing here reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch, of creation or of append as the topic is configured.
    pub timestamp_ms: i64,
    /// Absent is not the same as empty.
    pub key: Option<Bytes>,
    /// Absent is not the same as empty.
    pub value: Option<Bytes>,
}

/// The rest of a batch whose checksum is right and whose content is not: it will never be readable. The owner keeps it
/// as a dead letter and goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// First offset that could not be read.
    pub first_offset: i64,
    /// Last offset of the batch.
    pub last_offset: i64,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The whole batch as it came.
    pub bytes: Bytes,
}

/// What comes next in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record(Record),
    /// A gap that has to be recorded.
    Unreadable(Unreadable),
}

/// Why nothing of a fetched piece can be used. The log is not what the broker said, or it was damaged on its way: the
/// same offset is to be fetched again, and the owner told. Nothing is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The checksum of the batch at this offset is wrong.
    #[error("the record batch at offset {0} fails its checksum")]
    Checksum(i64),
    /// Not a sequence of record batches.
    #[error("not a record batch: {0}")]
    Malformed(&'static str),
    /// A message format older than Kafka 0.11 or newer than we know.
    #[error("record batch format {0} is not supported")]
    Magic(i8),
}

/// A transaction that was aborted: a fetch with `read_committed` lists those of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Its first offset in the partition.
    pub first_offset: i64,
}

/// The records of one partition out of one fetch, in order.
#[derive(Clone, Debug)]
pub struct FetchedRecords {
    /// Batches not opened yet: whole, checked.
    batches: Bytes,
    /// Records below are dropped: first the asked offset, then one more than the last that was given.
    floor: i64,
    next_offset: i64,
    leader_epoch: Option<i32>,
    /// The same of the batch that the last entry came from.
    given_epoch: Option<i32>,
    unpacked_bytes: usize,
    /// Sorted by first offset, descending: the next one is popped from the end.
    aborted: Vec<AbortedTransaction>,
    /// Producers inside an aborted transaction at this point of the log.
    aborting: SmallVec<[i64; 4]>,
    open: Option<OpenBatch>,
}

#[derive(Clone, Debug)]
struct OpenBatch {
    whole: Bytes,
    records: Reader,
    records_left: i32,
    base_offset: i64,
    last_offset: i64,
    first_timestamp_ms: i64,
    append_timestamp_ms: Option<i64>,
    last_delta: i32,
}

impl FetchedRecords {
    /// Checks `bytes`, the RECORDS of a fetch at `asked_offset`: framing, format, checksums, order. A part of a batch
    /// at the end is left off. Damage behind good batches is left off as well; it will be met again, as the first.
    ///
    /// # Errors
    /// [`ScanError`] where the first batch is of no use.
    pub fn scan(
        bytes: Bytes,
        asked_offset: i64,
        mut aborted: Vec<AbortedTransaction>,
    ) -> Result<FetchedRecords, ScanError> {
        let mut at = 0;
        let mut next_offset = asked_offset;
        let mut previous_last = -1;
        let mut leader_epoch = None;
        while let Some(batch) = bytes.get(at..).filter(|rest| rest.len() >= PREFIX_BYTES) {
            match check_batch(batch, previous_last) {
                Ok(Checked::Whole { length, last_offset, leader_epoch: its }) => {
                    leader_epoch = (its >= 0).then_some(its);
                    at += length;
                    previous_last = last_offset;
                    next_offset = next_offset.max(last_offset + 1);
                }
                Ok(Checked::CutOff) => break,
                Err(_) if at > 0 => break,
                Err(error) => return Err(error),
            }
        }
        aborted.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Ok(FetchedRecords {
            batches: bytes.slice(..at),
            floor: asked_offset,
            next_offset,
            leader_epoch,
            given_epoch: None,
            unpacked_bytes: 0,
            aborted,
            aborting: SmallVec::new(),
            open: None,
        })
    }

    /// The leader epoch under which the last batch was written; `None` where there is none, or it does not say.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// The same of the record before the place up to which entries were given; at the end that of the last batch.
    pub fn leader_epoch_so_far(&self) -> Option<i32> {
        if self.batches.is_empty() && self.open.is_none() { self.leader_epoch } else { self.given_epoch }
    }

    /// Bytes that compressed batches have unpacked to so far: what taking these records has cost, whatever they hold.
    pub fn unpacked_bytes(&self) -> usize {
        self.unpacked_bytes
    }

    /// Where the next fetch goes on. Larger than the last record's offset plus one where the log ends with markers or
    /// with records that were compacted away.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Bytes held by what has not been given yet, at least: what a bound on memory counts.
    pub fn bytes_held(&self) -> usize {
        self.batches.len() + self.open.as_ref().map_or(0, |open| open.whole.len().max(open.records.remaining()))
    }

    /// Opens the next batch that holds records for the owner. `None` at the end.
    fn open_next(&mut self) -> Option<Result<OpenBatch, Unreadable>> {
        while !self.batches.is_empty() {
            let header = Header::read(&self.batches);
            let whole = self.batches.split_to(header.length);
            let leader_epoch = i32::from_be_bytes(array(&whole, LEADER_EPOCH_AT));
            self.given_epoch = (leader_epoch >= 0).then_some(leader_epoch);
            let last_offset = header.last_offset();
            while self.aborted.last().is_some_and(|transaction| transaction.first_offset <= last_offset) {
                self.aborting.extend(self.aborted.pop().map(|transaction| transaction.producer_id));
            }
            if header.attributes & ATTRIBUTE_CONTROL != 0 {
                if is_abort_marker(&whole) {
                    self.aborting.retain(|producer_id| *producer_id != header.producer_id);
                }
                continue;
            }
            let is_aborted =
                header.attributes & ATTRIBUTE_TRANSACTIONAL != 0 && self.aborting.contains(&header.producer_id);
            if is_aborted || last_offset < self.floor {
                continue;
            }
            let unpacked = Compression::from_attributes(header.attributes).ok_or("an unknown compression").and_then(
                |compression| match decompress(compression, whole.slice(HEADER_BYTES..), UNPACKED_BYTES_MAX) {
                    Ok(records) => Ok(records),
                    Err(super::decompress::DecompressError::Damaged) => {
                        Err("the compressed records cannot be unpacked")
                    }
                    Err(super::decompress::DecompressError::TooLarge) => Err("the compressed records are too large"),
                },
            );
            if header.attributes & ATTRIBUTE_COMPRESSION != 0 {
                // What cannot be unpacked has cost as much as it might have.
                self.unpacked_bytes += unpacked.as_ref().map_or(UNPACKED_BYTES_MAX, Bytes::len);
            }
            return Some(match unpacked {
                Ok(records) => Ok(OpenBatch {
                    whole,
                    records: Reader::new(records),
                    records_left: header.count,
                    base_offset: header.base_offset,
                    last_offset,
                    first_timestamp_ms: header.first_timestamp_ms,
                    append_timestamp_ms: (header.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0)
                        .then_some(header.max_timestamp_ms),
                    last_delta: -1,
                }),
                Err(reason) => Err(Unreadable {
                    first_offset: self.floor.max(header.base_offset),
                    last_offset,
                    reason,
                    bytes: Bytes::copy_from_slice(&whole),
                }),
            });
        }
        None
    }
}

impl Iterator for FetchedRecords {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next()? {
                    Ok(batch) => self.open = Some(batch),
                    Err(unreadable) => {
                        self.floor = unreadable.last_offset + 1;
                        return Some(Entry::Unreadable(unreadable));
                    }
                }
                continue;
            };
            if open.records_left <= 0 && open.records.remaining() == 0 {
                self.open = None;
                continue;
            }
            match open.next_record() {
                Ok(record) if record.offset < self.floor => {}
                Ok(record) => {
                    self.floor = record.offset + 1;
                    return Some(Entry::Record(record));
                }
                Err(Malformed(reason)) => {
                    let (last_offset, bytes) = (open.last_offset, Bytes::copy_from_slice(&open.whole));
                    let first_offset = self.floor.max(open.base_offset);
                    self.open = None;
                    if first_offset > last_offset {
                        continue; // Every offset of the batch was given: what is wrong has no place of its own.
                    }
                    self.floor = last_offset + 1;
                    return Some(Entry::Unreadable(Unreadable { first_offset, last_offset, reason, bytes }));
                }
            }
        }
    }
}

impl OpenBatch {
    /// One record: VARINT length, then attributes, timestamp delta, offset delta, key, value, headers.
    fn next_record(&mut self) -> Result<Record, Malformed> {
        if self.records_left <= 0 {
            return Err(Malformed("bytes behind the last record"));
        }
        self.records_left -= 1;
        let length = usize::try_from(self.records.varint()?).map_err(|_| Malformed("a negative record length"))?;
        let mut reader = Reader::new(self.records.take(length)?);
        reader.int8()?;
        let timestamp_delta = reader.varlong()?;
        let delta = reader.varint()?;
        if delta <= self.last_delta || self.base_offset + i64::from(delta) > self.last_offset {
            return Err(Malformed("record offsets out of order"));
        }
        self.last_delta = delta;
        let key = reader.varint_bytes()?.map(|key| Bytes::copy_from_slice(&key));
        let value = reader.varint_bytes()?.map(|value| Bytes::copy_from_slice(&value));
        for _ in 0..reader.varint()?.max(0) {
            reader.varint_bytes()?;
            reader.varint_bytes()?;
        }
        if reader.remaining() > 0 {
            return Err(Malformed("bytes behind a record"));
        }
        Ok(Record {
            offset: self.base_offset + i64::from(delta),
            timestamp_ms: self
                .append_timestamp_ms
                .unwrap_or_else(|| self.first_timestamp_ms.saturating_add(timestamp_delta)),
            key,
            value,
        })
    }
}

enum Checked {
    Whole { length: usize, last_offset: i64, leader_epoch: i32 },
    CutOff,
}

/// Looks at the batch at the start of `batch`, which holds at least its prefix.
fn check_batch(batch: &[u8], previous_last: i64) -> Result<Checked, ScanError> {
    let length = i32::from_be_bytes(array(batch, 8));
    let length = match usize::try_from(length) {
        Ok(length) if length + PREFIX_BYTES >= HEADER_BYTES => length + PREFIX_BYTES,
        _ => return Err(ScanError::Malformed("a length below that of its header")),
    };
    if batch.get(MAGIC_AT).is_some_and(|magic| *magic != 2) {
        return Err(ScanError::Magic(batch[MAGIC_AT] as i8));
    }
    if batch.len() < length {
        return Ok(Checked::CutOff);
    }
    let header = Header::read(batch);
    let checksum = u32::from_be_bytes(array(batch, CRC_AT));
    if crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &batch[CRC_FROM..length]) != u64::from(checksum) {
        return Err(ScanError::Checksum(header.base_offset));
    }
    // An offset above half of the range is none; it also keeps every sum below from overflowing.
    if !(0..i64::MAX / 2).contains(&header.base_offset) || header.last_offset_delta < 0 {
        return Err(ScanError::Malformed("offsets out of range"));
    }
    if header.base_offset <= previous_last {
        return Err(ScanError::Malformed("batches out of order"));
    }
    let leader_epoch = i32::from_be_bytes(array(batch, LEADER_EPOCH_AT));
    Ok(Checked::Whole { length, last_offset: header.last_offset(), leader_epoch })
}

/// A batch's header, without what only replicas need.
struct Header {
    /// Of the whole batch, bytes.
    length: usize,
    base_offset: i64,
    attributes: i16,
    last_offset_delta: i32,
    first_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: i64,
    count: i32,
}

impl Header {
    /// `batch` holds a whole header and a length that was checked.
    fn read(batch: &[u8]) -> Header {
        Header {
            length: i32::from_be_bytes(array(batch, 8)) as usize + PREFIX_BYTES,
            base_offset: i64::from_be_bytes(array(batch, 0)),
            attributes: i16::from_be_bytes(array(batch, 21)),
            last_offset_delta: i32::from_be_bytes(array(batch, 23)),
            first_timestamp_ms: i64::from_be_bytes(array(batch, 27)),
            max_timestamp_ms: i64::from_be_bytes(array(batch, 35)),
            producer_id: i64::from_be_bytes(array(batch, 43)),
            count: i32::from_be_bytes(array(batch, 57)),
        }
    }

    fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }
}

/// A control record's key is version i16 and type i16; type 0 is an abort.
fn is_abort_marker(whole: &Bytes) -> bool {
    let key = || -> Result<Option<Bytes>, Malformed> {
        let mut reader = Reader::new(whole.slice(HEADER_BYTES..));
        reader.varint()?;
        reader.int8()?;
        reader.varlong()?;
        reader.varint()?;
        reader.varint_bytes()
    };
    matches!(key(), Ok(Some(key)) if key.get(2..4) == Some(&[0, 0]))
}

/// The `N` bytes from `at`; the caller has checked that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
#[path = "records_decode_tests.rs"]
mod tests;
