//! The ledger against a real PostgreSQL: each test has a database of its own in one isolated server, or a server of
//! its own where it kills it.

mod cutter;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use cutter::{Cut, Cutter};
use flux_net::{DriverChoice, Runtime, RuntimeOptions, sleep, within};
use flux_protocol::order::{Record, SaleEvent, Uuid};
use flux_protocol::postgres::{Param, PostgresConfig, SessionOptions, StatementLimit};
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Origin, Stored};
use flux_worker::config::Config;
use flux_worker::dead_letters::{self, Replayed};
use flux_worker::ledger::{Ledger, LedgerError, ReturnState, StoreError, Stray};

const SALE: u64 = 1_705_234_700_000;
const TOPIC: Uuid = Uuid([7; 16]);

fn run<T>(test: impl Future<Output = T>) -> T {
    let options = RuntimeOptions { driver: DriverChoice::Auto, monoio_timers: false };
    let mut runtime = Runtime::build(options).expect("a runtime");
    let outcome = runtime.block_on(async { within(Duration::from_secs(120), test).await });
    outcome.expect("a timer").expect("the test hangs")
}

/// How many there are.
const MIGRATIONS: usize = 6;

/// A migrated database of its own.
async fn ledger(server: &Server) -> (Ledger, PostgresConfig) {
    let config = server.database();
    let mut ledger = Ledger::connect(&config).await.expect("a server");
    assert_eq!(ledger.migrate().await.expect("a schema"), MIGRATIONS);
    (ledger, config)
}

fn origin(partition: i32) -> Origin {
    Origin { topic: "orders".into(), topic_id: TOPIC, partition }
}

fn id(kind: u8, number: u64) -> Uuid {
    let mut bytes = [kind; 16];
    // Spread, as hashes are.
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Uuid(bytes)
}

/// An order and one reservation of it.
#[derive(Clone, Copy)]
struct Order {
    order: u64,
    reservation: u64,
    quantity: u16,
    total: u64,
    product: &'static str,
    sale: u64,
}

fn order(number: u64) -> Order {
    Order { order: number, reservation: number, quantity: 1, total: 1_000_000, product: "phone", sale: SALE }
}

impl Order {
    fn value(self) -> Bytes {
        let mut value = Vec::new();
        Record {
            order_id: id(1, self.order),
            reservation_id: id(2, self.reservation),
            product_id: self.product,
            user_id: "user-42",
            quantity: self.quantity,
            sale_id: self.sale,
            sale_total: self.total,
            generation: 1,
            timestamp: 1_705_234_800_123,
        }
        .write_json(&mut value);
        value.into()
    }
}

fn batch(first: i64, orders: impl IntoIterator<Item = Order>) -> Batch {
    let mut batch = Batch::new(origin(0), first);
    for order in orders {
        batch.push(batch.next_offset(), None, Some(order.value()));
    }
    batch
}

async fn number(ledger: &mut Ledger, sql: &str) -> i64 {
    let rows = ledger.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0].get(0).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
}

/// Stores, however often it must be handed in.
async fn stored(ledger: &mut Ledger, batch: &mut Batch) -> Stored {
    loop {
        match ledger.store(batch).await {
            Ok(stored) => return stored,
            Err(StoreError::Retry(error)) => {
                eprintln!("again: {error}");
                sleep(Duration::from_millis(50)).await.expect("a timer");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

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

#[test]
fn passwords_go_by_scram_and_wrong_ones_are_named() {
    let server = Server::shared();
    run(async {
        let mut ledger = Ledger::connect(&server.tcp("shop", Some("pass word:@%"))).await.expect("SCRAM");
        assert_eq!(number(&mut ledger, "select 1").await, 1);
        let sql = "select current_setting('synchronous_commit') || current_setting('statement_timeout') || \
                   current_setting('lock_timeout') || current_setting('idle_in_transaction_session_timeout') || \
                   current_setting('tcp_user_timeout') || ' ' || current_setting('tcp_keepalives_idle') || ' ' || \
                   current_setting('tcp_keepalives_interval')";
        assert_eq!(ledger.query(sql, &[]).await.unwrap()[0].text(0), Some("on10s5s10s10000 5 5"));

        for (config, says) in [
            (server.tcp("shop", Some("wrong")), "password authentication failed for user \"shop\""),
            (server.tcp("shop", None), "the server asks for a password and there is none"),
            (server.tcp("nobody", Some("x")), "password authentication failed for user \"nobody\""),
            (server.tcp("clear", Some("x")), "in clear text over TCP"),
        ] {
            let Err(error) = Ledger::connect(&config).await else { panic!("{config} was let in") };
            assert!(matches!(error, LedgerError::Login { .. }) && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        // libpq's password file, read for each connection.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        let set = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        };
        let mut by_file = server.tcp("shop", None);
        by_file.passfile = Some(path.clone());
        set("*:*:*:other:x\n127.0.0.1:*:*:shop:pass word\\:@%\n", 0o600);
        let mut ledger = Ledger::connect(&by_file).await.expect("its password is in the file");
        assert_eq!(number(&mut ledger, "select 1").await, 1);
        set("*:*:*:shop:wrong\n", 0o600);
        let Err(error) = Ledger::connect(&by_file).await else { panic!("let in by a wrong password") };
        assert!(error.to_string().contains("password authentication failed"), "{error}");
        set("*:*:*:shop:pass word\\:@%\n", 0o644);
        let Err(error) = Ledger::connect(&by_file).await else { panic!("a file that others may read") };
        assert!(error.to_string().contains("chmod 0600"), "{error}");
        let mut nowhere = server.database();
        nowhere.database = "nowhere".into();
        let Err(error) = Ledger::connect(&nowhere).await else { panic!("no such database") };
        assert!(error.to_string().contains("database \"nowhere\" does not exist") && !error.is_retryable(), "{error}");
        let closed = PostgresConfig::parse("postgres://x@127.0.0.1:1/x").unwrap();
        let Err(error) = Ledger::connect(&closed).await else { panic!("nobody listens there") };
        assert!(matches!(error, LedgerError::Unreachable { .. }) && error.is_retryable(), "{error}");
    });
}

#[test]
fn workers_migrate_one_at_a_time_and_never_backwards() {
    let server = Server::shared();
    run(async {
        let config = server.database();
        let mut ledgers = Vec::new();
        for _ in 0..2 {
            ledgers.push(Ledger::connect(&config).await.unwrap());
        }
        let mut second = ledgers.pop().unwrap();
        let mut first = ledgers.pop().unwrap();
        let (one, two) = monoio::join!(first.migrate(), second.migrate());
        assert_eq!(one.unwrap() + two.unwrap(), MIGRATIONS);
        let (newest, newer) = (MIGRATIONS as i32, MIGRATIONS as i32 + 1);
        let later = format!("insert into flux_schema (version, name) values ({newer}, 'of the future')");
        first.query(&later, &[]).await.unwrap();
        let error = first.migrate().await.unwrap_err();
        let is_told = |found, known| (found, known) == (newer, newest);
        assert!(matches!(error, LedgerError::NewerSchema { found, known } if is_told(found, known)), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(number(&mut first, "select count(*) from orders").await, 0, "the connection is made again");
        // A schema that is missing is nothing that waiting would mend.
        let mut empty = Ledger::connect(&server.database()).await.unwrap();
        let error = empty.store(&mut batch(0, [order(1)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Fatal(_)), "{error}");
    });
}

#[test]
fn a_pinned_ledger_does_not_go_on_without_its_lock() {
    let server = Server::shared();
    run(async {
        let (mut other, config) = ledger(&server).await;
        let mut pinned = Ledger::connect_pinned(&config, Default::default()).await.unwrap();
        pinned.query("select pg_advisory_lock(1)", &[]).await.unwrap();
        let sql = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = \
                   (select oid from pg_database where datname = current_database())";
        other.query(sql, &[]).await.unwrap();
        for _ in 0..2 {
            assert!(matches!(pinned.query("select 1", &[]).await, Err(LedgerError::Lost(_))));
        }
    });
}

/// Answers larger than every socket buffer, to questions larger than every socket buffer: neither end blocks.
#[test]
fn long_answers_to_long_questions() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let count = 40_000;
        ledger.store(&mut batch(0, (0..count).map(order))).await.unwrap();
        let outcome = ledger.store(&mut batch(count as i64, (0..count).map(order))).await.unwrap();
        assert_eq!(outcome, Stored { duplicates: count, ..Stored::default() });
    });
}

/// Not a test: `cargo test --release -p flux-worker --test ledger_real -- --ignored --nocapture copy_throughput`.
#[test]
#[ignore = "a measurement"]
fn copy_throughput() {
    let server = Server::durable();
    for size in [500, 1000, 5000, 16_000] {
        run(async {
            let (mut ledger, _) = ledger(&server).await;
            ledger.claim(TOPIC, 0).await.unwrap();
            let total = 1_000_000u64;
            let value = |number| Order { total: 1_000_000_000, ..order(number) }.value();
            let values: Vec<Bytes> = (0..total).map(value).collect();
            let begun = std::time::Instant::now();
            let mut reading = Duration::ZERO;
            for (round, values) in values.chunks(size).enumerate() {
                let at = std::time::Instant::now();
                let mut batch = Batch::new(origin(0), (round * size) as i64);
                for value in values {
                    batch.push(batch.next_offset(), None, Some(value.clone()));
                }
                reading += at.elapsed();
                ledger.store(&mut batch).await.unwrap();
            }
            let span = begun.elapsed();
            let rate = total as f64 / span.as_secs_f64();
            println!("batches of {size}: {span:.2?}, {rate:.0} orders/s; of it reading records {reading:.2?}");
            ledger.query("truncate orders", &[]).await.unwrap();
        });
    }
}

/// Whoever finds a session that holds locks in `pg_stat_activity` wants to know whose it is.
#[test]
fn a_session_says_that_it_is_the_workers() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        let own =
            "select count(*) from pg_stat_activity where pid = pg_backend_pid() and application_name = 'flux-worker'";
        assert_eq!(number(&mut ledger, own).await, 1);
    });
}
