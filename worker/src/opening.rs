//! What a sale was opened with, as far as it is known. Pure.
//!
//! None of it ever changes, so each source is right about what it knows: the ledger by the sale's event, Redis by
//! `/init`, an operator by heart. What none of them knows stays unknown and is named; it is never taken for 0.

/// How a sale's crowd waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Queue {
    /// A buyer over the limit tries again.
    Retry,
    /// In a fair line.
    Fair,
}

impl Queue {
    /// As ledger, Redis and command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Queue::Retry => "retry",
            Queue::Fair => "fair",
        }
    }

    /// `None`: neither.
    pub fn parse(text: &str) -> Option<Queue> {
        [Queue::Retry, Queue::Fair].into_iter().find(|queue| queue.as_str() == text)
    }
}

/// What one of them knows; `None`: it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Orders per second; 0: no limit.
    pub rate: Option<u64>,
    /// Orders at once.
    pub burst: Option<u64>,
    /// Units per user; 0: no limit.
    pub per_user: Option<i32>,
    /// When it opens, ms since the epoch; 0: from the start.
    pub opens_at: Option<u64>,
    /// How its crowd waits.
    pub queue: Option<Queue>,
    /// What the lots of a fair line are drawn by, 64 hexadecimal digits; never empty.
    pub seed: Option<String>,
}

/// All of it, known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) per_user: i32,
    pub(crate) opens_at: u64,
    pub(crate) queue: Queue,
    /// Empty where there is no fair line to draw lots for, and it is not known.
    pub(crate) seed: String,
}

/// Why it is not all known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// No source knows these flags' values.
    Unknown(Vec<&'static str>),
    /// An operator says another value of this flag than is known; which.
    Contradicted(&'static str, String),
}

impl Opening {
    /// What this one knows, and where it does not, what `other` knows.
    pub(crate) fn or(&self, other: &Opening) -> Opening {
        Opening {
            rate: self.rate.or(other.rate),
            burst: self.burst.or(other.burst),
            per_user: self.per_user.or(other.per_user),
            opens_at: self.opens_at.or(other.opens_at),
            queue: self.queue.or(other.queue),
            seed: self.seed.clone().or_else(|| other.seed.clone()),
        }
    }

    /// What may stand for what nobody knows of a sale that sells nothing any more.
    pub(crate) fn of_a_closed_sale() -> Opening {
        let (per_user, opens_at, queue) = (Some(0), Some(0), Some(Queue::Retry));
        Opening { rate: Some(0), burst: Some(1), per_user, opens_at, queue, seed: None }
    }

    /// All of it: what is known, and `given` by hand where nobody knows; and `rest` where no hand has said it either.
    ///
    /// # Errors
    /// [`Gap`].
    pub(crate) fn complete(&self, given: &Opening, rest: &Opening) -> Result<Options, Gap> {
        for ((flag, known), (_, said)) in self.words().into_iter().zip(given.words()) {
            match (known, said) {
                (Some(known), Some(said)) if known != said => return Err(Gap::Contradicted(flag, known)),
                _ => {}
            }
        }
        let all = self.or(given).or(rest);
        let mut unknown: Vec<&'static str> =
            all.words().into_iter().filter(|(_, word)| word.is_none()).map(|(flag, _)| flag).collect();
        // Nobody draws lots where there is no line; where it is not known whether there is one, that comes first.
        if all.queue != Some(Queue::Fair) {
            unknown.retain(|flag| *flag != "--seed");
        }
        match all {
            Opening {
                rate: Some(rate),
                burst: Some(burst),
                per_user: Some(per_user),
                opens_at: Some(opens_at),
                queue: Some(queue),
                seed,
            } if unknown.is_empty() => {
                Ok(Options { rate, burst, per_user, opens_at, queue, seed: seed.unwrap_or_default() })
            }
            _ => Err(Gap::Unknown(unknown)),
        }
    }

    /// Each part's flag and value.
    fn words(&self) -> [(&'static str, Option<String>); 6] {
        let moment = |at: u64| {
            let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(at)).filter(|_| at > 0);
            at.map_or_else(|| "none".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string())
        };
        [
            ("--rate", self.rate.map(|rate| rate.to_string())),
            ("--burst", self.burst.map(|burst| burst.to_string())),
            ("--per-user", self.per_user.map(|units| units.to_string())),
            ("--opens-at", self.opens_at.map(moment)),
            ("--queue", self.queue.map(|queue| queue.as_str().to_owned())),
            ("--seed", self.seed.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Opening {
        Opening {
            rate: Some(50),
            burst: Some(60),
            per_user: Some(2),
            opens_at: Some(0),
            queue: Some(Queue::Fair),
            seed: Some("5e".repeat(32)),
        }
    }

    #[test]
    fn what_nobody_knows_is_named_and_never_0() {
        let nothing = Opening::default();
        let names = vec!["--rate", "--burst", "--per-user", "--opens-at", "--queue"];
        assert_eq!(nothing.complete(&nothing, &Opening::default()), Err(Gap::Unknown(names)));
        let no_seed = Opening { seed: None, ..all() };
        assert_eq!(no_seed.complete(&nothing, &Opening::default()), Err(Gap::Unknown(vec!["--seed"])));
        let retry = Opening { queue: Some(Queue::Retry), ..no_seed };
        assert_eq!(retry.complete(&nothing, &Opening::default()).map(|options| options.seed), Ok(String::new()));
        let no_rate = Opening { rate: None, ..all() };
        assert_eq!(no_rate.complete(&nothing, &Opening::default()), Err(Gap::Unknown(vec!["--rate"])));
    }

    #[test]
    fn a_hand_fills_gaps_and_changes_nothing() {
        let nothing = Opening::default();
        let given =
            nothing.complete(&all(), &Opening::default()).map(|options| (options.rate, options.burst, options.queue));
        assert_eq!(given, Ok((50, 60, Queue::Fair)));
        assert_eq!(
            all().complete(&all(), &Opening::default()),
            nothing.complete(&all(), &Opening::default()),
            "the same said twice"
        );
        let other = Opening { rate: Some(51), ..Opening::default() };
        assert_eq!(all().complete(&other, &Opening::default()), Err(Gap::Contradicted("--rate", "50".to_owned())));
        let later = Opening { opens_at: Some(1_705_234_700_000), ..Opening::default() };
        assert_eq!(
            all().complete(&later, &Opening::default()),
            Err(Gap::Contradicted("--opens-at", "none".to_owned()))
        );
    }

    #[test]
    fn a_sale_that_is_closed_needs_no_hand() {
        let nothing = Opening::default();
        let closed = nothing.complete(&nothing, &Opening::of_a_closed_sale());
        assert_eq!(closed.map(|options| (options.rate, options.per_user, options.queue)), Ok((0, 0, Queue::Retry)));
        let known = all().complete(&nothing, &Opening::of_a_closed_sale());
        assert_eq!(known, all().complete(&nothing, &nothing), "what is known stays");
        let other = Opening { rate: Some(51), ..Opening::default() };
        let contradicted = all().complete(&other, &Opening::of_a_closed_sale());
        assert_eq!(contradicted, Err(Gap::Contradicted("--rate", "50".to_owned())));
    }

    #[test]
    fn the_first_to_know_is_believed() {
        let redis = Opening { rate: Some(7), ..Opening::default() };
        assert_eq!(Opening { rate: None, ..all() }.or(&redis).rate, Some(7));
        assert_eq!(all().or(&redis).rate, Some(50));
    }
}
