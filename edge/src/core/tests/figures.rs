//! What a core counts of fair queues, and hands over of each product once a second.

use std::sync::Arc;

use super::Bench;
use super::fair::{fair, ticket};
use super::redis::{CALLED, FakeQueue, ISSUED};
use crate::counters::{Counters, ProductGauge, QueueGauge};

/// Longer than the second in which gauges are handed over.
const HANDED_OVER_MS: u64 = 1_000;

fn line(mark: (u32, u32), tokens: u64) -> FakeQueue {
    FakeQueue { mark, is_free: false, tokens }
}

fn counted(line: FakeQueue) -> (Bench, Arc<Counters>) {
    let bench = fair(line, 0);
    let counters = Arc::clone(&bench.counters);
    (bench, counters)
}

impl Bench {
    fn gauge(&self) -> ProductGauge {
        self.counters.products.lock().expect("not poisoned")[0]
    }
}

#[test]
fn places_comers_and_served_are_counted_as_redis_was_told_and_once_for_each_visitor() {
    let (mut bench, counters) = counted(line((2, 0), 100));
    let queues = &counters.queues;
    let before = queues.calls.get();
    bench.pass(3_000);
    // Two come without a place, one of them in two tabs; one was called, and one waits.
    bench.orders(&["ann", "bob", "ann"]);
    bench.order_with("cid", ticket(1, "cid", false));
    bench.order_with("dan", ticket(3, "dan", false));
    bench.pass(200);
    assert_eq!(
        [queues.places.get(), queues.arrivals.get(), queues.served.get(), queues.turned_away.get()],
        [2, 1, 1, 0]
    );
    // `fair` forgot what was asked until then.
    let calls = before + bench.redis.calls("lease").len() as u64;
    assert_eq!([queues.calls.get(), queues.calls_failed.get()], [calls, 0]);
}

#[test]
fn a_report_whose_reply_was_lost_counts_when_it_is_told_again_and_the_call_as_failed() {
    let (mut bench, counters) = counted(line((0, 0), 0));
    let queues = &counters.queues;
    bench.redis.holds = vec!["lease"];
    bench.orders(&["ann", "bob"]);
    bench.pass(150);
    bench.lose_redis();
    assert_eq!([queues.places.get(), queues.calls_failed.get()], [0, 1]);
    bench.redis.holds.clear();
    bench.connect();
    bench.pass(200);
    assert_eq!([queues.places.get(), queues.calls_failed.get()], [2, 1]);
}

#[test]
fn who_was_called_and_waits_for_a_token_shows_until_they_are_sent_away() {
    let (mut bench, counters) = counted(line((2, 0), 0));
    let queues = &counters.queues;
    // Gauges are handed over every 900 ms, and nobody waits for a token for longer than a second.
    bench.pass(200);
    for user in ["ann", "bob"] {
        bench.order_with(user, ticket(1, user, false));
    }
    bench.pass(HANDED_OVER_MS - 50);
    assert_eq!([queues.awaiting_token.get(), queues.turned_away.get()], [2, 0]);
    bench.pass(HANDED_OVER_MS);
    assert_eq!([queues.awaiting_token.get(), queues.turned_away.get()], [0, 2]);
}

#[test]
fn who_waits_for_the_status_of_a_queue_shows_until_it_comes() {
    let (mut bench, counters) = counted(FakeQueue { is_free: true, ..line((1, 0), 100) });
    let queues = &counters.queues;
    bench.pass(3_500);
    bench.redis.holds = vec!["lease"];
    // None waits for longer than the half second that Redis has to answer, so one comes every 100 ms.
    for user in ["ann", "bob", "cid", "dan", "eve", "fay", "gil", "hal", "ida", "jan"] {
        bench.orders(&[user]);
        bench.pass(HANDED_OVER_MS / 10);
    }
    assert!((4..=6).contains(&queues.awaiting_status.get()), "{queues:?}");
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.connect();
    bench.pass(HANDED_OVER_MS);
    assert_eq!(queues.awaiting_status.get(), 0);
}

#[test]
fn a_product_is_shown_with_its_accepted_orders_and_its_queue() {
    let mut bench = fair(line((2, 7), 100), 0);
    let first = bench.order_with("ann", ticket(1, "ann", false));
    let other = bench.order_with("bob", ticket(1, "bob", false));
    bench.pass(100);
    assert_eq!(bench.statuses(&[first, other]), [Some(200), Some(200)]);
    bench.pass(HANDED_OVER_MS);
    let gauge = bench.gauge();
    assert_eq!(gauge.accepted, 2);
    assert_eq!(gauge.queue, Some(QueueGauge { slot: 2, waiting: ISSUED - CALLED, called: CALLED }));
    bench.redis.sales.get_mut("p").expect("a sale")[0] = "closed".to_owned();
    bench.pass(2 * HANDED_OVER_MS);
    assert_eq!((bench.gauge().accepted, bench.gauge().queue), (2, None), "a closed sale has no queue");
}

#[test]
fn an_order_that_two_ask_for_is_accepted_once_and_one_without_a_queue_counts_too() {
    let mut bench = Bench::new();
    let both = bench.orders(&["ann", "ann", "bob"]);
    bench.pass(HANDED_OVER_MS);
    assert_eq!(bench.statuses(&both), [Some(200); 3]);
    assert_eq!((bench.gauge().accepted, bench.gauge().queue), (2, None));
}
