//! Brokers that say nothing: how soon that is known, and of whom it is not said.

use super::*;

#[test]
fn a_broker_that_falls_silent_on_an_idle_link_is_known_within_about_a_second() {
    let mut bench = Bench::started(1, 1);
    bench.producer.watch_silence();
    bench.pass(10_000);
    assert!(bench.producer.ready() && bench.producer.down_for(bench.fake.now).is_zero(), "asked now and then");
    let heard = bench.fake.now;
    bench.fake.mute = vec![1];
    bench.pass(999);
    let millis = bench.producer.down_for(bench.fake.now).as_millis();
    bench.pass(1_001);
    assert!(!bench.producer.ready(), "{millis}");
    let down = bench.producer.down_for(bench.fake.now);
    // Counted from the last time it was heard, which is no longer ago than it is asked for a sign of life.
    assert!((2_000..=2_500).contains(&down.as_millis()), "{down:?}");
    bench.pass(20_000);
    let down = bench.producer.down_for(bench.fake.now);
    assert!(down >= bench.fake.now.since(heard), "a connection given up and made anew is no news of it: {down:?}");
    bench.fake.mute.clear();
    bench.pass(4_000);
    assert!(bench.producer.ready() && bench.producer.down_for(bench.fake.now).is_zero());
}

#[test]
fn a_broker_that_falls_silent_under_load_is_known_as_soon_as_on_an_idle_link() {
    let mut bench = Bench::started(1, 1);
    bench.producer.watch_silence();
    bench.batch(0, 3);
    bench.fake.mute = vec![1];
    let mut records = Vec::new();
    for _ in 0..20 {
        records.push(bench.append(0));
        bench.pass(50);
    }
    assert!(bench.producer.records_held() >= 20, "nothing has come back");
    assert!(!bench.producer.ready());
    let down = bench.producer.down_for(bench.fake.now);
    assert!((950..=1_100).contains(&down.as_millis()), "{down:?}");
    bench.fake.mute.clear();
    bench.pass(10);
    assert!(bench.producer.ready() && bench.producer.down_for(bench.fake.now).is_zero());
    bench.assert_all(&records, Settled::Acknowledged);
}

#[test]
fn a_broker_that_answers_one_request_after_the_other_however_late_is_not_silent() {
    let mut bench = Bench::started(1, 1);
    bench.producer.watch_silence();
    let mut records = bench.batch(0, 1);
    bench.fake.holds = true;
    for _ in 0..5 {
        records.extend(bench.batch(0, 1));
    }
    // The last of them waits for two seconds.
    for _ in 0..5 {
        bench.pass(400);
        assert!(bench.producer.ready());
        bench.fake.releases = 1;
        bench.pass(1);
    }
    bench.assert_all(&records, Settled::Acknowledged);
}

#[test]
fn a_silent_broker_gets_no_new_records_while_others_answer() {
    let mut bench = Bench::started(3, 3);
    bench.producer.watch_silence();
    bench.pass(1_000);
    for silent in 0..3 {
        bench.fake.mute = vec![silent + 1];
        // The first one owes a sign of life, the others the answer to a record.
        if silent > 0 {
            bench.batch(silent, 1);
        }
        bench.pass(1_200);
        assert!(bench.producer.ready(), "the others are there");
        assert_ne!(bench.producer.current_partition(), Some(silent));
    }
}
