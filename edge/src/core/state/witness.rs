//! What one connection to Redis has seen of that Redis' history, and so what it may vouch for.
//!
//! A sale is bound to one `master_replid`. There are harmless changes of it (the first replica was attached, the backlog
//! released): the same process shows another id, and `master_replid2` all zeros. A core asks once a second by its own
//! connection; having seen each step with less than a second between (from one question to the answer of the next), it vouches that the ids on either side are one history,
//! and a refresh lets a sale that is bound to any of them take over the present one. It is the server that is vouched for, so one
//! question a second serves all products.
//!
//! Never carried over to another connection or process, and never across a second in which this core did not look: in
//! it the Redis may have been a replica, and have released what would show it.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::Instant;

use crate::limits::{GOOD_REFRESH_AGE_MAX, WITNESSED_IDS_MAX};

/// Characters of a `run_id` or `master_replid`.
const ID_BYTES: usize = 40;

type Id = [u8; ID_BYTES];

#[derive(Debug, Default)]
pub(crate) struct Witness {
    run_id: Option<Id>,
    /// One history, the present id last.
    replids: Vec<Id>,
    /// When the last answer was asked for: what it says is no older.
    seen: Option<Instant>,
}

impl Witness {
    /// The connection is gone: nothing is vouched for by the next.
    pub(crate) fn forget(&mut self) {
        *self = Witness::default();
    }

    /// What `INFO` said, its sections `server` and `replication`, asked for and answered then: it was so at some moment between.
    /// Whether something is another than at the last time: then all sales should be looked at.
    pub(crate) fn see(&mut self, asked: Instant, answered: Instant, info: &str) -> bool {
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let id = |name: &str| field(name).and_then(|text| Id::try_from(text.as_bytes()).ok());
        let is_first = self.seen.is_none();
        let (Some(run_id), Some(replid), Some("master")) = (id("run_id"), id("master_replid"), field("role")) else {
            let was_good = !self.replids.is_empty();
            self.forget();
            return was_good;
        };
        let is_same = self.run_id == Some(run_id) && self.replids.last() == Some(&replid);
        if !is_same {
            // From the earliest moment of the one look to the latest of the other.
            let is_near = self.seen.is_some_and(|seen| is_young(answered, seen));
            let nothing_behind = id("master_replid2").is_some_and(|second| second == [b'0'; ID_BYTES]);
            if self.run_id != Some(run_id) || !is_near || !nothing_behind {
                self.replids.clear();
            }
            if self.replids.len() == WITNESSED_IDS_MAX {
                self.replids.remove(0);
            }
            self.replids.push(replid);
            self.run_id = Some(run_id);
        }
        self.seen = Some(asked);
        !is_same && !is_first
    }

    /// What is vouched for now, as `refresh.lua` takes it: ids with a blank between; empty: nothing.
    pub(crate) fn vouches(&self, now: Instant) -> Vec<u8> {
        if self.seen.is_some_and(|seen| is_young(now, seen)) { self.replids.join(&b' ') } else { Vec::new() }
    }
}

/// Whether what was seen then still vouches for anything.
fn is_young(now: Instant, seen: Instant) -> bool {
    now.since(seen) < GOOD_REFRESH_AGE_MAX || is_planted(Bug::AgelessWitness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(run: char, id: char, second: char) -> String {
        let text = |of: char| of.to_string().repeat(ID_BYTES);
        format!(
            "# Server\r\nrun_id:{}\r\n# Replication\r\nrole:master\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\n",
            text(run),
            text(id),
            text(second)
        )
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// The ids vouched for, by their letters.
    fn vouched(witness: &Witness, ms: u64) -> String {
        let text = String::from_utf8(witness.vouches(at(ms))).expect("hexadecimal");
        text.split(' ').filter_map(|id| id.chars().next()).collect()
    }

    #[test]
    fn harmless_changes_seen_a_second_apart_are_one_history() {
        let mut witness = Witness::default();
        assert!(!witness.see(at(0), at(0), &info('p', 'a', '0')), "nothing to compare it with");
        assert_eq!((vouched(&witness, 999), vouched(&witness, 1_000)), ("a".into(), String::new()));
        assert!(witness.see(at(900), at(900), &info('p', 'b', '0')));
        assert!(!witness.see(at(1_800), at(1_800), &info('p', 'b', '0')));
        assert!(witness.see(at(2_700), at(2_700), &info('p', 'c', '0')));
        assert_eq!(vouched(&witness, 2_700), "abc", "a sale that nobody looked at meanwhile is bound to the first");
        for (n, id) in "defgh".chars().enumerate() {
            witness.see(at(2_800 + n as u64), at(2_800 + n as u64), &info('p', id, '0'));
        }
        assert_eq!(vouched(&witness, 2_900).len(), WITNESSED_IDS_MAX);
    }

    #[test]
    fn whatever_may_have_lost_something_vouches_for_no_more_than_the_present() {
        for (ms, next, why) in [
            (1_000, info('p', 'b', '0'), "nobody looked for a second"),
            (900, info('p', 'b', 'a'), "it was a replica or promoted"),
            (900, info('q', 'b', '0'), "another process"),
        ] {
            let mut witness = Witness::default();
            witness.see(at(0), at(0), &info('p', 'a', '0'));
            assert!(witness.see(at(ms), at(ms), &next));
            assert_eq!(vouched(&witness, ms), "b", "{why}");
        }
        for next in [info('p', 'a', '0').replace("role:master", "role:slave"), "-NOPERM".to_owned()] {
            let mut witness = Witness::default();
            witness.see(at(0), at(0), &info('p', 'a', '0'));
            assert!(witness.see(at(900), at(900), &next));
            assert_eq!(vouched(&witness, 900), "", "{next}");
            // Master again: what it was meanwhile may have been anything.
            assert!(!witness.see(at(1_000), at(1_000), &info('p', 'b', '0')));
            assert_eq!(vouched(&witness, 1_000), "b");
        }
    }

    #[test]
    fn redis_may_have_looked_at_itself_as_early_as_it_was_asked_and_as_late_as_it_answered() {
        for (answered, vouched_for) in [(999, "ab"), (1_000, "b"), (3_800, "b")] {
            let mut witness = Witness::default();
            // However late the first answer came: it may be as old as its question.
            witness.see(at(0), at(800), &info('p', 'a', '0'));
            witness.see(at(900), at(answered), &info('p', 'b', '0'));
            assert_eq!(vouched(&witness, 900), vouched_for, "asked 900 ms apart, answered after {answered} ms");
        }
    }

    #[test]
    fn the_same_id_after_a_pause_is_the_same_history() {
        let mut witness = Witness::default();
        witness.see(at(0), at(0), &info('p', 'a', '0'));
        witness.see(at(900), at(900), &info('p', 'b', '0'));
        assert_eq!(vouched(&witness, 5_000), "");
        witness.see(at(5_000), at(5_000), &info('p', 'b', '0'));
        assert_eq!(vouched(&witness, 5_000), "ab", "an id is never drawn twice");
    }
}
