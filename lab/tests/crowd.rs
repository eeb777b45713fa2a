//! The crowd against a small HTTP server whose answers the test decides.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flux_lab::crowd::{self, Arrival, CrowdOptions, Doubt, Driver, Order, Orders, Outcome, Refusal, Repeat};
use flux_protocol::order::order_id;

/// What the server does with one request.
enum Reply {
    Say(u16, &'static str, String),
    HangUp,
    Hang,
}

fn accepted(order: &Order, replayed: bool) -> Reply {
    let id = order_id(order.product.as_bytes(), 1, order.user.as_bytes(), order.key.as_bytes());
    let field = if replayed { "idempotency-replayed: true\r\n" } else { "" };
    Reply::Say(200, field, format!(r#"{{"status":"success","msg":"Order accepted","orderId":"{id}"}}"#))
}

/// Serves each connection in a thread of its own; `decide` gets the order and how often its key has been seen before.
fn server(decide: impl Fn(&Order, u32) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let decide = Arc::new(decide);
    let seen: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (decide, seen) = (Arc::clone(&decide), Arc::clone(&seen));
            std::thread::spawn(move || serve(stream.unwrap(), &*decide, &seen));
        }
    });
    address
}

fn serve(mut stream: TcpStream, decide: &dyn Fn(&Order, u32) -> Reply, seen: &Mutex<HashMap<String, u32>>) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let Some((order, length)) = parse(&bytes) else {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
            continue;
        };
        bytes.drain(..length);
        let before = {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(order.key.clone()).or_default();
            *count += 1;
            *count - 1
        };
        match decide(&order, before) {
            Reply::Say(status, fields, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{fields}\r\n");
                // In two pieces, so that the crowd must wait for the second.
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                    return;
                }
            }
            Reply::HangUp => return,
            Reply::Hang => while stream.read(&mut piece).is_ok_and(|read| read > 0) {},
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Order, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let head = request.parse(bytes).unwrap();
    if head.is_partial() {
        return None;
    }
    assert_eq!((request.method, request.path), (Some("POST"), Some("/order")));
    let head = head.unwrap();
    let field = |name| {
        let field = request.headers.iter().find(|field| field.name == name).unwrap();
        std::str::from_utf8(field.value).unwrap()
    };
    let length: usize = field("content-length").parse().unwrap();
    let body = bytes.get(head..head + length)?;
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap();
    let quantity = body["quantity"].as_u64().unwrap() as u16;
    Some((Order::new(text("productId"), text("userId"), field("x-idempotency-key"), quantity), head + length))
}

fn options(target: SocketAddr, buyers: u64, connections: usize) -> CrowdOptions {
    CrowdOptions::buyers(vec![target], "p", buyers, connections)
}

#[test]
fn every_buyer_is_answered_once_over_few_connections_on_both_drivers() {
    for driver in [Driver::Auto, Driver::Epoll] {
        let target = server(|order, _| accepted(order, false));
        let orders =
            Orders::Unique { products: vec!["a".into(), "b".into()], quantities: vec![1, 2, 3], name: "n".into() };
        let options = CrowdOptions { orders, threads: 2, driver, ..options(target, 3000, 30) };
        let report = crowd::run(options).unwrap();
        assert_eq!(report.outcome("accepted"), 3000);
        assert_eq!((report.requests(), report.statuses[&200], report.reconnects), (3000, 3000, 0));
        assert_eq!((report.latency.count(), report.latency_accepted.count()), (3000, 3000));
        assert_eq!(report.history.accepted().len(), 3000);
        let units: u64 = report.history.exchanges.iter().map(|exchange| u64::from(exchange.order.quantity)).sum();
        assert_eq!(units, 1000 * (1 + 2 + 3));
        for exchange in &report.history.exchanges {
            let Outcome::Accepted { order_id: told, replayed: false } = exchange.outcome else {
                panic!("{exchange:?}")
            };
            let Order { product, user, key, .. } = &*exchange.order;
            assert_eq!(told, order_id(product.as_bytes(), 1, user.as_bytes(), key.as_bytes()));
            assert!(exchange.sent_us <= exchange.answered_us);
        }
    }
}

#[test]
fn buyers_in_the_waiting_room_come_back_with_the_same_key() {
    let target = server(|order, before| match before {
        0 | 1 => Reply::Say(302, "location: http://localhost:4000/?product=p\r\n", String::new()),
        _ => accepted(order, false),
    });
    let repeat = Repeat { waiting_pause: Duration::from_millis(5), ..Repeat::UNTIL_SETTLED };
    let report = crowd::run(CrowdOptions { repeat, ..options(target, 200, 10) }).unwrap();
    assert_eq!((report.outcome("waiting room (302)"), report.outcome("accepted")), (400, 200));
    assert_eq!(report.buyers["accepted"], 200);
    assert_eq!(report.history.promised().len(), 200);

    let once = crowd::run(CrowdOptions { orders: Orders::unique("p", "x"), ..options(target, 50, 10) }).unwrap();
    assert_eq!((once.requests(), once.buyers["waiting room (302)"]), (50, 50));
}

#[test]
fn a_lost_connection_and_a_silent_server_are_unknown_until_repeated() {
    let target = server(|order, before| match (order.key.ends_with('7'), before) {
        (true, 0) => Reply::HangUp,
        (false, 0) if order.key.ends_with('3') => Reply::Hang,
        _ => accepted(order, before > 0),
    });
    let repeat = Repeat { pause: Duration::from_millis(5), ..Repeat::UNTIL_SETTLED };
    let timeout = Duration::from_millis(300);
    let report = crowd::run(CrowdOptions { repeat, timeout, ..options(target, 100, 20) }).unwrap();
    let count = |outcome| report.history.count(|other| *other == outcome);
    assert_eq!(count(Outcome::Unknown(Doubt::Reset)), 10);
    assert_eq!(count(Outcome::Unknown(Doubt::Timeout)), 10);
    assert_eq!((report.outcome("accepted"), report.outcome("accepted (replay)")), (80, 20));
    assert_eq!(report.history.accepted().len(), 100);
    // A connection lost at the very end has nobody left to open it for.
    assert!((1..=20).contains(&report.reconnects));
}

#[test]
fn pending_and_unavailable_are_repeated_and_replays_asked_for() {
    let target = server(|order, before| match before {
        0 => Reply::Say(503, "", r#"{"status":"unavailable","msg":"…"}"#.to_owned()),
        1 => {
            let id = order_id(b"p", 1, order.user.as_bytes(), order.key.as_bytes());
            Reply::Say(202, "retry-after: 1\r\n", format!(r#"{{"status":"pending","msg":"…","orderId":"{id}"}}"#))
        }
        _ => accepted(order, before > 2),
    });
    let repeat = Repeat {
        pause: Duration::from_millis(2),
        retry_after_max: Duration::ZERO,
        replay_share: 1.0,
        ..Repeat::UNTIL_SETTLED
    };
    let report = crowd::run(CrowdOptions { repeat, ..options(target, 40, 4) }).unwrap();
    let names = ["unavailable", "pending", "accepted", "accepted (replay)"];
    assert_eq!(names.map(|name| report.outcome(name)), [40; 4]);
    assert_eq!(report.history.promised().len(), 40);
}

#[test]
fn a_constant_rate_does_not_wait_for_answers_and_a_list_ends() {
    let target = server(|order, _| accepted(order, false));
    let orders = Orders::List((0..50).map(|n| Order::new("p", &format!("u{n}"), "same-key", 2)).collect());
    let arrival = Arrival::Rate { buyers: 1000, per_second: 5_000.0 };
    let report = crowd::run(CrowdOptions { orders, arrival, ..options(target, 0, 8) }).unwrap();
    assert_eq!(report.outcome("accepted"), 50);

    let running =
        crowd::start(CrowdOptions { arrival: Arrival::Closed(Duration::from_secs(600)), ..options(target, 0, 8) });
    let running = running.unwrap();
    while running.progress().accepted < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.connected(), 8);
    running.stop();
    let report = running.join().unwrap();
    assert_eq!(report.requests(), report.outcome("accepted"));
}

#[test]
fn nobody_listening_is_a_certain_no() {
    let port = flux_lab::ports::Port::reserve().unwrap();
    let report = crowd::run(options(port.address(), 20, 4)).unwrap();
    assert_eq!(report.history.count(|outcome| *outcome == Outcome::No(Refusal::NotSent)), 20);
    assert!(report.statuses.is_empty());
    assert!(crowd::run(options(port.address(), 20, 0)).unwrap_err().to_string().contains("connection"));
}
