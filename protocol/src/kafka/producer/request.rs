//! The produce request, written around batches that are sealed already, and what its answer says by partition.
//!
//! ```text
//! transactional id: null | acks:i16 = −1 | timeout:i32 | topics:1 [ name (to version 12) or topic id (from 13)
//!     | partitions:n [ index:i32 | records:length, bytes | tags ] | tags ] | tags
//! ```

use crate::kafka::connection::Answer;
use crate::kafka::metadata::TopicId;
use crate::kafka::reader::{Malformed, Reader};
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

/// What the answer says of each partition that was asked for, its number and error code, in the order of `asked`, to
/// `codes`. Returns the broker's clock, ms since the epoch, when it appended one of the batches, where it gives records their
/// times (LogAppendTime).
///
/// ```text
/// topics:1 [ name (to version 12) or topic id (from 13)
///     | partitions:n [ index:i32 | error code:i16 | base offset, append time, start offset:3 × i64
///         | record errors:n [ index:i32 | message | tags ] | message | tags ] | tags ] | throttle time:i32 | tags
/// ```
///
/// # Errors
/// [`WireError`] where the answer is not about exactly these partitions: nothing in it is believed then.
pub(super) fn read(
    answer: &Answer,
    asked: impl ExactSizeIterator<Item = i32>,
    codes: &mut Vec<(i32, i16)>,
) -> Result<Option<u64>, WireError> {
    let appended_ms = read_codes(answer, codes).map_err(|Malformed(reason)| wrong(reason))?;
    if codes.len() != asked.len() {
        return Err(wrong("another number of partitions than was asked about"));
    }
    // No partition is asked for twice, so one that is told twice leaves another without its code.
    for (place, index) in asked.enumerate() {
        let Some(at) = codes[place..].iter().position(|(found, _)| *found == index) else {
            return Err(wrong("other partitions than were asked about"));
        };
        codes.swap(place, place + at);
    }
    Ok(u64::try_from(appended_ms).ok())
}

fn wrong(reason: &str) -> WireError {
    WireError { kind: "ProduceResponse", reason: reason.to_owned() }
}

/// The partitions of the answer and their codes as they stand in it; returns the latest append time, -1 where there is none.
fn read_codes(answer: &Answer, codes: &mut Vec<(i32, i16)>) -> Result<i64, Malformed> {
    codes.clear();
    let mut appended_ms = -1;
    let mut reader = Reader::new(answer.body.clone());
    if reader.compact_array()? != 1 {
        return Err(Malformed("another number of topics than was asked about"));
    }
    if answer.version >= BY_TOPIC_ID {
        reader.uuid()?;
    } else {
        reader.compact_bytes()?;
    }
    for _ in 0..reader.compact_array()? {
        codes.push((reader.int32()?, reader.int16()?));
        reader.int64()?;
        appended_ms = appended_ms.max(reader.int64()?);
        reader.int64()?;
        for _ in 0..reader.compact_array()? {
            reader.int32()?;
            reader.compact_bytes()?;
            reader.skip_tagged_fields()?;
        }
        reader.compact_bytes()?;
        reader.skip_tagged_fields()?;
    }
    reader.skip_tagged_fields()?;
    reader.int32()?;
    reader.skip_tagged_fields()?;
    if reader.remaining() > 0 { Err(Malformed("bytes too many")) } else { Ok(appended_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

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

    fn answer(version: i16, partitions: &[(i32, i16)]) -> Answer {
        // From version 10 on a broker that leads no more says who does, in a tagged field.
        let leader = if version < 10 { 0 } else { 7 };
        let leader = LeaderIdAndEpoch::default().with_leader_id(leader.into());
        let of = |(index, code): &(i32, i16)| {
            let error = BatchIndexAndErrorMessage::default()
                .with_batch_index(3)
                .with_batch_index_error_message(Some(StrBytes::from_static_str("too large")));
            PartitionProduceResponse::default()
                .with_index(*index)
                .with_error_code(*code)
                .with_base_offset(i64::MAX)
                .with_log_append_time_ms(if *code == 0 { 1_700_000_000_000 + i64::from(*index) } else { -1 })
                .with_record_errors(vec![error; usize::from(*code != 0)])
                .with_error_message((*code != 0).then(|| StrBytes::from_static_str("refused")))
                .with_current_leader(leader.clone())
        };
        let topic = TopicProduceResponse::default().with_partition_responses(partitions.iter().map(of).collect());
        let topic =
            if version < BY_TOPIC_ID { topic.with_name(StrBytes::from_static_str("orders").into()) } else { topic };
        let mut body = Vec::new();
        ProduceResponse::default().with_responses(vec![topic]).encode(&mut body, version).unwrap();
        Answer { version, body: body.into() }
    }

    #[test]
    fn an_answer_must_be_about_what_was_asked() {
        let mut codes = Vec::new();
        for version in 9..=13 {
            let appended_ms = read(&answer(version, &[(2, 6), (0, 0)]), [0, 2].into_iter(), &mut codes).unwrap();
            assert_eq!((&codes[..], appended_ms), (&[(0, 0), (2, 6)][..], Some(1_700_000_000_000)));
            assert_eq!(read(&answer(version, &[(2, 6)]), [2].into_iter(), &mut codes).unwrap(), None);
            for wrong in [&[(0, 0)][..], &[(0, 0), (1, 0)], &[(0, 0), (0, 0)], &[(0, 0), (2, 0), (3, 0)], &[]] {
                assert!(read(&answer(version, wrong), [0, 2].into_iter(), &mut codes).is_err(), "{wrong:?}");
            }
        }
    }

    #[test]
    fn an_answer_is_whole_or_not_believed() {
        let mut codes = Vec::new();
        let whole = answer(13, &[(2, 87)]);
        for cut in 0..whole.body.len() {
            let part = Answer { version: 13, body: whole.body.slice(..cut) };
            assert!(read(&part, [2].into_iter(), &mut codes).is_err(), "{cut}");
        }
        let longer = Answer { version: 13, body: [&whole.body[..], b"\0"].concat().into() };
        assert!(read(&longer, [2].into_iter(), &mut codes).is_err());
    }
}
