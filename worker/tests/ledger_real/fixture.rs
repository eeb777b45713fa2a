//! A database of its own for each test, and orders to store in it.

use std::time::Duration;

use bytes::Bytes;
use flux_net::{DriverChoice, Runtime, RuntimeOptions, sleep, within};
use flux_protocol::order::{Record, Uuid};
use flux_protocol::postgres::PostgresConfig;
use flux_test_support::postgres::Server;
use flux_worker::batch::{Batch, Origin, Stored};
use flux_worker::ledger::{Ledger, StoreError};

pub(crate) const SALE: u64 = 1_705_234_700_000;
pub(crate) const TOPIC: Uuid = Uuid([7; 16]);

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let options = RuntimeOptions { driver: DriverChoice::Auto, monoio_timers: false };
    let mut runtime = Runtime::build(options).expect("a runtime");
    let outcome = runtime.block_on(async { within(Duration::from_secs(120), test).await });
    outcome.expect("a timer").expect("the test hangs")
}

/// How many there are.
pub(crate) const MIGRATIONS: usize = 7;

/// A migrated database of its own.
pub(crate) async fn ledger(server: &Server) -> (Ledger, PostgresConfig) {
    let config = server.database();
    let mut ledger = Ledger::connect(&config).await.expect("a server");
    assert_eq!(ledger.migrate().await.expect("a schema"), MIGRATIONS);
    (ledger, config)
}

pub(crate) fn origin(partition: i32) -> Origin {
    Origin { topic: "orders".into(), topic_id: TOPIC, partition }
}

pub(crate) fn id(kind: u8, number: u64) -> Uuid {
    let mut bytes = [kind; 16];
    // Spread, as hashes are.
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Uuid(bytes)
}

/// An order and one reservation of it.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) order: u64,
    pub(crate) reservation: u64,
    pub(crate) quantity: u16,
    pub(crate) total: u64,
    pub(crate) product: &'static str,
    pub(crate) sale: u64,
}

pub(crate) fn order(number: u64) -> Order {
    Order { order: number, reservation: number, quantity: 1, total: 1_000_000, product: "phone", sale: SALE }
}

impl Order {
    pub(crate) fn value(self) -> Bytes {
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

pub(crate) fn batch(first: i64, orders: impl IntoIterator<Item = Order>) -> Batch {
    let mut batch = Batch::new(origin(0), first);
    for order in orders {
        batch.push(batch.next_offset(), None, Some(order.value()));
    }
    batch
}

pub(crate) async fn number(ledger: &mut Ledger, sql: &str) -> i64 {
    let rows = ledger.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0].get(0).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
}

/// Stores, however often it must be handed in.
pub(crate) async fn stored(ledger: &mut Ledger, batch: &mut Batch) -> Stored {
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
