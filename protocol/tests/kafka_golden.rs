//! Bytes taken from a real broker (`data/kafka/README.md`): what they say, and that no damaged form of them does harm.

use bytes::{Bytes, BytesMut};
use flux_protocol::kafka::connection::{BrokerConnection, ConnectionError, RequestLimits};
use flux_protocol::kafka::frame::{self, FrameError};
use flux_protocol::kafka::metadata::{self, Partition};
use flux_protocol::kafka::records::{BatchBuilder, ProducerId};
use flux_protocol::kafka::versions::key;
use flux_protocol::kafka::wire;
use flux_protocol::time::Instant;
use kafka_protocol::messages::{
    ApiVersionsResponse, CreateTopicsResponse, FetchResponse, InitProducerIdResponse, MetadataRequest,
    MetadataResponse, ProduceResponse,
};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::records::RecordBatchDecoder;

const API_VERSIONS: &[u8] = include_bytes!("data/kafka/api_versions_4.bin");
const CREATE_TOPICS: &[u8] = include_bytes!("data/kafka/create_topics_7.bin");
const CREATE_TOPICS_EXISTS: &[u8] = include_bytes!("data/kafka/create_topics_7_exists.bin");
const METADATA: &[u8] = include_bytes!("data/kafka/metadata_12.bin");
const METADATA_MISSING: &[u8] = include_bytes!("data/kafka/metadata_12_missing.bin");
const INIT_PRODUCER_ID: &[u8] = include_bytes!("data/kafka/init_producer_id_5.bin");
const PRODUCE_12: &[u8] = include_bytes!("data/kafka/produce_12.bin");
const PRODUCE_13: &[u8] = include_bytes!("data/kafka/produce_13.bin");
const PRODUCE_13_DUPLICATE: &[u8] = include_bytes!("data/kafka/produce_13_duplicate.bin");
const PRODUCE_13_OUT_OF_ORDER: &[u8] = include_bytes!("data/kafka/produce_13_out_of_order.bin");
const PRODUCE_13_UNKNOWN_TOPIC: &[u8] = include_bytes!("data/kafka/produce_13_unknown_topic.bin");
const FETCH: &[u8] = include_bytes!("data/kafka/fetch_17.bin");

/// The correlation id under which all of them were asked for.
const CORRELATION_ID: i32 = 7;

fn body(golden: &[u8], has_tags: bool) -> Bytes {
    let mut buffer = BytesMut::from(golden);
    let mut body = frame::take_frame(&mut buffer, 1 << 20).unwrap().unwrap();
    assert!(buffer.is_empty());
    assert_eq!(frame::take_correlation_id(&mut body), Ok(CORRELATION_ID));
    if has_tags {
        frame::skip_tags(&mut body).unwrap();
    }
    body
}

/// Decodes the whole; every shorter form must be refused, and a changed byte must do no worse than change the meaning.
fn check<M: Decodable>(golden: &[u8], version: i16, has_tags: bool) -> M {
    let body = body(golden, has_tags);
    for cut in 0..body.len() {
        assert!(wire::decode::<M>(&body.slice(..cut), version).is_err(), "cut off at {cut}");
    }
    for at in 0..body.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = body.to_vec();
            damaged[at] = byte;
            let _ = wire::decode::<M>(&Bytes::from(damaged), version);
        }
    }
    let mut longer = body.to_vec();
    longer.push(0);
    assert!(wire::decode::<M>(&Bytes::from(longer), version).is_err());
    wire::decode(&body, version).unwrap()
}

/// By partition: the broker answers in an order of its own.
fn codes(response: &ProduceResponse) -> Vec<(i32, i16, i64)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let mut codes: Vec<_> = partitions.map(|its| (its.index, its.error_code, its.base_offset)).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn produce() {
    let response = check::<ProduceResponse>(PRODUCE_12, 12, true);
    assert_eq!(response.responses[0].name.0.as_str(), "golden");
    assert_eq!(codes(&response), [(0, 0, 0), (1, 0, 0)]);
    assert_eq!(codes(&check(PRODUCE_13, 13, true)), [(0, 0, 1), (1, 0, 1)]);
    assert_eq!(codes(&check(PRODUCE_13_DUPLICATE, 13, true)), [(0, 0, 1), (1, 0, 1)]);
    assert_eq!(codes(&check(PRODUCE_13_OUT_OF_ORDER, 13, true)), [(0, 45, -1), (1, 45, -1)]);
    assert_eq!(codes(&check(PRODUCE_13_UNKNOWN_TOPIC, 13, true)), [(0, 100, -1), (1, 100, -1)]);
}

#[test]
fn topics() {
    let created = check::<CreateTopicsResponse>(CREATE_TOPICS, 7, true);
    let (code, partitions) = (created.topics[0].error_code, created.topics[0].num_partitions);
    assert_eq!((code, partitions), (0, 3));
    let exists = check::<CreateTopicsResponse>(CREATE_TOPICS_EXISTS, 7, true);
    assert_eq!(exists.topics[0].error_code, 36);

    let found = metadata::read(&check::<MetadataResponse>(METADATA, 12, true), "golden").unwrap();
    let topic = found.topic.unwrap();
    assert_eq!(topic.id, *created.topics[0].topic_id.as_bytes());
    assert_eq!(topic.partitions, [Partition { leader: Some(1), leader_epoch: 0 }; 3]);
    assert_eq!(found.nodes[&1].host, "127.0.0.1");

    let missing = check::<MetadataResponse>(METADATA_MISSING, 12, true);
    assert_eq!(metadata::read(&missing, "missing").unwrap().topic, Err(3));
    assert!(metadata::read(&missing, "golden").is_err());
}

#[test]
fn producer_id() {
    let response = check::<InitProducerIdResponse>(INIT_PRODUCER_ID, 5, true);
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    assert!(response.producer_id.0 >= 0);
}

/// What the Java client wrote, byte by byte, but for the two fields that the broker fills in and the CRC leaves out.
#[test]
fn the_batch_of_the_java_client() {
    let response = check::<FetchResponse>(FETCH, 17, true);
    let golden = response.responses[0].partitions[0].records.clone().unwrap();
    let decoded = RecordBatchDecoder::decode(&mut golden.clone()).unwrap().records;
    let producer = ProducerId { id: decoded[0].producer_id, epoch: decoded[0].producer_epoch };
    let mut batch = BatchBuilder::new();
    let values = ["short".to_owned(), "x".repeat(300), "y".repeat(9000)];
    for (timestamp, value) in [1_705_234_800_123, 1_705_234_800_999, 1_705_234_800_100].into_iter().zip(&values) {
        batch.append(timestamp, None, |out| out.extend_from_slice(value.as_bytes())).unwrap();
    }
    batch.seal(producer, 0);
    let ours = batch.bytes();
    assert_eq!(ours[8..12], golden[8..12], "length");
    assert_eq!(ours[16..], golden[16..]);
}

/// A golden answer as it would come to the `nth` request of a connection.
fn as_answer_to(golden: &[u8], nth: i32) -> Vec<u8> {
    let mut bytes = golden.to_vec();
    bytes[4..8].copy_from_slice(&nth.to_be_bytes());
    bytes
}

fn connection() -> BrokerConnection<&'static str> {
    let mut connection = BrokerConnection::open(NOW, "test", None);
    let mut out = Vec::new();
    connection.poll_write(&mut out);
    assert_eq!(out[4..12], [0, 18, 0, 4, 0, 0, 0, 0], "ApiVersions, version 4, correlation id 0");
    connection.poll_write(&mut out);
    assert_eq!(out.len(), 4 + u32::from_be_bytes(out[..4].try_into().unwrap()) as usize);
    connection
}

/// A connection with one metadata request in flight behind the handshake.
fn asked(limits: RequestLimits) -> BrokerConnection<&'static str> {
    let mut connection = connection();
    let mut buffer = BytesMut::from(&as_answer_to(API_VERSIONS, 0)[..]);
    assert_eq!(connection.next_answer(NOW, &mut buffer), Ok(None));
    connection.request(Instant::from_micros(1), &metadata::request("golden"), "asked", limits).unwrap();
    connection
}

const NOW: Instant = Instant::from_micros(1);
const LIMITS: RequestLimits = RequestLimits::within(std::time::Duration::from_secs(1));

#[test]
fn the_handshake_chooses_versions_however_its_answer_is_split() {
    check::<ApiVersionsResponse>(API_VERSIONS, 4, false);
    let answer = as_answer_to(API_VERSIONS, 0);
    for cut in 0..answer.len() {
        let mut connection = connection();
        let mut buffer = BytesMut::from(&answer[..cut]);
        assert_eq!(connection.next_answer(NOW, &mut buffer), Ok(None));
        assert!(!connection.is_ready(), "ready after {cut} bytes");
        buffer.extend_from_slice(&answer[cut..]);
        assert_eq!(connection.next_answer(NOW, &mut buffer), Ok(None));
        assert!(connection.is_ready());
    }
    let mut connection = connection();
    connection.next_answer(NOW, &mut BytesMut::from(&answer[..])).unwrap();
    let expected = [(key::PRODUCE, 13), (key::FETCH, 17), (key::METADATA, 12), (key::INIT_PRODUCER_ID, 5), (19, 7)];
    for (api_key, version) in expected.into_iter().chain([(10, 6), (11, 9), (8, 9), (9, 9), (68, 1)]) {
        assert_eq!(connection.version(api_key), Some(version), "request {api_key}");
    }
    assert_eq!(connection.version(3000), None);
}

#[test]
fn an_answer_comes_out_whole_however_it_is_split() {
    let answer = as_answer_to(METADATA, 1);
    for cut in 0..=answer.len() {
        let mut connection = asked(LIMITS);
        let mut buffer = BytesMut::from(&answer[..cut]);
        let mut found = connection.next_answer(NOW, &mut buffer).unwrap();
        if cut < answer.len() {
            assert_eq!(found, None, "an answer of {cut} bytes");
            buffer.extend_from_slice(&answer[cut..]);
            found = connection.next_answer(NOW, &mut buffer).unwrap();
        }
        let (token, answer) = found.unwrap();
        assert_eq!((token, answer.version), ("asked", 12));
        assert!(metadata::read(&answer.decode::<MetadataRequest>().unwrap(), "golden").is_ok());
        assert_eq!(connection.next_answer(NOW, &mut buffer), Ok(None));
    }
}

#[test]
fn a_broken_stream_is_an_error() {
    let mut buffer = BytesMut::from(&as_answer_to(METADATA, 2)[..]);
    let wrong = asked(LIMITS).next_answer(NOW, &mut buffer);
    assert_eq!(wrong, Err(ConnectionError::Correlation { expected: 1, found: 2 }));

    let small = RequestLimits { response_bytes_max: METADATA.len() - 5, ..LIMITS };
    let mut buffer = BytesMut::from(&as_answer_to(METADATA, 1)[..4]);
    let length = (METADATA.len() - 4) as i32;
    let wrong = asked(small).next_answer(NOW, &mut buffer);
    let expected = FrameError::Length { length, bytes_max: METADATA.len() - 5 };
    assert_eq!(wrong, Err(ConnectionError::Frame(expected)));

    let mut connection = asked(LIMITS);
    let mut buffer = BytesMut::from(&as_answer_to(METADATA, 1)[..]);
    assert!(connection.next_answer(NOW, &mut buffer).unwrap().is_some());
    assert_eq!(connection.next_answer(NOW, &mut BytesMut::from(&b"x"[..])), Err(ConnectionError::Unsolicited));
}

/// An old broker answers error 35 in version 0.
#[test]
fn an_old_broker_is_named_as_such() {
    let answer = b"\0\0\0\x0a\0\0\0\0\0\x23\0\0\0\0";
    let refused = connection().next_answer(NOW, &mut BytesMut::from(&answer[..]));
    assert_eq!(refused, Err(ConnectionError::Handshake(35)));
}

#[test]
fn what_was_in_flight_is_handed_back() {
    let mut connection = asked(LIMITS);
    connection.request(Instant::from_micros(2), &metadata::request("golden"), "also", LIMITS).unwrap();
    assert_eq!(connection.in_flight(), 2);
    assert_eq!(connection.deadline(), Instant::from_micros(1_000_001));
    assert_eq!(connection.into_tokens().collect::<Vec<_>>(), ["asked", "also"]);
}
