//! A flood of one public route beside buyers of the same product and of another: what it costs Redis, and whether the
//! buyers notice.
//!
//! For each route in turn a thousand connections send 32 requests in one write and read their answers, again and again,
//! while two buyers place an order every 20 ms each. The first round has no flood: what the others are held against. Answers
//! to the flood are counted, not judged: told in words that there are too many is an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::contestant::{Contestant, Source};
use super::scenario::Sale;
use super::server::Server;
use super::stage::Stage;
use flux_lab::error::{Doing, LabError};
use flux_lab::http_client;

/// Connections that flood, and requests in one write of each.
const CONNECTIONS: usize = 1_000;
const PIPELINED: usize = 32;
/// From one order of a buyer to the next.
const BUYER_PAUSE: Duration = Duration::from_millis(20);
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Orders a second of the sales: what an edge gives a sale that names no rate.
const RATE: u64 = 10_000;

/// What floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Nothing: the buyers are alone.
    Nothing,
    /// Orders that may be accepted.
    Order,
    /// Orders of a product of which nothing is left.
    OrderSoldOut,
    /// Orders of products that there are not, another one each time.
    OrderUnknown,
    /// `GET /order` of orders that there are not, another one each time.
    Status,
    /// `GET /stock`.
    Stock,
    /// `GET /stock` of products that there are not.
    StockUnknown,
    /// `GET /queue`.
    Queue,
}

impl Route {
    /// All but no flood at all.
    pub const FLOODS: [Route; 7] = [
        Route::Order,
        Route::OrderSoldOut,
        Route::OrderUnknown,
        Route::Status,
        Route::Stock,
        Route::StockUnknown,
        Route::Queue,
    ];

    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Route::Nothing => "no flood",
            Route::Order => "POST /order",
            Route::OrderSoldOut => "POST /order, sold out",
            Route::OrderUnknown => "POST /order, unknown product",
            Route::Status => "GET /order, unknown order",
            Route::Stock => "GET /stock",
            Route::StockUnknown => "GET /stock, unknown product",
            Route::Queue => "GET /queue",
        }
    }

    /// Appends one request, another one for each number.
    fn write(self, number: u64, out: &mut Vec<u8>) {
        let get = |path: String| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let order = |product: &str| {
            let body = json!({"productId": product, "userId": format!("f{number}"), "quantity": 1}).to_string();
            format!(
                "POST /order HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-idempotency-key: f{number}\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let request = match self {
            Route::Nothing => return,
            Route::Order => order("flooded"),
            Route::OrderSoldOut => order("gone"),
            Route::OrderUnknown => order(&format!("unknown-{number}")),
            Route::Status => get(format!("/order/flooded/{:08x}-0000-8000-8000-{number:012x}", number as u32)),
            Route::Stock => get("/stock/flooded".to_owned()),
            Route::StockUnknown => get(format!("/stock/unknown-{number}")),
            Route::Queue => get("/queue/flooded".to_owned()),
        };
        out.extend_from_slice(request.as_bytes());
    }
}

/// How a buyer fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Buyer {
    /// Orders.
    pub asked: u64,
    /// Those that were accepted: 200 or 202.
    pub accepted: u64,
    /// Of the middle one, µs, the connection included.
    pub p50_us: u64,
    /// Of 99 of 100.
    pub p99_us: u64,
}

impl Buyer {
    pub(super) fn of(accepted: u64, mut spans_us: Vec<u64>) -> Buyer {
        spans_us.sort_unstable();
        let at = |of_hundred: usize| spans_us.get((spans_us.len() * of_hundred / 100).min(spans_us.len() - 1)).copied();
        match spans_us.len() {
            0 => Buyer::default(),
            asked => Buyer {
                asked: asked as u64,
                accepted,
                p50_us: at(50).unwrap_or_default(),
                p99_us: at(99).unwrap_or_default(),
            },
        }
    }
}

/// One round.
#[derive(Clone, Debug, Serialize)]
pub struct FloodRow {
    /// Which repetition, from 1.
    pub repetition: u32,
    /// What flooded.
    pub route: Route,
    /// Requests of the flood that were answered.
    pub answers: u64,
    /// Answers a second.
    pub per_second: f64,
    /// CPU of the edge by answer of the flood, the buyers' included, µs.
    pub server_us: f64,
    /// The same of Redis.
    pub redis_us: f64,
    /// A buyer of the product that is flooded.
    pub same: Buyer,
    /// A buyer of another.
    pub other: Buyer,
}

impl FloodRow {
    /// For the one who waits for the end of the run.
    pub fn in_words(&self) -> String {
        let buyer = |buyer: &Buyer| {
            let ms = |us: u64| us as f64 / 1e3;
            format!(
                "{} of {}, p50 {:.2} ms, p99 {:.2} ms",
                buyer.accepted,
                buyer.asked,
                ms(buyer.p50_us),
                ms(buyer.p99_us)
            )
        };
        format!(
            "flood #{} {:<29}{:>8.0}/s, CPU {:.2} + Redis {:.2} µs; same product {}; another {}",
            self.repetition,
            self.route.name(),
            self.per_second,
            self.server_us,
            self.redis_us,
            buyer(&self.same),
            buyer(&self.other)
        )
    }
}

/// Floods one route after the other, `repetitions` times, each for so many seconds; `note` is told each as it is done.
///
/// # Errors
/// Where a server or program does not do its part, or ends a connection.
pub fn measure(
    stage: &mut Stage,
    repetitions: u32,
    seconds: u32,
    threads: u32,
    mut note: impl FnMut(FloodRow),
) -> Result<(), LabError> {
    for repetition in 1..=repetitions {
        let edge = stage.enter(Contestant::Edge, &Source::Edge, 1, Vec::new())?;
        for (product, quantity) in [("flooded", 1_000_000_000), ("other", 1_000_000_000), ("gone", 1)] {
            edge.open(&Sale::limited(product, quantity, RATE))?;
        }
        buy(edge.public(), "gone", "first")?;
        for route in std::iter::once(Route::Nothing).chain(Route::FLOODS) {
            let round = format!("{repetition}-{}", route as u32);
            note(flood(stage, &edge, route, repetition, &round, Duration::from_secs(seconds.into()), threads)?);
        }
    }
    Ok(())
}

fn flood(
    stage: &Stage,
    edge: &Server,
    route: Route,
    repetition: u32,
    round: &str,
    span: Duration,
    threads: u32,
) -> Result<FloodRow, LabError> {
    let public = edge.public();
    let ended = AtomicBool::new(false);
    let ended = &ended;
    let (before, begun) = (stage.used(edge)?, Instant::now());
    let (answers, same, other) = std::thread::scope(|scope| {
        let flooding: Vec<_> = (0..threads as usize)
            .filter(|_| route != Route::Nothing)
            .map(|thread| {
                let connections = CONNECTIONS / threads as usize;
                // Numbers of one thread, one round and one repetition are no other's.
                let first = (u64::from(repetition) << 44) | (route as u64) << 40 | (thread as u64) << 36;
                scope.spawn(move || send(public, route, connections, first, ended))
            })
            .collect();
        let buyer = |product: &'static str| scope.spawn(move || buyer(public, product, round, ended));
        let (same, other) = (buyer("flooded"), buyer("other"));
        std::thread::sleep(span);
        ended.store(true, Ordering::Relaxed);
        let answers: Result<u64, LabError> =
            flooding.into_iter().map(|thread| thread.join().expect("no thread panics")).sum();
        let [same, other] = [same, other].map(|thread| thread.join().expect("no thread panics"));
        Ok::<_, LabError>((answers?, same?, other?))
    })?;
    let (used, seconds) = (stage.used(edge)?, begun.elapsed().as_secs_f64());
    let by_answer = |us: u64| us as f64 / answers.max(1) as f64;
    Ok(FloodRow {
        repetition,
        route,
        answers,
        per_second: answers as f64 / seconds,
        server_us: by_answer(used.server - before.server),
        redis_us: by_answer(used.redis - before.redis),
        same,
        other,
    })
}

/// Keeps `PIPELINED` requests on their way on each of some connections; how many were answered.
fn send(edge: SocketAddr, route: Route, connections: usize, first: u64, ended: &AtomicBool) -> Result<u64, LabError> {
    let doing = || format!("flooding {edge}");
    let open = |_| {
        let stream = TcpStream::connect_timeout(&edge, REQUEST_MAX).doing(doing)?;
        stream.set_nodelay(true).doing(doing)?;
        stream.set_read_timeout(Some(REQUEST_MAX)).doing(doing)?;
        Ok((stream, Answers::default()))
    };
    let mut streams = (0..connections).map(open).collect::<Result<Vec<_>, LabError>>()?;
    let (mut number, mut answered, mut out) = (first, 0, Vec::new());
    while !ended.load(Ordering::Relaxed) {
        for (stream, _) in &mut streams {
            out.clear();
            for _ in 0..PIPELINED {
                route.write(number, &mut out);
                number += 1;
            }
            stream.write_all(&out).doing(doing)?;
        }
        for (stream, answers) in &mut streams {
            answers.read(stream, PIPELINED).doing(doing)?;
            answered += PIPELINED as u64;
        }
    }
    Ok(answered)
}

/// Places an order after the other until the round has ended.
pub(super) fn buyer(edge: SocketAddr, product: &str, round: &str, ended: &AtomicBool) -> Result<Buyer, LabError> {
    let (mut accepted, mut spans_us) = (0, Vec::new());
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let key = format!("{product}-{round}-{}", spans_us.len());
        accepted += u64::from(matches!(buy(edge, product, &key)?, 200 | 202));
        spans_us.push(begun.elapsed().as_micros() as u64);
        std::thread::sleep(BUYER_PAUSE.saturating_sub(begun.elapsed()));
    }
    Ok(Buyer::of(accepted, spans_us))
}

fn buy(edge: SocketAddr, product: &str, key: &str) -> Result<u16, LabError> {
    let body = json!({"productId": product, "userId": key, "quantity": 1}).to_string();
    let headers = [("content-type", "application/json"), ("x-idempotency-key", key)];
    Ok(http_client::request(edge, "POST", "/order", &headers, body.as_bytes(), REQUEST_MAX)?.status)
}

/// Answers of one connection as they come, counted by their lengths.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    pub(super) fn read(&mut self, stream: &mut impl Read, count: usize) -> std::io::Result<()> {
        let mut left = count;
        let mut chunk = [0; 16 << 10];
        loop {
            while left > 0
                && let Some(length) = answer_bytes(&self.bytes)
            {
                self.bytes.drain(..length);
                left -= 1;
            }
            if left == 0 {
                return Ok(());
            }
            match stream.read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => self.bytes.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// Length of the whole answer at the front; `None` until it has come.
fn answer_bytes(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let body: usize = length.map_or(0, |digits| digits.trim().parse().unwrap_or(0));
    (bytes.len() >= head + body).then_some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nabcde";
        let empty = b"HTTP/1.1 302 Found\r\nlocation: x\r\ncontent-length: 0\r\n\r\n";
        let all = [&answer[..], empty, answer].concat();
        for cut in 0..all.len() {
            assert_eq!(answer_bytes(&all[..cut]), (cut >= answer.len()).then_some(answer.len()), "cut at {cut}");
            let (front, back) = all.split_at(cut);
            let mut answers = Answers::default();
            answers.read(&mut front.chain(back), 3).expect("three answers");
            assert!(answers.bytes.is_empty());
        }
        assert!(Answers::default().read(&mut &all[..], 4).is_err(), "a connection that ends is no answer");
    }

    #[test]
    fn the_slowest_of_a_hundred_is_the_p99() {
        let spans: Vec<u64> = (1..=100).rev().collect();
        let buyer = Buyer::of(99, spans);
        assert_eq!(buyer, Buyer { asked: 100, accepted: 99, p50_us: 51, p99_us: 100 });
        assert_eq!(Buyer::of(0, Vec::new()), Buyer::default());
    }

    #[test]
    fn every_request_of_a_flood_is_another_one_where_it_can_be() {
        for route in [Route::Order, Route::OrderSoldOut, Route::OrderUnknown, Route::Status, Route::StockUnknown] {
            let [mut one, mut two] = [Vec::new(), Vec::new()];
            route.write(1 << 44, &mut one);
            route.write((1 << 44) + 1, &mut two);
            assert_ne!(one, two, "{}", route.name());
        }
    }
}
