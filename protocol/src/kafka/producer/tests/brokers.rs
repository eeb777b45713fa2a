//! Brokers of any version, that are not there yet, or that answer what cannot be.

use super::*;

#[test]
fn starts_with_one_connection_a_leader_and_one_producer_id() {
    let bench = Bench::started(3, 6);
    assert_eq!(bench.producer.partition_count(), Some(6));
    assert!(bench.producer.has_partition(5) && !bench.producer.has_partition(6) && !bench.producer.has_partition(-1));
    let mut connections = bench.fake.connections();
    connections.sort_unstable();
    assert_eq!(connections, [1, 2, 3]);
    assert_eq!(bench.producer.counters().producer_ids, 1);
    assert_eq!(bench.producer.topic_id(), Some(77u128.to_be_bytes()));
}

#[test]
fn works_where_every_byte_comes_by_itself() {
    let mut fake = Fake::new(2, 2);
    fake.trickles = true;
    let mut bench = Bench::with(fake, config());
    let tokens = bench.batch(1, 10);
    bench.assert_all(&tokens, Settled::Acknowledged);
}

#[test]
fn an_older_broker_gets_the_topics_name() {
    for version in [9, 11, 12] {
        let mut fake = Fake::new(1, 1);
        fake.produce_version_max = version;
        let mut bench = Bench::with(fake, config());
        let tokens = bench.batch(0, 3);
        bench.assert_all(&tokens, Settled::Acknowledged);
    }
}

#[test]
fn a_broker_without_a_common_version_is_never_ready() {
    let mut fake = Fake::new(1, 1);
    fake.produce_version_max = 8;
    let mut bench = Bench::with(fake, config());
    assert!(!bench.producer.ready());
    let tokens = bench.batch(0, 3);
    bench.pass(20_000);
    bench.assert_all(&tokens, Settled::Abandoned);
}

#[test]
fn waits_for_brokers_that_are_not_there_yet() {
    let mut fake = Fake::new(2, 2);
    fake.up = BTreeMap::from([(1, false), (2, false)]);
    let mut config = config();
    config.bootstrap.push(("broker".to_owned(), BOOTSTRAP_PORT + 2));
    let mut bench = Bench::with(fake, config);
    bench.pass(30_000);
    assert!(!bench.producer.ready());
    bench.fake.up.insert(2, true);
    bench.fake.leaders = vec![2, 2];
    bench.pass(3000);
    assert!(bench.producer.ready());
}

#[test]
fn an_answer_that_cannot_be_costs_the_connection_not_the_records() {
    let mut bench = Bench::started(1, 1);
    bench.fake.holds = true;
    let tokens = bench.batch(0, 1);
    // A well-formed frame with the wrong correlation id, then a frame of absurd length.
    for bytes in [&b"\0\0\0\x05\0\0\x7f\x7f\0"[..], b"\x7f\xff\xff\xff"] {
        let (key, _) = bench.fake.only_socket();
        let mut buffer = BytesMut::from(bytes);
        assert!(bench.producer.handle_broker_bytes(bench.fake.now, key, &mut buffer).is_err());
        bench.fake.reset(1, &mut bench.producer);
        let late = bench.producer.handle_broker_bytes(bench.fake.now, key, &mut BytesMut::from(&b"late"[..]));
        assert_eq!(late, Err(ClusterError::Forgotten));
        bench.pass(200);
    }
    bench.fake.holds = false;
    bench.pass(2000);
    bench.assert_all(&tokens, Settled::Acknowledged);
    assert_eq!(bench.log(0), values(&tokens));
}
