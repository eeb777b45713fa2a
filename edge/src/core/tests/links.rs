//! The links to Redis and Kafka: servers that fall silent, that answer and refuse, and whose clocks are others.

use std::time::Duration;

use super::redis::array;
use super::{Bench, at};
use crate::answer::{Answer, Unavailable};
use crate::core::machine::Machine;
use crate::counters::OrderOutcome;
use crate::limits::{PROBE_INTERVAL, REDIS_REPLY_OVERDUE, REDIS_SILENCE_MAX};

fn refusal(bench: &Bench) -> Option<String> {
    bench.counters.redis_refusal.lock().expect("not poisoned").clone()
}

/// Between two looks, so that nothing but a sign of life is asked for.
const QUIET: [&str; 5] = ["probe", "refresh", "page", "identity", "XDEL"];

#[test]
fn a_redis_that_falls_silent_is_out_of_reach_from_the_first_question_it_owes_an_answer() {
    let mut bench = Bench::new();
    bench.pass(5_000);
    assert_eq!(bench.core.redis_down_for(at(bench.now)), Duration::ZERO, "an idle link is no outage");
    bench.redis.holds = QUIET.to_vec();
    bench.pass(1_500);
    let down = bench.core.redis_down_for(at(bench.now));
    assert!(down >= Duration::from_millis(1_500) - PROBE_INTERVAL && down >= REDIS_SILENCE_MAX, "{down:?}");
    bench.pass(REDIS_REPLY_OVERDUE.as_millis() as u64);
    assert!(bench.core.poll_redis_failure().is_some(), "then the connection is given up");
    bench.lose_redis();
    let later = bench.core.redis_down_for(at(bench.now));
    assert!(later >= down + REDIS_REPLY_OVERDUE, "which is no sign of life: {later:?}");
    bench.redis.holds.clear();
    bench.connect();
    assert_eq!(bench.core.redis_down_for(at(bench.now)), Duration::ZERO);
}

#[test]
fn a_kafka_that_falls_silent_on_an_idle_edge_is_out_of_reach_within_about_a_second() {
    let mut bench = Bench::new();
    bench.pass(5_000);
    assert_eq!(bench.core.kafka_down_for(at(bench.now)), Duration::ZERO);
    bench.broker.mute = true;
    bench.pass(1_500);
    let down = bench.core.kafka_down_for(at(bench.now));
    assert!(down >= Duration::from_secs(1), "{down:?}");
    bench.broker.speak();
    bench.pass(100);
    assert_eq!(bench.core.kafka_down_for(at(bench.now)), Duration::ZERO);
}

#[test]
fn a_kafka_that_acknowledges_nothing_while_orders_wait_for_it_is_out_of_reach_within_about_a_second() {
    let mut bench = Bench::new();
    bench.pass(5_000);
    bench.broker.silent = true;
    let mut orders = bench.orders(&["a"]);
    bench.pass(500);
    orders.extend(bench.orders(&["b"]));
    bench.pass(600);
    let down = bench.core.kafka_down_for(at(bench.now));
    assert!(down >= Duration::from_secs(1), "{down:?}");
    assert_eq!(bench.statuses(&orders), [None, None], "they wait for it all the same");
    bench.broker.speak();
    bench.pass(100);
    assert_eq!(bench.core.kafka_down_for(at(bench.now)), Duration::ZERO);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(200)]);
}

#[test]
fn what_refuses_an_order_is_known_before_anybody_buys_and_told_apart() {
    let mut bench = Bench::new();
    bench.pass(1_000);
    assert_eq!(refusal(&bench), None);
    for words in [
        "OOM command not allowed when used memory > \'maxmemory\'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOREPLICAS Not enough good replicas to write.",
        "READONLY You can\'t write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
    ] {
        for _ in 0..2 {
            bench.redis.script("probe", format!("-{words}\r\n"));
        }
        bench.pass(500);
        let told = refusal(&bench).expect("it refuses");
        assert!(told.starts_with(words.split(' ').next().expect("a word")), "{told}");
        assert_eq!(bench.counters.redis_refuses.get(), 1);
        bench.pass(1_100);
        assert_eq!(refusal(&bench), None, "over: {words}");
    }
    let by_kind: u64 = bench.counters.redis_errors.iter().map(|counter| counter.get()).sum();
    assert_eq!(by_kind, 10, "each is counted, once");
}

#[test]
fn what_its_user_may_not_do_is_told_by_name() {
    let mut bench = Bench::new();
    let lacks = |bench: &Bench| bench.counters.redis_lacks.lock().expect("not poisoned").clone().expect("it was asked");
    let missing = ["1705234800000000", "INFO replication", "XADD product:{x}:outbox", "UNLINK product:{x}:sale"];
    bench.redis.script("probe", array(&missing.map(str::to_owned)));
    bench.pass(500);
    assert_eq!(refusal(&bench).as_deref(), Some("its user may not INFO replication, XADD product:{x}:outbox"));
    assert_eq!(lacks(&bench), ["without UNLINK product:{x}:sale: no sale is opened"]);
    bench.redis.script("probe", array(&[missing[0].to_owned(), missing[3].to_owned()]));
    bench.pass(500);
    assert_eq!(refusal(&bench), None, "orders get through without that one");
    assert_eq!(lacks(&bench), ["without UNLINK product:{x}:sale: no sale is opened"]);
    bench.pass(1_000);
    assert_eq!(lacks(&bench), [] as [String; 0]);
}

#[test]
fn a_login_that_redis_refuses_is_told_in_its_words_until_there_is_another_reason_or_none() {
    let mut bench = Bench::new();
    bench.lose_redis();
    assert_eq!(refusal(&bench), None, "out of reach, and nothing else is known");
    let words = "NOPERM User edge has no permissions to run the 'script|load' command";
    bench.redis.script("SCRIPT", format!("-{words}\r\n"));
    let mut out = Vec::new();
    bench.redis.connected = true;
    bench.core.handle_redis_open(at(bench.now));
    bench.core.poll_redis_write(at(bench.now), &mut out);
    bench.redis.take(&out);
    assert!(bench.redis.answer());
    let fault = bench.core.handle_redis_bytes(at(bench.now), &mut bench.redis.to_core).expect_err("a refusal");
    assert!(fault.0.contains(words), "{fault:?}");
    bench.lose_redis();
    assert_eq!(refusal(&bench).as_deref(), Some(words));
    assert_eq!(bench.counters.redis_refuses.get(), 1);
    let order = bench.orders(&["a"]);
    assert_eq!(bench.answers[&order[0]], Answer::Unavailable(Unavailable::Redis), "nothing was asked");
    bench.lose_redis();
    assert_eq!(refusal(&bench), None, "it cannot be reached any more");
    bench.connect();
    let order = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!((refusal(&bench), bench.statuses(&order)), (None, vec![Some(200)]));
}

#[test]
fn orders_are_dated_by_redis_clock_and_the_difference_is_shown() {
    let mut bench = Bench::new();
    let skew = |bench: &Bench| bench.counters.redis_clock_skew_ms.get().cast_signed();
    assert_eq!(skew(&bench), 0);
    // This edge is two hours ahead of Redis.
    let there_us = |bench: &Bench| at(bench.now).wall_ms * 1000 - 7_200_000_000;
    bench.pass(450);
    // What it answers to the next question, 450 ms from now.
    bench.redis.script("probe", array(&[(there_us(&bench) + 450_000).to_string()]));
    bench.pass(500);
    assert!((-7_200_100..=-7_199_900).contains(&skew(&bench)), "{}", skew(&bench));
    bench.redis.holds = vec!["probe"];
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)]);
    let record = bench.broker.log.pop().expect("it is published");
    let dated: u64 = record
        .split("\"timestamp\":")
        .nth(1)
        .and_then(|rest| rest.trim_end_matches('}').parse().ok())
        .expect("a number");
    let now_ms = at(bench.now).wall_ms;
    assert!(now_ms - dated > 7_100_000, "{dated} at {now_ms}");
}

#[test]
fn an_answer_that_was_long_on_its_way_says_nothing_of_a_clock() {
    let mut bench = Bench::new();
    let skew = |bench: &Bench| bench.counters.redis_clock_skew_ms.get().cast_signed();
    // Redis reads its clock, and its answer takes two seconds.
    bench.redis.script("probe", array(&[(at(bench.now).wall_ms * 1000 + 400_000).to_string()]));
    bench.redis.holds = vec!["probe"];
    bench.pass(2_400);
    bench.redis.holds.clear();
    bench.pass(1);
    assert_eq!(skew(&bench), 0);
}

#[test]
fn the_difference_to_a_brokers_clock_is_shown_as_far_as_acknowledgements_prove_it() {
    let mut bench = Bench::new();
    let skew = |bench: &Bench| bench.counters.kafka_clock_skew_ms.get().cast_signed();
    bench.orders(&["a"]);
    bench.pass(1_000);
    assert_eq!(skew(&bench), 0, "a topic whose records carry times of their own tells nothing");
    // The broker is an hour behind.
    bench.broker.clock_ms = Some(at(bench.now).wall_ms - 3_600_000);
    bench.orders(&["b"]);
    bench.pass(1_000);
    assert!((-3_600_010..=-3_599_990).contains(&skew(&bench)), "{}", skew(&bench));
    // It is right again; but its acknowledgement takes a second, and proves no more than that.
    bench.broker.clock_ms = Some(at(bench.now).wall_ms + 500);
    bench.broker.silent = true;
    let order = bench.orders(&["c"]);
    bench.pass(1_000);
    bench.broker.speak();
    bench.pass(1_000);
    assert_eq!(bench.statuses(&order), [Some(200)]);
    assert!((-510..=-490).contains(&skew(&bench)), "{}", skew(&bench));
}

#[test]
fn a_record_that_a_broker_refuses_for_its_time_does_not_wait_for_a_clock() {
    let mut bench = Bench::new();
    // The broker's clock is far behind everybody else's.
    bench.broker.times_max_ms = Some(1_000);
    let orders = bench.orders(&["a", "b"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(200)]);
    let more = bench.orders(&["c"]);
    bench.pass(1_000);
    assert_eq!(bench.statuses(&more), [Some(200)]);
    assert_eq!(bench.broker.arrived.len(), 5, "the first two were refused once");
    assert_eq!(bench.counters.records_untimed.get(), 1, "and it is shown");
    assert_eq!(bench.counters.records_refused.get(), 0);
}

/// No rebuild mends a right that is missing, so nobody is told that the sale is suspended.
#[test]
fn a_user_of_redis_that_may_not_write_is_no_suspended_sale() {
    let mut bench = Bench::new();
    bench.redis.script("reserve", array(&["Spermission".to_owned()]));
    let orders = bench.orders(&["a"]);
    bench.pass(1);
    let code = OrderOutcome::UnavailableRedis as usize;
    assert_eq!(bench.statuses(&orders), [Some(503)]);
    assert_eq!(bench.counters.orders[code].get(), 1, "it says that Redis is what stands in the way");
    let orders = bench.orders(&["b"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&orders), [Some(200)], "the right is there again");
}
