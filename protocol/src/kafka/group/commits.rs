//! Offsets on their way to the group, for lag tools only: noted, then in flight, one request at a time.

use std::collections::BTreeMap;

/// The next offset to be read by partition. See the module.
#[derive(Debug, Default)]
pub(super) struct Commits {
    noted: BTreeMap<i32, i64>,
    in_flight: Option<BTreeMap<i32, i64>>,
}

impl Commits {
    pub(super) fn note(&mut self, offsets: impl IntoIterator<Item = (i32, i64)>) {
        self.noted.extend(offsets);
    }

    /// Whether none is noted or in flight.
    pub(super) fn is_done(&self) -> bool {
        self.noted.is_empty() && self.in_flight.is_none()
    }

    pub(super) fn in_flight(&self) -> Option<&BTreeMap<i32, i64>> {
        self.in_flight.as_ref()
    }

    /// What is noted is in flight from now on. `false`: nothing is noted, or something is in flight.
    pub(super) fn begin(&mut self) -> bool {
        if self.noted.is_empty() || self.in_flight.is_some() {
            return false;
        }
        self.in_flight = Some(std::mem::take(&mut self.noted));
        true
    }

    /// What was in flight is so no more. `again`: it is noted again, as far as nothing newer is.
    pub(super) fn end(&mut self, again: bool) {
        for (partition, offset) in self.in_flight.take().into_iter().flatten().filter(|_| again) {
            self.noted.entry(partition).or_insert(offset);
        }
    }

    pub(super) fn forget_noted(&mut self) {
        self.noted.clear();
    }

    /// Of a generation that has ended.
    pub(super) fn clear(&mut self) {
        *self = Commits::default();
    }
}
