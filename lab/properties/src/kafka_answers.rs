//! Answers of brokers: a count or a length that lies reserves nothing, frames are the same however they arrive, and what was
//! decoded is what was encoded.

use bytes::{Bytes, BytesMut};
use flux_protocol::kafka::assignor::{
    assign, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use flux_protocol::kafka::fetch_answer::read_answer;
use flux_protocol::kafka::frame::{FrameError, skip_tags, take_correlation_id, take_frame};
use flux_protocol::kafka::metadata;
use flux_protocol::kafka::versions::{OURS, OURS_COUNT};
use flux_protocol::kafka::wire;
use kafka_protocol::messages::{
    ApiVersionsResponse, ConsumerGroupHeartbeatResponse, CreateTopicsResponse, DeleteTopicsResponse,
    DescribeConfigsResponse, DescribeGroupsResponse, FindCoordinatorResponse, HeartbeatResponse,
    InitProducerIdResponse, JoinGroupResponse, LeaveGroupResponse, ListOffsetsResponse, MetadataResponse,
    OffsetCommitResponse, OffsetFetchResponse, ProduceResponse, SaslAuthenticateResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::allocation;
use crate::input::{Input, pieces};

/// Longest frame here, bytes.
const FRAME_BYTES_MAX: usize = 4096;
const TOPIC: &str = "orders";

/// Which message in which version; the rest is its body. Or, by a choice of its own, a stream of frames or a member's words.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (choice, version) = (usize::from(input.byte()), i16::from(input.byte()));
    let body = input.rest();
    match choice % (OURS_COUNT + 3) {
        index @ 0..OURS_COUNT => {
            let ours = OURS[index];
            let version = ours.min + version % (ours.max - ours.min + 1);
            answer(ours.key, version, Bytes::copy_from_slice(body));
        }
        OURS_COUNT => {
            let choice = version as u8;
            assert_eq!(frames(&pieces(body, choice)), frames(&[body]), "cut by {choice}");
        }
        _ => member(body, version),
    }
}

fn answer(key: i16, version: i16, body: Bytes) {
    match key {
        0 => decoded::<ProduceResponse>(&body, version),
        1 => fetched(body),
        2 => decoded::<ListOffsetsResponse>(&body, version),
        3 => {
            decoded::<MetadataResponse>(&body, version);
            if let Ok(response) = wire::decode::<MetadataResponse>(&body, version)
                && let Ok(read) = metadata::read(&response, TOPIC)
                && let Ok(topic) = read.topic
            {
                assert_eq!(topic.partitions.len(), response.topics[0].partitions.len().max(topic.partitions.len()));
            }
        }
        8 => decoded::<OffsetCommitResponse>(&body, version),
        9 => decoded::<OffsetFetchResponse>(&body, version),
        10 => decoded::<FindCoordinatorResponse>(&body, version),
        11 => decoded::<JoinGroupResponse>(&body, version),
        12 => decoded::<HeartbeatResponse>(&body, version),
        13 => decoded::<LeaveGroupResponse>(&body, version),
        14 => decoded::<SyncGroupResponse>(&body, version),
        15 => decoded::<DescribeGroupsResponse>(&body, version),
        18 => decoded::<ApiVersionsResponse>(&body, version),
        19 => decoded::<CreateTopicsResponse>(&body, version),
        20 => decoded::<DeleteTopicsResponse>(&body, version),
        22 => decoded::<InitProducerIdResponse>(&body, version),
        32 => decoded::<DescribeConfigsResponse>(&body, version),
        68 => {
            decoded::<ConsumerGroupHeartbeatResponse>(&body, version);
            decoded::<SaslAuthenticateResponse>(&body, 2);
        }
        key => panic!("no answer to request {key} is read here"),
    }
}

/// A message that the crate decodes behind our bounds. An element on the wire is a byte at least and some hundred in memory, and
/// arrays stand in arrays three deep.
fn decoded<M: Decodable + Encodable + PartialEq + std::fmt::Debug>(body: &Bytes, version: i16) {
    let held_max = (256 << 10) + 1024 * body.len();
    let message = allocation::within(held_max, std::any::type_name::<M>(), || wire::decode::<M>(body, version));
    let Ok(message) = message else { return };
    let mut again = BytesMut::new();
    // What a version has no place for may be read as a default and not be written; such a message is not ours to send.
    if message.encode(&mut again, version).is_ok() {
        assert_eq!(wire::decode::<M>(&again.freeze(), version).as_ref(), Ok(&message));
    }
}

fn fetched(body: Bytes) {
    let held_max = 4096 + 64 * body.len();
    let length = body.len();
    let topic: [u8; 16] = body.get(11..27).and_then(|id| id.try_into().ok()).unwrap_or_default();
    if let Ok(partitions) = allocation::within(held_max, "a fetch", || read_answer(body, topic)) {
        let records: usize = partitions.iter().map(|data| data.records.len()).sum();
        assert!(records + partitions.len() <= length, "more than came");
    }
}

type Frames = (Vec<Bytes>, Option<FrameError>);

fn frames(pieces: &[&[u8]]) -> Frames {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let held_max = 2 * (FRAME_BYTES_MAX + buffer.len()) + 64;
            let taken = allocation::within(held_max, "a frame", || take_frame(&mut buffer, FRAME_BYTES_MAX));
            match taken {
                Ok(Some(mut frame)) => {
                    assert!((4..=FRAME_BYTES_MAX).contains(&frame.len()));
                    frames.push(frame.clone());
                    take_correlation_id(&mut frame).expect("four bytes at least");
                    let _ = skip_tags(&mut frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// What other members of a group say reaches whoever leads it.
fn member(body: &[u8], choice: i16) {
    let came = Bytes::copy_from_slice(body);
    let held_max = 4096 + 64 * body.len();
    if let Ok(partitions) = allocation::within(held_max, "an assignment", || decode_assignment(came.clone(), TOPIC)) {
        assert!(partitions.is_sorted() && partitions.first().is_none_or(|first| *first >= 0));
        let again = encode_assignment(TOPIC, &partitions);
        assert_eq!(decode_assignment(again, TOPIC).as_ref(), Ok(&partitions));
    }
    let Ok(told) = allocation::within(held_max, "a subscription", || decode_subscription(came, TOPIC)) else { return };
    let ours = encode_subscription(TOPIC, &told.owned, told.generation);
    let ours = decode_subscription(ours, TOPIC).expect("written by us");
    assert_eq!((&ours.owned, ours.generation, ours.subscribed), (&told.owned, told.generation, true));
    let all: Vec<i32> = (0..i32::from(choice) % 20).collect();
    let dealt = assign(&[("stranger".to_owned(), told), ("us".to_owned(), ours)], &all);
    let mut given: Vec<i32> = dealt.into_iter().flat_map(|(_, partitions)| partitions).collect();
    given.sort_unstable();
    assert_eq!(given, all, "each partition is one member's");
}
