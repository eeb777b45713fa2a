//! Latencies in few bytes: a log-linear histogram, exact to 1 in 128.

/// Linear steps within each power of two, as a power of two: the error is at most 1/128.
const STEP_BITS: u32 = 7;
/// Values of 2^40 µs (twelve days) and above share the last bucket.
const POWERS: usize = 40 - STEP_BITS as usize;
const BUCKETS: usize = (POWERS + 1) << STEP_BITS;

/// Counts of values in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, exactly.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The value that `share` (0 to 1) of all values do not exceed, at most 1/128 too high; 0 where nothing was counted.
    pub fn percentile_us(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return ceiling(index).min(self.max_us);
            }
        }
        0
    }

    /// `p50 1.2 ms · p90 … · p99 … · p99.9 … · max …`
    pub fn summary(&self) -> String {
        let part = |name: &str, us: u64| format!("{name} {}", show_us(us));
        let parts = [
            part("p50", self.percentile_us(0.5)),
            part("p90", self.percentile_us(0.9)),
            part("p99", self.percentile_us(0.99)),
            part("p99.9", self.percentile_us(0.999)),
            part("max", self.max_us),
        ];
        parts.join(" · ")
    }
}

/// A span of microseconds as a person reads it.
pub fn show_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn bucket(us: u64) -> usize {
    // Below 2^STEP_BITS every value has a bucket of its own.
    let power = (64 - us.leading_zeros()).saturating_sub(STEP_BITS + 1) as usize;
    let index = if us < 1 << STEP_BITS {
        us as usize
    } else {
        ((power + 1) << STEP_BITS) + ((us >> power) as usize - (1 << STEP_BITS))
    };
    index.min(BUCKETS - 1)
}

/// The largest value that falls into bucket `index`.
fn ceiling(index: usize) -> u64 {
    let steps = 1 << STEP_BITS;
    if index < steps {
        return index as u64;
    }
    let power = (index >> STEP_BITS) - 1;
    let step = (index & (steps - 1)) + steps;
    ((step as u64 + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(ceiling(index)), index);
            assert_eq!(bucket(ceiling(index) + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::default();
        let mut values: Vec<u64> = (0..10_000u64).map(|n| (n * 7919) % 1_000_003).collect();
        values.iter().for_each(|value| histogram.record(*value));
        values.sort_unstable();
        for share in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = values[((values.len() as f64 * share).ceil() as usize).max(1) - 1];
            let found = histogram.percentile_us(share);
            assert!(found >= exact && found <= exact + exact / 128 + 1, "{share}: {found} for {exact}");
        }
        assert_eq!(Histogram::default().percentile_us(0.5), 0);
    }
}
