//! Servers that stand and do not answer, or answer and refuse: an edge says so, and why, whether anybody buys or not.

use std::time::Duration;

use flux_lab::http_client;
use flux_lab::world::{Servers, World, WorldOptions};

use crate::{buyers, endless, settle_and_check, stop, wait_until, world};

/// What `/readyz` of the first edge answers.
fn ready(world: &World) -> (u16, String) {
    let answer =
        http_client::request(world.edges[0].admin(), "GET", "/readyz", &[], b"", Duration::from_secs(15)).unwrap();
    (answer.status, answer.text())
}

fn wait_until_ready(world: &World) {
    wait_until("the edge is ready", || ready(world).0 == 200);
}

/// Until it is not, for the reason given.
fn wait_until_unready(world: &World, why: &str) {
    wait_until(why, || {
        let (status, body) = ready(world);
        status == 503 && body.contains(why)
    });
}

/// Nothing is sold; the log says why, and an order in Redis' own words is a 503.
fn assert_refused(world: &mut World, why: &str) {
    let log = world.edges[0].program.output();
    assert!(log.contains("lets no order through") && log.contains(why), "{log}");
    assert_eq!(world.order("phone", "a", why, 1).unwrap().status, 503);
}

#[test]
fn a_redis_that_is_stopped_or_refuses_is_told_while_nobody_buys() {
    let mut world = world();
    world.init("phone", 10).unwrap();
    wait_until_ready(&world);
    world.redis.pause().unwrap();
    wait_until_unready(&world, "Redis out of reach");
    world.redis.resume();
    wait_until_ready(&world);

    let mut redis = world.redis.connection().unwrap();
    let mut set =
        |name: &str, value: &str| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut redis).unwrap();
    for (name, refusing, usual, why) in
        [("maxmemory", "1", "0", "OOM"), ("min-replicas-to-write", "1", "0", "NOREPLICAS")]
    {
        set(name, refusing);
        wait_until_unready(&world, why);
        assert_refused(&mut world, why);
        set(name, usual);
        wait_until_ready(&world);
    }
    assert_eq!(world.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_redis_that_cannot_save_its_snapshot_is_told_while_nobody_buys() {
    let mut world = world();
    world.init("phone", 10).unwrap();
    wait_until_ready(&world);
    let mut redis = world.redis.connection().unwrap();
    // Where the snapshot should go stands a directory that is not empty: whoever runs the test, no file takes its place.
    let in_the_way = world.redis.directory().join("dump.rdb");
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1000000").exec(&mut redis).unwrap();
    let save = |redis: &mut redis::Connection, ends: &str| {
        redis::cmd("BGSAVE").exec(redis).unwrap();
        wait_until("the snapshot has ended", || {
            let told: String = redis::cmd("INFO").arg("persistence").query(redis).unwrap();
            told.contains("rdb_bgsave_in_progress:0") && told.contains(&format!("rdb_last_bgsave_status:{ends}"))
        });
    };
    save(&mut redis, "err");
    wait_until_unready(&world, "MISCONF");
    assert_refused(&mut world, "MISCONF");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    save(&mut redis, "ok");
    wait_until_ready(&world);
    assert_eq!(world.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_user_of_redis_who_lacks_a_permission_is_told_which() {
    let mut world = world();
    world.init("phone", 10).unwrap();
    let mut redis = world.redis.connection().unwrap();
    let mut allow = |rules: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(rules).exec(&mut redis).unwrap();
    };
    wait_until_ready(&world);
    for (taken, given, why) in [
        (&["-info"][..], &["+info"][..], "its user may not INFO"),
        (&["-time"], &["+time"], "its user may not TIME"),
        (&["-xadd"], &["+xadd"], "XADD product:"),
        (&["resetkeys", "~product:*", "~idempotency:*"], &["allkeys"], "EXISTS flux:products"),
    ] {
        allow(taken);
        wait_until_unready(&world, why);
        let log = world.edges[0].program.output();
        assert!(log.contains("lets no order through") && log.contains(why), "{log}");
        allow(given);
        wait_until_ready(&world);
    }
    assert_eq!(world.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_kafka_that_is_stopped_is_told_whether_anybody_buys_or_not() {
    let mut world = World::start(WorldOptions { servers: Servers::own(), ..WorldOptions::default() }).unwrap();
    wait_until_ready(&world);
    world.kafka().pause().unwrap();
    wait_until_unready(&world, "Kafka out of reach");
    world.kafka().resume();
    wait_until_ready(&world);

    world.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut world, "phone", 16);
    crowd.timeout = Duration::from_secs(20);
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("they buy", || world.edges[0].program.is_ready() && crate::units_stored(&world, "phone") > 0);
    world.kafka().pause().unwrap();
    wait_until_unready(&world, "Kafka out of reach");
    world.kafka().resume();
    wait_until_ready(&world);
    let report = stop(crowd);
    settle_and_check(&world, &report.history);
    let late = buyers(&mut world, "phone", 5, 5);
    assert_eq!(crate::accepted(&crate::run(late).history), 5);
}
