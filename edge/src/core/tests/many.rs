//! Many products, and several cores: what is looked at how often, what leaves the registry and the memory, and what one core
//! knows of what another has seen or done.

use std::collections::HashSet;
use std::sync::Arc;

use flux_protocol::order::Identifier;

use super::redis::{SALE_ID, array};
use super::{Bench, config};
use crate::answer::Answer;
use crate::core::state::board::Board;
use crate::core::state::product::Product;
use crate::core::state::product_index::ProductIndex;
use crate::limits::{
    LEFT_PRODUCT_KEPT, PRODUCT_GAUGE_PLACES_MAX, PRODUCT_GAUGES_MAX, PRODUCT_IDLE_MIN, PRODUCTS_MAX,
    REFRESH_PRODUCTS_MAX, REFRESHES_IDLE_MAX, REFRESHES_OUTSTANDING_MAX,
};
use crate::sale::{Sale, SaleState};

/// Products that looks named since the start, or since what was asked was cleared; each time that it was named.
fn looked_at(bench: &Bench) -> Vec<String> {
    bench.redis.calls("refresh").concat().into_iter().filter(|key| key.ends_with(":sale")).collect()
}

fn open_many(bench: &mut Bench, products: usize) {
    for n in 0..products {
        bench.redis.open_sale(&format!("product-{n}"), 1);
    }
}

#[test]
fn products_that_nobody_asks_for_are_looked_at_in_turn_a_bounded_number_a_second() {
    const PRODUCTS: usize = 4 * REFRESHES_IDLE_MAX;
    let mut bench = Bench::new();
    open_many(&mut bench, PRODUCTS);
    bench.pass(30_000);
    assert_eq!(bench.core.products.len(), PRODUCTS + 1, "the registry names them");
    bench.redis.asked.clear();
    bench.orders(&["a"]);
    bench.pass(10 * 900);
    let looked = looked_at(&bench);
    let of = |product: &str| looked.iter().filter(|key| key.contains(product)).count();
    assert!((9..=11).contains(&of("{p}")), "what is asked for is looked at every time: {}", of("{p}"));
    assert!(looked.len() <= 11 * (REFRESHES_IDLE_MAX + 1), "{} looks in ten rounds", looked.len());
    let distinct: HashSet<&String> = looked.iter().collect();
    assert_eq!(distinct.len(), PRODUCTS + 1, "each of the others has its turn");
}

#[test]
fn looks_are_few_at_a_time_and_go_on_where_they_were_cut_off() {
    const PRODUCTS: usize = 3 * REFRESHES_OUTSTANDING_MAX * REFRESH_PRODUCTS_MAX;
    let mut bench = Bench::new();
    open_many(&mut bench, PRODUCTS);
    bench.pass(5_000);
    bench.redis.holds = vec!["refresh"];
    let asked = bench.redis.calls("refresh").len();
    bench.pass(2_500);
    assert_eq!(bench.redis.calls("refresh").len() - asked, REFRESHES_OUTSTANDING_MAX);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.connect();
    bench.redis.asked.clear();
    bench.pass(1_800);
    let distinct: HashSet<String> = looked_at(&bench).into_iter().collect();
    assert_eq!(distinct.len(), PRODUCTS + 1, "and all of them in the end");
}

#[test]
fn requests_for_the_stock_of_a_thousand_products_are_gathered() {
    let mut bench = Bench::new();
    open_many(&mut bench, 1_000);
    bench.pass(20_000);
    bench.redis.asked.clear();
    bench.redis.holds = vec!["refresh"];
    let asked: Vec<u32> = (0..1_000).map(|n| bench.get(&format!("/stock/product-{n}"))).collect();
    assert!(
        bench.redis.calls("refresh").len() <= REFRESHES_OUTSTANDING_MAX,
        "an order waits behind no more than these"
    );
    bench.redis.holds.clear();
    bench.run();
    assert!(bench.statuses(&asked).iter().all(|status| *status == Some(200)));
    let calls = bench.redis.calls("refresh").len();
    assert!(calls <= 1_000 / REFRESH_PRODUCTS_MAX + REFRESHES_OUTSTANDING_MAX + 1, "{calls} calls");
}

#[test]
fn thousands_of_names_of_nothing_leave_the_registry_and_live_sales_are_served() {
    const NAMES: usize = 30_000;
    let mut bench = Bench::new();
    bench.redis.registry.extend((0..NAMES).map(|n| format!("nothing-{n}")));
    bench.redis.open_sale("last", 10);
    for _ in 0..10 {
        bench.pass(60_000);
        bench.redis.asked.clear();
    }
    assert_eq!(bench.redis.registry, ["p", "last"]);
    assert_eq!(bench.counters.names_forgotten.get(), NAMES as u64);
    assert_eq!(bench.core.products.len(), 2);
    let stock = [bench.get("/stock/last")];
    bench.run();
    assert_eq!(bench.statuses(&stock), [Some(200)]);
}

#[test]
fn sales_that_are_over_leave_once_they_have_been_for_long_and_no_others() {
    let mut bench = Bench::new();
    for (product, state, reason, entries) in
        [("old", "closed", "long ago", "0"), ("new", "closed", "", "0"), ("due", "closed", "long ago", "2")]
    {
        bench.redis.open_sale(product, 10);
        let fields = bench.redis.sales.get_mut(product).expect("a sale");
        (fields[0], fields[1], fields[8]) = (state.into(), reason.into(), entries.into());
    }
    bench.pass(120_000);
    assert_eq!(bench.redis.registry, ["p", "new", "due"], "what may still deliver stays whatever its age");
    assert!(bench.core.products.find(b"due").is_some() && bench.core.products.find(b"p").is_some());
    // Who asks for one that has left finds it, and it stays no longer than it is asked for.
    let stock = [bench.get("/stock/old")];
    bench.run();
    assert!(bench.written(stock[0]).contains(r#""state":"closed""#));
    assert!(bench.core.products.find(b"old").is_some());
    bench.pass((PRODUCT_IDLE_MIN + LEFT_PRODUCT_KEPT).as_millis() as u64 + 60_000);
    assert!(bench.core.products.find(b"old").is_none());
    assert_eq!(bench.core.products.first_left(), None, "its place is free");
    // One that has left is opened again.
    bench.redis.open_sale("old", 10);
    bench.pass(10_000);
    let index = bench.core.products.find(b"old").expect("known again");
    assert_eq!(bench.core.products[index].state, SaleState::Open);
}

#[test]
fn a_full_table_lets_those_go_that_nobody_asks_for() {
    let mut bench = Bench::new();
    let known = bench.core.products.known(b"p").expect("a sale");
    let (fields, sale) = (bench.redis.sales["p"].clone(), bench.core.products[known].sale);
    for n in 0..PRODUCTS_MAX + 500 {
        let name = format!("product-{n}");
        bench.redis.sales.insert(name.clone(), fields.clone());
        let name = Identifier::new(name.as_bytes()).expect("an identifier");
        if let Some(index) = bench.core.products.insert(bench.now, name) {
            let product = &mut bench.core.products[index];
            (product.sale, product.state, product.seen) = (sale, SaleState::Open, Some(bench.now));
        }
    }
    assert_eq!(bench.core.products.len(), PRODUCTS_MAX, "and no more: each was asked for just now");
    assert!(size_of::<Product>() <= 776, "{} bytes", size_of::<Product>());
    bench.pass(PRODUCT_IDLE_MIN.as_millis() as u64 + 1_000);
    assert_eq!(bench.counters.products.lock().expect("not poisoned").len(), PRODUCT_GAUGES_MAX);
    let last = format!("/stock/product-{}", PRODUCTS_MAX + 499);
    let stock = [bench.get(&last)];
    bench.run();
    assert_eq!(bench.statuses(&stock), [Some(200)], "a live sale is never told that the edge is full");
    assert_eq!(bench.core.products.len(), PRODUCTS_MAX);
}

#[test]
fn the_latest_sales_are_shown_wherever_they_stand_in_the_table() {
    let mut bench = Bench::new();
    let products = PRODUCT_GAUGE_PLACES_MAX + 2 * PRODUCT_GAUGES_MAX;
    let known = bench.core.products.known(b"p").expect("a sale");
    let sale = bench.core.products[known].sale.expect("a sale");
    for n in 0..products {
        let name = Identifier::new(format!("product-{n}").as_bytes()).expect("an identifier");
        let index = bench.core.products.insert(bench.now, name).expect("there is room");
        let product = &mut bench.core.products[index];
        // The first half are closed; of all others the later ones were opened earlier.
        product.state = if n < products / 2 { SaleState::Closed } else { SaleState::Open };
        (product.sale, product.seen) =
            (Some(Sale { id: sale.id + 1 + (products - n) as u64, ..sale }), Some(bench.now));
    }
    for _ in 0..3 {
        bench.core.gauges.poll(super::at(bench.now), &bench.core.products, &mut Vec::new());
    }
    let shown = |bench: &Bench| -> Vec<usize> {
        let chosen = &bench.core.gauges.chosen;
        let number =
            |index: &ProductIndex| bench.core.products[*index].name.as_str().strip_prefix("product-")?.parse().ok();
        chosen.iter().filter_map(number).collect()
    };
    let latest: Vec<usize> = (products / 2..products / 2 + PRODUCT_GAUGES_MAX).collect();
    assert_eq!(shown(&bench), latest);
    // One of them ends, another one is opened anew.
    let at =
        |bench: &Bench, n: usize| bench.core.products.find(format!("product-{n}").as_bytes()).expect("it is known");
    let (ended, anew) = (at(&bench, latest[0]), at(&bench, 3));
    bench.core.products[ended].state = SaleState::Closed;
    let product = &mut bench.core.products[anew];
    (product.state, product.sale) = (SaleState::Open, Some(Sale { id: sale.id + 1_000_000, ..sale }));
    for _ in 0..2 {
        bench.core.gauges.poll(super::at(bench.now), &bench.core.products, &mut Vec::new());
    }
    assert_eq!(shown(&bench), [&[3], &latest[1..]].concat());
}

#[test]
fn a_name_that_the_registry_has_lost_is_put_back() {
    let mut bench = Bench::new();
    bench.redis.registry.clear();
    bench.pass(15_000);
    assert_eq!(bench.redis.calls("SADD"), [["flux:products", ".", "p"]], "once, and beside it what keeps it there");
}

/// Two cores of one process, each connected, with one open sale of "p".
fn two_cores() -> (Bench, Bench) {
    let board = Arc::<Board>::default();
    let core = |index| Bench::beside(config(), &board, index, |_| {});
    (core(0), core(1))
}

#[test]
fn a_core_that_is_asked_for_nothing_refreshes_nothing_and_one_refresh_serves_both() {
    let (mut first, mut second) = two_cores();
    second.pass(20_000);
    assert_eq!(second.redis.calls("refresh"), [] as [Vec<String>; 0]);
    // Asked for once, found once; from then on the first core's looks are its own.
    second.get("/stock/p");
    first.pass(20_000);
    second.redis.asked.clear();
    first.redis.sales.get_mut("p").expect("a sale")[5] = "77".into();
    first.pass(500);
    first.get("/stock/p");
    second.now = first.now;
    let stock = second.get("/stock/p");
    assert!(second.written(stock).contains(r#""available":77"#), "{}", second.written(stock));
    assert_eq!(second.redis.calls("refresh"), [] as [Vec<String>; 0]);
}

#[test]
fn after_init_was_answered_no_core_answers_for_the_sale_before() {
    let (mut first, mut second) = two_cores();
    let before = second.orders(&["a"]);
    second.pass(50);
    second.orders(&["b"]);
    second.pass(50);
    first.pass(200);
    assert_eq!(second.statuses(&before), [Some(200)]);
    // A new one is opened through the first core.
    let next = SALE_ID + 1;
    first.redis.script("init", array(&["OK", &next.to_string(), "1"].map(str::to_owned)));
    let opened = [first.operate("/init", r#"{"productId":"p","quantity":5}"#)];
    for bench in [&mut first, &mut second] {
        let fields = bench.redis.sales.get_mut("p").expect("a sale");
        (fields[2], fields[4], fields[5]) = (next.to_string(), "5".into(), "5".into());
    }
    first.pass(200);
    assert_eq!(first.statuses(&opened), [Some(200)]);
    // The same key: an order of the new sale, under another id.
    let again = second.orders(&["a"]);
    second.pass(100);
    let call = second.redis.calls("reserve").pop().expect("it was asked for");
    let keys: usize = call[0].parse().expect("a number");
    assert_eq!(call[1 + keys + 3], next.to_string(), "judged against the sale that was opened");
    let (Answer::Accepted { id: earlier, .. }, Answer::Accepted { id, replayed }) =
        (&second.answers[&before[0]], &second.answers[&again[0]])
    else {
        panic!("{:?}", second.answers[&again[0]])
    };
    assert!(id != earlier && !replayed);
}

#[test]
fn after_close_was_answered_no_core_sells_and_a_first_answer_stands() {
    let (mut first, mut second) = two_cores();
    for user in ["a", "c"] {
        second.orders(&[user]);
        second.pass(50);
    }
    first.pass(200);
    first.redis.script("close", array(&["OK", &SALE_ID.to_string(), "1", "100", "99", "0", "2"].map(str::to_owned)));
    let closed = [first.operate("/close", r#"{"productId":"p"}"#)];
    first.pass(200);
    assert_eq!(first.statuses(&closed), [Some(200)]);
    second.redis.sales.get_mut("p").expect("a sale")[0] = "closed".into();
    let reserved = second.redis.calls("reserve").len();
    let late = second.orders(&["b"]);
    second.pass(100);
    assert_eq!(second.redis.calls("reserve").len(), reserved, "no unit is even asked for");
    assert_eq!(second.redis.calls("replay_lookup").len(), 1, "but whether it was sold before");
    assert_eq!(second.answers[&late[0]], Answer::SoldOut);
}

#[test]
fn what_the_first_core_has_found_lost_no_other_sells_a_moment_later() {
    let (mut first, mut second) = two_cores();
    second.orders(&["a"]);
    second.pass(50);
    // Only looks read this key: the first core finds it gone, and the second has looked just before.
    first.now = second.now;
    first.redis.sales.get_mut("p").expect("a sale").splice(0..2, ["suspended".into(), "sales".into()]);
    first.pass(1200);
    second.now = first.now;
    let late = second.orders(&["b"]);
    assert_eq!(second.statuses(&late), [Some(503)]);
}

#[test]
fn a_look_out_of_turn_puts_the_next_one_off_by_no_more_than_a_second() {
    let mut bench = Bench::new();
    bench.orders(&["a"]);
    // A look in the midst of a second, for whoever asks for the stock.
    bench.pass(1850);
    bench.get("/stock/p");
    bench.pass(20);
    let looks = bench.redis.calls("refresh").len();
    bench.pass(1100);
    assert!(bench.redis.calls("refresh").len() > looks, "the round behind it came when that was young");
}
