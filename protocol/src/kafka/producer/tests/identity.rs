//! Producer ids and sequences: which are used, and when an id is left behind.

use super::*;

#[test]
fn a_session_is_left_behind_only_when_nothing_of_it_is_in_flight() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.fake.up.insert(1, false);
    bench.fake.reset(1, &mut bench.producer);
    let first = bench.batch(0, 1);
    bench.pass(3000);
    let second = bench.batch(0, 1);
    bench.pass(5300);
    bench.fake.up.insert(1, true);
    bench.fake.holds = true;
    bench.fake.appends_anyway = true;
    bench.script(0, &[7]); // appended, said to be unsure
    bench.pass(1100);
    assert_eq!(bench.fake.arrivals.len(), 3);
    bench.fake.releases = 1;
    bench.pass(1000); // the first is too old now; the second is in the log, its answer on the way
    bench.assert_all(&first, Settled::Abandoned);
    assert_eq!(bench.outcomes(&second), [None]);
    bench.fake.reset(1, &mut bench.producer);
    bench.fake.holds = false;
    bench.pass(5000);
    bench.assert_all(&second, Settled::Abandoned);
    assert_eq!(bench.log(0), values(&[0, first[0], second[0]]));
    let third = bench.batch(0, 1);
    bench.assert_all(&third, Settled::Acknowledged);
}

#[test]
fn error_14_and_an_id_of_minus_one_are_never_used() {
    let mut fake = Fake::new(1, 1);
    fake.identities = VecDeque::from([(14, -1, -1), (0, -1, -1), (14, 5, 0), (0, 9, -1)]);
    let mut bench = Bench::with(fake, config());
    assert!(!bench.producer.ready());
    let tokens = bench.batch(0, 1);
    assert_eq!(bench.outcomes(&tokens), [None]);
    bench.pass(5000);
    assert!(bench.producer.ready());
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.fake.arrivals[0].producer, (1000, 0));
}

#[test]
fn out_of_order_gives_up_the_batch_and_goes_on_under_a_new_id() {
    for code in [45, 47, 59] {
        let mut bench = Bench::started(1, 1);
        bench.batch(0, 1);
        bench.script(0, &[code]);
        let lost = bench.batch(0, 2);
        bench.pass(10);
        bench.assert_all(&lost, Settled::Abandoned);
        let next = bench.batch(0, 2);
        bench.assert_all(&next, Settled::Acknowledged);
        let last = bench.fake.arrivals.last().unwrap();
        assert_eq!((last.producer, last.sequence), ((1001, 0), 0));
    }
}

#[test]
fn other_partitions_keep_their_producer_id() {
    let mut bench = Bench::started(1, 2);
    bench.batch(0, 1);
    bench.batch(1, 1);
    bench.script(0, &[45]);
    bench.batch(0, 1);
    bench.pass(10);
    bench.batch(0, 1);
    let tokens = bench.batch(1, 1);
    bench.assert_all(&tokens, Settled::Acknowledged);
    let last = bench.fake.arrivals.last().unwrap();
    assert_eq!((last.partition, last.producer, last.sequence), (1, (1000, 0), 1));
}

#[test]
fn sequences_go_around() {
    use super::super::partition::add_to_sequence;
    assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(add_to_sequence(i32::MAX, 1), 0);
    assert_eq!(add_to_sequence(i32::MAX - 1, 5), 3);
}
