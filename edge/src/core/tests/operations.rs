//! Sales opened and closed while replies are lost and Kafka is silent.

use flux_protocol::ages::PUBLISHED_AGE_MAX;

use super::redis::array;
use super::{Bench, at};
use crate::core::machine::Machine;

const SEED: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

fn words(texts: &[&str]) -> String {
    array(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

fn init(bench: &mut Bench) -> u32 {
    let position = bench.operate("/init", r#"{"productId":"p","quantity":100}"#);
    bench.run();
    position
}

fn status(bench: &Bench, position: u32) -> Option<u16> {
    bench.statuses(&[position])[0]
}

#[test]
fn a_sale_opens_when_the_topic_knows_of_it() {
    let mut bench = Bench::new();
    bench.broker.silent = true;
    bench.redis.script("init", words(&["OK", "7", "1"]));
    let opened = init(&mut bench);
    bench.pass(500);
    assert_eq!(status(&bench, opened), None);
    bench.broker.speak();
    bench.pass(100);
    assert_eq!(status(&bench, opened), Some(200));
    for part in ["sale-opened", "\"saleId\":7", "\"generation\":1"] {
        assert!(bench.broker.log[0].contains(part), "{part} in {}", bench.broker.log[0]);
    }
}

/// Kafka's word lay in a socket while the process stood still: a rebuild that looked meanwhile knows nothing of the sale.
#[test]
fn a_sale_whose_event_is_acknowledged_too_late_is_not_told_as_opened() {
    let mut bench = Bench::new();
    bench.broker.silent = true;
    bench.redis.script("init", words(&["OK", "7", "1"]));
    let opened = init(&mut bench);
    bench.pass(50);
    assert_eq!(bench.broker.log.len(), 1, "it stands in the log");
    bench.sleep(PUBLISHED_AGE_MAX.as_millis() as u64);
    bench.broker.speak();
    bench.broker.carry(at(bench.now), &mut bench.core);
    bench.run();
    assert_eq!(status(&bench, opened), Some(503), "unknown");
}

#[test]
fn an_answer_that_comes_late_is_published_all_the_same() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["init"];
    bench.redis.script("init", words(&["OK", "7", "1"]));
    let opened = init(&mut bench);
    // The first core's ticker says so; the connection itself is given up at the same age, so time stands still here.
    bench.sleep(2_990);
    bench.redis.asked.clear();
    bench.core.replies.expire(bench.now + std::time::Duration::from_millis(10));
    bench.run();
    assert_eq!(status(&bench, opened), Some(503), "unknown");
    assert!(!bench.core.is_drained(), "seen through before the edge ends");
    bench.redis.holds.clear();
    bench.pass(100);
    assert!(bench.broker.log[0].contains("sale-opened"));
    assert_eq!(bench.redis.calls("SADD").len(), 1);
    assert!(bench.core.is_drained());
}

/// A rebuild that has looked meanwhile knows nothing of it: the ledger would hear of an end or a beginning that its Redis has lost.
#[test]
fn what_an_edge_hears_of_an_operation_when_it_wakes_is_not_published() {
    for (path, name, body, reply) in [
        (
            "/init",
            "init",
            r#"{"productId":"p","quantity":100}"#,
            words(&["OK", "8", "1", "7", "1", "90", "40", "0", "0"]),
        ),
        ("/close", "close", r#"{"productId":"p"}"#, words(&["OK", "7", "1", "90", "40", "0", "0"])),
    ] {
        let mut bench = Bench::new();
        bench.redis.holds = vec![name];
        bench.redis.script(name, reply);
        let asked = bench.operate(path, body);
        bench.run();
        bench.redis.holds.clear();
        bench.wake_after(60_000);
        assert_eq!(bench.broker.arrived, [] as [String; 0], "{path}");
        assert_eq!(status(&bench, asked), Some(503), "{path}: unknown, and asked again");
        assert!(bench.core.is_drained(), "{path}");
    }
}

#[test]
fn an_operation_whose_name_is_registered_too_late_is_not_published() {
    let mut bench = Bench::new();
    bench.redis.script("init", words(&["OK", "7", "1"]));
    bench.redis.holds = vec!["SADD"];
    let opened = init(&mut bench);
    bench.redis.holds.clear();
    bench.wake_after(60_000);
    assert_eq!(bench.broker.arrived, [] as [String; 0]);
    assert_eq!(status(&bench, opened), Some(503));
}

#[test]
fn a_lost_reply_is_unknown_and_asking_again_tells_the_topic_what_was_done() {
    for path in ["/init", "/close"] {
        let mut bench = Bench::new();
        bench.redis.holds = vec!["init", "close"];
        let lost = bench.operate(
            path,
            if path == "/init" { r#"{"productId":"p","quantity":100}"# } else { r#"{"productId":"p"}"# },
        );
        bench.run();
        bench.lose_redis();
        assert_eq!(status(&bench, lost), Some(503), "{path}");
        bench.redis.holds.clear();
        bench.connect();
        bench.pass(100);
        if path == "/init" {
            // It was opened, and has sold some since.
            bench.redis.script(
                "init",
                words(&["BUSY", "7", "2", "100", "0", "50", "60", "2", "1705234690000", "1705234700000", SEED, "fair"]),
            );
            let again = init(&mut bench);
            bench.pass(100);
            assert_eq!(status(&bench, again), Some(409));
            let event = bench.broker.log.pop().expect("it is told");
            for part in [
                "sale-opened",
                "\"saleId\":7",
                "\"generation\":2",
                "\"rate\":50",
                "\"perUser\":2",
                "\"opensAt\":1705234690000",
                SEED,
                "\"queue\":\"fair\"",
                "\"timestamp\":1705234700000",
            ] {
                assert!(event.contains(part), "{part} in {event}");
            }
        } else {
            bench.redis.script("close", words(&["OK", "7", "1", "100", "40", "50", "60"]));
            let again = bench.operate("/close", r#"{"productId":"p"}"#);
            bench.pass(100);
            assert_eq!(status(&bench, again), Some(200));
            assert!(bench.broker.log[0].contains("sale-closed"));
        }
    }
}

#[test]
fn a_sale_whose_name_could_not_be_registered_is_in_the_topic_and_unknown() {
    let mut bench = Bench::new();
    bench.redis.script("init", words(&["OK", "7", "1"]));
    bench.redis.script("SADD", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    let opened = init(&mut bench);
    bench.pass(100);
    assert_eq!(status(&bench, opened), Some(503));
    assert!(bench.broker.log[0].contains("sale-opened"));
}

#[test]
fn what_kafka_does_not_acknowledge_is_unknown_but_a_refusal_stands() {
    for (reply, expected) in [
        (words(&["OK", "7", "1"]), 503),
        (words(&["BUSY", "7", "1", "100", "0", "50", "60", "0", "0", "5", SEED, "retry"]), 409),
        (words(&["BUSY", "7"]), 409),
        (words(&["S", "replid"]), 409),
    ] {
        let mut bench = Bench::new();
        bench.broker.poison = Some("sale-opened".into());
        bench.redis.script("init", reply.clone());
        let opened = init(&mut bench);
        bench.pass(1_000);
        assert_eq!(status(&bench, opened), Some(expected), "{reply:?}");
        assert!(bench.core.is_drained());
    }
}

/// A sale that may not be read is not suspended: no rebuild mends a right that is missing.
#[test]
fn a_right_that_is_missing_is_told_by_name_and_is_no_suspended_sale() {
    for (path, name, body) in
        [("/init", "init", r#"{"productId":"p","quantity":100}"#), ("/close", "close", r#"{"productId":"p"}"#)]
    {
        let mut bench = Bench::new();
        bench.redis.script(name, words(&["P", "SADD product:{p}:returned"]));
        let asked = bench.operate(path, body);
        bench.run();
        assert_eq!(status(&bench, asked), Some(503), "{path}");
        let written = bench.written(asked);
        let said = r#"{"status":"unavailable","msg":"Redis unavailable: its user may not SADD product:{p}:returned","#;
        assert!(written.contains(said) && written.contains("\r\nretry-after: 1\r\n"), "{written}");
        assert!(bench.broker.arrived.is_empty(), "{path}: nothing was done");
    }
}
