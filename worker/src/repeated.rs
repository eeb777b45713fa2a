//! What goes wrong again and again is said at once and then ever more rarely, and so is that it is over. Pure.
//!
//! Of one thing that is tried in turns of its own pace, of which the reason that stands now is what counts: one that comes back
//! after another is said again. [`flux_net::failures`] counts each cause of a link for itself, and forgets those that are not
//! met for a minute; [`crate::health::Reach`] says by the clock, not by how often it was asked.

/// Other reasons that are said as soon as they are met; a text that is never the same twice would else be said each time.
const REASONS_SAID_AT_ONCE_MAX: u32 = 8;

/// What was said last, while it lasts.
#[derive(Debug, Default)]
pub struct Repeated {
    said: Option<String>,
    /// How often it went wrong since it went well.
    times: u32,
    /// How often for another reason than the time before.
    reasons: u32,
}

impl Repeated {
    /// It goes wrong for this reason: whether that is to be said. So it is where the reason is another one, and at the first, second,
    /// fourth, eighth time.
    pub fn is_due(&mut self, reason: String) -> bool {
        let is_another = self.said.as_deref() != Some(&*reason);
        self.times = self.times.saturating_add(1);
        self.reasons = self.reasons.saturating_add(u32::from(is_another));
        self.said = Some(reason);
        (is_another && self.reasons <= REASONS_SAID_AT_ONCE_MAX) || self.times.is_power_of_two()
    }

    /// It goes well: whether that is to be said.
    pub fn is_over(&mut self) -> bool {
        std::mem::take(self).said.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_at_once_and_so_is_the_end() {
        let mut repeated = Repeated::default();
        assert!(!repeated.is_over(), "nothing was said");
        let told: Vec<u32> = (1..=1000).filter(|_| repeated.is_due("away".to_owned())).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert!(repeated.is_due("refused".to_owned()) && repeated.is_due("away".to_owned()), "another reason is news");
        assert!(repeated.is_over());
        assert!(!repeated.is_over());
        assert!(repeated.is_due("away".to_owned()), "and so is the same one, later");
    }

    /// A text that is another one each time, since something in it rises or changes from one to the next, is as long an outage.
    #[test]
    fn reasons_that_are_never_the_same_fill_no_disk() {
        let mut repeated = Repeated::default();
        let told = (0..100_000).filter(|attempt| repeated.is_due(format!("attempt {attempt}"))).count();
        assert!((1..=32).contains(&told), "{told}");
        assert!(repeated.is_over() && repeated.is_due("attempt".to_owned()), "what begins anew is told at once");
    }
}
