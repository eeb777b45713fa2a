//! The fake cluster, asked by the clients that ship.

mod topics;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_net::{Address, Clock, Stream, Tail, sleep, spawn, within};
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, KafkaClient};
use flux_protocol::kafka::consumer::{Consumer, ConsumerConfig, Event};
use flux_protocol::kafka::fetch::Position;
use flux_protocol::kafka::producer::{Producer, ProducerConfig, Settled};
use flux_protocol::kafka::records_decode::Entry;
use flux_protocol::time::Instant;
use flux_simulation::kafka::{HOST, Kafka, PORT, ProduceFault};
use flux_simulation::random::Random;
use flux_simulation::world::{ProcessId, World};

const SECOND: Duration = Duration::from_secs(1);

/// A test's client of Kafka.
trait Machine: 'static {
    fn client(&mut self) -> &mut impl KafkaClient;
    /// What the test makes of it, after everything that happens.
    fn look(&mut self, now: Instant);
}

struct Talk<M> {
    machine: M,
    /// What is to be written, by connection.
    out: BTreeMap<BrokerKey, Vec<u8>>,
    open: BTreeSet<BrokerKey>,
}

type Shared<M> = Rc<RefCell<Talk<M>>>;

/// Drives a machine: polls every millisecond, which is simple and exact enough here.
async fn drive<M: Machine>(shared: Shared<M>) {
    let clock = Clock::start();
    loop {
        let now = clock.instant();
        {
            let talk = &mut *shared.borrow_mut();
            talk.machine.client().handle_time(now);
            talk.machine.look(now);
            while let Some(action) = talk.machine.client().poll_action() {
                match action {
                    BrokerAction::Connect { broker, host, port } => {
                        spawn(converse(Rc::clone(&shared), broker, Address::Tcp { host, port }));
                    }
                    BrokerAction::Close { broker } => drop(talk.open.remove(&broker)),
                }
            }
            for broker in talk.open.clone() {
                talk.machine.client().poll_broker_write(broker, talk.out.entry(broker).or_default());
            }
        }
        sleep(Duration::from_millis(1)).await.expect("a timer");
    }
}

async fn converse<M: Machine>(shared: Shared<M>, broker: BrokerKey, address: Address) {
    let clock = Clock::start();
    if let Ok(mut stream) = Stream::connect(&address, SECOND).await {
        shared.borrow_mut().open.insert(broker);
        shared.borrow_mut().machine.client().handle_broker_open(clock.instant(), broker);
        let mut buffer = BytesMut::new();
        while shared.borrow().open.contains(&broker) {
            let out = shared.borrow_mut().out.remove(&broker).unwrap_or_default();
            if !out.is_empty() && stream.write_all(out).await.0.is_err() {
                break;
            }
            buffer.reserve(64 << 10);
            let mut room = BytesMut::with_capacity(64 << 10);
            let read = within(Duration::from_millis(1), stream.read(Tail(std::mem::take(&mut room)))).await;
            let Some((read, tail)) = read.expect("a timer") else { continue };
            buffer.unsplit(tail.0);
            let mut talk = shared.borrow_mut();
            let read_on = matches!(read, Ok(1..))
                && talk.machine.client().handle_broker_bytes(clock.instant(), broker, &mut buffer).is_ok();
            if !read_on {
                break;
            }
        }
        shared.borrow_mut().open.remove(&broker);
    }
    shared.borrow_mut().machine.client().handle_broker_closed(clock.instant(), broker);
}

/// Produces numbers to all partitions in turn, one a millisecond.
struct Numbers {
    producer: Producer<u64>,
    next: u64,
    most: u64,
    settled: BTreeMap<u64, Settled>,
}

impl Machine for Numbers {
    fn client(&mut self) -> &mut impl KafkaClient {
        &mut self.producer
    }
    fn look(&mut self, now: Instant) {
        let mut tokens = Vec::new();
        while let Some(settled) = self.producer.poll_settled(&mut tokens) {
            self.settled.extend(tokens.drain(..).map(|token| (token, settled)));
        }
        if self.next == self.most || self.producer.room() == 0 {
            return;
        }
        let Some(partition) = self.producer.current_partition() else { return };
        let number = self.next;
        let text = format!("number {number};");
        let appended = self.producer.append(now, partition, 5, number, |out| out.extend_from_slice(text.as_bytes()));
        if appended.is_ok() {
            self.next += 1;
        }
    }
}

/// A member that takes what it is given.
struct Member {
    consumer: Consumer,
    heard: Vec<(i32, i64, Bytes)>,
    assigned: Vec<i32>,
    out_of_range: u32,
    damaged: u32,
    /// Positions of whom went before: a ledger that all members share.
    ledger: Rc<RefCell<BTreeMap<i32, i64>>>,
}

impl Machine for Member {
    fn client(&mut self) -> &mut impl KafkaClient {
        &mut self.consumer
    }
    fn look(&mut self, now: Instant) {
        while let Some(event) = self.consumer.poll_event() {
            match event {
                Event::Assigned { partitions, .. } => {
                    self.assigned.clone_from(&partitions);
                    let ledger = self.ledger.borrow();
                    let offset = |at: &i32| ledger.get(at).copied().unwrap_or(0);
                    let from = |at: &i32| Position { partition: *at, offset: offset(at), leader_epoch: None };
                    let positions: Vec<Position> = partitions.iter().map(from).collect();
                    self.consumer.start(now, positions);
                }
                Event::Release => self.consumer.release(now),
                Event::Lost(_) => self.assigned.clear(),
                Event::OffsetOutOfRange { .. } => self.out_of_range += 1,
                Event::Damaged { .. } => self.damaged += 1,
                Event::Diverged { .. } => panic!("one log"),
                Event::TopicReplaced { .. } | Event::Refused { .. } | Event::Left => {}
            }
        }
        while let Some(mut fetched) = self.consumer.poll_records() {
            for entry in &mut fetched.records {
                let Entry::Record(record) = entry else { panic!("unreadable") };
                self.heard.push((fetched.partition, record.offset, record.value.unwrap_or_default()));
            }
            let next = fetched.records.next_offset();
            self.ledger.borrow_mut().insert(fetched.partition, next);
            self.consumer.commit(now, [(fetched.partition, next)]);
        }
    }
}

struct Run {
    world: World,
    kafka: Rc<RefCell<Kafka>>,
    ledger: Rc<RefCell<BTreeMap<i32, i64>>>,
}

fn run(seed: u64, nodes: usize, partitions: usize) -> Run {
    let mut random = Random::new(seed);
    let kafka = Rc::new(RefCell::new(Kafka::new(nodes, "orders", partitions, random.fork())));
    let mut world = World::new(random, 1_705_234_700_000);
    world.add_peer(HOST, Rc::<RefCell<Kafka>>::clone(&kafka));
    Run { world, kafka, ledger: Rc::default() }
}

fn share<M>(machine: M) -> Shared<M> {
    Rc::new(RefCell::new(Talk { machine, out: BTreeMap::new(), open: BTreeSet::new() }))
}

impl Run {
    fn produce(&mut self, most: u64) -> (ProcessId, Shared<Numbers>) {
        let config = ProducerConfig {
            topic: "orders".into(),
            bootstrap: vec![(HOST.into(), PORT)],
            login: None,
            client_id: "test".into(),
            linger: Duration::from_millis(1),
            batch_bytes_max: 4096,
            in_flight_max: 5,
            request_timeout: Duration::from_secs(2),
            records_max: 1000,
            record_age_max: Duration::from_secs(6),
            seed: 1,
        };
        let producer = Producer::new(config, self.world.now().instant);
        let numbers = share(Numbers { producer, next: 0, most, settled: BTreeMap::new() });
        let driven = Rc::clone(&numbers);
        (self.world.start("producer", || vec![Box::pin(drive(driven))]), numbers)
    }

    fn consume(&mut self, name: &str) -> (ProcessId, Shared<Member>) {
        let config = ConsumerConfig {
            topic: "orders".into(),
            group: "workers".into(),
            bootstrap: vec![(HOST.into(), PORT)],
            login: None,
            client_id: name.into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(1),
            answer_bytes_max: 64 << 10,
            buffered_bytes_max: 1 << 20,
            fetch_wait: Duration::from_millis(500),
            seed: 2,
        };
        let consumer = Consumer::new(config, self.world.now().instant);
        let ledger = Rc::clone(&self.ledger);
        let member =
            share(Member { consumer, heard: Vec::new(), assigned: Vec::new(), out_of_range: 0, damaged: 0, ledger });
        let driven = Rc::clone(&member);
        (self.world.start(name, || vec![Box::pin(drive(driven))]), member)
    }

    /// How often each number stands in the log.
    fn in_log(&self) -> BTreeMap<u64, usize> {
        let mut found = BTreeMap::new();
        for (_, _, value) in self.kafka.borrow().records() {
            let text = String::from_utf8(value.to_vec()).expect("a number");
            let number = text.trim_start_matches("number ").trim_end_matches(';').parse().expect("a number");
            *found.entry(number).or_default() += 1;
        }
        found
    }

    fn check(&self, numbers: &Shared<Numbers>) {
        let in_log = self.in_log();
        for (number, settled) in &numbers.borrow().machine.settled {
            let count = in_log.get(number).copied().unwrap_or(0);
            match settled {
                Settled::Acknowledged => assert_eq!(count, 1, "{number}"),
                Settled::Refused(_) => assert_eq!(count, 0, "{number}"),
                Settled::Abandoned => assert!(count <= 1, "{number}"),
            }
        }
        assert_eq!(self.kafka.borrow().unknown(), [""; 0]);
    }
}

fn acknowledged(numbers: &Shared<Numbers>) -> usize {
    numbers.borrow().machine.settled.values().filter(|settled| **settled == Settled::Acknowledged).count()
}

#[test]
fn what_is_produced_is_consumed_in_order() {
    let mut run = run(1, 3, 4);
    let (_, numbers) = run.produce(500);
    let (_, member) = run.consume("worker");
    run.world.run_for(10 * SECOND);
    assert_eq!(acknowledged(&numbers), 500);
    run.check(&numbers);
    let mut heard = member.borrow().machine.heard.clone();
    heard.sort();
    assert_eq!(heard, run.kafka.borrow().records());
    assert_eq!(member.borrow().machine.assigned, [0, 1, 2, 3]);
    assert_eq!(run.kafka.borrow().committed(0), run.ledger.borrow().get(&0).copied());
}

/// Twenty leaders, and room for sixteen answers: none of them is passed over, and of each it is known where it ends.
#[test]
fn every_leader_is_read_however_many_there_are() {
    let mut run = run(8, 20, 20);
    let (_, numbers) = run.produce(2000);
    let (_, member) = run.consume("worker");
    run.world.run_for(60 * SECOND);
    assert_eq!(acknowledged(&numbers), 2000);
    let records = run.kafka.borrow().records();
    let written: BTreeSet<i32> = records.iter().map(|(partition, ..)| *partition).collect();
    assert_eq!(written.len(), 20, "each has something to read");
    let mut heard = member.borrow().machine.heard.clone();
    heard.sort();
    assert_eq!(heard, records);
    let now = run.world.now().instant;
    for partition in written {
        let end = records.iter().filter(|(its, ..)| *its == partition).count() as i64;
        assert_eq!(member.borrow().machine.consumer.end_offset(now, partition), Some(end));
    }
    run.check(&numbers);
}

#[test]
fn two_members_share_and_the_other_takes_over_what_a_dead_one_had() {
    let mut run = run(2, 1, 4);
    let (first, _) = run.consume("first");
    let (_, second) = run.consume("second");
    run.world.run_for(10 * SECOND);
    assert_eq!(second.borrow().machine.assigned.len(), 2);
    run.world.kill(first);
    run.world.run_for(5 * SECOND);
    assert_eq!(second.borrow().machine.assigned.len(), 2, "its session is not over");
    run.world.run_for(12 * SECOND);
    assert_eq!(second.borrow().machine.assigned.len(), 4);
    assert_eq!(run.kafka.borrow().members().len(), 1);
}

#[test]
fn every_produce_fault_is_come_through() {
    use ProduceFault::*;
    for fault in [Refuse(19), Refuse(6), AppendAndSay(20), AppendAndSay(7), LoseAnswer, Delay(3 * SECOND)] {
        let mut run = run(3, 3, 2);
        let (_, numbers) = run.produce(300);
        run.world.run_for(SECOND / 10);
        run.kafka.borrow_mut().spoil_produce([fault, fault]);
        run.world.run_for(20 * SECOND);
        run.check(&numbers);
        assert_eq!(acknowledged(&numbers), 300, "{fault:?}");
    }
}

#[test]
fn nodes_that_stop_or_stand_still_lose_nothing_that_was_acknowledged() {
    for seed in 0..8 {
        let mut run = run(seed, 3, 3);
        let (_, numbers) = run.produce(2000);
        let (_, member) = run.consume("worker");
        let mut random = Random::new(seed);
        for _ in 0..8 {
            run.world.run_for(Duration::from_millis(100 + random.below(3000)));
            let now = run.world.now();
            let node = random.below(3) as usize;
            let kafka = Rc::clone(&run.kafka);
            match random.below(5) {
                0 => kafka.borrow_mut().stop(now, node),
                1 => kafka.borrow_mut().pause(now, node),
                2 => kafka.borrow_mut().move_leader(now, node),
                3 => kafka.borrow_mut().slow_replication(Duration::from_millis(random.below(500))),
                _ => kafka.borrow_mut().forget_producers(),
            }
            run.world.stir(HOST);
            run.world.run_for(Duration::from_millis(random.below(12_000)));
            let now = run.world.now();
            kafka.borrow_mut().resume(now, node);
            kafka.borrow_mut().start(now, node);
            run.world.stir(HOST);
        }
        run.kafka.borrow_mut().refuse_nothing();
        run.world.run_for(40 * SECOND);
        run.check(&numbers);
        assert_eq!(numbers.borrow().machine.settled.len(), 2000, "seed {seed}");
        let mut heard = member.borrow().machine.heard.clone();
        heard.sort();
        heard.dedup();
        assert_eq!(heard, run.kafka.borrow().records(), "seed {seed}");
    }
}

#[test]
fn acks_of_one_replica_are_no_promise() {
    // The planted bug that asks for acks=1 must be able to lose something.
    let mut log_lost = false;
    for seed in 0..10 {
        let mut run = run(seed, 3, 1);
        let (_, numbers) = run.produce(50);
        run.kafka.borrow_mut().slow_replication(SECOND);
        run.world.run_for(Duration::from_millis(600));
        let before = run.in_log().len();
        let now = run.world.now();
        run.kafka.borrow_mut().move_leader(now, 0);
        log_lost |= run.in_log().len() < before;
        assert_eq!(acknowledged(&numbers), 0, "acks=all waits for the replicas");
    }
    assert!(log_lost);
}

#[test]
fn one_poisoned_record_is_refused_and_its_neighbours_are_not() {
    let mut run = run(5, 1, 1);
    run.kafka.borrow_mut().poison(b"number 17;", 10);
    let (_, numbers) = run.produce(100);
    run.world.run_for(20 * SECOND);
    run.check(&numbers);
    assert_eq!(acknowledged(&numbers), 99);
    assert_eq!(numbers.borrow().machine.settled[&17], Settled::Refused(10));
}

#[test]
fn damaged_records_are_asked_for_again_and_a_shortened_log_is_loud() {
    let mut run = run(6, 1, 1);
    let (_, numbers) = run.produce(200);
    run.world.run_for(2 * SECOND);
    run.kafka.borrow_mut().damage_next_fetch();
    let (_, member) = run.consume("worker");
    run.world.run_for(8 * SECOND);
    assert_eq!((member.borrow().machine.damaged, member.borrow().machine.heard.len()), (1, 200));
    run.check(&numbers);
    run.kafka.borrow_mut().delete_before(0, 100);
    let (_, late) = run.consume("late");
    run.ledger.borrow_mut().insert(0, 3);
    run.world.run_for(30 * SECOND);
    let seen = member.borrow().machine.out_of_range + late.borrow().machine.out_of_range;
    assert!(seen >= 1, "the partition went to one of them");
}

#[test]
fn a_topic_made_anew_and_a_group_that_is_lost_are_found_again() {
    let mut run = run(7, 3, 2);
    let (_, member) = run.consume("worker");
    run.world.run_for(5 * SECOND);
    run.kafka.borrow_mut().lose_group();
    run.world.run_for(15 * SECOND);
    assert_eq!(member.borrow().machine.assigned, [0, 1]);
    let (was, now) = (run.kafka.borrow().topic_id(), run.world.now());
    run.kafka.borrow_mut().recreate_topic(now);
    run.ledger.borrow_mut().clear();
    run.world.stir(HOST);
    assert_ne!(run.kafka.borrow().topic_id(), was);
    let (_, numbers) = run.produce(50);
    run.world.run_for(30 * SECOND);
    assert_eq!(acknowledged(&numbers), 50);
    assert_eq!(member.borrow().machine.heard.len(), 50);
    let now = run.world.now();
    run.kafka.borrow_mut().grow(now, 1);
    run.world.run_for(60 * SECOND * 6);
    assert_eq!(member.borrow().machine.assigned, [0, 1, 2]);
}
