//! The producer against a real broker, over blocking sockets of the standard library.
//!
//! Runs where `FLUX_TEST_KAFKA=host:port` names one; elsewhere it says that it was skipped.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::kafka::admin::{Admin, AdminEvent, NewTopic};
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, KafkaClient};
use flux_protocol::kafka::cluster::{Cluster, ClusterConfig, Lane, Target};
use flux_protocol::kafka::connection::RequestLimits;
use flux_protocol::kafka::producer::{Producer, ProducerConfig, Settled};
use flux_protocol::time::Instant;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::records::RecordBatchDecoder;

struct Shell {
    start: std::time::Instant,
    sockets: HashMap<BrokerKey, (TcpStream, BytesMut)>,
    connects: usize,
}

impl Shell {
    fn new() -> Shell {
        Shell { start: std::time::Instant::now(), sockets: HashMap::new(), connects: 0 }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(1 + self.start.elapsed().as_micros() as u64)
    }

    /// Turns until `done`, which looks at the machine after each turn. Two minutes without it are a failure.
    fn run<M: KafkaClient>(&mut self, machine: &mut M, mut done: impl FnMut(&mut M, Instant) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while !done(machine, self.now()) {
            assert!(std::time::Instant::now() < end, "the machine does not get there");
            if !self.turn(machine) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn turn<M: KafkaClient>(&mut self, machine: &mut M) -> bool {
        let mut moved = false;
        while let Some(action) = machine.poll_action() {
            match action {
                BrokerAction::Connect { broker, host, port } => {
                    self.connects += 1;
                    match TcpStream::connect((host.as_str(), port)) {
                        Ok(socket) => {
                            socket.set_nodelay(true).unwrap();
                            self.sockets.insert(broker, (socket, BytesMut::new()));
                            machine.handle_broker_open(self.now(), broker);
                        }
                        Err(_) => machine.handle_broker_closed(self.now(), broker),
                    }
                }
                BrokerAction::Close { broker } => drop(self.sockets.remove(&broker)),
            }
        }
        let keys: Vec<BrokerKey> = self.sockets.keys().copied().collect();
        for broker in keys {
            let now = self.now();
            let (socket, buffer) = self.sockets.get_mut(&broker).unwrap();
            let mut out = Vec::new();
            machine.poll_broker_write(broker, &mut out);
            let mut failed = false;
            if !out.is_empty() {
                moved = true;
                socket.set_nonblocking(false).unwrap();
                failed |= socket.write_all(&out).is_err();
            }
            socket.set_nonblocking(true).unwrap();
            let mut chunk = [0; 16 << 10];
            match socket.read(&mut chunk) {
                Ok(0) => failed = true,
                Ok(count) => {
                    moved = true;
                    buffer.extend_from_slice(&chunk[..count]);
                    let result = machine.handle_broker_bytes(now, broker, buffer);
                    assert_eq!(result, Ok(()), "a real broker was not understood");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => failed = true,
            }
            if failed {
                self.sockets.remove(&broker);
                machine.handle_broker_closed(now, broker);
            }
        }
        if machine.next_deadline() <= self.now() {
            moved = true;
            machine.handle_time(self.now());
            assert!(machine.next_deadline() > Instant::from_micros(0));
        }
        moved
    }

    /// What a broken network does: every socket is gone without a word.
    fn cut<M: KafkaClient>(&mut self, machine: &mut M) {
        let now = self.now();
        for (broker, (socket, _)) in self.sockets.drain() {
            drop(socket);
            machine.handle_broker_closed(now, broker);
        }
    }
}

fn broker() -> Option<(String, u16)> {
    let Ok(address) = std::env::var("FLUX_TEST_KAFKA") else {
        flux_test_support::skip("FLUX_TEST_KAFKA=host:port names no broker");
        return None;
    };
    let (host, port) = address.rsplit_once(':').expect("FLUX_TEST_KAFKA is host:port");
    Some((host.to_owned(), port.parse().expect("FLUX_TEST_KAFKA is host:port")))
}

fn cluster_config(bootstrap: (String, u16), topic: &str) -> ClusterConfig {
    ClusterConfig {
        bootstrap: vec![bootstrap],
        client_id: "flux-test".to_owned(),
        topic: topic.to_owned(),
        seed: 1,
        login: None,
    }
}

fn producer_config(bootstrap: (String, u16), topic: &str) -> ProducerConfig {
    ProducerConfig {
        topic: topic.to_owned(),
        bootstrap: vec![bootstrap],
        login: None,
        client_id: "flux-test".to_owned(),
        linger: Duration::from_micros(500),
        batch_bytes_max: 16 << 10,
        in_flight_max: 5,
        request_timeout: Duration::from_secs(5),
        records_max: 100_000,
        record_age_max: Duration::from_secs(60),
        seed: 1,
    }
}

/// A name that no other run has used: topics are left behind on the broker that the caller started.
fn unique(name: &str) -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}-{nanos}-{}", std::process::id())
}

fn create_topic(bootstrap: &(String, u16), topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut shell = Shell::new();
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let new = NewTopic { partitions, replicas: 1, settings };
    let mut admin = Admin::new(cluster_config(bootstrap.clone(), topic), Some(new), shell.now());
    let mut event = None;
    shell.run(&mut admin, |admin, _| {
        event = admin.poll_event();
        event.is_some()
    });
    let Some(AdminEvent::Found(found)) = event else {
        panic!("{event:?}");
    };
    assert!(found.created && found.id != [0; 16]);
    assert_eq!(found.partitions, partitions as usize);

    // Found by the next one, and not made again.
    let mut admin = Admin::new(cluster_config(bootstrap.clone(), topic), None, shell.now());
    shell.run(&mut admin, |admin, _| {
        event = admin.poll_event();
        event.is_some()
    });
    let again = flux_protocol::kafka::admin::TopicDescription { created: false, ..found };
    assert_eq!(event, Some(AdminEvent::Found(again)));
}

/// All values of a partition, in the order of the log.
fn read_log(bootstrap: &(String, u16), topic: &str, partition: i32) -> Vec<Bytes> {
    let mut shell = Shell::new();
    let mut cluster: Cluster<()> = Cluster::new(cluster_config(bootstrap.clone(), topic), shell.now());
    shell.run(&mut cluster, |cluster, now| {
        let Some(leader) = cluster.leader(partition) else {
            return false;
        };
        cluster.connect(now, leader, Lane::DATA);
        cluster.is_ready(Target::Node(leader, Lane::DATA))
    });
    let target = Target::Node(cluster.leader(partition).unwrap(), Lane::DATA);
    let id = uuid::Uuid::from_bytes(cluster.topic().unwrap().id);
    let mut values = Vec::new();
    loop {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(values.len() as i64)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![wanted]);
        let request = FetchRequest::default().with_max_bytes(1 << 20).with_min_bytes(0).with_topics(vec![topic]);
        let limits = RequestLimits { timeout: Duration::from_secs(10), response_bytes_max: 4 << 20 };
        cluster.request(shell.now(), target, &request, (), limits).unwrap();
        let mut answer = None;
        shell.run(&mut cluster, |cluster, _| {
            answer = cluster.poll_response();
            answer.is_some()
        });
        let response = answer.unwrap().answer.unwrap().decode::<FetchRequest>().unwrap();
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        let mut records = data.records.clone().unwrap_or_default();
        let before = values.len();
        // The last batch of an answer may be cut off.
        while records.len() >= 12 {
            let length = 12 + u32::from_be_bytes(records[8..12].try_into().unwrap()) as usize;
            if records.len() < length {
                break;
            }
            let mut batch = records.split_to(length);
            for record in RecordBatchDecoder::decode(&mut batch).unwrap().records {
                if record.offset >= before as i64 {
                    assert_eq!(record.offset, values.len() as i64);
                    values.push(record.value.unwrap());
                }
            }
        }
        if values.len() == before {
            return values;
        }
    }
}

fn value(token: u32, bytes: usize) -> Vec<u8> {
    let mut value = format!("{token}:").into_bytes();
    value.resize(bytes.max(value.len()), b'x');
    value
}

fn token_of(value: &[u8]) -> u32 {
    let digits = value.split(|byte| *byte == b':').next().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

#[test]
fn records_arrive_in_order_and_once_though_connections_break() {
    let Some(bootstrap) = broker() else {
        return;
    };
    const RECORDS: u32 = 50_000;
    let topic = unique("produce");
    create_topic(&bootstrap, &topic, 3, &[("min.insync.replicas", "1"), ("retention.ms", "-1")]);
    let mut shell = Shell::new();
    let mut producer: Producer<u32> = Producer::new(producer_config(bootstrap.clone(), &topic), shell.now());
    shell.run(&mut producer, |producer, _| producer.ready());
    assert_eq!(producer.partition_count(), Some(3));
    assert_eq!(shell.sockets.len(), 1, "one connection a leader");

    let mut appended = [const { Vec::new() }; 3];
    let mut acknowledged = 0;
    let mut next = 0;
    let mut cuts = 0;
    let mut tokens = Vec::new();
    while acknowledged < RECORDS {
        for _ in 0..35.min(RECORDS - next).min(producer.room() as u32) {
            let partition = producer.current_partition().unwrap();
            let bytes = 50 + (next as usize * 7) % 400;
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&value(next, bytes));
            producer.append(shell.now(), partition, 1_700_000_000_000 + i64::from(next), next, write).unwrap();
            appended[partition as usize].push(next);
            next += 1;
        }
        shell.turn(&mut producer);
        while let Some(settled) = producer.poll_settled(&mut tokens) {
            assert_eq!(settled, Settled::Acknowledged);
            acknowledged += tokens.len() as u32;
        }
        if acknowledged / 5_000 > cuts && cuts < 8 {
            cuts += 1;
            shell.cut(&mut producer);
        }
    }
    assert_eq!(cuts, 8);
    println!("{:?}, {} connections", producer.counters(), shell.connects);
    for (partition, expected) in appended.iter().enumerate() {
        let found: Vec<u32> =
            read_log(&bootstrap, &topic, partition as i32).iter().map(|value| token_of(value)).collect();
        assert!(found == *expected, "partition {partition}: {} records, not {}", found.len(), expected.len());
        assert!(!found.is_empty());
    }
}

#[test]
fn a_batch_too_large_is_split_and_one_record_too_large_is_refused() {
    let Some(bootstrap) = broker() else {
        return;
    };
    let topic = unique("split");
    create_topic(&bootstrap, &topic, 1, &[("max.message.bytes", "4000")]);
    let mut shell = Shell::new();
    let mut producer: Producer<u32> = Producer::new(producer_config(bootstrap.clone(), &topic), shell.now());
    shell.run(&mut producer, |producer, _| producer.ready());
    for token in 0..32 {
        let bytes = if token == 11 { 10_000 } else { 300 };
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&value(token, bytes));
        producer.append(shell.now(), 0, 1_700_000_000_000, token, write).unwrap();
    }
    let mut outcomes = HashMap::new();
    let mut tokens = Vec::new();
    shell.run(&mut producer, |producer, _| {
        while let Some(settled) = producer.poll_settled(&mut tokens) {
            for token in &tokens {
                assert_eq!(outcomes.insert(*token, settled), None);
            }
        }
        outcomes.len() == 32
    });
    for (token, settled) in &outcomes {
        let expected = if *token == 11 { Settled::Refused(10) } else { Settled::Acknowledged };
        assert_eq!(*settled, expected, "{token}");
    }
    let found: Vec<u32> = read_log(&bootstrap, &topic, 0).iter().map(|value| token_of(value)).collect();
    assert_eq!(found, (0..32).filter(|token| *token != 11).collect::<Vec<_>>());
    assert!(producer.counters().producer_ids > 1);
}

/// Kafka 4 refuses records an hour ahead of its own clock: they are taken all the same, without a time.
#[test]
fn records_of_a_clock_that_is_ahead_are_taken_without_a_time() {
    let Some(bootstrap) = broker() else { return };
    let topic = unique("ahead");
    create_topic(&bootstrap, &topic, 1, &[("message.timestamp.after.max.ms", "3600000")]);
    let mut shell = Shell::new();
    let mut producer: Producer<u32> = Producer::new(producer_config(bootstrap.clone(), &topic), shell.now());
    shell.run(&mut producer, |producer, _| producer.ready());
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for token in 0..5 {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(format!("value {token}").as_bytes());
        producer.append(shell.now(), 0, wall + 2 * 3_600_000, token, write).unwrap();
    }
    let (mut settled, mut tokens) = (Vec::new(), Vec::new());
    shell.run(&mut producer, |producer, _| {
        while let Some(outcome) = producer.poll_settled(&mut tokens) {
            assert_eq!(outcome, Settled::Acknowledged);
            settled.append(&mut tokens);
        }
        settled.len() == 5
    });
    assert!(producer.is_untimed(), "the broker has refused the times");
    let values: Vec<Bytes> = (0..5).map(|n| Bytes::from(format!("value {n}"))).collect();
    assert_eq!(read_log(&bootstrap, &topic, 0), values);
}
