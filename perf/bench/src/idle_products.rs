//! Products that are on sale and that nobody asks for: what an edge asks Redis about them, whether others of Redis' clients
//! notice; and whether buyers notice pages that look at the stock of a thousand products.
//!
//! Costs of Redis are shares of one processor, since what is looked at by turn costs by time and not by request.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Connection;
use serde::Serialize;

use super::contestant::{Contestant, Source};
use super::flood::{Answers, Buyer, buyer};
use super::scenario::Sale;
use super::stage::Stage;
use flux_lab::error::{Doing, LabError};

/// Products on sale.
pub const PRODUCTS: u32 = 5_000;
/// Cores of the edge, where the machine has so many.
const CORES_MAX: u32 = 8;
/// How long nobody has asked for them when the measuring begins: an edge looks at a product every second for 10 s.
const REST: Duration = Duration::from_secs(15);
const PING_PAUSE: Duration = Duration::from_millis(5);
/// Products of which pages show the stock.
const SHOWN: u32 = 1_000;
/// Requests of one write of theirs, and how often one goes out: each of the products is asked for once a second.
const SHOWN_TOGETHER: u32 = 10;
const SHOWN_PAUSE: Duration = Duration::from_millis(10);
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// One repetition.
#[derive(Clone, Debug, Serialize)]
pub struct IdleProductsRow {
    /// Which repetition, from 1.
    pub repetition: u32,
    /// Cores of the edge.
    pub cores: u32,
    /// CPU of Redis, of a hundred of one processor, before anything was on sale.
    pub redis_percent_before: f64,
    /// The same while nobody asks for the products.
    pub redis_percent: f64,
    /// 99 of 100 times from PING to its answer before anything was on sale, µs.
    pub ping_p99_us_before: u64,
    /// The same while nobody asks for the products.
    pub ping_p99_us: u64,
    /// A buyer of one product, alone.
    pub alone: Buyer,
    /// The same beside pages that ask for the stock of a thousand products.
    pub beside: Buyer,
    /// Answers that those pages got.
    pub shown: u64,
}

impl IdleProductsRow {
    /// For the one who waits for the end of the run.
    pub fn in_words(&self) -> String {
        let ms = |us: u64| us as f64 / 1e3;
        format!(
            "idle products #{}: {} cores, Redis {:.2} % (before {:.2} %), PING p99 {:.2} ms (before {:.2} ms); an order's p50 \
             {:.2} ms beside {} stocks shown, {:.2} ms alone",
            self.repetition,
            self.cores,
            self.redis_percent,
            self.redis_percent_before,
            ms(self.ping_p99_us),
            ms(self.ping_p99_us_before),
            ms(self.beside.p50_us),
            self.shown,
            ms(self.alone.p50_us)
        )
    }
}

/// Measures `repetitions` times, each part for so many seconds; `note` is told each as it is done.
///
/// # Errors
/// Where a server or program does not do its part.
pub fn measure(
    stage: &mut Stage,
    repetitions: u32,
    seconds: u32,
    mut note: impl FnMut(IdleProductsRow),
) -> Result<(), LabError> {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u32).min(CORES_MAX);
    let span = Duration::from_secs(seconds.into());
    for repetition in 1..=repetitions {
        let edge = stage.enter(Contestant::Edge, &Source::Edge, cores, Vec::new())?;
        let mut redis = stage.redis.connection()?;
        let mut rest = || -> Result<(f64, u64), LabError> {
            let (before, begun) = (stage.used(&edge)?, Instant::now());
            let p99_us = ping(&mut redis, span)?;
            let used_us = (stage.used(&edge)?.redis - before.redis) as f64;
            Ok((used_us * 100.0 / begun.elapsed().as_micros() as f64, p99_us))
        };
        let (redis_percent_before, ping_p99_us_before) = rest()?;
        for number in 0..PRODUCTS {
            edge.open(&Sale::limited(&product(number), 1_000_000_000, 0))?;
        }
        std::thread::sleep(REST);
        let (redis_percent, ping_p99_us) = rest()?;
        let alone = bought(edge.public(), &format!("{repetition}-alone"), span, None)?.0;
        let (beside, shown) = bought(edge.public(), &format!("{repetition}-beside"), span, Some(show))?;
        note(IdleProductsRow {
            repetition,
            cores,
            redis_percent_before,
            redis_percent,
            ping_p99_us_before,
            ping_p99_us,
            alone,
            beside,
            shown,
        });
    }
    Ok(())
}

fn product(number: u32) -> String {
    format!("idle-{number}")
}

/// 99 of 100 answers to PING came within so many µs.
fn ping(redis: &mut Connection, span: Duration) -> Result<u64, LabError> {
    let begun = Instant::now();
    let mut spans_us = Vec::new();
    while begun.elapsed() < span {
        let asked = Instant::now();
        redis::cmd("PING").exec(redis).doing(|| "asking Redis for a sign of life".to_owned())?;
        spans_us.push(asked.elapsed().as_micros() as u64);
        std::thread::sleep(PING_PAUSE);
    }
    let answered = spans_us.len() as u64;
    Ok(Buyer::of(answered, spans_us).p99_us)
}

/// What goes on beside a buyer until it is told to end; how many answers it got.
type Other = fn(SocketAddr, &AtomicBool) -> Result<u64, LabError>;

/// A buyer for so long, beside what `other` does meanwhile.
fn bought(edge: SocketAddr, round: &str, span: Duration, other: Option<Other>) -> Result<(Buyer, u64), LabError> {
    let ended = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let buyer = scope.spawn(move || buyer(edge, &product(0), round, ended));
        let other = other.map(|other| scope.spawn(move || other(edge, ended)));
        std::thread::sleep(span);
        ended.store(true, Ordering::Relaxed);
        let count = other.map_or(Ok(0), |thread| thread.join().expect("no thread panics"))?;
        Ok((buyer.join().expect("no thread panics")?, count))
    })
}

/// Asks for the stock of one product after the other, over one connection; how many answers came.
fn show(edge: SocketAddr, ended: &AtomicBool) -> Result<u64, LabError> {
    let doing = || format!("asking {edge} for stocks");
    let mut stream = TcpStream::connect_timeout(&edge, REQUEST_MAX).doing(doing)?;
    stream.set_nodelay(true).doing(doing)?;
    stream.set_read_timeout(Some(REQUEST_MAX)).doing(doing)?;
    let (mut answers, mut number, mut out) = (Answers::default(), 0, Vec::new());
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        out.clear();
        for _ in 0..SHOWN_TOGETHER {
            let product = product((number % u64::from(SHOWN)) as u32);
            out.extend_from_slice(format!("GET /stock/{product} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
            number += 1;
        }
        stream.write_all(&out).doing(doing)?;
        answers.read(&mut stream, SHOWN_TOGETHER as usize).doing(doing)?;
        std::thread::sleep(SHOWN_PAUSE.saturating_sub(begun.elapsed()));
    }
    Ok(number)
}
