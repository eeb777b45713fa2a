//! Record batches and what packs them: offsets only rise, memory is bounded by what came and by the limit on one batch, and what
//! was written is read back.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use flux_protocol::kafka::decompress::{Compression, DecompressError, decompress};
use flux_protocol::kafka::records::{BatchBuilder, ProducerId};
use flux_protocol::kafka::records_decode::{AbortedTransaction, Entry, FetchedRecords, UNPACKED_BYTES_MAX};

use crate::allocation;
use crate::input::Input;

const HEADER_BYTES: usize = 61;
/// What a decoder's own tables take, before the first byte: gzip's are the largest.
const TABLES_BYTES_MAX: usize = 256 << 10;

/// What to do with the rest: take it for a log, mend it first so that it is looked into, unpack it, or pack it into records.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    match choice % 4 {
        0 => log(input.rest()),
        1 => {
            let mut log_bytes = Vec::new();
            while !input.is_empty() {
                mend(input.piece(255), &mut log_bytes);
            }
            log(&log_bytes);
        }
        2 => unpack(i16::from(choice >> 2), input.rest()),
        _ => written_and_read(input),
    }
}

/// One batch: a header's fields as they come, with the length, the format and the checksum that belong to them.
fn mend(piece: &[u8], log: &mut Vec<u8>) {
    if piece.len() < HEADER_BYTES {
        log.extend_from_slice(piece);
        return;
    }
    let start = log.len();
    log.extend_from_slice(piece);
    let batch = &mut log[start..];
    batch[..4].fill(0);
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[23..25].fill(0);
    let checksum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &batch[21..]) as u32;
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

/// `bytes` as a broker's answer from an offset on.
fn log(bytes: &[u8]) {
    let asked = i64::from(bytes.first().copied().unwrap_or_default());
    let aborted = vec![AbortedTransaction { producer_id: 0, first_offset: 0 }];
    let came = Bytes::copy_from_slice(bytes);
    // One batch is unpacked at a time; while its memory grows, the old stands beside the new.
    let held_max = 3 * UNPACKED_BYTES_MAX + TABLES_BYTES_MAX + 16 * bytes.len();
    allocation::within(held_max, "a log", || {
        let Ok(mut records) = FetchedRecords::scan(came, asked, aborted) else { return };
        let next_offset = records.next_offset();
        assert!(next_offset >= asked);
        let mut floor = asked;
        for entry in records.by_ref() {
            match entry {
                Entry::Record(record) => {
                    assert!(record.offset >= floor, "offset {} after {floor}", record.offset);
                    floor = record.offset + 1;
                }
                Entry::Unreadable(gap) => {
                    assert!(gap.first_offset >= floor && gap.last_offset >= gap.first_offset);
                    assert!(!gap.bytes.is_empty() && gap.bytes.len() <= bytes.len());
                    floor = gap.last_offset + 1;
                }
            }
        }
        assert!(floor <= next_offset, "the next fetch would give {floor} again");
        assert_eq!(records.bytes_held(), 0, "nothing is left");
    });
}

/// Bounded whatever the limit is; packed bytes that are whole give the same whichever limit they fit.
fn unpack(attributes: i16, packed: &[u8]) {
    let Some(compression) = Compression::from_attributes(attributes) else { return };
    let packed = Bytes::copy_from_slice(packed);
    let of = |bytes_max: usize| {
        let held_max = 3 * bytes_max + TABLES_BYTES_MAX;
        let unpacked = allocation::within(held_max, "unpacking", || decompress(compression, packed.clone(), bytes_max));
        assert!(
            compression == Compression::None
                || unpacked.as_ref().is_ok_and(|all| all.len() <= bytes_max)
                || unpacked.is_err()
        );
        unpacked
    };
    let all = of(64 << 10);
    if let Ok(all) = &all
        && compression != Compression::None
    {
        assert_eq!(of(all.len()).as_ref(), Ok(all));
        if !all.is_empty() {
            assert_eq!(of(all.len() - 1), Err(DecompressError::TooLarge));
        }
    }
}

/// Values of the input, in a batch of ours.
fn written_and_read(mut input: Input<'_>) {
    let mut batch = BatchBuilder::new();
    let mut records = Vec::new();
    let base = (input.number() >> 12) as i64;
    while !input.is_empty() && records.len() < 100 {
        let timestamp = base + i64::from(input.byte());
        let key = input.byte();
        // Around the widths of its length: none, empty, and up to some hundred bytes.
        let key = key.checked_sub(128).map(|bytes| vec![bytes; 3 * usize::from(bytes)]);
        let value = input.piece(255).repeat(1 + usize::from(input.byte() & 0x3f));
        batch.append(timestamp, key.as_deref(), |out| out.extend_from_slice(&value)).expect("short");
        records.push((timestamp, key, value));
    }
    if records.is_empty() {
        return;
    }
    batch.seal(ProducerId { id: base, epoch: 1 }, 0);
    let read = FetchedRecords::scan(Bytes::copy_from_slice(batch.bytes()), 0, Vec::new()).expect("a batch of ours");
    let read: Vec<_> = read.collect();
    assert_eq!(read.len(), records.len());
    for (index, (entry, (timestamp, key, value))) in read.iter().zip(&records).enumerate() {
        let Entry::Record(record) = entry else { panic!("{entry:?}") };
        assert_eq!((record.offset, record.timestamp_ms), (index as i64, *timestamp));
        assert_eq!(record.key.as_deref(), key.as_deref());
        assert_eq!(record.value.as_deref(), Some(&value[..]));
    }
    let mut again = Vec::new();
    batch.for_each(|timestamp, key, value| again.push((timestamp, key.map(<[u8]>::to_vec), value.to_vec())));
    assert_eq!(again, records);
}
