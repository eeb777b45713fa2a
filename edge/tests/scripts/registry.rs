//! The registry: how it is read, and which names may leave it.

use crate::sale::{Options, PLAIN, Sale, keys, order};
use crate::server::{Client, Server, strings, text};

const REGISTRY: &str = "flux:products";
const HOUR_MS: u64 = 3_600_000;

/// `forget` by an edge of the topic `orders`, whose records live for `span_ms`.
fn forget(client: &mut Client, span_ms: u64, names: &[&str]) -> Vec<String> {
    let mut all = vec![REGISTRY.to_owned()];
    all.extend(names.iter().flat_map(|name| keys(name)));
    let mut arguments = vec![span_ms.to_string(), "orders".to_owned()];
    arguments.extend(names.iter().map(|name| (*name).to_owned()));
    strings(client.call(|scripts| &scripts.forget, &all, &arguments))
}

fn listed(client: &mut Client) -> Vec<String> {
    let mut names = strings(client.command(&["SMEMBERS", REGISTRY]));
    names.sort();
    names
}

/// A sale with its name in the registry.
fn open(client: &mut Client, product: &str) -> Sale {
    client.command(&["SADD", REGISTRY, product]);
    Sale::open(client, product, &Options { topic: "orders", ..PLAIN })
}

/// Closed an hour ago.
fn close_an_hour_ago(client: &mut Client, sale: &Sale) {
    sale.close_of(client, "orders");
    let since = (client.time_us() / 1000 - HOUR_MS).to_string();
    client.command(&["HSET", &sale.key("sale"), "closed_at", &since]);
}

#[test]
fn names_of_nothing_and_of_sales_that_are_long_over_leave() {
    let server = Server::start();
    let mut client = server.connect();
    client.command(&["SADD", REGISTRY, "nothing"]);
    let over = open(&mut client, "over");
    let entry = over.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    client.command(&["XDEL", &over.key("outbox"), &entry]);
    close_an_hour_ago(&mut client, &over);
    assert_eq!(forget(&mut client, 2 * HOUR_MS, &["over"]), ["C"], "its records live yet");
    assert_eq!(over.record(&mut client, "o1"), format!("r1 1 {entry}"));
    assert_eq!(forget(&mut client, HOUR_MS / 2, &["nothing", "over"]), ["G", "G"]);
    assert_eq!(listed(&mut client), ["."], "and what keeps the registry there: without one nobody is told 404");
    assert_eq!(over.record(&mut client, "o1"), "", "nobody will come to retire it");
    assert_eq!(over.refresh(&mut client, true).state(), ("closed", ""), "who asks for it finds it whole");
    assert_eq!(forget(&mut client, HOUR_MS / 2, &["nothing", "over"]), ["G", "G"], "a repeat");
}

#[test]
fn whatever_may_deliver_sell_or_be_rebuilt_stays() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, "p");
    assert_eq!(forget(&mut client, 0, &["p"]), ["K"], "open");
    sale.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    close_an_hour_ago(&mut client, &sale);
    assert_eq!(forget(&mut client, 0, &["p"]), ["K"], "an order of it is not delivered");
    client.command(&["XTRIM", &sale.key("outbox"), "MAXLEN", "0"]);
    for (field, value, verdict) in [
        ("closed_at", (client.time_us() / 1000 + HOUR_MS).to_string(), "C"),
        ("topic", "other".to_owned(), "K"),
        ("state", "suspended".to_owned(), "K"),
        ("replid", "0".repeat(40), "K"),
    ] {
        let held = text(client.command(&["HGET", &sale.key("sale"), field]));
        client.command(&["HSET", &sale.key("sale"), field, &value]);
        assert_eq!(forget(&mut client, 0, &["p"]), [verdict], "{field} {value}");
        client.command(&["HSET", &sale.key("sale"), field, &held]);
    }
    for lost in ["outbox", "claims", "users", "returned", "stock"] {
        client.command(&["RENAME", &sale.key(lost), "away"]);
        assert_eq!(forget(&mut client, 0, &["p"]), ["K"], "{lost} is lost");
        client.command(&["RENAME", "away", &sale.key(lost)]);
    }
    assert_eq!(listed(&mut client), ["p"]);
    assert_eq!(forget(&mut client, 0, &["p"]), ["G"], "with all that put right");
    // Opened again it is named again, and stays.
    let next = open(&mut client, "p");
    assert_eq!(forget(&mut client, 0, &["p"]), ["K"]);
    assert_eq!(next.refresh(&mut client, true).state(), ("open", ""));
}

#[test]
fn a_page_is_short_whatever_anybody_has_put_there() {
    let server = Server::start();
    let mut client = server.connect();
    let page = |client: &mut Client, cursor: &str, most: &str| {
        let arguments = [cursor, "100", most, "64"].map(str::to_owned);
        strings(client.call(|scripts| &scripts.page, &[REGISTRY.to_owned()], &arguments))
    };
    assert_eq!(page(&mut client, "0", "100"), ["0"], "there is none");
    for n in 0..5_000 {
        client.command(&["SADD", REGISTRY, &format!("product-{n}")]);
    }
    for length in [64, 65, 1 << 20] {
        client.command(&["SADD", REGISTRY, &"x".repeat(length)]);
    }
    for name in ["", ".", "..", "a b", "a}b", "a{b", "\u{fc}", "line\r\nfeed"] {
        client.command(&["SADD", REGISTRY, name]);
    }
    let (mut names, mut cursor) = (std::collections::BTreeSet::new(), "0".to_owned());
    loop {
        let mut read = page(&mut client, &cursor, "1000");
        cursor = read.remove(0);
        assert!(read.len() <= 1_000);
        names.extend(read);
        if cursor == "0" {
            break;
        }
    }
    assert!(names.remove(&"x".repeat(64)), "as long as a name may be");
    assert!(names.remove("."), "the member that is no product");
    assert_eq!(names.len(), 5_000, "every name, and not what is none");
    let left = text(client.command(&["SCARD", REGISTRY]));
    assert_eq!(left, "5002", "what can be no product's name has left the registry");
    assert_eq!(page(&mut client, "0", "7").len(), 8, "as many as it may have, behind the cursor");
}
