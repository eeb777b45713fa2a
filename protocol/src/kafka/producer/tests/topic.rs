//! A topic that changes: its partitions, their leaders, another topic under its name.

use super::*;

#[test]
fn a_topic_made_anew_is_written_to_under_its_new_id() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 2);
    bench.fake.topic_id = 78;
    let tokens = bench.batch(0, 2);
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&tokens));
    assert_eq!(bench.producer.topic_id(), Some(78u128.to_be_bytes()));
}

#[test]
fn a_partition_without_a_leader_is_not_named() {
    let mut bench = Bench::started(1, 3);
    bench.fake.leaders_told = Some(vec![-1, 1, -1]);
    bench.pass(60_000);
    for _ in 0..5 {
        assert_eq!(bench.producer.current_partition(), Some(1));
        bench.batch(1, 1);
    }
    bench.fake.leaders_told = None;
    bench.pass(2000);
    assert!(bench.producer.ready());
}

/// A broker that stood and comes back leads nothing for a moment. What is ordered then waits, as it did while the broker stood.
#[test]
fn while_no_partition_has_a_leader_the_last_one_is_named() {
    let mut bench = Bench::started(1, 3);
    bench.fake.leaders_told = Some(vec![-1, 1, -1]);
    bench.pass(60_000);
    bench.fake.leaders_told = Some(vec![-1, -1, -1]);
    bench.pass(60_000);
    assert_eq!(bench.producer.current_partition(), Some(1));
    assert!(!bench.producer.ready());
    let tokens = bench.batch(1, 2);
    bench.fake.leaders_told = None;
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.log(1), values(&tokens));
}

#[test]
fn a_topic_that_never_had_a_leader_has_no_partition_to_name() {
    let mut fake = Fake::new(1, 3);
    fake.leaders_told = Some(vec![-1, -1, -1]);
    let mut bench = Bench::with(fake, config());
    bench.pass(60_000);
    assert_eq!(bench.producer.current_partition(), None);
}

#[test]
fn partitions_added_are_seen() {
    let mut bench = Bench::started(1, 1);
    bench.fake.leaders.push(1);
    bench.pass(60_000);
    assert_eq!(bench.producer.partition_count(), Some(2));
    let tokens = bench.batch(1, 1);
    bench.assert_all(&tokens, Settled::Acknowledged);
}
