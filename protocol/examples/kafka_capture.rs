//! Takes the golden bytes of `tests/data/kafka` from a real broker; how is said there.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use flux_protocol::kafka::frame;
use flux_protocol::kafka::metadata;
use flux_protocol::kafka::records::{BatchBuilder, ProducerId};
use flux_protocol::kafka::wire;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, InitProducerIdRequest, InitProducerIdResponse,
    MetadataResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{HeaderVersion, Request, StrBytes};
use uuid::Uuid;

struct Capture {
    socket: TcpStream,
    folder: String,
}

impl Capture {
    /// Asks, keeps the whole answer as a file, and returns its body.
    fn ask<R: Request>(&mut self, name: &str, request: &R, version: i16) -> Bytes {
        let mut out = Vec::new();
        let start = frame::begin_request(&mut out, R::KEY, version, 7, "golden");
        request.encode(&mut out, version).expect("a request of this version");
        frame::end_request(&mut out, start);
        self.socket.write_all(&out).expect("a broker that listens");
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).expect("an answer");
        let mut whole = length.to_vec();
        whole.resize(4 + u32::from_be_bytes(length) as usize, 0);
        self.socket.read_exact(&mut whole[4..]).expect("the whole answer");
        std::fs::write(format!("{}/{name}.bin", self.folder), &whole).expect("a folder to write to");
        println!("{name}: {} bytes", whole.len());
        let mut buffer = BytesMut::from(&whole[..]);
        let mut body = frame::take_frame(&mut buffer, 1 << 20).expect("a frame").expect("all of it");
        frame::take_correlation_id(&mut body).expect("a header");
        if R::Response::header_version(version) == 1 {
            frame::skip_tags(&mut body).expect("a header");
        }
        body
    }
}

fn produce(topic: &str, id: Uuid, producer: ProducerId, sequence: i32) -> ProduceRequest {
    let partition = |index: i32| {
        let mut batch = BatchBuilder::new();
        batch.append(1_705_234_800_123, None, |out| out.extend_from_slice(b"golden")).expect("a short value");
        batch.seal(producer, sequence);
        let records = Bytes::copy_from_slice(batch.bytes());
        PartitionProduceData::default().with_index(index).with_records(Some(records))
    };
    let mut data = TopicProduceData::default().with_partition_data(vec![partition(0), partition(1)]);
    // Version 12 has only the name, version 13 only the id.
    if id.is_nil() {
        data = data.with_name(TopicName(StrBytes::from_string(topic.to_owned())));
    } else {
        data = data.with_topic_id(id);
    }
    ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![data])
}

fn identity(capture: &mut Capture) -> ProducerId {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let body = capture.ask("init_producer_id_5", &request, 5);
    let response: InitProducerIdResponse = wire::decode(&body, 5).expect("an answer of this version");
    assert_eq!(response.error_code, 0, "ask again in a second");
    ProducerId { id: response.producer_id.0, epoch: response.producer_epoch }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, step, folder] = &arguments[..] else {
        eprintln!("usage: kafka_capture host:port create|capture folder");
        std::process::exit(2);
    };
    let socket = TcpStream::connect(address).expect("a broker that listens");
    let mut capture = Capture { socket, folder: folder.clone() };
    if step == "create" {
        let name = TopicName(StrBytes::from_static_str("golden"));
        let topic = CreatableTopic::default().with_name(name).with_num_partitions(3).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000);
        capture.ask("create_topics_7", &request, 7);
        capture.ask("create_topics_7_exists", &request, 7);
        return;
    }
    let software = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("flux-gate"))
        .with_client_software_version(StrBytes::from_static_str("0"));
    capture.ask("api_versions_4", &software, 4);
    capture.ask("metadata_12_missing", &metadata::request("missing"), 12);
    let body = capture.ask("metadata_12", &metadata::request("golden"), 12);
    let response: MetadataResponse = wire::decode(&body, 12).expect("an answer of this version");
    let id = response.topics[0].topic_id;

    let producer = identity(&mut capture);
    capture.ask("produce_12", &produce("golden", Uuid::nil(), producer, 0), 12);
    let producer = identity(&mut capture);
    capture.ask("produce_13", &produce("golden", id, producer, 0), 13);
    capture.ask("produce_13_duplicate", &produce("golden", id, producer, 0), 13);
    capture.ask("produce_13_out_of_order", &produce("golden", id, producer, 7), 13);
    capture.ask("produce_13_unknown_topic", &produce("golden", Uuid::from_u128(5), producer, 1), 13);

    let partition = FetchPartition::default().with_partition(2).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
    capture.ask("fetch_17", &FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]), 17);
}
