//! An order is stored once, with its offset, or ends by name.

use flux_protocol::order::Uuid;
use flux_protocol::postgres::Param;
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Stored};
use flux_worker::ledger::{Ledger, LedgerError, ReturnState, StoreError, Stray};

use crate::fixture::{Order, SALE, TOPIC, batch, id, ledger, number, order, origin, run, stored};

#[test]
fn orders_are_stored_with_their_offset() {
    let server = Server::shared();
    run(async {
        let (mut ledger, config) = ledger(&server).await;
        assert_eq!(ledger.claim(TOPIC, 0).await.unwrap().offset, 0);
        let mut first = batch(0, (0..1000).map(order));
        first.advance_to(1003);
        let outcome = ledger.store(&mut first).await.unwrap();
        assert_eq!(outcome, Stored { orders: 1000, ..Stored::default() });
        assert_eq!(ledger.store(&mut first).await.unwrap(), outcome, "a batch that is stored is stored");
        assert_eq!(number(&mut ledger, "select count(*) from orders").await, 1000);
        assert_eq!(ledger.claim(TOPIC, 0).await.unwrap().offset, 1003);

        // Of which log the offset is stands beside it, and is believed of that offset only.
        let epoch = async |ledger: &mut Ledger| ledger.claim(TOPIC, 0).await.unwrap().leader_epoch;
        assert_eq!(epoch(&mut ledger).await, None, "nobody said");
        for (leader_epoch, next) in [(Some(7), 1004), (None, 1005), (Some(0), 1006)] {
            let mut passed = batch(next - 1, []);
            passed.under(leader_epoch);
            passed.advance_to(next);
            stored(&mut ledger, &mut passed).await;
            assert_eq!(epoch(&mut ledger).await, leader_epoch);
        }
        ledger.execute("UPDATE offsets SET next_offset = 1003", &[]).await.unwrap();
        assert_eq!(epoch(&mut ledger).await, None, "somebody has moved it");

        let mut other = order(5000);
        (other.product, other.quantity, other.total) = ("case", 3, 10);
        assert_eq!(ledger.store(&mut batch(1003, [order(1000), other])).await.unwrap().orders, 2);
        assert_eq!(number(&mut ledger, "select stock from products where id = 'phone'").await, 1_000_000 - 1001);
        assert_eq!(number(&mut ledger, "select stock from products where id = 'case'").await, 7);
        assert_eq!(number(&mut ledger, "select sold from sales where product_id = 'case'").await, 3);
        let row = "select product_id, user_id, quantity, sale_id, generation, partition, kafka_offset, reservation_id, \
                   created_at, stored_at > now() - interval '1 minute' from orders where id = $1";
        let rows = ledger.query(row, &[Param::Uuid(id(1, 5000))]).await.unwrap();
        let texts: Vec<_> = rows[0].texts().map(|text| text.unwrap_or("NULL")).collect();
        let reservation = id(2, 5000).to_string();
        let at = "2024-01-14 12:20:00.123+00";
        assert_eq!(texts, ["case", "user-42", "3", "1705234700000", "1", "0", "1004", &reservation, at, "t"]);

        let status = ledger.order_status(id(1, 5000)).await.unwrap().expect("it is stored");
        assert_eq!((&*status.product_id, status.rejected), ("case", None));
        assert_eq!(ledger.order_status(id(1, 77_777)).await.unwrap(), None);
        assert_eq!(ledger.known_topics().await.unwrap(), [TOPIC]);

        // Another worker finds the schema as it should be.
        assert_eq!(Ledger::connect(&config).await.unwrap().migrate().await.unwrap(), 0);
    });
}

#[test]
fn redeliveries_are_dropped_and_second_reservations_given_back() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        ledger.store(&mut batch(0, (0..10).map(order))).await.unwrap();
        // All again, twice, and one new.
        let mut again = batch(10, (0..10).chain(0..10).chain([10]).map(order));
        assert_eq!(again.redelivered(), 10);
        let outcome = ledger.store(&mut again).await.unwrap();
        assert_eq!(outcome, Stored { orders: 1, duplicates: 20, ..Stored::default() });

        let second = Order { reservation: 100, ..order(3) };
        let other_quantity = Order { reservation: 101, quantity: 5, ..order(4) };
        let outcome = ledger.store(&mut batch(31, [second, other_quantity, second, order(11)])).await.unwrap();
        assert_eq!(outcome, Stored { orders: 1, duplicates: 1, returns: 2, rejected: 1, late: 0, dead_letters: 0 });
        // Within one batch, nothing stored before: the first reservation stands.
        let inside = Order { reservation: 102, ..order(12) };
        let outcome = ledger.store(&mut batch(35, [order(12), inside])).await.unwrap();
        assert_eq!((outcome.orders, outcome.returns), (1, 1));
        // Redelivered, they change nothing more.
        let outcome = ledger.store(&mut batch(37, [second, other_quantity, inside])).await.unwrap();
        assert_eq!((outcome.orders, outcome.returns, outcome.rejected), (0, 0, 0));

        assert_eq!(number(&mut ledger, "select sum(quantity) from orders").await, 13);
        assert_eq!(number(&mut ledger, "select sold from sales").await, 13);
        let pending = ledger.pending_returns(10, Uuid([0; 16])).await.unwrap();
        let mut units: Vec<_> =
            pending.iter().map(|back| (back.order_id, back.reservation_id, back.quantity)).collect();
        units.sort();
        let mut expected = vec![(id(1, 3), id(2, 100), 1), (id(1, 4), id(2, 101), 5), (id(1, 12), id(2, 102), 1)];
        expected.sort();
        assert_eq!(units, expected);
        assert_eq!(pending[0].sale_id, SALE);
        let behind: Vec<_> = ledger
            .pending_returns(10, pending[0].reservation_id)
            .await
            .unwrap()
            .iter()
            .map(|back| back.quantity)
            .collect();
        let others: Vec<_> = pending[1..].iter().map(|back| back.quantity).collect();
        assert_eq!(behind, others, "who has had a turn does not stand at the head of the next page");
        assert_eq!(ledger.units().await.unwrap()[0].awaiting_return, 7);
        assert_eq!(ledger.mark_returned(&[id(2, 100)], ReturnState::Returned).await.unwrap(), 1);
        assert_eq!(ledger.mark_returned(&[id(2, 100)], ReturnState::Withdrawn).await.unwrap(), 0);
        assert_eq!(ledger.pending_returns(10, Uuid([0; 16])).await.unwrap().len(), 2);
        // The order stands, whatever its second reservation met.
        let status = ledger.order_status(id(1, 4)).await.unwrap().expect("it is stored");
        assert_eq!(status.rejected, None);
    });
}

/// Returns that no Redis can ever take, or whose sale is over, end by what the ledger knows of their sale.
#[test]
fn a_return_ends_by_what_is_known_of_its_sale() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let sale = |sale, total, sold, withdrawn, generation, rate: &str| {
            format!(
                "INSERT INTO sales (product_id, sale_id, total, sold, withdrawn, generation, raised, rate) \
                 VALUES ('phone', {sale}, {total}, {sold}, {withdrawn}, {generation}, {generation}, {rate})"
            )
        };
        // Sale 1 is over, with room for three; 2 is the one that Redis holds; of 3 only orders tell.
        for sql in [sale(1, 10, 4, 3, 2, "0"), sale(2, 10, 1, 0, 3, "0"), sale(3, 10, 1, 0, 1, "NULL")] {
            ledger.execute(&sql, &[]).await.unwrap();
        }
        let notes = [(1, 1, 1, 9), (2, 1, 2, 2), (3, 1, 2, 1), (4, 1, 2, 1), (5, 2, 4, 1), (6, 2, 3, 1), (7, 3, 1, 1)];
        let note = |(number, sale, generation, quantity): (u8, u64, u32, u32)| {
            format!(
                "INSERT INTO returns (reservation_id, order_id, product_id, sale_id, generation, quantity, user_id) \
                 VALUES ('{}', '{}', 'phone', {sale}, {generation}, {quantity}, 'u')",
                Uuid([number; 16]),
                Uuid([number; 16]),
            )
        };
        for noted in notes {
            ledger.execute(&note(noted), &[]).await.unwrap();
        }
        let all: Vec<Uuid> = (1..=7).map(|number| Uuid([number; 16])).collect();
        let mut over = ledger.over_returns(all[..4].to_vec()).await.unwrap();
        over.sort_unstable();
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| Uuid([number; 16]));
        let (absorbed, withdrawn) = (ReturnState::Absorbed, ReturnState::Withdrawn);
        let unfounded = ReturnState::Unfounded;
        assert_eq!(over, [(first, absorbed), (second, withdrawn), (third, withdrawn), (fourth, unfounded)]);
        let strays = ledger.stray_returns(all.clone(), 2).await.unwrap();
        let mut strays: Vec<(Uuid, Stray)> = strays;
        strays.sort_by_key(|(reservation, _)| *reservation);
        assert_eq!(strays, [(Uuid([5; 16]), Stray::Generation), (Uuid([7; 16]), Stray::Sale)]);
        let strays = ledger.stray_returns(all.clone(), 0).await.unwrap();
        assert_eq!(
            strays,
            [(Uuid([5; 16]), Stray::Generation)],
            "where Redis holds no sale, sale 3 may be one it lost"
        );
        assert_eq!(ledger.end_returns(vec![fourth], unfounded, "nobody took them").await.unwrap(), 1);
        assert_eq!(ledger.end_returns(vec![fourth], unfounded, "again").await.unwrap(), 0, "it has ended");
        let told = "select count(*) from returns where state = 'unfounded' and why = 'nobody took them'";
        assert_eq!(number(&mut ledger, told).await, 1);
        // What came back to a sale that was over counts as withdrawn, beside what was left when it ended.
        assert_eq!(ledger.end_returns(vec![second, third], withdrawn, "over").await.unwrap(), 2);
        let late = Uuid([8; 16]);
        ledger.execute(&note((8, 1, 2, 1)), &[]).await.unwrap();
        let over = ledger.over_returns(vec![late]).await.unwrap();
        assert_eq!(over, [(late, unfounded)], "what came back before has taken the room");
        assert_eq!(ledger.end_returns(vec![late], unfounded, "nobody took it").await.unwrap(), 1);
        ledger.execute("INSERT INTO products (id, stock, sale_id) VALUES ('phone', 0, 1)", &[]).await.unwrap();
        let units = ledger.units().await.unwrap();
        assert_eq!((units[0].withdrawn, units[0].stored, units[0].awaiting_return), (3 + 2 + 1, 4, 9));
    });
}

#[test]
fn what_does_not_fit_is_rejected_in_the_order_of_the_log() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let of = |number, quantity| Order { quantity, total: 10, ..order(number) };
        // 4 + 4 + (4: no room) + 2, then nothing fits; the other product is not concerned.
        let other = Order { product: "case", ..order(50) };
        let orders = [of(1, 4), of(2, 4), of(3, 4), other, of(4, 2), of(5, 1)];
        let outcome = ledger.store(&mut batch(0, orders)).await.unwrap();
        assert_eq!(outcome, Stored { orders: 4, rejected: 2, ..Stored::default() });
        assert_eq!(number(&mut ledger, "select sold from sales where product_id = 'phone'").await, 10);
        assert_eq!(number(&mut ledger, "select stock from products where id = 'phone'").await, 0);
        let status = ledger.order_status(id(1, 3)).await.unwrap().expect("it is known");
        assert_eq!(status.rejected.as_deref(), Some("no_room"));
        let units = ledger.units().await.unwrap();
        let phone = units.iter().find(|units| units.product_id == "phone").unwrap();
        assert_eq!((phone.total, phone.stored, phone.rejected), (10, 10, 5));
        // A batch that meets a full sale of old; redelivered rejections are known.
        let outcome = ledger.store(&mut batch(6, [of(3, 4), of(6, 1)])).await.unwrap();
        assert_eq!(outcome, Stored { duplicates: 1, rejected: 1, ..Stored::default() });
        // Nor does anybody else get unit 11 in.
        let error = ledger.query("update sales set sold = 11 where product_id = 'phone'", &[]).await.unwrap_err();
        assert!(matches!(error, LedgerError::Server(error) if error.constraint == "sales_room"));
        for withdrawn in ["-1", "total + 1"] {
            let sql = format!("update sales set withdrawn = {withdrawn} where product_id = 'phone'");
            let error = ledger.query(&sql, &[]).await.unwrap_err();
            assert!(matches!(error, LedgerError::Server(error) if error.constraint == "sales_numbers"), "{withdrawn}");
        }
    });
}

#[test]
fn a_stale_offset_fences_off() {
    let server = Server::shared();
    run(async {
        let (mut heir, config) = ledger(&server).await;
        let mut zombie = Ledger::connect(&config).await.unwrap();
        let at = zombie.claim(TOPIC, 0).await.unwrap().offset;
        assert_eq!(heir.claim(TOPIC, 0).await.unwrap().offset, at);
        heir.store(&mut batch(at, (0..5).map(order))).await.unwrap();
        // The same records, and others: neither gets in, the duplicates do not hide the fence.
        for first in [0, 100] {
            let error = zombie.store(&mut batch(at, (first..first + 5).map(order))).await.unwrap_err();
            assert!(matches!(error, StoreError::Fenced { partition: 0, expected: 0 }), "{error}");
        }
        assert_eq!(number(&mut heir, "select count(*) from orders").await, 5);
        // A partition that nobody has claimed, or whose row somebody has deleted.
        let mut unclaimed = Batch::new(origin(9), 0);
        unclaimed.push(0, None, Some(order(1).value()));
        assert!(matches!(zombie.store(&mut unclaimed).await, Err(StoreError::Fenced { partition: 9, .. })));
        // The fenced one claims anew and goes on, on the same connection.
        let at = zombie.claim(TOPIC, 0).await.unwrap().offset;
        assert_eq!(at, 5);
        assert_eq!(zombie.store(&mut batch(at, [order(7)])).await.unwrap().orders, 1);
    });
}
