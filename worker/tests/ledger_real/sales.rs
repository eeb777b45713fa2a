//! What is believed of a sale: its events, and no stray record.

use bytes::Bytes;
use flux_protocol::order::SaleEvent;
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Stored};

use crate::fixture::{Order, SALE, TOPIC, batch, ledger, number, order, origin, run};

/// A stray record of a live sale, with a total and a generation of its own, stops nothing and changes nothing of it.
#[test]
fn a_stray_record_is_not_believed() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let of = |number| Order { total: 100, ..order(number) };
        assert_eq!(ledger.store(&mut batch(0, [of(1)])).await.unwrap().orders, 1);
        let stray = Order { total: 1, quantity: 2, ..order(2) };
        let stored = ledger.store(&mut batch(1, [stray])).await.unwrap();
        assert_eq!(stored, Stored { dead_letters: 1, ..Stored::default() });
        let stored = ledger.store(&mut batch(2, [of(3), stray, of(4)])).await.unwrap();
        assert_eq!(stored, Stored { orders: 2, dead_letters: 1, ..Stored::default() });
        let mut high = batch(5, []);
        let value = String::from_utf8(of(5).value().to_vec()).unwrap();
        high.push(5, None, Some(value.replace("\"generation\":1", "\"generation\":1000000").into()));
        high.push(6, None, Some(value.replace("\"generation\":1", "\"generation\":2147483647").into()));
        assert_eq!(ledger.store(&mut high).await.unwrap(), Stored { orders: 1, dead_letters: 1, ..Stored::default() });
        assert_eq!(number(&mut ledger, "select generation from sales").await, 1, "no order raises it");
        assert_eq!(number(&mut ledger, "select total * 1000 + sold from sales").await, 100_004);
    });
}

#[test]
fn sales_open_and_close_by_their_events() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let event = |event: &str, withdrawn, timestamp| {
            let sale = SaleEvent {
                event: event.into(),
                product_id: "phone".into(),
                sale_id: SALE,
                sale_total: 100,
                generation: 1,
                withdrawn,
                rate: 50,
                burst: 60,
                per_user: if withdrawn == 0 { 3 } else { 0 },
                opens_at: if withdrawn == 0 { 1_705_234_800_250 } else { 0 },
                queue: if withdrawn == 0 { "fair".into() } else { String::new() },
                seed: if withdrawn == 0 { "5a".repeat(32) } else { String::new() },
                timestamp,
            };
            Some(Bytes::from(serde_json::to_vec(&sale).unwrap()))
        };
        let mut batch = Batch::new(origin(0), 0);
        batch.push(0, None, event("sale-opened", 0, 1_705_234_700_000));
        assert_eq!(ledger.store(&mut batch).await.unwrap(), Stored::default());
        assert_eq!(number(&mut ledger, "select stock from products").await, 100);
        let mut batch = Batch::new(origin(0), 1);
        batch.push(1, None, Some(Order { quantity: 7, total: 100, ..order(1) }.value()));
        batch.push(2, None, event("sale-opened", 0, 1_805_234_700_000));
        batch.push(3, None, event("sale-closed", 93, 1_705_234_900_000));
        batch.push(4, None, event("sale-closed", 93, 1_805_234_900_000));
        batch.push(5, None, Some(Order { total: 100, ..order(2) }.value()));
        assert_eq!(ledger.store(&mut batch).await.unwrap().orders, 2);
        let sql = "select state, total, sold, withdrawn, rate, burst, seed, opened_at, closed_at, per_user, opens_at, queue from sales";
        let rows = ledger.query(sql, &[]).await.unwrap();
        let texts: Vec<_> = rows[0].texts().map(Option::unwrap).collect();
        let seed = "5a".repeat(32);
        let (opened, closed) = ("2024-01-14 12:18:20+00", "2024-01-14 12:21:40+00");
        let opens = "2024-01-14 12:20:00.25+00";
        assert_eq!(texts, ["closed", "100", "8", "93", "50", "60", &seed, opened, closed, "3", opens, "fair"]);
        // A later sale of which only an order speaks shows no stock of its own; its event does.
        let next = Order { sale: SALE + 1, total: 1_000_000, ..order(3) };
        ledger.store(&mut self::batch(6, [next])).await.unwrap();
        assert_eq!(number(&mut ledger, "select stock from products").await, 92);
        let later = String::from_utf8(event("sale-opened", 0, 1_705_235_000_000).unwrap().to_vec()).unwrap();
        let later =
            later.replace(&SALE.to_string(), &(SALE + 1).to_string()).replace("\"saleTotal\":100", "\"saleTotal\":5");
        let mut batch = Batch::new(origin(0), 7);
        batch.push(7, None, Some(later.into()));
        assert_eq!(ledger.store(&mut batch).await.unwrap(), Stored::default());
        assert_eq!(number(&mut ledger, "select stock from products").await, 4, "and says what its total is");
        // A late order of the first leaves its stock alone.
        ledger.store(&mut self::batch(8, [Order { total: 100, ..order(4) }])).await.unwrap();
        assert_eq!(number(&mut ledger, "select stock from products").await, 4);
        assert_eq!(number(&mut ledger, "select sold from sales where state = 'closed'").await, 9);
        // Of a sale whose opening has not come the close tells rate and burst.
        let alone = String::from_utf8(event("sale-closed", 93, 1_705_235_100_000).unwrap().to_vec()).unwrap();
        let mut batch = Batch::new(origin(0), 9);
        batch.push(9, None, Some(alone.replace(&SALE.to_string(), &(SALE + 2).to_string()).into()));
        assert_eq!(ledger.store(&mut batch).await.unwrap(), Stored::default());
        let known = format!("select rate + 1000 * burst from sales where sale_id = {}", SALE + 2);
        assert_eq!(number(&mut ledger, &known).await, 60_050);
    });
}

/// A rebuild has withdrawn what nobody had of a sale that was over, and its orders come after all. A unit of it is set aside.
#[test]
fn what_orders_have_after_all_is_withdrawn_no_more() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let of = |number| Order { total: 10, ..order(number) };
        ledger.store(&mut batch(0, [of(1)])).await.unwrap();
        let set_aside =
            "insert into dead_letters (topic, topic_id, partition, kafka_offset, reason, product_id, sale_id, quantity)
            select 'orders', gen_random_uuid(), 0, 0, 'a test', product_id, sale_id, 1 from sales";
        ledger.execute(set_aside, &[]).await.unwrap();
        let rebuilt = "update sales set state = 'closed', withdrawn = 8, generation = 2, raised = 3, rate = 0";
        ledger.execute(rebuilt, &[]).await.unwrap();
        let account = format!("select 100 * withdrawn + 10 * generation + raised from sales where sale_id = {SALE}");
        // Of a product's latest sale Redis says what was withdrawn.
        assert_eq!(ledger.store(&mut batch(1, [of(2)])).await.unwrap().orders, 1);
        assert_eq!(ledger.store(&mut batch(2, [of(3)])).await.unwrap().orders, 1);
        assert_eq!(number(&mut ledger, &account).await, 823);
        // Nor of one behind which only an order tells of a sale.
        let next = Order { sale: SALE + 1, ..of(4) };
        assert_eq!(ledger.store(&mut batch(3, [next, of(5)])).await.unwrap().orders, 2);
        assert_eq!(number(&mut ledger, &account).await, 823);
        ledger.execute("update sales set rate = 0", &[]).await.unwrap();
        assert_eq!(ledger.store(&mut batch(5, [of(6)])).await.unwrap().orders, 1);
        assert_eq!(number(&mut ledger, &account).await, 444, "10 = 5 sold + 1 set aside + 4, under a new generation");
        let rest: Vec<Order> = (7..=12).map(of).collect();
        let stored = ledger.store(&mut batch(6, rest)).await.unwrap();
        assert_eq!((stored.orders, stored.rejected), (5, 1), "the ledger's gate is the sale's total");
        assert_eq!(number(&mut ledger, &account).await, 55);
    });
}
