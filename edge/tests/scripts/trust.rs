//! What makes a sale suspended, and that no script then changes anything.

use std::collections::BTreeSet;

use flux_edge::redis::scripts::Scripts;
use flux_protocol::resp::{Belief, ErrorKind, OwnedFrame};

use crate::queue::document;
use crate::sale::{KEYS, Options, PLAIN, Sale, init_reply, keys, lookups_as_seen, order};
use crate::server::{Client, Server, refusal, strings, text};

/// What every script says of `sale` must be that it is suspended, for `reason`, and nothing may change by asking.
/// `looked`: the reason concerns one of the six keys that `reserve` looks at.
fn assert_suspended(client: &mut Client, sale: &Sale, reason: &str, looked: bool, case: &str) {
    let before = client.snapshot();
    let fresh = order("r9", 1, "o9", "u");
    let reserved = sale.reserve(client, &[fresh.clone(), order("r1", 1, "o1", "u")]);
    if looked {
        assert_eq!(reserved, [format!("S{reason}")], "reserve, {case}");
        assert_eq!(client.snapshot(), before, "reserve changed something, {case}");
    }
    assert_eq!(sale.refresh(client, true).state(), ("suspended", reason), "look, {case}");
    assert_eq!(sale.close(client), ["S", reason], "close, {case}");
    for force in [false, true] {
        assert_eq!(
            strings(init_reply(client, &sale.product, &Options { force, ..PLAIN })),
            ["S", reason],
            "init, {case}"
        );
    }
    if looked {
        assert_eq!(client.snapshot(), before, "something changed, {case}");
    }
}

#[test]
fn a_key_that_is_missing_or_of_another_type_suspends() {
    let server = Server::start();
    let mut client = server.connect();
    for name in KEYS.into_iter().chain(["records"]) {
        for damage in ["missing", "another type", "of another sale"] {
            client.run("FLUSHALL");
            let sale = Sale::open(&mut client, "p", &Options { rate: 100, fair: true, ..PLAIN });
            assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
            let key = if name == "records" { sale.records_key() } else { sale.key(name) };
            match (damage, name) {
                ("missing", _) => client.command(&["DEL", &key]),
                ("another type", _) => {
                    client.command(&["DEL", &key]);
                    client.command(&["PFADD", &key, "x"]);
                    if name == "stock" {
                        client.command(&["DEL", &key]);
                        client.command(&["LPUSH", &key, "7"])
                    } else {
                        client.run("PING")
                    }
                }
                (_, "returned") => client.command(&["SPOP", &key]),
                (_, "claims" | "users" | "rate" | "sales" | "queue" | "records") => {
                    client.command(&["HSET", &key, ".", "1 1"])
                }
                _ => continue,
            };
            let looked = !matches!(name, "rate" | "sales" | "queue");
            let case = format!("{name} {damage}");
            assert_suspended(&mut client, &sale, name, looked, &case);
            if matches!(name, "rate" | "sale" | "stock") {
                assert_eq!(sale.lease(&mut client, 5, 200_000), (-1, 0, 0, "S".into()), "{case}");
            }
            if matches!(name, "sale" | "outbox" | "records") {
                assert_eq!(sale.status(&mut client, "o1"), "S", "{case}");
            }
            if matches!(name, "sale" | "records") {
                assert_eq!(sale.lookup(&mut client, &["o1"]), "S", "{case}");
            }
            if matches!(name, "sale" | "outbox" | "claims") {
                assert_eq!(sale.relay(&mut client, "e", &["0", "1000", "10"]), [], "{case}");
            }
        }
    }
}

#[test]
fn a_stock_that_no_script_of_ours_wrote_suspends() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    for stock in ["11", "-1", "007", "1.5", "", "1e3", " 5", "ten"] {
        client.command(&["SET", &sale.key("stock"), stock]);
        assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["Sstock"], "{stock:?}");
    }
    client.command(&["SET", &sale.key("stock"), "10"]);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
}

#[test]
fn a_restart_from_disk_is_another_redis() {
    let mut server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    client.run("SAVE");
    server.restart();
    let mut client = server.connect();
    assert_eq!(sale.stock(&mut client), 9, "the data came back");
    assert_suspended(&mut client, &sale, "replid", true, "restarted");
    assert_eq!(sale.lease(&mut client, 5, 200_000).3, "S");
    assert_eq!(sale.status(&mut client, "o1"), "S");
    assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "S");
    assert_eq!(sale.relay(&mut client, "e", &["0", "1000", "10"]), []);
}

#[test]
fn a_sale_that_was_suspended_by_its_state_is_left_alone_by_every_script() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { rate: 100, ..PLAIN });
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    // As the worker does where more is stored and left than was ever there.
    client.command(&["HSET", &sale.key("sale"), "state", "suspended"]);
    assert_suspended(&mut client, &sale, "state", true, "by its state");
    let before = client.snapshot();
    assert_eq!(sale.lease(&mut client, 5, 200_000), (-1, 0, 0, "S".into()));
    assert_eq!(sale.status(&mut client, "o1"), "S");
    assert_eq!(sale.lookup(&mut client, &["o1", "o9"]), "S");
    assert_eq!(sale.relay(&mut client, "e", &["0", "1000", "10", "", "idempotency:{p}:", "1000"]), []);
    assert_eq!(client.snapshot(), before);
    client.command(&["HSET", &sale.key("sale"), "state", "open"]);
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["A"]);
}

#[test]
fn an_emptied_redis_knows_no_sale() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    client.run("FLUSHALL");
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["U"]);
    assert_eq!(sale.refresh(&mut client, true).state(), ("unknown", ""));
    assert_eq!(sale.lease(&mut client, 1, 200_000).3, "U");
    assert_eq!(sale.lookup(&mut client, &["o1"]), "U");
    assert_eq!(sale.status(&mut client, "o1"), "S");
    assert_eq!(sale.close(&mut client), ["U"]);
    assert_eq!(strings(client.run("KEYS *")), [] as [String; 0]);
    // One key that came back is not nothing.
    client.command(&["SET", &sale.key("stock"), "10"]);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["Ssale"]);
    assert_eq!(strings(init_reply(&mut client, "p", &PLAIN)), ["S", "sale"]);
}

#[test]
fn forgotten_scripts_are_refused_and_nothing_happens() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let digest = String::from_utf8(client.scripts.reserve.digest().to_vec()).expect("ASCII");
    sale.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    client.run("SCRIPT FLUSH");
    let answer = client.command(&["EVALSHA", &digest, "0"]);
    assert_eq!(refusal(&answer), Some((ErrorKind::NoScript, Belief::Refused)));
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["A"]);
}

#[test]
fn full_memory_refuses_a_reserve_call_whole_and_lets_entries_go() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { rate: 10, ..PLAIN });
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    let second = sale.reserve(&mut client, &[order("r2", 1, "o2", "u")])[0][1..].to_owned();
    client.run("CONFIG SET maxmemory-policy noeviction");
    client.run("CONFIG SET maxmemory 1");
    let before = client.snapshot();
    let full = Some((ErrorKind::OutOfMemory, Belief::Refused));
    assert_eq!(refusal(&sale.reserve_reply(&mut client, &[order("r3", 1, "o3", "u")])), full);
    // Not even where it would only read: what is asked for cannot be known before.
    assert_eq!(refusal(&sale.reserve_reply(&mut client, &[order("r1", 1, "o1", "u")])), full);
    assert_eq!(refusal(&init_reply(&mut client, "q", &PLAIN)), full);
    assert_eq!(client.snapshot(), before, "nothing changed");
    // What makes room or says how things stand goes on.
    assert_eq!(client.command(&["XDEL", &sale.key("outbox"), &entry]), flux_protocol::resp::OwnedFrame::Integer(1));
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""));
    assert_eq!(sale.relay(&mut client, "e", &["0", "1000", "10"]).len(), 1);
    assert_eq!(sale.settle(&mut client, &[second]), "1");
    assert_eq!(sale.status(&mut client, "o2"), "A");
    assert_eq!(sale.close(&mut client)[0], "OK");
    client.run("CONFIG SET maxmemory 0");
    assert_eq!(sale.codes(&mut client, &[order("r3", 1, "o3", "u")]), ["M", "C"]);
}

#[test]
fn a_replica_refuses_and_there_and_back_suspends() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    // Nobody answers there, so the data stays as it is.
    client.run("REPLICAOF 127.0.0.1 1");
    let refused = refusal(&sale.reserve_reply(&mut client, &[order("r2", 1, "o2", "u")]));
    assert_eq!(refused, Some((ErrorKind::ReadOnly, Belief::Refused)));
    let looked = client.call(|scripts| &scripts.refresh, &keys("p"), &["1".to_owned()]);
    assert_eq!(refusal(&looked), Some((ErrorKind::ReadOnly, Belief::Refused)));
    client.run("REPLICAOF NO ONE");
    assert_eq!(sale.stock(&mut client), 9);
    assert_suspended(&mut client, &sale, "replid", true, "there and back under the same run id");
    assert_ne!(client.info("replication", "master_replid2"), "0".repeat(40));
}

#[test]
fn the_first_replica_is_noted_and_harmless_where_the_edge_had_just_refreshed() {
    let (server, other) = (Server::start(), Server::start());
    let (mut client, mut replica) = (server.connect(), other.connect());
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.refresh(&mut client, true).0[11], "0");
    let bound = client.info("replication", "master_replid");
    replica.command(&["REPLICAOF", "127.0.0.1", &server.port.to_string()]);
    while client.info("replication", "connected_slaves") == "0" {
        std::thread::yield_now();
    }
    assert_ne!(client.info("replication", "master_replid"), bound, "Redis takes a new id for its first replica");
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["Sreplid"]);
    let stale = sale.refresh(&mut client, false);
    assert_eq!(stale.state(), ("suspended", "replid"), "an edge that had not looked just before changes nothing");
    assert_eq!(stale.0[11], "1", "but notes the replica");
    // A sale that does not say what it is bound to stops no other of its page.
    let (unbound, beside) = (Sale::open(&mut client, "u", &PLAIN), Sale::open(&mut client, "b", &PLAIN));
    client.command(&["HDEL", &unbound.key("sale"), "replid"]);
    let page: Vec<String> = keys("u").into_iter().chain(keys("b")).collect();
    let shown = strings(client.call(|scripts| &scripts.refresh, &page, &[bound.clone(), String::new()]));
    assert_eq!([&shown[0], &shown[1], &shown[15]], ["suspended", "replid", "open"], "{} and {}", unbound.id, beside.id);
    // The edge has seen several to be one history.
    let vouched = [format!("{} {bound}", "1".repeat(40)), String::new()];
    let fresh = strings(client.call(|scripts| &scripts.refresh, &keys("p"), &vouched));
    assert_eq!([&fresh[0], &fresh[1], &fresh[11]], ["open", "", "1"]);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    // Of a sale that is lost nothing is noted: half of it would stand there again.
    let lost = Sale::open(&mut client, "q", &PLAIN);
    client.command(&["DEL", &lost.key("sale")]);
    assert_eq!(lost.refresh(&mut client, true).state(), ("suspended", "sale"));
    assert_eq!(text(client.command(&["EXISTS", &lost.key("sale")])), "0");
    // Another process under the same data does not pass for harmless.
    client.command(&["HSET", &sale.key("sale"), "replid", &bound, "run_id", &"0".repeat(40)]);
    assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "replid"));
    while replica.info("replication", "master_link_status") != "up" {
        std::thread::yield_now();
    }
    let at_replica = sale.reserve_reply(&mut replica, &[order("r2", 1, "o2", "u")]);
    assert_eq!(refusal(&at_replica), Some((ErrorKind::ReadOnly, Belief::Refused)));
    assert_eq!(sale.lookup(&mut replica, &["o1"]), "S");
    assert_eq!(sale.status(&mut replica, "o1"), "S", "a replica is not the one to say what became of an order");
}

#[test]
fn a_redis_that_is_behind_what_its_caller_has_seen_is_not_believed() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    let later = Sale { id: (sale.id.parse::<u64>().expect("a number") + 1).to_string(), ..sale.clone() };
    let before = client.snapshot();
    for seen in [Sale { generation: 2, ..sale.clone() }, later] {
        for orders in [order("r1", 1, "o1", "u"), order("r2", 1, "o2", "u")] {
            assert_eq!(seen.codes(&mut client, &[orders]), ["Sbehind"], "{seen:?}");
        }
        assert_eq!(seen.close_as_seen(&mut client), ["S", "behind"], "{seen:?}");
        assert_eq!(seen.open_as_seen(&mut client), ["S", "behind"], "{seen:?}");
        // Nobody's fate, token or place either.
        assert_eq!(seen.status(&mut client, "o1"), "S", "{seen:?}");
        assert_eq!(lookups_as_seen(&mut client, &[(&sale, &seen, &["o1", "o2"])]), ["S"], "{seen:?}");
        let (granted, .., state) = seen.lease(&mut client, 1, 200_000);
        assert_eq!((granted, state.as_str()), (-1, "S"), "{seen:?}");
        assert_eq!(document(&seen, &mut client), ["S"], "{seen:?}");
    }
    assert_eq!(client.snapshot(), before);
    let older = Sale { generation: 0, ..sale.clone() };
    assert_eq!(older.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["G"], "rebuilt since: the caller looks again");
    assert_eq!(older.status(&mut client, "o1"), "P");
    assert_eq!(lookups_as_seen(&mut client, &[(&sale, &older, &["o1", "o2"])]), ["9 1 "]);
    assert_eq!(older.lease(&mut client, 1, 200_000).0, 1);
    assert_eq!(document(&older, &mut client)[0], "open");
    assert_eq!(older.close_as_seen(&mut client)[0], "OK");
    client.run("FLUSHALL");
    assert_eq!(sale.close_as_seen(&mut client), ["S", "behind"], "what was seen is lost");
    assert_eq!(sale.open_as_seen(&mut client), ["S", "behind"]);
}

/// A user that is refused one of a script's writes is refused all of them: a script that fails half way is not undone.
#[test]
fn a_user_that_lacks_a_permission_changes_nothing() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    let options = Options { per_user: 3, fair: true, rate: 100, ..PLAIN };
    let plain = Sale::open(&mut operator, "p", &PLAIN);
    let fair = Sale::open(&mut operator, "f", &options);
    for lacking in ["-decrby", "-hset", "-xadd"] {
        operator.command(&["ACL", "SETUSER", "flux", "reset", "on", ">x", "~*", "+@all", lacking]);
        client.run("AUTH flux x");
        let before = operator.snapshot();
        for sale in [&plain, &fair] {
            let orders = [order("r1", 1, "o1", "ann"), order("r2", 2, "o2", "joe")];
            for asked in [&orders[..1], &orders[..]] {
                assert_eq!(sale.reserve(&mut client, asked), ["Spermission"], "{lacking}, {}", sale.product);
            }
        }
        assert_eq!(operator.snapshot(), before, "{lacking}");
    }
    for lacking in
        ["-set", "-hset", "-sadd", "-srem", "-unlink", "-time", "-hlen", "-hdel", "-xgroup", "-hget", "-exists"]
    {
        operator.command(&["ACL", "SETUSER", "flux", "reset", "on", ">x", "~*", "+@all", lacking]);
        client.run("AUTH flux x");
        let before = operator.snapshot();
        let forced = Options { force: true, ..PLAIN };
        let told = strings(init_reply(&mut client, "p", &forced));
        let named = told[1].split(' ').next().expect("a word").to_ascii_lowercase();
        assert_eq!((&*told[0], format!("-{named}")), ("P", lacking.to_owned()));
        assert_eq!(operator.snapshot(), before, "{lacking}");
    }
}

/// The user that the manual names (GUARANTEES.md, "Settings that production must have") may do all that an edge does: its keys are
/// asked for by their names, and no other.
#[test]
fn a_user_with_keys_of_ours_alone_may_do_all_that_an_edge_does() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    let rights = "~product:* ~idempotency:* ~flux:* +@all -@dangerous +info";
    operator.run(&format!("ACL SETUSER flux reset on >x {rights}"));
    client.run("AUTH flux x");
    let plain = Sale::open(&mut client, "p", &PLAIN);
    let fair = Sale::open(&mut client, "f", &Options { per_user: 3, fair: true, rate: 100, ..PLAIN });
    for sale in [&plain, &fair] {
        let asked = [order("r1", 1, "o1", "ann"), order("r2", 2, "o2", "joe")];
        for (one, number) in asked.iter().zip(1..) {
            assert_eq!(sale.codes(&mut client, std::slice::from_ref(one)), ["A"], "{number} of {}", sale.product);
        }
        assert_eq!(sale.lease(&mut client, 1, 200_000).0, 1);
        assert_eq!(sale.relay(&mut client, "edge", &["0", "60000", "10"]).len(), 2);
        assert_eq!(sale.close(&mut client)[0], "OK");
        let again = Options { force: true, ..PLAIN };
        assert_eq!(strings(init_reply(&mut client, &sale.product, &again))[0], "OK");
    }
}

/// An error from inside a script says that it may have written: the caller is told that the outcome is unknown. So what a user
/// may not do is found before the first write, and said.
#[test]
fn whichever_permission_a_user_lacks_no_outcome_is_unknown() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    for (number, lacking) in commands_of_scripts().into_iter().enumerate() {
        operator.command(&["ACL", "SETUSER", "flux", "reset", "on", ">x", "~*", "+@all"]);
        let sales = ["p", "f"].map(|product| {
            let is_fair = product == "f";
            let (per_user, rate) = if is_fair { (3, 100) } else { (0, 0) };
            Sale::open(&mut operator, product, &Options { force: true, per_user, fair: is_fair, rate, ..PLAIN })
        });
        for sale in &sales {
            assert_eq!(sale.codes(&mut operator, &[order("before", 1, "known", "ann")]), ["A"]);
        }
        operator.command(&["ACL", "SETUSER", "flux", &format!("-{lacking}")]);
        client.run("AUTH flux x");
        for sale in &sales {
            let (first, second) = (format!("r{number}"), format!("s{number}"));
            let asked = [order(&first, 1, "new", "joe"), order(&second, 1, "known", "ann")];
            for asked in &asked {
                let before = operator.snapshot();
                let reply = sale.reserve_reply(&mut client, std::slice::from_ref(asked));
                assert_eq!(refusal(&reply), None, "without {lacking}: {reply:?}");
                let told = strings(reply);
                if told[0].starts_with('S') {
                    assert_eq!(operator.snapshot(), before, "without {lacking}: {told:?}");
                } else if asked.id == "known" {
                    assert!(told[1].starts_with("Rbefore"), "without {lacking} a repeat is a new order: {told:?}");
                }
            }
            let told_truly = |reply: OwnedFrame, what: &str| {
                assert_eq!(refusal(&reply), None, "{what} without {lacking}");
                let told = strings(reply);
                let names_it = told[0] == "P" && told[1].to_ascii_lowercase().starts_with(&lacking);
                assert!(names_it || told[0] == "OK", "{what} without {lacking}: {told:?}");
            };
            let closing = client.call(|scripts| &scripts.close, &keys(&sale.product), &[]);
            told_truly(closing, "close");
            let opening = ["10", "0", "100", "1", "", &"5e".repeat(32)].map(str::to_owned);
            let opened = client.call(|scripts| &scripts.init, &keys(&sale.product), &opening);
            told_truly(opened, "init");
        }
    }
}

/// Every command that a script of an edge runs, in small letters.
fn commands_of_scripts() -> BTreeSet<String> {
    let scripts = Scripts::new();
    let mut found = BTreeSet::new();
    for script in scripts.all() {
        for mark in ["redis.call('", "redis.pcall('"] {
            let words = script.source().split(mark).skip(1).filter_map(|rest| rest.split('\'').next());
            found.extend(words.map(str::to_ascii_lowercase));
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}
