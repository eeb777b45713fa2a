//! How often something has failed in a row, for a log that tells of it once and then ever more rarely: an outage of hours must not
//! fill a disk. A cause that is new is told at once, however often another was met before; but not where each is new, since
//! something in its text rises or changes from one time to the next.

use std::cell::RefCell;
use std::time::Duration;

use flux_protocol::time::Instant;

/// Causes that are told apart, and told of at once. Those beyond them count as one.
const CAUSES_MAX: usize = 8;
/// A cause that was not met for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Counts of one link, or of one client's brokers.
#[derive(Debug, Default)]
pub struct Failures(RefCell<Counts>);

#[derive(Debug, Default)]
struct Counts {
    causes: Vec<Cause>,
    /// How often another cause was met than these, and when last. While that goes on none takes a place among them.
    others: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct Cause {
    words: String,
    times: u32,
    met: Instant,
}

impl Failures {
    /// It went well: whatever fails now begins anew.
    pub fn clear(&self) {
        let counts = &mut *self.0.borrow_mut();
        if !counts.causes.is_empty() || counts.others.is_some() {
            *counts = Counts::default();
        }
    }

    /// It has failed for this cause: how often in a row, where that is to be told: the first, the second, the fourth time.
    pub fn note(&self, now: Instant, words: &str) -> Option<u32> {
        let Counts { causes, others } = &mut *self.0.borrow_mut();
        causes.retain(|cause| now.since(cause.met) < FORGOTTEN_AFTER);
        *others = others.filter(|(_, met)| now.since(*met) < FORGOTTEN_AFTER);
        let times = if let Some(cause) = causes.iter_mut().find(|cause| cause.words == words) {
            (cause.times, cause.met) = (cause.times.saturating_add(1), now);
            cause.times
        } else if causes.len() == CAUSES_MAX || others.is_some() {
            let times = others.map_or(1, |(times, _)| times.saturating_add(1));
            *others = Some((times, now));
            times
        } else {
            causes.push(Cause { words: words.to_owned(), times: 1, met: now });
            1
        };
        times.is_power_of_two().then_some(times)
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

    /// Hours of texts that differ are no more than hours of one.
    #[test]
    fn causes_that_are_never_the_same_fill_no_disk() {
        let failures = Failures::default();
        let at = |number: u32| NOW + Duration::from_millis(300) * number;
        let told =
            (0..100_000).filter(|number| failures.note(at(*number), &format!("cause {number}")).is_some()).count();
        assert_eq!(told, CAUSES_MAX + 17);
        assert!(failures.0.borrow().causes.len() <= CAUSES_MAX);
        assert_eq!(failures.note(at(100_000) + FORGOTTEN_AFTER, "cause"), Some(1), "it was well for a minute");
        failures.clear();
        assert_eq!(failures.note(at(200_000), "cause"), Some(1));
    }
}
