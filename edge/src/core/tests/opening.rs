//! Sales with options: when they open, and how much they let one user have.

use std::time::Duration;

use super::redis::array;
use super::{Bench, config};
use crate::answer::Answer;
use crate::limits::STOCK_AGE_MAX;

/// A sale that opens so many milliseconds after the core was connected to Redis.
fn opening_in(ms: u64) -> Bench {
    let mut bench = Bench::with(config(), |redis| {
        redis.opens = flux_protocol::time::Instant::from_micros(1_000_000) + Duration::from_millis(ms);
    });
    bench.redis.asked.clear();
    bench
}

fn codes(codes: &[&str]) -> String {
    array(&codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>())
}

impl Bench {
    /// Lets time pass until this long before (or after) the sale opens.
    fn pass_to(&mut self, before_ms: u64, after_ms: u64) {
        let end = self.redis.opens - Duration::from_millis(before_ms) + Duration::from_millis(after_ms);
        self.pass(end.since(self.now).as_millis() as u64);
        assert_eq!(self.now, end);
    }

    fn stock(&self) -> Answer {
        let index = self.core.products.known(b"p").expect("it was looked at");
        let product = &self.core.products[index];
        Answer::Stock {
            product: product.name,
            available: product.known_stock(),
            state: product.visible_state(self.now),
        }
    }
}

#[test]
fn before_it_opens_everybody_is_sent_to_the_countdown_and_redis_is_asked_nothing() {
    let mut bench = opening_in(2_000);
    let crowd: Vec<String> = (0..500).map(|n| format!("early-{n}")).collect();
    let mut sent = Vec::new();
    for user in &crowd {
        sent.extend(bench.orders(&[user]));
        bench.pass(3);
    }
    assert!(sent.iter().all(|position| matches!(bench.answers[position], Answer::Redirect(_))));
    assert_eq!(bench.redis.calls("reserve").len() + bench.redis.calls("lease").len(), 0);
    // What is remembered is refreshed as for a sold-out: as often as it grows old, however many come.
    let spans = Duration::from_millis(3 * 500).as_millis() / STOCK_AGE_MAX.as_millis();
    let looks = bench.redis.calls("refresh").len() as u128;
    assert!(looks <= spans + 3, "{looks} looks in {spans} spans");
    assert!(matches!(bench.stock(), Answer::Stock { state: crate::sale::SaleState::Scheduled, .. }));
    assert!(bench.written(sent[0]).starts_with(
        "HTTP/1.1 302 Found\r\nlocation: http://localhost:4000/?product=p\r\ncache-control: no-store\r\n"
    ));
    bench.accept = Some(b"application/json");
    let script = bench.orders(&["script"])[0];
    let told = bench.written(script);
    assert!(
        told.starts_with("HTTP/1.1 429 Too Many Requests\r\n") && told.contains("\r\nretry-after: 1\r\n"),
        "{told}"
    );
    let (_, body) = told.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["status"], &body["location"]), (&"waiting".into(), &"http://localhost:4000/?product=p".into()));
    assert_eq!((&body["type"], &body["title"]), (&"about:blank".into(), &"Too Many Requests".into()));
}

#[test]
fn it_opens_on_the_millisecond_without_a_word_from_redis() {
    let mut bench = opening_in(2_000);
    bench.pass_to(1, 0);
    let early = bench.orders(&["early"]);
    assert_eq!(bench.statuses(&early), [Some(302)]);
    let looks = bench.redis.calls("refresh").len();
    bench.pass_to(0, 0);
    assert!(matches!(bench.stock(), Answer::Stock { state: crate::sale::SaleState::Open, .. }));
    let orders = bench.orders(&["a", "b"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&orders), [Some(200); 2]);
    assert_eq!(bench.redis.calls("refresh").len(), looks, "what was known told it");
}

/// The answer to a refresh is counted from the question: one that travels long makes no core late.
#[test]
fn an_answer_that_travels_long_makes_no_core_late() {
    let mut bench = opening_in(1_000);
    bench.pass_to(150, 0);
    bench.redis.holds = vec!["refresh"];
    let early = bench.orders(&["early"]);
    assert_eq!(bench.statuses(&early), [Some(302)]);
    // What Redis says when it is asked, it says 120 ms later.
    bench.redis.script("refresh", bench.redis.refresh_of_p());
    bench.pass(120);
    bench.redis.holds.clear();
    bench.run();
    bench.pass_to(0, 0);
    let orders = bench.orders(&["a"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&orders), [Some(200)]);
}

#[test]
fn who_comes_a_moment_early_is_told_so_by_the_script_and_the_others_from_memory() {
    let mut bench = Bench::new();
    bench.redis.script("reserve", codes(&["M", "O30", "O30"]));
    let early = bench.orders(&["a", "b"]);
    assert_eq!(bench.statuses(&early), [Some(302); 2]);
    bench.pass(29);
    let calls = bench.redis.calls("reserve").len();
    let early = bench.orders(&["a"]);
    assert_eq!(bench.statuses(&early), [Some(302)]);
    assert_eq!(bench.redis.calls("reserve").len(), calls);
    bench.pass(1);
    let orders = bench.orders(&["a", "b"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&orders), [Some(200); 2]);
}

#[test]
fn a_user_over_the_limit_is_refused_alone_and_a_repeat_gets_its_first_answer() {
    let mut bench = Bench::new();
    let first = bench.orders(&["a"]);
    bench.pass(10);
    let asked = bench.redis.calls("reserve").pop().expect("it was asked for");
    // "<reservation id> <quantity> "
    let head = &asked[1 + 7 + 2 + 5];
    bench.redis.script("reserve", codes(&["M", "L"]));
    let over = bench.orders(&["b"])[0];
    assert!(
        bench.written(over).contains("\r\n\r\n{\"status\":\"limit_reached\",\"msg\":\"Limit per customer reached\",")
    );
    assert_eq!(bench.answers[&over].status(), 409);
    bench.redis.script("reserve", codes(&["M", &format!("R{head}1 1705234800000-1")]));
    let again = bench.orders(&["a"]);
    bench.redis.script("reserve", codes(&["A1705234800000-2"]));
    let other = bench.orders(&["c"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&[first[0], again[0], other[0]]), [Some(200); 3]);
    assert!(bench.written(again[0]).contains("idempotency-replayed: true\r\n"));
    assert_eq!(bench.written(again[0]).lines().last(), bench.written(first[0]).lines().last());
}

#[test]
fn options_are_checked_and_handed_to_redis_and_to_the_topic() {
    let mut bench = Bench::new();
    for (options, says) in [
        (r#""perUser":0"#, "perUser must be an integer from 1 to 1000"),
        (r#""perUser":1001"#, "perUser must be an integer from 1 to 1000"),
        (r#""perUser":70000"#, "perUser must be an integer from 1 to 1000"),
        (r#""perUser":1.5"#, "perUser must be an integer from 1 to 1000"),
        (r#""perUser":"1""#, "perUser must be an integer from 1 to 1000"),
        (r#""perUser":[1]"#, "perUser must be an integer from 1 to 1000"),
        (r#""rate":"50""#, "rate must be an integer from 0 to 1000000000"),
        (r#""rate":-1"#, "rate must be an integer from 0 to 1000000000"),
        (r#""rate":1000000001"#, "rate must be an integer from 0 to 1000000000"),
        (r#""rate":50,"burst":true"#, "burst must be an integer from 0 to 1000000000"),
        (r#""rate":50,"burst":1"#, "burst must be at least max(2, rate / 100)"),
        (r#""rate":0,"burst":0"#, "burst needs a rate above 0"),
        (r#""rate":0,"burst":5"#, "burst needs a rate above 0"),
        (r#""burst":5"#, "burst needs a rate above 0"),
        (r#""force":1"#, "force must be true or false"),
        (r#""force":"yes""#, "force must be true or false"),
        (r#""quantity":9"#, "duplicate field `quantity`"),
        (r#""colour":9"#, "unknown field `colour`"),
        (r#""opensAt":"noon""#, "opensAt must be a time of RFC 3339"),
        (r#""opensAt":"2026-12-01T12:00:00""#, "opensAt must be a time of RFC 3339"),
        (r#""opensAt":1796126400000"#, "opensAt must be a time of RFC 3339"),
        (r#""queue":"fast""#, r#"queue must be \"retry\" or \"fair\""#),
        (r#""queue":1"#, r#"queue must be \"retry\" or \"fair\""#),
        (r#""queue":"fair""#, "a fair queue needs a rate above 0"),
        (r#""queue":"fair","rate":0"#, "a fair queue needs a rate above 0"),
    ] {
        let refused = bench.operate("/init", &format!(r#"{{"productId":"p","quantity":9,{options}}}"#));
        assert_eq!(bench.statuses(&[refused]), [Some(400)], "{options}");
        assert!(bench.written(refused).contains(says), "{options}: {}", bench.written(refused));
    }
    for (path, body, says) in [
        ("/init", r#"{"productId":5,"quantity":9}"#, "productId must be a string"),
        ("/init", r#"{"productId":"a b","quantity":9}"#, "Invalid productId"),
        ("/init", r#"{"productId":"p","quantity":"9"}"#, "quantity must be an integer from 1 to 1000000000"),
        ("/init", r#"{"productId":"p","quantity":9.0}"#, "quantity must be an integer from 1 to 1000000000"),
        ("/init", r#"{"productId":"p","quantity":0}"#, "quantity must be an integer from 1 to 1000000000"),
        ("/init", r#"{"productId":"p"}"#, "missing field `quantity`"),
        ("/init", r#"{"productId":"p","quantity":null}"#, "quantity must be an integer from 1 to 1000000000"),
        ("/close", r#"{"productId":["p"]}"#, "productId must be a string"),
        ("/close", r#"{"productId":null}"#, "productId must be a string"),
        ("/close", "{}", "missing field `productId`"),
    ] {
        let refused = bench.operate(path, body);
        assert_eq!(bench.statuses(&[refused]), [Some(400)], "{body}");
        assert!(bench.written(refused).contains(says), "{body}: {}", bench.written(refused));
    }
    assert_eq!((bench.redis.calls("init").len(), bench.redis.calls("close").len()), (0, 0));

    bench.redis.script("init", codes(&["OK", "7", "1"]));
    let body = r#"{"productId":"p","quantity":9,"perUser":2,"opensAt":"2026-12-01T13:00:00+01:00"}"#;
    let opened = bench.operate("/init", body);
    bench.pass(100);
    assert_eq!(bench.statuses(&[opened]), [Some(200)]);
    let call = bench.redis.calls("init").pop().expect("it was asked for");
    assert_eq!(call[1 + 9 + 6..][..4], ["2", "1796126400000", "retry", "orders"]);
    let event = bench.broker.log.pop().expect("the topic knows");
    assert!(event.contains("\"perUser\":2,\"opensAt\":1796126400000,\"queue\":\"retry\","), "{event}");
}
