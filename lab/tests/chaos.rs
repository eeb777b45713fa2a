//! The eight cheapest scenarios of `make chaos`, one at a time: they share a Kafka whose wires they bend. No assertion on
//! a time.

use std::sync::Mutex;

use flux_lab::chaos::outcome::Line;
use flux_lab::chaos::{SCENARIOS, chosen};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[track_caller]
fn holds(label: &str) {
    // Another scenario's failure is not this one's.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let [scenario] = chosen(&[label.to_owned()]).expect("a scenario")[..] else { panic!("{label} is one scenario") };
    let line = scenario.run();
    let shown = format!("{} {}: {}\n{}", scenario.label(), scenario.name, line.show(), line.findings().join("\n"));
    assert!(matches!(line, Line::Ran(_)) && line.is_good(), "{shown}");
}

#[test]
fn row_1_an_edge_killed_before_it_reserves() {
    holds("1");
}

#[test]
fn row_2_an_edge_killed_before_it_knows_that_it_reserved() {
    holds("2");
}

#[test]
fn row_3_an_edge_killed_before_it_publishes() {
    holds("3");
}

#[test]
fn row_6_clients_that_vanish_and_come_back_elsewhere() {
    holds("6");
}

#[test]
fn row_7_one_key_a_thousand_times() {
    holds("7");
}

#[test]
fn row_11_replies_of_redis_that_are_lost() {
    holds("11");
}

#[test]
fn row_15_scripts_that_are_flushed() {
    holds("15");
}

#[test]
fn row_25_a_commit_whose_reply_is_lost() {
    holds("25");
}

#[test]
fn these_are_the_quick_ones() {
    let quick: Vec<String> = SCENARIOS.iter().filter(|one| one.quick).map(|one| one.label()).collect();
    assert_eq!(quick, ["1", "2", "3", "6", "7", "11", "15", "25"]);
}
