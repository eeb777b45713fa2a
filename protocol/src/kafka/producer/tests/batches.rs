//! What goes into a batch, when it leaves, and how many are under way.

use super::*;

#[test]
fn acknowledged_in_order() {
    let mut bench = Bench::started(1, 1);
    let mut all = Vec::new();
    for records in 1..20 {
        all.extend(bench.batch(0, records));
    }
    bench.assert_all(&all, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&all));
    assert_eq!(bench.producer.room(), 1000);
    let mut sequence = 0;
    for arrival in &bench.fake.arrivals {
        assert_eq!(arrival.sequence, sequence);
        sequence += arrival.values.len() as i32;
    }
}

#[test]
fn a_batch_leaves_after_its_linger() {
    let mut bench = Bench::started(1, 1);
    let start = bench.fake.now;
    bench.append(0);
    assert_eq!(bench.producer.next_deadline(), start + Duration::from_micros(500));
    bench.fake.now = start + Duration::from_micros(499);
    bench.append(0);
    bench.producer.handle_time(bench.fake.now);
    bench.fake.run(&mut bench.producer);
    assert!(bench.fake.arrivals.is_empty());
    bench.fake.now = start + Duration::from_micros(500);
    bench.producer.handle_time(bench.fake.now);
    bench.fake.run(&mut bench.producer);
    assert_eq!(bench.fake.arrivals[0].values.len(), 2);
}

#[test]
fn a_full_batch_leaves_at_once() {
    let mut bench = Bench::started(1, 1);
    let mut appended = 0;
    while bench.fake.arrivals.is_empty() {
        bench.append(0);
        appended += 1;
        let mut out = Vec::new();
        // Nothing but appends: no time passes, no `handle_time`.
        bench.fake.run(&mut bench.producer);
        bench.producer.poll_broker_write(BrokerKey(0), &mut out);
        assert!(out.is_empty());
    }
    assert_eq!(bench.fake.arrivals[0].values.len(), appended);
    assert!(appended > 300);
}

#[test]
fn the_current_partition_moves_on_when_a_batch_leaves() {
    let mut bench = Bench::started(2, 4);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let current = bench.producer.current_partition().unwrap();
        bench.append(current);
        assert_eq!(bench.producer.current_partition(), Some(current));
        bench.pass(1);
        seen.push(current);
    }
    assert_eq!(seen[..4], seen[4..]);
    seen.truncate(4);
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn one_request_carries_the_batches_of_one_leader() {
    let mut bench = Bench::started(2, 6);
    for partition in 0..6 {
        bench.append(partition);
    }
    let before = bench.producer.counters().requests;
    bench.pass(1);
    assert_eq!(bench.producer.counters().requests - before, 2);
    assert_eq!(bench.outcomes.len(), 6);
}

#[test]
fn one_in_flight_until_the_first_success_then_five() {
    let mut bench = Bench::started(1, 1);
    bench.fake.holds = true;
    for _ in 0..7 {
        bench.batch(0, 1);
    }
    assert_eq!(bench.fake.arrivals.len(), 1);
    bench.fake.holds = false;
    bench.pass(0);
    // The six that waited have gathered in one batch.
    assert_eq!(bench.fake.arrivals.len(), 2);
    bench.fake.holds = true;
    for _ in 0..7 {
        bench.batch(0, 1);
    }
    assert_eq!(bench.fake.arrivals.len(), 2 + 5);
    bench.fake.holds = false;
    bench.pass(1);
    assert_eq!(bench.outcomes.len(), 14);
}

#[test]
fn after_a_failure_one_in_flight_until_a_success() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.script(0, &[19]);
    bench.batch(0, 1);
    bench.fake.holds = true;
    bench.pass(1000);
    for _ in 0..3 {
        bench.batch(0, 1);
    }
    let sequences = |bench: &Bench| bench.fake.arrivals.iter().map(|its| its.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(&bench), [0, 1, 1]);
    bench.fake.holds = false;
    bench.pass(1000);
    assert_eq!(sequences(&bench), [0, 1, 1, 2]);
    assert_eq!(bench.outcomes.len(), 5);
}

#[test]
fn bounded_by_records_max() {
    let mut bench = Bench::started(1, 1);
    bench.fake.holds = true;
    for _ in 0..1000 {
        bench.append(0);
    }
    assert_eq!(bench.producer.room(), 0);
    let full = bench.producer.append(bench.fake.now, 0, 5, 7, |_| panic!("a record too many is written"));
    assert_eq!(full, Err(AppendError::Full));
    bench.fake.holds = false;
    bench.pass(5);
    assert_eq!(bench.producer.room(), 1000);
    assert_eq!(bench.outcomes.len(), 1000);
}

#[test]
fn what_cannot_be_appended_leaves_no_trace() {
    let mut bench = Bench::started(1, 1);
    let now = bench.fake.now;
    assert_eq!(bench.producer.append(now, 1, 5, 7, |_| {}), Err(AppendError::UnknownPartition));
    assert_eq!(bench.producer.append(now, -1, 5, 7, |_| {}), Err(AppendError::UnknownPartition));
    let too_long = |out: &mut Vec<u8>| out.resize(out.len() + VALUE_BYTES_MAX + 1, b'x');
    assert_eq!(bench.producer.append(now, 0, 5, 7, too_long), Err(AppendError::ValueTooLong(VALUE_BYTES_MAX + 1)));
    assert_eq!(bench.producer.room(), 1000);
    bench.pass(20_000);
    assert!(bench.fake.arrivals.is_empty());
    let tokens = bench.batch(0, 2);
    bench.assert_all(&tokens, Settled::Acknowledged);
}
