//! The table of rights (`edge/src/redis/rights.rs`) is what the scripts need: no more, no less, and with what follows.

use std::collections::BTreeSet;

use flux_edge::redis::rights::Duty::{self, *};
use flux_edge::redis::rights::{Place, RIGHTS};
use flux_edge::redis::scripts::Scripts;
use flux_protocol::resp::OwnedFrame;

use crate::sale::{Options, PLAIN, Sale, keys, order};
use crate::server::{Client, Server, refusal, strings};

const RATED: Options = Options { rate: 100, ..PLAIN };
const FAIR: Options = Options { rate: 100, fair: true, per_user: 3, ..PLAIN };

/// What the table says cannot be done without the rights that `is_missing` chooses.
fn told(is_missing: impl Fn(&str, Place) -> bool) -> BTreeSet<Duty> {
    let missing = RIGHTS.iter().filter(|right| is_missing(right.command, right.place));
    missing.flat_map(|right| right.without.iter().copied()).collect()
}

/// Every way of a script is gone with a user of these rules, and what then cannot be done is found.
struct Trial<'a> {
    operator: &'a mut Client,
    client: &'a mut Client,
    failed: BTreeSet<Duty>,
}

impl Trial<'_> {
    fn note(&mut self, duty: Duty, is_done: bool) {
        if !is_done {
            self.failed.insert(duty);
        }
    }

    fn open(&mut self, product: &str, options: &Options) -> Sale {
        Sale::open(self.operator, product, &Options { force: true, ..*options })
    }

    /// A sale with an order of entry that stands; the entry.
    fn sold(&mut self, product: &str, options: &Options) -> (Sale, String) {
        let sale = self.open(product, options);
        let entry = sale.reserve(self.operator, &[order("r1", 1, "known", "ann")])[0][1..].to_owned();
        (sale, entry)
    }

    fn call(
        &mut self,
        pick: fn(&Scripts) -> &flux_protocol::resp::Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Vec<String> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        all(self.client.call(pick, keys, &arguments))
    }

    fn try_all(&mut self) {
        let plain = self.open("plain", &PLAIN);
        let taken = all(plain.reserve_reply(self.client, &[order("a", 1, "first", "joe")]));
        self.note(Take, taken[0].starts_with('A'));

        let rated = self.open("rated", &RATED);
        let lease_keys = [rated.key("rate"), rated.key("sale"), rated.key("stock")];
        let lease = self.call(|scripts| &scripts.lease, &lease_keys, &["1", "200000", "", ""]);
        self.note(Admit, lease[0] == "1");
        let fair = self.open("fair", &FAIR);
        let fair_keys = [fair.key("rate"), fair.key("sale"), fair.key("stock"), fair.key("queue")];
        // Places were given in slot 1, and the time in which they were is over: the watermark goes on.
        self.operator.command(&["HSET", &fair.key("sale"), "opened_at", "1000"]);
        let lease = self.call(|scripts| &scripts.lease, &fair_keys, &["1", "200000", "", "", "0", "0", "1", "2"]);
        self.note(Admit, lease.len() > 12);
        let line =
            self.call(|scripts| &scripts.queue, &[fair.key("queue"), fair.key("sale"), fair.key("stock")], &["", ""]);
        self.note(Line, line.len() > 8);
        let mut slotted = order("b", 1, "second", "kim");
        slotted.slot = Some(1);
        let taken = all(fair.reserve_reply(self.client, &[slotted]));
        self.note(Admit, taken[0].starts_with('A'));

        let (sold, entry) = self.sold("sold", &PLAIN);
        let repeated = all(sold.reserve_reply(self.client, &[order("c", 1, "known", "ann")]));
        self.note(Repeat, repeated.get(1).is_some_and(|code| code.starts_with("Rr1 1 0")));
        let looked_up = ["1", &sold.id, "1", &sold.id, "1", "known"];
        let lookup_keys = [sold.key("stock"), sold.key("sale"), sold.records_key()];
        let found = self.call(|scripts| &scripts.replay_lookup, &lookup_keys, &looked_up);
        self.note(Repeat, found == ["9 1 "]);
        let seen = self.call(|scripts| &scripts.refresh, &keys("sold"), &["", ""]);
        self.note(Look, seen[0] == "open");
        let seen = self.call(|scripts| &scripts.refresh, &keys("fair"), &["", ""]);
        self.note(Look, seen[0] == "open");
        self.open("soon", &Options { opens_at: 4_099_809_600_000, ..PLAIN });
        let seen = self.call(|scripts| &scripts.refresh, &keys("soon"), &["", ""]);
        self.note(Look, seen[0] == "scheduled");
        let status = ["1", "1", &sold.id, "1", "known"];
        let status = self.call(|scripts| &scripts.status, &[sold.key("outbox"), sold.key("sale")], &status);
        self.note(Status, status == ["P"]);

        // A claim that is over, of an entry that is gone; then one that holds while nothing is in the outbox.
        let relay_keys = [sold.key("outbox"), sold.key("claims"), sold.key("sale")];
        self.operator.command(&["HSET", &sold.key("claims"), "1-1", "edge 1"]);
        let relayed = self.call(|scripts| &scripts.relay, &relay_keys, &["edge", "0", "60000", "10"]);
        self.note(Deliver, relayed.first() == Some(&entry));
        let empty = self.open("empty", &PLAIN);
        let until_ms = self.operator.time_us() / 1000 + 30_000;
        self.operator.command(&["HSET", &empty.key("claims"), "1-1", &format!("edge {until_ms}")]);
        let relay_keys = [empty.key("outbox"), empty.key("claims"), empty.key("sale")];
        let relayed = all(self.client.call(
            |scripts| &scripts.relay,
            &relay_keys,
            &["edge", "0", "60000", "10"].map(str::to_owned),
        ));
        let left = self.operator.command(&["HLEN", &empty.key("claims")]);
        self.note(Deliver, relayed.is_empty() && left == OwnedFrame::Integer(1));
        let pair = self.open("pair", &PLAIN);
        let entry = pair.reserve(self.operator, &[order("p1", 1, "one", "ann"), order("p2", 1, "two", "joe")])[0][1..]
            .to_owned();
        let split_keys = [pair.key("outbox"), pair.key("claims"), pair.key("sale")];
        let moved =
            self.client.call(|scripts| &scripts.split_entry, &split_keys, &[&entry, "2", "1"].map(str::to_owned));
        let record = pair.record(self.operator, "two");
        self.note(
            Deliver,
            matches!(moved, OwnedFrame::BulkString(ref id) if id.len() > 1) && !record.ends_with(&entry),
        );
        let (settled, entry) = self.sold("settled", &PLAIN);
        let removed =
            self.client.call(|scripts| &scripts.settle, &[settled.key("outbox"), settled.key("claims")], &[entry]);
        self.note(Settle, removed == OwnedFrame::Integer(1));

        let registry = "flux:products".to_owned();
        let named = self.client.command(&["SADD", &registry, "gone"]);
        self.operator.command(&["SADD", &registry, "gone"]);
        let stands = self.client.command(&["EXISTS", &registry]);
        self.note(Names, named == OwnedFrame::Integer(1) && stands == OwnedFrame::Integer(1));
        let page = self.call(|scripts| &scripts.page, std::slice::from_ref(&registry), &["0", "100", "100", "64"]);
        self.note(Names, page.contains(&"gone".to_owned()));
        let forget_keys = [vec![registry.clone()], keys("gone")].concat();
        let forgotten = self.call(|scripts| &scripts.forget, &forget_keys, &["0", "", "gone"]);
        self.note(Names, forgotten == ["G"]);
        let (done, entry) = self.sold("done", &PLAIN);
        done.settle(self.operator, &[entry]);
        done.close(self.operator);
        let forget_keys = [vec![registry], keys("done")].concat();
        let forgotten = self.call(|scripts| &scripts.forget, &forget_keys, &["0", "", "done"]);
        self.note(Names, forgotten == ["G"]);
        let (over, entry) = self.sold("over", &PLAIN);
        over.settle(self.operator, &[entry]);
        let retired =
            self.client.call(|scripts| &scripts.retire, &[over.key("outbox"), over.key("sale")], &["0".to_owned()]);
        self.note(Retire, retired == OwnedFrame::Integer(1));

        let closed = self.call(|scripts| &scripts.close, &keys("over"), &[]);
        self.note(Close, closed[0] == "OK");
        let opening = ["10", "0", "100", "1", "", &"5e".repeat(32)];
        let opened = self.call(|scripts| &scripts.init, &keys("new"), &opening);
        self.note(Open, opened[0] == "OK");
    }
}

/// All strings of an answer; one that says why where it is none.
fn all(reply: OwnedFrame) -> Vec<String> {
    match reply {
        OwnedFrame::Array(_) if refusal(&reply).is_none() => strings(reply),
        other => vec![format!("{other:?}")],
    }
}

/// Takes one thing away after the other, and looks what is left.
#[test]
fn what_follows_from_each_right_that_is_missing_is_what_the_table_says() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    let mut without = |rules: &[&str]| {
        operator.run("FLUSHALL");
        operator.command(&[&["ACL", "SETUSER", "flux", "reset", "on", ">x", "~*", "+@all"], rules].concat());
        client.run("AUTH flux x");
        let mut trial = Trial { operator: &mut operator, client: &mut client, failed: BTreeSet::new() };
        trial.try_all();
        trial.failed
    };
    assert_eq!(without(&[]), BTreeSet::new());
    let commands: BTreeSet<&str> = RIGHTS.iter().map(|right| right.command).collect();
    let mut wrong = Vec::new();
    for command in commands {
        let rule = format!("-{}", command.to_ascii_lowercase().replace(' ', "|"));
        let (found, said) = (without(&[&rule]), told(|other, _| other == command));
        // Without it nothing is taken: what else is lost is no more than what everybody is told then.
        let is_told = if said.contains(&Take) { found.contains(&Take) } else { found == said };
        if !is_told {
            wrong.push(format!("{command}: {found:?}, and the table says {said:?}"));
        }
    }
    for (place, rules) in [
        (Place::Records, ["resetkeys", "~product:*", "~flux:*"]),
        (Place::Registry, ["resetkeys", "~product:*", "~idempotency:*"]),
    ] {
        let (found, said) = (without(&rules), told(|_, other| other == place));
        if said.contains(&Take) != found.contains(&Take) || (!said.contains(&Take) && found != said) {
            wrong.push(format!("{place:?}: {found:?}, and the table says {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A user who may do nothing lacks each right of the table, and no other.
#[test]
fn the_probe_asks_for_each_right_of_the_table() {
    let server = Server::start();
    let (mut operator, mut client) = (server.connect(), server.connect());
    operator.command(&["ACL", "SETUSER", "flux", "reset", "on", ">x", "+evalsha", "+script|load", "+eval"]);
    client.run("AUTH flux x");
    let mut denied = strings(client.call(|scripts| &scripts.probe, &[], &["1".to_owned()]));
    denied.remove(0);
    let asked: BTreeSet<(String, &str)> = denied
        .iter()
        .map(|words| match words.rsplit_once(' ') {
            Some((command, key)) if key.contains(':') => (command.to_owned(), key.split(':').next().expect("a word")),
            _ => (words.trim_end_matches(" replication").to_owned(), ""),
        })
        .collect();
    let place = |right: &flux_edge::redis::rights::Right| match right.place {
        // A key does not stand second in it.
        _ if right.command.starts_with("XGROUP") => "",
        Place::Server => "",
        Place::Product => "product",
        Place::Records => "idempotency",
        Place::Registry => "flux",
    };
    let known: BTreeSet<(String, &str)> = RIGHTS.iter().map(|right| (right.command.to_owned(), place(right))).collect();
    assert_eq!(asked, known);
}

/// Every command that a script of an edge runs, and every one that it asks for before it writes, is in the table.
#[test]
fn no_command_of_a_script_is_forgotten() {
    let scripts = Scripts::new();
    let known: BTreeSet<&str> = RIGHTS.iter().filter_map(|right| right.command.split(' ').next()).collect();
    let mut run = BTreeSet::new();
    for script in scripts.all() {
        for mark in ["redis.call('", "redis.pcall('", "permits('"] {
            run.extend(script.source().split(mark).skip(1).filter_map(|rest| rest.split('\'').next()));
        }
    }
    assert_eq!(run, known);
}

/// The manual grants what the table names, and beside it what a connection begins with.
#[test]
fn the_manual_grants_each_right_and_no_other() {
    let manual = include_str!("../../../docs/OPERATING.md");
    let line = manual.lines().find(|line| line.trim().starts_with("ACL SETUSER flux-edge")).expect("a line");
    let granted: BTreeSet<String> =
        line.split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
    let known = RIGHTS.iter().map(|right| right.command.to_ascii_lowercase().replace(' ', "|"));
    let begins = ["evalsha", "script|load", "select"].map(str::to_owned);
    assert_eq!(granted, known.chain(begins).collect::<BTreeSet<_>>());
}
