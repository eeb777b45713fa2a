//! The produce request, written around batches that are sealed already, and what its answer says by partition.
//!
//! ```text
//! transactional id: null | acks:i16 = −1 | timeout:i32 | topics:1 [ name (to version 12) or topic id (from 13)
//!     | partitions:n [ index:i32 | records:length, bytes | tags ] | tags ] | tags
//! ```

use kafka_protocol::messages::ProduceRequest;

use crate::kafka::connection::Answer;
use crate::kafka::metadata::TopicId;
use crate::kafka::wire::WireError;
use crate::planted::{Bug, is_planted};

/// First version that names a topic by its id.
const BY_TOPIC_ID: i16 = 13;

/// Appends the body of a produce request of one topic: of each partition its number and its batch.
pub(super) fn write<'a>(
    out: &mut Vec<u8>,
    version: i16,
    topic: (&str, TopicId),
    timeout_ms: i32,
    batches: impl ExactSizeIterator<Item = (i32, &'a [u8])>,
) {
    out.push(0); // no transaction
    let acks: i16 = if is_planted(Bug::AcksOne) { 1 } else { -1 }; // -1: all
    out.extend_from_slice(&acks.to_be_bytes());
    out.extend_from_slice(&timeout_ms.to_be_bytes());
    put_count(out, 1);
    if version >= BY_TOPIC_ID {
        out.extend_from_slice(&topic.1);
    } else {
        put_count(out, topic.0.len());
        out.extend_from_slice(topic.0.as_bytes());
    }
    put_count(out, batches.len());
    for (partition, records) in batches {
        out.extend_from_slice(&partition.to_be_bytes());
        put_count(out, records.len());
        out.extend_from_slice(records);
        out.push(0);
    }
    out.extend_from_slice(&[0, 0]);
}

/// A length or count as the flexible versions spell it: one more, as a varint.
fn put_count(out: &mut Vec<u8>, count: usize) {
    let mut rest = count + 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The error code of each partition that was asked for, in the order of `asked`, to `codes`.
///
/// # Errors
/// [`WireError`] where the answer is not about exactly these partitions: nothing in it is believed then.
pub(super) fn read(
    answer: &Answer,
    asked: impl ExactSizeIterator<Item = i32>,
    codes: &mut Vec<i16>,
) -> Result<(), WireError> {
    let response = answer.decode::<ProduceRequest>()?;
    let wrong = |reason: &str| WireError { kind: "ProduceResponse", reason: reason.to_owned() };
    let [topic] = &response.responses[..] else {
        return Err(wrong("another number of topics than was asked about"));
    };
    if topic.partition_responses.len() != asked.len() {
        return Err(wrong("another number of partitions than was asked about"));
    }
    codes.clear();
    for index in asked {
        let mut found = topic.partition_responses.iter().filter(|found| found.index == index);
        match (found.next(), found.next()) {
            (Some(found), None) => codes.push(found.error_code),
            _ => return Err(wrong("other partitions than were asked about")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka_protocol::messages::ProduceResponse;
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    use kafka_protocol::protocol::{Decodable, Encodable};

    #[test]
    fn the_crate_reads_the_request() {
        let batches: Vec<(i32, Vec<u8>)> = vec![(0, vec![1; 10]), (7, vec![2; 127]), (300, vec![3; 20_000])];
        for version in 9..=13 {
            let mut out = Vec::new();
            let views = batches.iter().map(|(partition, bytes)| (*partition, &bytes[..]));
            write(&mut out, version, ("orders", [9; 16]), 1500, views);
            let mut rest = Bytes::from(out);
            let request = ProduceRequest::decode(&mut rest, version).unwrap();
            assert!(rest.is_empty());
            assert_eq!((request.acks, request.timeout_ms, request.transactional_id), (-1, 1500, None));
            let topic = &request.topic_data[0];
            if version >= 13 {
                assert_eq!(topic.topic_id.as_bytes(), &[9; 16]);
            } else {
                assert_eq!(topic.name.0.as_str(), "orders");
            }
            let found: Vec<(i32, Vec<u8>)> =
                topic.partition_data.iter().map(|its| (its.index, its.records.as_ref().unwrap().to_vec())).collect();
            assert_eq!(found, batches);
        }
    }

    fn answer(partitions: &[(i32, i16)]) -> Answer {
        let of =
            |(index, code): &(i32, i16)| PartitionProduceResponse::default().with_index(*index).with_error_code(*code);
        let topic = TopicProduceResponse::default().with_partition_responses(partitions.iter().map(of).collect());
        let mut body = Vec::new();
        ProduceResponse::default().with_responses(vec![topic]).encode(&mut body, 13).unwrap();
        Answer { version: 13, body: body.into() }
    }

    #[test]
    fn an_answer_must_be_about_what_was_asked() {
        let mut codes = Vec::new();
        read(&answer(&[(2, 6), (0, 0)]), [0, 2].into_iter(), &mut codes).unwrap();
        assert_eq!(codes, [0, 6]);
        for wrong in [&[(0, 0)][..], &[(0, 0), (1, 0)], &[(0, 0), (0, 0)], &[(0, 0), (2, 0), (3, 0)], &[]] {
            assert!(read(&answer(wrong), [0, 2].into_iter(), &mut codes).is_err(), "{wrong:?}");
        }
    }
}
