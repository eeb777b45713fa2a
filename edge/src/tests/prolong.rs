//! Records of orders that stand in the outbox for longer than a record lives.

use std::time::Duration;

use super::redis::bulk;
use super::{Bench, at, config};
use crate::core::CoreConfig;

/// The shortest life that a record may have.
fn short() -> CoreConfig {
    CoreConfig { idempotency_ttl: Duration::from_secs(60), ..config() }
}

#[test]
fn standing_entries_have_their_records_prolonged_while_kafka_is_away() {
    let mut bench = Bench::with(short(), |_| {});
    bench.broker.go_down(at(bench.now), &mut bench.core);
    bench.redis.stand("p", "5-0", "5-0");
    bench.pass(600_000);
    let calls = bench.redis.calls("prolong");
    assert_eq!(calls[0][4..], ["-", "30000", "idempotency:{p}:", "60", "32"]);
    // Four times in each life, for as long as it takes.
    assert!((36..=44).contains(&calls.len()), "{} walks in ten minutes", calls.len());
    assert_eq!(bench.redis.calls("relay"), [] as [Vec<String>; 0]);
    let walked = calls.len();
    bench.redis.stand("p", "", "");
    bench.pass(60_000);
    assert_eq!(bench.redis.calls("prolong").len(), walked, "nothing stands any more");
}

#[test]
fn a_long_outbox_is_walked_page_by_page() {
    let mut bench = Bench::with(short(), |redis| redis.open_sale("q", 10));
    for product in ["p", "q"] {
        bench.redis.stand(product, "5-0", "900-0");
    }
    for last in ["100-3", "200-0"] {
        bench.redis.script("prolong", bulk(last));
    }
    bench.pass(2_500);
    let calls: Vec<[String; 2]> =
        bench.redis.calls("prolong").iter().map(|call| [call[1].clone(), call[4].clone()]).collect();
    let (p, q) = ("product:{p}:outbox", "product:{q}:outbox");
    assert_eq!(calls, [[p, "-"], [p, "(100-3"], [p, "(200-0"], [q, "-"]], "one walk after the other");
}

/// Where the walks began or went on.
fn froms(bench: &Bench) -> Vec<String> {
    bench.redis.calls("prolong").iter().map(|call| call[4].clone()).collect()
}

#[test]
fn a_walk_that_was_lost_begins_anew() {
    let mut bench = Bench::with(short(), |_| {});
    bench.redis.stand("p", "5-0", "900-0");
    bench.redis.holds = vec!["prolong"];
    bench.pass(2_500);
    assert_eq!(froms(&bench), ["-"]);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.connect();
    bench.pass(2_500);
    assert_eq!(froms(&bench), ["-", "-"], "not a quarter of a life later");
}

#[test]
fn a_walk_that_was_refused_begins_anew() {
    let mut bench = Bench::with(short(), |_| {});
    bench.redis.stand("p", "5-0", "900-0");
    for reply in [bulk("100-3"), "-NOSCRIPT No matching script.\r\n".to_owned()] {
        bench.redis.script("prolong", reply);
    }
    bench.pass(4_500);
    assert_eq!(froms(&bench), ["-", "(100-3", "-"]);
}
