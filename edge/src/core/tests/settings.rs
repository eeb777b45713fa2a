//! Settings of Redis and of the topic, looked at when there is reason to.

use super::redis::{array, bulk};
use super::{Bench, at, config};
use crate::counters::finding::names;

fn info(run_id: &str) -> String {
    bulk(&format!("redis_version:7.0.15\r\nrun_id:{run_id}\r\nmaxmemory_policy:noeviction\r\nconnected_slaves:0\r\n"))
}

fn settings(append_only: &str) -> String {
    array(&["appendonly", append_only, "appendfsync", "everysec", "maxmemory-policy", "noeviction"].map(str::to_owned))
}

fn warnings(bench: &Bench) -> Vec<&'static str> {
    names(bench.counters.redis_findings.lock().expect("not poisoned").as_deref())
}

#[test]
fn redis_is_judged_at_the_start_and_whenever_another_one_answers() {
    let mut bench = Bench::with(config(), |redis| {
        redis.script("INFO", info("a1"));
        redis.script("CONFIG", settings("no"));
    });
    assert_eq!(warnings(&bench), ["appendonly"]);
    let asked = bench.redis.calls("CONFIG").pop().expect("it was asked");
    assert_eq!(asked, ["GET", "maxmemory-policy", "appendonly", "appendfsync"]);
    let mut reconnect = |run_id: &str, append_only: &str| {
        bench.lose_redis();
        bench.redis.script("INFO", info(run_id));
        bench.redis.script("CONFIG", settings(append_only));
        bench.connect();
        warnings(&bench)
    };
    assert_eq!(reconnect("a1", "yes"), ["appendonly"], "the same process was judged");
    assert_eq!(reconnect("b2", "yes"), [] as [&str; 0]);
    assert_eq!(reconnect("a1", "no"), ["appendonly"], "the one before is another again");
}

#[test]
fn a_redis_that_does_not_let_its_settings_be_read_is_judged_by_what_it_tells() {
    let mut bench = Bench::new();
    bench.lose_redis();
    let text = "redis_version:7.0.15\r\nrun_id:c3\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n";
    bench.redis.script("INFO", bulk(text));
    bench.connect();
    assert_eq!(warnings(&bench), ["maxmemory-policy"]);
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)], "a warning keeps nothing from being sold");
}

#[test]
fn the_topic_is_judged_once_it_is_there() {
    let mut bench = Bench::new();
    bench.pass(3_000);
    let told = |bench: &Bench| names(bench.counters.topic_findings.lock().expect("not poisoned").as_deref());
    assert_eq!(told(&bench), ["replication.factor", "cleanup.policy"]);
    assert_eq!(bench.broker.inquiries, 1);
    bench.broker.go_down(at(bench.now), &mut bench.core);
    bench.pass(3_000);
    bench.broker.up = true;
    bench.pass(30_000);
    assert_eq!(bench.broker.inquiries, 1, "the same topic was judged");
}

#[test]
fn an_inquiry_that_was_lost_is_made_again() {
    let mut bench = Bench::new();
    bench.broker.tells = false;
    bench.pass(1_000);
    assert_eq!(bench.broker.inquiries, 1);
    bench.broker.go_down(at(bench.now), &mut bench.core);
    bench.broker.up = true;
    bench.broker.tells = true;
    bench.pass(5_000);
    assert_eq!(bench.broker.inquiries, 2);
    assert!(bench.counters.topic_findings.lock().expect("not poisoned").is_some());
}
