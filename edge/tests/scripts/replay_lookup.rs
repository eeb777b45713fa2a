//! `replay_lookup.lua` and `status.lua`: many orders in one call, of several products, without a word of a sale that is not believed.

use crate::sale::{Options, PLAIN, Sale, lookups, order, statuses};
use crate::server::Server;

#[test]
fn those_with_a_record_are_named_by_their_places() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u"), order("r2", 1, "o2", "v")]), ["A"]);
    let before = client.snapshot();
    assert_eq!(sale.lookup(&mut client, &["o9"]), "8 ", "units that are for sale");
    assert_eq!(sale.lookup(&mut client, &["o9", "o1", "o8", "o2"]), "8 2 4 ");
    let names: Vec<String> = (0..511).map(|n| format!("no-such-{n}")).chain(["o1".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(sale.lookup(&mut client, &names), "8 512 ");
    assert_eq!(client.snapshot(), before, "nothing changed");
    client.command(&["SET", &sale.key("stock"), "0"]);
    assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "0 1 ");
    for wrong in ["11", "x", "-1", ""] {
        client.command(&["SET", &sale.key("stock"), wrong]);
        assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "S", "{wrong:?} units are none of this sale's");
    }
    client.command(&["SET", &sale.key("stock"), "8"]);
    sale.close(&mut client);
    assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "0 1 ", "closed sales are looked at too, and sell nothing");
    let next = Sale::open(&mut client, "p", &Options { force: true, ..PLAIN });
    assert_eq!(sale.lookup(&mut client, &["o1"]), "N", "another sale: nothing is decided");
    assert_eq!(next.lookup(&mut client, &["o1"]), "10 ");
}

#[test]
fn one_product_s_failure_touches_no_other() {
    let server = Server::start();
    let mut client = server.connect();
    let sales = ["p", "q", "r"].map(|name| Sale::open(&mut client, name, &PLAIN));
    for sale in &sales {
        assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    }
    client.command(&["DEL", &sales[1].records_key()]);
    let groups: [(&Sale, &[&str]); 3] =
        [(&sales[0], &["o1", "o2"]), (&sales[1], &["o1"]), (&sales[2], &["o2", "o1", "o3"])];
    assert_eq!(lookups(&mut client, &groups), ["9 1 ", "S", "9 2 "]);
    assert_eq!(statuses(&mut client, &groups), ["P-", "S", "-P-"]);
}

#[test]
fn statuses_follow_entries_and_the_sale_before() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &PLAIN);
    let entry = first.reserve(&mut client, &[order("r1", 1, "o1", "u"), order("r2", 1, "o2", "v")])[0][1..].to_owned();
    client.command(&["XDEL", &first.key("outbox"), &entry]);
    let second = Sale::open(&mut client, "p", &Options { force: true, ..PLAIN });
    assert_eq!(second.codes(&mut client, &[order("r3", 1, "o3", "u"), order("r4", 1, "o4", "v")]), ["A"]);
    let before = client.snapshot();
    let asked: [(&Sale, &[&str]); 1] = [(&second, &["o3", "o1", "o9", "o4", "o2", "o3"])];
    assert_eq!(statuses(&mut client, &asked), ["PA-PAP"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    // The previous sale had been rebuilt before it ended, and its records were not renewed then.
    client.command(&["HSET", &second.key("sale"), "prev_gen", "2"]);
    assert_eq!(statuses(&mut client, &asked), ["P--P-P"]);
    client.command(&["DEL", &second.key("outbox")]);
    assert_eq!(statuses(&mut client, &asked), ["S"]);
}
