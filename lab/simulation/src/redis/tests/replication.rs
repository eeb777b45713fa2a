//! Roles and ids: what tells a harmless change from a dangerous one.

use std::time::Duration;

use super::Bench;

const NONE: &str = "0000000000000000000000000000000000000000";

/// run_id, master_replid, master_replid2, role, connected_slaves.
fn who(bench: &mut Bench) -> [String; 5] {
    [
        bench.info("server", "run_id"),
        bench.info("replication", "master_replid"),
        bench.info("replication", "master_replid2"),
        bench.info("replication", "role"),
        bench.info("replication", "connected_slaves"),
    ]
}

#[test]
fn there_and_back_leaves_the_second_id() {
    let mut bench = Bench::new();
    let before = who(&mut bench);
    assert_eq!(before[2..], [NONE, "master", "0"]);
    bench.ask("SET k v");
    bench.redis.demote(bench.now, Duration::ZERO);
    assert_eq!(bench.ask("SET k w"), "-READONLY You can't write against a read only replica.\r\n");
    assert!(bench.ask("EVAL #!lua\nreturn_1 0").starts_with("-READONLY"));
    assert_eq!(bench.ask("EVAL #!lua_flags=no-writes\nreturn_1 0"), ":1\r\n");
    assert_eq!(bench.ask("GET k"), "$1\r\nv\r\n", "nobody answered there");
    assert_eq!(who(&mut bench)[1..], [before[1].as_str(), NONE, "slave", "0"]);
    bench.redis.promote();
    let after = who(&mut bench);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    assert_eq!(after[2..], [before[1].as_str(), "master", "0"]);
    assert_eq!(bench.ask("SET k w"), "+OK\r\n");
}

#[test]
fn a_stale_master_takes_writes_back() {
    let mut bench = Bench::new();
    bench.ask("SET k old");
    bench.pass(Duration::from_secs(1));
    bench.ask("SET k new");
    let before = who(&mut bench);
    bench.redis.demote(bench.now, Duration::from_millis(500));
    assert_eq!(bench.ask("GET k"), "$3\r\nold\r\n");
    let followed = bench.redis.replication_id().to_owned();
    assert_ne!(followed, before[1]);
    bench.redis.promote();
    let after = who(&mut bench);
    assert_eq!((&after[0], &after[2]), (&before[0], &followed));
}

#[test]
fn a_failover_is_another_process_that_follows_ours() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    bench.ask_over(socket, "SET k old");
    bench.pass(Duration::from_secs(1));
    bench.ask_over(socket, "SET k new");
    let before = who(&mut bench);
    bench.redis.fail_over(bench.now, Duration::from_millis(500));
    assert_eq!(bench.closed(), [socket]);
    let after = who(&mut bench);
    assert_ne!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    assert_eq!(after[2..], [before[1].as_str(), "master", "0"]);
    assert_eq!(bench.ask("GET k"), "$3\r\nold\r\n");
}

#[test]
fn the_backlog_comes_and_goes_with_a_new_id_and_none_before_it() {
    let mut bench = Bench::new();
    let socket = bench.connect();
    let before = who(&mut bench);
    bench.redis.attach_replica();
    let first = who(&mut bench);
    assert_eq!((&first[0], &first[2..]), (&before[0], &[NONE, "master", "1"].map(str::to_owned)[..]));
    assert_ne!(first[1], before[1]);
    bench.redis.attach_replica();
    assert_eq!(who(&mut bench)[1], first[1], "only the first");
    bench.redis.release_backlog();
    assert_eq!(who(&mut bench)[1], first[1], "not while there is a replica");
    bench.redis.detach_replicas();
    assert_eq!(who(&mut bench)[1], first[1]);
    bench.redis.release_backlog();
    let released = who(&mut bench);
    assert_ne!(released[1], first[1]);
    assert_eq!(released[2..], [NONE, "master", "0"]);
    bench.redis.release_backlog();
    assert_eq!(who(&mut bench)[1], released[1], "there is none any more");
    assert_eq!(bench.closed(), [], "{socket:?} stays");
}
