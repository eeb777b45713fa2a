//! What audit and rebuild take, measured by hand.

use std::time::Instant;

use crate::world::{INDEX_IS_BUILT, PRODUCT, World};

/// Not a test: `FLUX_WORKER_PROGRAM=$PWD/target/release/flux-worker cargo test -p flux-worker --test rebuild -- --ignored
/// --nocapture what_ten_million_orders_cost`.
#[test]
#[ignore = "a measurement"]
fn what_ten_million_orders_cost() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for(INDEX_IS_BUILT, 1);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    let id = &sale.id;
    let fill = format!(
        "SET statement_timeout = 0; SET synchronous_commit = off;
        ALTER TABLE orders DROP CONSTRAINT orders_pkey; DROP INDEX orders_by_sale;
        INSERT INTO sales (product_id, sale_id, total, sold, rate, burst, seed, per_user, opened_at, queue, state, withdrawn)
        SELECT 'past-' || s % 10, 1700000000000 + s * 1000000, 100000, 90000, 0, 50, '', 0, now(), 'retry', 'closed', 10000
        FROM generate_series(1, 100) s;
        INSERT INTO orders (id, product_id, user_id, quantity, sale_id, generation, reservation_id, partition, kafka_offset,
            created_at)
        SELECT gen_random_uuid(), 'past-' || s % 10, 'user-' || n, 1, 1700000000000 + s * 1000000, 1, gen_random_uuid(), 0, n,
            now() FROM generate_series(1, 100) s, generate_series(1, 90000) n;
        UPDATE sales SET total = 2000000, sold = 1000000, per_user = 2 WHERE sale_id = {id};
        INSERT INTO orders (id, product_id, user_id, quantity, sale_id, generation, reservation_id, partition, kafka_offset,
            created_at)
        SELECT gen_random_uuid(), '{PRODUCT}', 'user-' || n, 1, {id}, 1, gen_random_uuid(), 0, n, now()
        FROM generate_series(1, 1000000) n;
        ALTER TABLE orders ADD PRIMARY KEY (id);
        CREATE INDEX orders_by_sale ON orders USING brin (sale_id int8_minmax_multi_ops)
        WITH (pages_per_range = 64, autosummarize = on); ANALYZE;"
    );
    let begun = Instant::now();
    in_postgres.batch_execute(&fill).expect("ten million orders");
    eprintln!("filled in {:.1?}", begun.elapsed());
    client.run("FLUSHALL");
    for with_index in [true, false] {
        if !with_index {
            in_postgres.batch_execute("SET statement_timeout = 0; DROP INDEX orders_by_sale").expect("it goes");
        }
        let timed = |what: &str, arguments: &[&str]| {
            let begun = Instant::now();
            let output = world.command(arguments);
            let (span, code) = (begun.elapsed(), output.status.code());
            let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
            eprintln!("index {with_index}: {what} in {span:.1?}, exit code {code:?}; load {}", load.trim_end());
        };
        timed("audit of all", &["audit"]);
        timed("audit of one", &["audit", "--product", PRODUCT]);
        timed("rebuild, its fence of 15 s included,", &["rebuild", "--product", PRODUCT]);
    }
}
