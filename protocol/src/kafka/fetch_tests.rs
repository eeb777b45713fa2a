use super::*;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction as OracleAborted, EpochEndOffset, FetchableTopicResponse, PartitionData as OraclePartition,
};
use kafka_protocol::protocol::Encodable;
use kafka_protocol::records as oracle;

const TOPIC: TopicId = [7; 16];
const NODE: NodeId = 1;

fn config() -> FetchConfig {
    FetchConfig {
        isolation: Isolation::Committed,
        answer_bytes_min: 1,
        answer_bytes_max: 1000,
        buffered_bytes_max: 3000,
        wait: Duration::from_millis(250),
        seed: 5,
    }
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
    let (_, id, request) = fetcher.poll_fetch(at(now), TOPIC, &[NODE], |_| Some(NODE))?;
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
fn an_offset_out_of_range_stands_still_and_nothing_that_was_read_is_dropped_for_it() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 0);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    fetcher.handle_answer(at(1), id, TOPIC, answer(vec![partition(0, 0, batch(0, 3))])).unwrap();
    assert_eq!(offsets(fetcher.poll_records().unwrap()), [0, 1, 2]);
    let mut now = 1;
    for round in 0..2 {
        let (id, partitions) = asked(&mut fetcher, now).unwrap();
        assert_eq!(partitions, [(0, 3)], "round {round}: the same offset, whatever has come in between");
        let body = answer(vec![partition(0, code::OFFSET_OUT_OF_RANGE, Bytes::new())]);
        fetcher.handle_answer(at(now), id, TOPIC, body).unwrap();
        assert_eq!(
            fetcher.poll_event(),
            Some(FetchEvent::OffsetOutOfRange { partition: 0, offset: 3 }),
            "told each time"
        );
        assert_eq!(fetcher.standing_still(), 1);
        assert!(asked(&mut fetcher, now).is_none(), "not at once");
        now = fetcher.next_deadline(at(now)).as_micros();
        assert_eq!(at(now), at(1) + STANDSTILL_RETRY * (round + 1));
    }
    // The owner has asked its ledger again, and goes on elsewhere: no memory of the old offset comes in between.
    fetcher.start(at(2), 0, 9);
    assert_eq!(fetcher.standing_still(), 0);
    assert_eq!(asked(&mut fetcher, 2).unwrap().1, [(0, 9)]);
    assert!(asked(&mut fetcher, u64::MAX / 2).is_none(), "no other offset");
}

/// An unclean election cut the log off below what was read, and others have written past it since: the broker, told the
/// epoch of the last record read, says where the two part.
#[test]
fn a_log_that_grew_anew_past_the_offset_is_told_from_the_one_that_was_read() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 0);
    let epoch_asked = |fetcher: &mut Fetcher, now: u64| {
        let (_, id, request) = fetcher.poll_fetch(at(now), TOPIC, &[NODE], |_| Some(NODE)).unwrap();
        (id, request.topics[0].partitions[0].last_fetched_epoch)
    };
    let (id, epoch) = epoch_asked(&mut fetcher, 1);
    assert_eq!(epoch, -1, "nothing is known of the log before the start");
    let mut records = batch(0, 5).to_vec();
    records[12..16].copy_from_slice(&7i32.to_be_bytes()); // the leader's epoch, which no checksum covers
    fetcher.handle_answer(at(1), id, TOPIC, answer(vec![partition(0, 0, records.into())])).unwrap();
    assert_eq!(fetcher.poll_records().unwrap().from_offset, 0);
    let (id, epoch) = epoch_asked(&mut fetcher, 1);
    assert_eq!(epoch, 7);
    let parted = EpochEndOffset::default().with_epoch(6).with_end_offset(3);
    let body = answer(vec![partition(0, 0, Bytes::new()).with_diverging_epoch(parted)]);
    fetcher.handle_answer(at(1), id, TOPIC, body).unwrap();
    assert_eq!(fetcher.poll_event(), Some(FetchEvent::Diverged { partition: 0, offset: 5, end_offset: 3 }));
    assert_eq!(fetcher.standing_still(), 1);
    // Started anew where it stands, it knows as much; elsewhere, nothing.
    fetcher.start(at(2), 0, 5);
    let (id, epoch) = epoch_asked(&mut fetcher, 2);
    assert_eq!(epoch, 7);
    fetcher.handle_lost(at(2), id);
    fetcher.start(at(3), 0, 3);
    let (id, epoch) = epoch_asked(&mut fetcher, 3);
    assert_eq!(epoch, -1);
    fetcher.handle_lost(at(3), id);
    // A process that begins where another has stored asks with what that one knew.
    let mut heir = Fetcher::new(config());
    heir.start_at(at(1), Position { partition: 0, offset: 5, leader_epoch: Some(7) });
    let (id, epoch) = epoch_asked(&mut heir, 1);
    assert_eq!(epoch, 7);
    let parted = EpochEndOffset::default().with_epoch(6).with_end_offset(3);
    let body = answer(vec![partition(0, 0, Bytes::new()).with_diverging_epoch(parted)]);
    heir.handle_answer(at(1), id, TOPIC, body).unwrap();
    assert_eq!(heir.poll_event(), Some(FetchEvent::Diverged { partition: 0, offset: 5, end_offset: 3 }));
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
fn a_right_to_the_topic_is_missing_until_a_broker_answers_for_what_is_read() {
    const DENIED: i16 = 29;
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 0);
    let (id, _) = asked(&mut fetcher, 1).unwrap();
    fetcher.handle_answer(at(2), id, TOPIC, answer(vec![partition(0, DENIED, Bytes::new())])).unwrap();
    assert_eq!(fetcher.denied(), Some(DENIED));
    let later = fetcher.next_deadline(at(2)).as_micros();
    let (id, _) = asked(&mut fetcher, later).unwrap();
    fetcher.handle_answer(at(later), id, TOPIC, answer(vec![partition(0, 0, Bytes::new())])).unwrap();
    assert_eq!(fetcher.denied(), None);
}

#[test]
fn a_position_is_told_in_words() {
    let position = Position { partition: 3, offset: 40, leader_epoch: Some(2) };
    assert_eq!(position.to_string(), "partition 3 from offset 40 (leader epoch 2)");
    assert_eq!(Position { leader_epoch: None, ..position }.to_string(), "partition 3 from offset 40");
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
    let nodes: Vec<NodeId> = (0..8).collect();
    let mut sent = 0;
    while fetcher.poll_fetch(at(1), TOPIC, &nodes, Some).is_some() {
        sent += 1;
    }
    assert_eq!(sent, 3, "three answers of 1000 bytes fit into 3000");
}

#[test]
fn leaders_share_what_may_be_buffered() {
    let mut fetcher = Fetcher::new(FetchConfig { answer_bytes_max: 1 << 20, buffered_bytes_max: 8 << 20, ..config() });
    let nodes: Vec<NodeId> = (0..10).collect();
    for node in &nodes {
        fetcher.start(at(1), *node, 0);
    }
    let mut asked = Vec::new();
    while let Some((node, _, request)) = fetcher.poll_fetch(at(1), TOPIC, &nodes, Some) {
        assert_eq!(request.max_bytes, (8 << 20) / 10);
        asked.push(node);
    }
    assert_eq!(asked, nodes, "nobody waits until another has waited in vain");
}

/// More leaders than answers that fit, none of which brings anything: each is asked in its turn.
#[test]
fn no_leader_is_passed_over_for_ever() {
    let mut fetcher = Fetcher::new(config());
    let nodes: Vec<NodeId> = (0..10).collect();
    for node in &nodes {
        fetcher.start(at(1), *node, 0);
    }
    let mut in_flight = VecDeque::new();
    let mut asked = BTreeSet::new();
    for round in 1..=20 {
        while let Some((node, id, _)) = fetcher.poll_fetch(at(round), TOPIC, &nodes, Some) {
            asked.insert(node);
            in_flight.push_back((node, id));
        }
        let (node, id) = in_flight.pop_front().expect("somebody was asked");
        let body = answer(vec![partition(node, 0, Bytes::new())]);
        fetcher.handle_answer(at(round), id, TOPIC, body).unwrap();
    }
    assert_eq!(asked.len(), 10, "only {asked:?} were asked");
}

/// Two leaders with two partitions each, whose first always fills the answer: the second has its turn all the same.
#[test]
fn no_partition_is_passed_over_for_ever() {
    let mut fetcher = Fetcher::new(config());
    for partition in 0..4 {
        fetcher.start(at(1), partition, 0);
    }
    let mut served = BTreeSet::new();
    for round in 1..10 {
        while let Some((_, id, request)) =
            fetcher.poll_fetch(at(round), TOPIC, &[0, 1], |partition| Some(partition % 2))
        {
            let asked = &request.topics[0].partitions;
            served.insert(asked[0].partition);
            let mut data: Vec<_> = asked.iter().map(|its| partition(its.partition, 0, Bytes::new())).collect();
            data[0].records = Some(batch(asked[0].fetch_offset, 3));
            fetcher.handle_answer(at(round), id, TOPIC, answer(data)).unwrap();
        }
        while fetcher.poll_records().is_some() {}
    }
    assert_eq!(served.len(), 4, "only {served:?} were served");
}

#[test]
fn a_partition_that_is_not_read_is_known_by_its_time() {
    let mut fetcher = Fetcher::new(config());
    fetcher.start(at(1), 0, 90);
    assert_eq!((fetcher.read_at(0), fetcher.read_at(1)), (Some(at(1)), None));
    let (id, _) = asked(&mut fetcher, 2).unwrap();
    // The high watermark is 100 and nothing comes: a transaction is open, or others fill the answers.
    fetcher.handle_answer(at(3), id, TOPIC, answer(vec![partition(0, 0, Bytes::new())])).unwrap();
    assert_eq!(fetcher.read_at(0), Some(at(1)));
    assert_eq!(fetcher.take_ends(), BTreeMap::from([(0, 100)]));
    let (id, _) = asked(&mut fetcher, 4).unwrap();
    let caught_up = partition(0, 0, Bytes::new()).with_high_watermark(90);
    fetcher.handle_answer(at(5), id, TOPIC, answer(vec![caught_up])).unwrap();
    assert_eq!(fetcher.read_at(0), Some(at(5)));
}
