//! Audit, rebuild and returns over real servers, with the worker's own program storing meanwhile.
//!
//! The edge's part is played by its scripts: they reserve, and the test publishes what an edge would have published.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flux_lab::http_client;
use flux_lab::ports::Port;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions};
use flux_lab::topic::TopicReader;
use flux_protocol::order::{Record, Uuid, order_id};
use flux_test_support::records;
use flux_test_support::redis::{self as server, Client, strings};
use flux_test_support::sale::{Options, Order, PLAIN, Sale, init_reply};

const PRODUCT: &str = "iphone-15";
const INDEX_IS_BUILT: &str =
    "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('orders_by_sale') AND indisvalid";
/// How long anything may take before the test gives up: never what it measures.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    redis: Redis,
    kafka: Kafka,
    postgres: Postgres,
    topic: TopicReader,
    environment: Vec<(String, String)>,
    admin: Port,
    worker: Child,
    log: std::path::PathBuf,
    _run: RunDir,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// The program: as it was built with the test, or for a measurement another one, such as a release build.
fn program() -> String {
    std::env::var("FLUX_WORKER_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_flux-worker").to_owned())
}

impl World {
    fn start() -> World {
        World::start_with(&[])
    }

    /// With these variables beside, for the worker alone.
    fn start_with(for_the_worker: &[(&str, &str)]) -> World {
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

    fn client(&self) -> Client {
        Client::connect(self.redis.address().port()).expect("it answers")
    }

    /// The body that the worker's admin listener answers.
    fn get(&self, path: &str) -> String {
        let answer = http_client::request(self.admin.address(), "GET", path, &[], b"", PATIENCE);
        answer.expect("it has stored before").text()
    }

    fn metrics(&self) -> String {
        self.get("/metrics")
    }

    fn wait_for_metric(&self, line: &str) {
        let begun = Instant::now();
        while !self.metrics().lines().any(|found| found == line) {
            assert!(begun.elapsed() < PATIENCE, "{line} is not in {}", self.metrics());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let output = Command::new(program())
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .output()
            .expect("our own program");
        eprintln!("{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        output
    }

    /// A command's exit code and words.
    fn say(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    }

    fn audit(&self) -> (Option<i32>, String) {
        self.say(&["audit", "--product", PRODUCT])
    }

    fn rebuild(&self, more: &[&str]) -> (Option<i32>, String) {
        self.say(&[&["rebuild", "--product", PRODUCT], more].concat())
    }

    fn publish(&self, sale: &Sale, orders: &[Order]) {
        self.publish_to(1, sale, orders);
    }

    fn publish_to(&self, partition: i32, sale: &Sale, orders: &[Order]) {
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
    fn publish_stray(&self, product: &str, sale_id: u64) {
        self.publish_stray_again(product, sale_id, 0);
    }

    /// The same, as another reservation of the same order where `round` is another.
    fn publish_stray_again(&self, product: &str, sale_id: u64, round: u8) {
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
    fn open(&self, client: &mut Client) -> Sale {
        let sale = Sale::open(client, PRODUCT, &Options { total: 100, ..PLAIN });
        client.command(&["SADD", "flux:products", PRODUCT]);
        self.wait_for("SELECT count(*) FROM sales", 0);
        self.publish_event(&sale, "sale-opened", 0);
        sale
    }

    /// The edge's whole part: reserved, in the log, gone from the outbox.
    fn sell(&self, client: &mut Client, sale: &Sale, orders: &[Order]) {
        let entry = sale.reserve(client, orders)[0][1..].to_owned();
        self.publish(sale, orders);
        client.command(&["XDEL", &sale.key("outbox"), &entry]);
    }

    /// Reserved, and gone from the outbox although nothing is in the log yet.
    fn reserve_and_forget(&self, client: &mut Client, sale: &Sale, orders: &[Order]) {
        let entry = sale.reserve(client, orders)[0][1..].to_owned();
        client.command(&["XDEL", &sale.key("outbox"), &entry]);
    }

    fn publish_event(&self, sale: &Sale, event: &str, withdrawn: u64) {
        self.publish_event_of(PRODUCT, sale, event, withdrawn);
    }

    fn publish_event_of(&self, product: &str, sale: &Sale, event: &str, withdrawn: u64) {
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
    fn number(&self, sql: &str) -> i64 {
        let mut client = self.postgres.client("flux").expect("a connection");
        client.query_one(sql, &[]).map_or(-1, |row| row.get(0))
    }

    /// To the worker's own process.
    fn signal(&self, name: &str) {
        let pid = self.worker.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// The most memory that the worker ever had, KiB.
    fn peak_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.worker.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn wait_for_at_least(&self, sql: &str, number: i64) {
        let begun = Instant::now();
        while self.number(sql) < number {
            assert!(begun.elapsed() < PATIENCE, "{sql} never gave {number}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for(&self, sql: &str, number: i64) {
        let begun = Instant::now();
        while self.number(sql) != number {
            assert!(begun.elapsed() < PATIENCE, "{sql} never gave {number}, but {}", self.number(sql));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Orders of `user` whose ids are true ones; `round` makes the reservations different.
fn orders(sale: &Sale, user: &str, quantities: &[u64], round: u8) -> Vec<Order> {
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

#[test]
fn a_sale_lives_through_what_redis_loses() {
    let mut world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);

    // Three orders stored and gone from the outbox, two in the log and in the outbox, two in the outbox alone.
    let stored = orders(&sale, "ann", &[1, 2, 3], 1);
    world.sell(&mut client, &sale, &stored);
    let logged = orders(&sale, "bob", &[4, 5], 1);
    sale.reserve(&mut client, &logged);
    world.publish(&sale, &logged);
    let left = orders(&sale, "cid", &[6, 7], 1);
    sale.reserve(&mut client, &left);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 15);
    let (code, said) = world.audit();
    assert!(said.contains("total 100 = available 72 + reserved 13 + stored 15 +") && said.contains("holds"), "{said}");
    assert!(said.contains(&format!("order {} (6 units", left[0].id)), "what stands in the way is named: {said}");
    assert_eq!(code, Some(0));

    // A second reservation of a stored order, whose record is gone: its units come back within seconds.
    client.command(&["HDEL", &sale.records_key(), &stored[0].id]);
    let again = orders(&sale, "ann", &[1], 2);
    let entry = sale.reserve(&mut client, &again)[0][1..].to_owned();
    assert_eq!(sale.stock(&mut client), 71);
    world.publish(&sale, &again);
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 72);

    // Redis comes back with an older snapshot: the last orders are lost to it, and one entry too many is there.
    client.run("SAVE");
    let lost = orders(&sale, "dan", &[8], 1);
    world.sell(&mut client, &sale, &lost);
    world.redis.kill();
    world.redis.up().expect("Redis comes back");
    let mut client = world.client();
    assert_eq!(sale.stock(&mut client), 72, "it has forgotten the last order");
    assert_eq!(sale.codes(&mut client, &orders(&sale, "eve", &[1], 1)), ["Sreplid"]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("suspended"), "{said}");

    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("open again as generation 2: 64 of 100 units left, 36 sold"), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    assert_eq!(rebuilt.refresh(&mut client, true).state(), ("open", ""));
    assert_eq!(rebuilt.stock(&mut client), 64);
    // A key is good through a rebuild, also for the order that Redis had lost; an edge's older copy is told.
    let replay = rebuilt.codes(&mut client, &[lost[0].clone(), left[1].clone(), stored[0].clone()]);
    let code_of = |order: &Order| format!("R{} {} 1", order.reservation, order.quantity);
    assert_eq!(replay, ["M".to_owned(), code_of(&lost[0]), code_of(&left[1]), code_of(&stored[0])]);
    assert_eq!(sale.codes(&mut client, &lost), ["G"]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("total 100 = available 64 + reserved 0 + stored 36 +"), "{said}");

    // It loses everything, and had a replica that somebody noted.
    client.command(&["HSET", &sale.key("sale"), "replica", "1"]);
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--old-master-is-dead"), "{said}");
    client.run("FLUSHALL");
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = world.rebuild(&["--old-master-is-dead"]);
    assert_eq!(code, Some(0), "{said}");
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    assert_eq!(rebuilt.codes(&mut client, &[lost[0].clone()]), ["M".to_owned(), code_of(&lost[0])]);
    assert_eq!(rebuilt.codes(&mut client, &orders(&rebuilt, "eve", &[64], 1)), ["A"]);
    let (code, said) = world.audit();
    assert!(said.contains("available 0 + reserved 64 + stored 36"), "{said}");
    assert_eq!(code, Some(0), "{said}");

    // Closed before it is lost: it comes back closed, and what was left is withdrawn. Eve's order was in the outbox.
    rebuilt.close(&mut client);
    let closed_at = |client: &mut Client| server::text(client.command(&["HGET", &sale.key("sale"), "closed_at"]));
    let since = closed_at(&mut client);
    assert!(!since.is_empty());
    client.command(&["DEL", &sale.key("users")]);
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("is closed again as generation 4: 0 of 100 units left, 100 sold, 0 withdrawn; 1 orders"),
        "{said}"
    );
    assert_eq!(closed_at(&mut client), since, "closed since then: by that it leaves registry and memory");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// The one way in which a 200 can end otherwise: Redis lost a reservation, and Kafka got its record only after a rebuild
/// had looked, and the unit was sold again.
/// An edge that has never heard of the sale would call it unknown, and let another be opened over it.
#[test]
fn a_sale_that_redis_lost_is_suspended_for_everybody_until_it_is_rebuilt() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[2], 1));
    world.wait_for("SELECT count(*) FROM orders", 1);
    world.publish_stray("nobody-s", 7);
    world.wait_for("SELECT count(*) FROM sales WHERE product_id = 'nobody-s'", 1);
    client.run("FLUSHALL");
    wait_until(|| sale.refresh(&mut client, true).state() == ("suspended", "sale"));
    assert_eq!(strings(init_reply(&mut client, PRODUCT, &PLAIN)), ["S", "sale"]);
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("Redis does not hold this sale: its stock is lost"), "{said}");
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""));
    assert_eq!(server::text(client.run("EXISTS product:{nobody-s}:sale")), "0", "orders alone stop nobody's sale");

    // The earlier of two is not put in place of the one that sells.
    let later = Sale::open(&mut client, PRODUCT, &Options { total: 100, force: true, ..PLAIN });
    world.publish_event(&later, "sale-opened", 0);
    world.wait_for("SELECT count(*) FROM sales WHERE rate IS NOT NULL", 2);
    // Redis alone knows yet how the one before ended, and of the other nothing was bought.
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for account in [
        "total 100 = available 0 + reserved 0 + stored 2 + dead-lettered 0 + awaiting return 0 + withdrawn 98: holds",
        "total 100 = available 100 + reserved 0 + stored 0 + dead-lettered 0 + awaiting return 0 + withdrawn 0: holds",
    ] {
        assert!(said.contains(account), "{account} is not in {said}");
    }
    let (code, said) = world.rebuild(&["--sale", &sale.id, "--close"]);
    assert!(code != Some(0) && said.contains("Redis holds a later sale of this product"), "{code:?} {said}");
    assert_eq!(later.refresh(&mut client, true).state(), ("open", ""));
}

#[test]
fn what_redis_lost_and_others_bought_meanwhile_is_rejected_counted_and_named() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    let lost = orders(&sale, "ann", &[1], 1);
    sale.reserve(&mut client, &lost);
    let outbox = sale.key("outbox");
    let fields = ["EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')[1][2]", "1", &outbox];
    let entry = strings(client.command(&fields));
    client.run("FLUSHALL");
    world.wait_for("SELECT count(*) FROM sales", 1);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("100 of 100 units left"), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let others = orders(&rebuilt, "bob", &[50, 50], 1);
    world.sell(&mut client, &rebuilt, &others);
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 100);
    world.publish(&sale, &lost);
    world.wait_for("SELECT count(*) FROM rejected WHERE reason = 'no_room'", 1);
    assert_eq!(world.number("SELECT coalesce(sum(quantity), 0)::bigint FROM orders"), 100, "nothing is oversold");
    // Counted, where alarms look.
    world.wait_for_metric("flux_units{product=\"iphone-15\",state=\"rejected\"} 1");
    world.wait_for_metric("flux_worker_rejected_total 1");
    world.wait_for_metric("flux_conservation_breach{product=\"iphone-15\"} 0");
    // Said to the operator who asks for it, and in the account.
    let told = world.get(&format!("/order/{PRODUCT}/{}", lost[0].id));
    assert!(told.contains("\"status\":\"rejected\"") && told.contains("no_room"), "{told}");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("rejected for want of room 1"), "{said}");
    // Its entry may stand in the outbox still: it is settled all the same, and its unit reserved for nobody.
    let again: Vec<&str> = ["XADD", &outbox, "*"].into_iter().chain(entry.iter().map(String::as_str)).collect();
    client.command(&again);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("available 0 + reserved 0 + stored 100 +"), "{said}");

    // Whoever repeats it after another loss gets the order that they were promised, and not a second one.
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("0 of 100 units left, 100 sold"), "{said}");
    let rebuilt = Sale { generation: 3, ..sale.clone() };
    let again = Order { reservation: Uuid([9; 16]).to_string(), ..lost[0].clone() };
    assert_eq!(rebuilt.codes(&mut client, &[again]), ["M".to_owned(), format!("R{} 1 1", lost[0].reservation)]);
}

/// Every state that units can be in, as metrics and audit tell it, through a rebuild of an open sale and of a closed one.
#[test]
fn every_unit_is_counted_in_one_state_whatever_is_rebuilt() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    // Built in the background: PostgreSQL ends one of the two where the table is altered meanwhile.
    world.wait_for(INDEX_IS_BUILT, 1);
    in_postgres.batch_execute("ALTER TABLE orders ADD CHECK (user_id <> 'eve')").expect("an order it will not take");
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[10], 1));
    world.sell(&mut client, &sale, &orders(&sale, "eve", &[7], 1));
    world.wait_for("SELECT count(*) FROM dead_letters", 1);
    let units = |state: &str, number: u64| {
        world.wait_for_metric(&format!("flux_units{{product=\"{PRODUCT}\",state=\"{state}\"}} {number}"));
    };
    units("stored", 10);
    units("dead_lettered", 7);
    units("available", 83);

    // A second reservation of a stored order, when nothing can be given back: the sale is suspended.
    let again = orders(&sale, "ann", &[10], 2);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    let entry = sale.reserve(&mut client, &again)[0][1..].to_owned();
    client.command(&["HSET", &sale.key("sale"), "state", "suspended", "was", "open"]);
    world.publish(&sale, &again);
    units("awaiting_return", 10);
    let (code, said) = world.audit();
    assert_eq!(code, Some(1), "{said}");
    let Order { id, reservation, .. } = &again[0];
    for named in [
        format!("10 units of order {id}'s second reservation {reservation} await return"),
        "partition 1 offset 1 is a dead letter: ".to_owned(),
        // Once each: the entry in the outbox is of what awaits its return.
        "reserved 0 + stored 10 + dead-lettered 7 + awaiting return 10".to_owned(),
    ] {
        assert!(said.contains(&named), "{named} is not in {said}");
    }
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("83 of 100 units left, 10 sold, 0 withdrawn"), "{said}");
    let eve = &orders(&sale, "eve", &[7], 1)[0];
    let again = Order { reservation: Uuid([9; 16]).to_string(), ..eve.clone() };
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let found = format!("R{} 7 1", eve.reservation);
    assert_eq!(rebuilt.codes(&mut client, &[again]), ["M", &*found], "what was set aside is not reserved again");
    units("awaiting_return", 0);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");

    // Another one, whose sale is closed by the time it could be given back.
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    let again = orders(&sale, "ann", &[10], 3);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    world.reserve_and_forget(&mut client, &rebuilt, &again);
    rebuilt.close(&mut client);
    world.publish_event(&rebuilt, "sale-closed", 73);
    units("withdrawn", 73);
    world.publish(&rebuilt, &again);
    units("withdrawn", 83);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("awaiting return 0 + withdrawn 83"), "{said}");

    // It is lost and comes back closed: what came back to it is withdrawn once, not twice.
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(
        code == Some(0) && said.contains("is closed again as generation 3: 0 of 100 units left, 10 sold, 83 withdrawn"),
        "{said}"
    );
    let since = server::text(client.command(&["HGET", &sale.key("sale"), "closed_at"]));
    assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "closed since when: {since:?}");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("awaiting return 0 + withdrawn 83"), "{said}");
    for (state, number) in
        [("total", 100), ("stored", 10), ("dead_lettered", 7), ("withdrawn", 83), ("available", 0), ("reserved", 0)]
    {
        units(state, number);
    }
    in_postgres.batch_execute("ALTER TABLE orders DROP CONSTRAINT orders_user_id_check").expect("what was in its way");
    let (code, said) = world.say(&["dead-letters", "replay"]);
    assert!(code == Some(0) && said.contains("1 orders stored"), "{said}");
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("stored 17 + dead-lettered 0"), "{said}");
}

/// A sale is over, and Redis loses a reservation of it that no log has: nobody can buy it any more, and a rebuild of the sale that
/// is says so. Before it did, the account of the sale before stayed short for ever.
#[test]
fn what_redis_lost_of_a_sale_that_was_over_is_withdrawn() {
    let world = World::start();
    let mut client = world.client();
    let before = world.open(&mut client);
    world.sell(&mut client, &before, &orders(&before, "ann", &[10], 1));
    world.reserve_and_forget(&mut client, &before, &orders(&before, "bob", &[5], 1));
    let sale = Sale::open(&mut client, PRODUCT, &Options { total: 100, force: true, ..PLAIN });
    // 85 were left when it was replaced.
    world.publish_event(&before, "sale-closed", 85);
    world.publish_event(&sale, "sale-opened", 0);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT count(*) FROM orders", 2);
    let (code, said) = world.audit();
    assert!(code == Some(1) && said.contains("DOES NOT HOLD, 5 units missing"), "{said}");

    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("97 of 100 units left, 3 sold"), "{said}");
    assert!(said.contains("what 1 earlier sales had lost is withdrawn"), "{said}");
    let (code, said) = world.audit();
    assert!(
        code == Some(0) && said.contains("stored 10 + dead-lettered 0 + awaiting return 0 + withdrawn 90"),
        "{said}"
    );
    // What is late of it is not believed of its units.
    world.publish_event(&before, "sale-closed", 85);
    world.sell(&mut client, &Sale { generation: 2, ..sale.clone() }, &orders(&sale, "cid", &[1], 1));
    // Four events and three orders.
    world.wait_for("SELECT sum(next_offset)::bigint FROM offsets", 7);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");

    // Redis remembers how it ended, and not that it was withdrawn since.
    let note = r#"{"total":100,"withdrawn":85,"closedAt":1705234700000,"generation":1}"#;
    client.command(&["HSET", &sale.key("sales"), &before.id, note]);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    client.command(&["DEL", &sale.key("users")]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && !said.contains("earlier sales"), "it is settled: {said}");
}

#[test]
fn returns_that_have_to_wait_keep_no_others_waiting_and_a_redis_behind_the_ledger_is_named() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales", 1);
    // More than one page of a product that Redis has never heard of, noted before and sorted before.
    let mut ledger = world.postgres.client("flux").expect("a connection");
    let note = "INSERT INTO returns (reservation_id, order_id, product_id, sale_id, generation, quantity, user_id, noted_at)
        SELECT ('00000000-0000-8000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(), 'nowhere', 1, 1, 1, 'u',
        now() - interval '1 hour' FROM generate_series(1, 1100) n";
    ledger.batch_execute(note).expect("a table");
    // One more of a product whose sale cannot be believed.
    client.command(&["HSET", "product:{suspended}:sale", "id", "1"]);
    let one = note.replace("'nowhere'", "'suspended'").replace("-8000-8000-", "-8000-8001-").replace("1100", "1");
    ledger.batch_execute(&one).expect("a table");
    let stored = orders(&sale, "ann", &[1, 2, 3], 1);
    world.sell(&mut client, &sale, &stored);
    client.command(&["HDEL", &sale.records_key(), &stored[1].id]);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[1, 2, 3], 2)[1..2]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 94);
    assert_eq!(world.number("SELECT count(*) FROM returns WHERE state = 'pending'"), 1101);
    // And the operator is told how many wait, for whatever reason.
    wait_until(|| {
        std::fs::read_to_string(&world.log)
            .expect("a log")
            .contains("returned: 1, absorbed: 0, withdrawn: 0, unfounded: 0, waiting: 1101")
    });

    // An old master that woke: Redis holds an earlier generation than the ledger.
    world.wait_for_metric(&format!("flux_redis_behind_ledger{{product=\"{PRODUCT}\"}} 0"));
    ledger.batch_execute("UPDATE sales SET generation = 2").expect("a table");
    world.wait_for_metric(&format!("flux_redis_behind_ledger{{product=\"{PRODUCT}\"}} 1"));
}

/// Pointed at a replica, or at a Redis that takes no writes, a rebuild ends before anything is raised: what is said of the
/// sale afterwards, such as its close, counts.
#[test]
fn a_rebuild_that_cannot_be_written_changes_nothing() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT coalesce(sum(quantity), 0)::bigint FROM orders", 3);
    client.run("CONFIG SET maxmemory 1");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(1) && said.contains("OOM"), "{said}");
    client.run("CONFIG SET maxmemory 0");
    client.run("REPLICAOF 127.0.0.1 1");
    let (code, said) = world.rebuild(&["--old-master-is-dead"]);
    assert!(code == Some(1) && said.contains("this Redis is a replica"), "{said}");
    client.run("REPLICAOF NO ONE");
    assert_eq!(world.number("SELECT max(greatest(raised, generation))::bigint FROM sales"), 1, "nothing was raised");

    // It is closed, and the close of generation 1 counts whatever number a rebuild that died has taken meanwhile.
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    in_postgres.batch_execute("UPDATE sales SET raised = 7").expect("as by a rebuild that died");
    world.publish_event(&sale, "sale-closed", 97);
    world.wait_for("SELECT count(*) FROM sales WHERE state = 'closed' AND withdrawn = 97", 1);
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("is closed again as generation 8: 0 of 100 units left"), "{said}");
}

/// A sale whose opening event never came: what it was opened with is taken from Redis where that knows it, and else refused by
/// name until somebody says it.
#[test]
fn what_nobody_knows_of_a_sale_is_refused_by_name() {
    let world = World::start();
    let mut client = world.client();
    let sale = Sale::open(&mut client, PRODUCT, &Options { total: 100, rate: 50, per_user: 9, ..PLAIN });
    world.wait_for("SELECT count(*) FROM sales", 0);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    world.wait_for("SELECT count(*) FROM orders", 1);
    let options = |client: &mut Client| {
        let fields = ["HMGET", &sale.key("sale"), "rate", "burst", "per_user", "opens_at", "queue"];
        server::strings(client.command(&fields))
    };
    let opened_with = options(&mut client);
    client.command(&["DEL", &sale.key("stock")]);
    let (code, said) = world.rebuild(&[]);
    assert!(code == Some(0) && said.contains("97 of 100 units left"), "{said}");
    assert_eq!(options(&mut client), opened_with, "Redis knew");

    // The rebuild has written them into the ledger; as if it had not:
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    let forget =
        "UPDATE sales SET rate = NULL, burst = NULL, seed = NULL, per_user = NULL, opens_at = NULL, queue = NULL";
    in_postgres.batch_execute(forget).expect("it forgets");
    client.run("FLUSHALL");
    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("say --rate, --burst, --per-user, --opens-at, --queue"), "{said}");
    let (code, said) = world.rebuild(&["--rate", "50", "--burst", "50"]);
    assert!(code == Some(1) && said.contains("say --per-user, --opens-at, --queue, as it was"), "{said}");
    let rest = ["--burst", "60", "--per-user", "9", "--opens-at", "2024-01-14T12:20:00Z", "--queue", "retry"];
    let (code, said) = world.rebuild(&[&["--rate", "50"], &rest[..]].concat());
    assert!(code == Some(0) && said.contains("97 of 100 units left"), "{said}");
    assert_eq!(options(&mut client), ["50", "60", "9", "1705234800000", "retry"]);
    // And the ledger is told, for the next time.
    let opens_at = "SELECT (extract(epoch FROM opens_at) * 1000)::bigint FROM sales";
    assert_eq!(world.number(opens_at), 1_705_234_800_000);
    let (code, said) = world.rebuild(&["--rate", "51"]);
    assert!(code == Some(1) && said.contains("was opened with --rate 50; that does not change"), "{said}");
}

/// A stray record names a later sale than the one that Redis and an event know: it replaces nothing, whichever command asks for it, and
/// is named by the audit without an alarm. Where nobody knows a sale of the product, an operator ends what the record opened.
#[test]
fn a_sale_that_only_an_order_opened_replaces_nothing_and_can_be_ended() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let (later, earlier) = (sale.id.parse::<u64>().expect("a number") + 1, 77);
    world.publish_stray(PRODUCT, later);
    world.publish_stray(PRODUCT, earlier);
    world.wait_for("SELECT count(*) FROM orders", 3);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for stray in [later, earlier] {
        let line = format!("{PRODUCT} sale {stray} generation 1 (unannounced)");
        assert!(said.contains(&line) && said.contains("nobody opened it"), "{said}");
    }

    let (code, said) = world.rebuild(&["--sale", &later.to_string()]);
    assert!(code == Some(1) && said.contains(&format!("nobody opened sale {later}")), "{said}");
    assert_eq!(sale.refresh(&mut client, true).state(), ("open", ""), "Redis goes on");
    client.command(&["DEL", &sale.key("users")]);
    assert_eq!(sale.refresh(&mut client, true).state(), ("suspended", "users"));
    let (_, said) = world.audit();
    let line = format!("{PRODUCT} sale {earlier} generation 1 (unannounced)");
    assert!(said.contains(&line), "a suspended sale makes no stray one an earlier sale of 99 missing units: {said}");
    let (code, said) = world.rebuild(&[]);
    let line = format!("sale {} is open again as generation 2: 97 of 100 units left", sale.id);
    assert!(code == Some(0) && said.contains(&line), "{said}");

    // Of a product that nobody knows.
    let stray = |more: &[&str]| world.say(&[&["rebuild", "--product", "ghost"], more].concat());
    world.publish_stray("ghost", 78);
    world.wait_for("SELECT count(*) FROM orders", 4);
    let (code, said) = world.say(&["audit"]);
    assert!(code == Some(1) && said.contains("Redis does not hold this sale"), "it may be one that was lost: {said}");
    let (code, said) = stray(&[]);
    assert!(code == Some(1) && said.contains("say --rate"), "{said}");
    let (code, said) = stray(&["--close"]);
    assert!(
        code == Some(0) && said.contains("sale 78 is closed again as generation 2: 0 of 1000000 units left"),
        "{said}"
    );
    let (code, said) = world.say(&["audit"]);
    assert_eq!(code, Some(0), "{said}");
}

/// Redis has lost everything, and an order names a later sale than the last that was announced: stray, or of a sale whose opening event
/// was lost as well. Only an operator knows. The refusal prints the ways out, and each of them, as it is printed, leads to its end.
#[test]
fn the_ways_out_of_a_stray_later_sale_are_printed_and_lead_to_their_end() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let stray = sale.id.parse::<u64>().expect("a number") + 1;
    world.publish_stray(PRODUCT, stray);
    world.wait_for("SELECT count(*) FROM orders", 2);
    client.run("FLUSHALL");
    let is_marked = || {
        let (code, said) = world.audit();
        let line = format!("{PRODUCT} sale {stray} generation 1 (unannounced)");
        assert!(said.contains(&line), "{said}");
        code
    };
    assert_eq!(is_marked(), Some(1), "it may be one that was lost");

    let (code, said) = world.rebuild(&[]);
    assert_eq!(code, Some(1), "{said}");
    let ways = Ways::read(&said);
    let (code, said) = world.rebuild(&["--close"]);
    assert!(code == Some(1) && Ways::read(&said).0 == ways.0, "which of them is to be closed? {said}");
    assert_eq!(is_marked(), Some(1), "after a rebuild was tried, too");
    assert_eq!(world.number("SELECT max(greatest(raised, generation))::bigint FROM sales"), 1, "nothing was raised");

    let (code, said) = world.say(&ways.with(&format!("--sale {}", sale.id)));
    let line = format!("sale {} is open again as generation 2: 97 of 100 units left, 3 sold", sale.id);
    assert!(code == Some(0) && said.contains(&line), "{said}");
    let rebuilt = Sale { generation: 2, ..sale.clone() };
    world.sell(&mut client, &rebuilt, &orders(&rebuilt, "bob", &[5], 1));
    world.wait_for("SELECT count(*) FROM orders", 3);
    assert_eq!(is_marked(), Some(0), "it sells, and the account holds");

    // The other way. A rebuild that died behind its fence leaves the mark, too.
    client.run("FLUSHALL");
    let (_, said) = world.rebuild(&[]);
    let (code, said) = world.say(&Ways::read(&said).with("--close"));
    let line =
        format!("sale {stray} is closed again as generation 2: 0 of 1000000 units left, 2 sold, 999998 withdrawn");
    assert!(code == Some(0) && said.contains(&line), "{said}");
    assert!(said.contains("what 1 earlier sales had lost is withdrawn"), "the sale before is over, too: {said}");
    let ended = Sale { id: stray.to_string(), generation: 2, ..sale.clone() };
    assert_eq!(ended.refresh(&mut client, true).state(), ("closed", ""));
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("total 100 = available 0 + reserved 0 + stored 8 +"), "{said}");
    // And the product can be sold anew.
    let next = Sale::open(&mut client, PRODUCT, &Options { total: 100, ..PLAIN });
    world.publish_event(&next, "sale-opened", 0);
    world.sell(&mut client, &next, &orders(&next, "cid", &[1], 1));
    world.wait_for("SELECT count(*) FROM orders", 4);
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// While a rebuild of the sale that the ledger knows waits behind its fence, orders of a later one come to the log: Redis was lost
/// together with the event that opened it. The sale before does not go on over it, now or when the rebuild is begun again.
#[test]
fn a_later_sale_that_the_log_tells_of_while_a_rebuild_waits_is_asked_about() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[3], 1));
    let later = sale.id.parse::<u64>().expect("a number") + 1;
    client.run("FLUSHALL");
    let asked = |(code, said): (Option<i32>, String)| {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("orders name sale {later}, and nothing has come of its opening")), "{said}");
        Ways::read(&said)
    };
    std::thread::scope(|scope| {
        let rebuild = scope.spawn(|| world.rebuild(&[]));
        wait_until(|| server::text(client.command(&["HGET", &sale.key("sale"), "rebuilding"])) == "1");
        world.publish_stray(PRODUCT, later);
        asked(rebuild.join().expect("no panic"));
    });
    assert_eq!(sale.refresh(&mut client, true).state().0, "suspended");
    let ways = asked(world.rebuild(&[]));
    let (code, said) = world.say(&ways.with("--close"));
    let line = format!("sale {later} is closed again as generation 2: 0 of 1000000 units left, 2 sold");
    assert!(code == Some(0) && said.contains(&line), "{said}");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
}

/// The command lines that a refusal names, without what is said of them.
struct Ways(Vec<Vec<String>>);

impl Ways {
    fn read(said: &str) -> Ways {
        let lines = said.lines().filter_map(|line| line.trim_start().strip_prefix("flux-worker rebuild"));
        let words =
            |line: &str| line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        Ways(lines.map(|line| words(&format!("rebuild {line}"))).collect())
    }

    /// The one that ends with this.
    fn with(&self, end: &str) -> Vec<&str> {
        let way = self.0.iter().find(|way| way.join(" ").ends_with(end));
        let Some(way) = way else { panic!("no way ends with {end}: {:?}", self.0) };
        way.iter().map(String::as_str).collect()
    }
}

/// By itself a worker rebuilds nothing that only an operator knows, and says so once.
#[test]
fn a_stray_later_sale_is_left_to_the_operator_and_that_is_said_once() {
    let mut world = World::start_with(&[("FLUX_REBUILD", "auto")]);
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.publish_stray(PRODUCT, sale.id.parse::<u64>().expect("a number") + 1);
    world.wait_for("SELECT count(*) FROM orders", 1);
    // The worker has seen to which Redis the sale was bound.
    world.wait_for_metric(&format!("flux_units{{product=\"{PRODUCT}\",state=\"available\"}} 100"));
    let looks = looks(&mut client);
    wait_until(|| self::looks(&mut client) >= looks + 4);
    world.redis.kill();
    world.redis.up().expect("Redis comes back, with nothing");
    let mut client = world.client();
    let lines = || {
        let log = std::fs::read_to_string(&world.log).expect("a log");
        log.matches("left to the operator").count()
    };
    wait_until(|| lines() > 0);
    let since = self::looks(&mut client);
    wait_until(|| self::looks(&mut client) >= since + 12);
    assert_eq!(lines(), 1, "said once");
    let log = std::fs::read_to_string(&world.log).expect("a log");
    assert!(log.contains(&format!("--sale {}", sale.id)), "with the ways out");
    let (code, said) = world.rebuild(&["--sale", &sale.id]);
    assert!(code == Some(0) && said.contains("is open again as generation 2: 100 of 100 units left"), "{said}");
}

/// How often anybody has asked Redis what it is: a worker that rebuilds by itself does so twice a second.
fn looks(client: &mut Client) -> u64 {
    let statistics = server::text(client.command(&["INFO", "commandstats"]));
    let calls = statistics.split("cmdstat_info:calls=").nth(1).unwrap_or("0");
    calls.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stray records tell of second reservations that nobody made, or of more units than they took. No more goes back than was reserved,
/// nothing of it is pending for ever, and the audit says what has become of each.
#[test]
fn a_stray_return_ends_with_its_reason_and_gives_back_no_more_than_was_taken() {
    let world = World::start();
    let mut client = world.client();
    let sale = world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 1);
    world.sell(&mut client, &sale, &orders(&sale, "ann", &[1, 1], 1));
    world.wait_for("SELECT count(*) FROM orders", 2);

    // A second reservation took one unit, and the topic says nine.
    let again = orders(&sale, "ann", &[1], 2);
    client.command(&["HDEL", &sale.records_key(), &again[0].id]);
    world.reserve_and_forget(&mut client, &sale, &again);
    assert_eq!(sale.stock(&mut client), 97);
    world.publish(&sale, &[Order { quantity: 9, ..again[0].clone() }]);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'returned'", 1);
    assert_eq!(sale.stock(&mut client), 98, "as many as were taken");

    // Nobody made these: of this sale, of a generation that no rebuild took, of a sale that nobody opened.
    world.publish(&sale, &orders(&sale, "ann", &[9], 3));
    let never = Sale { generation: 7, ..sale.clone() };
    world.publish(&never, &orders(&never, "ann", &[1], 4));
    let later = sale.id.parse::<u64>().expect("a number") + 1;
    world.publish_stray(PRODUCT, later);
    world.publish_stray_again(PRODUCT, later, 1);
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'unfounded'", 3);
    assert_eq!(world.number("SELECT count(*) FROM returns WHERE state = 'pending'"), 0, "all of it is at rest");
    assert_eq!(sale.stock(&mut client), 98, "and nothing was given back for it");
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "{said}");
    for why in [
        "ended as returned: it was noted with 9 units; 1 were taken, and given back",
        "ended as unfounded: Redis knows no such reservation of its order",
        "ended as unfounded: no rebuild took its generation",
        "ended as unfounded: only orders tell of its sale",
    ] {
        assert!(said.contains(why), "{why} is not in {said}");
    }

    // The same of a sale that is over: its account holds whatever is told of it.
    sale.close(&mut client);
    world.publish_event(&sale, "sale-closed", 98);
    world.wait_for("SELECT count(*) FROM sales WHERE state = 'closed'", 1);
    world.publish(&sale, &orders(&sale, "ann", &[9], 5));
    world.wait_for("SELECT count(*) FROM returns WHERE state = 'unfounded'", 4);
    let (code, said) = world.audit();
    assert!(code == Some(0) && said.contains("has no units that are nowhere else"), "{said}");
}

/// A Redis that restarted has lost all sales at once; one wait serves them all.
#[test]
fn what_one_restart_has_suspended_is_rebuilt_behind_one_fence() {
    let mut world = World::start_with(&[("FLUX_REBUILD", "auto")]);
    let mut client = world.client();
    world.wait_for("SELECT count(*) FROM sales", 0);
    let products = ["p1", "p2", "p3"];
    let sales = products.map(|product| {
        let sale = Sale::open(&mut client, product, &Options { total: 100, ..PLAIN });
        world.publish_event_of(product, &sale, "sale-opened", 0);
        sale
    });
    world.wait_for("SELECT count(*) FROM sales WHERE opened_at IS NOT NULL", 3);
    client.run("SAVE");
    world.redis.kill();
    world.redis.up().expect("Redis comes back");
    world.wait_for("SELECT count(*) FROM sales WHERE generation = 2", 3);
    let mut client = world.client();
    let begun = Instant::now();
    for sale in sales {
        let rebuilt = Sale { generation: 2, ..sale };
        while rebuilt.refresh(&mut client, true).state() != ("open", "") {
            assert!(begun.elapsed() < PATIENCE, "a sale is suspended still");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(rebuilt.stock(&mut client), 100);
    }
    let log = std::fs::read_to_string(&world.log).expect("a log");
    let waits: Vec<&str> = log.lines().filter(|line| line.contains("waiting until no edge publishes")).collect();
    assert!(waits.len() == 1 && waits[0].contains("\"sales\":3"), "{waits:?}");
}

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

/// What one of them unpacks to: nearly all that a batch may.
const BOMB_BYTES: usize = 31 << 20;

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
