//! Orders of one outbox entry of which Kafka takes some and not others.

use super::redis::array;
use super::{Bench, entry};
use crate::core::machine::Machine;

/// The arguments of a `part` call behind its keys: entry, prefix, orders, places acknowledged.
fn parts(bench: &Bench) -> Vec<Vec<String>> {
    let calls = bench.redis.calls("split_entry");
    assert!(
        calls.iter().all(|call| call[..4]
            == ["3", "product:{p}:outbox", "product:{p}:claims", "product:{p}:sale"].map(str::to_owned))
    );
    calls.iter().map(|call| call[4..].to_vec()).collect()
}

#[test]
fn a_refused_record_parts_from_its_neighbours() {
    let mut bench = Bench::new();
    bench.broker.poison = Some("\"userId\":\"b\"".into());
    bench.redis.script("split_entry", super::redis::bulk("1705234800000-9"));
    let orders = bench.orders(&["a", "b", "c"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(202), Some(200)]);
    assert_eq!(parts(&bench), [["1705234800000-1", "3", "1", "3"]]);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0], "what was not acknowledged is not deleted");
    assert_eq!((bench.counters.records_refused.get(), bench.counters.entries_parted.get()), (1, 1));
    assert!(bench.core.is_drained());
}

#[test]
fn an_entry_of_which_nothing_was_acknowledged_stays_as_it_is() {
    let mut bench = Bench::new();
    bench.broker.poison = Some("orderId".into());
    let orders = bench.orders(&["a", "b"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(202), Some(202)]);
    assert_eq!(parts(&bench), [] as [Vec<String>; 0]);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0]);
}

#[test]
fn an_entry_that_the_relay_took_parts_too_and_the_refused_record_waits_for_its_claim() {
    let mut bench = Bench::new();
    bench.broker.poison = Some("user-2".into());
    bench.redis.stand("p", "5-0", "5-0");
    bench.redis.script("relay", array(&entry("5-0", 3)));
    bench.pass(10_000);
    assert_eq!(parts(&bench), [["5-0", "3", "1", "3"]]);
    assert_eq!(bench.broker.log.len(), 2);
    assert!(bench.redis.calls("relay").len() > 5, "the relay goes on asking");
    let alone = bench.broker.arrived.iter().filter(|value| value.contains("user-2")).count();
    // Whole, in a half, and by itself: the way in which the producer finds it.
    assert!(alone <= 3, "{alone} times");
    assert_eq!(bench.counters.relayed.get(), 2);
    // Its new entry is handed out: refused again, it stays, and nothing is parted any more.
    bench.redis.script("relay", array(&entry("6-0", 2).map(|text| text.replace("user-1", "user-2"))));
    bench.pass(10_000);
    assert_eq!(parts(&bench).len(), 1);
    assert_eq!(bench.redis.calls("settle"), [] as [Vec<String>; 0]);
    assert!(bench.core.is_drained());
}

#[test]
fn whether_a_parting_took_effect_does_not_matter() {
    let mut bench = Bench::new();
    bench.broker.poison = Some("\"userId\":\"b\"".into());
    bench.redis.holds = vec!["split_entry"];
    let orders = bench.orders(&["a", "b"]);
    bench.pass(100);
    assert_eq!(parts(&bench).len(), 1);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.connect();
    bench.pass(1000);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(202)]);
    assert_eq!(parts(&bench).len(), 1, "not asked again: the entry is gone, or the relay finds it");
    for reply in ["$0\r\n\r\n", "$1\r\nS\r\n", "$1\r\nD\r\n", "-OOM command not allowed\r\n", "*0\r\n"] {
        bench.redis.script("split_entry", reply);
        bench.orders(&["a", "b"]);
        bench.pass(100);
    }
    assert_eq!((parts(&bench).len(), bench.counters.entries_parted.get()), (6, 0));
    assert!(bench.core.is_drained());
}
