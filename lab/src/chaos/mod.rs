//! Chaos on real servers: each scenario kills, stops, partitions or fills up something under load, and then the whole
//! history is checked. `make chaos` runs all of them, `make chaos ONLY=12,13` some.
//!
//! A scenario is a function that starts a [`trial::Trial`], does its harm, and concludes. Faults are placed by what is
//! seen on the wire ([`crate::proxy`]), not by time, wherever the moment matters.

mod clock;
mod edge;
mod kafka;
mod keys;
mod limits;
pub mod outcome;
pub mod partition;
mod postgres;
mod redis;
pub mod trial;
mod verdict;
mod vitals;
mod worker;

use crate::error::LabError;
use outcome::{Line, Outcome};

/// One scenario of the table.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its row in the list of schedules.
    pub number: u8,
    /// Tells several scenarios of one row apart: `a`, `b`, …; else empty.
    pub part: &'static str,
    /// What happens, in a few words.
    pub name: &'static str,
    /// Whether it is cheap enough for `make test`.
    pub quick: bool,
    run: fn() -> Result<Outcome, LabError>,
}

/// A scenario, not for `make test`.
const fn slow(number: u8, part: &'static str, name: &'static str, run: fn() -> Result<Outcome, LabError>) -> Scenario {
    Scenario { number, part, name, quick: false, run }
}

/// A scenario that `make test` runs too.
const fn quick(number: u8, part: &'static str, name: &'static str, run: fn() -> Result<Outcome, LabError>) -> Scenario {
    Scenario { number, part, name, quick: true, run }
}

/// Every scenario, in order of its row.
pub const SCENARIOS: &[Scenario] = &[
    quick(1, "", "edge killed before EVALSHA is sent", edge::killed_before_reserve),
    quick(2, "", "edge killed after EVALSHA, before its reply", edge::killed_before_reply),
    quick(3, "", "edge killed after reserve, before produce", edge::killed_before_produce),
    slow(4, "", "edge killed after produce, before the ack", edge::killed_before_acknowledgement),
    slow(5, "", "edge killed after the ack, before the HTTP reply", edge::killed_before_answer),
    quick(6, "", "client gone mid-request, retries on another edge", edge::clients_gone),
    quick(7, "", "same key 1,000 times in parallel", keys::a_thousand_times_in_parallel),
    slow(8, "", "same key, other user, product, quantity", keys::for_another_order),
    slow(9, "", "retry after the key's TTL", keys::after_its_record_expired),
    slow(10, "", "Redis stopped 30 s, then continued", redis::stopped),
    quick(11, "", "reply of Redis lost by connection reset", redis::replies_lost),
    slow(12, "", "Redis restarts empty", redis::restarted_empty),
    slow(13, "", "Redis loses its last second; a stopped edge wakes", redis::last_second_lost),
    slow(14, "a", "failover to a replica that misses the last writes", redis::failed_over),
    slow(14, "b", "REPLICAOF a stale node and back, same run id", redis::there_and_back),
    slow(14, "c", "FLUSHALL", redis::flushed),
    quick(15, "", "SCRIPT FLUSH with calls in the pipeline", keys::scripts_flushed),
    slow(16, "a", "Redis answers OOM", redis::out_of_memory),
    slow(16, "b", "Redis answers READONLY", redis::read_only),
    slow(16, "c", "Redis answers LOADING", redis::loading),
    slow(16, "d", "Redis answers MISCONF", redis::snapshot_failing),
    slow(16, "e", "Redis answers BUSY", redis::busy),
    slow(17, "", "Kafka leader moves between produce and ack", kafka::leader_moves),
    slow(18, "", "produce times out, the append arrives later", kafka::append_arrives_later),
    slow(19, "a", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", kafka::too_few_replicas_after_append),
    slow(19, "b", "followers stand: too few replicas in sync", kafka::followers_stand),
    slow(20, "a", "duplicate batch; broker forgets the producer id", kafka::duplicates_and_unknown_producer),
    slow(20, "b", "CORRUPT_MESSAGE, then OUT_OF_ORDER_SEQUENCE", kafka::batch_damaged),
    slow(21, "", "MESSAGE_TOO_LARGE for one record of a batch", kafka::record_too_large),
    slow(22, "", "all brokers down for a minute under load", kafka::all_brokers_down),
    slow(23, "", "worker killed before COPY ends", worker::killed_in_mid_copy),
    slow(24, "", "worker killed between commit and offset commit", worker::killed_before_offset_commit),
    quick(25, "", "reply to COMMIT lost", worker::reply_to_commit_lost),
    slow(26, "", "rebalance in mid-batch; stopped worker wakes", worker::rebalanced_and_zombie),
    slow(27, "", "poison records; NUL; another topic's shape", worker::poison),
    slow(28, "", "PostgreSQL's disk full", postgres::disk_full),
    slow(29, "a", "PostgreSQL shut down and killed", postgres::restarted),
    slow(29, "b", "deadlock", postgres::deadlocked),
    slow(29, "c", "too many connections", postgres::out_of_connections),
    slow(30, "", "partitions added while running", kafka::partitions_added),
    slow(31, "", "committed offsets gone", kafka::committed_offsets_gone),
    slow(32, "", "log truncated, OFFSET_OUT_OF_RANGE", kafka::log_truncated),
    slow(33, "a", "edges' clocks an hour ahead and behind", limits::clocks_of_edges),
    slow(33, "b", "Redis' clock jumps by hours", limits::clock_of_redis),
    slow(34, "", "64 file descriptors", limits::few_descriptors),
    slow(35, "a", "half-open partition edge and Redis", limits::silent_redis),
    slow(35, "b", "half-open partition edge and Kafka", limits::silent_kafka),
    slow(35, "c", "half-open partition worker and PostgreSQL", limits::silent_postgres),
    slow(36, "", "/init while the sale is live", keys::opened_while_it_is_live),
    slow(37, "", "rolling restart of edges and workers", edge::rolling_restart),
    slow(38, "", "SIGTERM under load, 100 times", edge::terminated_a_hundred_times),
];

impl Scenario {
    /// `12`, `14b`.
    pub fn label(&self) -> String {
        format!("{}{}", self.number, self.part)
    }

    /// Whether `word` (`14`, `14b`) means it.
    pub fn is_meant_by(&self, word: &str) -> bool {
        word == self.label() || word == self.number.to_string()
    }

    /// Runs it to its end.
    pub fn run(&self) -> Line {
        match (self.run)() {
            Ok(outcome) => Line::Ran(outcome),
            Err(LabError::Missing { what, install }) => Line::Skipped(format!("{what} is missing ({install})")),
            Err(error) => Line::Failed(error.to_string()),
        }
    }
}

/// The scenarios that `only` names; all of them where it names none.
///
/// # Errors
/// Where a word of it names none.
pub fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>, LabError> {
    for word in only {
        if !SCENARIOS.iter().any(|scenario| scenario.is_meant_by(word)) {
            return Err(LabError::failed(format!("there is no scenario {word:?}")));
        }
    }
    let meant = |scenario: &&Scenario| only.is_empty() || only.iter().any(|word| scenario.is_meant_by(word));
    Ok(SCENARIOS.iter().filter(meant).collect())
}

/// Runs scenarios one after the other, tells each line as it comes through `say`, and whether all of it was good.
pub fn run(scenarios: &[&Scenario], mut say: impl FnMut(&str)) -> bool {
    const NAME_WIDTH: usize = 52;
    say(&format!("{:<4} {:<NAME_WIDTH$} {}", "row", "scenario", outcome::head()));
    let mut good = true;
    for scenario in scenarios {
        let line = scenario.run();
        good &= line.is_good();
        say(&format!("{:<4} {:<NAME_WIDTH$} {}", scenario.label(), scenario.name, line.show()));
        line.findings().iter().for_each(|finding| say(&format!("       {finding}")));
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_in_the_table_once_and_in_order() {
        let labels: Vec<String> = SCENARIOS.iter().map(Scenario::label).collect();
        let mut sorted: Vec<(u8, &str)> = SCENARIOS.iter().map(|scenario| (scenario.number, scenario.part)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let in_order: Vec<String> = sorted.iter().map(|(number, part)| format!("{number}{part}")).collect();
        assert_eq!(labels, in_order);
        assert_eq!((1..=38).filter(|row| !SCENARIOS.iter().any(|scenario| scenario.number == *row)).count(), 0);
        assert_eq!(SCENARIOS.iter().filter(|scenario| scenario.quick).count(), 8);
    }

    #[test]
    fn words_choose_rows_and_parts() {
        let labels = |words: &[&str]| -> Vec<String> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(&words).unwrap().iter().map(|scenario| scenario.label()).collect()
        };
        assert_eq!(labels(&[]).len(), SCENARIOS.len());
        assert_eq!(labels(&["2", "1"]), ["1", "2"]);
        assert!(labels(&["14"]).len() > 1 && labels(&["14b"]) == ["14b"]);
        assert!(chosen(&["99".to_owned()]).is_err());
    }
}
