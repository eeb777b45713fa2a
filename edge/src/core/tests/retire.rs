//! How often it is asked whether records may go.

use std::time::Duration;

use super::{Bench, config};
use crate::core::config::CoreConfig;

/// The shortest life that a record may have.
fn short() -> CoreConfig {
    CoreConfig { idempotency_ttl: Duration::from_secs(60), ..config() }
}

/// The products that were asked about.
fn asked(bench: &Bench) -> Vec<String> {
    bench.redis.calls("retire").iter().map(|call| call[1].clone()).collect()
}

#[test]
fn each_product_is_asked_about_four_times_in_a_life() {
    let mut bench = Bench::with(short(), |redis| redis.open_sale("q", 10));
    bench.pass(600_000);
    let calls = bench.redis.calls("retire");
    assert_eq!(calls[0], ["2", "product:{p}:outbox", "product:{p}:sale", "60000"]);
    for product in ["{p}", "{q}"] {
        let times = asked(&bench).iter().filter(|key| key.contains(product)).count();
        assert!((36..=44).contains(&times), "{times} times in ten minutes");
    }
    assert_eq!(bench.counters.records_retired.get(), calls.len() as u64, "each removed one, as the fake has it");
}

#[test]
fn one_is_asked_about_at_a_time() {
    let mut bench = Bench::with(short(), |redis| redis.open_sale("q", 10));
    bench.pass(10_000);
    bench.redis.asked.clear();
    bench.redis.holds = vec!["retire"];
    bench.pass(60_000);
    assert_eq!(asked(&bench).len(), 1);
}

#[test]
fn a_question_that_was_lost_or_refused_is_asked_again_with_the_next_refresh() {
    let mut bench = Bench::with(short(), |_| {});
    bench.pass(2_500);
    let before = asked(&bench).len();
    bench.pass(10_000);
    bench.redis.holds = vec!["retire"];
    bench.pass(6_000);
    assert_eq!(asked(&bench).len(), before + 1);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.redis.script("retire", "-NOSCRIPT No matching script.\r\n");
    bench.connect();
    bench.pass(3_500);
    assert_eq!(asked(&bench).len(), before + 3, "the lost one, the refused one, and no more");
}
