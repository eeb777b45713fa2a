//! Compaction: of each key the last record stays, at its place.
//!
//! What Kafka's log cleaner leaves behind (`cleanup.policy=compact`): a batch keeps its first and its last offset whatever
//! goes out of it, so that offsets have holes within batches and between them; and the last batch of a producer that is
//! known stays, without a record in it where it comes to that, since it tells of the producer's sequence. Nothing that a
//! replica may not have is touched.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::Instant;

use super::log::{Batch, HEADER_BYTES, Log};
use super::records::{COUNT_AT, Raw, records};

/// What becomes of keys whose last record is a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstones {
    /// It stays, as for the first `delete.retention.ms`.
    Stay,
    /// It goes, and nothing tells of the key any more.
    Go,
}

impl Log {
    /// See the module.
    pub(super) fn compact(&mut self, now: Instant, tombstones: Tombstones) {
        let (end, seen) = (self.end(), self.high_watermark(now));
        let (old, untouched): (Vec<Batch>, Vec<Batch>) =
            std::mem::take(&mut self.batches).into_iter().partition(|batch| batch.base < seen);
        let old: Vec<(Batch, Vec<Raw>)> = old
            .into_iter()
            .map(|batch| {
                let records = records(&batch.bytes).expect("a compacted topic takes no other");
                (batch, records)
            })
            .collect();
        let mut last: BTreeMap<Bytes, i64> = BTreeMap::new();
        for (batch, records) in &old {
            let keyed =
                records.iter().filter_map(|record| Some((record.key.clone()?, batch.base + record.offset_delta)));
            last.extend(keyed);
        }
        for (batch, records) in old {
            let stays = |record: &&Raw| {
                let is_last = record.key.as_ref().is_some_and(|key| last[key] == batch.base + record.offset_delta);
                is_last && (record.value.is_some() || tombstones == Tombstones::Stay)
            };
            let kept: Vec<&Raw> = records.iter().filter(stays).collect();
            if kept.len() == records.len() && !records.is_empty() {
                self.batches.push(batch);
            } else if !kept.is_empty() || self.is_last_of_producer(&batch) {
                let bytes = thinned(&batch.bytes, &kept);
                self.batches.push(Batch { bytes, ..batch });
            }
        }
        self.batches.extend(untouched);
        self.keep_end(end);
    }
}

/// A batch with these of its records, and everything else in it as it was.
fn thinned(batch: &[u8], kept: &[&Raw]) -> Bytes {
    let mut written = BytesMut::from(&batch[..HEADER_BYTES]);
    kept.iter().for_each(|record| written.extend_from_slice(&record.bytes));
    let length = u32::try_from(written.len() - 12).expect("shorter than it was");
    let count = u32::try_from(kept.len()).expect("fewer than there were");
    written[8..12].copy_from_slice(&length.to_be_bytes());
    written[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &written[21..]) as u32;
    written[17..21].copy_from_slice(&crc.to_be_bytes());
    written.freeze()
}
