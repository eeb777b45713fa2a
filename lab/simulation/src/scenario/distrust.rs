//! When a product's Redis may not be believed, by what it has lost and by rebuilds: what I5 is judged by. Never looks at what Redis
//! holds.
//!
//! Each loss is judged by itself, from when edges have to know of it until a rebuild has let the sale go on. Two losses that overlap
//! are two: the later may have to be known first (a look notices a spoilt key within a second, every script notices another Redis
//! at once), and what one of them excuses the other does not.
//!
//! A rebuild counts from when Redis has carried out its last word, whether or not it lived to say that it ended well: one that is
//! killed while that word is on its way opens the sale after its death.

use std::time::Duration;

/// Something that Redis has lost of a product; times in µs of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// When it was lost.
    pub(super) at_us: u64,
    /// From when on nothing may be sold by what is left.
    pub(super) known_us: u64,
    /// When a rebuild has let the sale go on since, and no earlier than `known_us`; `u64::MAX`: none has.
    pub(super) until_us: u64,
}

/// All that Redis has lost of a product, in order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Distrust {
    losses: Vec<Loss>,
}

impl Distrust {
    /// Redis loses something, of which edges have to know within that span.
    pub(super) fn note_loss(&mut self, at_us: u64, noticed_within: Duration) {
        let known_us = at_us + noticed_within.as_micros() as u64;
        self.losses.push(Loss { at_us, known_us, until_us: u64::MAX });
    }

    /// A rebuild has let the sale go on then, after all that was noted so far: it has proved the stock behind each loss that came
    /// before its fence, whether edges had noticed that by then or not, and is refused its last word where it met one that matters.
    pub(super) fn end(&mut self, opened_us: u64) {
        for loss in self.losses.iter_mut().filter(|loss| loss.is_open()) {
            loss.until_us = opened_us.max(loss.known_us);
        }
    }

    /// What was lost is there again.
    pub(super) fn forget(&mut self) {
        self.losses.retain(|loss| !loss.is_open());
    }

    /// The first loss that no rebuild has made good.
    pub(super) fn first_open(&self) -> Option<Loss> {
        self.losses.iter().copied().find(Loss::is_open)
    }

    /// All of them.
    pub(super) fn losses(&self) -> &[Loss] {
        &self.losses
    }
}

impl Loss {
    fn is_open(&self) -> bool {
        self.until_us == u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(1200);

    fn spans(distrust: &Distrust) -> Vec<(u64, u64)> {
        distrust.losses().iter().map(|loss| (loss.known_us, loss.until_us)).collect()
    }

    /// Seed 5002565: a failover loses the write that spoilt the key, and is known before that had to be.
    #[test]
    fn a_loss_that_is_known_sooner_counts_from_then() {
        let mut distrust = Distrust::default();
        distrust.note_loss(9_125_329, WITHIN);
        distrust.note_loss(9_535_040, Duration::ZERO);
        assert_eq!(spans(&distrust), [(10_325_329, u64::MAX), (9_535_040, u64::MAX)]);
        distrust.end(25_000_000);
        assert_eq!(distrust.first_open(), None, "it was after both");
        assert_eq!(spans(&distrust), [(10_325_329, 25_000_000), (9_535_040, 25_000_000)]);
    }

    #[test]
    fn a_rebuild_makes_good_what_was_lost_before_though_nobody_had_to_know_yet() {
        let mut distrust = Distrust::default();
        distrust.note_loss(1_000_000, WITHIN);
        distrust.end(1_500_000);
        assert_eq!(spans(&distrust), [(2_200_000, 2_200_000)]);
    }

    #[test]
    fn a_rebuild_makes_good_nothing_that_is_lost_after_it() {
        let mut distrust = Distrust::default();
        distrust.note_loss(1_000_000, Duration::ZERO);
        distrust.end(2_000_000);
        distrust.note_loss(2_000_000, Duration::ZERO);
        assert_eq!(spans(&distrust), [(1_000_000, 2_000_000), (2_000_000, u64::MAX)]);
        distrust.end(4_000_000);
        assert_eq!(spans(&distrust), [(1_000_000, 2_000_000), (2_000_000, 4_000_000)]);
    }

    #[test]
    fn what_is_there_again_was_never_lost() {
        let mut distrust = Distrust::default();
        distrust.note_loss(1_000_000, Duration::ZERO);
        distrust.end(2_000_000);
        distrust.note_loss(3_000_000, Duration::ZERO);
        distrust.forget();
        assert_eq!(spans(&distrust), [(1_000_000, 2_000_000)]);
    }
}
