//! Which outboxes the relay looks at, when, and how much it takes.

use std::time::Duration;

use super::redis::array;
use super::{Bench, at, entry};
use crate::core::machine::Machine;
use crate::limits::{RELAY_EMPTY_WALKS_MAX, RELAY_ENTRIES_IN_HAND_MAX, RELAY_ENTRIES_MAX};

/// Full answers of `relay`, entries of `orders` orders numbered from `first`.
fn page(first: usize, orders: u8) -> String {
    let mut texts: Vec<String> =
        (first..first + RELAY_ENTRIES_MAX).flat_map(|n| entry(&format!("{n}-0"), orders)).collect();
    texts.push(format!("{}-0", first + RELAY_ENTRIES_MAX - 1));
    array(&texts)
}

#[test]
fn an_outbox_that_only_the_registry_names_is_delivered() {
    let mut bench = Bench::new();
    bench.redis.open_sale("quiet", 10);
    bench.redis.stand("quiet", "5-0", "5-0");
    bench.redis.script("relay", array(&entry("5-0", 2)));
    bench.pass(10_000);
    let calls = bench.redis.calls("relay");
    assert_eq!(calls[0][1], "product:{quiet}:outbox");
    assert_eq!(calls[0][4..8], ["edge", "7000", "15000", "64"], "from the oldest");
    assert_eq!(bench.broker.log.len(), 2);
    let settled = bench.redis.calls("settle");
    assert_eq!(settled, [["2", "product:{quiet}:outbox", "product:{quiet}:claims", "5-0"]], "with its claim");
}

#[test]
fn entries_that_move_are_left_to_their_owner() {
    let mut bench = Bench::new();
    for n in 1..20 {
        bench.redis.stand("p", &format!("{n}-0"), &format!("{n}-5"));
        bench.pass(900);
    }
    assert_eq!(bench.redis.calls("relay"), [] as [Vec<String>; 0]);
}

#[test]
fn all_that_stood_for_the_horizon_is_due_whatever_time_its_ids_show() {
    let mut bench = Bench::new();
    // Redis' clock was set back: ids are of the future, and new ones follow them.
    bench.redis.stand("p", "99999999999999-0", "99999999999999-7");
    bench.pass(5_000);
    bench.redis.stand("p", "99999999999999-0", "99999999999999-9");
    let stood = |bench: &Bench| bench.redis.calls("relay").last().expect("it was asked")[8].clone();
    assert_eq!(stood(&bench), "", "not for so long");
    bench.pass(5_000);
    assert_eq!(stood(&bench), "99999999999999-7", "not what came later");
    bench.pass(9_000);
    assert_eq!(stood(&bench), "99999999999999-9");
    bench.redis.stand("p", "", "");
    bench.pass(2_000);
    bench.redis.stand("p", "5-0", "5-0");
    bench.pass(3_000);
    assert_eq!(stood(&bench), "", "another outbox than the one that stood");
}

#[test]
fn one_call_is_outstanding_and_products_take_turns() {
    let mut bench = Bench::with(super::config(), |redis| {
        redis.open_sale("q", 10);
        redis.open_sale("r", 10);
    });
    for product in ["p", "q", "r"] {
        bench.redis.stand(product, "5-0", "5-0");
    }
    bench.redis.holds = vec!["relay"];
    bench.pass(2_500);
    assert_eq!(bench.redis.calls("relay").len(), 1);
    bench.redis.script("relay", page(10, 1));
    bench.redis.holds.clear();
    bench.pass(10);
    let asked: Vec<String> = bench.redis.calls("relay").iter().map(|call| call[1].clone()).collect();
    // A page that was full has more behind it, behind the others.
    assert_eq!(asked, ["p", "q", "r", "p"].map(|product| format!("product:{{{product}}}:outbox")));
}

#[test]
fn what_is_in_hand_is_bounded_and_leaves_the_producer_to_the_orders_of_the_day() {
    let mut bench = Bench::new();
    bench.broker.silent = true;
    bench.redis.stand("p", "5-0", "5-0");
    for n in 0..10 {
        bench.redis.script("relay", page(100 * n, 1));
    }
    bench.pass(2_900);
    assert_eq!(bench.core.outbox.entries.claimed(), RELAY_ENTRIES_IN_HAND_MAX);
    assert_eq!(bench.redis.calls("relay").len(), RELAY_ENTRIES_IN_HAND_MAX / RELAY_ENTRIES_MAX);
    bench.broker.speak();
    bench.pass(50);
    assert!(bench.redis.calls("relay").len() >= 10, "what was settled has made room");
}

#[test]
fn rests_while_kafka_is_away_and_goes_on_when_it_is_back() {
    let mut bench = Bench::new();
    bench.broker.go_down(at(bench.now), &mut bench.core);
    bench.redis.stand("p", "5-0", "5-0");
    bench.pass(60_000);
    assert_eq!(bench.redis.calls("relay"), [] as [Vec<String>; 0], "a claim would only delay the delivery");
    bench.broker.up = true;
    bench.redis.script("relay", array(&entry("5-0", 1)));
    bench.pass(5_000);
    assert_eq!(bench.broker.log.len(), 1);
}

#[test]
fn an_edge_that_drains_takes_nothing_over() {
    let mut bench = Bench::new();
    bench.core.handle_drain(at(bench.now), bench.now + Duration::from_secs(10));
    bench.redis.stand("p", "5-0", "5-0");
    bench.redis.script("relay", array(&entry("5-0", 1)));
    bench.pass(5_000);
    assert_eq!(bench.redis.calls("relay"), [] as [Vec<String>; 0]);
    assert!(bench.core.is_drained());
}

#[test]
fn what_cannot_be_read_stays_and_is_counted() {
    let mut bench = Bench::new();
    bench.redis.stand("p", "5-0", "5-0");
    let [id, head, lines] = entry("5-0", 2);
    let odd = [
        [id.clone(), head.clone(), lines.replace("user-2", "")],
        [id.clone(), head.replace(" 2", " 3"), lines.clone()],
        [id.clone(), head.replacen('0', "5", 1), lines.clone()],
        ["x".to_owned(), head.clone(), lines.clone()],
        [id.clone(), String::new(), lines.clone()],
        entry("5-1", 65),
    ];
    bench.redis.script("relay", array(&[odd.concat(), entry("9-0", 64).to_vec()].concat()));
    bench.pass(3_000);
    assert_eq!(bench.counters.relay_unreadable.get(), odd.len() as u64);
    assert_eq!(bench.broker.log.len(), 64, "its neighbour is delivered");
    assert_eq!(bench.redis.calls("settle").len(), 1);
}

#[test]
fn a_lost_relay_call_is_asked_again_after_the_next_refresh() {
    let mut bench = Bench::new();
    bench.redis.stand("p", "5-0", "5-0");
    bench.redis.holds = vec!["relay"];
    bench.pass(2_500);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.redis.script("relay", array(&entry("5-0", 1)));
    bench.connect();
    bench.pass(2_500);
    assert_eq!(bench.broker.log.len(), 1);
}

#[test]
fn a_walk_that_finds_nothing_goes_on_where_it_was_and_rests_until_the_next_refresh() {
    let mut bench = Bench::new();
    bench.redis.stand("p", "5-0", "5-0");
    bench.pass(900);
    for n in 1..=20 {
        // Entries that others hold: nothing is handed out, and the walk has not come to the end.
        bench.redis.script("relay", array(&[format!("{n}000-0")]));
    }
    bench.pass(900);
    let behind =
        |bench: &Bench| -> Vec<String> { bench.redis.calls("relay").iter().map(|call| call[10].clone()).collect() };
    let passed = RELAY_EMPTY_WALKS_MAX as usize;
    let expected: Vec<String> = (0..passed).map(|n| if n == 0 { String::new() } else { format!("{n}000-0") }).collect();
    assert_eq!(behind(&bench), expected);
    bench.redis.script("relay", array(&entry("30000-0", 1)));
    bench.pass(2_000);
    assert_eq!(behind(&bench)[passed], format!("{passed}000-0"), "it goes on there, and not at the oldest");
    assert_eq!(bench.broker.log.len(), 1, "what stands behind them is delivered");
    bench.redis.asked.clear();
    bench.pass(1_000);
    assert_eq!(behind(&bench).first().map(String::as_str), Some(""), "and comes round");
}

#[test]
fn a_partition_that_cannot_be_written_is_given_no_more_than_its_share() {
    let mut bench = Bench::new();
    bench.broker.silent = true;
    bench.redis.stand("p", "5-0", "5-0");
    bench.redis.script("relay", page(100, 1));
    bench.pass(1_900);
    let call = bench.redis.calls("relay").pop().expect("it goes on");
    let (all, taken) = (RELAY_ENTRIES_IN_HAND_MAX, RELAY_ENTRIES_MAX);
    // One partition, so its share is all there is; what is in hand of it counts.
    assert_eq!(call[11..], [all.to_string(), "1".to_owned(), "0".to_owned(), (all - taken).to_string()]);
}
