//! A place in a fair queue is used up by being served: what `reserve` notes of it, and what it tells those who come again.

use crate::sale::{Options, Order, PLAIN, Sale, order};
use crate::server::{Client, Server, strings, text};

const FAIR: Options = Options { total: 100, rate: 50, burst: 50, fair: true, ..PLAIN };

/// By a place of that slot.
fn called(reservation: &str, quantity: u64, id: &str, user: &str, slot: u32) -> Order {
    Order { slot: Some(slot), ..order(reservation, quantity, id, user) }
}

/// A fair sale in its fifth second.
fn open(client: &mut Client, options: &Options) -> Sale {
    let sale = Sale::open(client, "p", options);
    let opened = client.time_us() / 1000 - 4_500;
    client.command(&["HSET", &sale.key("sale"), "opened_at", &opened.to_string()]);
    sale
}

fn turns(client: &mut Client, sale: &Sale, fields: &[&str]) -> Vec<String> {
    strings(client.command(&[&["HMGET", &sale.key("turns")], fields].concat()))
}

/// Without what differs from run to run: the slot of a T, which is that of the moment.
fn codes(client: &mut Client, sale: &Sale, orders: &[Order]) -> Vec<String> {
    let mut codes = sale.codes(client, orders);
    codes.iter_mut().filter(|code| code.starts_with('T')).for_each(|code| code.truncate(1));
    codes
}

#[test]
fn whoever_was_served_has_used_up_all_places_they_were_given_until_then() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, &FAIR);
    let batch = [
        called("r1", 1, "o1", "ann", 2),
        called("r2", 1, "o2", "ann", 2), // another key, the same place
        called("r3", 1, "o1", "ann", 2), // the same key: its first answer
        called("r4", 1, "o4", "bob", 2),
        order("r5", 1, "o5", "cid"), // nobody waited for them
    ];
    assert_eq!(codes(&mut client, &sale, &batch), ["M", "+", "T", "Rr1 1 0", "+", "+"]);
    assert_eq!(sale.stock(&mut client), 97);
    let noted = turns(&mut client, &sale, &["ann", "bob", "cid", ".", ".."]);
    let second: u32 = noted[0].parse().expect("a slot");
    assert!((5..=8).contains(&second), "the second of now: {noted:?}");
    assert_eq!(noted[3..], [sale.id.clone(), "0".to_owned()]);
    // In a later call: any place up to that second, of whoever got a unit with a place or without one.
    let later = [
        called("r6", 1, "o6", "ann", second),
        called("r7", 1, "o7", "cid", 0),
        called("r8", 1, "o8", "dan", 0),
        called("r9", 1, "o9", "bob", 1_000),
    ];
    assert_eq!(codes(&mut client, &sale, &later), ["M", "T", "T", "+", "+"]);
    // What a T tells is where the line begins for them anew.
    let told = sale.reserve(&mut client, &[called("r10", 1, "o10", "ann", 1)]);
    assert_eq!(told, ["M".to_owned(), format!("T{second}")]);
    // A record is a record, whatever was used up since.
    assert_eq!(codes(&mut client, &sale, &[called("r11", 1, "o1", "ann", 2)]), ["M", "Rr1 1 0"]);
}

#[test]
fn whoever_was_refused_has_used_their_place_up_too_and_so_many_are_noted() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, &Options { total: 5, per_user: 2, ..FAIR });
    let batch = [
        called("r1", 3, "o1", "ann", 0), // over the limit
        called("r2", 1, "o2", "ann", 0),
        called("r3", 2, "o3", "bob", 0),
        called("r4", 2, "o4", "cid", 0),
        called("r5", 2, "o5", "dan", 0), // one is left
        called("r6", 1, "o6", "dan", 0),
        order("r7", 3, "o7", "eve"), // came by no place: none is used up
        called("r8", 1, "o8", "eve", 0),
        called("r9", 1, "o9", "fay", 0), // sold out comes first
        called("r10", 1, "o10", "ann", 0),
    ];
    let told = codes(&mut client, &sale, &batch);
    assert_eq!(told, ["M", "L", "T", "+", "+", "I1", "T", "L", "+", "0", "0"]);
    assert_eq!(turns(&mut client, &sale, &[".."]), ["2"], "ann and dan were served without a unit");
    // Beyond so many nobody is noted who got nothing; whoever got something is.
    let sale = open(&mut client, &Options { total: 5, per_user: 2, force: true, ..FAIR });
    client.command(&["HSET", &sale.key("turns"), "..", "99999"]);
    let told = codes(
        &mut client,
        &sale,
        &[
            called("r1", 3, "o1", "ann", 0),
            called("r2", 3, "o2", "bob", 0),
            called("r3", 3, "o3", "bob", 0),
            called("r4", 1, "o4", "bob", 0),
            called("r5", 1, "o5", "bob", 0),
        ],
    );
    assert_eq!(told, ["M", "L", "L", "L", "+", "T"]);
    assert_eq!(turns(&mut client, &sale, &[".."]), ["100000"]);
}

#[test]
fn a_refusal_alone_is_noted_and_nothing_else_is_written() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, &Options { total: 5, ..FAIR });
    assert_eq!(codes(&mut client, &sale, &[called("r1", 9, "o1", "ann", 0)]), ["M", "I5"]);
    assert_eq!(codes(&mut client, &sale, &[called("r2", 1, "o2", "ann", 0)]), ["M", "T"]);
    assert_eq!(sale.stock(&mut client), 5);
    assert_eq!(text(client.command(&["XLEN", &sale.key("outbox")])), "0");
}

#[test]
fn a_fair_sale_without_its_turns_is_suspended_and_another_sale_has_none_of_them() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, &FAIR);
    sale.reserve(&mut client, &[called("r1", 1, "o1", "ann", 0)]);
    let plain = Sale::open(&mut client, "p", &Options { force: true, ..PLAIN });
    assert_eq!(text(client.command(&["EXISTS", &sale.key("turns")])), "0");
    assert_eq!(plain.codes(&mut client, &[order("r2", 1, "o2", "ann")]), ["A"]);
    let sale = open(&mut client, &Options { force: true, ..FAIR });
    assert_eq!(codes(&mut client, &sale, &[called("r3", 1, "o3", "ann", 0)]), ["A"], "of this sale none is used up");
    for harm in [["DEL", "turns", "", ""], ["SET", "turns", "x", ""], ["HSET", "turns", ".", "7"]] {
        let turns = sale.key("turns");
        let words: Vec<&str> = harm
            .iter()
            .map(|word| if *word == "turns" { turns.as_str() } else { word })
            .filter(|word| !word.is_empty())
            .collect();
        client.command(&["DEL", &turns]);
        if harm[0] != "DEL" {
            client.command(&words);
        }
        assert_eq!(sale.reserve(&mut client, &[called("r4", 1, "o4", "bob", 0)]), ["Sturns"], "{harm:?}");
        assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "turns"), "{harm:?}");
    }
}

#[test]
fn what_is_noted_is_the_second_in_which_it_happened() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = open(&mut client, &FAIR);
    let opened: u64 = text(client.command(&["HGET", &sale.key("sale"), "opened_at"])).parse().expect("a time");
    let slot_of = |time_us: u64| (time_us - opened * 1000) / 1_000_000 + 1;
    // In the later half of a second of Redis' clock, which is told in seconds and what is above them.
    while client.time_us() % 1_000_000 < 500_000 {}
    let before = slot_of(client.time_us());
    assert_eq!(codes(&mut client, &sale, &[called("r1", 101, "o1", "ann", 0)]), ["M", "I100"]);
    let after = slot_of(client.time_us());
    let noted: u64 = turns(&mut client, &sale, &["ann"])[0].parse().expect("a slot");
    assert!((before..=after).contains(&noted), "{noted} is not within {before} and {after}");
}
