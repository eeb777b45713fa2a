//! Which Redis has a backlog, and under which ids: replicas that come and go, promotions, restarts, done to real servers and
//! to the fake. What they show is compared, the ids by the order in which they were seen.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use flux_protocol::resp::{Decoder, Limits, OwnedFrame};
use flux_protocol::time::{Instant as At, Now};
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::random::Random;
use flux_simulation::redis::Redis;
use flux_test_support::redis::Server;

use crate::sides::{decode, encode};

const PORT: u16 = 6379;
/// How long a real server may take to see what the other has done: never what a test measures.
const PATIENCE: Duration = Duration::from_secs(60);
const MISSED: Duration = Duration::from_millis(1);

/// What one side has shown so far.
#[derive(Default)]
struct Shown {
    ids: Vec<String>,
    lines: Vec<String>,
}

impl Shown {
    /// `field`: of `INFO replication`.
    fn look(&mut self, what: &str, mut field: impl FnMut(&str) -> String) {
        let mut named = |name: &str| {
            let id = field(name);
            if id.bytes().all(|digit| digit == b'0') {
                return "none".to_owned();
            }
            let place = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                self.ids.push(id);
                self.ids.len() - 1
            });
            format!("id {place}")
        };
        let (id, second) = (named("master_replid"), named("master_replid2"));
        let (role, replicas, backlog) = (field("role"), field("connected_slaves"), field("repl_backlog_active"));
        self.lines.push(format!("{what}: {role}, {replicas} replicas, backlog {backlog}, {id} behind {second}"));
    }

    fn look_at(&mut self, what: &str, server: &Server) {
        let mut client = server.connect();
        self.look(what, |name| client.info("replication", name));
    }

    fn look_at_fake(&mut self, what: &str, redis: &mut Redis) {
        self.look(what, |name| {
            let socket = SocketId(1);
            redis.handle_open(now(), socket, PORT);
            let mut wire = BytesMut::from(encode(&["INFO".to_owned(), "replication".to_owned()]).as_slice());
            redis.handle_bytes(now(), socket, &mut wire);
            let mut buffer = BytesMut::from(&redis.poll_write().expect("a whole reply").1[..]);
            redis.handle_closed(now(), socket);
            let reply = decode(&mut Decoder::new(Limits::DEFAULT), &mut buffer).expect("a whole reply");
            let OwnedFrame::BulkString(text) = reply else { panic!("INFO answers with text: {reply:?}") };
            let text = String::from_utf8(text).expect("text");
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.expect("INFO names the field").to_owned()
        });
    }
}

fn now() -> Now {
    Now { instant: At::from_micros(5_000_000), wall_ms: 1_700_000_000_000 }
}

/// Waits until a server shows this.
fn wait_for(server: &Server, field: &str, value: &str) {
    let (begun, mut client) = (Instant::now(), server.connect());
    while client.info("replication", field) != value {
        assert!(begun.elapsed() < PATIENCE, "no {field}:{value}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn follow(replica: &Server, master: &Server) {
    replica.connect().run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    wait_for(replica, "master_link_status", "up");
    wait_for(master, "connected_slaves", "1");
}

fn leave(replica: &Server, master: &Server) {
    replica.connect().run("REPLICAOF NO ONE");
    wait_for(master, "connected_slaves", "0");
}

fn real() -> Vec<String> {
    let (mut master, replica, mut shown) = (Server::start(), Server::start(), Shown::default());
    shown.look_at("fresh", &master);
    follow(&replica, &master);
    shown.look_at("first replica", &master);
    leave(&replica, &master);
    shown.look_at("none left", &master);
    follow(&replica, &master);
    shown.look_at("attached again", &master);
    leave(&replica, &master);
    master.connect().run("CONFIG SET repl-backlog-ttl 1");
    wait_for(&master, "repl_backlog_active", "0");
    shown.look_at("released", &master);
    master.connect().run("CONFIG SET repl-backlog-ttl 3600");
    follow(&replica, &master);
    shown.look_at("attached anew", &master);
    leave(&replica, &master);
    shown.look_at("promoted", &replica);
    shown.look_at("old master", &master);
    master.restart();
    shown.look_at("restarted", &master);
    master.connect().run("REPLICAOF 127.0.0.1 1");
    shown.look_at("follows nobody", &master);
    master.connect().run("REPLICAOF NO ONE");
    shown.look_at("a master again", &master);
    follow(&master, &replica);
    // Its master's id was seen as the promoted one's.
    shown.look_at("follows another", &master);
    leave(&master, &replica);
    shown.look_at("promoted too", &master);
    shown.lines
}

fn fake() -> Vec<String> {
    let (mut redis, mut shown) = (Redis::new(PORT, Random::new(1)), Shown::default());
    shown.look_at_fake("fresh", &mut redis);
    redis.attach_replica();
    shown.look_at_fake("first replica", &mut redis);
    redis.detach_replicas();
    shown.look_at_fake("none left", &mut redis);
    redis.attach_replica();
    shown.look_at_fake("attached again", &mut redis);
    redis.detach_replicas();
    redis.release_backlog();
    shown.look_at_fake("released", &mut redis);
    redis.attach_replica();
    shown.look_at_fake("attached anew", &mut redis);
    redis.fail_over_beside(now(), MISSED);
    shown.look_at_fake("promoted", &mut redis);
    redis.wake_old_master();
    shown.look_at_fake("old master", &mut redis);
    redis.restart_from_disk(now(), Duration::ZERO);
    shown.look_at_fake("restarted", &mut redis);
    redis.demote(now(), Duration::ZERO);
    shown.look_at_fake("follows nobody", &mut redis);
    redis.promote();
    shown.look_at_fake("a master again", &mut redis);
    shown.lines
}

#[test]
fn a_backlog_comes_and_goes_alike() {
    let (real, fake) = (real(), fake());
    assert_eq!(fake, real[..fake.len()], "fake (left) and real (right)");
    // Whom the fake follows is nobody that it knows: a history of its own, and the backlog that a synchronisation makes.
    let mut redis = Redis::new(PORT, Random::new(1));
    let mut shown = Shown::default();
    redis.demote(now(), MISSED);
    shown.look_at_fake("follows another", &mut redis);
    redis.promote();
    shown.look_at_fake("promoted too", &mut redis);
    let ends = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.split(", id").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(ends(&shown.lines), ends(&real[fake.len()..]));
}

/// A master that is given up had a replica, so it has a backlog: whether or not the run has shown the replica before.
#[test]
fn an_old_master_has_the_backlog_of_its_successor() {
    let (mut redis, mut shown) = (Redis::new(PORT, Random::new(1)), Shown::default());
    redis.fail_over_beside(now(), MISSED);
    redis.wake_old_master();
    shown.look_at_fake("old master", &mut redis);
    assert_eq!(shown.lines, ["old master: master, 0 replicas, backlog 1, id 0 behind none"]);
}

/// What the beginning of a run does not show may have happened before it.
#[test]
fn a_redis_that_had_a_replica_takes_the_next_one_without_another_id() {
    let (mut redis, mut shown) = (Redis::new(PORT, Random::new(1)), Shown::default());
    shown.look_at_fake("fresh", &mut redis);
    redis.had_replica();
    shown.look_at_fake("begins", &mut redis);
    redis.attach_replica();
    shown.look_at_fake("attached", &mut redis);
    assert_eq!(
        shown.lines,
        [
            "fresh: master, 0 replicas, backlog 0, id 0 behind none",
            "begins: master, 0 replicas, backlog 1, id 0 behind none",
            "attached: master, 1 replicas, backlog 1, id 0 behind none",
        ]
    );
}
