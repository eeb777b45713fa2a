//! What COPY stores a second, measured by hand.

use std::time::Duration;

use bytes::Bytes;
use flux_test_support::postgres::Server;
use flux_worker::batch::Batch;

use crate::fixture::{Order, TOPIC, ledger, order, origin, run};

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
