//! The contract of the worker's Lua scripts, held against a real Redis that each test starts for itself.

use flux_protocol::resp::OwnedFrame;
use flux_test_support::redis::{Client, Server, strings};
use flux_test_support::sale::{self, Options, PLAIN, Sale, keys, order};
use flux_worker::scripts::Scripts;

/// A fair sale without other options.
const FAIR: [&str; 3] = ["0", "0", "fair"];

/// (reservation, sale, generation, quantity, user, order)
type Return<'a> = (&'a str, &'a str, u32, u64, &'a str, &'a str);

fn give_back(client: &mut Client, product: &str, returns: &[Return<'_>]) -> Vec<String> {
    let mut arguments = Vec::new();
    for (reservation, sale, generation, quantity, user, order) in returns {
        arguments.extend([reservation.to_string(), sale.to_string(), generation.to_string()]);
        arguments.extend([quantity.to_string(), user.to_string(), order.to_string()]);
    }
    strings(client.call_script(&Scripts::new().returns, &keys(product)[..6], &arguments))
}

/// Of a sale without options.
fn fence(client: &mut Client, product: &str, id: &str, generation: u32) -> Vec<String> {
    fence_with(client, product, (id, generation), ["0", "0", "retry"])
}

/// `options`: units per user, opens at, queue.
fn fence_with(client: &mut Client, product: &str, sale: (&str, u32), options: [&str; 3]) -> Vec<String> {
    fence_how(client, product, sale, options, "")
}

fn fence_how(client: &mut Client, product: &str, sale: (&str, u32), options: [&str; 3], how: &str) -> Vec<String> {
    strings(fence_answer(client, product, sale, options, how))
}

fn fence_answer(
    client: &mut Client,
    product: &str,
    (id, generation): (&str, u32),
    options: [&str; 3],
    how: &str,
) -> OwnedFrame {
    let generation = generation.to_string();
    let mut arguments = [id, &generation, "10", "5", "6", "ab"].map(str::to_owned).to_vec();
    arguments.extend(options.map(str::to_owned));
    arguments.extend(["", how].map(str::to_owned));
    client.call_script(&Scripts::new().rebuild_fence, &keys(product), &arguments)
}

fn restore(client: &mut Client, product: &str, id: &str, generation: u32, stock: u64, state: &str) -> Vec<String> {
    let arguments = [id, &generation.to_string(), &stock.to_string(), state, "0"].map(str::to_owned);
    strings(client.call_script(&Scripts::new().rebuild_restore, &keys(product), &arguments))
}

#[test]
fn of_a_user_s_units_only_those_go_back_that_the_reservation_took() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { per_user: 5, ..PLAIN });
    sale.reserve(&mut client, &[order("r1", 3, "o1", "ann"), order("r2", 2, "o2", "ann")]);
    let keys = client.snapshot().len();
    assert_eq!(give_back(&mut client, "p", &[("r1", &sale.id, 1, 3, "ann", "o1")]), ["R"]);
    assert_eq!(strings(client.command(&["HMGET", &sale.key("users"), "ann"])), ["2"]);
    assert_eq!(client.snapshot().len(), keys, "no other key is made");
}

#[test]
fn a_sale_that_comes_back_closed_says_since_when() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OK", "open"]);
    let since = client.time_us() / 1000;
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 0, "closed"), ["OK"]);
    let closed_at = strings(client.command(&["HMGET", &sale.key("sale"), "closed_at"])).remove(0);
    let closed_at: u64 = closed_at.parse().expect("a moment");
    assert!((since..=client.time_us() / 1000).contains(&closed_at), "{closed_at}, not from {since} on");
}

#[test]
fn units_go_back_once_and_only_to_their_own_sale_and_generation() {
    let server = Server::start();
    let mut client = server.connect();
    let first = Sale::open(&mut client, "p", &PLAIN);
    let sale = Sale::open(&mut client, "p", &Options { per_user: 5, ..PLAIN });
    sale.reserve(&mut client, &[order("r1", 4, "o1", "ann"), order("r2", 1, "o2", "bob")]);
    let older = first.id.as_str();
    let later = (sale.id.parse::<u64>().expect("a number") + 1).to_string();
    let now = sale.id.as_str();
    let returns = [
        ("r1", now, 1, 4, "ann", "o1"),
        ("r1", now, 1, 4, "ann", "o1"),
        ("x2", older, 1, 1, "ann", "o1"),
        ("x3", now, 0, 1, "ann", "o1"),
        ("x4", now, 2, 1, "ann", "o1"),
        ("x5", &later, 1, 1, "ann", "o1"),
    ];
    let elsewhere = format!("P{now}");
    assert_eq!(give_back(&mut client, "p", &returns), ["R", "D", "E", "G", &elsewhere, &elsewhere]);
    assert_eq!(sale.stock(&mut client), 9);
    assert_eq!(strings(client.command(&["HMGET", &sale.key("users"), "ann", "bob"])), ["", "1"]);
    let before = client.snapshot();
    assert_eq!(give_back(&mut client, "p", &returns[..2]), ["D", "D"], "a repeat");
    assert_eq!(client.snapshot(), before, "nothing changed");
    sale.close(&mut client);
    let late = [("x8", now, 1, 1, "ann", "o1"), ("r1", now, 1, 4, "ann", "o1")];
    assert_eq!(give_back(&mut client, "p", &late), ["W", "D"]);
    assert_eq!(sale.stock(&mut client), 0);
    let next = Sale::open(&mut client, "p", &PLAIN);
    let late = [("r1", now, 1, 4, "ann", "o1"), ("x9", now, 1, 1, "ann", "o1")];
    assert_eq!(give_back(&mut client, "p", &late), ["D", "E"]);
    assert_eq!(next.stock(&mut client), 10);
}

/// A stray record of the topic tells of a reservation that nobody made, or of more units than it took.
#[test]
fn no_more_goes_back_than_was_reserved() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { per_user: 5, ..PLAIN });
    sale.reserve(&mut client, &[order("r1", 1, "o1", "ann"), order("r2", 2, "o2", "bob")]);
    let now = sale.id.as_str();
    let before = client.snapshot();
    let stray = [("x1", now, 1, 1, "ann", "o1"), ("x2", now, 1, 1, "ann", "nobody's"), ("x3", now, 1, 9, "ann", "o1")];
    assert_eq!(give_back(&mut client, "p", &stray), ["Nrecord", "Nrecord", "Nrecord"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(give_back(&mut client, "p", &[("r1", now, 1, 3, "ann", "o1")]), ["R1"], "what was taken, and no more");
    assert_eq!(sale.stock(&mut client), 8);
    assert_eq!(strings(client.command(&["HMGET", &sale.key("users"), "ann", "bob"])), ["", "2"]);

    // Records that were retired bear nothing out any more, nor do they deny it: no more can go back than is taken.
    client.command(&["HSET", &sale.key("sale"), "retired", "1"]);
    let unknown = [("x4", now, 1, 3, "bob", "o3"), ("x5", now, 1, 1, "bob", "o3"), ("r2", now, 1, 2, "bob", "o2")];
    assert_eq!(give_back(&mut client, "p", &unknown), ["Nunits", "R", "Nunits"]);
    assert_eq!(sale.stock(&mut client), 9);
}

#[test]
fn a_sale_that_is_not_believed_gets_nothing_back() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(give_back(&mut client, "p", &[("x1", "1", 1, 1, "u", "o1")]), ["U"]);
    for name in ["sale", "stock", "outbox", "claims", "users", "returned", "records"] {
        client.run("FLUSHALL");
        let sale = Sale::open(&mut client, "p", &PLAIN);
        sale.reserve(&mut client, &[order("r1", 4, "o1", "u")]);
        let key = if name == "records" { sale.records_key() } else { sale.key(name) };
        client.command(&["DEL", &key]);
        let before = client.snapshot();
        let reply =
            give_back(&mut client, "p", &[("r1", &sale.id, 1, 4, "u", "o1"), ("x2", &sale.id, 1, 1, "u", "o2")]);
        assert_eq!(reply, [format!("S{name}")]);
        assert_eq!(client.snapshot(), before, "nothing changed");
    }
}

#[test]
fn a_sale_is_suspended_only_while_more_is_left_than_it_may_have() {
    let server = Server::start();
    let mut client = server.connect();
    let suspend = |client: &mut Client, id: &str, most: &str| {
        let arguments = [id, most].map(str::to_owned);
        strings(client.call_script(&Scripts::new().suspend, &keys("p")[..6], &arguments))
    };
    assert_eq!(suspend(&mut client, "1", "0"), ["NO", "unknown"]);
    let sale = Sale::open(&mut client, "p", &PLAIN);
    sale.reserve(&mut client, &[order("r1", 4, "o1", "u")]);
    let before = client.snapshot();
    for (id, most, why) in [("1", "0", "sale"), (&*sale.id, "6", "stock")] {
        assert_eq!(suspend(&mut client, id, most), ["NO", why]);
    }
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(suspend(&mut client, &sale.id, "5"), ["OK", "6"]);
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["Sstate"]);
    assert_eq!(suspend(&mut client, &sale.id, "5"), ["NO", "state"]);
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OK", "open"], "a rebuild opens it again");
    let closed = Sale::open(&mut client, "q", &PLAIN);
    closed.close(&mut client);
    client.command(&["SET", &closed.key("stock"), "3"]);
    let arguments = [&*closed.id, "0"].map(str::to_owned);
    assert_eq!(strings(client.call_script(&Scripts::new().suspend, &keys("q")[..6], &arguments)), ["OK", "3"]);
    assert_eq!(fence(&mut client, "q", &closed.id, 2), ["OK", "closed"], "and a closed one stays closed");
}

#[test]
fn a_sale_that_is_lost_with_all_its_keys_is_suspended_for_those_who_never_heard_of_it() {
    let server = Server::start();
    let mut client = server.connect();
    let lost =
        |client: &mut Client, id: &str| strings(client.call_script(&Scripts::new().lost, &keys("p"), &[id.to_owned()]));
    let sale = Sale::open(&mut client, "p", &PLAIN);
    let before = client.snapshot();
    assert_eq!(lost(&mut client, &sale.id), ["NO", "sale"], "it is here");
    assert_eq!(client.snapshot(), before, "nothing changed");
    client.run("FLUSHALL");
    assert_eq!(sale.refresh(&mut client, true).state(), ("unknown", ""), "without a note nobody knows of it");
    assert_eq!(lost(&mut client, &sale.id), ["OK"]);
    assert_eq!(lost(&mut client, &sale.id), ["NO", "sale"], "once");
    assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "sale"));
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["Ssale"]);
    assert_eq!(strings(sale::init_reply(&mut client, "p", &PLAIN)), ["S", "sale"], "nor is one opened over it");
    assert_eq!(sale.close(&mut client), ["S", "sale"]);
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OK", "open"], "a rebuild brings it back");
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 7, "open"), ["OK"]);
    let rebuilt = Sale { generation: 2, ..sale };
    assert_eq!(rebuilt.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
}

#[test]
fn no_sale_is_opened_beyond_the_last_id_that_is_believed() {
    const LAST: &str = "4503599627370495"; // 2^52 - 1
    let server = Server::start();
    let mut client = server.connect();
    for (id, head) in [("4503599627370494", "OK"), (LAST, "R")] {
        assert_eq!(fence(&mut client, "p", id, 2), ["OK", "open"]);
        assert_eq!(restore(&mut client, "p", id, 2, 0, "closed"), ["OK"]);
        let before = client.snapshot();
        let said = strings(sale::init_reply(&mut client, "p", &PLAIN));
        assert_eq!((&*said[0], client.snapshot() == before), (head, head == "R"), "{said:?}");
        client.run("FLUSHALL");
    }
}

#[test]
fn a_fenced_sale_sells_nothing_and_a_restored_one_goes_on() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { rate: 100, per_user: 3, ..PLAIN });
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OK", "open"]);
    assert_eq!(strings(client.command(&["HMGET", &sale.key("sale"), "rebuilding"])), ["1"], "the second half is due");
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["Sstate"]);
    assert_eq!(sale.relay(&mut client, "e", &["0", "1000", "10"]), [], "the relay rests");
    let before = client.snapshot();
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OLD", "2"], "a number is never used twice");
    assert_eq!(fence(&mut client, "p", "1", 9), ["OLD", "2"], "nor an earlier sale put in place of a later one");
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 9, "open"), ["S", "outbox"], "an entry is left");
    assert_eq!(restore(&mut client, "p", &sale.id, 1, 9, "open"), ["S", "sale"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 11, "open"), ["S", "stock"]);
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 9, "open"), ["OK"]);
    assert_eq!(strings(client.command(&["HMGET", &sale.key("sale"), "rebuilding"])), [""], "no more");
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 9, "open"), ["S", "sale"], "it is not suspended any more");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    assert_eq!(rebuilt.refresh(&mut client, true).0[..8], ["open", "", &sale.id, "2", "10", "9", "5", "6"]);
    assert_eq!(sale.codes(&mut client, &[order("r2", 1, "o2", "u")]), ["G"]);
    assert_eq!(rebuilt.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"], "the older record counts as none");
    let (granted, ..) = rebuilt.lease(&mut client, 100, 200_000);
    assert!(granted < 5, "the bucket begins empty: {granted}");
}

#[test]
fn a_fence_makes_whatever_is_lost_or_of_another_type() {
    let server = Server::start();
    let mut client = server.connect();
    for name in sale::KEYS {
        client.run("FLUSHALL");
        let sale = Sale::open(&mut client, "p", &Options { fair: true, ..PLAIN });
        client.command(&["DEL", &sale.key(name)]);
        client.command(&["LPUSH", &sale.key(name), "x"]);
        assert_eq!(fence_with(&mut client, "p", (&sale.id, 5), FAIR), ["OK", "open"], "{name}");
        assert_eq!(restore(&mut client, "p", &sale.id, 5, 7, "open"), ["OK"], "{name}");
        let rebuilt = Sale { generation: 5, ..sale };
        assert_eq!(rebuilt.refresh(&mut client, true).state(), ("open", ""), "{name}");
        assert_eq!(rebuilt.codes(&mut client, &[order("r1", 7, "o1", "u")]), ["A"], "{name}");
    }
    client.run("FLUSHALL");
    assert_eq!(fence(&mut client, "p", "1700000000000", 2), ["OK", "open"]);
    assert_eq!(restore(&mut client, "p", "1700000000000", 2, 0, "closed"), ["OK"]);
    let next = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(next.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
}

#[test]
fn a_rebuild_takes_nobodys_place_away_and_makes_a_lost_line_anew() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { fair: true, ..PLAIN });
    client.command(&["HSET", &sale.key("queue"), "slot", "5", "s5", "70"]);
    for (generation, lost, slot) in [(2, false, "5"), (3, true, "0")] {
        if lost {
            client.command(&["DEL", &sale.key("queue")]);
            let rebuilt = Sale { generation: 2, ..sale.clone() };
            assert_eq!(rebuilt.refresh(&mut client, true).state(), ("suspended", "queue"));
        }
        assert_eq!(fence_with(&mut client, "p", (&sale.id, generation), FAIR), ["OK", "open"]);
        assert_eq!(restore(&mut client, "p", &sale.id, generation, 7, "open"), ["OK"]);
        let look = Sale { generation, ..sale.clone() }.refresh(&mut client, true);
        assert_eq!((look.state(), look.0[14].as_str()), (("open", ""), "ab"), "the ledger's seed");
        let lease = ["rate", "sale", "stock", "queue"].map(|name| sale.key(name));
        let report = ["0", "200000", &sale.id, &generation.to_string(), "0", "0"].map(str::to_owned);
        assert_eq!(strings(client.call(|scripts| &scripts.lease, &lease, &report))[6], slot);
    }
}

#[test]
fn neither_half_believes_a_replica_even_one_that_may_be_written_to() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    fence(&mut client, "p", &sale.id, 2);
    client.run("CONFIG SET replica-read-only no");
    client.run("REPLICAOF 127.0.0.1 1");
    let before = client.snapshot();
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 5, "open"), ["S", "role"]);
    assert_eq!(fence(&mut client, "p", &sale.id, 3), ["S", "role"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
}

#[test]
fn a_restart_between_fence_and_restore_is_noticed() {
    let mut server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    fence(&mut client, "p", &sale.id, 2);
    client.run("SAVE");
    server.restart();
    let mut client = server.connect();
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 9, "open"), ["S", "replid"]);
    assert_eq!(sale.refresh(&mut client, true).state().0, "suspended");
}

#[test]
fn a_close_outlives_a_rebuild_that_did_not_end() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    sale.close(&mut client);
    assert_eq!(fence(&mut client, "p", &sale.id, 2), ["OK", "closed"]);
    assert_eq!(fence(&mut client, "p", &sale.id, 3), ["OK", "closed"]);
}

#[test]
fn the_options_of_a_rebuilt_sale_are_those_it_is_told() {
    let server = Server::start();
    let mut client = server.connect();
    let options = |client: &mut Client, sale: &Sale| {
        strings(client.command(&["HMGET", &sale.key("sale"), "per_user", "opens_at", "queue"]))
    };
    let sale = Sale::open(&mut client, "p", &Options { per_user: 3, opens_at: 1_705_234_700_000, ..PLAIN });
    client.run("FLUSHALL");
    assert_eq!(fence_with(&mut client, "p", (&sale.id, 3), ["3", "4102444800000", "fair"]), ["OK", "open"]);
    assert_eq!(options(&mut client, &sale), ["3", "4102444800000", "fair"]);
    assert_eq!(restore(&mut client, "p", &sale.id, 3, 10, "open"), ["OK"]);
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    assert_eq!(rebuilt.refresh(&mut client, true).state(), ("scheduled", ""));
    assert_eq!(fence_with(&mut client, "p", (&sale.id, 4), ["0", "0", "retry"]), ["OK", "open"]);
    assert_eq!(options(&mut client, &sale), ["0", "0", "retry"]);
}

#[test]
fn a_dry_run_says_what_stands_in_the_way_and_changes_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    sale.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    let dry = |client: &mut Client, id: &str, generation: u32| {
        fence_how(client, "p", (id, generation), ["0", "0", "retry"], "dry")
    };
    let later = (sale.id.parse::<u64>().expect("a number") + 1).to_string();
    let before = client.snapshot();
    assert_eq!(dry(&mut client, &sale.id, 2), ["OK", "open"]);
    assert_eq!(dry(&mut client, &later, 1), ["OK", "open"], "a sale that Redis has not heard of");
    assert_eq!(dry(&mut client, &sale.id, 1), ["OLD", "1"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    client.run("CONFIG SET maxmemory 1");
    let refused = fence_answer(&mut client, "p", (&sale.id, 2), ["0", "0", "retry"], "dry");
    assert!(matches!(&refused, OwnedFrame::Error(why) if why.starts_with("OOM")), "{refused:?}");
}

#[test]
fn a_sale_of_another_topic_is_not_rebuilt_and_a_rebuilt_one_keeps_its_topic() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { topic: "orders", ..PLAIN });
    let fence_of = |client: &mut Client, topic: &str| {
        let arguments = [&sale.id, "2", "10", "5", "6", "ab", "0", "0", "retry", topic].map(str::to_owned);
        strings(client.call_script(&Scripts::new().rebuild_fence, &keys("p"), &arguments))
    };
    let before = client.snapshot();
    assert_eq!(fence_of(&mut client, "other"), ["T", "orders"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(fence_of(&mut client, "orders")[0], "OK");
    assert_eq!(restore(&mut client, "p", &sale.id, 2, 10, "open"), ["OK"]);
    assert_eq!(sale.refresh_of(&mut client, true, "other").state(), ("foreign", "orders"));
    assert_eq!(sale.refresh_of(&mut client, true, "orders").state(), ("open", ""));
}

/// Nothing waits without a word for a right that nobody knows of.
#[test]
fn the_right_that_returns_lack_is_named_and_nothing_is_changed() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    let sale = Sale::open(&mut operator, "p", &Options { per_user: 5, ..PLAIN });
    sale.reserve(&mut operator, &[order("r1", 2, "o1", "ann")]);
    let asked = ("r1", &*sale.id, 1, 2, "ann", "o1");
    for lacking in ["incrby", "sadd", "hincrby", "hdel", "hmget", "get", "xlen", "sismember", "hget", "info", "exists"]
    {
        operator.command(&["ACL", "SETUSER", "flux", "reset", "on", ">x", "~*", "+@all", &format!("-{lacking}")]);
        client.run("AUTH flux x");
        let before = operator.snapshot();
        let told = give_back(&mut client, "p", &[asked]);
        assert!(told[0].to_ascii_lowercase().starts_with(&format!("l{lacking} ")), "without {lacking}: {told:?}");
        assert_eq!(operator.snapshot(), before, "without {lacking}");
    }
    operator.command(&["ACL", "SETUSER", "flux", "+@all"]);
    assert_eq!(give_back(&mut client, "p", &[asked]), ["R"]);
}

/// The manual grants what the worker's scripts run, and what it asks for beside them.
#[test]
fn the_manual_grants_each_command_of_a_script() {
    let manual = include_str!("../../../docs/OPERATING.md");
    let line = manual.lines().find(|line| line.trim().starts_with("ACL SETUSER flux-worker")).expect("a line");
    let granted: Vec<&str> = line.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    let scripts = Scripts::new();
    for script in [&scripts.returns, &scripts.suspend, &scripts.lost, &scripts.rebuild_fence, &scripts.rebuild_restore]
    {
        for mark in ["redis.call('", "redis.pcall('"] {
            for command in script.source().split(mark).skip(1).filter_map(|rest| rest.split('\'').next()) {
                let command = command.to_ascii_lowercase();
                let is_granted =
                    granted.iter().any(|right| *right == command || right.starts_with(&format!("{command}|")));
                assert!(is_granted, "+{command} is not in {line}");
            }
        }
    }
}
