//! How often something has failed in a row, for a log that tells of it once and then ever more rarely: an outage of hours must not
//! fill a disk. A cause that is new is told at once, however often another was met before.

use std::cell::RefCell;
use std::time::Duration;

use flux_protocol::time::Instant;

/// Causes that are told apart. Who fails in more ways than these is told of anew, one in so many times.
const CAUSES_MAX: usize = 8;
/// A cause that was not met for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Counts of one link, or of one client's brokers.
#[derive(Debug, Default)]
pub struct Failures(RefCell<Vec<Cause>>);

#[derive(Debug)]
struct Cause {
    words: String,
    times: u32,
    met: Instant,
}

impl Failures {
    /// It went well: whatever fails now begins anew.
    pub fn clear(&self) {
        let mut causes = self.0.borrow_mut();
        if !causes.is_empty() {
            causes.clear();
        }
    }

    /// It has failed for this cause: how often in a row, where that is to be told: the first, the second, the fourth time.
    pub fn note(&self, now: Instant, words: &str) -> Option<u32> {
        let mut causes = self.0.borrow_mut();
        causes.retain(|cause| now.since(cause.met) < FORGOTTEN_AFTER);
        if let Some(cause) = causes.iter_mut().find(|cause| cause.words == words) {
            (cause.times, cause.met) = (cause.times.saturating_add(1), now);
            return cause.times.is_power_of_two().then_some(cause.times);
        }
        if causes.len() == CAUSES_MAX {
            causes.remove(0);
        }
        causes.push(Cause { words: words.to_owned(), times: 1, met: now });
        Some(1)
    }
}

/// Of one client's brokers.
#[derive(Debug, Default)]
pub struct BrokerFailures {
    /// A connection could not be opened.
    pub unreachable: Failures,
    /// A connection has ended, or what came by it was not understood. One that is opened and understood for a moment is no cure: a
    /// broker that wants a login answers the first question, and hangs up.
    pub broken: Failures,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(1);

    #[test]
    fn what_goes_on_is_told_ever_more_rarely_and_what_begins_anew_at_once() {
        let failures = Failures::default();
        let told: Vec<u32> = (0..1000).filter_map(|_| failures.note(NOW, "refused")).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        failures.clear();
        let told = [(); 3].map(|()| failures.note(NOW, "refused"));
        assert_eq!(told, [Some(1), Some(2), None]);
        assert_eq!(failures.note(NOW + FORGOTTEN_AFTER, "refused"), Some(1), "it was well for a minute");
    }

    #[test]
    fn a_new_cause_is_told_at_once_and_two_in_turns_are_told_no_more_often_than_each() {
        let failures = Failures::default();
        let causes = ["connection refused", "the certificate has expired"];
        let told = (0..1000).filter(|turn| failures.note(NOW, causes[turn % 2]).is_some()).count();
        assert_eq!(told, 2 * 9, "each was met 500 times");
        assert_eq!(failures.note(NOW, "no such name"), Some(1));
    }

    #[test]
    fn a_bounded_number_of_causes_is_kept() {
        let failures = Failures::default();
        for number in 0..1000 {
            assert_eq!(failures.note(NOW, &format!("cause {number}")), Some(1));
        }
        assert_eq!(failures.0.borrow().len(), CAUSES_MAX);
    }
}
