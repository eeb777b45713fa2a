//! Workers killed and shared: every accepted order is stored, once.

use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::crowd::Repeat;
use flux_lab::deployment::{Deployment, DeploymentOptions};

use crate::{accepted, deployment, endless, settle_and_check, stop, units_stored, wait_until};

#[test]
fn a_worker_killed_under_load_loses_nothing() {
    let mut deployment = deployment();
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 64);
    crowd.repeat = Repeat::UNTIL_SETTLED;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    for _ in 0..2 {
        let stored = units_stored(&deployment, "phone");
        wait_until("orders are being stored", || units_stored(&deployment, "phone") > stored + 100);
        deployment.workers[0].program.kill();
        let accepted = crowd.progress().accepted;
        wait_until("orders go on being accepted", || crowd.progress().accepted > accepted + 100);
        deployment.workers[0].program.start().unwrap();
    }
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), accepted(&report.history) as i64);
}

#[test]
fn two_workers_share_the_partitions_and_one_inherits_all() {
    let mut deployment = Deployment::start(DeploymentOptions { workers: 2, ..DeploymentOptions::default() }).unwrap();
    deployment.init("phone", 1_000_000).unwrap();
    let assigned = |deployment: &Deployment, worker: usize| {
        let metrics = flux_lab::http_client::request(
            deployment.workers[worker].admin(),
            "GET",
            "/metrics",
            &[],
            b"",
            Duration::from_secs(5),
        )
        .unwrap();
        let text = metrics.text();
        let line = text.lines().find(|line| line.starts_with("flux_worker_partitions "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    wait_until("each has two of the four partitions", || {
        assigned(&deployment, 0) == 2.0 && assigned(&deployment, 1) == 2.0
    });
    let mut crowd = endless(&mut deployment, "phone", 64);
    crowd.repeat = Repeat::UNTIL_SETTLED;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being stored", || units_stored(&deployment, "phone") > 200);
    deployment.workers[1].program.kill();
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), accepted(&report.history) as i64);
    wait_until("the one that is left has all four", || assigned(&deployment, 0) == 4.0);
}

#[test]
fn redis_forgets_the_returns_of_a_sale_that_was_replaced() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    let bought = deployment.order("phone", "ann", "key", 1).unwrap();
    assert_eq!(bought.status, 200, "{}", bought.text());
    let order = bought.json()["orderId"].as_str().expect("an order").to_owned();
    // Its record is lost, so a repeat takes a second unit, and the worker gives that back.
    let mut redis = deployment.redis.connection().unwrap();
    let sale: String = redis::cmd("HGET").arg("product:{phone}:sale").arg("id").query(&mut redis).unwrap();
    redis::cmd("HDEL").arg(format!("idempotency:{{phone}}:{sale}")).arg(order).exec(&mut redis).unwrap();
    assert_eq!(deployment.order("phone", "ann", "key", 1).unwrap().status, 200);
    // One of them is the mark.
    let mut noted = || -> u64 { redis::cmd("SCARD").arg("product:{phone}:returned").query(&mut redis).unwrap() };
    wait_until("it is given back", || noted() == 2);
    wait_until("the ledger knows", || {
        let pending =
            deployment.ledger().unwrap().query_one("SELECT count(*) FROM returns WHERE state = 'returned'", &[]);
        pending.unwrap().get::<_, i64>(0) == 1
    });
    deployment.init_with(serde_json::json!({"productId": "phone", "quantity": 10, "rate": 0, "force": true})).unwrap();
    wait_until("it is forgotten", || noted() == 1);
    wait_until("the account holds", || deployment.audit(Some("phone")).unwrap().code == Some(0));
}
