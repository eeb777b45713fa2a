//! Refreshes of sales: suspended by others and revived, and many of them.

use super::Bench;
use super::redis::{SALE_ID, array};
use crate::answer::{Answer, Unavailable};
use crate::sale::SaleState;

#[test]
fn a_sale_that_was_suspended_sells_nothing_until_it_is_open_again() {
    let mut bench = Bench::new();
    let open = bench.redis.sales["p"].clone();
    let suspended = bench.redis.sales.get_mut("p").expect("a sale");
    suspended[0] = "suspended".into();
    suspended[1] = "state".into();
    bench.pass(1_000);
    let calls = bench.redis.calls("reserve").len();
    let refused = bench.orders(&["a"]);
    assert_eq!(bench.answers[&refused[0]], Answer::Unavailable(Unavailable::Suspended));
    assert_eq!(bench.redis.calls("reserve").len(), calls, "not even asked for");
    // How many are left nobody knows until a rebuild has proved it.
    let stock = bench.get("/stock/p");
    let told = bench.written(stock);
    assert!(told.ends_with(r#"{"productId":"p","available":null,"state":"suspended"}"#), "{told}");
    bench.pass(1_000);
    let gauge = bench.counters.products.lock().expect("not poisoned")[0];
    assert_eq!((gauge.stock, gauge.state), (None, SaleState::Suspended));
    let operated = [bench.operate("/close", r#"{"productId":"p"}"#)];
    assert_eq!(bench.statuses(&operated), [Some(409)]);
    // Rebuilt: the same sale under its next generation.
    let mut rebuilt = open;
    rebuilt[3] = "2".into();
    bench.redis.sales.insert("p".into(), rebuilt);
    bench.pass(1_000);
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)]);
    let call = bench.redis.calls("reserve").pop().expect("it was asked for");
    let keys: usize = call[0].parse().expect("a number");
    assert_eq!(call[1 + keys + 2 + 2], "2", "under its generation");
}

#[test]
fn suspended_between_two_refreshes_the_script_says_so_first() {
    let mut bench = Bench::new();
    bench.redis.script("reserve", "*1\r\n$6\r\nSstate\r\n");
    let suspended = bench.redis.sales.get_mut("p").expect("a sale");
    suspended[0] = "suspended".into();
    suspended[1] = "state".into();
    let orders = bench.orders(&["a"]);
    assert_eq!(bench.answers[&orders[0]], Answer::Unavailable(Unavailable::Suspended));
    let more = bench.orders(&["b"]);
    assert_eq!(bench.answers[&more[0]], Answer::Unavailable(Unavailable::Suspended));
    assert_eq!(bench.redis.calls("reserve").len(), 1);
}

#[test]
fn a_sale_or_a_generation_older_than_one_seen_is_never_believed() {
    let mut bench = Bench::new();
    let set = |bench: &mut Bench, id: u64, generation: &str| {
        let fields = bench.redis.sales.get_mut("p").expect("a sale");
        (fields[2], fields[3]) = (id.to_string(), generation.to_owned());
    };
    set(&mut bench, SALE_ID, "2");
    bench.pass(1_000);
    for (seen, (id, generation)) in [(SALE_ID, "1"), (SALE_ID - 1, "9")].into_iter().enumerate() {
        // An old master that woke: the same edge reaches it by a new connection.
        set(&mut bench, id, generation);
        bench.lose_redis();
        bench.connect();
        let refused = bench.orders(&["a"]);
        assert_eq!(bench.answers[&refused[0]], Answer::Unavailable(Unavailable::Suspended), "{id} {generation}");
        assert_eq!(bench.redis.calls("reserve").len(), 0, "not even asked for");
        for (path, body) in [("/init", r#"{"productId":"p","quantity":1}"#), ("/close", r#"{"productId":"p"}"#)] {
            let operated = [bench.operate(path, body)];
            assert_eq!(bench.statuses(&operated), [Some(409)], "{path}");
        }
        let stock = bench.get("/stock/p");
        bench.run();
        assert!(bench.written(stock).contains(r#""state":"suspended""#));
        assert!(bench.counters.older_sales.get() > seen as u64, "counted");
    }
    set(&mut bench, SALE_ID, "3");
    bench.pass(1_000);
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)], "a rebuild raises the generation above all that were seen");
}

/// The successor is away before its rebuild has come to its end, and the old master wakes: the rebuild's number is taken, and whoever
/// sells at the old master sells under one that no ledger counts.
#[test]
fn a_generation_that_was_seen_fenced_off_is_not_gone_back_behind() {
    let mut bench = Bench::new();
    let set = |bench: &mut Bench, state: &str, reason: &str, generation: &str| {
        let fields = bench.redis.sales.get_mut("p").expect("a sale");
        (fields[0], fields[1], fields[3]) = (state.to_owned(), reason.to_owned(), generation.to_owned());
    };
    set(&mut bench, "suspended", "state", "2");
    bench.pass(1_500);
    set(&mut bench, "open", "", "1");
    bench.lose_redis();
    bench.connect();
    bench.pass(1_500);
    let refused = bench.orders(&["a"]);
    assert_eq!(bench.answers[&refused[0]], Answer::Unavailable(Unavailable::Suspended));
    assert!(bench.counters.older_sales.get() > 0, "counted");
    set(&mut bench, "open", "", "2");
    bench.pass(1_500);
    let orders = bench.orders(&["b"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)], "the rebuild has come to its end");
}

/// Redis lost it before any look, and before word of it had reached the topic, and a rebuild put the sale before in force again.
#[test]
fn a_sale_that_this_edge_has_opened_is_as_good_as_one_that_it_has_seen() {
    let mut bench = Bench::new();
    let set = |bench: &mut Bench, id: u64, generation: &str| {
        let fields = bench.redis.sales.get_mut("p").expect("a sale");
        (fields[2], fields[3]) = (id.to_string(), generation.to_owned());
    };
    bench.broker.silent = true;
    let (before, opened) = (SALE_ID.to_string(), (SALE_ID + 5).to_string());
    let reply = ["OK", &opened, "1", &before, "1", "100", "40", "0", "50"].map(str::to_owned);
    bench.redis.script("init", array(&reply));
    bench.operate("/init", r#"{"productId":"p","quantity":1,"force":true}"#);
    bench.run();
    set(&mut bench, SALE_ID, "2");
    bench.pass(1_500);
    let refused = bench.orders(&["a"]);
    bench.pass(600);
    assert_eq!(bench.answers[&refused[0]], Answer::Unavailable(Unavailable::Suspended));
    let stock = bench.get("/stock/p");
    bench.run();
    assert!(bench.written(stock).contains(r#""state":"suspended""#), "{}", bench.written(stock));
    assert!(bench.counters.older_sales.get() > 0, "told");
    set(&mut bench, SALE_ID + 5, "1");
    bench.pass(1_100);
    assert_eq!(bench.core.products[bench.core.products.find(b"p").expect("known")].state, SaleState::Open);
}

#[test]
fn what_a_caller_has_seen_travels_with_init_and_close() {
    let mut bench = Bench::new();
    bench.operate("/init", r#"{"productId":"p","quantity":100}"#);
    bench.operate("/close", r#"{"productId":"p"}"#);
    bench.operate("/close", r#"{"productId":"new"}"#);
    bench.redis.holds = vec!["init", "close"];
    bench.run();
    let seen = |bench: &Bench, name| -> Vec<Vec<String>> {
        bench.redis.calls(name).iter().map(|call| call[call.len() - 2..].to_vec()).collect()
    };
    let known = [SALE_ID.to_string(), "1".to_owned()];
    assert_eq!(seen(&bench, "init"), [known.to_vec()]);
    assert_eq!(seen(&bench, "close"), [known.to_vec(), vec![String::new(), String::new()]]);
}

#[test]
fn a_sale_of_another_topic_is_left_alone_and_answered_in_words() {
    let mut bench = Bench::new();
    let before = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&before), [Some(200)], "its own until now");
    // Opened anew by an edge of another topic; of its orders some stand in the outbox.
    bench.redis.stand("p", "5-0", "5-9");
    let theirs = bench.redis.sales.get_mut("p").expect("a sale");
    (theirs[0], theirs[1]) = ("foreign".into(), "theirs".into());
    bench.pass(20_000);
    let asked = bench.redis.calls("reserve").len();
    let orders = bench.orders(&["b"]);
    let looks = [bench.get("/stock/p"), bench.get("/queue/p"), bench.get(&format!("/order/p/{}", super::uuid(1, 1)))];
    bench.pass(100);
    for answered in orders.iter().chain(&looks) {
        assert_eq!(bench.answers[answered], Answer::Unavailable(Unavailable::OtherTopic));
    }
    assert_eq!(bench.redis.calls("reserve").len(), asked);
    assert_eq!(bench.redis.calls("relay"), [] as [Vec<String>; 0]);
    // An operator who asks this edge to open or close it is told why that is not done.
    bench.redis.script("close", "*2\r\n$1\r\nT\r\n$6\r\ntheirs\r\n");
    let closed = [bench.operate("/close", r#"{"productId":"p"}"#)];
    bench.pass(100);
    assert_eq!(bench.statuses(&closed), [Some(409)]);
    assert_eq!(bench.broker.log.iter().filter(|record| record.contains("sale-closed")).count(), 0);
}
