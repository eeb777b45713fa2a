//! What a scenario came to, and how it stands in the table.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checker::{Invariant, Violation};

const ALL: [Invariant; 6] = [Invariant::I1, Invariant::I2, Invariant::I3, Invariant::I4, Invariant::I5, Invariant::I6];

/// Which invariants were looked at.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeSet<Invariant>);

impl Marks {
    /// These were.
    pub fn looked_at(&mut self, invariants: &[Invariant]) {
        self.0.extend(invariants);
    }
}

/// What a scenario came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests sent.
    pub requests: u64,
    /// Answered 200 or 202.
    pub ok: u64,
    /// Refused: nothing was reserved.
    pub no: u64,
    /// Nobody knows, as far as the buyer can tell.
    pub unknown: u64,
    /// Units in the ledger.
    pub units: u64,
    /// Orders in the ledger.
    pub rows: u64,
    /// What was looked at.
    pub marks: Marks,
    /// What was found.
    pub broken: Vec<Violation>,
    /// From the end of the fault to the first new 200; the longest, where there were several.
    pub recovery: Option<Duration>,
    /// From the end of the load until all that was promised was stored.
    pub settled: Option<Duration>,
    /// What else is to be said.
    pub note: String,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub enum Line {
    /// It ran.
    Ran(Outcome),
    /// It cannot be done on this machine; why.
    Skipped(String),
    /// It could not be carried out to its end; why. As bad as a broken invariant: nobody knows whether they hold.
    Failed(String),
}

impl Line {
    /// Whether nothing was broken.
    pub fn is_good(&self) -> bool {
        match self {
            Line::Ran(outcome) => outcome.broken.is_empty(),
            Line::Skipped(_) => true,
            Line::Failed(_) => false,
        }
    }

    /// Its columns after number and name.
    pub fn show(&self) -> String {
        match self {
            Line::Ran(outcome) => outcome.show(),
            Line::Skipped(why) => format!("not here: {why}"),
            Line::Failed(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
        }
    }

    /// All that was found, a line each; empty where nothing was.
    pub fn findings(&self) -> Vec<String> {
        /// A broken scenario breaks the same promise thousands of times.
        const SHOWN_MAX: usize = 10;
        match self {
            Line::Ran(outcome) => {
                let mut lines: Vec<String> =
                    outcome.broken.iter().take(SHOWN_MAX).map(|violation| violation.to_string()).collect();
                if outcome.broken.len() > SHOWN_MAX {
                    lines.push(format!("… and {} more", outcome.broken.len() - SHOWN_MAX));
                }
                lines
            }
            Line::Failed(why) => why.lines().map(str::to_owned).collect(),
            Line::Skipped(_) => Vec::new(),
        }
    }
}

/// The table's head, over [`Line::show`].
pub fn head() -> String {
    let counts = format!("{:>8} {:>7} {:>7} {:>7} {:>7} {:>7}", "requests", "ok", "no", "unknown", "units", "rows");
    format!("{counts}  I1 I2 I3 I4 I5 I6  {:>8} {:>8}", "new 200", "settled")
}

impl Outcome {
    fn show(&self) -> String {
        let Outcome { requests, ok, no, unknown, units, rows, .. } = self;
        let marks: Vec<&str> = ALL.iter().map(|invariant| self.mark(*invariant)).collect();
        let seconds =
            |span: Option<Duration>| span.map_or("–".to_owned(), |span| format!("{:.2} s", span.as_secs_f64()));
        let counts = format!("{requests:>8} {ok:>7} {no:>7} {unknown:>7} {units:>7} {rows:>7}");
        let spans = format!("{:>8} {:>8}", seconds(self.recovery), seconds(self.settled));
        format!("{counts}   {}  {spans}  {}", marks.join("  "), self.note).trim_end().to_owned()
    }

    fn mark(&self, invariant: Invariant) -> &'static str {
        if self.broken.iter().any(|violation| violation.invariant == invariant) {
            "✗"
        } else if self.marks.0.contains(&invariant) {
            "✓"
        } else {
            "–"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_held_what_broke_and_what_was_not_looked_at() {
        let mut outcome =
            Outcome { requests: 7, ok: 5, recovery: Some(Duration::from_millis(1250)), ..Outcome::default() };
        outcome.marks.looked_at(&[Invariant::I1, Invariant::I2]);
        let good = Line::Ran(outcome.clone());
        assert!(good.is_good() && good.show().contains("✓  ✓  –  –  –  –") && good.show().contains("1.25 s"));
        let what = "told twice".to_owned();
        outcome.broken.push(Violation { invariant: Invariant::I2, product: "p".to_owned(), order_id: None, what });
        let bad = Line::Ran(outcome);
        assert!(!bad.is_good() && bad.show().contains("✓  ✗  –"));
        assert_eq!(bad.findings(), ["I2 p: told twice"]);
        assert!(Line::Skipped("no root".to_owned()).is_good());
        assert!(!Line::Failed("lost".to_owned()).is_good());
    }
}
