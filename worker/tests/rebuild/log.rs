//! A rebuild has read all of the log before it believes it, and nothing that stands in the log stops the worker.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flux_test_support::records;

use crate::world::{PATIENCE, World, orders};

/// What was acknowledged may stand behind somebody else's transaction that is still open, where the worker cannot read it. A
/// rebuild waits for it all the same, and says by name what it waits for in vain.
#[test]
fn a_rebuild_waits_for_what_an_open_transaction_hides() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    let mut stranger = Command::new("kcat")
        .args(["-P", "-b", &world.kafka.bootstrap(), "-t", "orders", "-p", "1"])
        .args(["-X", "transactional.id=stranger", "-X", "transaction.timeout.ms=600000", "-X", "linger.ms=1"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("kcat");
    let mut its_input = stranger.stdin.take().expect("a pipe");
    // It reads its input by blocks.
    let line = "not one of ours ".repeat(64) + "\n";
    its_input.write_all(line.repeat(100).as_bytes()).and_then(|()| its_input.flush()).expect("it reads");
    let begun = Instant::now();
    while world.topic.ends().expect("Kafka answers")[&1] == 0 {
        assert!(begun.elapsed() < PATIENCE, "its record has not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3, 4], 1));
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("partition 1 is stored to 0 and ends at ") && said.contains("held back at 0 by a transaction"),
        "{said}"
    );
    assert_eq!(world.number("SELECT max(greatest(raised, generation))::bigint FROM sales"), 1, "nothing was raised");
    drop(its_input);
    assert!(stranger.wait().expect("it ends").success());
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("93 of 100 units left, 7 sold"), "{said}");
}

/// An edge already writes to a partition that was added after the drain began.
#[test]
fn a_partition_that_is_added_meanwhile_is_drained_too() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.signal("STOP");
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    client.run("FLUSHALL");
    let rebuild = std::thread::scope(|scope| {
        let rebuild = scope.spawn(|| world.rebuild(&[]));
        // It waits for what is in partition 1; nobody stores it.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM offsets WHERE topic_id%' \
                     AND pid <> pg_backend_pid()";
        world.wait_for_at_least(waits, 1);
        world.kafka.add_partitions("orders", 3).expect("Kafka takes it");
        world.publish_to(2, &sale, &orders(&sale, "bob", &[4], 1));
        world.signal("CONT");
        rebuild.join().expect("it ends")
    });
    let (code, said) = rebuild;
    assert!(code == Some(0) && said.contains("93 of 100 units left, 7 sold"), "{said}");
}

/// What one of them unpacks to: nearly all that a batch may.
const BOMB_BYTES: usize = 31 << 20;

/// A foreign producer's batches that unpack to a thousand times what they are: the program's memory stays bounded, and what
/// stands behind them is stored.
#[test]
fn batches_that_unpack_to_gigabytes_do_not_fill_the_memory() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    let assignments = || {
        let metrics = world.metrics();
        metrics.lines().find(|line| line.starts_with("flux_worker_assignments_total")).map(str::to_owned)
    };
    let (before, assigned) = (world.peak_kib(), assignments());
    let mut packed = 0;
    for _ in 0..100 {
        let batch = records::padded(0, BOMB_BYTES);
        packed += batch.len();
        world.topic.append_batch(1, batch.into()).expect("Kafka takes it");
    }
    world.publish(&sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT count(*) FROM orders", 1);
    assert_eq!(world.number("SELECT count(*) FROM dead_letters"), 100);
    let (peak, unpacked) = (world.peak_kib(), 100 * BOMB_BYTES / 1024);
    eprintln!("{packed} bytes, unpacked {unpacked} KiB; the worker's peak went from {before} to {peak} KiB");
    assert!(packed < 1 << 20 && peak < before + 400 * 1024, "{before} KiB became {peak}");
    assert!(assigned.is_some() && assignments() == assigned, "the partitions were never lost");
}
