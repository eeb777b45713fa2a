//! How often brokers have failed in a row, for a log that tells of it once and then ever more rarely: an outage of hours must not
//! fill a disk.

use std::cell::Cell;

/// Counts of one client's brokers.
#[derive(Debug, Default)]
pub struct BrokerFailures {
    unreachable: Cell<u32>,
    broken: Cell<u32>,
}

impl BrokerFailures {
    /// A connection is open.
    pub fn opened(&self) {
        self.unreachable.set(0);
    }

    /// What a broker sent was understood.
    pub fn understood(&self) {
        self.broken.set(0);
    }

    /// A connection could not be opened: how often in a row, where that is to be told.
    pub fn unreachable(&self) -> Option<u32> {
        once_more(&self.unreachable)
    }

    /// A connection has ended, or what came by it was not understood: how often since something was, where that is to be told.
    pub fn broken(&self) -> Option<u32> {
        once_more(&self.broken)
    }
}

/// The first, the second, the fourth time.
fn once_more(count: &Cell<u32>) -> Option<u32> {
    let times = count.get().saturating_add(1);
    count.set(times);
    times.is_power_of_two().then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_ever_more_rarely_and_what_begins_anew_at_once() {
        let failures = BrokerFailures::default();
        let told: Vec<u32> = (0..1000).filter_map(|_| failures.broken()).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        // A port that speaks something else is opened each time, and never understood.
        failures.opened();
        assert_eq!(failures.broken(), None);
        failures.understood();
        assert_eq!((failures.broken(), failures.unreachable()), (Some(1), Some(1)));
        assert_eq!([failures.unreachable(), failures.unreachable()], [Some(2), None]);
        failures.opened();
        assert_eq!(failures.unreachable(), Some(1));
    }
}
