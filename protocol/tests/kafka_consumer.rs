//! The consumer against a real broker: two members share the partitions, one leaves, nothing is read twice or missed.
//!
//! Needs `FLUX_TEST_KAFKA=host:port`; without it the test says that it was skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, KafkaClient};
use flux_protocol::kafka::cluster::{Cluster, ClusterConfig, Target};
use flux_protocol::kafka::connection::RequestLimits;
use flux_protocol::kafka::consumer::{Consumer, ConsumerConfig, Event};
use flux_protocol::kafka::fetch::Position;
use flux_protocol::kafka::records_decode::Entry;
use flux_protocol::time::Instant;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, GroupId, OffsetFetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

/// What the shell is for a machine: blocking connects, reads and writes that do not wait.
#[derive(Default)]
struct Sockets {
    open: BTreeMap<BrokerKey, (TcpStream, BytesMut)>,
    out: Vec<u8>,
}

fn pump(sockets: &mut Sockets, machine: &mut impl KafkaClient, now: Instant) {
    machine.handle_time(now);
    while let Some(action) = machine.poll_action() {
        match action {
            BrokerAction::Connect { broker, host, port } => match TcpStream::connect((host.as_str(), port)) {
                Ok(stream) => {
                    stream.set_nonblocking(true).unwrap();
                    stream.set_nodelay(true).unwrap();
                    sockets.open.insert(broker, (stream, BytesMut::new()));
                    machine.handle_broker_open(now, broker);
                }
                Err(_) => machine.handle_broker_closed(now, broker),
            },
            BrokerAction::Close { broker } => drop(sockets.open.remove(&broker)),
        }
    }
    let mut gone = Vec::new();
    for (broker, (stream, buffer)) in &mut sockets.open {
        let mut bytes = [0; 65536];
        match stream.read(&mut bytes) {
            Ok(0) => gone.push(*broker),
            Ok(length) => {
                buffer.extend_from_slice(&bytes[..length]);
                if let Err(error) = machine.handle_broker_bytes(now, *broker, buffer) {
                    panic!("a real broker is misunderstood: {error}");
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => gone.push(*broker),
        }
    }
    for broker in gone {
        sockets.open.remove(&broker);
        machine.handle_broker_closed(now, broker);
    }
    for (broker, (stream, _)) in &mut sockets.open {
        sockets.out.clear();
        machine.poll_broker_write(*broker, &mut sockets.out);
        let mut rest = &sockets.out[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(length) => rest = &rest[length..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("write: {error}"),
            }
        }
    }
}

/// A clock for all machines of the test; a test that hangs fails after a minute without a step forward.
struct Scene {
    start: std::time::Instant,
    bootstrap: (String, u16),
    topic: String,
    client: Cluster<()>,
    client_sockets: Sockets,
    progress: std::time::Instant,
}

impl Scene {
    fn new(bootstrap: (String, u16)) -> Scene {
        let topic = format!("consumer-test-{}", std::process::id());
        let config = ClusterConfig {
            bootstrap: vec![bootstrap.clone()],
            login: None,
            client_id: "test".to_owned(),
            topic: topic.clone(),
            seed: 1,
        };
        Scene {
            start: std::time::Instant::now(),
            bootstrap,
            topic,
            client: Cluster::new(config, Instant::from_micros(0)),
            client_sockets: Sockets::default(),
            progress: std::time::Instant::now(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn step(&mut self) {
        assert!(self.progress.elapsed() < Duration::from_secs(60), "nothing moves any more");
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Asks and waits for the answer; asks again where no connection is ready.
    fn ask<R: Request>(&mut self, request: &R) -> R::Response {
        self.progress = std::time::Instant::now();
        let mut is_asked = false;
        loop {
            let now = self.now();
            pump(&mut self.client_sockets, &mut self.client, now);
            if !is_asked && self.client.version(Target::Any, R::KEY).is_some() {
                let limits = RequestLimits::within(Duration::from_secs(20));
                is_asked = self.client.request(now, Target::Any, request, (), limits).is_ok();
            }
            if let Some(response) = self.client.poll_response() {
                return response.answer.expect("the connection holds").decode::<R>().expect("an answer of its kind");
            }
            self.step();
        }
    }

    fn topic_name(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.topic.clone()))
    }

    fn create_topic(&mut self, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(self.topic_name())
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        assert_eq!(self.ask(&request).topics[0].error_code, 0);
    }

    /// Produces `count` records to `partition`, `per_batch` at a time, each value telling its place.
    fn produce(&mut self, partition: i32, from: i64, count: i64, compression: Compression) {
        let records: Vec<Record> = (0..count)
            .map(|index| Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: -1,
                producer_epoch: -1,
                timestamp_type: TimestampType::Creation,
                offset: index,
                sequence: index as i32,
                timestamp: 1_700_000_000_000 + index,
                key: None,
                value: Some(Bytes::from(format!("{partition}/{}", from + index))),
                headers: Default::default(),
            })
            .collect();
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &RecordEncodeOptions { version: 2, compression }).unwrap();
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes.freeze()));
        while self.client.topic().is_none() {
            let now = self.now();
            self.client.refresh_metadata(now);
            pump(&mut self.client_sockets, &mut self.client, now);
            self.step();
        }
        let id = self.client.topic().unwrap().id;
        let topic =
            TopicProduceData::default().with_topic_id(uuid::Uuid::from_bytes(id)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
        loop {
            let error = self.ask(&request).responses[0].partition_responses[0].error_code;
            match error {
                0 => return,
                3 | 6 | 100 => self.step(), // The broker has not heard of its new topic yet.
                _ => panic!("produce: error {error}"),
            }
        }
    }

    /// The group's offsets as its coordinator has them.
    fn committed(&mut self) -> BTreeMap<i32, i64> {
        let topic =
            OffsetFetchRequestTopics::default().with_name(self.topic_name()).with_partition_indexes((0..4).collect());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(format!("{}-group", self.topic))))
            .with_topics(Some(vec![topic]));
        let answer = self.ask(&OffsetFetchRequest::default().with_groups(vec![group]));
        let partitions = answer.groups[0].topics[0].partitions.iter();
        partitions.map(|its| (its.partition_index, its.committed_offset)).collect()
    }

    fn member(&self, seed: u64) -> Member {
        let config = ConsumerConfig {
            topic: self.topic.clone(),
            group: format!("{}-group", self.topic),
            bootstrap: vec![self.bootstrap.clone()],
            login: None,
            client_id: format!("member-{seed}"),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(20),
            heartbeat_interval: Duration::from_millis(300),
            answer_bytes_max: 4096,
            buffered_bytes_max: 16384,
            fetch_wait: Duration::from_millis(50),
            seed,
        };
        Member {
            consumer: Consumer::new(config, self.now()),
            sockets: Sockets::default(),
            assigned: BTreeSet::new(),
            has_left: false,
            assignments: 0,
        }
    }
}

struct Member {
    consumer: Consumer,
    sockets: Sockets,
    assigned: BTreeSet<i32>,
    has_left: bool,
    assignments: usize,
}

/// What the ledger is in the worker: the next offset by partition, and every value in order.
#[derive(Default)]
struct Ledger {
    next: BTreeMap<i32, i64>,
    values: Vec<String>,
}

impl Member {
    fn turn(&mut self, now: Instant, ledger: &mut Ledger) {
        pump(&mut self.sockets, &mut self.consumer, now);
        while let Some(event) = self.consumer.poll_event() {
            match event {
                Event::Assigned { partitions, .. } => {
                    self.assignments += 1;
                    self.assigned = partitions.iter().copied().collect();
                    let offset = |partition| ledger.next.get(&partition).copied().unwrap_or(0);
                    let position = |partition| Position { partition, offset: offset(partition), leader_epoch: None };
                    self.consumer.start(now, partitions.into_iter().map(position));
                }
                Event::Release => {
                    self.assigned.clear();
                    self.consumer.release(now);
                }
                Event::Lost(_) => self.assigned.clear(),
                Event::Left => {
                    self.assigned.clear();
                    self.has_left = true;
                }
                Event::Refused { code, .. } if code == 3 || code == 100 => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some(fetched) = self.consumer.poll_records() {
            assert!(self.assigned.contains(&fetched.partition), "records of another's partition");
            for entry in fetched.records {
                let Entry::Record(record) = entry else { panic!("{entry:?}") };
                let next = ledger.next.entry(fetched.partition).or_insert(0);
                assert_eq!(record.offset, *next, "partition {}", fetched.partition);
                *next += 1;
                ledger.values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
            let next = ledger.next[&fetched.partition];
            self.consumer.commit(now, [(fetched.partition, next)]);
        }
    }
}

fn run(scene: &mut Scene, members: &mut [Member], ledger: &mut Ledger, until: impl Fn(&[Member], &Ledger) -> bool) {
    scene.progress = std::time::Instant::now();
    while !until(members, ledger) {
        for member in members.iter_mut() {
            member.turn(scene.now(), ledger);
        }
        scene.step();
    }
}

#[test]
fn two_members_share_the_partitions_and_one_leaves() {
    let Some(bootstrap) = std::env::var("FLUX_TEST_KAFKA").ok() else {
        flux_test_support::skip("FLUX_TEST_KAFKA=host:port names no broker");
        return;
    };
    let (host, port) = bootstrap.rsplit_once(':').expect("FLUX_TEST_KAFKA is host:port");
    let mut scene = Scene::new((host.to_owned(), port.parse().expect("a port")));
    scene.create_topic(4);
    let compressions = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut produced = 0;
    for round in 0..5 {
        for partition in 0..4 {
            scene.produce(partition, round * 100, 100, compressions[round as usize]);
            produced += 100;
        }
    }
    let mut ledger = Ledger::default();
    let mut members = vec![scene.member(1)];
    run(&mut scene, &mut members, &mut ledger, |members, ledger| {
        members[0].assigned.len() == 4 && ledger.values.len() == produced
    });

    // A second member takes half of the partitions, and what comes now is read once by one of the two.
    members.push(scene.member(2));
    run(&mut scene, &mut members, &mut ledger, |members, _| members.iter().all(|member| member.assigned.len() == 2));
    assert!(members[0].assigned.is_disjoint(&members[1].assigned));
    for partition in 0..4 {
        scene.produce(partition, 500, 100, Compression::None);
        produced += 100;
    }
    run(&mut scene, &mut members, &mut ledger, |_, ledger| ledger.values.len() == produced);

    // The first, which leads the group, leaves; the second takes over all.
    let now = scene.now();
    members[0].consumer.leave(now);
    run(&mut scene, &mut members, &mut ledger, |members, _| members[0].has_left && members[1].assigned.len() == 4);
    for partition in 0..4 {
        scene.produce(partition, 600, 100, Compression::None);
        produced += 100;
    }
    let mut left = vec![members.remove(1)];
    run(&mut scene, &mut left, &mut ledger, |_, ledger| ledger.values.len() == produced);

    let distinct: BTreeSet<&String> = ledger.values.iter().collect();
    assert_eq!(distinct.len(), produced, "each once");
    let now = scene.now();
    left[0].consumer.leave(now);
    run(&mut scene, &mut left, &mut ledger, |members, _| members[0].has_left);
    assert_eq!(scene.committed(), ledger.next, "what lag tools see");
}
