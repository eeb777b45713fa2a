use super::*;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction as OracleAborted, FetchableTopicResponse, PartitionData as OraclePartition,
};
use kafka_protocol::protocol::Encodable;
use kafka_protocol::records as oracle;

const TOPIC: TopicId = [7; 16];
const NODE: NodeId = 1;

fn config() -> FetchConfig {
    FetchConfig { answer_bytes_max: 1000, buffered_bytes_max: 3000, wait: Duration::from_millis(250), seed: 5 }
}

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

fn batch(offset: i64, count: i64) -> Bytes {
    let records: Vec<_> = (offset..offset + count)
        .map(|offset| oracle::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: oracle::TimestampType::Creation,
            offset,
            sequence: offset as i32,
            timestamp: 1,
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = bytes::BytesMut::new();
    let options = oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
    oracle::RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

fn partition(partition: i32, error: i16, records: Bytes) -> OraclePartition {
    OraclePartition::default()
        .with_partition_index(partition)
        .with_error_code(error)
        .with_high_watermark(100)
        .with_last_stable_offset(90)
        .with_records(Some(records))
}

fn answer(partitions: Vec<OraclePartition>) -> Bytes {
    let topic =
        FetchableTopicResponse::default().with_topic_id(uuid::Uuid::from_bytes(TOPIC)).with_partitions(partitions);
    let mut body = Vec::new();
    FetchResponse::default().with_responses(vec![topic]).encode(&mut body, 17).unwrap();
    body.into()
}

fn asked(fetcher: &mut Fetcher, now: u64) -> Option<(FetchId, Vec<(i32, i64)>)> {
    let (id, request) = fetcher.poll_fetch(at(now), NODE, TOPIC, |_| true)?;
    let mut body = Vec::new();
    request.encode(&mut body, 17).unwrap();
    let partitions = &request.topics[0].partitions;
    Some((id, partitions.iter().map(|its| (its.partition, its.fetch_offset)).collect()))
}

fn offsets(fetched: Fetched) -> Vec<i64> {
    fetched
        .records
        .map(|entry| match entry {
            super::super::records_decode::Entry::Record(record) => record.offset,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn reads_on_from_where_the_last_answer_ended() {
    let mut fetcher = Fetcher::new(config());
    assert!(asked(&mut fetcher, 1).is_none(), "nothing started");
    fetcher.start(at(1), 3, 40);
    let (id, partitions) = asked(&mut fetcher, 1).unwrap();
    assert_eq!(partitions, [(3, 40)]);
    assert!(asked(&mut fetcher, 1).is_none(), "one request at a time");
    fetcher.handle_answer(at(2), id, TOPIC, answer(vec![partition(3, 0, batch(38, 5))])).unwrap();
    assert!(asked(&mut fetcher, 2).is_none(), "not before the records are taken");
    let fetched = fetcher.poll_records().unwrap();
    assert_eq!((fetched.partition, fetched.end_offset), (3, 90));
    assert_eq!(offsets(fetched), [40, 41, 42]);
    assert_eq!(asked(&mut fetcher, 2).unwrap().1, [(3, 43)]);
}

#[test]
fn an_answer_cut_at_every_byte_is_an_error_and_asked_for_again() {
    let aborted = OracleAborted::default().with_producer_id(4.into()).with_first_offset(2);
    let whole = answer(vec![
        partition(0, 0, batch(0, 2)).with_aborted_transactions(Some(vec![aborted])),
        partition(1, 0, batch(0, 1)),
    ]);
    for end in 0..whole.len() {
        let mut fetcher = Fetcher::new(config());
        fetcher.start(at(1), 0, 0);
        let (id, _) = asked(&mut fetcher, 1).unwrap();
        assert!(fetcher.handle_answer(at(1), id, TOPIC, whole.slice(..end)).is_err(), "cut at {end}");
        assert!(fetcher.poll_records().is_none());
        let due = fetcher.next_deadline(at(1)).as_micros();
        assert_eq!(asked(&mut fetcher, due).unwrap().1, [(0, 0)], "cut at {end}");
    }
}

#[test]
fn an_offset_out_of_range_stops_the_partition_until_it_is_started() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 500);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    let body = answer(vec![partition(0, code::OFFSET_OUT_OF_RANGE, Bytes::new())]);
    fetcher.handle_answer(at(1), id, TOPIC, body).unwrap();
    assert_eq!(fetcher.poll_event(), Some(FetchEvent::OffsetOutOfRange { partition: 0, offset: 500 }));
    assert_eq!(fetcher.next_deadline(at(1)), Instant::FAR_FUTURE);
    assert!(asked(&mut fetcher, u64::MAX / 2).is_none());
    fetcher.start(at(2), 0, 500);
    assert_eq!(asked(&mut fetcher, 2).unwrap().1, [(0, 500)]);
}

#[test]
fn a_moved_leader_makes_the_metadata_stale_and_nothing_else() {
    for error in [code::NOT_LEADER_OR_FOLLOWER, code::FENCED_LEADER_EPOCH, code::UNKNOWN_TOPIC_ID] {
        let mut fetcher = Fetcher::new(config());
        fetcher.start(at(1), 0, 5);
        let (id, _) = asked(&mut fetcher, 1).unwrap();
        fetcher.handle_answer(at(1), id, TOPIC, answer(vec![partition(0, error, Bytes::new())])).unwrap();
        assert!(fetcher.take_metadata_stale());
        assert!(!fetcher.take_metadata_stale());
        assert_eq!(fetcher.poll_event(), None);
        assert!(asked(&mut fetcher, 1).is_none(), "after a wait");
        let due = fetcher.next_deadline(at(1)).as_micros();
        assert_eq!(asked(&mut fetcher, due).unwrap().1, [(0, 5)]);
    }
}

#[test]
fn damage_is_told_and_never_skipped() {
    let mut damaged = batch(5, 1).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 5);
    let mut now = 1;
    for records in [damaged.into(), batch(5, 3).slice(..50), Bytes::from_static(&[0; 80])] {
        let (id, _) = asked(&mut fetcher, now).unwrap();
        fetcher.handle_answer(at(now), id, TOPIC, answer(vec![partition(0, 0, records)])).unwrap();
        assert!(matches!(fetcher.poll_event(), Some(FetchEvent::Damaged { partition: 0, .. })));
        assert!(fetcher.poll_records().is_none());
        now = fetcher.next_deadline(at(now)).as_micros();
    }
    assert_eq!(asked(&mut fetcher, now).unwrap().1, [(0, 5)]);
}

#[test]
fn what_was_asked_before_a_stop_or_a_new_start_is_dropped() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 0);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    fetcher.start(at(1), 0, 1);
    fetcher.handle_answer(at(1), id, TOPIC, answer(vec![partition(0, 0, batch(0, 3))])).unwrap();
    assert!(fetcher.poll_records().is_none(), "an answer to the earlier start");
    let (id, partitions) = asked(&mut fetcher, 1).unwrap();
    assert_eq!(partitions, [(0, 1)]);
    fetcher.handle_answer(at(1), id, TOPIC, answer(vec![partition(0, 0, batch(0, 3))])).unwrap();
    fetcher.stop(0);
    assert!(fetcher.poll_records().is_none(), "records that had come before the stop");
    let again = answer(vec![partition(0, 0, batch(0, 3))]);
    fetcher.handle_answer(at(1), id, TOPIC, again).unwrap();
    assert!(fetcher.poll_records().is_none(), "an answer nobody waits for");
}

#[test]
fn a_lost_request_and_a_partition_left_out_are_asked_for_again() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 4);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    fetcher.handle_lost(at(1), id);
    let due = fetcher.next_deadline(at(1)).as_micros();
    let (id, _) = asked(&mut fetcher, due).unwrap();
    fetcher.handle_answer(at(due), id, TOPIC, answer(vec![])).unwrap();
    let due = fetcher.next_deadline(at(due)).as_micros();
    assert_eq!(asked(&mut fetcher, due).unwrap().1, [(0, 4)]);
}

#[test]
fn a_paused_partition_is_left_out_and_its_records_are_still_given() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 0);
    fetcher.start(at(1), 1, 0);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    fetcher.pause(0);
    let body = answer(vec![partition(0, 0, batch(0, 1)), partition(1, 0, batch(0, 1))]);
    fetcher.handle_answer(at(1), id, TOPIC, body).unwrap();
    assert_eq!(fetcher.poll_records().unwrap().partition, 0);
    assert_eq!(fetcher.poll_records().unwrap().partition, 1);
    assert_eq!(asked(&mut fetcher, 1).unwrap().1, [(1, 1)]);
    fetcher.resume(0);
    assert!(asked(&mut fetcher, 1).is_none(), "one request at a time");
}

#[test]
fn memory_is_reserved_before_it_is_asked_for() {
    let mut fetcher = Fetcher::new(config());
    for partition in 0..8 {
        fetcher.start(at(1), partition, 0);
    }
    let mut sent = 0;
    for node in 0..8 {
        sent += i32::from(fetcher.poll_fetch(at(1), node, TOPIC, |partition| partition == node).is_some());
    }
    assert_eq!(sent, 3, "three answers of 1000 bytes fit into 3000");
}

#[test]
fn each_partition_is_first_in_its_turn() {
    let mut fetcher = Fetcher::new(config());
    for partition in 0..3 {
        fetcher.start(at(1), partition, 0);
    }
    let mut firsts = BTreeSet::new();
    for _ in 0..3 {
        let (id, partitions) = asked(&mut fetcher, 1).unwrap();
        firsts.insert(partitions[0].0);
        let empty = (0..3).map(|at| partition(at, 0, Bytes::new())).collect();
        fetcher.handle_answer(at(1), id, TOPIC, answer(empty)).unwrap();
    }
    assert_eq!(firsts.len(), 3);
}
