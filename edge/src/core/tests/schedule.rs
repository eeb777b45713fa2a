//! Work for Redis that clients can cause: in which order it goes, how much of it there can be, and that no script that
//! Redis has forgotten costs anybody an answer.

use std::time::Duration;

use flux_protocol::order::Identifier;

use super::redis::{SALE_ID, SEED, array};
use super::{Bench, config};
use crate::answer::{Answer, Unavailable};
use crate::limits::{
    CALL_ORDERS_MAX, CALLS_OUTSTANDING_MAX, LEASES_OUTSTANDING_MAX, ORDERS_IN_LINE_TOGETHER_MAX, ORDERS_PENDING_MAX,
    QUEUES_OUTSTANDING_MAX, STOCK_AGE_MAX, UNKNOWN_REMEMBERED,
};

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
const PRODUCTS: usize = 40;
const ORDER: &str = "00000000-0000-8000-8000-000000000001";

/// Products "p" and "x0" to "x39", known to the core.
fn many(rate: &str) -> Bench {
    Bench::with(config(), |redis| {
        for n in 0..PRODUCTS {
            redis.open_sale(&format!("x{n}"), 1_000);
        }
        for sale in redis.sales.values_mut() {
            (sale[6], sale[7]) = (rate.to_owned(), "100".to_owned());
        }
    })
}

/// Asks for an order of one unit of a product.
fn order(bench: &mut Bench, product: &str, user: &str) -> u32 {
    let position = bench.asked;
    bench.asked += 1;
    let body = format!(r#"{{"productId":"{product}","userId":"{user}","quantity":1}}"#);
    let outcome =
        bench.request("/order", Some(user.as_bytes()), body.as_bytes(), crate::core::request::Role::Public, position);
    if let crate::core::request::Outcome::Now(answer) = outcome {
        bench.answers.insert(position, answer);
    }
    position
}

/// The most calls that are on their way at once, by what a flood of each public route asks for. `GET /stock` and
/// `GET /queue` are asked for each product in memory.
#[test]
fn however_many_ask_so_many_calls_are_outstanding_and_no_more() {
    type Flood = fn(&mut Bench);
    let routes: [(&str, &str, usize, Flood); 6] = [
        ("POST /order", "reserve", CALLS_OUTSTANDING_MAX, |bench| {
            for n in 0..5_000 {
                order(bench, &format!("x{}", n % PRODUCTS), &format!("u{n}"));
            }
        }),
        ("POST /order, unknown product", "refresh", 1, |bench| {
            for n in 0..5_000 {
                order(bench, &format!("unknown-{n}"), "u");
            }
        }),
        ("GET /order", "status", 1, |bench| {
            for n in 0..5_000 {
                bench.ask(&format!("/order/x{}/{ORDER}", n % PRODUCTS));
            }
        }),
        ("GET /order, unknown product", "refresh", 1, |bench| {
            for n in 0..5_000 {
                bench.ask(&format!("/order/unknown-{n}/{ORDER}"));
            }
        }),
        ("GET /stock, unknown product", "refresh", 1, |bench| {
            for n in 0..5_000 {
                bench.ask(&format!("/stock/unknown-{n}"));
            }
        }),
        ("GET /queue", "queue", QUEUES_OUTSTANDING_MAX, |bench| {
            for n in 0..5_000 {
                bench.ask(&format!("/queue/x{}", n % PRODUCTS));
            }
        }),
    ];
    for (route, script, most, flood) in routes {
        let mut bench = many("0");
        bench.redis.asked.clear();
        bench.redis.holds = vec![script];
        for _ in 0..20 {
            flood(&mut bench);
            bench.pass(5);
        }
        assert_eq!(bench.redis.calls(script).len(), most, "{route}");
    }
    let mut bench = many("50");
    bench.redis.asked.clear();
    bench.redis.holds = vec!["lease"];
    for n in 0..5_000 {
        order(&mut bench, &format!("x{}", n % PRODUCTS), &format!("u{n}"));
    }
    bench.pass(50);
    assert_eq!(bench.redis.calls("lease").len(), LEASES_OUTSTANDING_MAX, "POST /order, a limited sale");
    bench.redis.holds.clear();
    bench.pass(50);
    assert!(bench.core.orders.is_empty(), "the others had their turns");
}

#[test]
fn a_reserve_call_goes_ahead_of_whatever_else_waits() {
    let mut bench = Bench::new();
    bench.redis.asked.clear();
    for _ in 0..100 {
        bench.ask(&format!("/order/p/{ORDER}"));
    }
    bench.ask("/queue/p");
    bench.ask("/stock/unknown");
    bench.redis.script("queue", array(&[]));
    let orders = bench.orders(&["a"]);
    let names: Vec<&str> = bench.redis.asked.iter().map(|asked| asked.name).collect();
    assert_eq!(names[0], "reserve", "{names:?}");
    assert!(["status", "queue", "refresh"].iter().all(|name| names.contains(name)), "{names:?}");
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)]);
}

#[test]
fn orders_without_end_keep_nobody_else_from_asking() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["reserve"];
    let users: Vec<String> = (0..1_000).map(|n| format!("a-user-with-a-long-name-{n:040}")).collect();
    for user in &users {
        bench.order(user);
    }
    let asked = bench.ask(&format!("/order/p/{ORDER}"));
    bench.run();
    assert_eq!(bench.redis.calls("status").len(), 1, "although two reserve calls fill the write");
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(bench.statuses(&[asked]), [Some(404)]);
}

#[test]
fn a_forgotten_script_of_any_kind_costs_nobody_an_answer() {
    let operated = |path: &'static str, body: &'static str| move |bench: &mut Bench| bench.operate(path, body);
    type Ask = Box<dyn Fn(&mut Bench) -> u32>;
    let (id, sold) = (SALE_ID.to_string(), "1".to_owned());
    let opened = array(&["OK".to_owned(), id.clone(), sold.clone()]);
    let closed = ["OK", &id, "100", "1", "40", "0", "2"].map(str::to_owned);
    let document = ["open", &id, SEED, "0", "100", "1705234800000000", "0"].map(str::to_owned);
    let asked: [(&'static str, Option<String>, u16, Ask); 7] = [
        ("init", Some(opened), 200, Box::new(operated("/init", r#"{"productId":"n","quantity":5}"#))),
        ("close", Some(array(&closed)), 200, Box::new(operated("/close", r#"{"productId":"p"}"#))),
        ("refresh", None, 200, Box::new(|bench| bench.get("/stock/p"))),
        ("queue", Some(array(&document)), 200, Box::new(|bench| bench.get("/queue/p"))),
        ("status", None, 404, Box::new(|bench| bench.get(&format!("/order/p/{ORDER}")))),
        ("reserve", None, 200, Box::new(|bench| bench.order("a"))),
        ("refresh", None, 200, Box::new(|bench| bench.get("/stock/q"))),
    ];
    for (script, then, status, ask) in asked {
        let mut bench = Bench::new();
        // Known to Redis alone.
        bench.redis.open_sale("q", 3);
        bench.redis.registry.retain(|name| name != "q");
        bench.redis.open_sale("n", 5);
        bench.pass(150);
        bench.redis.script(script, NOSCRIPT);
        then.into_iter().for_each(|reply| bench.redis.script(script, reply));
        let loads = bench.redis.calls("SCRIPT").len();
        let position = ask(&mut bench);
        bench.pass(100);
        assert_eq!(bench.statuses(&[position]), [Some(status)], "{script}");
        assert_eq!(bench.redis.calls("SCRIPT").len(), loads + crate::redis::scripts::SCRIPTS.all().len(), "{script}");
    }
}

#[test]
fn a_script_that_stays_forgotten_is_given_up() {
    let mut bench = Bench::new();
    (0..10).for_each(|_| bench.redis.script("status", NOSCRIPT));
    let asked = bench.get(&format!("/order/p/{ORDER}"));
    assert_eq!(bench.answers[&asked], Answer::Unavailable(Unavailable::Redis));
    assert_eq!(bench.redis.calls("status").len(), 3);
}

#[test]
fn what_a_search_found_is_as_old_as_its_question() {
    let mut bench = Bench::new();
    bench.redis.open_sale("q", 3);
    bench.redis.registry.retain(|name| name != "q");
    bench.redis.holds = vec!["refresh"];
    let first = bench.get("/stock/q");
    bench.pass(80);
    bench.redis.holds.clear();
    bench.run();
    assert_eq!(bench.statuses(&[first]), [Some(200)]);
    bench.pass(STOCK_AGE_MAX.saturating_sub(Duration::from_millis(79)).as_millis() as u64);
    let looks = bench.redis.calls("refresh").len();
    let second = bench.get("/stock/q");
    assert_eq!(bench.statuses(&[second]), [Some(200)]);
    assert!(bench.redis.calls("refresh").len() > looks, "102 ms old: asked again");
}

#[test]
fn the_registry_is_asked_for_behind_the_refresh_that_did_not_find_a_name() {
    for (exists, answer) in
        [(":1\r\n", Answer::UnknownProduct), (":0\r\n", Answer::Unavailable(Unavailable::Suspended))]
    {
        let mut bench = Bench::new();
        bench.redis.script("EXISTS", exists);
        bench.redis.asked.clear();
        let asked = bench.get("/stock/no-such");
        assert_eq!(bench.answers[&asked], answer);
        let names: Vec<&str> = bench.redis.asked.iter().map(|asked| asked.name).collect();
        assert_eq!(names, ["refresh", "EXISTS"]);
    }
}

#[test]
fn a_name_that_another_core_has_seen_a_sale_of_is_lost_and_not_unknown() {
    let mut bench = Bench::new();
    bench.redis.script("EXISTS", ":1\r\n");
    let name = Identifier::new(b"no-such").expect("an identifier");
    let of_another_core = bench.core.products.board().sight(name);
    let asked = bench.get("/stock/no-such");
    assert_eq!(bench.answers[&asked], Answer::UnknownProduct, "asked about, and not seen");
    of_another_core.note_sale(bench.now, 7);
    bench.pass(UNKNOWN_REMEMBERED.as_millis() as u64 + 1);
    let asked = bench.get("/stock/no-such");
    assert_eq!(bench.answers[&asked], Answer::Unavailable(Unavailable::Suspended));
}

/// A core that remembers "p" as sold out.
fn sold_out() -> Bench {
    let mut bench = Bench::new();
    bench.redis.script("reserve", array(&["M".to_owned(), "0".to_owned()]));
    let first = bench.orders(&["first"]);
    assert_eq!(bench.answers[&first[0]], Answer::SoldOut);
    bench.redis.asked.clear();
    bench
}

#[test]
fn sold_out_is_told_for_good_only_where_the_records_are_believed() {
    for (reply, answer) in [
        (array(&["0 ".to_owned()]), Answer::SoldOut),
        (array(&[String::new()]), Answer::Unavailable(Unavailable::Redis)),
        (array(&["S".to_owned()]), Answer::Unavailable(Unavailable::Suspended)),
        (array(&["U".to_owned()]), Answer::Unavailable(Unavailable::Suspended)),
        (array(&["0 3 ".to_owned()]), Answer::Unavailable(Unavailable::Redis)),
        (array(&["1".to_owned()]), Answer::Unavailable(Unavailable::Redis)),
        (array(&["what?".to_owned()]), Answer::Unavailable(Unavailable::Redis)),
        (array(&[]), Answer::Unavailable(Unavailable::Redis)),
        ("-LOADING Redis is loading the dataset in memory\r\n".to_owned(), Answer::Unavailable(Unavailable::Redis)),
    ] {
        let mut bench = sold_out();
        bench.redis.script("replay_lookup", reply.clone());
        let orders = bench.orders(&["a", "b"]);
        for order in &orders {
            assert_eq!(bench.answers[order], answer, "{reply:?}");
        }
        assert_eq!(bench.redis.calls("reserve"), [] as [Vec<String>; 0], "{reply:?}");
        assert_eq!(bench.redis.calls("replay_lookup").len(), 1);
    }
}

#[test]
fn an_order_is_sold_the_unit_that_came_back_while_it_was_looked_up() {
    let mut bench = sold_out();
    bench.redis.script("replay_lookup", array(&["1 2 ".to_owned()]));
    let orders = bench.orders(&["a", "b"]);
    bench.pass(50);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(200)]);
    assert_eq!(bench.redis.calls("replay_lookup").len(), 1);
}

/// "Sold out" comes before the limit: a buyer who comes for nothing is not sent to wait for a token.
#[test]
fn a_sale_with_a_limit_is_sold_out_between_two_tokens_too() {
    let mut bench = Bench::with(config(), |redis| {
        let fields = redis.sales.get_mut("p").expect("a sale");
        (fields[5], fields[6], fields[7]) = ("0".to_owned(), "1".to_owned(), "1".to_owned());
    });
    bench.redis.script("lease", "*4\r\n:0\r\n:200000\r\n:900000\r\n$1\r\n0\r\n");
    for name in ["waits-for-a-token", "comes-at-once", "comes-later", "comes-later-still"] {
        let order = bench.orders(&[name]);
        bench.pass(150);
        assert_eq!(bench.statuses(&order), [Some(409)], "{name}");
    }
    assert_eq!(bench.redis.calls("lease").len(), 1, "none of them asks for a token before there is one");
    assert_eq!(bench.redis.calls("reserve").len(), 0);
}

/// Other cores and edges sell, too: the one that is asked has to look, and not only once a second.
#[test]
fn that_a_sale_with_a_limit_has_sold_out_shows_before_the_next_token() {
    let mut bench = Bench::with(config(), |redis| {
        let fields = redis.sales.get_mut("p").expect("a sale");
        (fields[5], fields[6], fields[7]) = ("1".to_owned(), "1".to_owned(), "1".to_owned());
    });
    bench.redis.script("lease", "*4\r\n:1\r\n:200000\r\n:900000\r\n$1\r\nO\r\n");
    let mut told = Vec::new();
    for name in ["first", "second", "third"] {
        let order = bench.orders(&[name]);
        bench.redis.sales.get_mut("p").expect("a sale")[5] = "0".to_owned();
        bench.pass(110);
        told.extend(bench.statuses(&order));
    }
    assert_eq!(told, [Some(200), Some(302), Some(409)]);
}

/// What the last refresh saw is a second old: it may be wrong, and decides nothing.
#[test]
fn where_units_came_back_since_an_order_without_a_token_is_sent_to_the_waiting_room() {
    let mut bench = Bench::with(config(), |redis| {
        let fields = redis.sales.get_mut("p").expect("a sale");
        (fields[5], fields[6], fields[7]) = ("0".to_owned(), "1".to_owned(), "1".to_owned());
    });
    bench.redis.script("lease", "*4\r\n:0\r\n:200000\r\n:900000\r\n$1\r\nO\r\n");
    assert_eq!(
        {
            let order = bench.orders(&["first"]);
            bench.pass(20);
            bench.statuses(&order)
        },
        [Some(302)]
    );
    bench.redis.script("replay_lookup", array(&["3 ".to_owned()]));
    assert_eq!(
        {
            let order = bench.orders(&["second"]);
            bench.pass(20);
            bench.statuses(&order)
        },
        [Some(302)]
    );
    assert_eq!(bench.redis.calls("replay_lookup").len(), 1);
}

#[test]
fn whoever_has_a_record_is_answered_by_the_script_and_so_is_everybody_where_the_sale_is_another() {
    for (reply, asked) in [("0 2 ", 1), ("0 1 3 ", 2), ("0 1 2 3 ", 3), ("N", 3)] {
        let mut bench = sold_out();
        bench.redis.script("replay_lookup", array(&[reply.to_owned()]));
        let orders = bench.orders(&["a", "b", "c"]);
        bench.pass(50);
        let told = bench.statuses(&orders);
        let by_script: Vec<usize> = reply.split(' ').skip(1).filter_map(|place| place.parse().ok()).collect();
        for (place, status) in told.iter().enumerate() {
            let is_asked = reply == "N" || by_script.contains(&(place + 1));
            assert_eq!(*status, Some(if is_asked { 200 } else { 409 }), "{reply:?}");
        }
        let call = &bench.redis.calls("reserve")[0];
        let keys: usize = call[0].parse().expect("a number");
        assert_eq!(call[1 + keys + 2], asked.to_string(), "{reply:?}");
    }
}

#[test]
fn a_flood_of_orders_of_one_product_leaves_places_for_another() {
    let mut bench = Bench::with(config(), |redis| redis.open_sale("q", 1_000));
    bench.redis.holds = vec!["reserve"];
    let flood: Vec<u32> = (0..ORDERS_PENDING_MAX).map(|n| order(&mut bench, "p", &format!("u{n}"))).collect();
    assert_eq!(bench.answers[flood.last().expect("the last")], Answer::Unavailable(Unavailable::Full));
    let other = order(&mut bench, "q", "somebody");
    bench.redis.holds.clear();
    bench.pass(200);
    assert_eq!(bench.statuses(&[other]), [Some(200)]);
    assert!(flood.iter().all(|order| bench.answers.contains_key(order)));
    assert!(bench.core.products.indices().all(|index| bench.core.products[index].under_way == 0));
}

#[test]
fn an_order_does_not_stand_behind_a_crowd_that_wants_another_product_nor_the_crowd_behind_everybody() {
    let mut bench = Bench::with(config(), |redis| redis.open_sale("q", 1_000));
    bench.redis.holds = vec!["reserve"];
    for n in 0..4_000 {
        order(&mut bench, "p", &format!("u{n}"));
    }
    bench.run();
    let others: Vec<u32> = (0..200).map(|n| order(&mut bench, "q", &format!("v{n}"))).collect();
    bench.redis.asked.clear();
    bench.redis.holds.clear();
    bench.run();
    // Two were on their way; before the first of "q" stand those of "p" that the line holds together.
    let calls = bench.redis.calls("reserve");
    let first = calls.iter().position(|call| call[1..].contains(&"product:{q}:stock".to_owned()));
    let together = ORDERS_IN_LINE_TOGETHER_MAX / CALL_ORDERS_MAX + 1;
    assert!(first.expect("they were asked for") <= together + 2, "{first:?}");
    let both =
        calls[first.unwrap() + 1..].iter().take(2).all(|call| call[1..].contains(&"product:{p}:stock".to_owned()));
    assert!(both, "each call has places for the crowd");
    bench.pass(100);
    assert!(bench.statuses(&others).iter().all(|status| *status == Some(200)));
}

/// A write of its own for each entry would double what Redis is asked under load.
#[test]
fn a_delivered_entry_is_deleted_on_the_way_of_the_next_reserve_call() {
    let mut bench = Bench::new();
    let order = bench.orders(&["a"]);
    bench.pass(1);
    assert_eq!(bench.statuses(&order), [Some(200)]);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0], "it need not be deleted at once");
    bench.redis.asked.clear();
    bench.orders(&["b"]);
    let asked: Vec<&str> = bench.redis.asked.iter().map(|asked| asked.name).collect();
    assert_eq!(asked, ["XDEL", "reserve"]);
}
