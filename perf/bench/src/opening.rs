//! When a scheduled sale opens: two edges of two cores on one Redis, asked without pause over connections of one request,
//! which the kernel spreads over the cores; every answer is held against Redis' clock.
//!
//! Times are those at which a client had its answer, so an edge is never shown to be faster than it is. An order that was
//! sold before the opening and answered after it cannot be seen from here: that the script judges by Redis' clock itself
//! is shown in `edge/tests/scripts`. Never judges: what is too early or too far apart is a goal's matter.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use redis::Connection;
use serde::Serialize;
use serde_json::json;

use super::contestant::{Contestant, Source};
use super::scenario::Sale;
use super::server::Server;
use super::stage::Stage;
use flux_lab::error::{Doing, LabError};
use flux_lab::http_client;
use flux_lab::process::LOOK_AGAIN;

/// Edges that open one sale.
const EDGES: usize = 2;
/// Cores of each.
const CORES: u32 = 2;
/// Threads that ask one edge: two, so that one waits for its answer while the other asks.
const CLIENTS_BY_EDGE: usize = 2;
/// From `/init` to the opening: both edges have read the registry meanwhile, which they do every second.
const AHEAD: Duration = Duration::from_secs(3);
/// Clients begin so long before the opening, and go on so long after it.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(1);
/// Between a client's answer and its next question: how exact the figures are, and what leaves the cores time to answer.
const PAUSE: Duration = Duration::from_millis(1);
/// Round trips to Redis' clock, of which the shortest counts.
const CLOCK_LOOKS: u32 = 20;
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// How one edge opened a sale, by Redis' clock, ms after the opening.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EdgeOpening {
    /// Requests, each on a connection of its own.
    pub asked: u64,
    /// The first 200.
    pub first_accepted_ms: f64,
    /// The last 302.
    pub last_refused_ms: f64,
}

/// How the edges opened one sale.
#[derive(Clone, Debug, Serialize)]
pub struct OpeningRow {
    /// Which repetition, from 1.
    pub repetition: u32,
    /// How far Redis' clock may have been misread.
    pub clock_error_ms: f64,
    /// Each edge.
    pub edges: Vec<EdgeOpening>,
    /// The first 200 of all.
    pub first_ms: f64,
    /// From then until every edge had said 200, and none said 302 any more.
    pub spread_ms: f64,
}

impl OpeningRow {
    /// Of `edges`, of which there is at least one.
    pub fn new(repetition: u32, clock_error_ms: f64, edges: Vec<EdgeOpening>) -> OpeningRow {
        let first_ms = edges.iter().map(|edge| edge.first_accepted_ms).fold(f64::INFINITY, f64::min);
        let whole = edges.iter().map(|edge| edge.first_accepted_ms.max(edge.last_refused_ms));
        let spread_ms = whole.fold(f64::NEG_INFINITY, f64::max) - first_ms;
        OpeningRow { repetition, clock_error_ms, edges, first_ms, spread_ms }
    }

    /// For the one who waits for the end of the run.
    pub fn in_words(&self) -> String {
        let edge = |edge: &EdgeOpening| {
            format!("200 from {:.2} ms on, 302 until {:.2} ms", edge.first_accepted_ms, edge.last_refused_ms)
        };
        let edges = self.edges.iter().map(edge).collect::<Vec<_>>().join("; ");
        format!("opening #{}: {edges}; spread {:.2} ms", self.repetition, self.spread_ms)
    }
}

/// Opens one sale after the other, `repetitions` times; `note` is told each as it is done.
///
/// # Errors
/// Where a server or program does not do its part, or answers other than 200 and 302.
pub fn measure(stage: &mut Stage, repetitions: u32, mut note: impl FnMut(OpeningRow)) -> Result<(), LabError> {
    stage.clear()?;
    let start = |_| stage.start_contestant(Contestant::Edge, &Source::Edge, CORES, Vec::new());
    let edges: Vec<Server> = (0..EDGES).map(start).collect::<Result<_, _>>()?;
    let mut redis = stage.redis.connection()?;
    for repetition in 1..=repetitions {
        note(open(&edges, &mut redis, repetition)?);
    }
    Ok(())
}

fn open(edges: &[Server], redis: &mut Connection, repetition: u32) -> Result<OpeningRow, LabError> {
    let clock = Clock::look(redis)?;
    let opens_ms = (clock.us_at(Instant::now()) + AHEAD.as_micros() as i64) / 1000;
    let opens_at = SystemTime::UNIX_EPOCH + Duration::from_millis(opens_ms as u64);
    let product = format!("opening-{repetition}");
    edges[0].open(&Sale::opening(&product, humantime::format_rfc3339_millis(opens_at).to_string()))?;
    let since_opening_us = |instant| clock.us_at(instant) - opens_ms * 1000;
    while since_opening_us(Instant::now()) < -(BEFORE.as_micros() as i64) {
        std::thread::sleep(LOOK_AGAIN);
    }
    let (product, since_opening_us) = (&product, &since_opening_us);
    let edges = std::thread::scope(|scope| {
        let clients: Vec<Vec<_>> = edges
            .iter()
            .map(|edge| {
                let public = edge.public();
                let client = |number| scope.spawn(move || ask(public, product, number, since_opening_us));
                (0..CLIENTS_BY_EDGE).map(client).collect()
            })
            .collect();
        let join = |clients: Vec<std::thread::ScopedJoinHandle<'_, Result<Answers, LabError>>>| {
            let answers = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
            answers.sum::<Result<Answers, LabError>>()?.of_edge()
        };
        clients.into_iter().map(join).collect::<Result<Vec<EdgeOpening>, LabError>>()
    })?;
    Ok(OpeningRow::new(repetition, clock.error_us as f64 / 1e3, edges))
}

/// Asks until [`AFTER`] the opening.
fn ask(
    edge: SocketAddr,
    product: &str,
    client: usize,
    since_opening_us: impl Fn(Instant) -> i64,
) -> Result<Answers, LabError> {
    let mut answers = Answers::default();
    for number in 0.. {
        let key = format!("{}-{client}-{number}", edge.port());
        let body = json!({"productId": product, "userId": key, "quantity": 1}).to_string();
        let headers = [("content-type", "application/json"), ("x-idempotency-key", key.as_str())];
        let answer = http_client::request(edge, "POST", "/order", &headers, body.as_bytes(), REQUEST_MAX)?;
        let at_us = since_opening_us(Instant::now());
        answers.note(at_us, answer.status)?;
        if at_us >= AFTER.as_micros() as i64 {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(answers)
}

/// What clients of one edge were told; times are µs since the opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answers {
    asked: u64,
    first_accepted_us: Option<i64>,
    last_refused_us: Option<i64>,
}

impl Answers {
    fn note(&mut self, at_us: i64, status: u16) -> Result<(), LabError> {
        self.asked += 1;
        match status {
            200 => self.first_accepted_us = Some(self.first_accepted_us.map_or(at_us, |first| first.min(at_us))),
            // There is no other reason to be sent away: the sale has no limit.
            302 => self.last_refused_us = self.last_refused_us.max(Some(at_us)),
            other => return Err(LabError::failed(format!("an edge answers {other} around the opening"))),
        }
        Ok(())
    }

    fn of_edge(self) -> Result<EdgeOpening, LabError> {
        let (Some(first), Some(last)) = (self.first_accepted_us, self.last_refused_us) else {
            return Err(LabError::failed("an edge was not seen both before and after the opening"));
        };
        let ms = |us: i64| us as f64 / 1e3;
        Ok(EdgeOpening { asked: self.asked, first_accepted_ms: ms(first), last_refused_ms: ms(last) })
    }
}

impl std::iter::Sum for Answers {
    fn sum<I: Iterator<Item = Answers>>(clients: I) -> Answers {
        clients.fold(Answers::default(), |sum, client| Answers {
            asked: sum.asked + client.asked,
            first_accepted_us: [sum.first_accepted_us, client.first_accepted_us].into_iter().flatten().min(),
            last_refused_us: sum.last_refused_us.max(client.last_refused_us),
        })
    }
}

/// Redis' clock, as it stood at a moment of ours.
#[derive(Clone, Copy, Debug)]
struct Clock {
    at: Instant,
    redis_us: i64,
    /// Half of the round trip in which it was read.
    error_us: i64,
}

impl Clock {
    fn look(redis: &mut Connection) -> Result<Clock, LabError> {
        let looks = (0..CLOCK_LOOKS).map(|_| {
            let before = Instant::now();
            let (seconds, micros): (i64, i64) =
                redis::cmd("TIME").query(redis).doing(|| "asking Redis for its time".to_owned())?;
            let half = before.elapsed() / 2;
            Ok(Clock { at: before + half, redis_us: seconds * 1_000_000 + micros, error_us: half.as_micros() as i64 })
        });
        let looks = looks.collect::<Result<Vec<Clock>, LabError>>()?;
        Ok(looks.into_iter().min_by_key(|look| look.error_us).expect("it was looked at"))
    }

    /// What it shows at `instant`, which may lie before the look, µs since the Unix epoch.
    fn us_at(&self, instant: Instant) -> i64 {
        let after = instant.saturating_duration_since(self.at).as_micros() as i64;
        self.redis_us + after - self.at.saturating_duration_since(instant).as_micros() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sale_is_open_when_the_last_edge_says_so_and_no_core_contradicts() {
        let edge = |first_accepted_ms, last_refused_ms| EdgeOpening { asked: 1, first_accepted_ms, last_refused_ms };
        let spread = |edges| OpeningRow::new(1, 0.0, edges).spread_ms;
        assert_eq!(spread(vec![edge(2.0, -1.0), edge(7.0, -1.0)]), 5.0);
        assert_eq!(spread(vec![edge(2.0, 30.0), edge(7.0, -1.0)]), 28.0);
        assert_eq!(OpeningRow::new(1, 0.0, vec![edge(2.0, 0.0), edge(-1.0, 0.0)]).first_ms, -1.0);
    }

    #[test]
    fn the_first_accepted_and_the_last_refused_of_all_clients_count() {
        let mut clients = [Answers::default(); 2];
        for (client, at_us, status) in
            [(0, -900, 302), (1, -100, 302), (1, 2_500, 200), (0, 3_000, 302), (0, 4_000, 200)]
        {
            clients[client].note(at_us, status).unwrap();
        }
        assert!(clients[0].note(5_000, 503).is_err());
        let edge = clients.into_iter().sum::<Answers>().of_edge().unwrap();
        assert_eq!((edge.first_accepted_ms, edge.last_refused_ms), (2.5, 3.0));
        assert!(Answers { last_refused_us: None, ..clients[1] }.of_edge().is_err());
        assert!(Answers { first_accepted_us: None, ..clients[1] }.of_edge().is_err());
    }

    #[test]
    fn redis_clock_is_read_off_before_and_after_the_look() {
        let at = Instant::now() + Duration::from_secs(1);
        let clock = Clock { at, redis_us: 5_000_000, error_us: 50 };
        assert_eq!(clock.us_at(at), 5_000_000);
        assert_eq!(clock.us_at(at + Duration::from_millis(3)), 5_003_000);
        assert_eq!(clock.us_at(at - Duration::from_millis(3)), 4_997_000);
    }
}
