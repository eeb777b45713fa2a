//! Nothing waits without a deadline, and whatever is waited for may change: a request that waits is answered, or sets out anew.

use super::fair::{fair, ticket};
use super::redis::{FakeQueue, SALE_ID, SEED};
use super::{Bench, config};
use crate::answer::{Answer, Unavailable};
use crate::limits::TOKEN_WAITERS_MAX;

const DRY: FakeQueue = FakeQueue { mark: (2, 0), is_free: false, tokens: 0 };

/// Every request that may be answered later, while Redis answers nothing, and the connection to it stands.
#[test]
fn while_redis_is_silent_every_request_is_answered_when_its_time_is_up() {
    let mut bench = Bench::new();
    bench.pass(200);
    bench.redis.holds = vec!["refresh", "queue", "status", "EXISTS", "close", "reserve"];
    let id = "00000000-0000-8000-8000-000000000001";
    let reads = ["/stock/p".to_owned(), "/queue/p".to_owned(), format!("/order/p/{id}")];
    let of_unknown = ["/stock/q".to_owned(), "/queue/q".to_owned(), format!("/order/q/{id}")];
    let asked: Vec<u32> = reads.iter().chain(&of_unknown).map(|path| bench.get(path)).collect();
    let orders = bench.orders(&["ann"]);
    let operated = bench.operate("/close", r#"{"productId":"p"}"#);
    bench.pass(600);
    assert_eq!(bench.statuses(&asked), [Some(503); 6]);
    assert_eq!(bench.statuses(&orders), [Some(503)]);
    assert_eq!(bench.statuses(&[operated]), [None], "the script, the registry and Kafka");
    bench.pass(3_000);
    assert_eq!(bench.answers[&operated], Answer::Unknown);
    // Redis wakes: what comes now is for nobody (`run` sees that a request is answered once), and all goes on.
    bench.redis.holds.clear();
    bench.redis.script("queue", "*1\r\n$1\r\nS\r\n");
    bench.redis.script("close", "*1\r\n$1\r\nU\r\n");
    bench.pass(1_000);
    let stock = bench.get("/stock/p");
    assert_eq!(bench.statuses(&[stock]), [Some(200)]);
}

#[test]
fn who_stands_at_the_door_of_a_sale_that_is_closed_is_told_so() {
    let mut bench = fair(DRY, 0);
    let held = bench.order_with("ann", ticket(1, "ann", false));
    bench.redis.sales.get_mut("p").expect("a sale")[0] = "closed".to_owned();
    bench.get("/stock/p");
    bench.pass(50);
    assert_eq!(bench.answers.get(&held), Some(&Answer::SoldOut));
}

#[test]
fn who_waits_for_a_token_when_the_sale_is_opened_anew_without_a_limit_orders_in_it() {
    let mut bench = fair(DRY, 0);
    let held = bench.order_with("ann", ticket(1, "ann", false));
    bench.pass(100);
    bench.redis.queue = None;
    let fields = bench.redis.sales.get_mut("p").expect("a sale");
    fields[2] = (SALE_ID + 1).to_string();
    (fields[6], fields[14]) = ("0".to_owned(), String::new());
    bench.get("/stock/p");
    bench.pass(50);
    assert_eq!(bench.statuses(&[held]), [Some(200)]);
}

#[test]
fn who_waits_for_a_token_when_the_sale_is_opened_anew_joins_its_line() {
    let mut bench = fair(DRY, 0);
    let held = bench.order_with("ann", ticket(1, "ann", false));
    bench.pass(100);
    let fields = bench.redis.sales.get_mut("p").expect("a sale");
    fields[2] = (SALE_ID + 1).to_string();
    assert_eq!(fields[14], SEED);
    bench.redis.queue.as_mut().expect("a queue").mark = (0, 0);
    bench.get("/stock/p");
    bench.pass(50);
    assert!(matches!(bench.answers.get(&held), Some(Answer::InQueue { .. })), "{:?}", bench.answers.get(&held));
}

#[test]
fn who_stands_at_the_door_when_redis_goes_is_told_at_once() {
    let mut bench = fair(DRY, 0);
    // The bucket is known to be empty, so that no call is on its way that would be lost.
    let held = bench.order_with("ann", ticket(1, "ann", false));
    bench.lose_redis();
    assert_eq!(bench.answers.get(&held), Some(&Answer::Unavailable(Unavailable::Redis)));
    let mut bench = Bench::with(config(), |redis| {
        let fields = redis.sales.get_mut("p").expect("a sale");
        (fields[6], fields[7]) = ("50".to_owned(), "50".to_owned());
        redis.holds = vec!["lease"];
    });
    let waits = bench.orders(&["ann"]);
    bench.lose_redis();
    assert_eq!(bench.statuses(&waits), [Some(503)]);
}

#[test]
fn an_order_that_sets_out_anew_from_the_door_has_a_deadline_again() {
    let mut bench = fair(DRY, 0);
    let held = bench.order_with("ann", ticket(1, "ann", false));
    // Longer than an order may wait for Redis: it is forgotten among those that do.
    bench.pass(700);
    bench.redis.holds = vec!["replay_lookup"];
    bench.redis.sales.get_mut("p").expect("a sale")[0] = "closed".to_owned();
    bench.get("/stock/p");
    bench.pass(20);
    assert_eq!(bench.statuses(&[held]), [None], "its record is being looked up");
    bench.pass(600);
    assert_eq!(bench.statuses(&[held]), [Some(503)]);
}

/// While Redis grants no tokens orders gather; were there no end of them, one sale would keep all other orders of its core out.
#[test]
fn no_more_than_so_many_wait_for_a_token_and_the_next_is_sent_to_the_waiting_room() {
    let mut bench = Bench::with(config(), |redis| {
        let fields = redis.sales.get_mut("p").expect("a sale");
        (fields[6], fields[7]) = ("50".to_owned(), "50".to_owned());
        redis.holds = vec!["lease"];
    });
    let waiting: Vec<u32> = (0..TOKEN_WAITERS_MAX).map(|n| bench.order(&format!("user-{n}"))).collect();
    let next = bench.order("ann");
    assert!(waiting.iter().all(|order| !bench.answers.contains_key(order)));
    assert!(matches!(bench.answers.get(&next), Some(Answer::Redirect(_))), "{:?}", bench.answers.get(&next));
}
