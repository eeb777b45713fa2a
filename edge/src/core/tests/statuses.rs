//! `GET /order`: gathered, bounded, answered in time, and never at another product's cost.

use super::Bench;
use super::redis::array;
use crate::answer::{Answer, Unavailable};
use crate::limits::{STATUS_IDS_MAX, STATUSES_WAITING_MAX};

fn path(product: &str, order: usize) -> String {
    format!("/order/{product}/00000000-0000-8000-8000-{order:012}")
}

/// Ids that each `status` call named.
fn ids(bench: &Bench) -> Vec<usize> {
    let uuids = |call: &Vec<String>| call.iter().filter(|word| word.len() == 36).count();
    bench.redis.calls("status").iter().map(uuids).collect()
}

#[test]
fn all_who_ask_meanwhile_share_the_next_question_and_each_order_is_named_once() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["status"];
    bench.get(&path("p", 0));
    let asked: Vec<u32> = (0..2 * STATUS_IDS_MAX).map(|n| bench.ask(&path("p", n / 2 % 700))).collect();
    bench.pass(100);
    assert_eq!(ids(&bench), [1], "one question at a time");
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(ids(&bench), [1, STATUS_IDS_MAX], "one for all, each order once");
    assert!(bench.statuses(&asked).iter().all(|status| *status == Some(404)));
}

#[test]
fn each_is_told_of_their_own_order() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["status"];
    bench.get(&path("p", 9));
    let asked: Vec<u32> = [3, 1, 3, 2].iter().map(|n| bench.ask(&path("p", *n))).collect();
    bench.redis.script("status", array(&["A".to_owned()]));
    bench.redis.script("status", array(&["PA-".to_owned()]));
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(bench.redis.calls("status")[1][4..].len(), 3 + 3);
    let told: Vec<String> = asked.iter().map(|position| bench.written(*position)).collect();
    for (written, order, word) in [(0, 3, "pending"), (1, 1, "accepted"), (2, 3, "pending")] {
        let body = format!(r#"{{"orderId":"00000000-0000-8000-8000-{order:012}","status":"{word}"}}"#);
        assert!(told[written].ends_with(&body), "{}", told[written]);
    }
    assert!(told[3].starts_with("HTTP/1.1 404 ") && told[3].contains("Unknown order"));
}

#[test]
fn a_sale_that_is_not_believed_or_a_reply_that_is_none_is_a_503() {
    for (reply, why) in [
        (array(&["S".to_owned()]), Unavailable::Suspended),
        (array(&["AA".to_owned()]), Unavailable::Redis),
        (array(&["x".to_owned()]), Unavailable::Redis),
        (array(&[]), Unavailable::Redis),
        ("$-1\r\n".to_owned(), Unavailable::Redis),
        ("-OOM command not allowed\r\n".to_owned(), Unavailable::Redis),
    ] {
        let mut bench = Bench::new();
        bench.redis.script("status", reply.clone());
        let asked = bench.get(&path("p", 1));
        assert_eq!(bench.answers[&asked], Answer::Unavailable(why), "{reply:?}");
    }
}

#[test]
fn a_flood_for_one_product_leaves_the_others_their_places_and_their_turns() {
    let mut bench = Bench::with(super::config(), |redis| redis.open_sale("q", 1));
    bench.redis.holds = vec!["status"];
    bench.get(&path("p", 0));
    let places = STATUSES_WAITING_MAX / 4 * 3;
    let flood: Vec<u32> = (0..places + 1).map(|n| bench.ask(&path("p", n))).collect();
    let refused = flood.last().expect("the last");
    assert_eq!(bench.answers[refused], Answer::StatusWaiting, "told so at once");
    assert!(bench.written(*refused).contains("retry-after: 1"));
    let other = bench.ask(&path("q", 1));
    bench.redis.script("status", array(&["-".to_owned()]));
    bench.redis.script("status", array(&["-".repeat(STATUS_IDS_MAX / 2), "A".to_owned()]));
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(bench.statuses(&[other]), [Some(200)]);
    let second = &bench.redis.calls("status")[1];
    assert!(second.contains(&"product:{q}:sale".to_owned()), "in the next question");
    assert!(flood[..places].iter().all(|asked| bench.answers.contains_key(asked)));
}

#[test]
fn nobody_waits_past_the_deadline_and_a_late_reply_is_told_to_nobody() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["status"];
    let asked = [bench.get(&path("p", 0)), bench.get(&path("p", 1))];
    bench.pass(490);
    assert_eq!(bench.statuses(&asked), [None, None]);
    bench.pass(20);
    for position in &asked {
        assert_eq!(bench.answers[position], Answer::Unavailable(Unavailable::Redis));
    }
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(ids(&bench), [1], "nobody waits for the second any more");
    let again = bench.get(&path("p", 1));
    assert_eq!(bench.statuses(&[again]), [Some(404)]);
}

#[test]
fn whoever_waits_is_told_when_the_connection_goes() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["status"];
    let asked = [bench.get(&path("p", 0)), bench.get(&path("p", 1))];
    bench.lose_redis();
    assert_eq!(bench.statuses(&asked), [Some(503), Some(503)]);
    bench.redis.holds.clear();
    bench.connect();
    let again = bench.get(&path("p", 1));
    assert_eq!(bench.statuses(&[again]), [Some(404)]);
}

#[test]
fn a_look_takes_no_token_of_the_sale() {
    let mut bench = Bench::with(super::config(), |redis| {
        let sale = redis.sales.get_mut("p").expect("a sale");
        (sale[6], sale[7]) = ("100".into(), "100".into());
    });
    let asked: Vec<u32> = (0..500).map(|n| bench.ask(&path("p", n))).collect();
    bench.run();
    assert!(bench.statuses(&asked).iter().all(|status| *status == Some(404)));
    assert_eq!(bench.redis.calls("lease"), [] as [Vec<String>; 0]);
}
