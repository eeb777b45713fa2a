//! What a Redis costs that has lost something or takes no writes: nothing that was acknowledged, and never a unit sold twice.

use flux_lab::control::Controlled;
use std::time::{Duration, Instant};

use flux_protocol::order::Uuid;
use flux_test_support::redis::{self as server, Client, strings};
use flux_test_support::sale::{Options, Order, PLAIN, Sale, init_reply};

use crate::world::{PATIENCE, PRODUCT, World, orders, wait_until};

#[test]
fn a_sale_lives_through_what_redis_loses() {
    let mut world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);

    // Three orders stored and gone from the outbox, two in the log and in the outbox, two in the outbox alone.
    let stored = orders(&sale, "ann", &[1, 2, 3], 1);
    world.sell(&mut client, &sale, &stored);
    let logged = orders(&sale, "bob", &[4, 5], 1);
    sale.reserve(&mut client, &logged);
    world.publish(&sale, &logged);
    let left = orders(&sale, "cid", &[6, 7], 1);
    sale.reserve(&mut client, &left);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 15);
    let (code, said) = world.audit();
    assert!(said.contains("total 100 = available 72 + reserved 13 + stored 15 +") && said.contains("holds"), "{said}");
    assert!(said.contains(&format!("order {} (6 units", left[0].id)), "what stands in the way is named: {said}");
    assert_eq!(code, Some(0));

    // A second reservation of a stored order, whose record is gone: its units come back within seconds.
    client.command(&["HDEL", &sale.records_key(), &stored[0].id]);
    let again = orders(&sale, "ann", &[1], 2);
    let entry = sale.reserve(&mut client, &again)[0][1..].to_owned();
    assert_eq!(sale.stock(&mut client), 71);
    world.publish(&sale, &again);
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 72);

    // Redis comes back with an older snapshot: the last orders are lost to it, and one entry too many is there.
    client.run("SAVE");
    let lost = orders(&sale, "dan", &[8], 1);
    world.sell(&mut client, &sale, &lost);
    world.redis.kill();
    world.redis.up().expect("Redis comes back");
    let mut client = world.client();
    assert_eq!(sale.stock(&mut client), 72, "it has forgotten the last order");
    assert_eq!(sale.codes(&mut client, &orders(&sale, "eve", &[1], 1)), ["Sreplid"]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("suspended"), "{said}");

    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("open again as generation 2: 64 of 100 units left, 36 sold"), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    assert_eq!(rebuilt.refresh(&mut client, true).state(), ("open", ""));
    assert_eq!(rebuilt.stock(&mut client), 64);
    // A key is good through a rebuild, also for the order that Redis had lost; an edge's older copy is told.
    let replay = rebuilt.codes(&mut client, &[lost[0].clone(), left[1].clone(), stored[0].clone()]);
    let code_of = |order: &Order| format!("R{} {} 1", order.reservation, order.quantity);
    assert_eq!(replay, ["M".to_owned(), code_of(&lost[0]), code_of(&left[1]), code_of(&stored[0])]);
    assert_eq!(sale.codes(&mut client, &lost), ["G"]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("total 100 = available 64 + reserved 0 + stored 36 +"), "{said}");

    // It loses everything, and had a replica that somebody noted.
    client.command(&["HSET", &sale.key("sale"), "replica", "1"]);
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--old-master-is-dead"), "{said}");
    client.run("FLUSHALL");
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = world.rebuild(&["--old-master-is-dead"]);
    assert_eq!(code, Some(0), "{said}");
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    assert_eq!(rebuilt.codes(&mut client, &[lost[0].clone()]), ["M".to_owned(), code_of(&lost[0])]);
    assert_eq!(rebuilt.codes(&mut client, &orders(&rebuilt, "eve", &[64], 1)), ["A"]);
    let (code, said) = world.audit();
    assert!(said.contains("available 0 + reserved 64 + stored 36"), "{said}");
    assert_eq!(code, Some(0), "{said}");

    // Closed before it is lost: it comes back closed, and what was left is withdrawn. Eve's order was in the outbox.
    rebuilt.close(&mut client);
    let closed_at = |client: &mut Client| server::text(client.command(&["HGET", &sale.key("sale"), "closed_at"]));
    let since = closed_at(&mut client);
    assert!(!since.is_empty());
    client.command(&["DEL", &sale.key("users")]);
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("is closed again as generation 4: 0 of 100 units left, 100 sold, 0 withdrawn; 1 orders"),
        "{said}"
    );
    assert_eq!(closed_at(&mut client), since, "closed since then: by that it leaves registry and memory");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// An edge that has never heard of the sale would call it unknown, and let another be opened over it.
#[test]
fn a_sale_that_redis_lost_is_suspended_for_everybody_until_it_is_rebuilt() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[2], 1));
    world.wait_for("SELECT count(*) FROM orders", 1);
    world.publish_stray("nobody-s", 7);
    world.wait_for("SELECT count(*) FROM sales WHERE product_id = 'nobody-s'", 1);
    client.run("FLUSHALL");
    wait_until(|| sale.refresh(&mut client, true).state() == ("suspended", "sale"));
    assert_eq!(strings(init_reply(&mut client, PRODUCT, &PLAIN)), ["S", "sale"]);
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("Redis does not hold this sale: its stock is lost"), "{said}");
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""));
    assert_eq!(server::text(client.run("EXISTS product:{nobody-s}:sale")), "0", "orders alone stop nobody's sale");

    // The earlier of two is not put in place of the one that sells.
    let later = Sale::open(&mut client, PRODUCT, &Options { total: 100, force: true, ..PLAIN });
    world.publish_event(&later, "sale-opened", 0);
    world.wait_for("SELECT count(*) FROM sales WHERE rate IS NOT NULL", 2);
    // Redis alone knows yet how the one before ended, and of the other nothing was bought.
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for account in [
        "total 100 = available 0 + reserved 0 + stored 2 + dead-lettered 0 + awaiting return 0 + withdrawn 98: holds",
        "total 100 = available 100 + reserved 0 + stored 0 + dead-lettered 0 + awaiting return 0 + withdrawn 0: holds",
    ] {
        assert!(said.contains(account), "{account} is not in {said}");
    }
    let (code, said) = world.rebuild(&["--sale", &sale.id, "--close"]);
    assert!(code != Some(0) && said.contains("Redis holds a later sale of this product"), "{code:?} {said}");
    assert_eq!(later.refresh(&mut client, true).state(), ("open", ""));
}

/// Redis lost a reservation, and Kafka got its record only after a rebuild had looked. Its unit is somebody else's, whatever room there is;
/// its caller was told that nobody knows, and orders anew.
#[test]
fn what_redis_lost_and_comes_behind_the_rebuild_is_refused_and_its_key_is_free() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    let lost = orders(&sale, "ann", &[1, 1], 1);
    sale.reserve(&mut client, &lost);
    // It has lost its last writes: of what it had promised nothing is left.
    client.command(&["XTRIM", &sale.key("outbox"), "MAXLEN", "0"]);
    world.wait_for("SELECT count(*) FROM sales", 1);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("100 of 100 units left"), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    world.publish(&sale, &lost);
    world.wait_for("SELECT count(*) FROM rejected WHERE reason = 'late'", 2);
    // All that Redis has to sell is sold, and stored.
    world.sell(&mut client, &rebuilt, &orders(&rebuilt, "bob", &[50, 48], 1));
    let again = Order { reservation: Uuid([9; 16]).to_string(), ..lost[0].clone() };
    world.sell(&mut client, &rebuilt, &[again]);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 99);
    world.wait_for_metric("flux_worker_late_total 2");
    world.wait_for_metric("flux_worker_rejected_total 0");
    let told = |order: &Order| world.get(&format!("/order/{PRODUCT}/{}", order.id));
    assert!(told(&lost[0]).contains("\"status\":\"stored\""), "{}", told(&lost[0]));
    assert!(told(&lost[1]).contains("\"reason\":\"late\""), "{}", told(&lost[1]));
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("available 1 + reserved 0 + stored 99 +"), "{said}");

    // Nor is it a record of another rebuild.
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("1 of 100 units left, 99 sold"), "{said}");
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    let again = Order { reservation: Uuid([8; 16]).to_string(), ..lost[1].clone() };
    world.sell(&mut client, &rebuilt, &[again]);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 100);
}

/// The one way in which a 200 can end otherwise: a Redis that knows nothing of the sale may be another one, while the one before sells on;
/// so what comes of the older generation is stored where there is room.
#[test]
fn what_redis_lost_and_others_bought_meanwhile_is_rejected_counted_and_named() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    let lost = orders(&sale, "ann", &[1], 1);
    sale.reserve(&mut client, &lost);
    let outbox = sale.key("outbox");
    let fields = ["EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')[1][2]", "1", &outbox];
    let entry = strings(client.command(&fields));
    client.run("FLUSHALL");
    world.wait_for("SELECT count(*) FROM sales", 1);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("100 of 100 units left"), "{said}");
    let uncounted = "SELECT count(*) FROM sales WHERE generation = 2 AND log_topic IS NULL AND log_ends IS NULL";
    assert_eq!(world.number(uncounted), 1, "it may be another Redis");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let others = orders(&rebuilt, "bob", &[50, 50], 1);
    world.sell(&mut client, &rebuilt, &others);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 100);
    world.publish(&sale, &lost);
    world.wait_for("SELECT count(*) FROM rejected WHERE reason = 'no_room'", 1);
    assert_eq!(world.number("SELECT coalesce(sum(quantity), 0)::bigint FROM orders"), 100, "nothing is oversold");
    // Counted, where alarms look.
    world.wait_for_metric("flux_units{product=\"iphone-15\",state=\"rejected\"} 1");
    world.wait_for_metric("flux_worker_rejected_total 1");
    world.wait_for_metric("flux_conservation_breach{product=\"iphone-15\"} 0");
    // Said to the operator who asks for it, and in the account.
    let told = world.get(&format!("/order/{PRODUCT}/{}", lost[0].id));
    assert!(told.contains("\"status\":\"rejected\"") && told.contains("no_room"), "{told}");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("rejected for want of room 1"), "{said}");
    // Its entry may stand in the outbox still: it is settled all the same, and its unit reserved for nobody.
    let again: Vec<&str> = ["XADD", &outbox, "*"].into_iter().chain(entry.iter().map(String::as_str)).collect();
    client.command(&again);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("available 0 + reserved 0 + stored 100 +"), "{said}");

    // Whoever repeats it after another loss gets the order that they were promised, and not a second one.
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("0 of 100 units left, 100 sold"), "{said}");
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    let again = Order { reservation: Uuid([9; 16]).to_string(), ..lost[0].clone() };
    assert_eq!(rebuilt.codes(&mut client, &[again]), ["M".to_owned(), format!("R{} 1 1", lost[0].reservation)]);
}

/// A sale is over, and Redis loses a reservation of it that no log has: nobody can buy it any more, and a rebuild of the sale that
/// is says so. Before it did, the account of the sale before stayed short for ever.
#[test]
fn what_redis_lost_of_a_sale_that_was_over_is_withdrawn() {
    let world = World::start();
    let mut client = world.client();
    let before = world.open(&mut client);
    world.sell(&mut client, &before, &orders(&before, "ann", &[10], 1));
    world.reserve_and_forget(&mut client, &before, &orders(&before, "bob", &[5], 1));
    let sale = Sale::open(&mut client, PRODUCT, &Options { total: 100, force: true, ..PLAIN });
    // 85 were left when it was replaced.
    world.publish_event(&before, "sale-closed", 85);
    world.publish_event(&sale, "sale-opened", 0);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT count(*) FROM orders", 2);
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("DOES NOT HOLD, 5 units missing"), "{said}");

    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("97 of 100 units left, 3 sold"), "{said}");
    assert!(said.contains("the accounts of 1 earlier sales are drawn up anew"), "{said}");
    let (code, said) = world.audit();
    assert!(
        code == Some(0) && said.contains("stored 10 + dead-lettered 0 + awaiting return 0 + withdrawn 90"),
        "{said}"
    );
    // What is late of it is not believed of its units.
    world.publish_event(&before, "sale-closed", 85);
    world.sell(&mut client, &Sale { generation: 2, ..sale.clone() }, &orders(&sale, "cid", &[1], 1));
    // Four events and three orders.
    world.wait_for("SELECT sum(next_offset)::bigint FROM offsets", 7);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");

    // Redis remembers how it ended, and not that it was withdrawn since.
    let note = r#"{"total":100,"withdrawn":85,"closedAt":1705234700000,"generation":1}"#;
    client.command(&["HSET", &sale.key("sales"), &before.id, note]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    client.command(&["DEL", &sale.key("users")]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && !said.contains("earlier sales"), "it is settled: {said}");
}

/// Another Redis, or one that knew nothing of the sale any more, was rebuilt, and what had been lost of an earlier sale was withdrawn.
/// Then its record comes after all: the buyer has those units, so they are withdrawn no more.
#[test]
fn what_was_withdrawn_of_a_sale_that_was_over_and_comes_after_all_is_in_one_account_only() {
    let world = World::start();
    let mut client = world.client();
    let before = world.open(&mut client);
    world.sell(&mut client, &before, &orders(&before, "ann", &[10], 1));
    let lost = orders(&before, "bob", &[5], 1);
    world.reserve_and_forget(&mut client, &before, &lost);
    let sale = Sale::open(&mut client, PRODUCT, &Options { total: 100, force: true, ..PLAIN });
    world.publish_event(&before, "sale-closed", 85);
    world.publish_event(&sale, "sale-opened", 0);
    world.wait_for("SELECT coalesce(sum(next_offset), 0)::bigint FROM offsets", 4);
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("1 earlier sales"), "{said}");
    let (code, said) = world.audit();
    assert!(
        code == Some(0) && said.contains("stored 10 + dead-lettered 0 + awaiting return 0 + withdrawn 90"),
        "{said}"
    );

    world.publish(&before, &lost);
    world.wait_for("SELECT count(*) FROM orders", 2);
    let (code, said) = world.audit();
    assert!(
        code == Some(0) && said.contains("stored 15 + dead-lettered 0 + awaiting return 0 + withdrawn 85"),
        "{said}"
    );

    // A ledger in which an older worker has stored it says both, until a rebuild.
    let mut ledger = world.postgres.client("flux").expect("a connection");
    ledger.execute("UPDATE sales SET withdrawn = 90 WHERE state = 'closed'", &[]).expect("a table");
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("DOES NOT HOLD, 5 units too many"), "{said}");
    client.command(&["DEL", &sale.key("users")]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("1 earlier sales"), "{said}");
    let (code, said) = world.audit();
    assert!(
        code == Some(0) && said.contains("stored 15 + dead-lettered 0 + awaiting return 0 + withdrawn 85"),
        "{said}"
    );
}

/// A Redis that restarted has lost all sales at once; one wait serves them all.
#[test]
fn what_one_restart_has_suspended_is_rebuilt_behind_one_fence() {
    let mut world = World::start_with(&[("FLUX_REBUILD", "auto")]);
    let mut client = world.client();
    world.wait_for("SELECT count(*) FROM sales", 0);
    let products = ["p1", "p2", "p3"];
    let sales = products.map(|product| {
        let sale = Sale::open(&mut client, product, &Options { total: 100, ..PLAIN });
        world.publish_event_of(product, &sale, "sale-opened", 0);
        sale
    });
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 3);
    client.run("SAVE");
    world.redis.kill();
    world.redis.up().expect("Redis comes back");
    world.wait_for("SELECT count(*) FROM sales WHERE generation = 2", 3);
    let mut client = world.client();
    let begun = Instant::now();
    for sale in sales {
        let rebuilt = Sale { generation: 2, ..sale };
        while rebuilt.refresh(&mut client, true).state() != ("open", "") {
            assert!(begun.elapsed() < PATIENCE, "a sale is suspended still");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(rebuilt.stock(&mut client), 100);
    }
    let log = std::fs::read_to_string(&world.log).expect("a log");
    let waits: Vec<&str> = log.lines().filter(|line| line.contains("waiting until no edge publishes")).collect();
    assert!(waits.len() == 1 && waits[0].contains("\"sales\":3"), "{waits:?}");
}

/// Pointed at a replica, or at a Redis that takes no writes, a rebuild ends before anything is raised: what is said of the
/// sale afterwards, such as its close, counts.
#[test]
fn a_rebuild_that_cannot_be_written_changes_nothing() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 3);
    client.run("CONFIG SET maxmemory 1");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(1) && said.contains("OOM"), "{said}");
    client.run("CONFIG SET maxmemory 0");
    client.run("REPLICAOF 127.0.0.1 1");
    let (code, said) = world.rebuild(&["--old-master-is-dead"]);
    assert!(code == Some(1) && said.contains("this Redis is a replica"), "{said}");
    client.run("REPLICAOF NO ONE");
    assert_eq!(world.number("SELECT max(greatest(raised, generation))::bigint FROM sales"), 1, "nothing was raised");

    // It is closed, and the close of generation 1 counts whatever number a rebuild that died has taken meanwhile.
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    in_postgres.batch_execute("UPDATE sales SET raised = 7").expect("as by a rebuild that died");
    world.publish_event(&sale, "sale-closed", 97);
    world.wait_for("SELECT count(*) FROM sales WHERE state = 'closed' AND withdrawn = 97", 1);
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("is closed again as generation 8: 0 of 100 units left"), "{said}");
}
