//! How often something has failed in a row, for a log that tells of it once and then ever more rarely: an outage of hours must not
//! fill a disk. A cause that is new is told at once, however often another was met before.

use std::cell::RefCell;

/// Causes that are told apart. Who fails in more ways than these is told of anew, one in so many times.
const CAUSES_MAX: usize = 8;

/// Counts of one link, or of one client's brokers.
#[derive(Debug, Default)]
pub struct Failures(RefCell<Vec<(String, u32)>>);

impl Failures {
    /// It went well: whatever fails now begins anew.
    pub fn clear(&self) {
        let mut causes = self.0.borrow_mut();
        if !causes.is_empty() {
            causes.clear();
        }
    }

    /// It has failed for this cause: how often in a row, where that is to be told: the first, the second, the fourth time.
    pub fn note(&self, cause: &str) -> Option<u32> {
        let mut causes = self.0.borrow_mut();
        let times = match causes.iter_mut().find(|(known, _)| known == cause) {
            Some((_, times)) => {
                *times = times.saturating_add(1);
                *times
            }
            None => {
                if causes.len() == CAUSES_MAX {
                    causes.remove(0);
                }
                causes.push((cause.to_owned(), 1));
                1
            }
        };
        times.is_power_of_two().then_some(times)
    }
}

/// Of one client's brokers.
#[derive(Debug, Default)]
pub struct BrokerFailures {
    /// A connection could not be opened.
    pub unreachable: Failures,
    /// A connection has ended, or what came by it was not understood: one that speaks something else is opened each time.
    pub broken: Failures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_ever_more_rarely_and_what_begins_anew_at_once() {
        let failures = Failures::default();
        let told: Vec<u32> = (0..1000).filter_map(|_| failures.note("refused")).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        failures.clear();
        assert_eq!(
            [failures.note("refused"), failures.note("refused"), failures.note("refused")],
            [Some(1), Some(2), None]
        );
    }

    #[test]
    fn a_new_cause_is_told_at_once_and_two_in_turns_are_told_no_more_often_than_each() {
        let failures = Failures::default();
        let causes = ["connection refused", "the certificate has expired"];
        let told = (0..1000).filter(|turn| failures.note(causes[turn % 2]).is_some()).count();
        assert_eq!(told, 2 * 9, "each was met 500 times");
        assert_eq!(failures.note("no such name"), Some(1));
    }

    #[test]
    fn a_bounded_number_of_causes_is_kept() {
        let failures = Failures::default();
        for number in 0..1000 {
            assert_eq!(failures.note(&format!("cause {number}")), Some(1));
        }
        assert_eq!(failures.0.borrow().len(), CAUSES_MAX);
    }
}
