use super::*;
use bytes::BytesMut;
use kafka_protocol::records as oracle;
use kafka_protocol::records::{
    Compression as OracleCompression, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

fn record(offset: i64, value: &[u8]) -> oracle::Record {
    oracle::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp: 1_700_000_000_000 + offset,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Default::default(),
    }
}

/// A batch of a transaction by `producer_id`.
fn transactional(offset: i64, producer_id: i64, value: &[u8]) -> oracle::Record {
    oracle::Record { transactional: true, producer_id, producer_epoch: 0, ..record(offset, value) }
}

/// The marker that ends a transaction: key is version 0 and type (0 abort, 1 commit).
fn marker(offset: i64, producer_id: i64, kind: u8) -> oracle::Record {
    oracle::Record {
        control: true,
        key: Some(Bytes::copy_from_slice(&[0, 0, 0, kind])),
        ..transactional(offset, producer_id, &[0, 0, 0, 0, 0, 0])
    }
}

fn batch(records: &[oracle::Record], compression: OracleCompression) -> Bytes {
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, records, &RecordEncodeOptions { version: 2, compression }).unwrap();
    bytes.freeze()
}

fn plain(records: &[oracle::Record]) -> Bytes {
    batch(records, OracleCompression::None)
}

/// Batches one behind the other.
fn log(batches: &[Bytes]) -> Bytes {
    batches.concat().into()
}

fn scan(bytes: Bytes, from: i64) -> FetchedRecords {
    FetchedRecords::scan(bytes, from, Vec::new()).unwrap()
}

fn offsets(records: FetchedRecords) -> Vec<i64> {
    records
        .map(|entry| match entry {
            Entry::Record(record) => record.offset,
            Entry::Unreadable(unreadable) => panic!("{unreadable:?}"),
        })
        .collect()
}

/// Writes the checksum anew after a test has changed the content.
fn seal(mut bytes: Vec<u8>) -> Bytes {
    let checksum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[CRC_FROM..]) as u32;
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

/// A batch as a leader of this epoch writes it: no checksum covers that.
fn under(epoch: i32, batch: &Bytes) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes.into()
}

/// Which leader wrote the record before a place is known at each place, also where a reader stops in the middle.
#[test]
fn the_epoch_of_what_was_given_is_that_of_its_batch() {
    let batches = [
        under(3, &plain(&[record(0, b"a"), record(1, b"b")])),
        under(4, &plain(&[record(2, b"c")])),
        under(6, &plain(&[marker(3, 9, 1)])),
    ];
    let mut records = scan(log(&batches), 0);
    assert_eq!((records.leader_epoch(), records.leader_epoch_so_far()), (Some(6), None), "nothing was given yet");
    let mut epochs = Vec::new();
    while records.next().is_some() {
        epochs.push(records.leader_epoch_so_far());
    }
    assert_eq!(epochs, [Some(3), Some(3), Some(4)]);
    assert_eq!(records.leader_epoch_so_far(), Some(6), "at the end that of the marker");
    assert_eq!(scan(under(-1, &batches[0]), 0).leader_epoch(), None, "an old format does not say");
}

#[test]
fn a_fetch_in_the_middle_of_a_batch_drops_what_is_before() {
    let bytes = log(&[plain(&[record(10, b"a"), record(11, b"b"), record(12, b"c")]), plain(&[record(13, b"d")])]);
    let records = scan(bytes.clone(), 11);
    assert_eq!(records.next_offset(), 14);
    assert_eq!(offsets(records), [11, 12, 13]);
    assert_eq!(offsets(scan(bytes.clone(), 13)), [13], "a whole batch before the asked offset");
    assert_eq!(offsets(scan(bytes, 0)), [10, 11, 12, 13], "a log that begins later than asked");
}

#[test]
fn cut_at_every_byte_gives_the_whole_batches_and_asks_for_the_rest() {
    let first = plain(&[record(0, b"a"), record(1, b"b")]);
    let second = plain(&[record(2, b"c"), record(3, b"d")]);
    let bytes = log(&[first.clone(), second]);
    for end in 0..=bytes.len() {
        let records = scan(bytes.slice(..end), 0);
        let expected: &[i64] = match end {
            _ if end == bytes.len() => &[0, 1, 2, 3],
            _ if end >= first.len() => &[0, 1],
            _ => &[],
        };
        assert_eq!(records.next_offset(), expected.last().map_or(0, |last| last + 1), "cut at {end}");
        assert_eq!(offsets(records), expected, "cut at {end}");
    }
}

#[test]
fn every_damaged_byte_is_found() {
    let bytes = plain(&[record(5, b"some value"), record(6, b"another")]);
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        match FetchedRecords::scan(damaged.into(), 5, Vec::new()) {
            Err(_) => {}
            // The checksum covers neither the base offset nor the leader epoch nor the length. A larger length is a
            // batch that is cut off; another base offset, or an epoch, no reader could know.
            Ok(records) => match at {
                0..8 | 12..16 => {}
                8..12 => assert_eq!(offsets(records), [0i64; 0], "length at {at}"),
                _ => panic!("byte {at} changed, and nobody noticed"),
            },
        }
    }
}

#[test]
fn damage_behind_good_batches_is_met_later_as_the_first() {
    let good = plain(&[record(0, b"a")]);
    let mut bad = plain(&[record(1, b"b")]).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let bytes = log(&[good, bad.clone().into()]);
    let records = scan(bytes, 0);
    assert_eq!(records.next_offset(), 1);
    assert_eq!(offsets(records), [0]);
    assert_eq!(FetchedRecords::scan(bad.into(), 1, Vec::new()).unwrap_err(), ScanError::Checksum(1));
}

#[test]
fn other_formats_and_nonsense_are_refused() {
    let mut old = plain(&[record(0, b"a")]).to_vec();
    old[MAGIC_AT] = 1;
    assert_eq!(FetchedRecords::scan(old.into(), 0, Vec::new()).unwrap_err(), ScanError::Magic(1));
    let zeros = Bytes::from_static(&[0; 100]);
    assert!(matches!(FetchedRecords::scan(zeros, 0, Vec::new()), Err(ScanError::Malformed(_))));
    let first = plain(&[record(4, b"a")]);
    assert_eq!(offsets(scan(log(&[first.clone(), plain(&[record(4, b"b")])]), 0)), [4], "the same offset again");
}

#[test]
fn markers_and_aborted_transactions_are_passed_over() {
    let bytes = log(&[
        plain(&[record(0, b"plain")]),
        plain(&[transactional(1, 7, b"aborted")]),
        plain(&[transactional(2, 8, b"committed")]),
        plain(&[record(3, b"plain between")]),
        plain(&[transactional(4, 7, b"aborted too")]),
        plain(&[marker(5, 7, 0)]),
        plain(&[transactional(6, 7, b"the same producer's next, committed")]),
        plain(&[marker(7, 8, 1)]),
        plain(&[marker(8, 7, 1)]),
    ]);
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 1 }];
    let records = FetchedRecords::scan(bytes.clone(), 0, aborted.clone()).unwrap();
    assert_eq!(records.next_offset(), 9, "the next fetch goes on behind the markers");
    assert_eq!(offsets(records), [0, 2, 3, 6]);

    // A fetch that begins inside the aborted transaction: the broker lists it with its first offset.
    let from_inside = bytes.slice(plain(&[record(0, b"plain")]).len()..);
    assert_eq!(offsets(FetchedRecords::scan(from_inside, 3, aborted).unwrap()), [3, 6]);
}

#[test]
fn append_time_is_every_records_time() {
    let mut bytes = plain(&[record(0, b"a"), record(1, b"b")]).to_vec();
    bytes[22] |= ATTRIBUTE_LOG_APPEND_TIME as u8;
    bytes[35..43].copy_from_slice(&99i64.to_be_bytes());
    let times: Vec<_> = scan(seal(bytes), 0)
        .map(|entry| match entry {
            Entry::Record(record) => record.timestamp_ms,
            Entry::Unreadable(_) => -1,
        })
        .collect();
    assert_eq!(times, [99, 99]);
}

#[test]
fn what_can_never_be_read_is_handed_over_once_with_its_bytes() {
    let mut damaged = plain(&[record(3, b"a"), record(4, b"b"), record(5, b"c")]).to_vec();
    let second = HEADER_BYTES + 1 + usize::from(damaged[HEADER_BYTES] / 2);
    damaged[second] = 0x7f; // The second record claims 63 bytes less one by zigzag: -64.
    let damaged = seal(damaged);
    let bytes = log(&[damaged.clone(), plain(&[record(6, b"after")])]);
    let entries: Vec<_> = scan(bytes, 0).collect();
    assert!(matches!(&entries[0], Entry::Record(record) if record.offset == 3));
    let Entry::Unreadable(unreadable) = &entries[1] else { panic!("{entries:?}") };
    assert_eq!((unreadable.first_offset, unreadable.last_offset), (4, 5));
    assert_eq!(unreadable.bytes, damaged);
    assert!(matches!(&entries[2], Entry::Record(record) if record.offset == 6));
    assert_eq!(entries.len(), 3);

    let mut unknown = plain(&[record(0, b"a")]).to_vec();
    unknown[22] |= 6;
    let entries: Vec<_> = scan(seal(unknown), 0).collect();
    assert!(matches!(&entries[..], [Entry::Unreadable(unreadable)] if unreadable.reason == "an unknown compression"));
}

#[test]
fn a_count_that_hides_records_does_not_lose_them_silently() {
    for count in [-1i32, 0, 1] {
        let mut fewer = plain(&[record(7, b"a"), record(8, b"b")]).to_vec();
        fewer[57..61].copy_from_slice(&count.to_be_bytes());
        let entries: Vec<_> = scan(seal(fewer), 7).collect();
        let Some(Entry::Unreadable(unreadable)) = entries.last() else { panic!("{count}: {entries:?}") };
        assert_eq!((unreadable.first_offset, unreadable.last_offset), (7 + i64::from(count.max(0)), 8));
    }
    let mut more = plain(&[record(7, b"a"), record(8, b"b")]).to_vec();
    more[57..61].copy_from_slice(&3i32.to_be_bytes());
    assert_eq!(offsets(scan(seal(more), 7)), [7, 8], "nothing is missing");
}

#[test]
fn a_compressed_batch_too_large_is_unreadable_and_its_neighbour_is_not() {
    let bomb = batch(&[record(0, &vec![0; UNPACKED_BYTES_MAX])], OracleCompression::Zstd);
    let entries: Vec<_> = scan(log(&[bomb, plain(&[record(1, b"after")])]), 0).collect();
    assert!(matches!(&entries[0], Entry::Unreadable(unreadable) if unreadable.last_offset == 0));
    assert!(matches!(&entries[1], Entry::Record(record) if record.offset == 1));
}

/// A small value beside a large header: packed into a few bytes, unpacked a megabyte that nobody reads.
#[test]
fn a_value_keeps_nothing_alive_but_itself() {
    for compression in [OracleCompression::Zstd, OracleCompression::None] {
        let mut padded = record(0, b"small");
        padded.headers.insert("padding".into(), Some(vec![0; 1 << 20].into()));
        let mut records = scan(batch(&[padded], compression), 0);
        let Some(Entry::Record(taken)) = records.next() else { panic!("no record") };
        let is_packed = compression == OracleCompression::Zstd;
        assert_eq!(records.unpacked_bytes() > 1 << 20, is_packed, "what it cost is known");
        drop(records);
        let value = taken.value.unwrap().try_into_mut().expect("nobody else holds it");
        assert!(value.capacity() < 1024, "{compression:?}: five bytes keep {} alive", value.capacity());
    }
}

type Bytestring = Option<Vec<u8>>;

/// Step to the next offset, key, value, headers, timestamp.
type AnyRecord = (i64, Bytestring, Bytestring, Vec<(String, Bytestring)>, i64);

fn any_record() -> impl Strategy<Value = AnyRecord> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    (
        1..5i64,
        bytes(),
        bytes(),
        proptest::collection::vec(
            ("[a-z]{0,8}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9))),
            0..4,
        ),
        0..1i64 << 45,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..Default::default() })]

    #[test]
    fn what_the_oracle_encodes_comes_back(
        base in 0..1i64 << 40,
        from in 0..30i64,
        batches in proptest::collection::vec((proptest::collection::vec(any_record(), 1..20), 0..5usize), 1..5),
    ) {
        let compressions = [
            OracleCompression::None,
            OracleCompression::Gzip,
            OracleCompression::Snappy,
            OracleCompression::Lz4,
            OracleCompression::Zstd,
        ];
        let mut offset = base;
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (records, compression) in batches {
            let records: Vec<_> = records
                .into_iter()
                .map(|(step, key, value, headers, timestamp)| {
                    offset += step;
                    oracle::Record {
                        key: key.map(Bytes::from),
                        value: value.map(Bytes::from),
                        headers: headers.into_iter().map(|(name, value)| (name.into(), value.map(Bytes::from))).collect(),
                        timestamp,
                        ..record(offset, b"")
                    }
                })
                .collect();
            bytes.extend_from_slice(&batch(&records, compressions[compression]));
            expected.extend(records);
        }
        let asked = base + from;
        let decoded: Vec<_> = scan(bytes.into(), asked).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .filter(|record| record.offset >= asked)
            .map(|record| {
                let oracle::Record { offset, timestamp, key, value, .. } = record;
                Entry::Record(Record { offset, timestamp_ms: timestamp, key, value })
            })
            .collect();
        prop_assert_eq!(decoded, expected);
    }

    /// Whatever the bytes under a right checksum are: no panic, ascending offsets, an end.
    #[test]
    fn any_content_under_a_right_checksum_is_survived(
        at in CRC_FROM..300usize,
        with in proptest::collection::vec(any::<u8>(), 1..12),
        compression in 0..5usize,
    ) {
        let compressions = [
            OracleCompression::None,
            OracleCompression::Gzip,
            OracleCompression::Snappy,
            OracleCompression::Lz4,
            OracleCompression::Zstd,
        ];
        let records: Vec<_> = (0..8).map(|offset| record(offset, b"a value of some length")).collect();
        let mut bytes = batch(&records, compressions[compression]).to_vec();
        let at = CRC_FROM + at % (bytes.len() - CRC_FROM);
        let end = (at + with.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&with[..end - at]);
        if let Ok(records) = FetchedRecords::scan(seal(bytes), 0, Vec::new()) {
            let mut floor = 0;
            for entry in records {
                let (first, last) = match entry {
                    Entry::Record(record) => (record.offset, record.offset),
                    Entry::Unreadable(unreadable) => (unreadable.first_offset, unreadable.last_offset),
                };
                prop_assert!(floor <= first && first <= last);
                floor = last + 1;
            }
        }
    }
}
