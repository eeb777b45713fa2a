//! Buyers in the world: each sends its order, again with the same key while the answer allows, and writes down what it
//! was told.
//!
//! A buyer may go to another edge for a repeat, and may hang up on a request that it has just sent: then its outcome is
//! unknown to it, as to a person whose network failed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use flux_lab::crowd::{Doubt, Exchange, History, Order, Outcome, Refusal};
use flux_net::{Address, Clock, Stream, Tail, sleep, within};

use crate::random::Random;

/// How long a buyer waits for an answer: longer than any deadline of an edge.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// What a buyer wants and how it behaves.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// The same at every repeat.
    pub order: Arc<Order>,
    /// When it comes, counted from the crowd's start.
    pub comes_after: Duration,
    /// Requests it sends at most. With 1 it wants its luck tried once, and no answer is as good as another.
    pub attempts_max: u32,
    /// The door it takes each time; else any.
    pub door: Option<usize>,
    /// Of a thousand requests it hangs up on so many.
    pub hang_up_per_mille: u64,
    /// It asks once more, so long after it was served: it must be told the same.
    pub asks_again_after: Option<Duration>,
}

/// What all buyers share.
pub struct Crowd {
    /// Edges' public addresses, host and port.
    pub doors: Vec<(String, u16)>,
    /// What they were told.
    pub history: RefCell<History>,
    /// Buyers that have not come to an end yet.
    pub under_way: std::cell::Cell<usize>,
    /// Buyers that gave up before an answer that ends the matter.
    pub unserved: std::cell::Cell<usize>,
}

impl Crowd {
    /// Nobody has come yet.
    pub fn new(doors: Vec<(String, u16)>) -> Rc<Crowd> {
        Rc::new(Crowd {
            doors,
            history: RefCell::default(),
            under_way: Default::default(),
            unserved: Default::default(),
        })
    }
}

/// One buyer's way, until an answer ends it or it has had enough.
pub async fn buy(crowd: Rc<Crowd>, buyer: Buyer, mut random: Random) {
    crowd.under_way.set(crowd.under_way.get() + 1);
    sleep(buyer.comes_after).await.expect("a simulated timer");
    let mut served = insist(&crowd, &buyer, &mut random).await;
    if let Some(pause) = buyer.asks_again_after.filter(|_| served) {
        sleep(pause).await.expect("a simulated timer");
        served = insist(&crowd, &buyer, &mut random).await;
    }
    let is_missed = !served && buyer.attempts_max > 1;
    crowd.unserved.set(crowd.unserved.get() + usize::from(is_missed));
    crowd.under_way.set(crowd.under_way.get() - 1);
}

/// Sends the order until an answer ends the matter; whether one has.
async fn insist(crowd: &Crowd, buyer: &Buyer, random: &mut Random) -> bool {
    let clock = Clock::start();
    let mut door = pick(crowd, buyer, random);
    for attempt in 0..buyer.attempts_max {
        let hangs_up = random.per_mille(buyer.hang_up_per_mille);
        let sent_us = clock.instant().as_micros();
        let outcome = ask(&crowd.doors[door], &buyer.order, hangs_up, random).await;
        let answered_us = clock.instant().as_micros();
        let exchange = Exchange { order: Arc::clone(&buyer.order), attempt, sent_us, answered_us, outcome };
        crowd.history.borrow_mut().exchanges.push(exchange);
        if is_last_word(outcome) {
            return true;
        }
        if random.below(2) == 0 {
            door = pick(crowd, buyer, random);
        }
        // Growing pauses with jitter, as a decent client does.
        let pause_ms = (50 << attempt.min(5)) + random.below(200);
        sleep(Duration::from_millis(pause_ms)).await.expect("a simulated timer");
    }
    false
}

fn pick(crowd: &Crowd, buyer: &Buyer, random: &mut Random) -> usize {
    buyer.door.unwrap_or_else(|| random.below(crowd.doors.len() as u64) as usize)
}

/// Whether a buyer stops after this answer.
fn is_last_word(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Accepted { .. } => true,
        Outcome::No(refusal) => !matches!(
            refusal,
            Refusal::Redirected | Refusal::Waiting | Refusal::Unavailable | Refusal::NotSent | Refusal::UnknownProduct
        ),
        Outcome::Pending { .. } | Outcome::Unknown(_) => false,
    }
}

async fn ask(door: &(String, u16), order: &Order, hangs_up: bool, random: &mut Random) -> Outcome {
    let address = Address::Tcp { host: door.0.clone(), port: door.1 };
    let Ok(mut stream) = Stream::connect(&address, CONNECT_PATIENCE).await else {
        return Outcome::No(Refusal::NotSent);
    };
    let body =
        format!(r#"{{"productId":"{}","userId":"{}","quantity":{}}}"#, order.product, order.user, order.quantity);
    let request = format!(
        "POST /order HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\nx-idempotency-key: {}\r\n\
         content-length: {}\r\n\r\n{body}",
        order.key,
        body.len()
    );
    if stream.write_all(request.into_bytes()).await.0.is_err() {
        return Outcome::Unknown(Doubt::Reset);
    }
    if hangs_up {
        // Somewhere between the request's arrival and its answer.
        sleep(Duration::from_micros(random.below(3000))).await.expect("a simulated timer");
        return Outcome::Unknown(Doubt::Reset);
    }
    match within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer") {
        None => Outcome::Unknown(Doubt::Timeout),
        Some(Err(_)) => Outcome::Unknown(Doubt::Reset),
        Some(Ok((status, body, replayed))) => Outcome::read(status, &body, replayed),
    }
}

/// Reads one answer: status, body, whether it says that it is a replay.
///
/// # Errors
/// The connection ended first, or what came is no answer.
pub async fn answer(stream: &mut Stream) -> io::Result<(u16, Vec<u8>, bool)> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(1024);
        let (read, tail) = stream.read(Tail(buffer)).await;
        buffer = tail.0;
        if read? == 0 || buffer.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(parsed) = head.parse(&buffer) else { return Err(io::ErrorKind::InvalidData.into()) };
        let httparse::Status::Complete(start) = parsed else { continue };
        let field = |name: &str| {
            let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.and_then(|field| std::str::from_utf8(field.value).ok())
        };
        let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if buffer.len() < start + length {
            continue;
        }
        let replayed = field("idempotency-replayed") == Some("true");
        let status = head.code.unwrap_or(0);
        return Ok((status, buffer[start..start + length].to_vec(), replayed));
    }
}
