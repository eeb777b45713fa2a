//! The answer to a fetch, FetchResponse versions 13 to 17, read by hand: it is the one large answer, and the one whose
//! fields multiply.
//!
//! Never decides what an answer means.

use bytes::Bytes;

use super::metadata::TopicId;
use super::reader::{Malformed, Reader};
use super::records_decode::AbortedTransaction;

/// The tagged field of a partition that says where its log and ours part.
const DIVERGING_EPOCH: u32 = 0;

/// One partition of an answer.
#[derive(Clone, Debug)]
pub struct PartitionData {
    /// Its number.
    pub partition: i32,
    /// Kafka's error code; 0: none.
    pub error: i16,
    /// The offset behind the last record that is on enough replicas.
    pub high_watermark: i64,
    /// Where read_committed ends: the last stable offset.
    pub end_offset: i64,
    /// Transactions of the answer's range that were aborted.
    pub aborted: Vec<AbortedTransaction>,
    /// The log is another one below the asked offset: the last leader epoch that both have, and where that ends in the log.
    pub diverging: Option<(i32, i64)>,
    /// Batches as they stand in the log, the last of them perhaps cut off.
    pub records: Bytes,
}

/// All partitions of `topic` in an answer.
///
/// # Errors
/// [`Malformed`]: the bytes are not such an answer.
pub fn read_answer(body: Bytes, topic: TopicId) -> Result<Vec<PartitionData>, Malformed> {
    let mut reader = Reader::new(body);
    reader.int32()?; // throttle time
    let error = reader.int16()?;
    reader.int32()?; // session id
    let mut partitions = Vec::new();
    for _ in 0..reader.compact_array()? {
        let is_ours = reader.uuid()? == topic;
        for _ in 0..reader.compact_array()? {
            let data = read_partition(&mut reader)?;
            if is_ours {
                partitions.push(data);
            }
        }
        reader.skip_tagged_fields()?;
    }
    reader.skip_tagged_fields()?;
    if error != 0 {
        for data in &mut partitions {
            data.error = error;
        }
    }
    Ok(partitions)
}

fn read_partition(reader: &mut Reader) -> Result<PartitionData, Malformed> {
    let partition = reader.int32()?;
    let error = reader.int16()?;
    let high_watermark = reader.int64()?;
    let end_offset = reader.int64()?;
    reader.int64()?; // log start offset
    let mut aborted = Vec::new();
    for _ in 0..reader.compact_array()? {
        let producer_id = reader.int64()?;
        let first_offset = reader.int64()?;
        reader.skip_tagged_fields()?;
        aborted.push(AbortedTransaction { producer_id, first_offset });
    }
    reader.int32()?; // preferred read replica
    let records = reader.compact_bytes()?.unwrap_or_default();
    let mut diverging = None;
    for _ in 0..reader.unsigned_varint()? {
        let tag = reader.unsigned_varint()?;
        let length = reader.unsigned_varint()?;
        let mut field = Reader::new(reader.take(length as usize)?);
        if tag == DIVERGING_EPOCH {
            diverging = Some((field.int32()?, field.int64()?));
        }
    }
    Ok(PartitionData { partition, error, high_watermark, end_offset, aborted, diverging, records })
}
