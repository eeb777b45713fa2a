//! Sales that are sold under a fence: believed of callers alone that obey the one by which this very Redis sells them.

use crate::sale::{Options, PLAIN, Sale, order};
use crate::server::{Client, Server};

/// What relays are told that have no walk under way.
const RELAY: [&str; 7] = ["0", "60000", "10", "", "", "", "64"];

fn obeying(sale: &Sale, fence: &str) -> Sale {
    Sale { fence: Some(fence.to_owned()), ..sale.clone() }
}

fn relayed(client: &mut Client, sale: &Sale) -> usize {
    let told = sale.told_generation();
    sale.relay(client, "e", &[&RELAY[..], &[&told]].concat()).len()
}

/// A sale with an order in its outbox, sold under a fence that names this Redis; and that Redis' history.
fn fenced(client: &mut Client) -> (Sale, String) {
    let sale = Sale::open(client, "p", &Options { rate: 100, ..PLAIN });
    assert_eq!(sale.codes(client, &[order("r1", 1, "o1", "u")]), ["A"]);
    sale.put_under_a_fence(client);
    (sale, client.info("replication", "master_replid"))
}

#[test]
fn nothing_is_sold_leased_relayed_or_ended_for_a_caller_that_obeys_no_fence_or_another() {
    let server = Server::start();
    let mut client = server.connect();
    let (sale, replid) = fenced(&mut client);
    let another = "b".repeat(40);
    let longer = format!("{replid}0");
    for caller in [sale.clone(), obeying(&sale, &another), obeying(&sale, ""), obeying(&sale, &longer)] {
        let before = client.snapshot();
        let case = caller.told_generation();
        assert_eq!(caller.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["Sfence"], "{case}");
        assert_eq!(caller.lease(&mut client, 5, 200_000), (-1, 0, 0, "S".into()), "{case}");
        assert_eq!(caller.lookup(&mut client, &["o1"]), "S", "{case}");
        assert_eq!(relayed(&mut client, &caller), 0, "{case}");
        assert_eq!(caller.close_as_seen(&mut client), ["S", "fence"], "{case}");
        assert_eq!(caller.open_as_seen(&mut client), ["S", "fence"], "{case}");
        assert_eq!(client.snapshot(), before, "{case}");
    }
}

#[test]
fn whoever_obeys_its_fence_sells_it_as_any_other() {
    let server = Server::start();
    let mut client = server.connect();
    let (sale, replid) = fenced(&mut client);
    let sale = obeying(&sale, &replid);
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u"), order("r1", 1, "o1", "u")])[0], "M");
    assert_eq!(sale.stock(&mut client), 8);
    assert_eq!(sale.lease(&mut client, 5, 200_000).3, "O");
    assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "8 1 ");
    assert_eq!(relayed(&mut client, &sale), 2);
    // An earlier generation is another, also under the fence of this one; and a later one has this behind it.
    let earlier = Sale { generation: 0, ..sale.clone() };
    assert_eq!(earlier.codes(&mut client, &[order("r3", 1, "o3", "u")]), ["G"]);
    let later = Sale { generation: 2, ..sale.clone() };
    assert_eq!(later.codes(&mut client, &[order("r3", 1, "o3", "u")]), ["Sbehind"]);
    assert_eq!(later.lease(&mut client, 5, 200_000).3, "S");
    assert_eq!(sale.close_as_seen(&mut client)[0], "OK");
    assert_eq!(sale.codes(&mut client, &[order("r3", 1, "o3", "u")]), ["M", "C"]);
}

#[test]
fn what_only_tells_or_tidies_asks_for_no_fence_and_a_look_says_that_there_is_one() {
    let server = Server::start();
    let mut client = server.connect();
    let (sale, replid) = fenced(&mut client);
    assert_eq!(sale.status(&mut client, "o1"), "P");
    let look = sale.refresh(&mut client, true);
    assert_eq!(look.state(), ("open", ""));
    assert_eq!(look.0[3], format!("1 {replid}"));
    client.command(&["HSET", &sale.key("sale"), "state", "open"]);
    assert_eq!(sale.refresh(&mut client, true).0[3], "1");
}

#[test]
fn a_fence_that_is_obeyed_makes_no_other_redis_the_sales_own() {
    let mut server = Server::start();
    let mut client = server.connect();
    let (sale, replid) = fenced(&mut client);
    client.run("SAVE");
    server.restart();
    let mut client = server.connect();
    let now = client.info("replication", "master_replid");
    for fence in [&replid, &now] {
        let codes = obeying(&sale, fence).codes(&mut client, &[order("r2", 1, "o2", "u")]);
        assert_eq!(codes, ["Sreplid"], "{fence}");
    }
}
