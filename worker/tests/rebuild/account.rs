//! Every unit is in one state, and the audit's account comes out, whatever is rebuilt or given back.

use flux_protocol::order::Uuid;
use flux_test_support::redis as server;
use flux_test_support::sale::{Order, Sale};

use crate::world::{INDEX_IS_BUILT, PRODUCT, World, orders, wait_until};

/// Every state that units can be in, as metrics and audit tell it, through a rebuild of an open sale and of a closed one.
#[test]
fn every_unit_is_counted_in_one_state_whatever_is_rebuilt() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    // Built in the background: PostgreSQL ends one of the two where the table is altered meanwhile.
    world.wait_for(INDEX_IS_BUILT, 1);
    in_postgres.batch_execute("ALTER TABLE orders ADD CHECK (user_id <> 'eve')").expect("an order it will not take");
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[10], 1));
    world.sell(&mut client, &sale, &orders(&sale, "eve", &[7], 1));
    world.wait_for("SELECT count(*) FROM dead_letters", 1);
    let units = |state: &str, number: u64| {
        world.wait_for_metric(&format!("flux_units{{product=\"{PRODUCT}\",state=\"{state}\"}} {number}"));
    };
    units("stored", 10);
    units("dead_lettered", 7);
    units("available", 83);

    // A second reservation of a stored order, when nothing can be given back: the sale is suspended.
    let again = orders(&sale, "ann", &[10], 2);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    let entry = sale.reserve(&mut client, &again)[0][1..].to_owned();
    client.command(&["HSET", &sale.key("sale"), "state", "suspended", "was", "open"]);
    world.publish(&sale, &again);
    units("awaiting_return", 10);
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    let Order { id, reservation, .. } = &again[0];
    for named in [
        format!("10 units of order {id}'s second reservation {reservation} await return"),
        "partition 1 offset 1 is a dead letter: ".to_owned(),
        // Once each: the entry in the outbox is of what awaits its return.
        "reserved 0 + stored 10 + dead-lettered 7 + awaiting return 10".to_owned(),
    ] {
        assert!(said.contains(&named), "{named} is not in {said}");
    }
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("83 of 100 units left, 10 sold, 0 withdrawn"), "{said}");
    let eve = &orders(&sale, "eve", &[7], 1)[0];
    let again = Order { reservation: Uuid([9; 16]).to_string(), ..eve.clone() };
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let found = format!("R{} 7 1", eve.reservation);
    assert_eq!(rebuilt.codes(&mut client, &[again]), ["M", &*found], "what was set aside is not reserved again");
    units("awaiting_return", 0);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");

    // Another one, whose sale is closed by the time it could be given back.
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let again = orders(&sale, "ann", &[10], 3);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    world.reserve_and_forget(&mut client, &rebuilt, &again);
    rebuilt.close(&mut client);
    world.publish_event(&rebuilt, "sale-closed", 73);
    units("withdrawn", 73);
    world.publish(&rebuilt, &again);
    units("withdrawn", 83);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("awaiting return 0 + withdrawn 83"), "{said}");

    // Closed, it needs no Redis: the ledger has all of its units.
    client.run("FLUSHALL");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("not in Redis") && said.contains("withdrawn 83: holds"), "{said}");

    // It comes back closed: what came back to it is withdrawn once, not twice.
    let (code, said) = world.rebuild(&[]);
    assert!(
        code == Some(0) && said.contains("is closed again as generation 3: 0 of 100 units left, 10 sold, 83 withdrawn"),
        "{said}"
    );
    let since = server::text(client.command(&["HGET", &sale.key("sale"), "closed_at"]));
    assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "closed since when: {since:?}");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("awaiting return 0 + withdrawn 83"), "{said}");
    for (state, number) in
        [("total", 100), ("stored", 10), ("dead_lettered", 7), ("withdrawn", 83), ("available", 0), ("reserved", 0)]
    {
        units(state, number);
    }
    in_postgres.batch_execute("ALTER TABLE orders DROP CONSTRAINT orders_user_id_check").expect("what was in its way");
    let (code, said) = world.say(&["dead-letters", "replay"]);
    assert!(code == Some(0) && said.contains("1 orders stored"), "{said}");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("stored 17 + dead-lettered 0"), "{said}");

    // People read it: values, and not how a program writes them.
    let log = std::fs::read_to_string(&world.log).expect("a log");
    assert!(log.contains("\"reading\""), "{log}");
    assert!(log.contains("the database had no ledger"), "{log}");
    let strange = log.lines().find(|line| line.contains("Some(") || line.contains(" { "));
    assert_eq!(strange, None);
}

/// A closed sale that Redis has lost with units that it had taken and nobody heard of: the audit says so until they are withdrawn.
#[test]
fn what_is_lost_of_a_closed_sale_is_named_until_it_is_withdrawn() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[10], 1));
    world.reserve_and_forget(&mut client, &sale, &orders(&sale, "joe", &[5], 1));
    sale.close(&mut client);
    world.publish_event(&sale, "sale-closed", 85);
    world.wait_for("SELECT count(*) FROM sales WHERE state = 'closed'", 1);
    world.wait_for("SELECT count(*) FROM orders", 1);
    client.run("FLUSHALL");
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("5 units missing"), "{said}");
    assert!(said.contains(&format!("flux-worker rebuild --product {PRODUCT} withdraws")), "{said}");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("10 sold, 90 withdrawn"), "{said}");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    client.run("FLUSHALL");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("the ledger has all of its units"), "{said}");
}

#[test]
fn returns_that_have_to_wait_keep_no_others_waiting_and_a_redis_behind_the_ledger_is_named() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales", 1);
    // More than one page of a product that Redis has never heard of, noted before and sorted before.
    let mut ledger = world.postgres.client("flux").expect("a connection");
    let note = "INSERT INTO returns (reservation_id, order_id, product_id, sale_id, generation, quantity, user_id, noted_at)
        SELECT ('00000000-0000-8000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(), 'nowhere', 1, 1, 1, 'u',
        now() - interval '1 hour' FROM generate_series(1, 1100) n";
    ledger.batch_execute(note).expect("a table");
    // One more of a product whose sale cannot be believed.
    client.command(&["HSET", "product:{suspended}:sale", "id", "1"]);
    let one = note.replace("'nowhere'", "'suspended'").replace("-8000-8000-", "-8000-8001-").replace("1100", "1");
    ledger.batch_execute(&one).expect("a table");
    let stored = orders(&sale, "ann", &[1, 2, 3], 1);
    world.sell(&mut client, &sale, &stored);
    client.command(&["HDEL", &sale.records_key(), &stored[1].id]);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[1, 2, 3], 2)[1..2]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 94);
    assert_eq!(world.number("SELECT count(*) FROM returns WHERE state = 'pending'"), 1101);
    // And the operator is told how many wait, for whatever reason.
    wait_until(|| {
        std::fs::read_to_string(&world.log)
            .expect("a log")
            .contains(r#""returned":1,"absorbed":0,"withdrawn":0,"unfounded":0,"waiting":1101"#)
    });

    // An old master that woke: Redis holds an earlier generation than the ledger.
    world.wait_for_metric(&format!("flux_redis_behind_ledger{{product=\"{PRODUCT}\"}} 0"));
    ledger.batch_execute("UPDATE sales SET generation = 2").expect("a table");
    world.wait_for_metric(&format!("flux_redis_behind_ledger{{product=\"{PRODUCT}\"}} 1"));
}

/// Stray records tell of second reservations that nobody made, or of more units than they took. No more goes back than was reserved,
/// nothing of it is pending for ever, and the audit says what has become of each.
#[test]
fn a_stray_return_ends_with_its_reason_and_gives_back_no_more_than_was_taken() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[1, 1], 1));
    world.wait_for("SELECT count(*) FROM orders", 2);

    // A second reservation took one unit, and the topic says nine.
    let again = orders(&sale, "ann", &[1], 2);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    world.reserve_and_forget(&mut client, &sale, &again);
    assert_eq!(sale.stock(&mut client), 97);
    world.publish(&sale, &[Order { quantity: 9, ..again[0].clone() }]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 98, "as many as were taken");

    // Nobody made these: of this sale, of a generation that no rebuild took, of a sale that nobody opened.
    world.publish(&sale, &orders(&sale, "ann", &[9], 3));
    let never = Sale { generation: 7, ..sale.clone() };
    world.publish(&never, &orders(&never, "ann", &[1], 4));
    let later = sale.id.parse::<u64>().expect("a number") + 1;
    world.publish_stray(PRODUCT, later);
    world.publish_stray_again(PRODUCT, later, 1);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'unfounded'", 3);
    assert_eq!(world.number("SELECT count(*) FROM returns WHERE state = 'pending'"), 0, "all of it is at rest");
    assert_eq!(sale.stock(&mut client), 98, "and nothing was given back for it");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for why in [
        "ended as returned: it was noted with 9 units; 1 were taken, and given back",
        "ended as unfounded: Redis knows no such reservation of its order",
        "ended as unfounded: no rebuild took its generation",
        "ended as unfounded: only orders tell of its sale",
    ] {
        assert!(said.contains(why), "{why} is not in {said}");
    }

    // The same of a sale that is over: its account holds whatever is told of it.
    sale.close(&mut client);
    world.publish_event(&sale, "sale-closed", 98);
    world.wait_for("SELECT count(*) FROM sales WHERE state = 'closed'", 1);
    world.publish(&sale, &orders(&sale, "ann", &[9], 5));
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'unfounded'", 4);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("has no units that are nowhere else"), "{said}");
}
