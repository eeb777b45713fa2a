//! The producer against a scripted cluster, under virtual time.

mod simulation;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};

fn config() -> ProducerConfig {
    ProducerConfig {
        topic: TOPIC.to_owned(),
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: None,
        client_id: "test".to_owned(),
        linger: Duration::from_micros(500),
        batch_bytes_max: 10_000,
        in_flight_max: 5,
        request_timeout: Duration::from_secs(3),
        records_max: 1000,
        record_age_max: Duration::from_secs(10),
        seed: 3,
    }
}

struct Bench {
    fake: Fake,
    producer: Producer<u32>,
    next: u32,
    outcomes: BTreeMap<u32, Settled>,
}

impl Bench {
    fn new(nodes: i32, partitions: i32) -> Bench {
        Bench::with(Fake::new(nodes, partitions), config())
    }

    fn with(fake: Fake, config: ProducerConfig) -> Bench {
        let producer = Producer::new(config, fake.now);
        let mut bench = Bench { fake, producer, next: 0, outcomes: BTreeMap::new() };
        bench.pass(0);
        bench
    }

    fn started(nodes: i32, partitions: i32) -> Bench {
        let bench = Bench::new(nodes, partitions);
        assert!(bench.producer.ready());
        bench
    }

    /// Lets some time pass and takes in every outcome: each token comes back once.
    fn pass(&mut self, millis: u64) {
        self.fake.pass(millis, &mut self.producer);
        let mut tokens = Vec::new();
        while let Some(settled) = self.producer.poll_settled(&mut tokens) {
            assert!(!tokens.is_empty());
            for token in &tokens {
                assert_eq!(self.outcomes.insert(*token, settled), None, "settled twice");
            }
        }
    }

    fn append(&mut self, partition: i32) -> u32 {
        let token = self.next;
        self.next += 1;
        let write = |out: &mut Vec<u8>| out.extend_from_slice(value(token).as_bytes());
        self.producer.append(self.fake.now, partition, 5, token, write).unwrap();
        token
    }

    /// One batch of `records` to `partition`, sent.
    fn batch(&mut self, partition: i32, records: u32) -> Vec<u32> {
        let tokens = (0..records).map(|_| self.append(partition)).collect();
        self.pass(1);
        tokens
    }

    fn outcomes(&self, tokens: &[u32]) -> Vec<Option<Settled>> {
        tokens.iter().map(|token| self.outcomes.get(token).copied()).collect()
    }

    fn assert_all(&self, tokens: &[u32], settled: Settled) {
        assert_eq!(self.outcomes(tokens), vec![Some(settled); tokens.len()]);
    }

    fn log(&self, partition: i32) -> Vec<String> {
        self.fake.log(partition).to_vec()
    }

    fn script(&mut self, partition: i32, codes: &[i16]) {
        self.fake.produce_codes.insert(partition, VecDeque::from(codes.to_vec()));
    }
}

fn value(token: u32) -> String {
    format!("value-{token}")
}

fn values(tokens: &[u32]) -> Vec<String> {
    tokens.iter().map(|token| value(*token)).collect()
}

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

#[test]
fn sequences_go_around() {
    use super::partition::add_to_sequence;
    assert_eq!(add_to_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(add_to_sequence(i32::MAX, 1), 0);
    assert_eq!(add_to_sequence(i32::MAX - 1, 5), 3);
}

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
