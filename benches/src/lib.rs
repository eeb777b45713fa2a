//! What the benchmarks beside this file share: their settings, their orders, and a measure of one order in a batch.
//!
//! Each benchmark holds a piece of ours against the library that could stand in its place, on the same bytes, and
//! first asserts that both make the same of them. A library is used in its cheapest way, with its input ready; ours
//! is called as the product calls it. Nothing here counts allocations or knows a recorded figure.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, Criterion, Throughput};
use flux_protocol::order::{Record, Uuid, order_id};

/// The product of every order.
pub const PRODUCT: &str = "iphone-15-pro";
/// Its sale: an id as `/init` draws it, milliseconds since the Unix epoch.
pub const SALE_ID: u64 = 1_705_234_567_890;
/// Units of the sale.
pub const SALE_TOTAL: u64 = 100_000;
/// When the first order was read, milliseconds since the Unix epoch.
pub const TIMESTAMP_MS: u64 = 1_705_234_700_000;

/// Runs the benchmarks of one file, some seconds each, with criterion's options on the command line.
pub fn run(benchmarks: &[fn(&mut Criterion)]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50)
        .without_plots()
        .configure_from_args();
    for benchmark in benchmarks {
        benchmark(&mut criterion);
    }
    criterion.final_summary();
}

/// A group whose times are those of one element: an order, a record, a row.
pub fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
}

/// Measures `batch`, which deals with `count` orders, so that the time shown is that of one order: an iteration is an
/// order, and as many whole batches run as the asked iterations need.
pub fn per_order<T>(bencher: &mut Bencher<'_>, count: usize, mut batch: impl FnMut() -> T) {
    let count = count as u64;
    bencher.iter_custom(|orders| {
        let batches = orders.div_ceil(count);
        let start = Instant::now();
        for _ in 0..batches {
            black_box(batch());
        }
        start.elapsed().mul_f64(orders as f64 / (batches * count) as f64)
    });
}

/// The buyer of order `number`.
pub fn user(number: usize) -> String {
    format!("user-{number:06}")
}

/// The id of a buyer's order.
pub fn id(user: &str) -> Uuid {
    order_id(PRODUCT.as_bytes(), SALE_ID, user.as_bytes(), b"checkout-7f3a9c21")
}

/// A buyer's order as the edge publishes it.
pub fn record(user: &str) -> Record<'_> {
    Record {
        order_id: id(user),
        reservation_id: order_id(b"reservation", SALE_ID, user.as_bytes(), b""),
        product_id: PRODUCT,
        user_id: user,
        quantity: 1,
        sale_id: SALE_ID,
        sale_total: SALE_TOTAL,
        generation: 1,
        timestamp: TIMESTAMP_MS,
    }
}

/// The values of `count` topic records.
pub fn values(count: usize) -> Vec<Vec<u8>> {
    let value = |number| {
        let mut value = Vec::new();
        record(&user(number)).write_json(&mut value);
        value
    };
    (0..count).map(value).collect()
}
