//! How much one transaction may hold: less once the server has found it too long, and then slowly more again.
//!
//! Pure. Halved when a statement is cancelled for its time, and grown by a small part of that for each transaction that was
//! as long as allowed and went through; so a server that is slow for an hour is not asked for too much with every batch anew.

/// Transactions from the half of what was too much back to the whole of it.
const STEPS: usize = 32;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    entries_max: usize,
    step: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { entries_max: usize::MAX, step: 1 }
    }
}

impl Pace {
    /// The most that a transaction may hold now.
    pub fn entries_max(self) -> usize {
        self.entries_max
    }

    /// A transaction of so many was too much.
    pub fn canceled(&mut self, entries: usize) {
        self.entries_max = (entries / 2).max(1);
        self.step = (entries / 2 / STEPS).max(1);
    }

    /// One of so many went through.
    pub fn stored(&mut self, entries: usize) {
        if entries >= self.entries_max {
            self.entries_max = self.entries_max.saturating_add(self.step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halved_at_once_and_grown_slowly() {
        let mut pace = Pace::default();
        pace.stored(5000);
        assert_eq!(pace, Pace::default(), "nothing was ever too much");
        pace.canceled(5000);
        assert_eq!(pace.entries_max(), 2500);
        pace.stored(2499);
        assert_eq!(pace.entries_max(), 2500, "a short one shows nothing");
        let mut transactions = 0;
        while pace.entries_max() < 5000 {
            pace.stored(pace.entries_max());
            transactions += 1;
        }
        assert!((STEPS..=STEPS + 2).contains(&transactions), "{transactions}");
        for _ in 0..20 {
            pace.canceled(pace.entries_max());
        }
        assert_eq!(pace.entries_max(), 1, "never nothing");
        pace.stored(1);
        assert_eq!(pace.entries_max(), 2);
    }
}
