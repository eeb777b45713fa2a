//! Nothing is published from memory that was reserved more than ten seconds ago, whatever was stopped meanwhile.

use std::time::Duration;

use flux_protocol::ages::PUBLISHED_AGE_MAX;

use super::redis::array;
use super::{Bench, at, config, entry};
use crate::answer::Answer;
use crate::core::config::CoreConfig;
use crate::core::machine::Machine;
use crate::limits::{PRODUCE_TIME_MAX, RECORD_AGE_MAX, REDIS_REPLY_OVERDUE, RESERVED_AGE_MAX};

/// A core with a reserve call on its way, and the reply there to be read.
fn with_reply_waiting() -> (Bench, Vec<u32>) {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["reserve"];
    let orders = bench.orders(&["a"]);
    bench.redis.holds.clear();
    (bench, orders)
}

#[test]
fn a_reply_that_is_read_in_time_is_published() {
    let (mut bench, orders) = with_reply_waiting();
    bench.sleep(2_000);
    bench.pass(100);
    assert_eq!(bench.broker.log.len(), 1);
    assert_eq!(bench.answers[&orders[0]], Answer::Unknown, "its caller was told before the reply was read");
}

#[test]
fn an_edge_that_wakes_leaves_what_it_reserved_to_the_relay() {
    let (mut bench, orders) = with_reply_waiting();
    bench.wake_after(60_000);
    assert_eq!(bench.broker.arrived, [] as [String; 0]);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0], "the entry stays");
    assert_eq!(bench.statuses(&orders), [Some(202)]);
    assert_eq!(bench.counters.records_left.get(), 1);
}

#[test]
fn a_reply_of_a_repeated_call_is_as_old_as_its_first_writing() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["reserve"];
    bench.orders(&["a"]);
    bench.lose_redis();
    bench.sleep(6_500);
    bench.orders(&["a"]);
    bench.connect();
    bench.sleep(600);
    bench.redis.holds.clear();
    bench.pass(3_000);
    assert_eq!(bench.broker.arrived, [] as [String; 0]);
}

#[test]
fn a_record_that_lingers_in_the_producer_is_not_sent_after_a_sleep() {
    let mut bench = Bench::new();
    let order = bench.order("a");
    let now = at(bench.now);
    // Reserved, and in the open batch; stopped before the batch has left.
    let mut out = Vec::new();
    bench.core.poll_redis_write(now, &mut out);
    bench.redis.take(&out);
    assert!(bench.redis.answer());
    bench.core.handle_redis_bytes(now, &mut bench.redis.to_core).expect("well-formed");
    bench.sleep(60_000);
    bench.pass(5_000);
    assert_eq!(bench.broker.arrived, [] as [String; 0]);
    assert_eq!(bench.statuses(&[order]), [Some(202)]);
}

#[test]
fn a_record_that_was_not_acknowledged_is_not_sent_again_after_its_age() {
    let mut bench = Bench::new();
    bench.broker.silent = true;
    let orders = bench.orders(&["a"]);
    bench.pass(1_000);
    assert_eq!(bench.broker.arrived.len(), 1);
    bench.pass(RESERVED_AGE_MAX.as_millis() as u64);
    let sent = bench.broker.arrived.len();
    bench.broker.silent = false;
    bench.pass(30_000);
    assert_eq!(bench.broker.arrived.len(), sent, "given up, not tried for ever");
    assert_eq!(bench.statuses(&orders), [Some(202)]);
    assert!(bench.core.outbox.entries.is_empty());
}

#[test]
fn what_a_relay_was_handed_before_a_sleep_it_does_not_publish_after_it() {
    let mut bench = Bench::new();
    bench.redis.stand("p", "5-0", "5-0");
    bench.redis.holds = vec!["relay"];
    bench.pass(2_500);
    assert_eq!(bench.redis.calls("relay").len(), 1);
    bench.redis.script("relay", array(&entry("5-0", 1)));
    bench.redis.holds.clear();
    bench.redis.answer();
    bench.sleep(60_000);
    let now = at(bench.now);
    bench.core.handle_redis_bytes(now, &mut bench.redis.to_core).expect("well-formed");
    bench.run();
    assert_eq!(bench.broker.arrived, [] as [String; 0], "a rebuild may have looked, and others may hold the entry");
    bench.redis.script("relay", array(&entry("5-0", 1)));
    bench.pass(5_000);
    assert_eq!(bench.broker.log.len(), 1, "asked again, it is delivered");
}

/// The acknowledgement lies in a socket while the process stands still: a rebuild may have looked, and sold the unit.
#[test]
fn an_acknowledgement_that_is_read_too_late_settles_nothing_and_is_no_200() {
    let limit = PUBLISHED_AGE_MAX.as_millis() as u64;
    for (asleep, status, removed) in [(limit - 100 - 50, 200, 1), (limit, 503, 0)] {
        let mut bench = Bench::new();
        bench.broker.silent = true;
        let orders = bench.orders(&["a"]);
        bench.pass(50);
        assert_eq!(bench.broker.log.len(), 1, "it stands in the log");
        bench.sleep(asleep);
        bench.broker.speak();
        // The shell reads what lay in the socket before it looks at the time.
        bench.broker.carry(at(bench.now), &mut bench.core);
        bench.run();
        assert_eq!(bench.statuses(&orders), [Some(status)], "after {asleep} ms");
        bench.pass(1_000);
        assert_eq!(bench.redis.calls("XDEL").len(), removed, "after {asleep} ms");
    }
}

/// Whatever the publish deadline, the last byte of a record is with the kernel, or its connection ended, within what
/// a rebuild waits for: the spans, each of them tested above, add up.
#[test]
fn the_spans_of_a_records_stay_add_up_to_less_than_a_rebuilds_fence() {
    for publish_deadline in [1, 500, 2_000, 5_000, 10_000].map(Duration::from_millis) {
        let bench = Bench::with(CoreConfig { publish_deadline, ..config() }, |_| {});
        let held = RECORD_AGE_MAX.min(publish_deadline + Duration::from_secs(1));
        let young = RESERVED_AGE_MAX - held;
        let asked = bench.now;
        let age = |ms| super::at(asked + ms);
        assert!(bench.core.config.is_too_old(age(young).instant, asked));
        assert!(!bench.core.config.is_too_old(age(young - Duration::from_millis(1)).instant, asked));
        assert!(REDIS_REPLY_OVERDUE < young, "a reply in time is never too old");
        assert!(young + held + PRODUCE_TIME_MAX.min(publish_deadline) <= PUBLISHED_AGE_MAX);
    }
}
