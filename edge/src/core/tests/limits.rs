//! How often one user may order: what is too often is told at once, and never reaches Redis.

use std::sync::Arc;
use std::time::Duration;

use super::{Bench, config};
use crate::answer::Answer;
use crate::core::config::CoreConfig;
use crate::counters::OrderOutcome;
use crate::throttle::Throttle;

#[test]
fn a_user_who_orders_too_often_is_told_when_to_come_back_and_nobody_else() {
    let users = Some(Arc::new(Throttle::new(1, 2)));
    let mut bench = Bench::with(CoreConfig { users, ..config() }, |_| {});
    let [first, second, third] = ["1", "2", "3"].map(|key| bench.order_under("often", key));
    let other = bench.order_under("other", "1");
    assert_eq!(bench.answers.get(&third), Some(&Answer::Limited { seconds: 1 }), "before anything is asked");
    let told = bench.written(third);
    assert!(told.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{told}");
    assert!(told.contains("\r\nretry-after: 1\r\n") && told.contains("{\"status\":\"limited\","), "{told}");
    bench.pass(100);
    for order in [first, second, other] {
        assert!(matches!(bench.answers.get(&order), Some(Answer::Accepted { .. })), "{:?}", bench.answers.get(&order));
    }
    assert_eq!(bench.counters.orders[OrderOutcome::Limited as usize].get(), 1);
    bench.pass(Duration::from_secs(1).as_millis() as u64);
    let later = bench.order_under("often", "3");
    bench.pass(100);
    assert!(matches!(bench.answers.get(&later), Some(Answer::Accepted { replayed: false, .. })));
}
