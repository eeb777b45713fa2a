//! Redis stopped, emptied, restarted, without its scripts: 503, never a sale, and nothing lost of what was promised.

use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::crowd::{Outcome, Refusal, Repeat};
use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::servers::Data;

use crate::{accepted, buyers, deployment, endless, run, settle, settle_and_check, stop, units_stored, wait_until};

/// The shortest that is sound: an edge's last request carries nothing that is older.
pub(crate) const FENCE: &[&str] = &["--fence", "15s"];

#[test]
fn a_stopped_redis_sells_nothing_and_what_lay_in_its_socket_is_delivered() {
    let mut deployment = deployment();
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 64);
    crowd.repeat = Repeat { attempts_max: 100, ..Repeat::UNTIL_SETTLED };
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being accepted", || crowd.progress().accepted > 200);
    deployment.redis.pause().unwrap();
    wait_until("the edge says 503", || crowd.progress().other_no > 20);
    deployment.redis.resume();
    let before = crowd.progress().accepted;
    wait_until("orders are accepted again", || crowd.progress().accepted > before + 200);
    let report = stop(crowd);
    let refused = report.history.count(|outcome| *outcome == Outcome::No(Refusal::Unavailable));
    assert!(refused > 0, "{}", report.table());
    settle_and_check(&deployment, &report.history);
}

#[test]
fn an_emptied_redis_suspends_the_sale_until_it_is_rebuilt() {
    let mut deployment = deployment();
    deployment.init("phone", 100).unwrap();
    let first = run(buyers(&mut deployment, "phone", 40, 20));
    assert_eq!(accepted(&first.history), 40);
    settle(&deployment, &first.history);
    redis::cmd("FLUSHALL").exec(&mut deployment.redis.connection().unwrap()).unwrap();
    let refused = deployment.order("phone", "late", "late", 1).unwrap();
    assert_eq!((refused.status, refused.json()["status"].as_str()), (503, Some("unavailable")));
    let init = deployment.admin("/init", &serde_json::json!({"productId": "phone", "quantity": 100})).unwrap();
    assert_eq!((init.status, init.json()["error"].as_str()), (409, Some("Sale suspended, rebuild first")));

    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge sells again", || {
        deployment.order("phone", "late", "late", 1).is_ok_and(|answer| answer.status == 200)
    });
    let mut crowd = buyers(&mut deployment, "phone", 200, 20);
    crowd.orders = flux_lab::crowd::Orders::unique("phone", "second");
    let second = run(crowd);
    assert_eq!(accepted(&second.history), 59, "100 less 40 less 1: {}", second.table());
    let mut history = first.history;
    history.extend(&second.history);
    settle(&deployment, &history);
    assert_eq!(units_stored(&deployment, "phone"), 100);
    let replayed = deployment.order("phone", "crowd-u0", "crowd-k0", 1).unwrap();
    assert_eq!(replayed.status, 200, "records are rebuilt too: {}", replayed.text());
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
}

#[test]
fn a_restarted_redis_is_not_trusted_even_with_its_data() {
    let mut deployment = Deployment::start(DeploymentOptions {
        redis: flux_lab::servers::RedisOptions { append_only: true, ..Default::default() },
        ..Default::default()
    })
    .unwrap();
    deployment.init("phone", 100).unwrap();
    let first = run(buyers(&mut deployment, "phone", 30, 20));
    settle(&deployment, &first.history);
    deployment.redis.restart(Data::Keep).unwrap();
    wait_until("the edge has found it again and says suspended", || {
        let answer = deployment.order("phone", "late", "late", 1).unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        answer.json()["msg"] == "Sale suspended"
    });
    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge sells again", || {
        deployment.order("phone", "late", "late", 1).is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_flushed_script_cache_goes_unnoticed() {
    // Who is refused here was refused for a script, not because the machine is busy.
    let patient = [("FLUX_CORES", "1"), ("FLUX_REDIS_DEADLINE", "2500ms")];
    let edge_environment = patient.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut deployment =
        Deployment::start(DeploymentOptions { edge_environment, ..DeploymentOptions::default() }).unwrap();
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = deployment.buyers("phone", 3_000, 64);
    crowd.repeat = Repeat::NEVER;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    let mut redis = deployment.redis.connection().unwrap();
    for _ in 0..20 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let report = crowd.join().unwrap();
    assert_eq!(accepted(&report.history), 3_000, "{}", report.table());
    settle_and_check(&deployment, &report.history);
}

#[test]
fn whatever_is_asked_first_after_the_scripts_are_flushed_is_answered_as_ever() {
    let mut deployment = deployment();
    let mut redis = deployment.redis.connection().unwrap();
    let mut flush = || redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis).unwrap();
    flush();
    deployment.init("phone", 100).unwrap();
    flush();
    // Another product is not in memory, and a new one's tokens were never asked for.
    let unknown = deployment.get("/stock/no-such").unwrap();
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    flush();
    assert_eq!(deployment.order("phone", "ann", "k", 1).unwrap().status, 200);
    for path in ["/queue/phone", "/stock/phone"] {
        flush();
        let answer = deployment.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    flush();
    let status = deployment.get("/order/phone/00000000-0000-8000-8000-000000000001").unwrap();
    assert_eq!((status.status, status.json()["error"].as_str()), (404, Some("Unknown order")));
    flush();
    let closed = deployment.admin("/close", &serde_json::json!({"productId": "phone"})).unwrap();
    assert_eq!(closed.status, 200, "{}", closed.text());
}

#[test]
fn whoever_has_a_200_of_a_sold_out_sale_is_never_told_409_by_a_redis_that_was_emptied() {
    let mut deployment = deployment();
    for number in 0..5 {
        let product = format!("phone-{number}");
        deployment.init(&product, 1).unwrap();
        assert_eq!(deployment.order(&product, "ann", "k", 1).unwrap().status, 200);
        assert_eq!(deployment.order(&product, "bob", "k", 1).unwrap().status, 409, "sold out, and remembered so");
        redis::cmd("FLUSHALL").exec(&mut deployment.redis.connection().unwrap()).unwrap();
        let again = deployment.order(&product, "ann", "k", 1).unwrap();
        assert_eq!(again.status, 503, "{}", again.text());
    }
}

#[test]
fn the_first_replica_attached_under_load_is_harmless() {
    let mut deployment = deployment();
    deployment.init("phone", 1_000_000).unwrap();
    let replica = flux_lab::servers::Redis::start(deployment.run(), Default::default()).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 64);
    crowd.repeat = Repeat { attempts_max: 50, ..Repeat::UNTIL_SETTLED };
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being accepted", || crowd.progress().accepted > 200);
    let address = deployment.redis.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut connection = replica.connection().unwrap();
    redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut connection).unwrap();
    let mut master = deployment.redis.connection().unwrap();
    wait_until("the replica is attached", || {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut master).unwrap();
        info.contains("connected_slaves:1")
    });
    let before = crowd.progress().accepted;
    wait_until("orders go on being accepted", || crowd.progress().accepted > before + 200);
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
}

#[test]
fn an_edge_that_wakes_after_a_rebuild_publishes_nothing_that_it_had_reserved_before() {
    let mut deployment = Deployment::start(DeploymentOptions { edges: 2, ..Default::default() }).unwrap();
    deployment.init_with(serde_json::json!({"productId": "phone", "quantity": 1_000_000, "rate": 0})).unwrap();
    wait_until("both edges know the sale", || deployment.get("/stock/phone").is_ok_and(|stock| stock.status == 200));
    let mut crowd = endless(&mut deployment, "phone", 64);
    crowd.timeout = Duration::from_secs(3);
    crowd.repeat = Repeat::NEVER;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being accepted", || crowd.progress().accepted > 500);
    // Stopped in full run: with replies of Redis to be read, with records in the open batch and in its sockets.
    deployment.edges[0].program.pause().unwrap();
    let mut history = stop(crowd).history;
    settle(&deployment, &history);
    redis::cmd("FLUSHALL").exec(&mut deployment.redis.connection().unwrap()).unwrap();
    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    let stored = units_stored(&deployment, "phone");
    deployment.edges[0].program.resume();
    wait_until("it believes the sale again", || {
        deployment.get("/stock/phone").is_ok_and(|stock| stock.json()["state"] == "open")
    });
    let mut crowd = deployment.buyers("phone", 2_000, 64);
    crowd.orders = flux_lab::crowd::Orders::unique("phone", "second");
    crowd.repeat = Repeat { attempts_max: 50, ..Repeat::UNTIL_SETTLED };
    let second = run(crowd);
    assert_eq!(accepted(&second.history), 2_000, "{}", second.table());
    history.extend(&second.history);
    // The stock was set to what the ledger had not: whatever comes from before would be one unit too many.
    settle_and_check(&deployment, &history);
    assert_eq!(units_stored(&deployment, "phone"), stored + 2_000);
}

#[test]
fn a_restarted_redis_without_replicas_is_rebuilt_by_the_workers_themselves() {
    let mut deployment = Deployment::start(DeploymentOptions {
        workers: 2,
        worker_environment: vec![("FLUX_REBUILD".to_owned(), "auto".to_owned())],
        ..Default::default()
    })
    .unwrap();
    deployment.init("phone", 100).unwrap();
    let first = run(buyers(&mut deployment, "phone", 40, 20));
    assert_eq!(accepted(&first.history), 40);
    settle(&deployment, &first.history);
    // It comes back with nothing at all.
    deployment.redis.restart(Data::Lose).unwrap();
    wait_until("the edge sells again", || {
        deployment.order("phone", "late", "late", 1).is_ok_and(|answer| answer.status == 200)
    });
    let mut crowd = buyers(&mut deployment, "phone", 200, 20);
    crowd.orders = flux_lab::crowd::Orders::unique("phone", "second");
    let second = run(crowd);
    assert_eq!(accepted(&second.history), 59, "100 less 40 less 1: {}", second.table());
    let mut history = first.history;
    history.extend(&second.history);
    settle(&deployment, &history);
    assert_eq!(units_stored(&deployment, "phone"), 100);
}

#[test]
fn a_stock_that_was_raised_by_hand_suspends_the_sale() {
    let mut deployment = deployment();
    deployment.init("phone", 100).unwrap();
    let first = run(buyers(&mut deployment, "phone", 40, 20));
    settle(&deployment, &first.history);
    redis::cmd("SET").arg("product:{phone}:stock").arg(61).exec(&mut deployment.redis.connection().unwrap()).unwrap();
    wait_until("the worker has suspended it and the edge has seen it", || {
        deployment.get("/stock/phone").is_ok_and(|answer| answer.text().contains("\"suspended\""))
    });
    assert_eq!(deployment.order("phone", "late", "late", 1).unwrap().status, 503);
    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge sells again", || {
        deployment.order("phone", "late", "late", 1).is_ok_and(|answer| answer.status == 200)
    });
    let mut crowd = buyers(&mut deployment, "phone", 100, 20);
    crowd.orders = flux_lab::crowd::Orders::unique("phone", "second");
    let second = run(crowd);
    assert_eq!(accepted(&second.history), 59, "{}", second.table());
}
