//! The fake by itself, request by request: what the clients that ship do not ask, or not at will.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::{Kafka, Keyed, PORT, ProduceFault, Tombstones};
use crate::peer::{Peer, SocketId};
use crate::random::Random;

const FENCES: &str = "orders-fences";
const COMPACTED: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "3600000")];
/// Versions by which topics are named in a produce request.
const BY_NAME: i16 = 12;
const BY_ID: i16 = 13;

/// A cluster, the time, and the network's part.
struct Bench {
    kafka: Kafka,
    now: Now,
    sockets: u64,
}

impl Bench {
    /// Three nodes, two partitions of orders.
    fn new() -> Bench {
        let now = Now { instant: Instant::from_micros(5_000_000), wall_ms: 1_700_000_000_000 };
        Bench { kafka: Kafka::new(3, "orders", 2, Random::new(7)), now, sockets: 0 }
    }

    fn with_fences() -> Bench {
        let mut bench = Bench::new();
        bench.kafka.create_topic(bench.now, FENCES, 1, &COMPACTED);
        bench
    }

    /// Sends a request to a node over a connection of its own.
    fn send<R: Request>(&mut self, node: usize, version: i16, request: &R) -> SocketId {
        let mut wire = Vec::new();
        let header = RequestHeader::default().with_request_api_key(R::KEY).with_request_api_version(version);
        header.encode(&mut wire, 2).expect("a header");
        request.encode(&mut wire, version).expect("a request of this version");
        let mut frame = BytesMut::from(&u32::try_from(wire.len()).expect("short").to_be_bytes()[..]);
        frame.extend_from_slice(&wire);
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        let port = PORT + u16::try_from(node).expect("few nodes");
        self.kafka.handle_open(self.now, socket, port);
        self.kafka.handle_bytes(self.now, socket, &mut frame);
        socket
    }

    /// The answer, as soon as it comes; `None`: the connection ended without one.
    fn answer<R: Request>(&mut self, socket: SocketId, version: i16) -> Option<R::Response> {
        loop {
            if let Some((to, mut frame)) = self.kafka.poll_write() {
                assert_eq!(to, socket, "nobody else asks");
                let mut body = frame.split_off(9);
                return Some(R::Response::decode(&mut body, version).expect("an answer of this version"));
            }
            if self.kafka.poll_close().is_some() {
                return None;
            }
            self.now.instant = self.kafka.next_deadline();
            assert_ne!(self.now.instant, Instant::FAR_FUTURE, "nothing will ever happen");
            self.kafka.handle_time(self.now);
        }
    }

    fn ask<R: Request>(&mut self, node: usize, version: i16, request: &R) -> R::Response {
        let socket = self.send(node, version, request);
        self.answer::<R>(socket, version).expect("an answer")
    }

    fn id(&self, topic: &str) -> uuid::Uuid {
        uuid::Uuid::from_u128(self.kafka.id_of(topic).expect("it exists"))
    }

    /// Writes a batch into a topic's first partition: Kafka's error code, and where it begins.
    fn produce(&mut self, topic: &str, batch: &Bytes) -> (i16, i64) {
        let node = self.kafka.leader_of(topic, 0).expect("it exists");
        let request = produce([data(topic, self.id(topic), batch)]);
        let partition = self.ask(node, BY_ID, &request).responses.remove(0).partition_responses.remove(0);
        (partition.error_code, partition.base_offset)
    }

    /// What a reader finds in a topic's first partition from `offset` on: Kafka's error code, and the bytes.
    fn fetch(&mut self, topic: &str, offset: i64) -> (i16, Bytes) {
        let node = self.kafka.leader_of(topic, 0).expect("it exists");
        let request = fetch(self.id(topic), offset);
        let partition = self.ask(node, 17, &request).responses.remove(0).partitions.remove(0);
        (partition.error_code, partition.records.unwrap_or_default())
    }

    fn ends(&mut self, topic: &str) -> (i64, i64) {
        let node = self.kafka.leader_of(topic, 0).expect("it exists");
        let [start, end] = [-2, -1].map(|timestamp| {
            let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
            let response = self.ask(node, 9, &ListOffsetsRequest::default().with_topics(vec![topic]));
            let found = &response.topics[0].partitions[0];
            assert_eq!(found.error_code, 0);
            found.offset
        });
        (start, end)
    }

    fn keys(&self) -> Vec<(i64, String)> {
        let text = |key: Option<Bytes>| String::from_utf8(key.expect("a key").to_vec()).expect("text");
        self.kafka.records_of(FENCES).into_iter().map(|record| (record.offset, text(record.key))).collect()
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A batch as a producer of this id writes it, from this sequence on.
fn batch(producer: i64, sequence: i32, records: &[(Option<&str>, Option<&str>)]) -> Bytes {
    let records: Vec<Record> = records
        .iter()
        .zip(0..)
        .map(|((key, value), at)| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: producer,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            timestamp: 1_700_000_000_000 + i64::from(at),
            offset: i64::from(at),
            sequence: sequence + at,
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            headers: Default::default(),
            delete_horizon: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("records");
    bytes.freeze()
}

/// What a request has for a topic's first partition.
fn data(topic: &str, id: uuid::Uuid, batch: &Bytes) -> TopicProduceData {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch.clone()));
    TopicProduceData::default().with_name(name(topic)).with_topic_id(id).with_partition_data(vec![partition])
}

fn produce(topics: impl IntoIterator<Item = TopicProduceData>) -> ProduceRequest {
    ProduceRequest::default().with_acks(-1).with_topic_data(topics.into_iter().collect())
}

fn fetch(id: uuid::Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default().with_min_bytes(1).with_max_bytes(1 << 20).with_max_wait_ms(200).with_topics(vec![topic])
}

/// A batch but for what the broker writes into it: its base offset and its leader's epoch.
fn as_sent(batch: &[u8]) -> [&[u8]; 2] {
    [&batch[8..12], &batch[16..]]
}

#[test]
fn a_topic_is_made_as_it_was_asked_for_and_known_by_its_name() {
    let mut bench = Bench::new();
    let look = |bench: &mut Bench, topic: &str| {
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let response = bench.ask(0, 12, &MetadataRequest::default().with_topics(Some(vec![asked])));
        (response.topics[0].error_code, response.topics[0].topic_id, response.topics[0].partitions.len())
    };
    let settings = |bench: &mut Bench, topic: &str| {
        let asked = DescribeConfigsResource::default().with_resource_type(2);
        let asked = asked.with_resource_name(StrBytes::from_string(topic.to_owned()));
        let response = bench.ask(0, 4, &DescribeConfigsRequest::default().with_resources(vec![asked]));
        let result = &response.results[0];
        let value = |wanted: &str| {
            let found: Vec<String> = result
                .configs
                .iter()
                .filter(|config| config.name.as_str() == wanted)
                .map(|config| config.value.as_ref().expect("a value").to_string())
                .collect();
            found.join(" and ")
        };
        let lag = value("min.compaction.lag.ms");
        (result.error_code, [value("cleanup.policy"), lag, value("retention.ms"), value("min.insync.replicas")])
    };
    let create = |bench: &mut Bench, topic: &str, partitions: i32| {
        let config = |(name, value): (&'static str, &'static str)| {
            let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str(name));
            config.with_value(Some(StrBytes::from_static_str(value)))
        };
        let asked = CreatableTopic::default().with_name(name(topic)).with_num_partitions(partitions);
        let asked = asked.with_replication_factor(3).with_configs(COMPACTED.map(config).to_vec());
        let response = bench.ask(0, 7, &CreateTopicsRequest::default().with_topics(vec![asked]));
        (response.topics[0].error_code, response.topics[0].topic_id)
    };
    assert_eq!(look(&mut bench, FENCES), (3, uuid::Uuid::nil(), 0));
    assert_eq!(settings(&mut bench, FENCES).0, 3);
    let (orders, told) = (look(&mut bench, "orders"), settings(&mut bench, "orders"));
    assert_eq!((orders.0, orders.2), (0, 2));
    assert_eq!(told, (0, ["delete", "", "-1", "2"].map(str::to_owned)));

    let (code, id) = create(&mut bench, FENCES, 3);
    assert_eq!((code, id), (0, bench.id(FENCES)));
    assert_eq!(look(&mut bench, FENCES), (0, id, 3));
    assert_eq!(settings(&mut bench, FENCES), (0, ["compact", "3600000", "604800000", "2"].map(str::to_owned)));
    assert_eq!(create(&mut bench, FENCES, 1), (36, id), "it is there already");
    assert_eq!(create(&mut bench, "orders", 1).0, 36);
    assert_eq!((look(&mut bench, "orders"), settings(&mut bench, "orders")), (orders, told), "another topic");
    assert_eq!(bench.kafka.unknown(), [""; 0]);
}

#[test]
fn one_request_names_several_topics_by_id_or_by_name() {
    let mut bench = Bench::with_fences();
    let (orders, fences) = (bench.id("orders"), bench.id(FENCES));
    let (order, fence) = (batch(-1, -1, &[(None, Some("o"))]), batch(-1, -1, &[(Some("k"), Some("f"))]));
    let leader = bench.kafka.leader(0);
    while bench.kafka.leader_of(FENCES, 0) != Some(leader) {
        bench.kafka.move_leader_of(bench.now, FENCES, 0);
    }
    for version in [BY_NAME, BY_ID] {
        let topics =
            [data(FENCES, fences, &fence), data("orders", orders, &order), data("none", uuid::Uuid::max(), &order)];
        let response = bench.ask(leader, version, &produce(topics));
        let codes: Vec<i16> = response.responses.iter().map(|topic| topic.partition_responses[0].error_code).collect();
        assert_eq!(codes, [0, 0, if version == BY_ID { 100 } else { 3 }]);
        let names: Vec<TopicName> = response.responses.iter().map(|topic| topic.name.clone()).collect();
        let ids: Vec<uuid::Uuid> = response.responses.iter().map(|topic| topic.topic_id).collect();
        match version {
            BY_NAME => assert_eq!(names, [name(FENCES), name("orders"), name("none")]),
            _ => assert_eq!(ids, [fences, orders, uuid::Uuid::max()]),
        }
    }
    let mut request = fetch(orders, 0);
    request.topics.extend(fetch(fences, 0).topics);
    let response = bench.ask(leader, 17, &request);
    let read = response.responses.iter().map(|topic| topic.partitions[0].records.as_ref().expect("records").len());
    assert_eq!(read.collect::<Vec<usize>>(), [2 * order.len(), 2 * fence.len()]);
    assert_eq!((bench.ends("orders"), bench.ends(FENCES)), ((0, 2), (0, 2)));
    assert_eq!(bench.kafka.records().len(), 2, "the orders' observers see orders only");
    assert_eq!(bench.kafka.ends(), [2, 0]);
}

#[test]
fn records_with_keys_pass_through_byte_by_byte() {
    let mut bench = Bench::with_fences();
    let sent = batch(40, 0, &[(Some("edge:a"), Some("{\"beat\":1}")), (Some("fence:b"), None), (Some(""), Some(""))]);
    assert_eq!(bench.produce(FENCES, &sent), (0, 0));
    let (code, read) = bench.fetch(FENCES, 0);
    assert_eq!((code, as_sent(&read)), (0, as_sent(&sent)));
    let keyed = |offset, key: &'static str, value: Option<&'static str>| Keyed {
        partition: 0,
        offset,
        key: Some(Bytes::from_static(key.as_bytes())),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    let expected = [keyed(0, "edge:a", Some("{\"beat\":1}")), keyed(1, "fence:b", None), keyed(2, "", Some(""))];
    assert_eq!(bench.kafka.records_of(FENCES), expected);
    assert_eq!(bench.produce(FENCES, &sent), (0, 0), "the same batch of the same producer");
    let keyless = batch(41, 0, &[(Some("k"), Some("v")), (None, Some("v"))]);
    assert_eq!(bench.produce(FENCES, &keyless).0, 87, "a compacted topic takes no record without a key");
    assert_eq!(bench.ends(FENCES), (0, 3));
}

#[test]
fn a_fetch_waits_for_as_many_bytes_as_it_wants() {
    let mut bench = Bench::with_fences();
    let fence = batch(-1, -1, &[(Some("k"), Some("v"))]);
    let node = bench.kafka.leader_of(FENCES, 0).expect("it exists");
    for (wanted, ms) in [(1, 0), (fence.len(), 0), (fence.len() + 1, 200)] {
        let id = bench.id(FENCES);
        let offset = bench.ends(FENCES).1;
        let wanted = i32::try_from(wanted).expect("few");
        let reader = bench.send(node, 17, &fetch(id, offset).with_min_bytes(wanted));
        let before = bench.now.instant;
        bench.kafka.write_stray_to(bench.now, FENCES, b"k", Some(b"v"));
        let answer = bench.answer::<FetchRequest>(reader, 17).expect("an answer");
        assert_eq!(answer.responses[0].partitions[0].records.as_ref().map(Bytes::len), Some(fence.len()));
        assert_eq!(bench.now.instant.since(before), Duration::from_millis(ms), "{wanted} bytes");
    }
}

#[test]
fn faults_that_are_meant_for_orders_pass_other_topics_by() {
    let mut bench = Bench::with_fences();
    let (order, fence) = (batch(-1, -1, &[(None, Some("bad"))]), batch(-1, -1, &[(Some("k"), Some("bad"))]));
    bench.kafka.spoil_produce([ProduceFault::Refuse(19)]);
    bench.kafka.poison(b"bad", 10);
    bench.kafka.damage_next_fetch();
    assert_eq!(bench.produce(FENCES, &fence).0, 0);
    assert_eq!(as_sent(&bench.fetch(FENCES, 0).1), as_sent(&fence));
    assert_eq!(bench.produce("orders", &order).0, 19);
    assert_eq!(bench.produce("orders", &order).0, 10);
    bench.kafka.refuse_nothing();
    assert_eq!(bench.produce("orders", &order).0, 0);
    assert_ne!(as_sent(&bench.fetch("orders", 0).1), as_sent(&order));
}

#[test]
fn another_topic_changes_nothing_that_is_drawn_for_orders() {
    let times = |beside: bool| {
        let mut bench = Bench::new();
        let mut times = Vec::new();
        for _ in 0..5 {
            if beside {
                bench.kafka.create_topic(bench.now, FENCES, 1, &COMPACTED);
                bench.produce(FENCES, &batch(-1, -1, &[(Some("k"), Some("v"))]));
                bench.kafka.recreate(bench.now, FENCES);
            }
            let before = bench.now.instant;
            bench.produce("orders", &batch(-1, -1, &[(None, Some("o"))]));
            times.push(bench.now.instant.since(before));
        }
        bench.kafka.recreate_topic(bench.now);
        (times, bench.kafka.topic_id())
    };
    assert_eq!(times(true), times(false));
}

#[test]
fn a_node_that_dies_takes_along_what_it_had_not_replicated_of_any_topic() {
    let mut bench = Bench::with_fences();
    let fence = batch(-1, -1, &[(Some("k"), Some("v"))]);
    assert_eq!(bench.produce(FENCES, &fence), (0, 0));
    bench.kafka.slow_replication(Duration::from_secs(60));
    let leader = bench.kafka.leader_of(FENCES, 0).expect("it exists");
    bench.send(leader, BY_ID, &produce([data(FENCES, bench.id(FENCES), &fence)]));
    assert_eq!(bench.keys().len(), 2);
    assert_eq!(bench.ends(FENCES), (0, 1), "not seen before every replica has it");
    bench.kafka.stop(bench.now, leader);
    bench.now.instant = bench.kafka.next_deadline();
    bench.kafka.handle_time(bench.now);
    assert_ne!(bench.kafka.leader_of(FENCES, 0), Some(leader));
    assert_eq!(bench.keys(), [(0, "k".to_owned())]);
    assert_eq!(bench.ends(FENCES), (0, 1));
}

#[test]
fn a_leader_that_moves_ends_the_waiting_of_its_own_topic_only() {
    for moved in [FENCES, "orders"] {
        let mut bench = Bench::with_fences();
        let leader = bench.kafka.leader(0);
        while bench.kafka.leader_of(FENCES, 0) != Some(leader) {
            bench.kafka.move_leader_of(bench.now, FENCES, 0);
        }
        bench.kafka.slow_replication(Duration::from_secs(1));
        let order = data("orders", bench.id("orders"), &batch(-1, -1, &[(None, Some("o"))]));
        let fence = data(FENCES, bench.id(FENCES), &batch(-1, -1, &[(Some("k"), Some("f"))]));
        let orders = bench.send(leader, BY_ID, &produce([order]));
        let fences = bench.send(leader, BY_ID, &produce([fence]));
        bench.kafka.move_leader_of(bench.now, moved, 0);
        let (ended, stays) = if moved == FENCES { (fences, orders) } else { (orders, fences) };
        assert_eq!(bench.kafka.poll_close(), Some(ended), "{moved}");
        let response = bench.answer::<ProduceRequest>(stays, BY_ID).expect("replicated");
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{moved}");
        let left = (bench.kafka.records().len(), bench.keys().len());
        assert_eq!(left, if moved == FENCES { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn a_topic_may_be_lost_and_made_anew_and_anybody_writes_to_it() {
    let mut bench = Bench::with_fences();
    let first = bench.id(FENCES);
    bench.kafka.write_stray_to(bench.now, FENCES, b"edge:x", Some(b"not ours"));
    bench.kafka.write_stray_to(bench.now, FENCES, b"edge:y", None);
    assert_eq!(bench.keys(), [(0, "edge:x".to_owned()), (1, "edge:y".to_owned())]);
    assert_eq!(bench.kafka.records_of(FENCES)[1].value, None, "a tombstone");

    bench.kafka.recreate(bench.now, FENCES);
    assert_ne!(bench.id(FENCES), first);
    assert_eq!((bench.keys(), bench.ends(FENCES)), (Vec::new(), (0, 0)));
    let waiting = bench.kafka.leader_of(FENCES, 0).expect("it exists");
    assert_eq!(bench.ask(waiting, 17, &fetch(first, 0)).responses[0].partitions[0].error_code, 100);
    let keyless = batch(-1, -1, &[(None, Some("v"))]);
    assert_eq!(bench.produce(FENCES, &keyless).0, 87, "its settings are the same");

    let second = bench.id(FENCES);
    let reader = bench.send(waiting, 17, &fetch(second, 0));
    bench.kafka.delete_topic(bench.now, FENCES);
    let answer = bench.answer::<FetchRequest>(reader, 17).expect("who waits is told");
    assert_eq!(answer.responses[0].partitions[0].error_code, 100);
    assert_eq!(bench.kafka.id_of(FENCES), None);
    let now = bench.now;
    bench.kafka.delete_topic(now, FENCES);
    bench.kafka.recreate(now, FENCES);
    bench.kafka.move_leader_of(now, FENCES, 0);
    bench.kafka.write_stray_to(now, FENCES, b"k", None);
    bench.kafka.compact(now, FENCES, Tombstones::Go);
    assert_eq!((bench.kafka.id_of(FENCES), bench.keys()), (None, Vec::new()), "what is not there stays away");
    bench.kafka.create_topic(now, FENCES, 2, &[]);
    assert_ne!(bench.id(FENCES), second);
    assert_eq!(bench.produce(FENCES, &keyless).0, 0, "it is not compacted any more");
}

#[test]
fn compaction_leaves_the_last_record_of_each_key_where_it_stands() {
    let mut bench = Bench::with_fences();
    // By offset: a b c | a b | b d | d, the first of a producer that writes no more, the last of a stranger.
    let batches = [
        batch(40, 0, &[(Some("a"), Some("0")), (Some("b"), Some("1")), (Some("c"), Some("2"))]),
        batch(41, 0, &[(Some("a"), Some("3")), (Some("b"), Some("4"))]),
        batch(41, 2, &[(Some("b"), Some("5")), (Some("d"), None)]),
        batch(-1, -1, &[(Some("a"), Some("7"))]),
    ];
    for batch in &batches {
        assert_eq!(bench.produce(FENCES, batch).0, 0);
    }
    bench.kafka.slow_replication(Duration::from_secs(1));
    let leader = bench.kafka.leader_of(FENCES, 0).expect("it exists");
    let late = batch(-1, -1, &[(Some("c"), Some("8"))]);
    let waiting = bench.send(leader, BY_ID, &produce([data(FENCES, bench.id(FENCES), &late)]));
    bench.kafka.compact(bench.now, FENCES, Tombstones::Stay);
    let key = |offset: i64, key: &str| (offset, key.to_owned());
    let left = [key(2, "c"), key(5, "b"), key(6, "d"), key(7, "a"), key(8, "c")];
    assert_eq!(bench.keys(), left, "a replica may not have the last c");
    bench.answer::<ProduceRequest>(waiting, BY_ID).expect("replicated");

    // Readers from anywhere find what stands there: batches begin and end where they did.
    let (code, read) = bench.fetch(FENCES, 0);
    assert_eq!(code, 0);
    let heads: Vec<(i64, i32, i32)> = heads(&read);
    assert_eq!(heads, [(0, 2, 1), (5, 1, 2), (7, 0, 1), (8, 0, 1)], "base offset, last offset delta, records");
    assert_eq!(heads_of(&mut bench, 3), heads[1..], "from within a hole");
    assert_eq!(bench.ends(FENCES), (0, 9));
    assert_eq!(bench.produce(FENCES, &batches[2]), (0, 5), "its producer's last batch is known again");

    // A stranger's word on b empties the second producer's last batch, and a day later nothing tells of d.
    bench.kafka.write_stray_to(bench.now, FENCES, b"b", None);
    bench.kafka.compact(bench.now, FENCES, Tombstones::Go);
    assert_eq!(bench.keys(), [key(7, "a"), key(8, "c")]);
    let kept = [(0, 2, 0), (5, 1, 0), (7, 0, 1), (8, 0, 1)];
    assert_eq!(heads_of(&mut bench, 0), kept, "of each producer that is known the last batch");
    assert_eq!(bench.ends(FENCES), (0, 10), "where the log ended");
    bench.kafka.forget_producers();
    bench.kafka.compact(bench.now, FENCES, Tombstones::Go);
    assert_eq!(heads_of(&mut bench, 0), kept[2..]);
    bench.kafka.write_stray_to(bench.now, FENCES, b"e", Some(b"10"));
    assert_eq!(bench.keys().last(), Some(&key(10, "e")));
}

#[test]
fn what_is_not_made_to_be_compacted_is_not() {
    let mut bench = Bench::new();
    let twice = batch(-1, -1, &[(Some("k"), Some("1")), (Some("k"), Some("2"))]);
    assert_eq!(bench.produce("orders", &twice).0, 0);
    bench.kafka.compact(bench.now, "orders", Tombstones::Go);
    assert_eq!(bench.kafka.records().len(), 2);
}

fn heads_of(bench: &mut Bench, offset: i64) -> Vec<(i64, i32, i32)> {
    heads(&bench.fetch(FENCES, offset).1)
}

/// Of each batch its base offset, last offset delta and number of records; its checksum is right.
fn heads(mut batches: &[u8]) -> Vec<(i64, i32, i32)> {
    let mut heads = Vec::new();
    while !batches.is_empty() {
        let int = |at: usize| i32::from_be_bytes(*batches[at..].first_chunk().expect("a whole header"));
        let base = i64::from_be_bytes(*batches.first_chunk().expect("a whole header"));
        heads.push((base, int(23), int(57)));
        let (batch, rest) = batches.split_at(12 + usize::try_from(int(8)).expect("a length"));
        super::log::Header::read(batch).expect("whole, with the right checksum");
        batches = rest;
    }
    heads
}
