//! From the topic to committed rows: a million orders through flux-worker, beside `psql \copy` of the very same rows into
//! a table with the same indexes and constraints. The worker goes that way twice: over plain links and over links with TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flux_protocol::order::{Record, Uuid, order_id};

use super::figures::StoredRow;
use super::stage::{PARTITIONS, Stage};
use super::usage;
use flux_lab::control::Controlled;
use flux_lab::error::{Doing, LabError};
use flux_lab::process::{Ending, LOOK_AGAIN, Process};
use flux_lab::programs::{Environment, Worker};
use flux_lab::servers::{Postgres, PostgresOptions, find_in_path};
use flux_lab::topic::TopicReader;

/// Orders in the topic.
pub const ORDERS: u64 = 1_000_000;
/// Records of one batch, as an edge under load would write them.
const BATCH_RECORDS: u64 = 500;
const STORE_MAX: Duration = Duration::from_secs(300);

/// The way through the topic, in records of runs.
pub const WORKER: &str = "flux-worker";
/// The same with TLS to Kafka, PostgreSQL and Redis.
pub const WORKER_TLS: &str = "flux-worker, TLS";
/// The way it is compared with.
pub const COPY: &str = "psql \\copy";

/// All ways in turns, `repetitions` times; `note` is told each as it is done.
///
/// # Errors
/// Where a server or program does not do its part.
pub fn measure(stage: &mut Stage, repetitions: u32, mut note: impl FnMut(StoredRow)) -> Result<(), LabError> {
    let psql = find_in_path("psql").ok_or_else(|| LabError::Missing {
        what: "psql (not in PATH)".to_owned(),
        install: "sudo apt-get install postgresql-client".to_owned(),
    })?;
    let topic = stage.clear()?;
    fill(&stage.kafka.bootstrap(), &topic)?;
    let tls = Some(stage.encryption("postgres"));
    let postgres = Postgres::start(&stage.run, PostgresOptions { tls, ..PostgresOptions::default() })?;
    // Where PostgreSQL runs as another user, it is psql that writes and reads this file, as we do.
    let rows = stage.run.join("rows");
    for repetition in 1..=repetitions {
        let (database, encrypted) = (format!("stored_{repetition}"), format!("stored_tls_{repetition}"));
        postgres.create_database(&encrypted)?;
        note(store(stage, &postgres, &topic, &encrypted, WORKER_TLS, repetition)?);
        drop_database(&postgres, &encrypted)?;
        postgres.create_database(&database)?;
        note(store(stage, &postgres, &topic, &database, WORKER, repetition)?);
        if repetition == 1 {
            run_psql(stage, &psql, &plain(&postgres, &database), &format!("\\copy orders to '{}'", rows.display()))?;
        }
        note(copy(stage, &postgres, &psql, &database, &rows, repetition)?);
        drop_database(&postgres, &database)?;
    }
    Ok(())
}

/// A million rows, three times a repetition: the disk may be small.
fn drop_database(postgres: &Postgres, database: &str) -> Result<(), LabError> {
    let drop = format!("DROP DATABASE {database} WITH (FORCE)");
    postgres.client("postgres")?.batch_execute(&drop).doing(|| format!("dropping database {database}"))
}

/// Left alone, a client would ask this server for TLS.
fn plain(postgres: &Postgres, database: &str) -> String {
    format!("{}?sslmode=disable", postgres.url(database))
}

/// Writes [`ORDERS`] records, batch by batch in turns of the partitions.
fn fill(bootstrap: &str, topic: &str) -> Result<(), LabError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let topic = TopicReader::new(bootstrap, topic);
    for batch in 0..ORDERS / BATCH_RECORDS {
        let records: Vec<Vec<u8>> = (0..BATCH_RECORDS).map(|n| record(batch * BATCH_RECORDS + n, now)).collect();
        let borrowed: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        topic.append((batch % PARTITIONS as u64) as i32, &borrowed)?;
    }
    Ok(())
}

/// Order `number`, as an edge writes it.
fn record(number: u64, now_ms: u64) -> Vec<u8> {
    const PRODUCT: &str = "bench";
    let (user, key) = (format!("user-{number}"), format!("key-{number}"));
    // Any id of its own; an edge draws it by lot.
    let reservation_id = order_id(PRODUCT.as_bytes(), now_ms + 1, user.as_bytes(), key.as_bytes());
    let record = Record {
        order_id: order_id(PRODUCT.as_bytes(), now_ms, user.as_bytes(), key.as_bytes()),
        reservation_id: Uuid::version_8(reservation_id.0),
        product_id: PRODUCT,
        user_id: &user,
        quantity: 1,
        sale_id: now_ms,
        sale_total: ORDERS,
        generation: 1,
        timestamp: now_ms,
    };
    let mut json = Vec::with_capacity(320);
    record.write_json(&mut json);
    json
}

fn store(
    stage: &Stage,
    postgres: &Postgres,
    topic: &str,
    database: &str,
    way: &'static str,
    repetition: u32,
) -> Result<StoredRow, LabError> {
    let mut environment: Environment = [
        ("FLUX_TOPIC", topic.to_owned()),
        ("FLUX_TOPIC_PARTITIONS", PARTITIONS.to_string()),
        ("FLUX_GROUP", format!("bench-{database}")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    environment.extend(links(stage, postgres, database, way).into_iter().map(|(name, value)| (name.to_owned(), value)));
    let mut worker = Worker::new(&stage.run, &format!("worker-{database}"), &environment)?;
    let mut ledger = postgres.client(database)?;
    let postmaster = postmaster(postgres)?;
    let (used_before, kafka_before) = (usage::cpu_us(postmaster)?, stage.kafka_us()?);
    let begun = Instant::now();
    worker.program.launch()?;
    let pid = worker.program.pid().ok_or_else(|| LabError::failed("the worker does not run"))?;
    while stored(&mut ledger)? < ORDERS {
        if begun.elapsed() >= STORE_MAX {
            return Err(LabError::failed(format!("the worker has not stored {ORDERS} orders within {STORE_MAX:?}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let program = usage::cpu_us(pid)?;
    let used =
        Used { program, postgres: usage::cpu_us(postmaster)? - used_before, kafka: stage.kafka_us()? - kafka_before };
    let rows = count(&mut ledger, "orders")?;
    row(way, repetition, rows, seconds, used)
}

/// What a worker's environment says of the servers.
fn links(stage: &Stage, postgres: &Postgres, database: &str, way: &str) -> Vec<(&'static str, String)> {
    if way == WORKER {
        return vec![
            ("FLUX_REDIS", stage.redis.url()),
            ("FLUX_KAFKA", stage.kafka.bootstrap()),
            ("FLUX_POSTGRES", plain(postgres, database)),
        ];
    }
    let issuer = stage.issuer().display().to_string();
    vec![
        ("FLUX_REDIS", stage.redis.tls_url().unwrap_or_default()),
        ("FLUX_REDIS_TLS_CA", issuer.clone()),
        ("FLUX_KAFKA", stage.kafka.bootstrap_encrypted()),
        ("FLUX_KAFKA_SECURITY", "ssl".to_owned()),
        ("FLUX_KAFKA_TLS_CA", issuer.clone()),
        ("FLUX_POSTGRES", format!("{}?sslmode=verify-full&sslrootcert={issuer}", postgres.url(database))),
    ]
}

/// CPU that a way has used, µs.
struct Used {
    program: u64,
    postgres: u64,
    kafka: u64,
}

/// How far the partitions are stored; 0 before the worker has made its tables.
fn stored(ledger: &mut postgres::Client) -> Result<u64, LabError> {
    let doing = || "asking the ledger how far it is".to_owned();
    let there: bool = ledger.query_one("SELECT to_regclass('offsets') IS NOT NULL", &[]).doing(doing)?.get(0);
    if !there {
        return Ok(0);
    }
    let sql = "SELECT coalesce(sum(next_offset), 0)::bigint FROM offsets";
    Ok(ledger.query_one(sql, &[]).doing(doing)?.get::<_, i64>(0) as u64)
}

fn copy(
    stage: &Stage,
    postgres: &Postgres,
    psql: &Path,
    database: &str,
    rows: &Path,
    repetition: u32,
) -> Result<StoredRow, LabError> {
    let mut ledger = postgres.client(database)?;
    ledger
        .batch_execute("CREATE TABLE copied (LIKE orders INCLUDING ALL); CHECKPOINT")
        .doing(|| "making the table to copy into".to_owned())?;
    let postmaster = postmaster(postgres)?;
    let used_before = usage::cpu_us(postmaster)?;
    let (reaped_before, begun) = (usage::reaped_us()?, Instant::now());
    run_psql(stage, psql, &plain(postgres, database), &format!("\\copy copied from '{}'", rows.display()))?;
    let seconds = begun.elapsed().as_secs_f64();
    // psql is the only child that was waited for meanwhile.
    let program = usage::reaped_us()? - reaped_before;
    let used = Used { program, postgres: usage::cpu_us(postmaster)? - used_before, kafka: 0 };
    let copied = count(&mut ledger, "copied")?;
    row(COPY, repetition, copied, seconds, used)
}

fn run_psql(stage: &Stage, psql: &Path, url: &str, command: &str) -> Result<(), LabError> {
    let mut psql = Command::new(psql);
    psql.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", url, "--command", command]);
    let log: PathBuf = stage.log("psql");
    let mut process = Process::start("psql", psql, &log, Ending::KILL)?;
    let status = process.wait(STORE_MAX)?;
    if status.success() { Ok(()) } else { Err(process.failure("failed")) }
}

fn count(ledger: &mut postgres::Client, table: &str) -> Result<u64, LabError> {
    let row = ledger.query_one(&format!("SELECT count(*) FROM {table}"), &[]);
    Ok(row.doing(|| format!("counting {table}"))?.get::<_, i64>(0) as u64)
}

fn postmaster(postgres: &Postgres) -> Result<u32, LabError> {
    postgres.pid().ok_or_else(|| LabError::failed("PostgreSQL does not run"))
}

fn row(way: &'static str, repetition: u32, rows: u64, seconds: f64, used: Used) -> Result<StoredRow, LabError> {
    if rows != ORDERS {
        return Err(LabError::failed(format!("{way} left {rows} rows of {ORDERS}")));
    }
    let by_row = |us: u64| us as f64 / rows as f64;
    let per_second = rows as f64 / seconds;
    let (program_us, postgres_us, kafka_us) = (by_row(used.program), by_row(used.postgres), by_row(used.kafka));
    Ok(StoredRow { way, repetition, rows, seconds, per_second, program_us, postgres_us, kafka_us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flux_protocol::order::TopicRecord;

    #[test]
    fn records_are_orders_of_one_sale_that_has_room_for_them() {
        let mut ids = std::collections::HashSet::new();
        for number in 0..100 {
            let Ok(TopicRecord::Order(order)) = TopicRecord::parse(&record(number, 1_705_234_700_000)) else {
                panic!("it is an order")
            };
            assert_eq!((order.sale_id, order.sale_total), (1_705_234_700_000, ORDERS));
            assert!(ids.insert(order.order_id) && ids.insert(order.reservation_id));
        }
    }
}
