//! A deployment whose edge and worker are played by this very binary, on real servers: what the tests of the real ones build
//! on (starting, asking, settling, reading the truth, checking) is tried without them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use flux_lab::checker::{self, Allow, Invariant};
use flux_lab::crowd::{self, Exchange, History, Outcome};
use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::topic::TopicReader;
use flux_protocol::order::{Record, Uuid, order_id};

const SALE: u64 = 1_705_234_700_000;
const PRODUCT: &str = "p";
const BUYERS: u64 = 40;
/// Units for sale: more than any test sells.
const UNITS: u64 = 10_000;

fn main() {
    if std::env::var_os("LAB_TEST_ROLE").is_some() {
        if std::env::args().any(|argument| argument == "audit") {
            println!("held");
            return;
        }
        let address = std::env::var("FLUX_WORKER_ADMIN").or_else(|_| std::env::var("FLUX_ADMIN")).unwrap();
        let public = std::env::var("FLUX_LISTEN").unwrap_or_default();
        if !public.is_empty() {
            std::thread::spawn(move || serve(&public));
        }
        return serve(&address);
    }
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && !"deployment".contains(&argument)) {
        return;
    }
    let binary = std::env::current_exe().unwrap();
    // SAFETY: nothing else runs in this process yet.
    unsafe {
        std::env::set_var("FLUX_EDGE_BIN", &binary);
        std::env::set_var("FLUX_WORKER_BIN", &binary);
    }
    a_history_is_settled_and_checked_against_real_servers();
    println!("test a_history_is_settled_and_checked_against_real_servers ... ok");
}

/// An edge (or worker) that is always ready and accepts every order.
fn serve(address: &str) {
    for stream in TcpListener::bind(address).unwrap().incoming() {
        std::thread::spawn(move || answer_all(stream.unwrap()));
    }
}

fn answer_all(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("content-length:").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let said = match path {
            "/order" => {
                let order: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let key = field("x-idempotency-key:").unwrap();
                let user = order["userId"].as_str().unwrap();
                let id = order_id(PRODUCT.as_bytes(), SALE, user.as_bytes(), key.as_bytes());
                format!(r#"{{"status":"success","msg":"Order accepted","orderId":"{id}"}}"#)
            }
            _ => r#"{"status":"ok"}"#.to_owned(),
        };
        let length = said.len();
        if write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{said}").is_err() {
            return;
        }
        if field("connection:") == Some("close") {
            return;
        }
    }
}

/// The columns that the truth reads, as the worker's migrations have them.
const LEDGER: &str = "
    CREATE TABLE products (id text PRIMARY KEY, stock bigint NOT NULL, sale_id bigint NOT NULL);
    CREATE TABLE sales (product_id text, sale_id bigint, generation integer NOT NULL, total bigint NOT NULL,
        sold bigint NOT NULL, withdrawn bigint NOT NULL, state text NOT NULL, rate bigint);
    CREATE TABLE orders (id uuid PRIMARY KEY, product_id text, user_id text, quantity integer, sale_id bigint,
        generation integer, reservation_id uuid);
    CREATE TABLE returns (reservation_id uuid, product_id text, sale_id bigint, quantity integer, state text);
    CREATE TABLE rejected (order_id uuid, reservation_id uuid, reason text, product_id text, sale_id bigint,
        quantity integer);
    CREATE TABLE dead_letters (partition integer, kafka_offset bigint, product_id text, sale_id bigint,
        quantity integer);
    CREATE TABLE offsets (topic_id uuid, partition integer, next_offset bigint);";

fn reservation(index: usize) -> Uuid {
    Uuid::version_8([index as u8 + 1; 16])
}

fn a_history_is_settled_and_checked_against_real_servers() {
    let role = ("LAB_TEST_ROLE".to_owned(), "program".to_owned());
    let mut deployment = Deployment::start(DeploymentOptions {
        edges: 2,
        edge_environment: vec![role.clone()],
        worker_environment: vec![role],
        ..DeploymentOptions::default()
    })
    .unwrap();
    assert_eq!(deployment.targets().len(), 2);
    deployment.init(PRODUCT, UNITS).unwrap();
    assert_eq!(deployment.get("/stock/p").unwrap().status, 200);
    let ran = deployment.audit(None).unwrap();
    assert_eq!((ran.code, ran.output.as_str()), (Some(0), "held\n"));
    let history = crowd::run(deployment.buyers(PRODUCT, BUYERS, 4)).unwrap().history;
    assert_eq!(history.accepted().len() as u64, BUYERS);

    // What the real ones would have written: all but the last two stored, one of these in the topic, one in the outbox.
    deployment.kafka().create_topic(deployment.topic(), 2, 1).unwrap();
    let topic = TopicReader::new(&deployment.sources().kafka, deployment.topic());
    let mut redis = deployment.redis.connection().unwrap();
    let mut ledger = deployment.ledger().unwrap();
    ledger.batch_execute(LEDGER).unwrap();
    let mut values = Vec::new();
    let stored = BUYERS as usize - 2;
    let mut insert = String::new();
    for (index, exchange) in history.exchanges.iter().enumerate() {
        let (id, reservation) = (exchange.outcome.order_id().unwrap(), reservation(index));
        let user = &exchange.order.user;
        if index <= stored {
            values.push(record(exchange, reservation));
        } else {
            let entry = ["h", &format!("0 {SALE} {UNITS} 1 1"), "o", &format!("{reservation} 1 {id} {user} 1705")];
            redis::cmd("XADD").arg("product:{p}:outbox").arg("*").arg(&entry).exec(&mut redis).unwrap();
        }
        if index < stored {
            insert += &format!("INSERT INTO orders VALUES ('{id}', 'p', '{user}', 1, {SALE}, 1, '{reservation}');");
        }
    }
    values.push(format!(
        r#"{{"event":"sale-opened","productId":"p","saleId":{SALE},"saleTotal":{UNITS},"generation":1,"rate":0,"burst":0,"timestamp":1}}"#
    ).into_bytes());
    values.push(b"no order".to_vec());
    topic.append(1, &values.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    ledger.batch_execute(&insert).unwrap();
    let sold = stored as u64;
    let rest = UNITS - sold;
    ledger
        .batch_execute(&format!(
            "INSERT INTO sales VALUES ('p', {SALE}, 1, {UNITS}, {sold}, 0, 'open');
             INSERT INTO products VALUES ('p', {rest}, {SALE})"
        ))
        .unwrap();
    let fields = ["id", &SALE.to_string(), "gen", "1", "total", &UNITS.to_string(), "state", "open", "withdrawn", "0"];
    redis::cmd("HSET").arg("product:{p}:sale").arg(&fields).exec(&mut redis).unwrap();
    redis::cmd("SET").arg("product:{p}:stock").arg(UNITS - BUYERS).exec(&mut redis).unwrap();
    redis::cmd("SADD").arg("product:{p}:returned").arg(". mark").exec(&mut redis).unwrap();
    redis::cmd("SADD").arg("flux:products").arg("p").exec(&mut redis).unwrap();

    // It stands still, and not at rest: as it is it can be judged.
    let truth = deployment.truth().unwrap();
    assert!(truth.moves().is_some_and(|what| what.contains("outbox")), "{:?}", truth.moves());
    let verdict = checker::check(&truth, &history, Allow::default());
    assert_eq!(verdict.violations.len(), 2, "two are promised and not stored: {verdict}");
    assert!(verdict.breaks(Invariant::I2) && !verdict.breaks(Invariant::I4), "{verdict}");
    let account = verdict.accounts.values().next().unwrap();
    assert_eq!((account.stored, account.reserved, account.available), (sold, 2, UNITS - BUYERS));
    assert_eq!(truth.poison, 1);
    let error = deployment.settle(&history, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("2 promised orders are not stored"), "{error}");

    // Now they are delivered and stored.
    for index in [stored, stored + 1] {
        let exchange = &history.exchanges[index];
        let (id, user) = (exchange.outcome.order_id().unwrap(), &exchange.order.user);
        if index > stored {
            topic.append(0, &[&record(exchange, reservation(index))]).unwrap();
        }
        let row = format!("'{id}', 'p', '{user}', 1, {SALE}, 1, '{}'", reservation(index));
        ledger.batch_execute(&format!("INSERT INTO orders VALUES ({row})")).unwrap();
    }
    ledger.batch_execute("UPDATE sales SET sold = sold + 2; UPDATE products SET stock = stock - 2").unwrap();
    let error = deployment.settle(&history, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("outbox"), "{error}");
    redis::cmd("XTRIM").arg("product:{p}:outbox").arg("MAXLEN").arg(0).exec(&mut redis).unwrap();
    // All that was promised is stored; of what else stands in the topic nobody knows yet.
    let error = deployment.settle(&history, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("the ledger stands at 0 of partition 0, which ends at 1"), "{error}");
    let topic_id = topic.topic_id().unwrap();
    let rows = topic.ends().unwrap().into_iter().map(|(partition, end)| format!("('{topic_id}', {partition}, {end})"));
    let rows = rows.collect::<Vec<_>>().join(", ");
    ledger.batch_execute(&format!("INSERT INTO offsets VALUES {rows}")).unwrap();
    deployment.settle(&history, Duration::from_secs(30)).unwrap();
    deployment.check(&history).unwrap().assert_holds();

    orders_on_their_way_are_nowhere_twice_and_nowhere_missing(&deployment, &topic);

    // And a unit is given back that was sold.
    redis::cmd("INCR").arg("product:{p}:stock").exec(&mut redis).unwrap();
    let verdict = deployment.check_allowing(&history, Allow { other_buyers: true, ..Allow::default() }).unwrap();
    assert!(verdict.breaks(Invariant::I4) && verdict.violations.len() == 1, "{verdict}");
}

/// Orders go their way from Redis to the ledger, some at a time, while everything is read: whatever two servers say of one
/// order is said of one moment.
fn orders_on_their_way_are_nowhere_twice_and_nowhere_missing(deployment: &Deployment, topic: &TopicReader) {
    const READINGS: usize = 5;
    const AT_A_TIME: usize = 5;
    let sold = AtomicUsize::new(0);
    let (is_over, others) = (AtomicBool::new(false), Allow { other_buyers: true, ..Allow::default() });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut redis, mut ledger) = (deployment.redis.connection().unwrap(), deployment.ledger().unwrap());
            // Now and then everything stands still, else nobody could read it from outside; for longer each time, so that a
            // busy machine has its moment, too.
            let mut pause = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..AT_A_TIME {
                    sell_one(sold.fetch_add(1, Ordering::Relaxed), topic, &mut redis, &mut ledger);
                }
                pause += Duration::from_millis(100);
                std::thread::sleep(pause);
            }
        });
        let verdicts: Vec<_> = (0..READINGS)
            .map(|_| {
                let before = sold.load(Ordering::Relaxed);
                let verdict = deployment.truth().map(|truth| checker::check(&truth, &History::default(), others));
                // The next reading meets other orders.
                while sold.load(Ordering::Relaxed) == before {
                    std::thread::sleep(Duration::from_millis(5));
                }
                verdict
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        verdicts.into_iter().for_each(|verdict| verdict.unwrap().assert_holds());
    });
    deployment.check_allowing(&History::default(), others).unwrap().assert_holds();
}

/// What becomes of an order of one unit, at each server in turn.
fn sell_one(number: usize, topic: &TopicReader, redis: &mut redis::Connection, ledger: &mut postgres::Client) {
    const OUTBOX: &str = "product:{p}:outbox";
    let user = format!("other-{number}");
    let id = order_id(PRODUCT.as_bytes(), SALE, user.as_bytes(), b"k");
    let (mut bytes, name) = ([0xbb; 16], (number as u64).to_be_bytes());
    bytes[..8].copy_from_slice(&name);
    let reservation = Uuid::version_8(bytes);
    let line = format!("{reservation} 1 {id} {user} 1705");
    let mut reserve = redis::pipe();
    reserve.atomic().cmd("DECR").arg("product:{p}:stock").ignore();
    reserve.cmd("XADD").arg(OUTBOX).arg("*").arg(&["h", &format!("0 {SALE} {UNITS} 1 1"), "o", &line]);
    let (entry,): (String,) = reserve.query(redis).unwrap();
    topic.append(0, &[&written(id, reservation, &user)]).unwrap();
    redis::cmd("XDEL").arg(OUTBOX).arg(entry).exec(redis).unwrap();
    let mut batch = ledger.transaction().unwrap();
    let row = format!("'{id}', 'p', '{user}', 1, {SALE}, 1, '{reservation}'");
    batch
        .batch_execute(&format!(
            "INSERT INTO orders VALUES ({row});
             UPDATE sales SET sold = sold + 1; UPDATE products SET stock = stock - 1;
             UPDATE offsets SET next_offset = next_offset + 1 WHERE partition = 0"
        ))
        .unwrap();
    batch.commit().unwrap();
}

fn record(exchange: &Exchange, reservation_id: Uuid) -> Vec<u8> {
    let Outcome::Accepted { order_id, .. } = exchange.outcome else { panic!("{exchange:?}") };
    written(order_id, reservation_id, &exchange.order.user)
}

fn written(order_id: Uuid, reservation_id: Uuid, user_id: &str) -> Vec<u8> {
    let mut value = Vec::new();
    let record = Record {
        order_id,
        reservation_id,
        product_id: PRODUCT,
        user_id,
        quantity: 1,
        sale_id: SALE,
        sale_total: UNITS,
        generation: 1,
        timestamp: 1_705,
    };
    record.write_json(&mut value);
    value
}
