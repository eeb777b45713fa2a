//! What nobody but an operator knows is not guessed: it is refused by name, with the ways out.

use flux_lab::control::Controlled;
use flux_test_support::redis::{self as server, Client};
use flux_test_support::sale::{Options, PLAIN, Sale};

use crate::world::{PRODUCT, World, orders, wait_until};

/// A sale whose opening event never came: what it was opened with is taken from Redis where that knows it, and else refused by
/// name until somebody says it.
#[test]
fn what_nobody_knows_of_a_sale_is_refused_by_name() {
    let world = World::start();
    let mut client = world.client();
    let sale = Sale::open(&mut client, PRODUCT, &Options { total: 100, rate: 50, per_user: 9, ..PLAIN });
    world.wait_for("SELECT count(*) FROM sales", 0);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT count(*) FROM orders", 1);
    let options = |client: &mut Client| {
        let fields = ["HMGET", &sale.key("sale"), "rate", "burst", "per_user", "opens_at", "queue"];
        server::strings(client.command(&fields))
    };
    let opened_with = options(&mut client);
    client.command(&["DEL", &sale.key("stock")]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("97 of 100 units left"), "{said}");
    assert_eq!(options(&mut client), opened_with, "Redis knew");

    // The rebuild has written them into the ledger; as if it had not:
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    let forget =
        "UPDATE sales SET rate = NULL, burst = NULL, seed = NULL, per_user = NULL, opens_at = NULL, queue = NULL";
    in_postgres.batch_execute(forget).expect("it forgets");
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("say --rate, --burst, --per-user, --opens-at, --queue"), "{said}");
    let (code, said) = world.rebuild(&["--rate", "50", "--burst", "50"]);
    assert!(code == Some(1) && said.contains("say --per-user, --opens-at, --queue, as it was"), "{said}");
    let rest = ["--burst", "60", "--per-user", "9", "--opens-at", "2024-01-14T12:20:00Z", "--queue", "retry"];
    let (code, said) = world.rebuild(&[&["--rate", "50"], &rest[..]].concat());
    assert!(code == Some(0) && said.contains("97 of 100 units left"), "{said}");
    assert_eq!(options(&mut client), ["50", "60", "9", "1705234800000", "retry"]);
    // And the ledger is told, for the next time.
    let opens_at = "SELECT (extract(epoch FROM opens_at) * 1000)::bigint FROM sales";
    assert_eq!(world.number(opens_at), 1_705_234_800_000);
    let (code, said) = world.rebuild(&["--rate", "51"]);
    assert!(code == Some(1) && said.contains("was opened with --rate 50; that does not change"), "{said}");
}

/// A stray record names a later sale than the one that Redis and an event know: it replaces nothing, whichever command asks for it, and
/// is named by the audit without an alarm. Where nobody knows a sale of the product, an operator ends what the record opened.
#[test]
fn a_sale_that_only_an_order_opened_replaces_nothing_and_can_be_ended() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let (later, earlier) = (sale.id.parse::<u64>().expect("a number") + 1, 77);
    world.publish_stray(PRODUCT, later);
    world.publish_stray(PRODUCT, earlier);
    world.wait_for("SELECT count(*) FROM orders", 3);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for stray in [later, earlier] {
        let line = format!("{PRODUCT} sale {stray} generation 1 (unannounced)");
        assert!(said.contains(&line) && said.contains("nobody opened it"), "{said}");
    }

    let (code, said) = world.rebuild(&["--sale", &later.to_string()]);
    assert!(code == Some(1) && said.contains(&format!("nobody opened sale {later}")), "{said}");
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""), "Redis goes on");
    client.command(&["DEL", &sale.key("users")]);
    assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "users"));
    let (_, said) = world.audit();
    let line = format!("{PRODUCT} sale {earlier} generation 1 (unannounced)");
    assert!(said.contains(&line), "a suspended sale makes no stray one an earlier sale of 99 missing units: {said}");
    let (code, said) = world.rebuild(&[]);
    let line = format!("sale {} is open again as generation 2: 97 of 100 units left", sale.id);
    assert!(code == Some(0) && said.contains(&line), "{said}");

    // Of a product that nobody knows.
    let stray = |more: &[&str]| world.say(&[&["rebuild", "--product", "ghost"], more].concat());
    world.publish_stray("ghost", 78);
    world.wait_for("SELECT count(*) FROM orders", 4);
    let (code, said) = world.say(&["audit"]);
    assert!(code == Some(1) && said.contains("Redis does not hold this sale"), "it may be one that was lost: {said}");
    let (code, said) = stray(&[]);
    assert!(code == Some(1) && said.contains("say --rate"), "{said}");
    let (code, said) = stray(&["--close"]);
    assert!(
        code == Some(0) && said.contains("sale 78 is closed again as generation 2: 0 of 1000000 units left"),
        "{said}"
    );
    let (code, said) = world.say(&["audit"]);
    assert_eq!(code, Some(0), "{said}");
}

/// Redis has lost everything, and an order names a later sale than the last that was announced: stray, or of a sale whose opening event
/// was lost as well. Only an operator knows. The refusal prints the ways out, and each of them, as it is printed, leads to its end.
#[test]
fn the_ways_out_of_a_stray_later_sale_are_printed_and_lead_to_their_end() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let stray = sale.id.parse::<u64>().expect("a number") + 1;
    world.publish_stray(PRODUCT, stray);
    world.wait_for("SELECT count(*) FROM orders", 2);
    client.run("FLUSHALL");
    let is_marked = || {
        let (code, said) = world.audit();
        let line = format!("{PRODUCT} sale {stray} generation 1 (unannounced)");
        assert!(said.contains(&line), "{said}");
        code
    };
    assert_eq!(is_marked(), Some(1), "it may be one that was lost");

    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    let ways = Ways::read(&said);
    let (code, said) = world.rebuild(&["--close"]);
    assert!(code == Some(1) && Ways::read(&said).0 == ways.0, "which of them is to be closed? {said}");
    assert_eq!(is_marked(), Some(1), "after a rebuild was tried, too");
    assert_eq!(world.number("SELECT max(greatest(raised, generation))::bigint FROM sales"), 1, "nothing was raised");

    let (code, said) = world.say(&ways.with(&format!("--sale {}", sale.id)));
    let line = format!("sale {} is open again as generation 2: 97 of 100 units left, 3 sold", sale.id);
    assert!(code == Some(0) && said.contains(&line), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    world.sell(&mut client, &rebuilt, &orders(&rebuilt, "bob", &[5], 1));
    world.wait_for("SELECT count(*) FROM orders", 3);
    assert_eq!(is_marked(), Some(0), "it sells, and the account holds");

    // The other way. A rebuild that died behind its fence leaves the mark, too.
    client.run("FLUSHALL");
    let (_, said) = world.rebuild(&[]);
    let (code, said) = world.say(&Ways::read(&said).with("--close"));
    let line =
        format!("sale {stray} is closed again as generation 2: 0 of 1000000 units left, 2 sold, 999998 withdrawn");
    assert!(code == Some(0) && said.contains(&line), "{said}");
    assert!(said.contains("the accounts of 1 earlier sales are drawn up anew"), "the sale before is over, too: {said}");
    let ended = Sale { id: stray.to_string(), generation: 2, ..sale.clone() };
    assert_eq!(ended.refresh(&mut client, true).state(), ("closed", ""));
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("total 100 = available 0 + reserved 0 + stored 8 +"), "{said}");
    // And the product can be sold anew.
    let next = Sale::open(&mut client, PRODUCT, &Options { total: 100, ..PLAIN });
    world.publish_event(&next, "sale-opened", 0);
    world.sell(&mut client, &next, &orders(&next, "cid", &[1], 1));
    world.wait_for("SELECT count(*) FROM orders", 4);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// While a rebuild of the sale that the ledger knows waits behind its fence, orders of a later one come to the log: Redis was lost
/// together with the event that opened it. The sale before does not go on over it, now or when the rebuild is begun again.
#[test]
fn a_later_sale_that_the_log_tells_of_while_a_rebuild_waits_is_asked_about() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let later = sale.id.parse::<u64>().expect("a number") + 1;
    client.run("FLUSHALL");
    let asked = |(code, said): (Option<i32>, String)| {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("orders name sale {later}, and nothing has come of its opening")), "{said}");
        Ways::read(&said)
    };
    std::thread::scope(|scope| {
        let rebuild = scope.spawn(|| world.rebuild(&[]));
        wait_until(|| server::text(client.command(&["HGET", &sale.key("sale"), "rebuilding"])) == "1");
        world.publish_stray(PRODUCT, later);
        asked(rebuild.join().expect("no panic"));
    });
    assert_eq!(sale.refresh(&mut client, true).state().0, "suspended");
    let ways = asked(world.rebuild(&[]));
    let (code, said) = world.say(&ways.with("--close"));
    let line = format!("sale {later} is closed again as generation 2: 0 of 1000000 units left, 2 sold");
    assert!(code == Some(0) && said.contains(&line), "{said}");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// By itself a worker rebuilds nothing that only an operator knows, and says so once.
#[test]
fn a_stray_later_sale_is_left_to_the_operator_and_that_is_said_once() {
    let mut world = World::start_with(&[("FLUX_REBUILD", "auto")]);
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.publish_stray(PRODUCT, sale.id.parse::<u64>().expect("a number") + 1);
    world.wait_for("SELECT count(*) FROM orders", 1);
    // The worker has seen to which Redis the sale was bound.
    world.wait_for_metric(&format!("flux_units{{product=\"{PRODUCT}\",state=\"available\"}} 100"));
    let looks = looks(&mut client);
    wait_until(|| self::looks(&mut client) >= looks + 4);
    world.redis.kill();
    world.redis.up().expect("Redis comes back, with nothing");
    let mut client = world.client();
    let lines = || {
        let log = std::fs::read_to_string(&world.log).expect("a log");
        log.matches("left to the operator").count()
    };
    wait_until(|| lines() > 0);
    let since = self::looks(&mut client);
    wait_until(|| self::looks(&mut client) >= since + 12);
    assert_eq!(lines(), 1, "said once");
    let log = std::fs::read_to_string(&world.log).expect("a log");
    assert!(log.contains(&format!("--sale {}", sale.id)), "with the ways out");
    let (code, said) = world.rebuild(&["--sale", &sale.id]);
    assert!(code == Some(0) && said.contains("is open again as generation 2: 100 of 100 units left"), "{said}");
}

/// The command lines that a refusal names, without what is said of them.
struct Ways(Vec<Vec<String>>);

impl Ways {
    fn read(said: &str) -> Ways {
        let lines = said.lines().filter_map(|line| line.trim_start().strip_prefix("flux-worker rebuild"));
        let words =
            |line: &str| line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Ways(lines.map(|line| words(&format!("rebuild {line}"))).collect())
    }

    /// The one that ends with this.
    fn with(&self, end: &str) -> Vec<&str> {
        let way = self.0.iter().find(|way| way.join(" ").ends_with(end));
        let Some(way) = way else { panic!("no way ends with {end}: {:?}", self.0) };
        way.iter().map(String::as_str).collect()
    }
}

/// How often anybody has asked Redis what it is: a worker that rebuilds by itself does so twice a second.
fn looks(client: &mut Client) -> u64 {
    let statistics = server::text(client.command(&["INFO", "commandstats"]));
    let calls = statistics.split("cmdstat_info:calls=").nth(1).unwrap_or("0");
    calls.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

/// A new program's command before any new worker: nothing is fenced off that could not be opened again.
#[test]
fn a_rebuild_over_a_ledger_of_an_earlier_version_is_refused_before_anything_is_changed() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales", 1);
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    in_postgres.batch_execute("DELETE FROM flux_schema WHERE version > 6").expect("as it was before");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(1) && said.contains("start a flux-worker of this version"), "{said}");
    let fields = ["HMGET", &sale.key("sale"), "state", "gen"];
    assert_eq!(server::strings(client.command(&fields)), ["open", "1"]);
}
