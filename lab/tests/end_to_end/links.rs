//! Servers that stand and do not answer, or answer and refuse: an edge says so, and why, whether anybody buys or not.

use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client;

use crate::{buyers, deployment, endless, settle_and_check, stop, wait_until};

/// What the first edge answers to `path` at its admin listener.
fn told(deployment: &Deployment, path: &str) -> (u16, String) {
    let admin = deployment.edges[0].admin();
    let answer = http_client::request(admin, "GET", path, &[], b"", Duration::from_secs(15)).unwrap();
    (answer.status, answer.text())
}

/// Whether all is well, by the first edge.
fn ready(deployment: &Deployment) -> (u16, String) {
    told(deployment, "/readyz?deep")
}

fn wait_until_ready(deployment: &Deployment) {
    wait_until("the edge is ready", || ready(deployment).0 == 200);
}

/// Until it is not, for the reason given.
fn wait_until_unready(deployment: &Deployment, why: &str) {
    wait_until(why, || {
        let (status, body) = ready(deployment);
        status == 503 && body.contains(why)
    });
}

/// Nothing is sold; the log says why, and an order in Redis' own words is a 503.
/// A thread of its own writes the log: what `/readyz` says already may be on its way there.
fn wait_until_logged(deployment: &Deployment, why: &str) {
    wait_until("the log says why", || {
        let log = deployment.edges[0].program.output();
        let says_so = |line: &str| line.contains("lets no order through") || line.contains("lacks rights");
        log.lines().any(|line| says_so(line) && line.contains(why))
    });
}

fn assert_refused(deployment: &mut Deployment, why: &str) {
    wait_until_logged(deployment, why);
    assert_eq!(deployment.order("phone", "a", why, 1).unwrap().status, 503);
}

#[test]
fn a_redis_that_is_stopped_or_refuses_is_told_while_nobody_buys() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    wait_until_ready(&deployment);
    deployment.redis.pause().unwrap();
    wait_until_unready(&deployment, "Redis out of reach");
    assert_eq!(told(&deployment, "/readyz").0, 503, "without Redis it can answer nobody");
    deployment.redis.resume();
    wait_until_ready(&deployment);

    let mut redis = deployment.redis.connection().unwrap();
    let mut set =
        |name: &str, value: &str| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut redis).unwrap();
    for (name, refusing, usual, why) in
        [("maxmemory", "1", "0", "OOM"), ("min-replicas-to-write", "1", "0", "NOREPLICAS")]
    {
        set(name, refusing);
        wait_until_unready(&deployment, why);
        assert_refused(&mut deployment, why);
        set(name, usual);
        wait_until_ready(&deployment);
    }
    assert_eq!(deployment.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_redis_that_cannot_save_its_snapshot_is_told_while_nobody_buys() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    wait_until_ready(&deployment);
    let mut redis = deployment.redis.connection().unwrap();
    // Where the snapshot should go stands a directory that is not empty: whichever user runs the test, no file takes its place.
    let in_the_way = deployment.redis.directory().join("dump.rdb");
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
    wait_until_unready(&deployment, "MISCONF");
    assert_refused(&mut deployment, "MISCONF");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    save(&mut redis, "ok");
    wait_until_ready(&deployment);
    assert_eq!(deployment.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_user_of_redis_who_lacks_a_permission_is_told_which() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    let mut redis = deployment.redis.connection().unwrap();
    let mut allow = |rules: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg("default").arg(rules).exec(&mut redis).unwrap();
    };
    wait_until_ready(&deployment);
    let rules = [
        (&["-info"][..], &["+info"][..], "its user may not INFO"),
        (&["-time"], &["+time"], "without TIME: no order is taken of a sale that has a rate limit"),
        (&["-xrevrange"], &["+xrevrange"], "it is not seen how sales stand"),
        (&["-sadd"], &["+sadd"], "no sale is opened"),
        (&["-xadd"], &["+xadd"], "XADD product:"),
        (&["resetkeys", "~product:*", "~idempotency:*"], &["allkeys"], "EXISTS flux:products"),
    ];
    for (number, (taken, given, why)) in rules.into_iter().enumerate() {
        allow(taken);
        wait_until_unready(&deployment, why);
        wait_until_logged(&deployment, why);
        let order = deployment.order("phone", "b", &format!("without-{number}"), 1).unwrap();
        assert_ne!(order.json()["status"], "unknown", "{why}: it is certain whether it was reserved");
        allow(given);
        wait_until_ready(&deployment);
    }
    assert_eq!(deployment.order("phone", "a", "a", 1).unwrap().status, 200);
    // An operator who opens a sale is told the right, and of no sale that is suspended.
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("default")
        .arg("-hdel")
        .exec(&mut deployment.redis.connection().unwrap())
        .unwrap();
    let refused = deployment.init("next", 10).expect_err("HDEL is needed").to_string();
    assert!(refused.contains("503") && refused.contains("its user may not HDEL"), "{refused}");
}

/// Scripts are loaded when a connection begins: without that permission there is none.
#[test]
fn a_user_of_redis_who_may_not_load_scripts_is_told_so() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    wait_until_ready(&deployment);
    let mut redis = deployment.redis.connection().unwrap();
    redis::cmd("ACL").arg("SETUSER").arg("default").arg("-script").exec(&mut redis).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut redis).unwrap();
    wait_until_unready(&deployment, "script|load");
    wait_until_logged(&deployment, "script|load");
    let order = deployment.order("phone", "a", "a", 1).unwrap();
    assert_eq!((order.status, order.json()["status"].as_str()), (503, Some("unavailable")), "nothing was asked");
    redis::cmd("ACL").arg("SETUSER").arg("default").arg("+script").exec(&mut redis).unwrap();
    wait_until_ready(&deployment);
    assert_eq!(deployment.order("phone", "a", "a", 1).unwrap().status, 200);
}

#[test]
fn a_kafka_that_is_stopped_is_told_whether_anybody_buys_or_not() {
    let mut deployment =
        Deployment::start(DeploymentOptions { servers: Servers::own(), ..DeploymentOptions::default() }).unwrap();
    wait_until_ready(&deployment);
    deployment.kafka().pause().unwrap();
    wait_until_unready(&deployment, "Kafka out of reach");
    deployment.kafka().resume();
    wait_until_ready(&deployment);

    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 16);
    crowd.timeout = Duration::from_secs(20);
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("they buy", || deployment.edges[0].program.is_ready() && crate::units_stored(&deployment, "phone") > 0);
    deployment.kafka().pause().unwrap();
    wait_until_unready(&deployment, "Kafka out of reach");
    assert_eq!(told(&deployment, "/readyz").0, 200, "a 202 is an answer");
    deployment.kafka().resume();
    wait_until_ready(&deployment);
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    let late = buyers(&mut deployment, "phone", 5, 5);
    assert_eq!(crate::accepted(&crate::run(late).history), 5);
}
