//! Workers killed and shared: every accepted order is stored, once.

use std::time::Duration;

use flux_lab::crowd::Repeat;
use flux_lab::world::{World, WorldOptions};

use crate::{accepted, endless, settle_and_check, stop, units_stored, wait_until, world};

#[test]
fn a_worker_killed_under_load_loses_nothing() {
    let mut world = world();
    world.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut world, "phone", 64);
    crowd.repeat = Repeat::UNTIL_SETTLED;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    for _ in 0..2 {
        let stored = units_stored(&world, "phone");
        wait_until("orders are being stored", || units_stored(&world, "phone") > stored + 100);
        world.workers[0].program.kill();
        let accepted = crowd.progress().accepted;
        wait_until("orders go on being accepted", || crowd.progress().accepted > accepted + 100);
        world.workers[0].program.start().unwrap();
    }
    let report = stop(crowd);
    settle_and_check(&world, &report.history);
    assert_eq!(units_stored(&world, "phone"), accepted(&report.history) as i64);
}

#[test]
fn two_workers_share_the_partitions_and_one_inherits_all() {
    let mut world = World::start(WorldOptions { workers: 2, ..WorldOptions::default() }).unwrap();
    world.init("phone", 1_000_000).unwrap();
    let assigned = |world: &World, worker: usize| {
        let metrics = flux_lab::http_client::request(
            world.workers[worker].admin(),
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
    wait_until("each has two of the four partitions", || assigned(&world, 0) == 2.0 && assigned(&world, 1) == 2.0);
    let mut crowd = endless(&mut world, "phone", 64);
    crowd.repeat = Repeat::UNTIL_SETTLED;
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being stored", || units_stored(&world, "phone") > 200);
    world.workers[1].program.kill();
    let report = stop(crowd);
    settle_and_check(&world, &report.history);
    assert_eq!(units_stored(&world, "phone"), accepted(&report.history) as i64);
    wait_until("the one that is left has all four", || assigned(&world, 0) == 4.0);
}
