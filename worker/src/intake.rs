//! What the worker has in hand between Kafka and the ledger: the partitions it holds, their open batches, the order in
//! which they are stored. Pure: it is handed records and time, and never waits for anything.
//!
//! ```text
//!  Fetched ──▶ in hand ──fill──▶ open batch (one a partition) ──take_due──▶ at the ledger (one) ──stored──▶ gone
//! ```
//!
//! Memory is bounded: nothing is taken from the fetched records while the partition's batch is full or all open batches
//! together hold [`OPEN_BYTES_MAX`]; what is not taken is not fetched again meanwhile ([`flux_protocol::kafka::fetch`]).
//! So one batch is stored while the next ones fill, and no more. Time is bounded too: records that unpack to more than
//! [`TURN_UNPACKED_BYTES_MAX`] wait for the next turn, so that heartbeats go out in between.
//!
//! Never acknowledges anything, never changes a batch that is on its way, and never takes records that do not follow those
//! before them.

use std::collections::BTreeMap;
use std::time::Duration;

use flux_protocol::kafka::fetch::Fetched;
use flux_protocol::kafka::records_decode::Entry;
use flux_protocol::order::Uuid;
use flux_protocol::time::Instant;

use crate::batch::{Batch, Origin};
use crate::limits::{BATCH_BYTES_MAX, FENCED_IN_A_ROW_MAX, OPEN_BYTES_MAX, TURN_UNPACKED_BYTES_MAX};

/// How batches are cut.
#[derive(Clone, Copy, Debug)]
pub struct IntakeConfig {
    /// Orders that a batch holds at most.
    pub batch_orders: usize,
    /// How long one that is not full waits for more.
    pub batch_wait: Duration,
}

/// Tells one assignment from the next: an answer to a question of an earlier one is not listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure(u64);

/// A partition whose position is to be asked of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For whom.
    pub tenure: Tenure,
    pub topic_id: Uuid,
    pub partition: i32,
}

/// What follows from a fenced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// The partition is claimed anew; it is not read meanwhile.
    ClaimAgain,
    /// It has happened too often in a row: two members believe that they hold it. Join the group anew.
    Rejoin,
}

/// Records came that do not follow those before them. They are dropped, and the partition's position is asked anew: it is
/// not to be read meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: i32,
    /// The offset that was to come.
    pub expected: i64,
    /// The offset from which was read.
    pub found: i64,
}

#[derive(Debug)]
struct Partition {
    /// `None` until the ledger has told the position.
    open: Option<Batch>,
    /// When the open batch got its first record.
    opened_at: Instant,
    /// Where the ledger stands, once it has said so.
    stored_next: Option<i64>,
    fenced_in_a_row: u32,
}

#[derive(Debug)]
pub struct Intake {
    config: IntakeConfig,
    topic: String,
    topic_id: Option<Uuid>,
    tenure: Tenure,
    partitions: BTreeMap<i32, Partition>,
    claims: Vec<Claim>,
    in_hand: Option<Fetched>,
    /// What is in hand has cost its turn, and is gone on with in the next.
    rests: bool,
    /// Partition of the batch that is at the ledger.
    storing: Option<i32>,
    is_flushing: bool,
}

impl Intake {
    /// Holds nothing.
    pub fn new(topic: &str, config: IntakeConfig) -> Intake {
        assert!(config.batch_orders > 0, "a batch holds an order");
        Intake {
            config,
            topic: topic.to_owned(),
            topic_id: None,
            tenure: Tenure::default(),
            partitions: BTreeMap::new(),
            claims: Vec::new(),
            in_hand: None,
            rests: false,
            storing: None,
            is_flushing: false,
        }
    }

    /// The assignment that stands.
    pub fn tenure(&self) -> Tenure {
        self.tenure
    }

    /// Partitions held.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    /// Records that the log holds and the ledger does not, by partition, where `end` knows the log's end and the ledger has
    /// told its own. What is not known is left out.
    pub fn lag(&self, end: impl Fn(i32) -> Option<i64>) -> impl Iterator<Item = (i32, i64)> {
        self.partitions.iter().filter_map(move |(partition, state)| {
            let lag = end(*partition)? - state.stored_next?;
            Some((*partition, lag.max(0)))
        })
    }

    // The group.

    /// These partitions are ours: their positions are asked for ([`Intake::take_claims`]).
    pub fn assigned(&mut self, topic_id: Uuid, partitions: &[i32]) {
        self.lost();
        self.topic_id = Some(topic_id);
        for &partition in partitions {
            let state = Partition { open: None, opened_at: Instant::FAR_FUTURE, stored_next: None, fenced_in_a_row: 0 };
            self.partitions.insert(partition, state);
            self.claims.push(Claim { tenure: self.tenure, topic_id, partition });
        }
    }

    /// Nothing is ours any more; what is in hand is dropped. It is in Kafka still.
    pub fn lost(&mut self) {
        self.tenure.0 += 1;
        self.topic_id = None;
        self.partitions.clear();
        self.claims.clear();
        self.in_hand = None;
        self.rests = false;
        self.storing = None;
        self.is_flushing = false;
    }

    /// Takes no more records, and stores what is in the open batches without waiting for more.
    pub fn flush(&mut self) {
        self.is_flushing = true;
        self.in_hand = None;
        self.claims.clear();
    }

    /// Whether nothing is left to store.
    pub fn is_flushed(&self) -> bool {
        self.storing.is_none() && self.partitions.values().all(|state| state.open.as_ref().is_none_or(Batch::is_empty))
    }

    // The ledger's positions.

    /// The partitions whose positions are wanted; none of them twice.
    pub fn take_claims(&mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }

    /// The ledger's answer. Where this is true, reading begins at `next_offset`.
    pub fn claimed(&mut self, claim: &Claim, next_offset: i64) -> bool {
        if claim.tenure != self.tenure || self.is_flushing {
            return false;
        }
        let origin = self.origin(claim.partition);
        let Some(state) = self.partitions.get_mut(&claim.partition) else { return false };
        state.open = Some(Batch::new(origin, next_offset));
        state.stored_next = Some(next_offset);
        true
    }

    fn origin(&self, partition: i32) -> Origin {
        let topic_id = self.topic_id.expect("partitions are held of a topic only");
        Origin { topic: self.topic.clone(), topic_id, partition }
    }

    // Records.

    /// Whether [`Intake::offer`] may be called: nothing is in hand.
    pub fn wants_records(&self) -> bool {
        self.in_hand.is_none() && !self.is_flushing && self.open_bytes() < OPEN_BYTES_MAX
    }

    /// Takes records in hand and as many of them into the batch as fit. `Some`: they do not follow those before them.
    pub fn offer(&mut self, now: Instant, fetched: Fetched) -> Option<Gap> {
        assert!(self.in_hand.is_none(), "one piece at a time");
        // Of a partition that is just being claimed anew: read from the old position, of no use.
        let state = self.partitions.get_mut(&fetched.partition)?;
        let expected = state.open.as_ref()?.next_offset();
        if fetched.from_offset != expected {
            state.open = None;
            if let Some(topic_id) = self.topic_id {
                self.claims.push(Claim { tenure: self.tenure, topic_id, partition: fetched.partition });
            }
            return Some(Gap { partition: fetched.partition, expected, found: fetched.from_offset });
        }
        self.in_hand = Some(fetched);
        self.fill(now);
        None
    }

    /// Moves what is in hand into its batch until that is full, or the turn is over.
    pub fn fill(&mut self, now: Instant) {
        let open_bytes = self.open_bytes();
        self.rests = false;
        let Some(fetched) = &mut self.in_hand else { return };
        let Some(state) = self.partitions.get_mut(&fetched.partition) else { return };
        let Some(batch) = &mut state.open else { return };
        let bytes_before = batch.bytes();
        let unpacked_before = fetched.records.unpacked_bytes();
        while !is_full(batch, &self.config) && open_bytes + batch.bytes() - bytes_before < OPEN_BYTES_MAX {
            if fetched.records.unpacked_bytes() - unpacked_before >= TURN_UNPACKED_BYTES_MAX {
                self.rests = true;
                return;
            }
            let entry = fetched.records.next();
            batch.under(fetched.records.leader_epoch_so_far());
            if batch.is_empty() {
                state.opened_at = now;
            }
            match entry {
                Some(Entry::Record(record)) => batch.push(record.offset, record.key, record.value),
                Some(Entry::Unreadable(gap)) => {
                    batch.push_unreadable(gap.first_offset, gap.last_offset, gap.reason, gap.bytes);
                }
                None => {
                    // Markers and compacted records at the end: passed, so that the lag can become nothing.
                    batch.advance_to(fetched.records.next_offset());
                    self.in_hand = None;
                    return;
                }
            }
        }
    }

    /// Whether [`Intake::fill`] is to be called again, as soon as others have had their turn.
    pub fn rests(&self) -> bool {
        self.rests
    }

    fn open_bytes(&self) -> usize {
        self.partitions.values().filter_map(|state| state.open.as_ref()).map(Batch::bytes).sum()
    }

    // Batches.

    /// The batch to be stored now, where none is at the ledger: of those that are full or have waited long enough the one
    /// that was begun first, so that no partition waits for ever behind others that are always full.
    pub fn take_due(&mut self, now: Instant) -> Option<Batch> {
        if self.storing.is_some() {
            return None;
        }
        let no_room = self.open_bytes() >= OPEN_BYTES_MAX;
        let waiting = self.partitions.iter().filter_map(|(partition, state)| {
            let batch = state.open.as_ref().filter(|batch| !batch.is_empty())?;
            let full = is_full(batch, &self.config);
            let due = full || no_room || self.is_flushing || state.opened_at + self.config.batch_wait <= now;
            due.then_some((state.opened_at, *partition))
        });
        let (_, partition) = waiting.min()?;
        let state = self.partitions.get_mut(&partition).expect("it was just looked at");
        let batch = state.open.take().expect("it was just looked at");
        state.open = Some(Batch::new(batch.origin().clone(), batch.next_offset()));
        state.opened_at = Instant::FAR_FUTURE;
        self.storing = Some(partition);
        self.fill(now);
        Some(batch)
    }

    /// When a batch will have waited long enough; nothing while one is at the ledger.
    pub fn next_deadline(&self) -> Instant {
        if self.storing.is_some() {
            return Instant::FAR_FUTURE;
        }
        let open = self.partitions.values().filter(|state| state.open.as_ref().is_some_and(|batch| !batch.is_empty()));
        open.map(|state| state.opened_at + self.config.batch_wait).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// The batch is in the ledger. Where this is true the offset may be told to Kafka.
    pub fn stored(&mut self, now: Instant, tenure: Tenure, batch: &Batch) -> bool {
        if tenure != self.tenure {
            return false;
        }
        self.storing = None;
        if let Some(state) = self.partitions.get_mut(&batch.origin().partition) {
            state.stored_next = Some(batch.next_offset());
            state.fenced_in_a_row = 0;
        }
        self.fill(now);
        true
    }

    /// The batch was not stored because another worker has gone on with its partition. What was read behind it is
    /// dropped, and the position asked for anew.
    pub fn fenced(&mut self, now: Instant, tenure: Tenure, partition: i32) -> Option<Fenced> {
        if tenure != self.tenure {
            return None;
        }
        self.storing = None;
        if self.in_hand.as_ref().is_some_and(|fetched| fetched.partition == partition) {
            self.in_hand = None;
        }
        let state = self.partitions.get_mut(&partition)?;
        state.open = None;
        state.fenced_in_a_row += 1;
        if state.fenced_in_a_row >= FENCED_IN_A_ROW_MAX {
            return Some(Fenced::Rejoin);
        }
        if let (Some(topic_id), false) = (self.topic_id, self.is_flushing) {
            self.claims.push(Claim { tenure: self.tenure, topic_id, partition });
        }
        self.fill(now);
        Some(Fenced::ClaimAgain)
    }
}

/// Counted in offsets, so that records that are no orders, or empty, are bounded as well.
fn is_full(batch: &Batch, config: &IntakeConfig) -> bool {
    let offsets = batch.next_offset() - batch.first_offset();
    usize::try_from(offsets).is_ok_and(|offsets| offsets >= config.batch_orders) || batch.bytes() >= BATCH_BYTES_MAX
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
