//! The process stands still, dies, comes back, refuses.

use std::time::Duration;

use super::super::{LOSS_MAX, Limits};
use super::{Bench, wire};
use crate::peer::Peer;
use crate::random::Random;

#[test]
fn a_process_that_stands_still_carries_out_later_what_lay_in_its_sockets() {
    let mut bench = Bench::new();
    let (stays, leaves) = (bench.connect(), bench.connect());
    bench.redis.pause();
    bench.send(stays, &wire("INCRBY n 1"));
    bench.send(leaves, &wire("INCRBY n 10"));
    bench.send(leaves, &wire("INCRBY n 100")[..9]);
    bench.redis.handle_closed(bench.now, leaves);
    let comes = bench.connect();
    bench.send(comes, &wire("GET n"));
    assert_eq!(bench.redis.poll_write(), None);
    bench.pass(Duration::from_secs(30));
    bench.redis.resume(bench.now);
    let replies: Vec<_> = std::iter::from_fn(|| bench.redis.poll_write()).collect();
    let expected = [(stays, ":1\r\n"), (comes, "$2\r\n11\r\n")].map(|(to, text)| (to, text.into()));
    assert_eq!(replies, expected, "the call of a client that has gone takes effect and is answered to nobody");
    assert_eq!(bench.closed(), []);
    assert_eq!(bench.redis.connections(), 2);
}

#[test]
fn a_restart_ends_connections_and_empties_or_not() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    bench.ask_over(socket, "SET k v");
    bench.ask_over(socket, "SCRIPT LOAD return_1");
    let (run_id, replication_id) = (bench.redis.run_id().to_owned(), bench.redis.replication_id().to_owned());
    bench.redis.restart_from_disk(bench.now, Duration::ZERO);
    assert_eq!(bench.closed(), [socket]);
    assert_eq!(bench.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(bench.ask("SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db"), "*1\r\n:0\r\n");
    assert_ne!((bench.redis.run_id(), bench.redis.replication_id()), (run_id.as_str(), replication_id.as_str()));
    assert_eq!(bench.info("server", "run_id"), bench.redis.run_id());
    bench.redis.restart_empty();
    assert_eq!(bench.ask("DBSIZE"), ":0\r\n");
    bench.redis.restart_from_disk(bench.now, Duration::ZERO);
    assert_eq!(bench.ask("DBSIZE"), ":0\r\n", "the file is empty too");
}

#[test]
fn a_machine_that_dies_loses_the_last_writes_and_no_part_of_a_script() {
    let mut bench = Bench::new();
    for second in 0..5 {
        bench.ask(&format!("SET k{second} v"));
        bench.ask("EVAL redis.call('INCRBY','a',1)redis.call('INCRBY','b',1) 0");
        bench.pass(Duration::from_secs(1));
    }
    bench.redis.crash(bench.now);
    assert!(!bench.redis.is_listening(super::PORT));
    bench.pass(Duration::from_secs(60));
    // Written at 0, 1, 2, 3 and 4 s, died at 5 s: what is younger than 2 s is lost.
    bench.redis.restart_from_disk(bench.now, LOSS_MAX);
    assert_eq!(bench.ask("EXISTS k0 k1 k2 k3 k4"), ":4\r\n");
    assert_eq!(bench.ask("MGET a b"), "*2\r\n$1\r\n4\r\n$1\r\n4\r\n");
}

#[test]
fn what_is_on_disk_is_what_was_in_memory() {
    let lines = [
        "SET a 1 PX 30",
        "SET a 2 KEEPTTL",
        "INCRBY n 1",
        "HSET h f v g w",
        "HDEL h f g",
        "SADD s x y",
        "SREM s x",
        "DEL a",
        "XADD x * f v",
        "XADD x NOMKSTREAM * f v",
        "XDEL x 1700000000000-0",
        "XGROUP CREATE x . $ MKSTREAM",
        "XGROUP DESTROY x .",
        "EXPIRE n 1",
        "PEXPIRE h 5",
        "HINCRBY c f 3",
        "INCRBY h 1",
        "FLUSHALL",
        "SET b 1 EX 1 NX GET",
        "EVAL redis.call('SET','e','1','PX',20)return(redis.call('XADD','x','*','f','v')) 0",
    ];
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut bench = Bench::new();
        for _ in 0..60 {
            bench.ask(lines[usize::try_from(random.below(lines.len() as u64)).expect("small")]);
            bench.pass(Duration::from_micros(random.below(40_000)));
            if random.per_mille(100) {
                bench.redis.set_clock_offset_ms(i64::try_from(random.below(2000)).expect("small") - 1000);
            }
        }
        let memory = bench.redis.server.store.data.clone();
        bench.redis.restart_from_disk(bench.now, Duration::ZERO);
        assert_eq!(bench.redis.server.store.data, memory, "seed {seed}");
    }
}

#[test]
fn damage_is_on_disk_too() {
    let mut bench = Bench::new();
    for line in ["SET text v", "HSET hash f v", "SET gone v", "SCRIPT LOAD return_1"] {
        bench.ask(line);
    }
    bench.redis.put_wrong_type(bench.now, "text");
    bench.redis.put_wrong_type(bench.now, "hash");
    bench.redis.put_wrong_type(bench.now, "none");
    bench.redis.delete(bench.now, "gone");
    bench.redis.flush_scripts();
    assert!(bench.ask("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0").starts_with("-NOSCRIPT"));
    for _ in 0..2 {
        assert!(bench.ask("GET text").starts_with("-WRONGTYPE"));
        assert!(bench.ask("HGET hash f").starts_with("-WRONGTYPE"));
        assert_eq!(bench.ask("TYPE none"), "+set\r\n");
        assert_eq!(bench.ask("EXISTS gone"), ":0\r\n");
        bench.redis.restart_from_disk(bench.now, Duration::ZERO);
    }
    bench.redis.flushall(bench.now);
    assert_eq!(bench.ask("DBSIZE"), ":0\r\n");
}

#[test]
fn a_port_that_nobody_listens_on_leaves_connections_be() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    bench.redis.stop_listening();
    assert!(!bench.redis.is_listening(super::PORT));
    assert_eq!(bench.ask_over(socket, "PING"), "+PONG\r\n");
    bench.redis.listen();
    assert!(bench.redis.is_listening(super::PORT) && !bench.redis.is_listening(super::PORT + 1));
    bench.redis.close_connections();
    assert_eq!(bench.closed(), [socket]);
    bench.send(socket, &wire("PING"));
    assert_eq!(bench.received(socket), "", "what comes for a connection that has ended is dropped");
}

/// First words of the answers to a read, a write, a ping, INFO, a script that may write, one that may not, one that may
/// while memory is full, and XDEL.
fn refusals(limits: Limits) -> [String; 8] {
    let mut bench = Bench::new();
    bench.redis.set_limits(limits);
    [
        "GET k",
        "SET k v",
        "PING",
        "INFO server",
        "EVAL #!lua\nreturn_{} 0",
        "EVAL #!lua_flags=no-writes\nreturn_{} 0",
        "EVAL #!lua_flags=allow-oom\nreturn_{} 0",
        "XDEL x 1-1",
    ]
    .map(|line| match bench.ask(line).strip_prefix('-') {
        Some(refusal) => refusal.split(' ').next().expect("a word").to_owned(),
        None => String::new(),
    })
}

#[test]
fn each_limit_refuses_what_redis_refuses() {
    let none = Limits::default();
    let row = |words: [&str; 8]| words.map(str::to_owned);
    assert_eq!(refusals(none), row([""; 8]));
    let full = Limits { out_of_memory: true, ..none };
    assert_eq!(refusals(full), row(["", "OOM", "", "", "OOM", "", "", ""]));
    let broken_disk = Limits { misconfigured: true, ..none };
    let wrong = "MISCONF";
    assert_eq!(refusals(broken_disk), row(["", wrong, wrong, "", wrong, "", wrong, wrong]));
    let loading = Limits { loading: true, ..none };
    let wait = "LOADING";
    assert_eq!(refusals(loading), row([wait, wait, wait, "", wait, wait, wait, wait]));
    let busy = Limits { busy: true, ..none };
    assert_eq!(refusals(busy), row(["BUSY"; 8]));
}

#[test]
fn a_refusal_spoils_the_transaction_it_comes_in() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    bench.ask_over(socket, "MULTI");
    assert_eq!(bench.ask_over(socket, "SET k v"), "+QUEUED\r\n");
    assert!(bench.ask_over(socket, "NOSUCH").starts_with("-ERR unknown command"));
    let discarded = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(bench.ask_over(socket, "EXEC"), discarded);
    bench.ask_over(socket, "MULTI");
    bench.ask_over(socket, "SET k v");
    bench.redis.set_limits(Limits { out_of_memory: true, ..Limits::default() });
    assert!(bench.ask_over(socket, "EXEC").starts_with("-EXECABORT Transaction discarded because of: OOM "));
    assert_eq!(bench.ask_over(socket, "EXEC"), "-ERR EXEC without MULTI\r\n");
    assert_eq!(bench.ask_over(socket, "GET k"), "$-1\r\n");
}
