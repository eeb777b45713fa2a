//! One partition's batches: their order, their sequences, and what becomes of each.
//!
//! ```text
//! queue, oldest first:   in flight   in flight   waiting   waiting   |  open batch
//!                        └────── window ──────┘
//! ```
//!
//! What surprises:
//!
//! - **A batch that has been sent is sent again only while none of its partition is in flight, and until it has succeeded
//!   nothing follows it.** The broker recognises only the last five batches of a producer: were the window opened by the
//!   success of a younger one, this one could be the sixth and be taken for a gap. And the error of a younger one (45: an
//!   earlier batch is missing) could arrive late and be taken for a lost log.
//! - **A gap in the sequences cannot be closed**, only left behind: whenever a batch will not be appended under its
//!   sequence, the partition drains (nothing is sent until all in flight have come back), gives up what *may* have been
//!   appended, and sends the rest under a new producer id. Other partitions keep theirs.
//!
//! Never sends by itself, never asks for a producer id.

use std::collections::VecDeque;
use std::time::Duration;

use super::verdict::{Settled, Verdict, code, verdict};
use crate::kafka::backoff::{SplitMix64, backoff};
use crate::kafka::limits::{BATCH_SPAN_MAX, BATCHES_POOLED_MAX, CORRUPT_RETRIES_MAX};
use crate::kafka::metadata::NodeId;
use crate::kafka::records::{BatchBuilder, NO_TIMESTAMP, ProducerId};
use crate::time::Instant;

/// Records that travel together.
#[derive(Debug)]
pub(super) struct Batch<T> {
    records: BatchBuilder,
    tokens: Vec<T>,
    /// Names it among all batches.
    serial: u64,
    /// When its first record was appended.
    opened: Instant,
    /// Under the partition's session; `None` until it is sent for the first time.
    sequence: Option<i32>,
    in_flight: bool,
    /// Whether some attempt ended without word: it may be in the log.
    unknown: bool,
    corrupted: u8,
}

/// What of finished batches is still to be told or can be used again.
#[derive(Debug)]
pub(super) struct Finished<T> {
    pub(super) settled: VecDeque<(Settled, Vec<T>)>,
    batches: Vec<BatchBuilder>,
    tokens: Vec<Vec<T>>,
}

impl<T> Finished<T> {
    pub(super) fn new() -> Finished<T> {
        Finished { settled: VecDeque::new(), batches: Vec::new(), tokens: Vec::new() }
    }

    /// A batch whose first record arrives at `opened`.
    fn batch(&mut self, serial: u64, opened: Instant) -> Batch<T> {
        Batch {
            records: self.batches.pop().unwrap_or_default(),
            tokens: self.tokens.pop().unwrap_or_default(),
            serial,
            opened,
            sequence: None,
            in_flight: false,
            unknown: false,
            corrupted: 0,
        }
    }

    fn settle(&mut self, outcome: Settled, batch: Batch<T>) {
        self.settled.push_back((outcome, batch.tokens));
        self.keep_batch(batch.records);
    }

    fn keep_batch(&mut self, mut records: BatchBuilder) {
        if self.batches.len() < BATCHES_POOLED_MAX {
            records.clear();
            self.batches.push(records);
        }
    }

    pub(super) fn keep_tokens(&mut self, mut tokens: Vec<T>) {
        if self.tokens.len() < BATCHES_POOLED_MAX {
            tokens.clear();
            self.tokens.push(tokens);
        }
    }
}

/// A producer id in use on this partition.
#[derive(Clone, Copy, Debug)]
struct Session {
    producer: ProducerId,
    sequence_next: i32,
    /// Whether the broker has taken a batch since the last trouble: before, one at a time.
    confirmed: bool,
}

/// Which batch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// The one at this place of the queue.
    Queued(usize),
    /// The open one.
    Open,
}

/// When a batch leaves and when it is given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) linger: Duration,
    pub(super) in_flight_max: usize,
    pub(super) age_max: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Partition<T> {
    leader: Option<NodeId>,
    /// Whether it stands in the producer's list of partitions with something to do.
    pub(super) listed: bool,
    queue: VecDeque<Batch<T>>,
    open: Option<Batch<T>>,
    session: Option<Session>,
    /// The producer id that was left behind: not to be taken again.
    spent: Option<ProducerId>,
    draining: bool,
    failures: u32,
    not_before: Instant,
}

impl<T: Copy> Partition<T> {
    pub(super) fn new() -> Partition<T> {
        Partition {
            leader: None,
            listed: false,
            queue: VecDeque::new(),
            open: None,
            session: None,
            spent: None,
            draining: false,
            failures: 0,
            not_before: Instant::default(),
        }
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// A new leader is tried at once, whatever the old one's errors.
    pub(super) fn follow(&mut self, now: Instant, leader: Option<NodeId>) {
        if leader.is_some() && self.leader != leader {
            self.not_before = now;
        }
        self.leader = leader;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.open.is_none()
    }

    /// Whether new records had better go elsewhere.
    pub(super) fn is_troubled(&self) -> bool {
        self.draining || self.failures > 0
    }

    /// The open batch; a new one, named `serial`, where there is none or it has been kept from leaving for long: records
    /// become too old by batch, and the young should not share the fate of the old.
    pub(super) fn open_batch(&mut self, now: Instant, serial: u64, finished: &mut Finished<T>) -> &mut Batch<T> {
        if self.open.as_ref().is_some_and(|batch| batch.opened + BATCH_SPAN_MAX <= now) {
            self.seal();
        }
        self.open.get_or_insert_with(|| finished.batch(serial, now))
    }

    /// Forgets an open batch into which nothing was written after all.
    pub(super) fn drop_empty(&mut self, finished: &mut Finished<T>) {
        if let Some(batch) = self.open.take_if(|batch| batch.records.is_empty()) {
            finished.keep_batch(batch.records);
            finished.keep_tokens(batch.tokens);
        }
    }

    /// Closes the open batch.
    pub(super) fn seal(&mut self) {
        self.queue.extend(self.open.take());
    }

    fn in_flight(&self) -> bool {
        self.queue.iter().any(|batch| batch.in_flight)
    }

    fn window(&self, pace: &Pace) -> usize {
        if self.session.is_some_and(|session| session.confirmed) { pace.in_flight_max } else { 1 }
    }

    /// What may be sent now.
    pub(super) fn next(&self, now: Instant, pace: &Pace) -> Next {
        if self.draining || now < self.not_before {
            return Next::Nothing;
        }
        let is_young = |batch: &&Batch<T>| now < batch.opened + pace.age_max;
        let waiting = self.queue.iter().position(|batch| !batch.in_flight);
        if let Some(index) = waiting {
            let has_turn = if self.queue[index].was_sent() { !self.in_flight() } else { index < self.window(pace) };
            return if has_turn && is_young(&&self.queue[index]) { Next::Queued(index) } else { Next::Nothing };
        }
        let has_place = self.queue.len() < self.window(pace);
        match self.open.as_ref().filter(is_young) {
            Some(batch) if has_place && batch.opened + pace.linger <= now => Next::Open,
            _ => Next::Nothing,
        }
    }

    /// When [`Partition::next`] may have more to say than now, or a batch becomes too old, if nothing else happens.
    pub(super) fn deadline(&self, now: Instant, pace: &Pace) -> Instant {
        let mut earliest = Instant::FAR_FUTURE;
        // What is in flight comes back by itself, however old.
        if let Some(batch) = self.queue.front().or(self.open.as_ref()).filter(|batch| !batch.in_flight) {
            earliest = earliest.min(batch.opened + pace.age_max);
        }
        if now < self.not_before {
            return earliest.min(self.not_before);
        }
        // Past its linger an open batch waits for a place in the window or for its leader, not for the time.
        if let Some(batch) = self.open.as_ref().filter(|batch| now < batch.opened + pace.linger) {
            earliest = earliest.min(batch.opened + pace.linger);
        }
        earliest
    }

    /// Takes up `identity` where a producer id is needed. `false`: it will not do, another one is needed.
    pub(super) fn adopt(&mut self, identity: Option<ProducerId>) -> bool {
        if self.session.is_none() {
            self.session = identity.filter(|identity| self.spent != Some(*identity)).map(|producer| Session {
                producer,
                sequence_next: 0,
                confirmed: false,
            });
        }
        self.session.is_some()
    }

    /// Takes the batch that `next` chose to be in flight from now on; returns its serial.
    ///
    /// # Panics
    /// Where the partition has no producer id ([`Partition::adopt`]) or nothing was chosen.
    pub(super) fn send(&mut self, next: Next) -> u64 {
        let index = match next {
            Next::Queued(index) => index,
            Next::Open => {
                self.seal();
                self.queue.len() - 1
            }
            Next::Nothing => unreachable!("nothing was chosen"),
        };
        let session = self.session.as_mut().expect("a producer id was adopted");
        let batch = &mut self.queue[index];
        assert!(!batch.in_flight, "a batch is sent twice at once");
        if batch.sequence.is_none() {
            batch.records.seal(session.producer, session.sequence_next);
            batch.sequence = Some(session.sequence_next);
            session.sequence_next = add_to_sequence(session.sequence_next, batch.records.count());
        }
        batch.in_flight = true;
        batch.serial
    }

    /// The bytes of a batch that is in flight.
    pub(super) fn bytes(&self, serial: u64) -> &[u8] {
        let batch = self.queue.iter().find(|batch| batch.serial == serial);
        batch.expect("a batch in flight stays in the queue").records.bytes()
    }

    fn index_in_flight(&self, serial: u64) -> Option<usize> {
        self.queue.iter().position(|batch| batch.serial == serial && batch.in_flight)
    }

    /// The connection was lost: the batch may have been appended, so it goes again under the same sequence.
    pub(super) fn handle_lost(&mut self, serial: u64) {
        if let Some(index) = self.index_in_flight(serial) {
            self.requeue(index, true);
        }
    }

    /// What the broker said about a batch. Returns whether the metadata is stale.
    pub(super) fn handle_code(
        &mut self,
        now: Instant,
        serial: u64,
        error: i16,
        serials: &mut u64,
        random: &mut SplitMix64,
        finished: &mut Finished<T>,
    ) -> bool {
        let Some(index) = self.index_in_flight(serial) else {
            debug_assert!(false, "an answer about a batch that is not in flight");
            return false;
        };
        if error == code::INVALID_TIMESTAMP && !self.queue[index].unknown && self.queue[index].records.is_timed() {
            self.take_times_away(index, serials, finished);
            return false;
        }
        let verdict = verdict(error);
        match verdict {
            Verdict::Acknowledged => {
                self.settle(index, Settled::Acknowledged, finished);
                if let Some(session) = &mut self.session {
                    session.confirmed = true;
                }
                (self.failures, self.not_before) = (0, now);
            }
            Verdict::NotAppended { .. } => self.retry(now, index, false, random),
            Verdict::Unknown => self.retry(now, index, true, random),
            // Not the oldest: the one before it is missing, and will be sent again first.
            Verdict::OutOfSequence if self.draining || index > 0 => self.requeue(index, false),
            Verdict::OutOfSequence => self.end(index, Settled::Abandoned, finished),
            Verdict::Poisoned if self.queue[index].unknown => self.end(index, Settled::Abandoned, finished),
            Verdict::Poisoned => {
                let batch = &mut self.queue[index];
                if error == code::CORRUPT_MESSAGE && batch.corrupted < CORRUPT_RETRIES_MAX {
                    batch.corrupted += 1;
                    self.retry(now, index, false, random);
                } else if batch.records.count() > 1 {
                    self.split(index, serials, finished);
                } else {
                    self.end(index, Settled::Refused(error), finished);
                }
            }
            Verdict::Refused if self.queue[index].unknown => self.end(index, Settled::Abandoned, finished),
            Verdict::Refused => self.end(index, Settled::Refused(error), finished),
        }
        verdict == Verdict::NotAppended { stale: true }
    }

    /// Sends it again, later than at once; only the oldest batch's failures count.
    fn retry(&mut self, now: Instant, index: usize, unknown: bool, random: &mut SplitMix64) {
        if index == 0 {
            self.failures = self.failures.saturating_add(1);
            self.not_before = now + backoff(self.failures, random);
        }
        self.requeue(index, unknown);
    }

    fn requeue(&mut self, index: usize, unknown: bool) {
        self.queue[index].in_flight = false;
        self.queue[index].unknown |= unknown;
        if let Some(session) = &mut self.session {
            session.confirmed = false;
        }
    }

    /// A batch that will not be appended under its sequence: what follows it needs a new producer id.
    fn end(&mut self, index: usize, outcome: Settled, finished: &mut Finished<T>) {
        self.settle(index, outcome, finished);
        self.draining = true;
    }

    fn settle(&mut self, index: usize, outcome: Settled, finished: &mut Finished<T>) {
        let batch = self.queue.remove(index).expect("the index was found");
        finished.settle(outcome, batch);
    }

    /// Puts the same records without times in the place of a batch that a broker refuses for its clock or ours: an order does
    /// not wait until a clock is right.
    fn take_times_away(&mut self, index: usize, serials: &mut u64, finished: &mut Finished<T>) {
        let timed = self.queue.remove(index).expect("the index was found");
        *serials += 1;
        let mut untimed = finished.batch(*serials, timed.opened);
        timed.records.for_each(|_, key, value| {
            let appended = untimed.records.append(NO_TIMESTAMP, key, |out| out.extend_from_slice(value));
            debug_assert!(appended.is_ok(), "it was in a batch before");
        });
        untimed.tokens.extend_from_slice(&timed.tokens);
        self.queue.insert(index, untimed);
        finished.keep_batch(timed.records);
        finished.keep_tokens(timed.tokens);
        self.draining = true;
    }

    /// Puts two halves in the place of a batch: the poisoned record is found by halving.
    fn split(&mut self, index: usize, serials: &mut u64, finished: &mut Finished<T>) {
        let whole = self.queue.remove(index).expect("the index was found");
        let half = whole.records.count() as usize / 2;
        let mut serial = || {
            *serials += 1;
            *serials
        };
        let mut halves = [finished.batch(serial(), whole.opened), finished.batch(serial(), whole.opened)];
        let mut place = 0;
        whole.records.for_each(|timestamp, key, value| {
            let target = &mut halves[usize::from(place >= half)];
            let appended = target.records.append(timestamp, key, |out| out.extend_from_slice(value));
            debug_assert!(appended.is_ok(), "it was in a batch before");
            place += 1;
        });
        halves[0].tokens.extend_from_slice(&whole.tokens[..half]);
        halves[1].tokens.extend_from_slice(&whole.tokens[half..]);
        let [first, second] = halves;
        self.queue.insert(index, second);
        self.queue.insert(index, first);
        finished.keep_batch(whole.records);
        finished.keep_tokens(whole.tokens);
        self.draining = true;
    }

    /// The topic is another one under the same name: what is in flight went to the old one.
    pub(super) fn leave_session(&mut self) {
        if self.session.is_some() {
            self.draining = true;
        }
    }

    /// Gives up what is too old, and leaves a session behind as soon as nothing of it is in flight.
    pub(super) fn tidy(&mut self, now: Instant, pace: &Pace, finished: &mut Finished<T>) {
        let is_too_old = |batch: &Batch<T>| !batch.in_flight && batch.opened + pace.age_max <= now;
        while let Some(was_sent) = self.queue.front().filter(|batch| is_too_old(batch)).map(Batch::was_sent) {
            self.settle(0, Settled::Abandoned, finished);
            self.draining |= was_sent;
        }
        if self.queue.is_empty()
            && let Some(batch) = self.open.take_if(|batch| is_too_old(batch))
        {
            finished.settle(Settled::Abandoned, batch);
        }
        if self.draining && !self.in_flight() {
            self.start_afresh(finished);
        }
    }

    fn start_afresh(&mut self, finished: &mut Finished<T>) {
        for _ in 0..self.queue.len() {
            let mut batch = self.queue.pop_front().expect("as many as were counted");
            if batch.unknown {
                finished.settle(Settled::Abandoned, batch);
            } else {
                batch.sequence = None;
                self.queue.push_back(batch);
            }
        }
        self.spent = self.session.take().map(|session| session.producer).or(self.spent);
        self.draining = false;
    }
}

impl<T> Batch<T> {
    fn was_sent(&self) -> bool {
        self.sequence.is_some()
    }

    /// Its records, to append to; each needs a token beside it.
    pub(super) fn parts(&mut self) -> (&mut BatchBuilder, &mut Vec<T>) {
        (&mut self.records, &mut self.tokens)
    }
}

/// Sequences go from 0 to `i32::MAX` and around.
pub(super) fn add_to_sequence(sequence: i32, count: u32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}
