//! Opening and closing sales, and how `look` shows them.

use crate::sale::{Options, PLAIN, Sale, init_reply, key, keys, order};
use crate::server::{Server, strings, text};

#[test]
fn a_first_init_makes_every_key() {
    let server = Server::start();
    let mut client = server.connect();
    let before_ms = client.time_us() / 1000;
    let sale = Sale::open(&mut client, "p", &Options { rate: 50, burst: 60, ..PLAIN });
    let id: u64 = sale.id.parse().expect("a number");
    assert!((before_ms..=client.time_us() / 1000).contains(&id), "Redis' time in ms");
    // All but the line, which is a fair queue's.
    for name in &keys("p")[..8] {
        assert_eq!(text(client.command(&["EXISTS", name])), "1", "{name}");
    }
    assert_eq!(text(client.command(&["XLEN", &sale.key("outbox")])), "0");
    let fields = ["open", "", &sale.id, "1", "10", "10", "50", "60", "0", "", "0", "0", "", "0", ""];
    assert_eq!(sale.refresh(&mut client, false).0, fields);
    let sale_fields = ["run_id", "replid", "seed", "withdrawn"];
    let values = sale_fields.map(|field| text(client.command(&["HGET", &sale.key("sale"), field])));
    let bound = [client.info("server", "run_id"), client.info("replication", "master_replid")];
    assert_eq!(values, [bound[0].clone(), bound[1].clone(), "5e".repeat(32), "0".into()]);
}

#[test]
fn a_sale_under_way_is_replaced_only_by_force() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &Options { rate: 5, burst: 6, ..PLAIN });
    // Nothing sold yet: the new one takes its place.
    let reply = strings(init_reply(&mut client, "p", &PLAIN));
    assert_eq!(reply[3..], [first.id.as_str(), "1", "10", "10", "5", "6"]);
    let second = Sale { id: reply[1].clone(), ..first.clone() };
    assert!(second.id.parse::<u64>().expect("a number") > first.id.parse().expect("a number"));
    let entry = second.reserve(&mut client, &[order("r1", 3, "o1", "u")])[0][1..].to_owned();
    // Some sold, some left.
    let before = client.snapshot();
    let busy = strings(init_reply(&mut client, "p", &PLAIN));
    let opened_at = text(client.command(&["HGET", &second.key("sale"), "opened_at"]));
    let seed = "5e".repeat(32);
    assert_eq!(
        busy,
        ["BUSY", &second.id, "1", "10", "0", "0", "100", "0", "0", &opened_at, &seed, "retry"],
        "all that its event says"
    );
    assert_eq!(client.snapshot(), before, "nothing changed");
    let reply = strings(init_reply(&mut client, "p", &Options { total: 50, force: true, ..PLAIN }));
    assert_eq!(reply[3..], [second.id.as_str(), "1", "10", "7", "0", "100"], "closed as by close");
    let third = Sale { id: reply[1].clone(), ..first.clone() };
    assert_eq!(third.refresh(&mut client, true).0[8..11], ["1", &entry, "1"], "its order is still to be delivered");
    let noted = text(client.command(&["HGET", &third.key("sales"), &second.id]));
    assert!(noted.starts_with("{\"total\":10,\"withdrawn\":7,\"closedAt\":1"), "{noted}");
    // Sold out: no force needed, nothing withdrawn.
    assert_eq!(third.codes(&mut client, &[order("r2", 50, "o2", "u")]), ["A"]);
    let reply = strings(init_reply(&mut client, "p", &PLAIN));
    assert_eq!(reply[3..], [third.id.as_str(), "1", "50", "0", "0", "100"]);
    // Closed: its withdrawn units are what close said.
    let fourth = Sale { id: reply[1].clone(), ..first };
    fourth.codes(&mut client, &[order("r3", 1, "o3", "u")]);
    assert_eq!(fourth.close(&mut client)[4], "9");
    let reply = strings(init_reply(&mut client, "p", &PLAIN));
    assert_eq!(reply[3..], [fourth.id.as_str(), "1", "10", "9", "0", "100"]);
    assert_eq!(text(client.command(&["HLEN", &key("p", "sales")])), "5", "four sales before this one and the mark");
}

#[test]
fn notes_of_earlier_sales_do_not_grow_for_ever_and_the_latest_stay() {
    let server = Server::start();
    let mut client = server.connect();
    let (mut ids, mut most) = (Vec::new(), 0);
    for _ in 0..2_000 {
        ids.push(Sale::open(&mut client, "p", &PLAIN).id);
        let notes: usize = text(client.command(&["HLEN", &key("p", "sales")])).parse().expect("a number");
        most = most.max(notes);
    }
    assert!((900..=1_001).contains(&most), "{most} notes, the mark among them");
    let latest = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(latest.refresh(&mut client, true).state(), ("open", ""), "believed as ever");
    let noted: std::collections::BTreeSet<String> =
        strings(client.command(&["HKEYS", &key("p", "sales")])).into_iter().collect();
    assert!(ids[ids.len() - 500..].iter().all(|id| noted.contains(id)), "the latest");
    assert!(ids[..ids.len() - 1_000].iter().all(|id| !noted.contains(id)));
    let keys = strings(client.command(&["KEYS", "*"]));
    assert!(keys.iter().filter(|key| key.contains("{p}")).count() < 20, "{keys:?}");
}

#[test]
fn users_of_an_earlier_sale_are_forgotten_and_its_returns_are_not() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &Options { per_user: 1, ..PLAIN });
    assert_eq!(first.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    client.command(&["SADD", &first.key("returned"), "r0"]);
    let second = Sale::open(&mut client, "p", &Options { per_user: 1, force: true, ..PLAIN });
    assert_eq!(second.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["A"]);
    let mut returned = strings(client.command(&["SMEMBERS", &second.key("returned")]));
    returned.sort();
    assert_eq!(returned, [format!(". {} 1", second.id), "r0".to_owned()]);
}

#[test]
fn an_edge_that_knows_another_redis_opens_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let arguments = ["10", "0", "100", "0", &"0".repeat(40), ""].map(str::to_owned);
    let reply = strings(client.call(|scripts| &scripts.init, &keys("p"), &arguments));
    assert_eq!(reply, ["S", "run_id"]);
    assert_eq!(strings(client.run("KEYS *")), [] as [String; 0]);
}

#[test]
fn close_withdraws_what_is_left_and_says_the_same_again() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { rate: 7, burst: 8, ..PLAIN });
    assert_eq!(sale.codes(&mut client, &[order("r1", 4, "o1", "u")]), ["A"]);
    let closed = sale.close(&mut client);
    assert_eq!(closed, ["OK", &sale.id, "1", "10", "6", "7", "8"]);
    assert_eq!(sale.stock(&mut client), 0);
    let before = client.snapshot();
    assert_eq!(sale.close(&mut client), closed);
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(sale.refresh(&mut client, true).state(), ("closed", ""));
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u"), order("r3", 4, "o1", "u")]), ["M", "C", "Rr1 4 0"]);
}

#[test]
fn a_sale_whose_options_cannot_be_read_is_not_closed() {
    let server = Server::start();
    let mut client = server.connect();
    for field in ["rate", "burst", "withdrawn"] {
        let sale = Sale::open(&mut client, field, &PLAIN);
        client.command(&["HDEL", &sale.key("sale"), field]);
        let before = client.snapshot();
        assert_eq!(sale.close(&mut client), ["S", "sale"], "{field}");
        assert_eq!(client.snapshot(), before, "{field}");
    }
}

#[test]
fn refresh_shows_several_products_at_once() {
    let server = Server::start();
    let mut client = server.connect();
    let a = Sale::open(&mut client, "a", &PLAIN);
    let b = Sale::open(&mut client, "b", &Options { total: 1, ..PLAIN });
    b.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    client.command(&["SET", &key("d", "stock"), "5"]);
    let all: Vec<String> = ["a", "b", "c", "d"].iter().flat_map(|product| keys(product)).collect();
    let reply = strings(client.call(|scripts| &scripts.refresh, &all, &["1".to_owned()]));
    assert_eq!(reply.len(), 4 * 15);
    let states: Vec<&[String]> = reply.chunks(15).map(|product| &product[..3]).collect();
    assert_eq!(states[0], ["open", "", &a.id]);
    assert_eq!(states[1], ["sold_out", "", &b.id]);
    assert_eq!(states[2], ["unknown", "", ""]);
    assert_eq!(states[3], ["suspended", "sale", ""]);
    assert_eq!(reply[3 * 15 + 5], "5", "what an operator would want to see");
}

#[test]
fn refresh_counts_the_orders_of_the_outbox_and_never_too_few() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { total: 1000, ..PLAIN });
    let mut entries = Vec::new();
    for n in 0..40 {
        let batch: Vec<_> = (0..3).map(|m| order(&format!("r{n}-{m}"), 1, &format!("o{n}-{m}"), "u")).collect();
        entries.push(sale.reserve(&mut client, &batch)[0][1..].to_owned());
    }
    let counts =
        |look: crate::sale::Refreshed| (look.0[8].clone(), look.0[9].clone(), look.0[10].clone(), look.0[12].clone());
    let expect = |n: usize, oldest: usize, orders: &str| {
        (n.to_string(), entries[oldest].clone(), orders.to_owned(), entries[39].clone())
    };
    assert_eq!(counts(sale.refresh(&mut client, true)), expect(40, 0, "120"));
    client.command(&["XDEL", &sale.key("outbox"), &entries[0], &entries[1]]);
    assert_eq!(counts(sale.refresh(&mut client, true)), expect(38, 2, "114"), "the oldest have gone: exact");
    client.command(&["XDEL", &sale.key("outbox"), &entries[5]]);
    assert_eq!(counts(sale.refresh(&mut client, true)), expect(37, 2, "114"), "a hole: more than there are");
    for entry in &entries[10..20] {
        client.command(&["XDEL", &sale.key("outbox"), entry]);
    }
    assert_eq!(counts(sale.refresh(&mut client, true)), expect(27, 2, "81"), "few: exact");
    client.command(&["XADD", &sale.key("outbox"), "*", "foreign", "entry"]);
    assert_eq!(
        sale.refresh(&mut client, true).0[10],
        (81 + 64).to_string(),
        "an entry of another's making counts as full"
    );
}

#[test]
fn orders_are_counted_on_from_one_sale_to_the_next() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &Options { total: 1000, ..PLAIN });
    for n in 0..33 {
        first.reserve(
            &mut client,
            &[order(&format!("a{n}"), 1, &format!("a{n}"), "u"), order(&format!("b{n}"), 1, &format!("b{n}"), "u")],
        );
    }
    let next = Sale::open(&mut client, "p", &Options { total: 1000, force: true, ..PLAIN });
    next.reserve(&mut client, &[order("c", 1, "c", "u")]);
    assert_eq!(next.refresh(&mut client, true).0[10], "67", "what the sale before left is still to be delivered");
    let full = Sale { orders_max: 67, ..next };
    assert_eq!(full.codes(&mut client, &[order("d", 1, "d", "u")]), ["F"]);
}

/// An opening time is one of Redis' clock; what is left of it is said with every look and every refusal.
#[test]
fn a_scheduled_sale_sells_nothing_and_says_how_long_it_is_still_closed() {
    let server = Server::start();
    let mut client = server.connect();
    let opens_at = client.time_us() / 1000 + 3_600_000;
    let sale = Sale::open(&mut client, "p", &Options { opens_at, ..PLAIN });
    let before = client.snapshot();
    let left_max = opens_at - client.time_us() / 1000;
    let look = sale.refresh(&mut client, true).0;
    let code = sale.codes(&mut client, &[order("r1", 1, "o1", "u")]);
    let left_min = opens_at - client.time_us() / 1000;
    assert_eq!((look[0].as_str(), code[0].as_str()), ("scheduled", "M"));
    for left in [&look[13], code[1].strip_prefix('O').expect("not yet open")] {
        assert!((left_min..=left_max).contains(&left.parse().expect("a number")), "{left_min} {left} {left_max}");
    }
    assert_eq!(client.snapshot(), before, "nothing changed");
    let past = (client.time_us() / 1000).to_string();
    client.command(&["HSET", &sale.key("sale"), "opens_at", &past]);
    let look = sale.refresh(&mut client, true).0;
    assert_eq!((look[0].as_str(), look[13].as_str()), ("open", "0"), "from its very millisecond on");
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
}
