//! A topic beside the orders', through the clients that ship: made, written and read, compacted, lost.

use std::collections::VecDeque;
use std::rc::Rc;

use flux_protocol::fence::log::{FenceLog, FenceLogConfig, FenceLogEvent, topic_of};
use flux_protocol::kafka::admin::{Admin, AdminEvent, NewTopic, TopicDescription};
use flux_protocol::kafka::client::KafkaClient;
use flux_protocol::kafka::cluster::ClusterConfig;
use flux_protocol::time::{Instant, Now};
use flux_simulation::kafka::{HOST, Keyed, PORT, Tombstones};

use crate::{Machine, Run, SECOND, Shared, acknowledged, drive, run, share};

const WALL_MS: u64 = 1_705_234_700_000;

struct Making {
    admin: Admin,
    found: Vec<AdminEvent>,
}

impl Machine for Making {
    fn client(&mut self) -> &mut impl KafkaClient {
        &mut self.admin
    }
    fn look(&mut self, _now: Instant) {
        self.found.extend(std::iter::from_fn(|| self.admin.poll_event()));
    }
}

/// Writes what it is given, and remembers what it reads.
struct Fences {
    log: FenceLog,
    to_write: VecDeque<(String, String)>,
    heard: Vec<Keyed>,
    /// How often the log was another one.
    anew: u32,
}

impl Machine for Fences {
    fn client(&mut self) -> &mut impl KafkaClient {
        &mut self.log
    }
    fn look(&mut self, now: Instant) {
        while self.log.is_writable()
            && let Some((key, value)) = self.to_write.pop_front()
        {
            let now = Now { instant: now, wall_ms: WALL_MS };
            let written = self.log.write(now, key.as_bytes(), |out| out.extend_from_slice(value.as_bytes()));
            written.expect("there is room");
        }
        while let Some(event) = self.log.poll_event(now) {
            match event {
                FenceLogEvent::Anew => {
                    self.anew += 1;
                    self.heard.clear();
                }
                FenceLogEvent::Record { offset, key, value } => {
                    self.heard.push(Keyed { partition: 0, offset, key: Some(key), value });
                }
            }
        }
    }
}

impl Fences {
    fn offsets(&self) -> Vec<i64> {
        self.heard.iter().map(|record| record.offset).collect()
    }
}

fn beat(shared: &Shared<Fences>, edge: &str, beat: u32) {
    shared.borrow_mut().machine.to_write.push_back((format!("edge:{edge}"), format!("{{\"beat\":{beat}}}")));
}

impl Run {
    fn make_fences(&mut self) -> TopicDescription {
        let settings = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "3600000")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let new = NewTopic { partitions: 1, replicas: 3, settings };
        let cluster = ClusterConfig {
            bootstrap: vec![(HOST.into(), PORT)],
            client_id: "admin".into(),
            topic: topic_of("orders"),
            seed: 3,
            login: None,
        };
        let admin = Admin::new(cluster, Some(new), self.world.now().instant);
        let making = share(Making { admin, found: Vec::new() });
        let driven = Rc::clone(&making);
        let process = self.world.start("admin", || vec![Box::pin(drive(driven))]);
        self.world.run_for(5 * SECOND);
        self.world.kill(process);
        let found = std::mem::take(&mut making.borrow_mut().machine.found);
        let [AdminEvent::Found(topic)] = found[..] else { panic!("{found:?}") };
        topic
    }

    fn follow_fences(&mut self, name: &str, seed: u64) -> Shared<Fences> {
        let config = FenceLogConfig {
            orders: "orders".into(),
            bootstrap: vec![(HOST.into(), PORT)],
            login: None,
            client_id: name.into(),
            seed,
        };
        let log = FenceLog::new(config, self.world.now().instant);
        let fences = share(Fences { log, to_write: VecDeque::new(), heard: Vec::new(), anew: 0 });
        let driven = Rc::clone(&fences);
        self.world.start(name, || vec![Box::pin(drive(driven))]);
        self.world.run_for(5 * SECOND);
        fences
    }

    fn fences(&self) -> Vec<Keyed> {
        self.kafka.borrow().records_of(&topic_of("orders"))
    }
}

#[test]
fn a_second_topic_is_made_written_and_read_beside_the_orders() {
    let mut run = run(9, 3, 2);
    let (_, numbers) = run.produce(200);
    let topic = run.make_fences();
    assert_eq!((topic.partitions, topic.created), (1, true));
    assert_eq!(run.kafka.borrow().id_of(&topic_of("orders")).map(u128::to_be_bytes), Some(topic.id));
    assert!(!run.make_fences().created, "it is there");
    let edges = [run.follow_fences("a", 1), run.follow_fences("b", 2)];
    for number in 0..20 {
        beat(&edges[0], "a", number);
        beat(&edges[1], "b", number);
        let now = run.world.now();
        run.kafka.borrow_mut().move_leader_of(now, &topic_of("orders"), 0);
        run.world.stir(HOST);
        run.world.run_for(SECOND);
    }
    run.world.run_for(5 * SECOND);
    let written = run.fences();
    assert_eq!(written.len(), 40, "each once, through every leader");
    for edge in edges {
        assert_eq!((&edge.borrow().machine.heard, edge.borrow().machine.anew), (&written, 0));
    }
    run.check(&numbers);
    assert_eq!(acknowledged(&numbers), 200);
    assert_eq!(run.kafka.borrow().records().len(), 200, "the orders' topic has orders only");
}

#[test]
fn a_reader_meets_the_holes_of_a_compacted_log() {
    let mut run = run(10, 3, 1);
    run.make_fences();
    let edge = run.follow_fences("a", 1);
    for number in 0..10 {
        beat(&edge, ["a", "b"][number as usize % 2], number);
        run.world.run_for(SECOND);
    }
    assert_eq!(edge.borrow().machine.offsets(), (0..10).collect::<Vec<i64>>());
    let (now, topic) = (run.world.now(), topic_of("orders"));
    run.kafka.borrow_mut().write_stray_to(now, &topic, b"edge:b", Some(b"gone"));
    run.kafka.borrow_mut().write_stray_to(now, &topic, b"edge:c", None);
    run.kafka.borrow_mut().compact(now, &topic, Tombstones::Stay);
    let late = run.follow_fences("late", 2);
    assert_eq!(late.borrow().machine.offsets(), [8, 10, 11], "of a, b and c the last");
    assert_eq!(late.borrow().machine.heard, run.fences());
    // The log ends with records that are gone: who has read it goes on behind them, and who comes begins with what stands.
    run.kafka.borrow_mut().compact(now, &topic, Tombstones::Go);
    let latest = run.follow_fences("latest", 3);
    assert_eq!(latest.borrow().machine.offsets(), [8, 10]);
    beat(&edge, "a", 10);
    run.world.run_for(SECOND);
    assert_eq!(edge.borrow().machine.offsets(), (0..13).collect::<Vec<i64>>());
    assert_eq!(late.borrow().machine.offsets(), [8, 10, 11, 12]);
    assert_eq!(latest.borrow().machine.offsets(), [8, 10, 12]);
    assert_eq!(edge.borrow().machine.anew + late.borrow().machine.anew + latest.borrow().machine.anew, 0);
}

#[test]
fn a_topic_that_was_lost_is_read_anew() {
    let mut run = run(11, 3, 1);
    let first = run.make_fences();
    let edge = run.follow_fences("a", 1);
    beat(&edge, "a", 1);
    run.world.run_for(SECOND);
    assert_eq!(edge.borrow().machine.heard.len(), 1);
    let (now, topic) = (run.world.now(), topic_of("orders"));
    run.kafka.borrow_mut().delete_topic(now, &topic);
    run.world.stir(HOST);
    run.world.run_for(5 * SECOND);
    let refusal = edge.borrow().machine.log.refusal();
    assert!(refusal.as_ref().is_some_and(|why| why.contains("there is no topic")), "{refusal:?}");
    let second = run.make_fences();
    assert!(second.created && second.id != first.id);
    run.world.run_for(5 * SECOND);
    let now = run.world.now();
    run.kafka.borrow_mut().write_stray_to(now, &topic, b"edge:b", Some(b"1"));
    run.world.stir(HOST);
    run.world.run_for(10 * SECOND);
    assert_eq!((edge.borrow().machine.anew, &edge.borrow().machine.heard), (1, &run.fences()));
    assert_eq!(run.kafka.borrow().unknown(), [""; 0]);
}
