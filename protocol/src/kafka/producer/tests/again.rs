//! What is sent again, under the same sequence, and until when.

use super::*;

#[test]
fn a_leader_that_moved_gets_the_same_batch_under_the_same_sequence() {
    let mut bench = Bench::started(2, 1);
    bench.batch(0, 3);
    bench.fake.leaders[0] = 2;
    let tokens = bench.batch(0, 2);
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    let arrivals = &bench.fake.arrivals[1..];
    assert_eq!((arrivals[0].node, arrivals[0].code), (1, 6));
    let last = arrivals.last().unwrap();
    assert_eq!((last.node, last.code), (2, 0));
    assert_eq!((arrivals[0].producer, arrivals[0].sequence), (last.producer, last.sequence));
    assert_eq!((arrivals[0].sequence, &arrivals[0].values), (3, &last.values));
    assert_eq!(bench.producer.counters().producer_ids, 1);
}

#[test]
fn batches_after_one_that_failed_follow_it_in_order() {
    let mut bench = Bench::started(1, 1);
    let mut all = bench.batch(0, 1);
    bench.fake.holds = true;
    bench.script(0, &[19]); // not enough replicas: not appended; the others find a gap
    for _ in 0..5 {
        all.extend(bench.batch(0, 2));
    }
    assert_eq!(bench.fake.arrivals[1..].iter().map(|its| its.code).collect::<Vec<_>>(), [19, 45, 45, 45, 45]);
    bench.fake.holds = false;
    bench.pass(2000);
    bench.assert_all(&all, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&all));
    assert_eq!(bench.producer.counters().producer_ids, 1);
}

#[test]
fn a_lost_connection_sends_the_same_sequences_again_and_nothing_twice() {
    let mut bench = Bench::started(1, 1);
    let mut all = bench.batch(0, 1);
    bench.fake.holds = true;
    for _ in 0..5 {
        all.extend(bench.batch(0, 2)); // appended, but the answers never leave
    }
    all.extend(bench.batch(0, 2)); // not sent: five are in flight
    assert_eq!(bench.fake.arrivals.len(), 6);
    bench.fake.reset(1, &mut bench.producer);
    bench.fake.holds = false;
    bench.pass(2000);
    bench.assert_all(&all, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&all));
    let sequences: Vec<i32> = bench.fake.arrivals.iter().map(|its| its.sequence).collect();
    assert_eq!(sequences[..6], [0, 1, 3, 5, 7, 9]);
    assert_eq!(sequences[6..], [1, 3, 5, 7, 9, 11]);
}

#[test]
fn a_batch_that_may_be_in_the_log_is_not_pushed_out_of_the_brokers_memory() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.fake.holds = true;
    bench.fake.appends_anyway = true;
    bench.script(0, &[20]); // appended, and said to be unsure
    for _ in 0..5 {
        bench.batch(0, 1);
    }
    bench.fake.holds = false;
    bench.fake.appends_anyway = false;
    // The first comes back unsure, four acknowledged. A sixth now would push the first out.
    let late = bench.batch(0, 1);
    bench.pass(2000);
    bench.assert_all(&[1, 2, 3, 4, 5], Settled::Acknowledged);
    bench.assert_all(&late, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&[0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(bench.producer.counters().records_abandoned, 0);
}

#[test]
fn nothing_goes_to_the_new_leader_while_the_old_one_owes_an_answer() {
    let mut bench = Bench::started(2, 2);
    let mut all = bench.batch(0, 1);
    bench.fake.holds = true;
    bench.script(0, &[6]);
    all.extend(bench.batch(0, 1));
    all.extend(bench.batch(0, 1)); // finds a gap
    bench.fake.leaders[0] = 2;
    bench.fake.releases = 1;
    bench.pass(2000);
    assert_eq!(bench.producer.counters().batches_failed, 1);
    assert_eq!(bench.fake.arrivals.len(), 3);
    bench.fake.holds = false;
    bench.pass(2000);
    bench.assert_all(&all, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&all));
    assert_eq!(bench.producer.counters().producer_ids, 1);
}

#[test]
fn records_too_old_are_never_sent() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.fake.up.insert(1, false);
    bench.fake.reset(1, &mut bench.producer);
    let old = bench.batch(0, 2);
    bench.pass(9_990);
    assert_eq!(bench.outcomes(&old), [None, None]);
    let young = bench.batch(0, 1);
    bench.pass(20);
    bench.assert_all(&old, Settled::Abandoned);
    bench.fake.up.insert(1, true);
    bench.pass(3000);
    bench.assert_all(&young, Settled::Acknowledged);
    assert!(bench.fake.arrivals.iter().all(|its| !its.values.contains(&value(old[0]))));
    // Never sent, so no gap: the producer id is still good.
    assert_eq!(bench.producer.counters().producer_ids, 1);
}

#[test]
fn what_was_sent_and_is_too_old_is_abandoned_with_its_producer_id() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.fake.holds = true;
    let old = bench.batch(0, 2); // appended, never answered
    let also = bench.batch(0, 1);
    bench.fake.up.insert(1, false);
    bench.fake.reset(1, &mut bench.producer);
    bench.pass(9000);
    let young = bench.batch(0, 1);
    bench.pass(1500);
    bench.assert_all(&old, Settled::Abandoned);
    bench.assert_all(&also, Settled::Abandoned);
    bench.fake.up.insert(1, true);
    bench.fake.holds = false;
    bench.pass(3000);
    bench.assert_all(&young, Settled::Acknowledged);
    let last = bench.fake.arrivals.last().unwrap();
    assert_eq!((last.producer, last.sequence), ((1001, 0), 0));
    assert_eq!(bench.fake.arrivals.iter().filter(|its| its.values.contains(&value(old[0]))).count(), 1);
}

#[test]
fn a_broker_that_does_not_answer_is_given_up_after_the_timeout() {
    let mut bench = Bench::started(1, 1);
    bench.fake.holds = true;
    let tokens = bench.batch(0, 1);
    bench.pass(2990);
    assert_eq!(bench.fake.closed_by_machine, 0);
    bench.fake.holds = false;
    bench.fake.reset(9, &mut bench.producer);
    bench.fake.holds = true;
    bench.pass(20);
    assert_eq!(bench.fake.closed_by_machine, 1);
    bench.fake.holds = false;
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&tokens));
}

#[test]
fn unknown_codes_are_tried_until_the_records_are_too_old() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.script(0, &[-1; 1000]);
    let tokens = bench.batch(0, 1);
    bench.pass(9000);
    assert_eq!(bench.outcomes(&tokens), [None]);
    let tries = bench.fake.arrivals.len();
    assert!((8..60).contains(&tries), "{tries}");
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Abandoned);
}
