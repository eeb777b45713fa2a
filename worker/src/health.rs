//! What the process knows of its servers, for `/readyz` and for the log: since when each is out of reach, and why.
//!
//! Never decides what to do about it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use flux_protocol::time::Instant;
use tracing::{info, warn};

use crate::limits::{READY_PATIENCE, REPEAT_LOG_INTERVAL, REPEAT_LOG_REASONS_MAX, UNREAD_PATIENCE};

/// The reason at the start.
const FIRST: &str = "not reached yet";

/// One server, or one thing that is wanted of it.
#[derive(Debug)]
pub struct Reach {
    name: &'static str,
    /// A server that was never reached counts as away: a worker that has just started is not ready because it has not
    /// asked yet.
    was_reached: Cell<bool>,
    since: Cell<Option<Instant>>,
    reason: RefCell<String>,
    /// What was logged of it while it is out of reach.
    logged: RefCell<Vec<Said>>,
}

/// A reason that was logged.
#[derive(Debug)]
struct Said {
    /// `None`: any other than those that were said before it.
    reason: Option<String>,
    at: Instant,
    /// It is said again so long after `at`.
    pause: Duration,
}

impl Reach {
    /// Not reached yet.
    pub fn new(name: &'static str, now: Instant) -> Reach {
        Reach {
            name,
            was_reached: Cell::new(false),
            since: Cell::new(Some(now)),
            reason: RefCell::new(FIRST.to_owned()),
            logged: RefCell::default(),
        }
    }

    pub fn works(&self) {
        self.was_reached.set(true);
        let was_logged = !self.logged.take().is_empty();
        let was_first = self.since.take().is_some() && self.reason.borrow().as_str() == FIRST;
        self.reason.borrow_mut().clear();
        if was_logged || was_first {
            info!(server = self.name, "usable");
        }
    }

    /// It does not, and why. What lasts for a moment only is not logged. A reason is logged at once, and again after pauses that double
    /// from [`REPEAT_LOG_INTERVAL`] on; beyond a few of them all others count as one.
    pub fn fails(&self, now: Instant, reason: &str) {
        if self.is_told(now, reason) {
            warn!(server = self.name, reason, "not usable; asked again");
        }
    }

    fn is_told(&self, now: Instant, reason: &str) -> bool {
        if self.since.get().is_none() {
            self.since.set(Some(now));
        }
        self.reason.replace(reason.to_owned());
        let lasts = self.since.get().is_some_and(|since| now.since(since) >= READY_PATIENCE);
        lasts && is_due(&mut self.logged.borrow_mut(), now, reason)
    }

    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.since.get().is_some()
    }

    /// Why we are not ready because of it: never reached, or out of reach for longer than a moment.
    pub fn complaint(&self, now: Instant) -> Option<String> {
        let since = self.since.get()?;
        let counts = !self.was_reached.get() || now.since(since) >= READY_PATIENCE;
        counts.then(|| format!("{}: {}", self.name, self.reason.borrow()))
    }
}

/// Whether a reason is to be logged now, beside those that were.
fn is_due(logged: &mut Vec<Said>, now: Instant, reason: &str) -> bool {
    let said = logged.iter_mut().find(|said| said.reason.as_deref().is_none_or(|known| known == reason));
    match said {
        Some(said) if now < said.at + said.pause => false,
        Some(said) => {
            (said.at, said.pause) = (now, said.pause.saturating_mul(2));
            true
        }
        None => {
            // The last place is that of all others.
            let is_known = logged.len() + 1 < REPEAT_LOG_REASONS_MAX;
            let reason = is_known.then(|| reason.to_owned());
            logged.push(Said { reason, at: now, pause: REPEAT_LOG_INTERVAL });
            true
        }
    }
}

/// All that readiness depends on.
#[derive(Debug)]
pub struct Health {
    /// The brokers and the group.
    pub kafka: Reach,
    pub postgres: Reach,
    /// Why returns and registry in Redis have to wait, where they do. Orders are stored without Redis.
    pub redis_trouble: RefCell<Option<String>>,
    /// SIGTERM has come.
    pub is_draining: Cell<bool>,
    /// Partitions that are ours and of which nothing is read, though there may be something.
    unread: RefCell<Vec<i32>>,
}

impl Health {
    /// Nothing is reached yet.
    pub fn new(now: Instant) -> Health {
        Health {
            kafka: Reach::new("kafka", now),
            postgres: Reach::new("postgres", now),
            redis_trouble: RefCell::default(),
            is_draining: Cell::new(false),
            unread: RefCell::default(),
        }
    }

    /// Which of our partitions have not been read for too long, ascending; `held`: how many are ours.
    pub fn set_unread(&self, partitions: &[i32], held: usize) {
        let unread = &mut *self.unread.borrow_mut();
        if *unread != partitions {
            if held == 0 {
                info!(was = ?unread, "the partitions that were not read are not ours any more");
            } else if partitions.is_empty() {
                info!(was = ?unread, "no partition of ours goes unread any more");
            } else {
                warn!(?partitions, seconds = UNREAD_PATIENCE.as_secs(), "partitions have not been read for so long");
            }
            *unread = partitions.to_vec();
        }
    }

    /// Why not all is well; empty where it is.
    pub fn deep_complaints(&self, now: Instant) -> Vec<String> {
        let trouble = self.redis_trouble.borrow();
        let redis = trouble.as_ref().map(|why| format!("redis: {why}"));
        self.complaints(now).into_iter().chain(redis).collect()
    }

    /// Why we are not ready; empty where we are.
    pub fn complaints(&self, now: Instant) -> Vec<String> {
        let mut complaints: Vec<String> =
            [self.kafka.complaint(now), self.postgres.complaint(now)].into_iter().flatten().collect();
        let unread = self.unread.borrow();
        if !unread.is_empty() {
            let seconds = UNREAD_PATIENCE.as_secs();
            complaints.push(format!("partitions {unread:?} have not been read for {seconds} s"));
        }
        if self.is_draining.get() {
            complaints.push("draining".to_owned());
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_out_of_reach_is_no_complaint_and_a_second_is() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let health = Health::new(at(0));
        assert_eq!(health.complaints(at(0)), ["kafka: not reached yet", "postgres: not reached yet"]);
        health.kafka.fails(at(100), "refused");
        assert_eq!(
            health.complaints(at(200)),
            ["kafka: refused", "postgres: not reached yet"],
            "nor reached by failing"
        );
        health.kafka.works();
        health.postgres.works();
        assert_eq!(health.complaints(at(5000)).len(), 0);
        health.postgres.fails(at(6000), "refused");
        health.postgres.fails(at(6900), "refused");
        assert_eq!(health.complaints(at(6999)).len(), 0);
        assert_eq!(health.complaints(at(7000)), ["postgres: refused"]);
        health.postgres.works();
        health.set_unread(&[3, 8], 2);
        assert_eq!(health.complaints(at(8000)), ["partitions [3, 8] have not been read for 15 s"]);
        health.set_unread(&[], 2);
        assert!(health.deep_complaints(at(8000)).is_empty());
        health.redis_trouble.replace(Some("no login".to_owned()));
        assert_eq!(health.deep_complaints(at(8000)), ["redis: no login"]);
        assert!(health.complaints(at(8000)).is_empty(), "orders are stored all the same");
        health.is_draining.set(true);
        assert_eq!(health.complaints(at(8000)), ["draining"]);
    }

    /// A server that is away for an hour is asked every second; the log is read by people.
    #[test]
    fn the_same_reason_is_logged_ever_more_rarely_and_another_at_once() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let reach = Reach::new("kafka", at(0));
        let is_told = |seconds: u64, reason: &str| reach.is_told(at(seconds * 1000), reason);
        assert!(!is_told(0, "refused"), "it may last for a moment only");
        let told: Vec<u64> = (1..=3600).filter(|second| is_told(*second, "refused")).collect();
        assert_eq!(told, [1, 11, 31, 71, 151, 311, 631, 1271, 2551]);
        assert!(is_told(3601, "unreachable"), "another reason is news");
        reach.works();
        assert!(!is_told(3602, "refused") && is_told(3603, "refused"), "and so is the same one, later");
    }

    /// A text that is another one each time, since something in it rises or changes from one to the next, is as long an outage.
    #[test]
    fn reasons_that_are_never_the_same_fill_no_disk() {
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let reach = Reach::new("postgres", at(0));
        let mut lines = 0;
        for second in 1..=3600 {
            for part in 0..3 {
                lines +=
                    usize::from(reach.is_told(at(second * 1000 + part * 300), &format!("attempt {second}.{part}")));
            }
        }
        assert!((1..=4 + 9).contains(&lines), "{lines}");
        let taking_turns = Reach::new("kafka", at(0));
        let mut told =
            (1..=9).filter(|second| taking_turns.is_told(at(second * 1000), ["one", "other"][*second as usize % 2]));
        assert_eq!((told.next(), told.next(), told.next()), (Some(1), Some(2), None));
    }
}
