//! Every code of `reserve`, and which of two that fit is given.

use crate::sale::{Options, Order, PLAIN, Sale, order, reserve_reply};
use crate::server::{Client, Server, strings, text};

fn entries(client: &mut Client, sale: &Sale) -> Vec<(String, Vec<String>)> {
    let flux_protocol::resp::OwnedFrame::Array(entries) = client.command(&["XRANGE", &sale.key("outbox"), "-", "+"])
    else {
        panic!("a stream")
    };
    let entry = |frame| match frame {
        flux_protocol::resp::OwnedFrame::Array(mut parts) => {
            let fields = strings(parts.pop().expect("fields"));
            (text(parts.pop().expect("an id")), fields)
        }
        other => panic!("no entry: {other:?}"),
    };
    entries.into_iter().map(entry).collect()
}

#[test]
fn an_accepted_batch_takes_units_and_leaves_one_entry_and_a_record_each() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "iphone-15", &PLAIN);
    let reply = sale.reserve(&mut client, &[order("r1", 1, "o1", "ann"), order("r2", 3, "o2", "bob")]);
    assert_eq!(reply.len(), 1);
    let entry = reply[0].strip_prefix('A').expect("all accepted");
    assert_eq!(sale.stock(&mut client), 6);
    let head = format!("3 {} 10 1 2", sale.id);
    let lines = "r1 1 o1 ann 1705234800123\nr2 3 o2 bob 1705234800123";
    let fields = ["h", &head, "o", lines, "c", "2"].map(str::to_owned).to_vec();
    assert_eq!(entries(&mut client, &sale), [(entry.to_owned(), fields)]);
    for (id, reservation, quantity) in [("o1", "r1", 1), ("o2", "r2", 3)] {
        assert_eq!(sale.record(&mut client, id), format!("{reservation} {quantity} {entry}"));
    }
    assert_eq!(sale.status(&mut client, "o1"), "P");
    client.command(&["XDEL", &sale.key("outbox"), entry]);
    assert_eq!(sale.status(&mut client, "o1"), "A");
    assert_eq!(sale.status(&mut client, "o9"), "-");
}

#[test]
fn earlier_orders_of_the_batch_are_remembered() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let batch = [
        order("r1", 4, "o1", "u"), // 6 left
        order("r2", 4, "o1", "u"), // the same key: the first order's reservation, and no unit
        order("r3", 7, "o2", "u"), // more than is left
        order("r4", 5, "o3", "u"), // a smaller one fits: 1 left
        order("r5", 2, "o2", "u"), // the key that was refused is free
        order("r6", 1, "o4", "u"), // the last
        order("r7", 1, "o5", "u"), // sold out in the middle
        order("r8", 9, "o1", "u"), // a replay is a replay still, its other quantity is the edge's to see
    ];
    let codes = sale.codes(&mut client, &batch);
    assert_eq!(codes, ["M", "+", "Rr1 4 0", "I6", "+", "I1", "+", "0", "Rr1 4 0"]);
    assert_eq!(sale.stock(&mut client), 0);
    let written = entries(&mut client, &sale);
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].1[1], format!("3 {} 10 1 3", sale.id));
    assert_eq!(written[0].1[3].lines().map(|line| &line[..2]).collect::<Vec<_>>(), ["r1", "r4", "r6"]);
    let reply = sale.reserve(&mut client, &[order("r9", 4, "o1", "u")]);
    assert_eq!(reply, ["M".to_owned(), format!("Rr1 4 0 {}", written[0].0)], "the record knows the entry");
}

#[test]
fn a_record_stands_pending_then_delivered_whoever_asks() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let reply = sale.reserve(&mut client, &[order("mine", 2, "o1", "u")]);
    let entry = reply[0][1..].to_owned();
    let repeat = [order("mine", 2, "o1", "u"), order("other", 3, "o1", "u")];
    assert_eq!(sale.codes(&mut client, &repeat), ["M", "Rmine 2 0", "Rmine 2 0"]);
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    assert_eq!(sale.codes(&mut client, &repeat), ["M", "Rmine 2 1", "Rmine 2 1"], "entry gone: delivered");
    assert_eq!(sale.stock(&mut client), 8);
}

/// SPEC: where several answers fit, the first of suspended, replay, closed, not yet open, sold out, limit reached,
/// insufficient. Each step takes away the reason before it and finds the next.
#[test]
fn of_several_answers_the_first_is_given() {
    let server = Server::start();
    let mut client = server.connect();
    let far = (client.time_us() / 1000 + 3_600_000).to_string();
    let sale = Sale::open(&mut client, "p", &Options { per_user: 4, ..PLAIN });
    assert_eq!(sale.codes(&mut client, &[order("r1", 3, "o1", "u")]), ["A"]);
    let field = |client: &mut Client, name: &str, value: &str| {
        client.command(&["HSET", &sale.key("sale"), name, value]);
    };
    let stock = |client: &mut Client, value: &str| client.command(&["SET", &sale.key("stock"), value]);
    // Everything at once: suspended, a record, closed, opens later, sold out, over the limit, more than is left.
    stock(&mut client, "0");
    field(&mut client, "opens_at", &far);
    field(&mut client, "state", "suspended");
    let again = [order("r1", 3, "o1", "u")];
    let fresh = [order("r2", 5, "o2", "u")];
    assert_eq!(sale.codes(&mut client, &again), ["Sstate"]);
    assert_eq!(sale.codes(&mut client, &fresh), ["Sstate"]);
    field(&mut client, "state", "closed");
    assert_eq!(sale.codes(&mut client, &again), ["M", "Rr1 3 0"]);
    assert_eq!(sale.codes(&mut client, &fresh), ["M", "C"]);
    field(&mut client, "state", "open");
    let early = sale.codes(&mut client, &fresh);
    assert!(early[0] == "M" && early[1].starts_with('O'), "{early:?}");
    field(&mut client, "opens_at", "0");
    assert_eq!(sale.codes(&mut client, &fresh), ["M", "0"]);
    stock(&mut client, "1");
    assert_eq!(sale.codes(&mut client, &fresh), ["M", "L"]);
    let other_user = [order("r3", 2, "o3", "v")];
    assert_eq!(sale.codes(&mut client, &other_user), ["M", "I1"]);
    stock(&mut client, "2");
    let crowded = Sale { orders_max: 1, ..sale.clone() };
    assert_eq!(crowded.codes(&mut client, &other_user), ["F"], "last of all: no room in the outbox");
    assert_eq!(sale.codes(&mut client, &other_user), ["A"]);
}

#[test]
fn a_limit_per_user_counts_units_over_calls_and_within_one() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { per_user: 3, ..PLAIN });
    let batch = [
        order("r1", 2, "o1", "ann"),
        order("r2", 2, "o2", "ann"),
        order("r3", 1, "o3", "ann"),
        order("r4", 3, "o4", "bob"),
        order("r5", 1, "o5", "ann"),
    ];
    assert_eq!(sale.codes(&mut client, &batch), ["M", "+", "L", "+", "+", "L"]);
    assert_eq!(sale.codes(&mut client, &[order("r6", 1, "o6", "bob"), order("r7", 1, "o7", "cid")]), ["M", "L", "+"]);
    let counts = strings(client.command(&["HMGET", &sale.key("users"), "ann", "bob", "cid"]));
    assert_eq!(counts, ["3", "3", "1"]);
    assert_eq!(sale.stock(&mut client), 3);
}

#[test]
fn another_generation_is_told_and_older_records_count_for_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    // What rebuild does to a sale, in short: another generation, keys marked with it.
    client.command(&["HSET", &sale.key("sale"), "gen", "2"]);
    for name in ["claims", "users", "rate", "sales"] {
        client.command(&["HSET", &sale.key(name), ".", &format!("{} 2", sale.id)]);
    }
    client.command(&["SADD", &sale.key("returned"), &format!(". {} 2", sale.id)]);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["G"]);
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    assert_eq!(
        rebuilt.codes(&mut client, &[order("r1", 1, "o1", "u")]),
        ["Srecords"],
        "they must be of this generation"
    );
    assert_eq!(sale.status(&mut client, "o1"), "S");
    client.command(&["DEL", &sale.records_key()]);
    client.command(&["HSET", &sale.records_key(), ".", &format!("{} 2", sale.id)]);
    let before = client.snapshot();
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["G"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(sale.status(&mut client, "o1"), "-");
    let entry = rebuilt.reserve(&mut client, &[order("r2", 2, "o1", "u")])[0][1..].to_owned();
    assert_eq!(sale.record(&mut client, "o1"), format!("r2 2 {entry}"));
    assert_eq!(rebuilt.stock(&mut client), 7);
}

#[test]
fn an_order_of_an_older_sale_replays_its_record_or_is_told_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(first.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    let second = Sale::open(&mut client, "p", &Options { force: true, ..PLAIN });
    let batch = [order("r1", 1, "o1", "u"), order("r2", 1, "o2", "u")];
    assert_eq!(first.codes(&mut client, &batch), ["M", "Rr1 1 0", "N"]);
    assert_eq!(first.status(&mut client, "o1"), "P");
    let replayed = [order("r9", 1, "o1", "u")];
    assert_eq!(first.codes(&mut client, &replayed), ["M", "N"], "a key is good for one sale: the new one judges it");
    // The previous sale had been rebuilt before it ended, and this record was not renewed then.
    client.command(&["HSET", &first.key("sale"), "prev_gen", "2"]);
    assert_eq!(first.codes(&mut client, &batch), ["M", "N", "N"]);
    client.command(&["HSET", &first.key("sale"), "prev_gen", "1"]);
    assert_eq!(second.codes(&mut client, &batch[..1]), ["A"], "an id of the new sale would not meet this record");
    let third = Sale::open(&mut client, "p", &Options { force: true, ..PLAIN });
    assert_eq!(first.codes(&mut client, &[order("r3", 1, "o3", "u")]), ["M", "N"]);
    assert_eq!(third.stock(&mut client), 10);
}

#[test]
fn products_of_one_call_do_not_touch_each_other() {
    let server = Server::start();
    let mut client = server.connect();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|product| Sale::open(&mut client, product, &PLAIN));
    let unknown = Sale { product: "nowhere".into(), ..a.clone() };
    client.command(&["DEL", &b.key("claims")]);
    client.command(&["SET", &d.key("outbox"), "not a stream"]);
    let one = [order("r1", 1, "o1", "u")];
    let two = [order("r2", 11, "o2", "u"), order("r3", 2, "o3", "u")];
    let groups: [(&Sale, &[Order]); 6] = [(&a, &one), (&b, &one), (&unknown, &two), (&c, &two), (&d, &one), (&a, &two)];
    let mut reply = strings(reserve_reply(&mut client, &groups));
    for head in [0, 3, 7] {
        assert!(reply[head].len() > 3, "an entry id: {reply:?}");
        reply[head].truncate(1);
    }
    assert_eq!(reply, ["A", "Sclaims", "U", "M", "I10", "+", "Soutbox", "M", "I9", "+"].map(str::to_owned));
    assert_eq!([&a, &b, &c, &d].map(|sale| sale.stock(&mut client)), [7, 10, 8, 10]);
}

/// What cannot be read of one product stops that one, and neither the product before it nor the one behind it: in one
/// call, a garbled record, a garbled count of a user's units, a stream entry of another's making.
#[test]
fn what_is_garbled_in_one_product_touches_no_other() {
    let server = Server::start();
    let mut client = server.connect();
    let limited = Options { per_user: 3, ..PLAIN };
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|product| Sale::open(&mut client, product, &limited));
    let one = [order("r1", 1, "o1", "u")];
    // No record of ours: an entry id that is none, and one that no stream takes.
    client.command(&["HSET", &b.records_key(), "o1", "r1 1 nonsense"]);
    client.command(&["HSET", &b.records_key(), "o2", "r2 1 99999999999999999999999-1"]);
    client.command(&["HSET", &c.key("users"), "u", "many"]);
    let two = [order("r3", 1, "o1", "v"), order("r4", 1, "o2", "w")];
    let mut reply = strings(reserve_reply(&mut client, &[(&a, &one), (&b, &two), (&c, &one), (&d, &one)]));
    for head in [0, 1, 3] {
        reply[head].truncate(1);
    }
    assert_eq!(reply, ["A", "A", "Susers", "A"].map(str::to_owned));
    assert_eq!([&a, &b, &c, &d].map(|sale| sale.stock(&mut client)), [9, 8, 10, 9]);
}

#[test]
fn an_outbox_full_of_undelivered_orders_takes_no_more() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale { orders_max: 3, ..Sale::open(&mut client, "p", &Options { total: 500, ..PLAIN }) };
    let batch: Vec<Order> = (0..5).map(|n| order(&format!("r{n}"), 1, &format!("o{n}"), "u")).collect();
    let reply = sale.reserve(&mut client, &batch);
    assert_eq!(reply[1..], ["+", "+", "+", "F", "F"], "as many as there is room for");
    assert_eq!(sale.codes(&mut client, &batch[..1]), ["M", "Rr0 1 0"], "a replay needs no room");
    assert_eq!(sale.codes(&mut client, &batch[2..]), ["M", "Rr2 1 0", "F", "F"]);
    let before = client.snapshot();
    assert_eq!(sale.codes(&mut client, &batch[3..]), ["F"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    client.command(&["XDEL", &sale.key("outbox"), &reply[0][1..]]);
    assert_eq!(sale.codes(&mut client, &batch[3..]), ["A"], "delivered: room again");

    // Beyond 32 entries the count may not be exact, but it is never less than what is there.
    let sale = Sale { orders_max: 40, ..sale };
    let mut taken = 2;
    for n in 10..100 {
        match sale.codes(&mut client, &[order(&format!("r{n}"), 1, &format!("o{n}"), "u")])[0].as_str() {
            "A" => taken += 1,
            other => assert_eq!(other, "F"),
        }
    }
    assert_eq!(taken, 40);
}
