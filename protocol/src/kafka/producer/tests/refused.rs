//! What brokers refuse: which record it was, and whether that is certain.

use super::*;

#[test]
fn a_batch_too_large_is_halved_until_it_fits() {
    let mut bench = Bench::started(1, 1);
    bench.fake.batch_bytes_max = 150;
    let tokens = bench.batch(0, 40);
    bench.pass(200);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&tokens));
}

#[test]
fn a_record_too_large_by_itself_is_refused_and_its_neighbours_are_not() {
    let mut bench = Bench::started(1, 1);
    bench.fake.batch_bytes_max = 200;
    let mut tokens = vec![bench.append(0)];
    bench.producer.append(bench.fake.now, 0, 5, 999, |out| out.extend_from_slice(&[b'x'; 500])).unwrap();
    tokens.push(bench.append(0));
    bench.pass(200);
    bench.assert_all(&tokens, Settled::Acknowledged);
    bench.assert_all(&[999], Settled::Refused(10));
    assert_eq!(bench.log(0), values(&tokens));
}

#[test]
fn a_poisoned_record_is_found_by_halving() {
    let mut bench = Bench::started(1, 1);
    bench.fake.poison = Some("value-7");
    let tokens = bench.batch(0, 20);
    let after = bench.batch(0, 3);
    bench.pass(500);
    bench.assert_all(&[7], Settled::Refused(87));
    let neighbours: Vec<u32> = tokens.into_iter().filter(|token| *token != 7).chain(after).collect();
    bench.assert_all(&neighbours, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&neighbours));
}

#[test]
fn a_corrupted_batch_is_sent_again_before_it_is_taken_apart() {
    let mut bench = Bench::started(1, 1);
    bench.script(0, &[2, 2]);
    let tokens = bench.batch(0, 3);
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.producer.counters().producer_ids, 1);
    bench.script(0, &[2, 2, 2]);
    let tokens = bench.batch(0, 3);
    bench.pass(4000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.producer.counters().producer_ids, 2);
    assert_eq!(bench.log(0).len(), 6);
}

#[test]
fn refused_for_certain_says_so() {
    let mut bench = Bench::started(1, 1);
    bench.script(0, &[29]);
    let tokens = bench.batch(0, 3);
    bench.assert_all(&tokens, Settled::Refused(29));
    let told = bench.producer.refusal().expect("an operator has to mend it");
    assert!(told.contains("lacks the right Write on topic"), "{told}");
    let tokens = bench.batch(0, 3);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.producer.refusal(), None, "the right is there again");
}

#[test]
fn what_may_be_in_the_log_is_abandoned_not_refused() {
    let mut bench = Bench::started(1, 1);
    bench.batch(0, 1);
    bench.fake.appends_anyway = true;
    bench.script(0, &[7]);
    let tokens = bench.batch(0, 3);
    assert_eq!(bench.outcomes(&tokens), [None; 3]);
    bench.fake.appends_anyway = false;
    bench.script(0, &[29]);
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Abandoned);
}

#[test]
fn records_refused_for_their_time_are_sent_without_one() {
    let mut bench = Bench::started(1, 2);
    bench.fake.produce_codes.insert(0, [32].into());
    let refused = bench.batch(0, 3);
    bench.pass(100);
    assert_eq!(bench.outcomes(&refused), [Some(Settled::Acknowledged); 3]);
    assert!(bench.producer.is_untimed());
    let at = bench.fake.arrivals.len();
    let next = bench.batch(1, 2);
    assert_eq!(bench.outcomes(&next), [Some(Settled::Acknowledged); 2]);
    assert_eq!(bench.fake.arrivals.len(), at + 1, "not refused again");
    // A broker that refuses those, too, refuses them for good.
    bench.fake.produce_codes.insert(0, [32].into());
    let poisoned = bench.batch(0, 1);
    bench.pass(100);
    assert_eq!(bench.outcomes(&poisoned), [Some(Settled::Refused(32))]);
}
