//! A small scripted cluster for tests: nodes, leaders, logs, and a broker's rules for idempotent producers. It answers
//! when told to, and with the errors it is given.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    InitProducerIdResponse, JoinGroupResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
    ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::RecordBatchDecoder;

use super::client::{BrokerAction, BrokerKey, KafkaClient};
use super::fake_login::FakeLogin;
use super::versions::key;
use crate::time::Instant;

pub(crate) const TOPIC: &str = "orders";

/// One batch as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) node: i32,
    pub(crate) partition: i32,
    pub(crate) producer: (i64, i16),
    pub(crate) sequence: i32,
    pub(crate) values: Vec<String>,
    pub(crate) code: i16,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) values: Vec<String>,
    /// By producer id: the first and last sequence of its last five batches, oldest first.
    producers: HashMap<i64, VecDeque<(i32, i32)>>,
}

struct Socket {
    node: i32,
    inbound: BytesMut,
    outbound: VecDeque<(i16, Bytes)>,
    buffer: BytesMut,
}

pub(crate) struct Fake {
    pub(crate) now: Instant,
    pub(crate) up: BTreeMap<i32, bool>,
    pub(crate) leaders: Vec<i32>,
    /// What metadata says, where it differs.
    pub(crate) leaders_told: Option<Vec<i32>>,
    pub(crate) topic_id: u128,
    pub(crate) logs: BTreeMap<(u128, i32), Log>,
    /// Error codes for the next produce batches, by partition.
    pub(crate) produce_codes: HashMap<i32, VecDeque<i16>>,
    /// Whether a batch with such an error is appended all the same.
    pub(crate) appends_anyway: bool,
    /// (error, producer id, epoch) of the next answers to InitProducerId.
    pub(crate) identities: VecDeque<(i16, i64, i16)>,
    pub(crate) next_identity: i64,
    /// Batches longer than this are too large.
    pub(crate) batch_bytes_max: usize,
    /// Values that make a batch invalid.
    pub(crate) poison: Option<&'static str>,
    /// Produce answers are kept back.
    pub(crate) holds: bool,
    /// So many of them are let through all the same.
    pub(crate) releases: usize,
    /// Brokers that answer nothing, as if they had been stopped.
    pub(crate) mute: Vec<i32>,
    /// Every byte is delivered by itself.
    pub(crate) trickles: bool,
    pub(crate) produce_version_max: i16,
    /// Partitions of the topic; there is none where it is empty, until it is created. Errors of the next attempts.
    pub(crate) create_codes: VecDeque<i16>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) requests: Vec<i16>,
    pub(crate) closed_by_machine: usize,
    /// What brokers want of a client before anything else; `None`: nothing.
    pub(crate) login: Option<FakeLogin>,
    sockets: BTreeMap<BrokerKey, Socket>,
}

const LIST_OFFSETS: i16 = 2;
const CREATE_TOPICS: i16 = 19;

pub(crate) const BOOTSTRAP_PORT: u16 = 9000;
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;

impl Fake {
    pub(crate) fn new(nodes: i32, partitions: i32) -> Fake {
        Fake {
            now: Instant::from_micros(1_000_000),
            up: (1..=nodes).map(|node| (node, true)).collect(),
            leaders: (0..partitions).map(|partition| partition % nodes + 1).collect(),
            leaders_told: None,
            topic_id: 77,
            logs: BTreeMap::new(),
            produce_codes: HashMap::new(),
            appends_anyway: false,
            identities: VecDeque::new(),
            next_identity: 1000,
            batch_bytes_max: usize::MAX,
            poison: None,
            holds: false,
            releases: 0,
            mute: Vec::new(),
            trickles: false,
            produce_version_max: 13,
            create_codes: VecDeque::new(),
            arrivals: Vec::new(),
            requests: Vec::new(),
            closed_by_machine: 0,
            login: None,
            sockets: BTreeMap::new(),
        }
    }

    pub(crate) fn log(&self, partition: i32) -> &[String] {
        self.logs.get(&(self.topic_id, partition)).map_or(&[], |log| &log.values)
    }

    pub(crate) fn connections(&self) -> Vec<i32> {
        self.sockets.values().map(|socket| socket.node).collect()
    }

    pub(crate) fn only_socket(&self) -> (BrokerKey, i32) {
        assert_eq!(self.sockets.len(), 1);
        let (key, socket) = self.sockets.first_key_value().unwrap();
        (*key, socket.node)
    }

    /// Resets every connection to `node`; what was held on them is lost.
    pub(crate) fn reset<M: KafkaClient>(&mut self, node: i32, machine: &mut M) {
        let keys: Vec<BrokerKey> =
            self.sockets.iter().filter(|(_, socket)| socket.node == node).map(|(key, _)| *key).collect();
        for key in keys {
            self.sockets.remove(&key);
            machine.handle_broker_closed(self.now, key);
        }
    }

    /// Lets time pass in steps no longer than the machine's deadlines.
    pub(crate) fn pass<M: KafkaClient>(&mut self, millis: u64, machine: &mut M) {
        let end = self.now + std::time::Duration::from_millis(millis);
        let mut steps = 0;
        loop {
            self.run(machine);
            let next = machine.next_deadline();
            if next > end {
                break;
            }
            assert!(next > self.now, "a deadline that handling did not move: the shell would spin");
            self.now = next;
            machine.handle_time(self.now);
            steps += 1;
            assert!(steps < 100_000, "the machine spins");
        }
        self.now = end;
        machine.handle_time(self.now);
        self.run(machine);
    }

    /// Carries bytes until nobody has any.
    pub(crate) fn run<M: KafkaClient>(&mut self, machine: &mut M) {
        for _ in 0..10_000 {
            let mut quiet = true;
            while let Some(action) = machine.poll_action() {
                quiet = false;
                self.act(action, machine);
            }
            let keys: Vec<BrokerKey> = self.sockets.keys().copied().collect();
            for key in keys {
                quiet &= !self.carry(key, machine);
            }
            if quiet {
                if machine.next_deadline() <= self.now {
                    machine.handle_time(self.now);
                    assert!(machine.next_deadline() > self.now, "a deadline that handling did not move");
                    continue;
                }
                return;
            }
        }
        panic!("machine and cluster never come to rest");
    }

    fn act<M: KafkaClient>(&mut self, action: BrokerAction, machine: &mut M) {
        match action {
            BrokerAction::Connect { broker, host, port } => {
                assert!(host == "broker" || host == "alias");
                let node = i32::from(port - BOOTSTRAP_PORT);
                if self.up.get(&node) == Some(&true) {
                    let socket =
                        Socket { node, inbound: BytesMut::new(), outbound: VecDeque::new(), buffer: BytesMut::new() };
                    assert!(self.sockets.insert(broker, socket).is_none(), "a key was used twice");
                    machine.handle_broker_open(self.now, broker);
                } else {
                    machine.handle_broker_closed(self.now, broker);
                }
            }
            BrokerAction::Close { broker } => {
                self.closed_by_machine += 1;
                self.sockets.remove(&broker);
            }
        }
    }

    fn carry<M: KafkaClient>(&mut self, key: BrokerKey, machine: &mut M) -> bool {
        let mut out = Vec::new();
        machine.poll_broker_write(key, &mut out);
        let Some(mut socket) = self.sockets.remove(&key) else {
            return false;
        };
        let mut moved = !out.is_empty();
        socket.inbound.extend_from_slice(&out);
        while let Some(length) = socket.inbound.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) {
            if socket.inbound.len() < 4 + length {
                break;
            }
            socket.inbound.advance(4);
            let frame = socket.inbound.split_to(length).freeze();
            let answer = self.answer(key, socket.node, frame);
            socket.outbound.push_back(answer);
        }
        let mut failed = false;
        while let Some((api_key, _)) = socket.outbound.front() {
            if self.mute.contains(&socket.node) {
                break;
            }
            if *api_key == JOIN_GROUP {
                break;
            }
            if self.holds && *api_key == key::PRODUCE {
                if self.releases == 0 {
                    break;
                }
                self.releases -= 1;
            }
            moved = true;
            let (_, bytes) = socket.outbound.pop_front().unwrap();
            let step = if self.trickles { 1 } else { bytes.len() };
            for chunk in bytes.chunks(step) {
                socket.buffer.extend_from_slice(chunk);
                failed |= machine.handle_broker_bytes(self.now, key, &mut socket.buffer).is_err();
            }
        }
        if failed {
            machine.handle_broker_closed(self.now, key);
        } else {
            self.sockets.insert(key, socket);
        }
        moved
    }

    fn answer(&mut self, connection: BrokerKey, node: i32, mut frame: Bytes) -> (i16, Bytes) {
        // SaslHandshake alone has the old header.
        let is_old = frame[..2] == key::SASL_HANDSHAKE.to_be_bytes();
        let header = RequestHeader::decode(&mut frame, if is_old { 1 } else { 2 }).unwrap();
        let version = header.request_api_version;
        self.requests.push(header.request_api_key);
        let mut body = Vec::new();
        let mut tags = true;
        let login = self.login.as_mut();
        let logged_in = login.and_then(|its| its.answer(self.now, connection, header.request_api_key, &mut frame));
        match header.request_api_key {
            _ if logged_in.is_some() => (body, tags) = logged_in.expect("looked at"),
            key::API_VERSIONS => {
                tags = false;
                let range =
                    |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
                let keys = vec![
                    range(key::PRODUCE, 0, self.produce_version_max),
                    range(LIST_OFFSETS, 0, 9),
                    range(key::METADATA, 0, 13),
                    range(FIND_COORDINATOR, 0, 6),
                    range(JOIN_GROUP, 0, 9),
                    range(key::API_VERSIONS, 0, 4),
                    range(key::INIT_PRODUCER_ID, 0, 6),
                    range(CREATE_TOPICS, 0, 7),
                ];
                ApiVersionsResponse::default().with_api_keys(keys).encode(&mut body, version).unwrap();
            }
            key::METADATA => self.metadata().encode(&mut body, version).unwrap(),
            key::INIT_PRODUCER_ID => {
                let fresh = (0, self.next_identity, 0);
                let (error, id, epoch) = self.identities.pop_front().unwrap_or_else(|| {
                    self.next_identity += 1;
                    fresh
                });
                let response = InitProducerIdResponse::default()
                    .with_error_code(error)
                    .with_producer_id(id.into())
                    .with_producer_epoch(epoch);
                response.encode(&mut body, version).unwrap();
            }
            key::PRODUCE => {
                let request = ProduceRequest::decode(&mut frame, version).unwrap();
                self.produce(node, version, &request).encode(&mut body, version).unwrap();
            }
            LIST_OFFSETS => {
                let request = ListOffsetsRequest::decode(&mut frame, version).unwrap();
                self.ends(node, &request).encode(&mut body, version).unwrap();
            }
            CREATE_TOPICS => {
                let request = CreateTopicsRequest::decode(&mut frame, version).unwrap();
                self.create(&request).encode(&mut body, version).unwrap();
            }
            // The first node coordinates every group.
            FIND_COORDINATOR => {
                let request = FindCoordinatorRequest::decode(&mut frame, version).unwrap();
                let coordinators = request.coordinator_keys.iter().map(|group| {
                    Coordinator::default()
                        .with_key(group.clone())
                        .with_node_id(1.into())
                        .with_host(StrBytes::from_static_str("broker"))
                        .with_port(i32::from(BOOTSTRAP_PORT) + 1)
                });
                let response = FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
                response.encode(&mut body, version).unwrap();
            }
            // It is kept back: the others do not let go.
            JOIN_GROUP => JoinGroupResponse::default().encode(&mut body, version).unwrap(),
            other => panic!("request {other}"),
        }
        let mut out = BytesMut::new();
        out.put_u32((4 + usize::from(tags) + body.len()) as u32);
        out.put_i32(header.correlation_id);
        if tags {
            out.put_u8(0);
        }
        out.extend_from_slice(&body);
        (header.request_api_key, out.freeze())
    }

    fn metadata(&self) -> MetadataResponse {
        let brokers = self.up.iter().filter(|(_, up)| **up).map(|(node, _)| {
            MetadataResponseBroker::default()
                .with_node_id((*node).into())
                .with_host(StrBytes::from_static_str("broker"))
                .with_port(i32::from(BOOTSTRAP_PORT) + node)
        });
        let leaders = self.leaders_told.as_ref().unwrap_or(&self.leaders);
        let partitions = leaders.iter().enumerate().map(|(index, leader)| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id((*leader).into())
                .with_leader_epoch(0)
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_topic_id(uuid::Uuid::from_u128(self.topic_id))
            .with_error_code(if leaders.is_empty() { 3 } else { 0 })
            .with_partitions(partitions.collect());
        MetadataResponse::default().with_brokers(brokers.collect()).with_topics(vec![topic])
    }

    /// Only of partitions that the node leads.
    fn ends(&self, node: i32, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let end = |partition: i32| {
            let is_led = self.leaders.get(partition as usize) == Some(&node);
            let told = ListOffsetsPartitionResponse::default().with_partition_index(partition);
            if is_led { told.with_offset(self.log(partition).len() as i64) } else { told.with_error_code(6) }
        };
        let partitions = request.topics[0].partitions.iter().map(|asked| end(asked.partition_index)).collect();
        let topic =
            ListOffsetsTopicResponse::default().with_name(request.topics[0].name.clone()).with_partitions(partitions);
        ListOffsetsResponse::default().with_topics(vec![topic])
    }

    fn create(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let topic = &request.topics[0];
        let code = match self.create_codes.pop_front() {
            Some(code) => code,
            None if self.leaders.is_empty() => {
                self.leaders = (0..topic.num_partitions).map(|_| 1).collect();
                0
            }
            None => 36,
        };
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_static_str("scripted")));
        CreateTopicsResponse::default().with_topics(vec![result])
    }

    fn produce(&mut self, node: i32, version: i16, request: &ProduceRequest) -> ProduceResponse {
        assert_eq!((request.acks, request.topic_data.len()), (-1, 1));
        let topic = &request.topic_data[0];
        let mut seen = Vec::new();
        let mut partitions = Vec::new();
        for data in &topic.partition_data {
            assert!(!seen.contains(&data.index), "two batches of one partition in a request");
            seen.push(data.index);
            let known =
                if version >= 13 { topic.topic_id.as_u128() == self.topic_id } else { topic.name.0.as_str() == TOPIC };
            let batch = data.records.clone().unwrap();
            let code = if known { self.take_batch(node, data.index, batch) } else { 100 };
            partitions.push(PartitionProduceResponse::default().with_index(data.index).with_error_code(code));
        }
        let mut response = TopicProduceResponse::default().with_partition_responses(partitions);
        if version >= 13 {
            response = response.with_topic_id(topic.topic_id);
        } else {
            response = response.with_name(topic.name.clone());
        }
        ProduceResponse::default().with_responses(vec![response])
    }

    fn take_batch(&mut self, node: i32, partition: i32, batch: Bytes) -> i16 {
        let bytes = batch.len();
        let records = RecordBatchDecoder::decode(&mut batch.clone()).unwrap().records;
        let values: Vec<String> =
            records.iter().map(|its| String::from_utf8(its.value.clone().unwrap().to_vec()).unwrap()).collect();
        let (id, epoch) = (records[0].producer_id, records[0].producer_epoch);
        assert!(id >= 0, "a batch without a producer id");
        let (first, last) = (records[0].sequence, records[records.len() - 1].sequence);
        let scripted = self.produce_codes.get_mut(&partition).and_then(VecDeque::pop_front).unwrap_or(0);
        let code = if scripted != 0 && !self.appends_anyway {
            scripted
        } else if self.leaders[partition as usize] != node {
            6
        } else if bytes > self.batch_bytes_max {
            10
        } else if self.poison.is_some_and(|poison| values.iter().any(|value| value == poison)) {
            87
        } else {
            let log = self.logs.entry((self.topic_id, partition)).or_default();
            let batches = log.producers.entry(id).or_default();
            let next = batches.back().map(|(_, last)| (last + 1) & i32::MAX);
            if batches.contains(&(first, last)) {
                scripted
            } else if next.is_some_and(|next| next != first) {
                45
            } else {
                batches.push_back((first, last));
                if batches.len() > 5 {
                    batches.pop_front();
                }
                log.values.extend(values.iter().cloned());
                scripted
            }
        };
        self.arrivals.push(Arrival { node, partition, producer: (id, epoch), sequence: first, values, code });
        code
    }
}
