//! The servers, the worker's own program, and what an edge and an operator do to them.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flux_lab::http_client;
use flux_lab::ports::Port;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions};
use flux_lab::topic::TopicReader;
use flux_protocol::order::{Record, Uuid, order_id};
use flux_test_support::redis::Client;
use flux_test_support::sale::{Options, Order, PLAIN, Sale};

pub(crate) const PRODUCT: &str = "iphone-15";
pub(crate) const INDEX_IS_BUILT: &str =
    "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('orders_by_sale') AND indisvalid";

/// How long anything may take before the test gives up: never what it measures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) redis: Redis,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) topic: TopicReader,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) admin: Port,
    pub(crate) worker: Child,
    pub(crate) log: std::path::PathBuf,
    _run: RunDir,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// The program: as it was built with the test, or for a measurement another one, such as a release build.
pub(crate) fn program() -> String {
    std::env::var("FLUX_WORKER_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_flux-worker").to_owned())
}

impl World {
    pub(crate) fn start() -> World {
        World::start_with(&[])
    }

    /// With these variables beside, for the worker alone.
    pub(crate) fn start_with(for_the_worker: &[(&str, &str)]) -> World {
        let run = RunDir::new().expect("a directory");
        let kafka = Kafka::start(&run, KafkaOptions { heap_mib: 256, ..KafkaOptions::default() }).expect("Kafka");
        kafka.create_topic("orders", 2, 1).expect("a topic");
        let redis = Redis::start(&run, RedisOptions::default()).expect("Redis");
        let postgres =
            Postgres::start(&run, PostgresOptions { fsync: false, ..PostgresOptions::default() }).expect("PostgreSQL");
        postgres.create_database("flux").expect("a database");
        let admin = Port::reserve().expect("a free port");
        let environment = [
            ("FLUX_KAFKA", kafka.bootstrap()),
            ("FLUX_REDIS", redis.url()),
            ("FLUX_POSTGRES", postgres.url("flux")),
            ("FLUX_WORKER_ADMIN", admin.address().to_string()),
        ];
        let environment: Vec<(String, String)> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let log = run.join("worker.log");
        let worker = Command::new(program())
            .envs(environment.iter().cloned())
            .envs(for_the_worker.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("our own program");
        let topic = TopicReader::new(&kafka.bootstrap(), "orders");
        World { redis, kafka, postgres, topic, environment, admin, worker, log, _run: run }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.redis.address().port()).expect("it answers")
    }

    /// The body that the worker's admin listener answers.
    pub(crate) fn get(&self, path: &str) -> String {
        let answer = http_client::request(self.admin.address(), "GET", path, &[], b"", PATIENCE);
        answer.expect("it has stored before").text()
    }

    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics")
    }

    pub(crate) fn wait_for_metric(&self, line: &str) {
        let begun = Instant::now();
        while !self.metrics().lines().any(|found| found == line) {
            assert!(begun.elapsed() < PATIENCE, "{line} is not in {}", self.metrics());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let output = Command::new(program())
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .output()
            .expect("our own program");
        eprintln!("{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        output
    }

    /// A command's exit code and words.
    pub(crate) fn say(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    }

    pub(crate) fn audit(&self) -> (Option<i32>, String) {
        self.say(&["audit", "--product", PRODUCT])
    }

    pub(crate) fn rebuild(&self, more: &[&str]) -> (Option<i32>, String) {
        self.say(&[&["rebuild", "--product", PRODUCT], more].concat())
    }

    pub(crate) fn publish(&self, sale: &Sale, orders: &[Order]) {
        self.publish_to(1, sale, orders);
    }

    pub(crate) fn publish_to(&self, partition: i32, sale: &Sale, orders: &[Order]) {
        let values: Vec<Vec<u8>> = orders
            .iter()
            .map(|order| {
                let mut json = Vec::new();
                Record {
                    order_id: Uuid::parse(order.id.as_bytes()).expect("a UUID"),
                    reservation_id: Uuid::parse(order.reservation.as_bytes()).expect("a UUID"),
                    product_id: PRODUCT,
                    user_id: &order.user,
                    quantity: order.quantity as u16,
                    sale_id: sale.id.parse().expect("a number"),
                    sale_total: 100,
                    generation: sale.generation,
                    timestamp: 1_705_234_800_123,
                }
                .write_json(&mut json);
                json
            })
            .collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        self.topic.append(partition, &values).expect("Kafka takes it");
    }

    /// A record that nobody of ours wrote: an order of `product` in a sale that nobody opened.
    pub(crate) fn publish_stray(&self, product: &str, sale_id: u64) {
        self.publish_stray_again(product, sale_id, 0);
    }

    /// The same, as another reservation of the same order where `round` is another.
    pub(crate) fn publish_stray_again(&self, product: &str, sale_id: u64, round: u8) {
        let order = Uuid([sale_id as u8; 16]);
        let mut reservation = order;
        reservation.0[0] ^= round;
        let mut json = Vec::new();
        Record {
            order_id: order,
            reservation_id: reservation,
            product_id: product,
            user_id: "stranger",
            quantity: 2,
            sale_id,
            sale_total: 1_000_000,
            generation: 1,
            timestamp: 1_705_234_800_123,
        }
        .write_json(&mut json);
        self.topic.append(1, &[&json]).expect("Kafka takes it");
    }

    /// A sale of 100 units, as an edge opens one.
    pub(crate) fn open(&self, client: &mut Client) -> Sale {
        let sale = Sale::open(client, PRODUCT, &Options { total: 100, ..PLAIN });
        client.command(&["SADD", "flux:products", PRODUCT]);
        self.wait_for("SELECT count(*) FROM sales", 0);
        self.publish_event(&sale, "sale-opened", 0);
        sale
    }

    /// The edge's whole part: reserved, in the log, gone from the outbox.
    pub(crate) fn sell(&self, client: &mut Client, sale: &Sale, orders: &[Order]) {
        let entry = sale.reserve(client, orders)[0][1..].to_owned();
        self.publish(sale, orders);
        client.command(&["XDEL", &sale.key("outbox"), &entry]);
    }

    /// Reserved, and gone from the outbox although nothing is in the log yet.
    pub(crate) fn reserve_and_forget(&self, client: &mut Client, sale: &Sale, orders: &[Order]) {
        let entry = sale.reserve(client, orders)[0][1..].to_owned();
        client.command(&["XDEL", &sale.key("outbox"), &entry]);
    }

    pub(crate) fn publish_event(&self, sale: &Sale, event: &str, withdrawn: u64) {
        self.publish_event_of(PRODUCT, sale, event, withdrawn);
    }

    pub(crate) fn publish_event_of(&self, product: &str, sale: &Sale, event: &str, withdrawn: u64) {
        let json = format!(
            "{{\"event\":\"{event}\",\"productId\":\"{product}\",\"saleId\":{},\"saleTotal\":100,\"generation\":{},\
             \"withdrawn\":{withdrawn},\"rate\":0,\"burst\":100,\"seed\":\"{}\",\"timestamp\":1705234700000}}",
            sale.id,
            sale.generation,
            "5e".repeat(32),
        );
        self.topic.append(0, &[json.as_bytes()]).expect("Kafka takes it");
    }

    /// What the ledger answers to a question for one number; -1 before there is a table.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let mut client = self.postgres.client("flux").expect("a connection");
        client.query_one(sql, &[]).map_or(-1, |row| row.get(0))
    }

    /// To the worker's own process.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.worker.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// The most memory that the worker ever had, KiB.
    pub(crate) fn peak_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub(crate) fn wait_for_at_least(&self, sql: &str, number: i64) {
        let begun = Instant::now();
        while self.number(sql) < number {
            assert!(begun.elapsed() < PATIENCE, "{sql} never gave {number}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn wait_for(&self, sql: &str, number: i64) {
        let begun = Instant::now();
        while self.number(sql) != number {
            assert!(begun.elapsed() < PATIENCE, "{sql} never gave {number}, but {}", self.number(sql));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Orders of `user` whose ids are true ones; `round` makes the reservations different.
pub(crate) fn orders(sale: &Sale, user: &str, quantities: &[u64], round: u8) -> Vec<Order> {
    let order = |(n, quantity): (usize, &u64)| {
        let key = format!("key-{n}");
        let id = order_id(PRODUCT.as_bytes(), sale.id.parse().expect("a number"), user.as_bytes(), key.as_bytes());
        let mut reservation = id.0;
        reservation[0] ^= round;
        Order {
            reservation: Uuid(reservation).to_string(),
            quantity: *quantity,
            id: id.to_string(),
            user: user.to_owned(),
            slot: None,
        }
    };
    quantities.iter().enumerate().map(order).collect()
}

pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}
