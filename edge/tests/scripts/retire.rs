//! When a sale's idempotency records may go.

use flux_protocol::resp::OwnedFrame;

use crate::sale::{Options, PLAIN, Sale, order};
use crate::server::{Client, Server, text};

/// `retire` of records whose life is `ttl_ms`: how many keys were emptied or removed.
fn retire(client: &mut Client, sale: &Sale, ttl_ms: u64) -> i64 {
    let keys = [sale.key("outbox"), sale.key("sale")];
    match client.call(|scripts| &scripts.retire, &keys, &[ttl_ms.to_string()]) {
        OwnedFrame::Integer(retired) => retired,
        other => panic!("no number: {other:?}"),
    }
}

/// Notes that the sale took its last order an hour ago.
fn let_an_hour_pass(client: &mut Client, sale: &Sale) {
    assert_eq!(retire(client, sale, 3_600_000), 0);
    let since = (client.time_us() / 1000 - 3_600_000).to_string();
    client.command(&["HSET", &sale.key("sale"), "resting_since", &since]);
}

#[test]
fn records_go_a_life_after_the_last_order_and_not_before_it_is_delivered() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    let_an_hour_pass(&mut client, &sale);
    assert_eq!(retire(&mut client, &sale, 1_800_000), 0, "its order is not delivered");
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    assert_eq!(retire(&mut client, &sale, 7_200_000), 0, "a life is longer than that");
    assert_eq!(sale.record(&mut client, "o1"), format!("r1 1 {entry}"));
    let is_noted = |client: &mut Client| text(client.command(&["HGET", &sale.key("sale"), "retired"]));
    assert_eq!(is_noted(&mut client), "");
    assert_eq!(retire(&mut client, &sale, 1_800_000), 1);
    assert_eq!(is_noted(&mut client), "1", "an order without a record may have had one");
    assert_eq!(sale.record(&mut client, "o1"), "");
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""), "nothing is lost");
    assert_eq!(retire(&mut client, &sale, 1_800_000), 0, "there are none");
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o1", "u")]), ["A"]);
}

#[test]
fn an_order_begins_the_rest_anew_and_so_does_a_clock_that_was_set_back() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let deliver = |client: &mut Client, id: &str| {
        let entry = sale.reserve(client, &[order(id, 1, id, "u")])[0][1..].to_owned();
        client.command(&["XDEL", &sale.key("outbox"), &entry]);
    };
    deliver(&mut client, "o1");
    let_an_hour_pass(&mut client, &sale);
    deliver(&mut client, "o2");
    assert_eq!(retire(&mut client, &sale, 1_800_000), 0, "sold meanwhile");
    let ahead = (client.time_us() / 1000 + 3_600_000).to_string();
    client.command(&["HSET", &sale.key("sale"), "resting_since", &ahead]);
    assert_eq!(retire(&mut client, &sale, 1_800_000), 0);
    let since: u64 = text(client.command(&["HGET", &sale.key("sale"), "resting_since"])).parse().expect("a time");
    assert!(since <= client.time_us() / 1000);
}

#[test]
fn a_suspended_sale_keeps_its_records_and_lost_ones_stay_lost() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    let_an_hour_pass(&mut client, &sale);
    client.command(&["HSET", &sale.key("sale"), "state", "suspended"]);
    let before = client.snapshot();
    assert_eq!(retire(&mut client, &sale, 1_000), 0);
    assert_eq!(client.snapshot(), before);
    client.command(&["HSET", &sale.key("sale"), "state", "open"]);
    client.command(&["DEL", &sale.records_key()]);
    assert_eq!(retire(&mut client, &sale, 1_000), 0);
    assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "records"));
}

#[test]
fn the_records_of_the_sale_before_outlive_it_by_a_life_or_until_the_next() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &PLAIN);
    let entry = first.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    client.command(&["XDEL", &first.key("outbox"), &entry]);
    let forced = Options { force: true, ..PLAIN };
    let second = Sale::open(&mut client, "p", &forced);
    let_an_hour_pass(&mut client, &second);
    assert_eq!(retire(&mut client, &second, 1_800_000), 0, "it was replaced just now");
    assert_eq!((first.status(&mut client, "o1"), second.status(&mut client, "o9")), ("A".into(), "-".into()));
    let replaced = (client.time_us() / 1000 - 3_600_000).to_string();
    client.command(&["HSET", &second.key("sale"), "opened_at", &replaced]);
    assert_eq!(retire(&mut client, &second, 1_800_000), 1);
    assert_eq!(first.status(&mut client, "o1"), "-");
    assert_eq!(first.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["M", "N"]);

    let sales: Vec<Sale> = (0..3).map(|_| Sale::open(&mut client, "p", &forced)).collect();
    let kept =
        [&second, &sales[0], &sales[1], &sales[2]].map(|sale| text(client.command(&["EXISTS", &sale.records_key()])));
    assert_eq!(kept, ["0", "0", "1", "1"], "this sale's and those of the one before");
}
