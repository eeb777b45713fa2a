//! A fair line as the waiting room shows it, from the opening to the turn: a real one, and long ones that a stand-in for the
//! public listener tells, whose time is the test's (real ones take as long as their crowd). The pages are the real edge's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flux_lab::demo::visitors::{Answer, Patience, Visitor};
use flux_lab::deployment::DeploymentOptions;
use flux_lab::http_client;
use serde_json::{Value, json};

use crate::{REQUEST_MAX, Visit};

/// Slot 0, the middle of all lots.
const TICKET: &str = "AAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ORDER_ID: &str = "0f0e0d0c-0b0a-8908-8706-050403020100";

/// What the stand-in says, and what it was told.
struct Line {
    queue: Value,
    /// Tickets that came with orders.
    sent: Vec<Option<String>>,
}

/// Answers `GET /queue` with `queue`, an order with a ticket that is called with 200, any other with 429 and a ticket.
fn stand_in(line: &Arc<Mutex<Line>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let line = Arc::clone(line);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let line = Arc::clone(&line);
            // A browser opens connections that it may never use.
            std::thread::spawn(move || answer(stream.unwrap(), &line));
        }
    });
    address
}

fn answer(stream: TcpStream, line: &Mutex<Line>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            line.split_once(": ").map(|(_, value)| value.to_owned())
        };
        let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
        reader.read_exact(&mut vec![0; length]).unwrap();
        let mut line = line.lock().unwrap();
        let (status, body) = match head.split(' ').next() {
            Some("OPTIONS") => ("204 No Content", String::new()),
            Some("POST") => {
                let ticket = field("x-queue-ticket:");
                line.sent.push(ticket.clone());
                if ticket.as_deref() == Some(TICKET) {
                    ("200 OK", json!({"status": "success", "orderId": ORDER_ID}).to_string())
                } else {
                    ("429 Too Many Requests", json!({"status": "waiting", "ticket": TICKET}).to_string())
                }
            }
            _ if head.contains(" /queue/") => ("200 OK", line.queue.to_string()),
            _ => ("404 Not Found", json!({"error": "Unknown order"}).to_string()),
        };
        drop(line);
        let said = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\naccess-control-allow-origin: *\r\n\
             access-control-allow-headers: content-type, x-idempotency-key, x-queue-ticket\r\n\
             access-control-expose-headers: retry-after\r\nretry-after: 1\r\n\r\n{body}",
            body.len()
        );
        if reader.get_mut().write_all(said.as_bytes()).is_err() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500,000,000")
}

/// A line of 100,000 before the opening, called up to `rank`.
fn queue(state: &str, opens_at: u64, rank: u64) -> Value {
    json!({"state": state, "opensAt": opens_at, "now": now_ms(), "rate": 100, "watermark": {"slot": 0, "rank": rank},
        "issuedFrom": 0, "issued": [100_000], "available": 4000, "seedHash": "5eed", "seed": null})
}

/// Those before the visitor have left, so their places are passed.
#[test]
fn a_real_line_leads_from_the_countdown_to_the_order() {
    let mut visit = Visit::start();
    visit.open_fair_sale(5, Duration::from_secs(10));
    let edge = visit.deployment.edges[0].public();
    for number in 0..40 {
        let mut other = Visitor::new(format!("other-{number}"), Patience::Leaves);
        assert_eq!(other.order(edge, "phone").unwrap(), Answer::InLine);
    }
    let room = format!("http://{}/?product=phone", visit.deployment.edges[0].waiting_room());
    visit.browser.open(&format!("{room}#product=phone&user=user-1&quantity=1&key=k")).unwrap();
    visit.sees("#headline", "You are in line");
    visit.sees("#headline", "You are in!");
    visit.is_sound("room-in");
    let answer = http_client::request(edge, "GET", "/queue/phone", &[], b"", REQUEST_MAX).unwrap();
    assert!(answer.json()["watermark"]["slot"].as_u64().is_some(), "{}", answer.text());
    let end = Instant::now() + REQUEST_MAX;
    while visit.units_stored("phone") != 1 {
        assert!(Instant::now() < end, "the order is stored");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Before the opening the shop counts down and leads to the line.
#[test]
fn the_shop_counts_down_and_leads_to_the_line() {
    let mut visit = Visit::start();
    visit.open_fair_sale(5, Duration::from_secs(3_600));
    visit.open_shop("phone");
    visit.sees("#countdown", "minutes");
    visit.sees("#buy", "Join now");
    visit.is_sound("shop-countdown");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are in line");
    assert!(visit.browser.url().unwrap().contains(&visit.deployment.edges[0].waiting_room().to_string()));
}

#[test]
fn a_place_is_kept_and_shown_until_it_is_called() {
    let opens_at = now_ms() + 3_600_000;
    let line = Arc::new(Mutex::new(Line { queue: queue("waiting", opens_at, 0), sent: Vec::new() }));
    let public = stand_in(&line);
    let mut options = DeploymentOptions::default();
    options.edge_environment.push(("FLUX_PUBLIC_URL".to_owned(), format!("http://{public}")));
    let visit = Visit::with(options);
    let room = format!("http://{}/?product=phone", visit.deployment.edges[0].waiting_room());
    let tell = |queue: Value| line.lock().unwrap().queue = queue;

    visit.browser.open(&format!("{room}#product=phone&user=u&quantity=1&key=k")).unwrap();
    visit.sees("#headline", "You are in line");
    visit.sees("#countdown", "minutes");
    assert_eq!(line.lock().unwrap().sent, [None], "one order, for the ticket");
    visit.is_sound("room-countdown");

    // It opens, and half of the 100,000 stand before this ticket. A tab that is closed keeps its place.
    tell(queue("open", now_ms() - 1000, 0));
    visit.browser.close_tab().unwrap();
    visit.browser.open(&room).unwrap();
    visit.sees("#position", "50,001");
    visit.sees("#expected", "in about 9 minutes");
    tell(queue("open", now_ms() - 20_000, 1 << 30));
    visit.sees("#position", "25,001");
    visit.is_sound("room-line");
    assert_eq!(line.lock().unwrap().sent.len(), 1, "watching the line sends no order");

    tell(queue("open", now_ms() - 60_000, (1 << 31) + 1));
    visit.sees("#headline", "You are in!");
    visit.sees("#order-id", ORDER_ID);
    assert_eq!(line.lock().unwrap().sent, [None, Some(TICKET.to_owned())]);
    visit.is_sound("room-in");
}

#[test]
fn a_line_that_sells_out_ends_without_another_order() {
    let line = Arc::new(Mutex::new(Line { queue: queue("open", 1, 0), sent: Vec::new() }));
    let public = stand_in(&line);
    let mut options = DeploymentOptions::default();
    options.edge_environment.push(("FLUX_PUBLIC_URL".to_owned(), format!("http://{public}")));
    let visit = Visit::with(options);
    let room = format!("http://{}/", visit.deployment.edges[0].waiting_room());
    visit.browser.open(&format!("{room}#product=phone&user=u&quantity=1&key=k&ticket={TICKET}")).unwrap();
    visit.sees("#position", "50,001");
    line.lock().unwrap().queue = queue("sold_out", 1, 1 << 30);
    visit.sees("#headline", "Sold out");
    assert!(line.lock().unwrap().sent.is_empty());
    visit.is_sound("line-sold-out");
}
