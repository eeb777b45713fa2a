//! What the worker does with what it has in hand: what the ledger is asked and when again, when a rebalance may go on, and
//! when the process may end. A machine between the consumer, [`crate::intake`] and the ledger, without a socket or a clock.
//!
//! ```text
//!  Event, Fetched ──handle──▶ ┌──────────┐ ──poll_command──▶ Consumer: start, pause, commit, release, rejoin, leave
//!                             │ Pipeline │
//!  what the ledger said ─────▶ └──────────┘ ──poll_job──────▶ the ledger: one question at a time
//! ```
//!
//! The contract: after anything was handled, [`Pipeline::poll_job`] is asked once, and [`Pipeline::poll_command`] until it
//! has nothing. [`Pipeline::next_deadline`] says when to call [`Pipeline::handle_time`], and then those two, at the latest.
//!
//! The same question is asked of the ledger again, with growing pauses, for as long as the answer matters. What is dropped
//! was not acknowledged to anybody: it is in Kafka still. Never decides what a batch is ([`crate::intake`]) nor what is
//! stored ([`crate::ledger`]).

use std::collections::VecDeque;
use std::time::Duration;

use flux_protocol::kafka::consumer::Event;
use flux_protocol::kafka::fetch::{Fetched, Position};
use flux_protocol::order::Uuid;
use flux_protocol::time::Instant;

use crate::batch::{Batch, Stored};
use crate::intake::{Claim, Fenced, Gap, Intake, Tenure};
use crate::ledger::{LedgerError, StoreError};
use crate::limits::*;

/// What the ledger is to be asked.
#[derive(Debug)]
pub enum Job {
    /// Where a partition goes on. Its answer comes back by [`Pipeline::handle_claim`].
    Claim { topic_id: Uuid, partition: i32 },
    /// Store this. It comes back, with what has become of it, by [`Pipeline::handle_store`].
    Store(Box<Batch>),
}

/// What the consumer is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read these partitions from there.
    Start(Vec<Position>),
    /// Read no more of this one until it is started anew.
    Pause(i32),
    /// Tell Kafka how far a partition is stored.
    Commit { partition: i32, next_offset: i64 },
    /// Nothing is in hand any more: let the rebalance go on.
    Release,
    /// Another member believes that it holds what we hold: join anew.
    Rejoin,
    /// Leave the group.
    Leave,
}

/// What an answer of the ledger has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next question belongs to the same job.
    GoesOn,
    /// All positions are known; reading begins from these.
    Reading(Vec<Position>),
    /// The batch is in the ledger.
    Stored { partition: i32, next_offset: i64, stored: Stored, took: Duration },
    /// Another worker has gone on with the partition.
    Fenced { partition: i32, expected: i64, rejoins: bool },
    /// It failed, and is asked again after a pause; why, for people.
    AskedAgain(String),
    /// Nobody waits for the job any more; its error, if it failed.
    Dropped(Option<String>),
}

/// The one job of the ledger.
#[derive(Debug)]
struct Work {
    tenure: Tenure,
    kind: Kind,
    began: Instant,
    /// When it may be asked (again).
    due: Instant,
    /// The question is out, and its answer not in.
    is_asked: bool,
    /// The next pause after an error that waiting mends.
    pause: Duration,
    /// The next pause after the tables refused what they took before.
    table_pause: Duration,
}

#[derive(Debug)]
enum Kind {
    /// The positions of all of them, one by one; so many are known.
    Claims(Vec<Claim>, Vec<Position>),
    /// `None` while the ledger has it.
    Batch(Option<Box<Batch>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    /// What is in hand is being stored, until then at the latest.
    Flushing(Instant),
    /// The group is being left.
    Leaving,
    /// The end.
    Left,
}

#[derive(Debug)]
pub struct Pipeline {
    intake: Intake,
    work: Option<Work>,
    /// The last answer of the ledger was an error that another attempt may not meet.
    is_ledger_failing: bool,
    /// A rebalance waits for what is in hand.
    is_releasing: bool,
    stopping: Option<Stopping>,
    /// When the partitions became ours, or a rebalance ended their reading: the consumer forgets then when it read each of them
    /// last, and what it read before says nothing of the time since.
    reading_changed_at: Instant,
    /// Some a call, and drained after each.
    commands: VecDeque<Command>,
}

impl Pipeline {
    /// Holds nothing; the ledger has just answered.
    pub fn new(intake: Intake, now: Instant) -> Pipeline {
        Pipeline {
            intake,
            work: None,
            is_ledger_failing: false,
            is_releasing: false,
            stopping: None,
            reading_changed_at: now,
            commands: VecDeque::new(),
        }
    }

    // What comes in.

    /// What the consumer says.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Assigned { topic_id, partitions, .. } => {
                self.reading_changed_at = now;
                if self.stopping.is_none() {
                    self.intake.assigned(Uuid(topic_id), &partitions);
                }
            }
            Event::Release => {
                self.reading_changed_at = now;
                self.is_releasing = true;
                self.intake.flush();
            }
            Event::Lost(_) | Event::TopicReplaced { .. } => self.drop_all(),
            Event::Left => self.stopping = Some(Stopping::Left),
            // The consumer asks again by itself, or stands still until somebody has mended the offset.
            Event::OffsetOutOfRange { .. } | Event::Diverged { .. } | Event::Damaged { .. } | Event::Refused { .. } => {
            }
        }
    }

    /// Whether [`Pipeline::handle_records`] may be called.
    pub fn wants_records(&self) -> bool {
        self.intake.wants_records()
    }

    /// Records have come. `Some`: they do not follow those before them, and are dropped.
    pub fn handle_records(&mut self, now: Instant, fetched: Fetched) -> Option<Gap> {
        let gap = self.intake.offer(now, fetched)?;
        self.commands.push_back(Command::Pause(gap.partition));
        Some(gap)
    }

    /// Goes on with records that were left for another turn.
    pub fn handle_time(&mut self, now: Instant) {
        self.intake.fill(now);
    }

    /// The process is to end: stores what is in hand, then leaves the group. False: it was told so before.
    pub fn handle_stop(&mut self, now: Instant) -> bool {
        if self.stopping.is_some() {
            return false;
        }
        self.stopping = Some(Stopping::Flushing(now + FLUSH_DEADLINE));
        self.intake.flush();
        true
    }

    /// The answer to [`Job::Claim`].
    pub fn handle_claim(&mut self, now: Instant, answer: Result<Position, LedgerError>) -> Outcome {
        let Some(Work { kind: Kind::Claims(claims, positions), is_asked, .. }) = &mut self.work else {
            unreachable!("a position comes when it was asked for")
        };
        *is_asked = false;
        match answer {
            Ok(position) => positions.push(position),
            Err(error) => return self.ask_again(now, error.is_retryable(), &error),
        }
        self.is_ledger_failing = false;
        let is_complete = positions.len() == claims.len();
        let is_stale = self.work.as_ref().is_some_and(|work| work.tenure != self.intake.tenure());
        if !is_complete && !is_stale {
            return Outcome::GoesOn;
        }
        let Some(Work { kind: Kind::Claims(claims, positions), .. }) = self.work.take().filter(|_| !is_stale) else {
            return Outcome::Dropped(None);
        };
        let claimed = claims.iter().zip(positions).filter(|(claim, at)| self.intake.claimed(claim, at.offset));
        let positions: Vec<Position> = claimed.map(|(_, position)| position).collect();
        self.commands.push_back(Command::Start(positions.clone()));
        Outcome::Reading(positions)
    }

    /// The answer to [`Job::Store`], with the batch.
    pub fn handle_store(&mut self, now: Instant, batch: Box<Batch>, answer: Result<Stored, StoreError>) -> Outcome {
        let Some(Work { kind: Kind::Batch(None), tenure, began, .. }) = self.work else {
            unreachable!("a batch comes back when it was handed out")
        };
        match answer {
            Ok(stored) => {
                self.work = None;
                self.is_ledger_failing = false;
                let (partition, next_offset) = (batch.origin().partition, batch.next_offset());
                if self.intake.stored(now, tenure, &batch) {
                    self.commands.push_back(Command::Commit { partition, next_offset });
                }
                Outcome::Stored { partition, next_offset, stored, took: now.since(began) }
            }
            Err(StoreError::Fenced { partition, expected }) => {
                self.work = None;
                self.is_ledger_failing = false;
                let follows = self.intake.fenced(now, tenure, partition);
                match follows {
                    Some(Fenced::ClaimAgain) => self.commands.push_back(Command::Pause(partition)),
                    Some(Fenced::Rejoin) => self.commands.push_back(Command::Rejoin),
                    None => {}
                }
                Outcome::Fenced { partition, expected, rejoins: follows == Some(Fenced::Rejoin) }
            }
            Err(error) => {
                if let Some(work) = &mut self.work {
                    work.kind = Kind::Batch(Some(batch));
                    work.is_asked = false;
                }
                match error {
                    StoreError::Retry(error) => self.ask_again(now, true, &error),
                    StoreError::Fatal(error) => self.ask_again(now, false, &error),
                    error => self.ask_tables_again(now, &error),
                }
            }
        }
    }

    // What goes out.

    /// What the ledger is to be asked now, where nothing is asked of it.
    pub fn poll_job(&mut self, now: Instant) -> Option<Job> {
        if self.work.is_none() {
            self.work = self.next_work(now);
        }
        let work = self.work.as_mut().filter(|work| !work.is_asked && work.due <= now)?;
        work.is_asked = true;
        Some(match &mut work.kind {
            Kind::Claims(claims, positions) => {
                let claim = &claims[positions.len()];
                Job::Claim { topic_id: claim.topic_id, partition: claim.partition }
            }
            Kind::Batch(batch) => Job::Store(batch.take().expect("it is here while it is not asked")),
        })
    }

    fn next_work(&mut self, now: Instant) -> Option<Work> {
        let tenure = self.intake.tenure();
        let claims = self.intake.take_claims();
        let kind = if claims.is_empty() {
            Kind::Batch(Some(Box::new(self.intake.take_due(now)?)))
        } else {
            Kind::Claims(claims, Vec::new())
        };
        let (pause, table_pause) = (RETRY_WAIT_MIN, TABLE_WAIT_MIN);
        Some(Work { tenure, kind, began: now, due: now, is_asked: false, pause, table_pause })
    }

    /// What the consumer is to be told. A release, or the end, comes where what was in hand is stored, or where the ledger
    /// is away: then it is dropped.
    pub fn poll_command(&mut self, now: Instant) -> Option<Command> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        let is_done = self.intake.is_flushed() || self.is_ledger_failing;
        match self.stopping {
            Some(Stopping::Flushing(deadline)) if is_done || now >= deadline => {
                self.stopping = Some(Stopping::Leaving);
                self.drop_all();
                Some(Command::Leave)
            }
            _ if self.is_releasing && is_done => {
                self.drop_all();
                Some(Command::Release)
            }
            _ => None,
        }
    }

    /// When to go on at the latest.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let rest = if self.intake.rests() { now } else { Instant::FAR_FUTURE };
        let ledger = match &self.work {
            // Nothing can be handed to it before its answer, however long a batch has waited.
            Some(work) if work.is_asked => Instant::FAR_FUTURE,
            Some(work) => work.due,
            None => self.intake.next_deadline(),
        };
        let stop = match self.stopping {
            Some(Stopping::Flushing(deadline)) => deadline,
            _ => Instant::FAR_FUTURE,
        };
        rest.min(ledger).min(stop)
    }

    // How it stands.

    /// Whether the group has been left: the end.
    pub fn has_left(&self) -> bool {
        self.stopping == Some(Stopping::Left)
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.intake.partitions()
    }

    /// Those of which nothing was read for too long, by when the consumer read each last; one that it does not read counts from
    /// when it became ours, or from when its reading ended for a rebalance.
    pub fn unread(&self, now: Instant, read_at: impl Fn(i32) -> Option<Instant>) -> Vec<i32> {
        let read_at = |partition: i32| read_at(partition).unwrap_or(self.reading_changed_at);
        self.partitions().filter(|partition| now.since(read_at(*partition)) >= UNREAD_PATIENCE).collect()
    }

    /// See [`Intake::lag`].
    pub fn lag(&self, end: impl Fn(i32) -> Option<i64>) -> impl Iterator<Item = (i32, i64)> {
        self.intake.lag(end)
    }

    // Inside.

    /// Nothing is ours any more. What the ledger is being asked is answered all the same: its fence decides, and orders that
    /// are stored by us need not be read again by another.
    fn drop_all(&mut self) {
        self.intake.lost();
        self.is_releasing = false;
        if self.work.as_ref().is_some_and(|work| !work.is_asked) {
            self.work = None;
        }
    }

    fn ask_again(&mut self, now: Instant, is_retryable: bool, error: &LedgerError) -> Outcome {
        let hint = if is_retryable { "" } else { " (somebody has to mend this; it is asked again meanwhile)" };
        let reason = format!("{error}{hint}");
        let Some(work) = self.begin_pause() else { return Outcome::Dropped(Some(reason)) };
        work.due = now + if is_retryable { work.pause } else { FATAL_WAIT };
        work.pause = (work.pause * 2).min(RETRY_WAIT_MAX);
        Outcome::AskedAgain(reason)
    }

    fn ask_tables_again(&mut self, now: Instant, error: &StoreError) -> Outcome {
        let reason = format!("{error} (somebody has to mend the tables)");
        let Some(work) = self.begin_pause() else { return Outcome::Dropped(Some(reason)) };
        work.due = now + work.table_pause;
        work.table_pause = (work.table_pause * 2).min(TABLE_WAIT_MAX);
        Outcome::AskedAgain(reason)
    }

    /// The ledger has failed. `None`: nobody waits for this job any more.
    fn begin_pause(&mut self) -> Option<&mut Work> {
        self.is_ledger_failing = true;
        let tenure = self.intake.tenure();
        self.work = self.work.take().filter(|work| work.tenure == tenure);
        self.work.as_mut()
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
