//! Entries that nobody delivered in time: claimed, published by a relay, settled or parted.

use flux_protocol::resp::OwnedFrame;

use crate::sale::{Options, PLAIN, Sale, order};
use crate::server::{Client, Server, strings, text};

/// `part` of an entry believed to hold `orders` orders, those at `acknowledged` (from 1) delivered.
fn part(client: &mut Client, sale: &Sale, entry: &str, orders: usize, acknowledged: &[usize]) -> String {
    let keys = [sale.key("outbox"), sale.key("claims"), sale.key("sale")];
    let mut arguments = vec![entry.to_owned(), orders.to_string()];
    arguments.extend(acknowledged.iter().map(usize::to_string));
    text(client.call(|scripts| &scripts.split_entry, &keys, &arguments))
}

fn ids(entries: &[(String, String, String)]) -> Vec<&str> {
    entries.iter().map(|(id, ..)| id.as_str()).collect()
}

#[test]
fn an_entry_is_handed_to_one_relay_until_its_claim_runs_out() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { total: 100, ..PLAIN });
    let made: Vec<String> = (0..5)
        .map(|n| sale.reserve(&mut client, &[order(&format!("r{n}"), 1, &format!("o{n}"), "u")])[0][1..].to_owned())
        .collect();
    assert_eq!(sale.relay(&mut client, "a", &["3600000", "60000", "10"]), [], "none is an hour old");
    let first = sale.relay(&mut client, "a", &["0", "60000", "2"]);
    assert_eq!(ids(&first), [&made[0], &made[1]], "the oldest first");
    let (_, head, lines) = &first[0];
    assert_eq!((head.as_str(), lines.as_str()), (format!("3 {} 100 1 1", sale.id).as_str(), "r0 1 o0 u 1705234800123"));
    assert_eq!(ids(&sale.relay(&mut client, "b", &["0", "60000", "2"])), [&made[2], &made[3]]);
    assert_eq!(ids(&sale.relay(&mut client, "a", &["0", "0", "10"])), [&made[4]], "its own claims stand too");
    assert_eq!(
        ids(&sale.relay(&mut client, "c", &["0", "60000", "10"])),
        [&made[4]],
        "a claim of no length has run out"
    );
    assert_eq!(sale.relay(&mut client, "c", &["0", "60000", "10"]), []);
    // A claim from before the clock was set back cannot outlive the lease that a caller would get now.
    client.command(&["HSET", &sale.key("claims"), &made[0], "z 99999999999999"]);
    assert_eq!(ids(&sale.relay(&mut client, "c", &["0", "60000", "10"])), [&made[0]]);
    assert_eq!(sale.settle(&mut client, &made), "5");
    assert_eq!(text(client.command(&["HLEN", &sale.key("claims")])), "1", "the mark alone");
    assert_eq!(sale.settle(&mut client, &made), "0");
    assert_eq!(sale.status(&mut client, "o0"), "A");
}

#[test]
fn an_entry_of_the_future_is_due_once_a_relay_has_seen_it_stand() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let future = format!("{}-7", client.time_us() / 1000 + 3_600_000);
    let head = format!("0 {} 10 1 1", sale.id);
    client.command(&["XADD", &sale.key("outbox"), &future, "h", &head, "o", "r1 1 o1 u 1", "c", "1"]);
    assert_eq!(sale.relay(&mut client, "a", &["0", "1000", "10"]), []);
    assert_eq!(sale.relay(&mut client, "a", &["0", "1000", "10", ""]), []);
    let before = format!("{}-6", &future[..future.len() - 2]);
    assert_eq!(sale.relay(&mut client, "a", &["0", "1000", "10", &before]), []);
    assert_eq!(ids(&sale.relay(&mut client, "a", &["0", "1000", "10", &future])), [&future]);
}

#[test]
fn claims_left_over_go_once_the_outbox_is_empty() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    assert_eq!(sale.relay(&mut client, "a", &["0", "60000", "10"]).len(), 1);
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    assert_eq!(text(client.command(&["HLEN", &sale.key("claims")])), "2");
    assert_eq!(sale.relay(&mut client, "a", &["0", "60000", "10"]), []);
    assert_eq!(strings(client.command(&["HGETALL", &sale.key("claims")])), [".", &format!("{} 1", sale.id)]);
}

#[test]
fn orders_that_part_ways_leave_the_undelivered_in_an_entry_of_their_own() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let batch = [order("r1", 1, "o1", "u"), order("r2", 2, "o2", "v"), order("r3", 1, "o3", "w")];
    let old = sale.reserve(&mut client, &batch)[0][1..].to_owned();
    sale.relay(&mut client, "a", &["0", "60000", "10"]);
    // The key of o3 has been taken by another reservation since: its record is not ours to move.
    let foreign = format!("r9 1 {old}");
    client.command(&["HSET", &sale.records_key(), "o3", &foreign]);
    let new = part(&mut client, &sale, &old, 3, &[1]);
    assert!(new > old);
    assert_eq!(sale.record(&mut client, "o3"), foreign);
    assert_eq!(sale.record(&mut client, "o2"), format!("r2 2 {new}"));
    assert_eq!(["o1", "o2"].map(|id| sale.status(&mut client, id)), ["A", "P"]);
    let entries = sale.relay(&mut client, "a", &["0", "60000", "10"]);
    let lines = "r2 2 o2 v 1705234800123\nr3 1 o3 w 1705234800123".to_owned();
    assert_eq!(entries, [(new.clone(), format!("3 {} 10 1 2", sale.id), lines)], "unclaimed, same partition");
    assert_eq!(sale.stock(&mut client), 6, "no unit moves");
    let before = client.snapshot();
    assert_eq!(part(&mut client, &sale, &old, 3, &[1]), "", "gone already: asked again, it does nothing");
    for orders in [1, 3, 64] {
        assert_eq!(part(&mut client, &sale, &new, orders, &[1]), "D", "another entry than the caller believes");
    }
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(part(&mut client, &sale, &new, 2, &[1, 2]), "", "all delivered");
    assert_eq!(client.command(&["XLEN", &sale.key("outbox")]), OwnedFrame::Integer(0));
    assert_eq!(text(client.command(&["HLEN", &sale.key("claims")])), "1", "the mark alone");
    client.command(&["HSET", &sale.key("sale"), "state", "suspended"]);
    assert_eq!(part(&mut client, &sale, &new, 2, &[]), "S");
}

#[test]
fn two_relays_that_both_hold_an_entry_part_it_once() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let old = sale.reserve(&mut client, &[order("r1", 1, "o1", "u"), order("r2", 1, "o2", "u")])[0][1..].to_owned();
    // A claim that ran out before its relay was through.
    assert_eq!(sale.relay(&mut client, "a", &["0", "0", "10"]).len(), 1);
    assert_eq!(sale.relay(&mut client, "b", &["0", "60000", "10"]).len(), 1);
    let new = part(&mut client, &sale, &old, 2, &[1]);
    assert_eq!(part(&mut client, &sale, &old, 2, &[2]), "", "the other comes late");
    assert_eq!(sale.settle(&mut client, std::slice::from_ref(&old)), "0");
    assert_eq!(["o1", "o2"].map(|id| sale.status(&mut client, id)), ["A", "P"], "delivered twice rather than never");
    assert_eq!(ids(&sale.relay(&mut client, "c", &["0", "60000", "10"])), [&new]);
}

#[test]
fn full_memory_does_not_keep_orders_from_parting() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let old = sale.reserve(&mut client, &[order("r1", 1, "o1", "u"), order("r2", 1, "o2", "u")])[0][1..].to_owned();
    client.run("CONFIG SET maxmemory-policy noeviction");
    client.run("CONFIG SET maxmemory 1");
    let new = part(&mut client, &sale, &old, 2, &[2]);
    assert!(new > old);
}

#[test]
fn claims_that_ran_out_do_not_pile_up_while_the_outbox_is_never_empty() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    sale.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    for n in 0..500 {
        client.command(&["HSET", &sale.key("claims"), &format!("{n}-0"), "gone 1"]);
    }
    let until_ms = client.time_us() / 1000 + 50_000;
    client.command(&["HSET", &sale.key("claims"), "999-0", &format!("other {until_ms}")]);
    let mut calls = 0;
    while text(client.command(&["HLEN", &sale.key("claims")])) != "3" {
        sale.relay(&mut client, "a", &["0", "60000", "64"]);
        calls += 1;
        assert!(calls < 100, "{:?}", client.command(&["HLEN", &sale.key("claims")]));
    }
    let left = strings(client.command(&["HKEYS", &sale.key("claims")]));
    assert!(
        left.contains(&".".to_owned()) && left.contains(&"999-0".to_owned()),
        "a claim that holds is kept: {left:?}"
    );
}

/// Entries of one partition, by hand: `first` onwards.
fn add(client: &mut Client, sale: &Sale, partition: u32, first: usize, count: usize) -> Vec<String> {
    let head = format!("{partition} {} 100 1 1", sale.id);
    let one = |n: usize| {
        let id = format!("{n}-1");
        client.command(&["XADD", &sale.key("outbox"), &id, "h", &head, "o", "r1 1 o1 u 1", "c", "1"]);
        id
    };
    (first..first + count).map(one).collect()
}

#[test]
fn a_walk_goes_on_where_the_last_call_left_off_and_comes_round() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    // More entries than one call passes, all of them claimed by somebody.
    let held = add(&mut client, &sale, 3, 1, 1100);
    let until = (client.time_us() / 1000 + 50_000).to_string();
    for chunk in held.chunks(100) {
        let claims = sale.key("claims");
        let owned: Vec<String> = chunk.iter().flat_map(|id| [id.clone(), format!("z {until}")]).collect();
        let mut words = vec!["HSET", &claims];
        words.extend(owned.iter().map(String::as_str));
        client.command(&words);
    }
    let free = add(&mut client, &sale, 0, 2000, 1);
    let (none, behind) = sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", "", "64"]);
    assert_eq!((none.len(), behind.as_str()), (0, held[1023].as_str()), "a call passes sixteen pages");
    let (found, end) = sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", &behind, "64"]);
    assert_eq!((ids(&found), end.as_str()), (vec![free[0].as_str()], ""));
    let (_, behind) = sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", "9999-1", "64"]);
    assert_eq!(behind, "", "behind the last there is nothing");
    // A claim at the front that has run out since is found by the next round.
    client.command(&["HDEL", &sale.key("claims"), &held[5]]);
    assert_eq!(ids(&sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", "", "64"]).0), [&held[5]]);
}

#[test]
fn each_partition_has_its_share_of_what_is_handed_out() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    add(&mut client, &sale, 1, 1, 300);
    let other = add(&mut client, &sale, 2, 1000, 3);
    let (found, _) = sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", "", "10"]);
    assert_eq!(found.iter().filter(|(_, head, _)| head.starts_with("1 ")).count(), 10);
    assert_eq!(ids(&found)[10..], other.iter().map(String::as_str).collect::<Vec<_>>());
    let (found, _) = sale.relay_on(&mut client, "a", &["0", "60000", "64", "", "", "", "10", "", "1", "0", "2", "7"]);
    assert_eq!(found, [], "no more of that partition, and the others are claimed");
    let (found, behind) = sale.relay_on(&mut client, "a", &["0", "60000", "4", "", "", "", "10", "", "1", "9"]);
    assert_eq!((found.len(), behind), (4, found[3].0.clone()), "a call that is full goes on behind its last");
}

#[test]
fn of_an_entry_that_names_no_sale_the_rest_moves_all_the_same() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let lines = "r1 1 o1 u 1705234800123\nr2 1 o2 u 1705234800123";
    let entry = text(client.command(&["XADD", &sale.key("outbox"), "*", "h", "7 2", "o", lines, "c", "2"]));
    let new = part(&mut client, &sale, &entry, 2, &[1]);
    let left = sale.relay(&mut client, "a", &["0", "60000", "10"]);
    assert_eq!((ids(&left), left[0].2.as_str()), (vec![&*new], "r2 1 o2 u 1705234800123"));
}
