//! One partition's log: record batches as they came, who produced them, and how far they are replicated.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use flux_protocol::time::Instant;

/// Batches of a producer that a broker remembers, to know one again.
const BATCHES_REMEMBERED: usize = 5;
/// Bytes of a batch's header (record batch v2, Kafka's protocol guide).
pub(super) const HEADER_BYTES: usize = 61;

/// What the header of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) records: i32,
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
}

impl Header {
    /// Reads it, and looks at length, version and checksum: Kafka's error code where they are not right.
    pub(super) fn read(batch: &[u8]) -> Result<Header, i16> {
        const CORRUPT_MESSAGE: i16 = 2;
        let field = |from: usize| batch.get(from..).unwrap_or_default();
        let int = |from| field(from).first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)).ok_or(CORRUPT_MESSAGE);
        let whole = usize::try_from(int(8)?).is_ok_and(|length| batch.len() == length + 12);
        if batch.len() < HEADER_BYTES || !whole || batch[16] != 2 {
            return Err(CORRUPT_MESSAGE);
        }
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]) as u32;
        if int(17)? as u32 != crc {
            return Err(CORRUPT_MESSAGE);
        }
        let producer = field(43).first_chunk::<8>().map_or(-1, |bytes| i64::from_be_bytes(*bytes));
        let epoch = i16::from_be_bytes([batch[51], batch[52]]);
        Ok(Header { records: int(57)?, producer, epoch, sequence: int(53)? })
    }

    fn last_sequence(&self) -> i32 {
        self.sequence.wrapping_add(self.records - 1) & i32::MAX
    }
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) base: i64,
    /// Behind its last record: where the next batch began, whatever has been compacted away since.
    pub(super) end: i64,
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    pub(super) appended_at: Instant,
    /// Until then a new leader may not have it.
    pub(super) replicated_at: Instant,
}

/// What a producer's batch is to a log that knows the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    New,
    /// It stands there already, from this offset on, replicated at that time.
    Duplicate(i64, Instant),
    /// Kafka's error code.
    Wrong(i16),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) batches: Vec<Batch>,
    /// Where it begins, once something was deleted.
    pub(super) start: i64,
    /// Where it ended when something was deleted or compacted away.
    end_at_least: i64,
    /// Where a transaction of somebody else began that is open: nothing from there on is stable.
    pub(super) unstable_from: Option<i64>,
    /// By producer id.
    producers: BTreeMap<i64, Producer>,
}

/// What is known of a producer: its epoch and its last batches.
#[derive(Clone, Debug, Default)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    sequences: (i32, i32),
    base: i64,
    replicated_at: Instant,
}

impl Log {
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(self.end_at_least, |batch| batch.end.max(self.end_at_least))
    }

    /// It ended here, even where the last batches are gone.
    pub(super) fn keep_end(&mut self, end: i64) {
        self.end_at_least = end;
    }

    /// Whether the last of a producer's sequences that is known stands in this batch.
    pub(super) fn is_last_of_producer(&self, batch: &Batch) -> bool {
        let last = self.producers.get(&batch.header.producer).and_then(|producer| producer.batches.back());
        last.is_some_and(|known| known.base == batch.base)
    }

    /// What consumers may see: what every replica has.
    pub(super) fn high_watermark(&self, now: Instant) -> i64 {
        let unsafe_from = self.batches.iter().rev().take_while(|batch| batch.replicated_at > now).last();
        unsafe_from.map_or(self.end(), |batch| batch.base)
    }

    /// The last stable offset: how far those may see who want nothing that a transaction can take back.
    pub(super) fn stable(&self, now: Instant) -> i64 {
        self.high_watermark(now).min(self.unstable_from.unwrap_or(i64::MAX))
    }

    /// How far a request of this `isolation_level` may see.
    pub(super) fn visible(&self, now: Instant, isolation_level: i8) -> i64 {
        if isolation_level == 1 { self.stable(now) } else { self.high_watermark(now) }
    }

    /// When the next batch will be replicated.
    pub(super) fn next_replication(&self, now: Instant) -> Instant {
        let waiting = self.batches.iter().rev().take_while(|batch| batch.replicated_at > now);
        waiting.map(|batch| batch.replicated_at).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// The rules of an idempotent producer.
    pub(super) fn fit(&self, header: &Header) -> Fit {
        const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
        const INVALID_PRODUCER_EPOCH: i16 = 47;
        let Some(producer) = self.producers.get(&header.producer) else { return Fit::New };
        if header.epoch < producer.epoch {
            return Fit::Wrong(INVALID_PRODUCER_EPOCH);
        }
        if header.epoch > producer.epoch {
            return if header.sequence == 0 { Fit::New } else { Fit::Wrong(OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let sequences = (header.sequence, header.last_sequence());
        if let Some(known) = producer.batches.iter().find(|known| known.sequences == sequences) {
            return Fit::Duplicate(known.base, known.replicated_at);
        }
        match producer.batches.back() {
            Some(known) if known.sequences.1.wrapping_add(1) & i32::MAX != header.sequence => {
                Fit::Wrong(OUT_OF_ORDER_SEQUENCE_NUMBER)
            }
            _ => Fit::New,
        }
    }

    /// Appends: the base offset, and when every replica has it. The broker writes offset and leader epoch into the header, which no checksum covers.
    pub(super) fn append(
        &mut self,
        header: Header,
        bytes: &[u8],
        leader_epoch: i32,
        appended_at: Instant,
        replicated_at: Instant,
    ) -> (i64, Instant) {
        let base = self.end();
        // What follows is replicated after what came before.
        let replicated_at = self.batches.last().map_or(replicated_at, |last| last.replicated_at.max(replicated_at));
        let mut written = BytesMut::with_capacity(bytes.len());
        written.put_i64(base);
        written.extend_from_slice(&bytes[8..12]);
        written.put_i32(leader_epoch);
        written.extend_from_slice(&bytes[16..]);
        let end = base + i64::from(header.records);
        self.batches.push(Batch { base, end, header, bytes: written.freeze(), appended_at, replicated_at });
        if header.producer >= 0 {
            let producer = self.producers.entry(header.producer).or_default();
            if producer.epoch != header.epoch {
                *producer = Producer { epoch: header.epoch, batches: VecDeque::new() };
            }
            let sequences = (header.sequence, header.last_sequence());
            producer.batches.push_back(Known { sequences, base, replicated_at });
            if producer.batches.len() > BATCHES_REMEMBERED {
                producer.batches.pop_front();
            }
        }
        (base, replicated_at)
    }

    /// Another leader takes over, without what was not replicated yet.
    pub(super) fn lose_unreplicated(&mut self, now: Instant) {
        let end = self.high_watermark(now);
        self.batches.retain(|batch| batch.base < end);
        self.end_at_least = self.end_at_least.min(end);
        for producer in self.producers.values_mut() {
            producer.batches.retain(|known| known.base < end);
        }
        self.producers.retain(|_, producer| !producer.batches.is_empty());
    }

    /// Forgets what it knew of producers.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Deletes what stands before `offset`, whole batches only.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.end_at_least = self.end();
        self.batches.retain(|batch| batch.end > offset);
        self.start = self.batches.first().map_or(self.end_at_least, |batch| batch.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: i32, records: i32) -> Header {
        Header { records, producer: 7, epoch: 0, sequence }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn a_producers_last_five_batches_are_known_again() {
        let mut log = Log::default();
        for number in 0..6 {
            assert_eq!(log.fit(&header(2 * number, 2)), Fit::New);
            log.append(header(2 * number, 2), &[0; 61], 0, at(0), at(0));
        }
        assert_eq!(log.fit(&header(2, 2)), Fit::Duplicate(2, at(0)));
        assert_eq!(log.fit(&header(0, 2)), Fit::Wrong(45), "the sixth back");
        assert_eq!(log.fit(&header(14, 2)), Fit::Wrong(45), "a gap");
        assert_eq!(log.fit(&Header { epoch: 1, ..header(12, 2) }), Fit::Wrong(45));
        assert_eq!(log.fit(&Header { epoch: 1, ..header(0, 2) }), Fit::New);
        assert_eq!(log.fit(&Header { producer: 8, ..header(40, 2) }), Fit::New, "whatever a new producer begins with");
        assert_eq!(log.end(), 12);
    }

    #[test]
    fn what_follows_is_replicated_after_what_came_before() {
        let mut log = Log::default();
        assert_eq!(log.append(header(0, 2), &[0; 61], 0, at(0), at(9)), (0, at(9)));
        assert_eq!(log.append(header(2, 3), &[0; 61], 0, at(0), at(1)), (2, at(9)), "acknowledged no sooner");
    }

    #[test]
    fn what_is_not_replicated_is_not_seen_and_may_be_lost() {
        let mut log = Log::default();
        log.append(header(0, 2), &[0; 61], 0, at(0), at(1));
        log.append(header(2, 3), &[0; 61], 0, at(0), at(9));
        assert_eq!((log.high_watermark(at(0)), log.high_watermark(at(1)), log.high_watermark(at(9))), (0, 2, 5));
        assert_eq!(log.next_replication(at(2)), at(9));
        log.lose_unreplicated(at(5));
        assert_eq!((log.end(), log.fit(&header(2, 3))), (2, Fit::New));
        log.delete_before(2);
        assert_eq!((log.start, log.end()), (2, 2));
    }
}
