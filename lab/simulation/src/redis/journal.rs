//! What is on disk: the append-only file under `appendfsync everysec`. A machine that dies loses at most the last second.
//!
//! Kept as the data of a while ago and the writes since. A script's writes, and a transaction's, are one record: the file
//! never holds a part of one.

use std::collections::VecDeque;
use std::time::Duration;

use flux_protocol::time::Instant;

use super::keyspace::{Keyspace, Text};
use super::reply::Outcome;

/// How much of what was written last can be lost: `everysec` syncs once a second, and while one sync is slow the next may
/// be late by another.
pub const LOSS_MAX: Duration = Duration::from_secs(2);

/// Records that are kept before the older of them are carried over: in a short run none ever is.
const RECORDS_MAX: usize = 4096;

/// One command that may have changed data.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) run: fn(&mut Keyspace, &[Text]) -> Outcome,
    pub(super) arguments: Vec<Text>,
}

impl Write {
    /// Does it again, as it was done: it depends on nothing but the data and its clock.
    fn replay(&self, data: &mut Keyspace) {
        // Its outcome was told when it was done first; one that failed then fails again and changes nothing.
        let _ = (self.run)(data, &self.arguments);
    }
}

#[derive(Clone, Debug)]
struct Record {
    at: Instant,
    clock_us: u64,
    writes: Vec<Write>,
}

impl Record {
    fn replay(&self, data: &mut Keyspace) {
        data.advance(self.clock_us);
        self.writes.iter().for_each(|write| write.replay(data));
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    behind: Keyspace,
    /// All of the last [`LOSS_MAX`] before the newest, and some older ones.
    records: VecDeque<Record>,
}

impl Journal {
    /// A journal that begins with this data.
    pub(super) fn new(data: Keyspace) -> Journal {
        Journal { behind: data, records: VecDeque::new() }
    }

    /// Adds what one command, script or transaction wrote, at Redis' time `clock_us`. Without writes: keys expired.
    pub(super) fn append(&mut self, at: Instant, clock_us: u64, writes: Vec<Write>) {
        if self.records.len() >= RECORDS_MAX {
            self.absorb(at - LOSS_MAX);
        }
        self.records.push_back(Record { at, clock_us, writes });
    }

    /// The data as of `until`, at most [`LOSS_MAX`] before the last write.
    pub(super) fn into_data_of(mut self, until: Instant) -> Keyspace {
        self.absorb(until);
        self.behind
    }

    fn absorb(&mut self, until: Instant) {
        while let Some(record) = self.records.pop_front_if(|record| record.at <= until) {
            record.replay(&mut self.behind);
        }
    }
}
