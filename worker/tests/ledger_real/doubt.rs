//! Nothing is lost and nothing stored twice where a COMMIT, a backend or the server is lost, or another ledger is in the way.

use std::time::Duration;

use flux_net::sleep;
use flux_protocol::postgres::{Param, SessionOptions, StatementLimit};
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Stored};
use flux_worker::ledger::{Ledger, LedgerError, StoreError};

use crate::cutter::{Cut, Cutter};
use crate::fixture::{Order, TOPIC, batch, id, ledger, number, order, origin, run, stored};

/// A statement that its caller gives up runs on nowhere: the server is told to cancel it.
#[test]
fn a_statement_that_is_given_up_is_cancelled() {
    let server = Server::shared();
    run(async {
        let (mut watcher, config) = ledger(&server).await;
        let options = SessionOptions {
            application_name: "gives up".to_owned(),
            statement: StatementLimit::Within(Duration::from_millis(200)),
            ..SessionOptions::default()
        };
        let mut ledger = Ledger::connect_with(&config, options).await.unwrap();
        // As if the server's clock for it did not run: what is left is our own patience.
        ledger.query("set statement_timeout = 0", &[]).await.unwrap();
        let error = ledger.query("select pg_sleep(3600)", &[]).await.unwrap_err();
        assert!(matches!(error, LedgerError::Lost(_)), "{error}");
        let active = "select count(*) from pg_stat_activity where application_name = 'gives up' and state = 'active'";
        while number(&mut watcher, active).await > 0 {
            sleep(Duration::from_millis(20)).await.unwrap();
        }
    });
}

/// The answer to a COMMIT is lost, in every way: the offset tells what became of it, and the account is right.
#[test]
fn a_commit_without_an_answer_is_asked_for() {
    let server = Server::shared();
    run(async {
        let (mut direct, config) = ledger(&server).await;
        let options =
            SessionOptions { statement: StatementLimit::Within(Duration::from_secs(2)), ..SessionOptions::default() };
        let mut expected = 0;
        for (round, cut) in [Cut::Unsent, Cut::Unheard, Cut::Silence].into_iter().enumerate() {
            let cutter = Cutter::start(&config, cut);
            let mut ledger = Ledger::connect_with(&cutter.config, options.clone()).await.unwrap();
            let at = ledger.claim(TOPIC, 0).await.unwrap().offset;
            assert_eq!(at, expected);
            // The short way, then the careful one with a redelivery.
            let first = round as u64 * 1000;
            for (orders, duplicates, at) in [(100, 0, at), (50, 100, at + 100)] {
                cutter.arm();
                let mut batch = batch(at, (first..first + orders + duplicates).map(order));
                let error = ledger.store(&mut batch).await.unwrap_err();
                assert!(matches!(error, StoreError::Retry(LedgerError::Lost(_))), "{error}");
                let committed = !matches!(cut, Cut::Unsent);
                if committed {
                    // Whatever was in doubt is there already, and nothing is asked of it but the offset.
                    direct.claim(TOPIC, 0).await.unwrap();
                    assert_eq!(number(&mut direct, "select next_offset from offsets").await, batch.next_offset());
                }
                let outcome = stored(&mut ledger, &mut batch).await;
                assert_eq!(outcome, Stored { orders, duplicates, ..Stored::default() });
                expected = batch.next_offset();
                assert_eq!(cutter.cuts(), 1, "what was cut was a COMMIT");
            }
        }
        assert_eq!(number(&mut direct, "select count(*) from orders").await, 450);
        assert_eq!(number(&mut direct, "select sold from sales").await, 450);
    });
}

/// A deadlock in the middle of a COPY, brought about for certain: the batch goes the careful way and is stored.
#[test]
fn a_deadlock_costs_nothing_but_time() {
    let server = Server::shared();
    run(async {
        let (mut watcher, config) = ledger(&server).await;
        // The transaction that waits first looks for deadlocks after a second; the other never does, and so is never the victim.
        let mut other = Ledger::connect_pinned(&config, SessionOptions::default()).await.unwrap();
        other.query("set deadlock_timeout = '1h'", &[]).await.unwrap();
        let insert = "insert into orders (id, product_id, user_id, quantity, sale_id, generation, reservation_id, \
                      partition, kafka_offset, created_at) values ($1, 'x', 'x', 1, 1, 1, $1, 0, 0, now())";
        other.query("begin", &[]).await.unwrap();
        other.query(insert, &[Param::Uuid(id(1, 2))]).await.unwrap();
        let mut ledger = Ledger::connect(&config).await.unwrap();
        ledger.claim(TOPIC, 0).await.unwrap();
        let mut batch = batch(0, [order(1), order(2)]);
        let storing = ledger.store(&mut batch);
        let crossing = async {
            let waits = "select count(*) from pg_stat_activity where datname = current_database() \
                         and wait_event_type = 'Lock' and query like 'COPY%'";
            while number(&mut watcher, waits).await == 0 {
                sleep(Duration::from_millis(5)).await.unwrap();
            }
            other.query(insert, &[Param::Uuid(id(1, 1))]).await.expect("the COPY is the victim");
            other.query("rollback", &[]).await.unwrap();
        };
        let (outcome, ()) = monoio::join!(storing, crossing);
        assert_eq!(outcome.unwrap(), Stored { orders: 2, ..Stored::default() });
        assert_eq!(number(&mut watcher, "select sum(sold) from sales").await, 2);
    });
}

/// Two ledgers store the same orders from two partitions at the same time, in opposite directions: every order is
/// stored once, and each second reservation is noted.
#[test]
fn two_ledgers_lose_nothing_to_each_other() {
    let server = Server::shared();
    run(async {
        let (mut first, config) = ledger(&server).await;
        // Deadlocks are looked for early, so that the test is quick.
        let database = first.query("select current_database()", &[]).await.unwrap()[0].text(0).unwrap().to_owned();
        first.query(&format!("alter database {database} set deadlock_timeout = '20ms'"), &[]).await.unwrap();
        let mut tasks = Vec::new();
        for partition in 0..2 {
            let mut ledger = Ledger::connect(&config).await.unwrap();
            tasks.push(async move {
                ledger.claim(TOPIC, partition).await.unwrap();
                let mut account = Stored::default();
                for round in 0..5 {
                    let mut batch = Batch::new(origin(partition), round * 2000);
                    for at in 0..2000u64 {
                        let at = if partition == 0 { at } else { 1999 - at };
                        let number = round as u64 * 2000 + at;
                        // Every tenth is the other partition's second reservation.
                        let reservation = if at % 10 == 0 { number + 100_000 * partition as u64 } else { number };
                        let order = Order { reservation, ..order(number) };
                        batch.push(batch.next_offset(), None, Some(order.value()));
                    }
                    account.add(&stored(&mut ledger, &mut batch).await);
                }
                account
            });
        }
        let second = tasks.pop().unwrap();
        let (one, two) = monoio::join!(tasks.pop().unwrap(), second);
        let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
        eprintln!("{one:?} {two:?}, {} deadlocks", number(&mut first, deadlocks).await);
        assert_eq!(one.orders + two.orders, 10_000);
        assert_eq!(one.duplicates + two.duplicates, 9000);
        assert_eq!(one.returns + two.returns, 1000);
        assert_eq!(number(&mut first, "select count(*) from orders").await, 10_000);
        assert_eq!(number(&mut first, "select sold from sales").await, 10_000);
        assert_eq!(number(&mut first, "select stock from products").await, 990_000);
    });
}

/// Backends are killed while batches are on their way, COMMIT among them: whatever was in doubt is resolved.
#[test]
fn killed_backends_lose_and_double_nothing() {
    let server = Server::shared();
    run(async {
        let (mut ledger, config) = ledger(&server).await;
        let mut killer = Ledger::connect(&config).await.unwrap();
        ledger.claim(TOPIC, 0).await.unwrap();
        let storing = async {
            let mut account = Stored::default();
            for round in 0..60u64 {
                let mut batch = batch(round as i64 * 500, (round * 500..round * 500 + 500).map(order));
                account.add(&stored(&mut ledger, &mut batch).await);
            }
            account
        };
        let killing = async {
            let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                       where datname = current_database() and pid <> pg_backend_pid()";
            for _ in 0..60 {
                killer.query(sql, &[]).await.unwrap();
                sleep(Duration::from_millis(5)).await.unwrap();
            }
        };
        let (account, ()) = monoio::join!(storing, killing);
        assert_eq!(account.orders, 30_000);
        assert_eq!(account.duplicates, 0, "what was in doubt was asked for, not stored again");
        assert_eq!(number(&mut killer, "select count(*) from orders").await, 30_000);
        assert_eq!(number(&mut killer, "select sold from sales").await, 30_000);
    });
}

#[test]
fn a_restarted_server_is_found_again() {
    let mut server = Server::start();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        ledger.store(&mut batch(0, (0..100).map(order))).await.unwrap();
        server.kill();
        let mut next = batch(100, (100..200).map(order));
        for _ in 0..3 {
            let error = ledger.store(&mut next).await.unwrap_err();
            assert!(matches!(error, StoreError::Retry(_)), "{error}");
        }
        server.restart();
        assert_eq!(stored(&mut ledger, &mut next).await.orders, 100);
        assert_eq!(number(&mut ledger, "select count(*) from orders").await, 200);
    });
}
