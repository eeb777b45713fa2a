//! Server control against the real servers: what a restart keeps, what a kill does, what a pause does.

use flux_lab::control::Controlled;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Data, Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions};
use flux_lab::topic::TopicReader;

fn info(redis: &Redis, field: &str) -> String {
    let text: String = redis::cmd("INFO").query(&mut redis.connection().unwrap()).unwrap();
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap().trim().to_owned()
}

fn get(redis: &Redis, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query(&mut redis.connection().unwrap()).unwrap()
}

#[test]
fn redis_keeps_or_loses_its_data_as_asked() {
    let run = RunDir::new().unwrap();
    let mut redis = Redis::start(&run, RedisOptions::default()).unwrap();
    let set = |redis: &Redis| redis::cmd("SET").arg("k").arg("v").exec(&mut redis.connection().unwrap()).unwrap();
    set(&redis);
    let by_socket = redis::Client::open(redis.socket_url()).unwrap();
    let value: String = redis::cmd("GET").arg("k").query(&mut by_socket.get_connection().unwrap()).unwrap();
    assert_eq!(value, "v");

    let run_id = info(&redis, "run_id");
    redis.restart(Data::Keep).unwrap();
    assert_eq!(get(&redis, "k").as_deref(), Some("v"));
    assert_ne!(info(&redis, "run_id"), run_id);
    redis.restart(Data::Lose).unwrap();
    assert_eq!(get(&redis, "k"), None);

    set(&redis);
    redis.kill();
    assert!(!redis.is_running());
    redis.up().unwrap();
    assert_eq!(get(&redis, "k"), None, "without an append-only file a killed Redis is empty");

    redis.pause().unwrap();
    redis.resume();
    set(&redis);
    redis.stop().unwrap();
    assert!(redis.connection().is_err());
}

#[test]
fn redis_with_an_append_only_file_survives_a_kill() {
    let run = RunDir::new().unwrap();
    let arguments = vec!["--appendfsync".to_owned(), "always".to_owned()];
    let mut redis =
        Redis::start(&run, RedisOptions { append_only: true, arguments, ..RedisOptions::default() }).unwrap();
    redis::cmd("SET").arg("k").arg("v").exec(&mut redis.connection().unwrap()).unwrap();
    redis.kill();
    redis.up().unwrap();
    assert_eq!(get(&redis, "k").as_deref(), Some("v"));
}

#[test]
fn postgres_recovers_after_a_kill_and_starts_anew_when_asked() {
    let run = RunDir::new().unwrap();
    let mut postgres = Postgres::start(&run, PostgresOptions { fsync: false, ..Default::default() }).unwrap();
    postgres.create_database("lab").unwrap();
    assert!(postgres.create_database("no\"name").is_err());
    let mut client = postgres.client("lab").unwrap();
    client.batch_execute("CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000)").unwrap();
    let count =
        |client: &mut postgres::Client| client.query_one("SELECT count(*) FROM t", &[]).unwrap().get::<_, i64>(0);

    postgres.kill();
    assert!(client.query_one("SELECT 1", &[]).is_err());
    postgres.up().unwrap();
    let mut client = postgres::Client::connect(&postgres.socket_url("lab"), postgres::NoTls).unwrap();
    assert_eq!(count(&mut client), 1000);

    postgres.pause().unwrap();
    postgres.resume();
    assert_eq!(count(&mut client), 1000);
    postgres.restart(Data::Keep).unwrap();
    assert_eq!(count(&mut postgres.client("lab").unwrap()), 1000);
    postgres.restart(Data::Lose).unwrap();
    assert!(postgres.client("lab").is_err());
    postgres.client("postgres").unwrap();
}

#[test]
fn kafka_keeps_its_log_over_a_kill_and_the_reader_sees_every_record() {
    let run = RunDir::new().unwrap();
    let mut kafka = Kafka::start(&run, KafkaOptions::default()).unwrap();
    assert!(TopicReader::new(&kafka.bootstrap(), "t").read().is_err(), "topics do not make themselves");
    kafka.create_topic("t", 3, 1).unwrap();
    kafka.create_topic("t", 3, 1).unwrap();
    let mut reader = TopicReader::new(&kafka.bootstrap(), "t");
    assert_eq!(reader.partition_count().unwrap(), 3);
    assert!(reader.read().unwrap().is_empty());
    reader.append(0, &[b"a", b"b"]).unwrap();
    reader.append(2, &[b"c"]).unwrap();
    let seen: Vec<_> = reader.read().unwrap().into_iter().map(|r| (r.partition, r.offset, r.value.to_vec())).collect();
    assert_eq!(seen, [(0, 0, b"a".to_vec()), (0, 1, b"b".to_vec()), (2, 0, b"c".to_vec())]);
    assert!(reader.read().unwrap().is_empty());

    let id = reader.topic_id().unwrap();
    kafka.kill();
    assert!(reader.read().is_err());
    kafka.up().unwrap();
    reader.append(2, &[b"d"]).unwrap();
    let seen: Vec<_> = reader.read().unwrap().into_iter().map(|r| (r.partition, r.offset, r.value.to_vec())).collect();
    assert_eq!(seen, [(2, 1, b"d".to_vec())]);
    assert_eq!(TopicReader::new(&kafka.bootstrap(), "t").read().unwrap().len(), 4);

    kafka.pause().unwrap();
    kafka.resume();
    assert_eq!(reader.topic_id().unwrap(), id);
    kafka.restart(Data::Lose).unwrap();
    assert!(reader.read().is_err(), "the topic is gone with the data");
    kafka.stop().unwrap();
}

/// Three JVMs: too much for every run, `--ignored` runs it.
#[test]
#[ignore = "three brokers take a minute and two gigabytes"]
fn a_cluster_of_three_goes_on_without_one() {
    let run = RunDir::new().unwrap();
    let mut kafka = Kafka::start(&run, KafkaOptions { brokers: 3, ..KafkaOptions::default() }).unwrap();
    kafka.create_topic("t", 3, 3).unwrap();
    let mut reader = TopicReader::new(&kafka.bootstrap(), "t");
    for partition in 0..3 {
        reader.append(partition, &[b"before"]).unwrap();
    }
    kafka.broker(2).kill();
    // A leader is elected when the dead one is fenced; until then the reader cannot reach every partition.
    let records = loop {
        if let Ok(records) = reader.read() {
            break records;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    assert_eq!(records.len(), 3);
    for partition in 0..3 {
        reader.append(partition, &[b"after"]).unwrap();
    }
    kafka.broker(2).up().unwrap();
    assert_eq!(reader.read().unwrap().len(), 3);
}

#[test]
fn a_killed_postgres_leaves_no_shared_memory_behind() {
    let run = RunDir::new().unwrap();
    let mut postgres = Postgres::start(&run, PostgresOptions { fsync: false, ..Default::default() }).unwrap();
    postgres.kill();
    let data = std::fs::read_dir(run.path()).unwrap().flatten().find(|entry| entry.path().join("data").is_dir());
    let lock = std::fs::read_to_string(data.unwrap().path().join("data/postmaster.pid")).unwrap();
    let segment = lock.lines().nth(6).unwrap().split_ascii_whitespace().nth(1).unwrap().to_owned();
    let exists = || {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        table.lines().any(|line| line.split_ascii_whitespace().nth(1) == Some(&segment))
    };
    assert!(exists());
    drop(postgres);
    assert!(!exists());
}
