//! Kafka paused: orders are reserved and answered 202, and delivered when it is back.

use std::time::Duration;

use flux_lab::crowd::Outcome;
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};

use crate::{endless, settle_and_check, stop, wait_until};

#[test]
fn a_paused_kafka_means_202_and_later_delivery() {
    let mut deployment =
        Deployment::start(DeploymentOptions { servers: Servers::own(), ..DeploymentOptions::default() }).unwrap();
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 32);
    crowd.timeout = Duration::from_secs(10);
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being accepted", || crowd.progress().accepted > 200);
    deployment.kafka().pause().unwrap();
    wait_until("orders are answered 202", || crowd.progress().pending > 0);
    deployment.kafka().resume();
    let report = stop(crowd);
    let pending = report.history.count(|outcome| matches!(outcome, Outcome::Pending { .. }));
    assert!(pending > 0, "{}", report.table());
    settle_and_check(&deployment, &report.history);
}
