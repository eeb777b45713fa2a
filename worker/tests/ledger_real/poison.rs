//! What cannot be stored is set aside, stops nothing beside it, and comes back once.

use bytes::Bytes;
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Stored};
use flux_worker::config::Config;
use flux_worker::dead_letters::{self, Replayed};
use flux_worker::ledger::{LedgerError, StoreError};

use crate::fixture::{Order, SALE, TOPIC, batch, ledger, number, order, origin, run};

#[test]
fn poison_is_set_aside_and_its_neighbours_stored() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let mut poison = Batch::new(origin(0), 0);
        let nul = String::from_utf8(order(2).value().to_vec()).unwrap().replace("phone", "pho\\u0000ne");
        for value in [
            Some(order(1).value()),
            Some(Bytes::from(nul.clone())),
            Some(Bytes::from_static(b"\x00\xff not json")),
            Some(Bytes::from_static(br#"{"another":"topic"}"#)),
            None,
            Some(Bytes::from_static(br#"{"event":"sale-opened","productId":"p","saleId":1,"saleTotal":1,"generation":4000000000,"rate":1,"burst":1,"timestamp":1}"#)),
            Some(order(3).value()),
        ] {
            poison.push(poison.next_offset(), Some(Bytes::from_static(b"key\0")), value);
        }
        poison.push_unreadable(7, 11, "an unknown compression", Bytes::from_static(b"\0batch"));
        let outcome = ledger.store(&mut poison).await.unwrap();
        assert_eq!(outcome, Stored { orders: 2, dead_letters: 6, ..Stored::default() });
        assert_eq!(ledger.claim(TOPIC, 0).await.unwrap().offset, 12);
        let sql = "select kafka_offset, encode(key, 'escape'), encode(value, 'hex'), reason, topic from dead_letters \
                   order by kafka_offset";
        let rows = ledger.query(sql, &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0).unwrap()).collect::<Vec<i64>>(), [1, 2, 3, 4, 5, 7]);
        let hex: String = nul.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((rows[0].text(1), rows[0].text(2)), (Some("key\\000"), Some(&*hex)));
        assert_eq!((rows[0].text(3), rows[0].text(4)), (Some("`productId` is out of range"), Some("orders")));
        assert_eq!(rows[3].text(2), None, "no value is not an empty value");
        assert!(rows[4].text(3).unwrap().contains("generation"));
        assert!(rows[5].text(3).unwrap().contains("offsets 7 to 11"));
    });
}

/// What no parser of ours would catch: the database itself refuses one record in the middle.
#[test]
fn a_record_that_the_database_refuses_is_found() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        ledger.query("alter table orders add constraint no_thirteen check (kafka_offset <> 613)", &[]).await.unwrap();
        let outcome = ledger.store(&mut batch(0, (0..1000).map(order))).await.unwrap();
        assert_eq!(outcome, Stored { orders: 999, dead_letters: 1, ..Stored::default() });
        let rows =
            ledger.query("select kafka_offset, reason, product_id, sale_id, quantity from dead_letters", &[]).await;
        let rows = rows.unwrap();
        assert_eq!(
            (rows[0].get::<i64>(0), rows[0].text(2), rows[0].get::<u64>(3)),
            (Some(613), Some("phone"), Some(SALE))
        );
        assert!(rows[0].text(1).unwrap().contains("no_thirteen"));
        assert_eq!(ledger.units().await.unwrap()[0].dead_lettered, 1);
        assert_eq!(number(&mut ledger, "select next_offset from offsets").await, 1000);
        assert_eq!(number(&mut ledger, "select sold from sales").await, 999);
    });
}

/// Somebody adds a column that no order has: of `orders`, and of `sales`. No order is a dead letter for it, and all are
/// stored when it is gone.
#[test]
fn a_table_that_refuses_every_order_makes_no_dead_letter() {
    let server = Server::shared();
    run(async {
        for table in ["orders", "sales"] {
            let (mut ledger, _) = ledger(&server).await;
            ledger.claim(TOPIC, 0).await.unwrap();
            ledger.query(&format!("alter table {table} add column x text not null"), &[]).await.unwrap();
            let mut all = batch(0, (0..1000).map(order));
            for _ in 0..2 {
                let refused = ledger.store(&mut all).await;
                let Err(StoreError::Systematic(LedgerError::Server(error))) = refused else { panic!("{refused:?}") };
                assert_eq!((error.code.as_str(), error.table.as_str()), ("23502", table));
            }
            assert_eq!(number(&mut ledger, "select count(*) from dead_letters").await, 0);
            assert_eq!(number(&mut ledger, "select next_offset from offsets").await, 0);
            ledger.query(&format!("alter table {table} drop column x"), &[]).await.unwrap();
            assert_eq!(ledger.store(&mut all).await.unwrap(), Stored { orders: 1000, ..Stored::default() });
            // The same with orders in the table: the sample is one of them.
            ledger.query(&format!("alter table {table} add column x text not null default 'x'"), &[]).await.unwrap();
            ledger.query(&format!("alter table {table} alter column x drop default"), &[]).await.unwrap();
            let mut one = batch(1000, [order(5000)]);
            assert!(matches!(ledger.store(&mut one).await, Err(StoreError::Systematic(_))));
            ledger.query(&format!("alter table {table} drop column x"), &[]).await.unwrap();
            assert_eq!(ledger.store(&mut one).await.unwrap().orders, 1);
            assert_eq!(number(&mut ledger, "select count(*) from dead_letters").await, 0);
        }
    });
}

/// What was set aside comes back once, whatever is repeated, and the account moves with it.
#[test]
fn dead_letters_are_replayed_exactly_once() {
    let server = Server::shared();
    run(async {
        let (mut ledger, postgres) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        ledger.query("alter table orders add constraint no_few check (quantity < 2)", &[]).await.unwrap();
        let of = |number| Order { total: 100, quantity: 1 + (number % 2) as u16, ..order(number) };
        let mut all = batch(0, (0..10).map(of));
        all.push(10, None, Some(of(3).value())); // A redelivery of what is set aside.
        all.push(11, Some(Bytes::from_static(b"key")), Some(Bytes::from_static(b"nonsense")));
        let stored = ledger.store(&mut all).await.unwrap();
        assert_eq!((stored.orders, stored.dead_letters), (5, 6));
        let mut config = Config::read(["flux-worker"]).unwrap();
        config.postgres = (&postgres).into();
        let refused = dead_letters::replay(&config, None).await.unwrap();
        assert_eq!(refused.stored.dead_letters, 5, "nothing was mended");
        assert_eq!(number(&mut ledger, "select count(*) from dead_letters").await, 6);
        ledger.query("alter table orders drop constraint no_few", &[]).await.unwrap();
        // Another reservation of one of them has come first.
        let second = Order { reservation: 77, ..of(1) };
        assert_eq!(ledger.store(&mut batch(12, [second])).await.unwrap().orders, 1);
        assert_eq!(dead_letters::replay(&config, Some("case")).await.unwrap(), Replayed::default());
        let replayed = dead_letters::replay(&config, Some("phone")).await.unwrap();
        let expected = Stored { orders: 4, returns: 1, ..Stored::default() };
        assert_eq!(replayed, Replayed { stored: expected, left: 0 }, "of an order that is stored: units to give back");
        assert_eq!(dead_letters::replay(&config, None).await.unwrap(), Replayed { left: 1, ..Replayed::default() });
        assert_eq!(number(&mut ledger, "select count(*) from dead_letters where product_id is not null").await, 0);
        assert_eq!(number(&mut ledger, "select count(*) from orders").await, 10);
        assert_eq!(number(&mut ledger, "select sum(quantity) from orders").await, 15);
        assert_eq!(number(&mut ledger, "select sold from sales").await, 15);
        let sql = "select count(*) from orders where kafka_offset in (3, 5, 7, 9) and partition = 0";
        assert_eq!(number(&mut ledger, sql).await, 4, "they stand where they came from");
        assert_eq!(ledger.units().await.unwrap()[0].dead_lettered, 0);
        assert_eq!(number(&mut ledger, "select next_offset from offsets").await, 13, "no offset was moved");
    });
}
