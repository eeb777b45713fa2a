//! What `probe` tells of a Redis that refuses orders, and of a user who may not do what the scripts do.

use flux_protocol::resp::ErrorKind;

use crate::server::{Client, Server, refusal, strings};

fn probe(client: &mut Client, closely: &str) -> Vec<String> {
    let closely = [closely.to_owned()];
    strings(client.call(|scripts| &scripts.probe, &[], &closely))
}

#[test]
fn a_redis_that_takes_orders_tells_its_time_and_lacks_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    for closely in ["0", "1"] {
        let before = client.time_us();
        let told = probe(&mut client, closely);
        let after = client.time_us();
        assert_eq!(told.len(), 1, "{told:?}");
        let there: u64 = told[0].parse().expect("a number");
        assert!((before..=after).contains(&there));
    }
}

#[test]
fn whatever_refuses_a_sales_writes_refuses_it_too() {
    let server = Server::start();
    let mut client = server.connect();
    probe(&mut client, "0");
    let refused = |client: &mut Client, set: &str, reset: &str, kind: ErrorKind| {
        client.run(set);
        let answer = client.call(|scripts| &scripts.probe, &[], &["0".to_owned()]);
        assert_eq!(refusal(&answer).map(|(kind, _)| kind), Some(kind), "{set}: {answer:?}");
        client.run(reset);
        assert_eq!(probe(client, "0").len(), 1, "{reset}");
    };
    client.run("CONFIG SET maxmemory-policy noeviction");
    refused(&mut client, "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", ErrorKind::OutOfMemory);
    let (one, none) = ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0");
    refused(&mut client, one, none, ErrorKind::NoReplicas);
    refused(&mut client, "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", ErrorKind::ReadOnly);
}

#[test]
fn what_a_user_may_not_do_is_named() {
    let server = Server::start();
    let mut operator = server.connect();
    let mut as_user = |rules: &str| {
        operator.run("ACL DELUSER flux");
        operator
            .command(&[&["ACL", "SETUSER", "flux", "on", ">x"], &rules.split(' ').collect::<Vec<_>>()[..]].concat());
        let mut client = server.connect();
        client.run("AUTH flux x");
        let mut told = probe(&mut client, "1");
        told.remove(0);
        told
    };
    assert_eq!(as_user("~* +@all"), [] as [&str; 0]);
    assert_eq!(as_user("~* +@all -info"), ["INFO replication"]);
    assert_eq!(as_user("~* +@all -time"), ["TIME"]);
    let without_registry = as_user("~product:* ~idempotency:* +@all");
    let registry = ["EXISTS", "SSCAN", "SADD", "SREM"].map(|command| format!("{command} flux:products"));
    assert_eq!(without_registry, registry);
    let without_records = as_user("~product:* ~flux:* +@all");
    let records =
        ["HMGET", "HSET", "HGET", "HLEN", "UNLINK"].map(|command| format!("{command} idempotency:{{flux-probe}}:1"));
    assert_eq!(without_records, records);
    // The rule of docs/GUARANTEES.md.
    assert_eq!(as_user("~product:* ~idempotency:* ~flux:* +@all -@dangerous +info"), [] as [&str; 0]);
}
