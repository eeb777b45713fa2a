//! Buyers in the world: each sends its order, again with the same key while the answer allows, and writes down what it
//! was told.
//!
//! A buyer may go to another edge for a repeat, and may hang up on a request that it has just sent: then its outcome is
//! unknown to it, as to a person whose network failed. Where it is given a ticket, it does with it as is its [`Habit`].
//! Beside buyers there are those who only look (`poll`).

mod answer;
mod line;
mod poll;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flux_lab::crowd::{Doubt, Exchange, History, Order, Outcome, Refusal};
use flux_net::{Address, Clock, Stream, sleep, within};
use flux_protocol::time::Instant;

pub use self::answer::{Answer, TicketText, answer};
pub use self::line::{Habit, Stands, Tickets};
pub use self::poll::{Look, Looker, look};
use crate::kafka::Kafka;
use crate::random::Random;

/// How long anybody waits for an answer: longer than any deadline of an edge.
pub const PATIENCE: Duration = Duration::from_secs(6);
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

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
    /// How often it does so, each time as long after the last.
    pub asks_again_times: u32,
    /// It takes JSON: 429 in place of 302.
    pub wants_json: bool,
    /// What it does with tickets.
    pub habit: Habit,
}

impl Buyer {
    /// Whether it must be served in the end, or told that nothing is left: not who comes once only, nor who stands at the end
    /// of the line each time because it shows no ticket of its own.
    fn is_owed(&self) -> bool {
        self.attempts_max > 1 && matches!(self.habit, Habit::Impatient | Habit::Patient)
    }
}

/// A request that was sent to an edge, and when its sender knew that nothing more comes.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its path; of an order, `/order`.
    pub what: String,
    /// The door it came to.
    pub door: usize,
    /// When it was sent, µs.
    pub sent_us: u64,
    /// When it was answered or its connection ended; `None`: neither within [`PATIENCE`].
    pub ended_us: Option<u64>,
    /// Status and body, where they matter to somebody.
    pub told: Option<(u16, String)>,
}

/// What all buyers share.
pub struct Crowd {
    /// Edges' public addresses, host and port.
    pub doors: Vec<(String, u16)>,
    /// What they were told.
    pub history: RefCell<History>,
    /// The tickets of each exchange, in the history's order.
    pub tickets: RefCell<Vec<Tickets>>,
    /// What documents said of places, in the order in which they came.
    pub stands: RefCell<Vec<Stands>>,
    /// Answers that an order is made, of which the log had no record when they came; in words.
    pub unkept: RefCell<Vec<String>>,
    /// All brokers.
    kafka: Rc<RefCell<Kafka>>,
    /// Every request whose sender waited for what comes of it.
    pub asked: RefCell<Vec<Asked>>,
    /// Buyers that have not come to an end yet.
    pub under_way: Cell<usize>,
    /// Buyers that gave up before an answer that ends the matter.
    pub unserved: Cell<usize>,
    /// The ticket that somebody was given last, whoever and in whichever line.
    last_given: Cell<Option<TicketText>>,
    /// And by product and user the first of each.
    first_given: RefCell<BTreeMap<(String, String), TicketText>>,
}

impl Crowd {
    /// Nobody has come yet.
    pub fn new(doors: Vec<(String, u16)>, kafka: Rc<RefCell<Kafka>>) -> Rc<Crowd> {
        Rc::new(Crowd {
            doors,
            history: RefCell::default(),
            tickets: RefCell::default(),
            stands: RefCell::default(),
            unkept: RefCell::default(),
            kafka,
            asked: RefCell::default(),
            under_way: Cell::default(),
            unserved: Cell::default(),
            last_given: Cell::default(),
            first_given: RefCell::default(),
        })
    }

    /// Somebody was told now that an order is made.
    fn note_made(&self, now: Instant, order_id: &str, told: &str) {
        if !self.kafka.borrow_mut().holds(now, order_id) {
            let at = Duration::from_micros(now.as_micros());
            self.unkept
                .borrow_mut()
                .push(format!("I2: {order_id} is not in the log at {at:?}, when this came: {told}"));
        }
    }
}

/// One buyer's way, until an answer ends it or it has had enough.
pub async fn buy(crowd: Rc<Crowd>, buyer: Buyer, mut random: Random) {
    crowd.under_way.set(crowd.under_way.get() + 1);
    sleep(buyer.comes_after).await.expect("a simulated timer");
    let mut served = insist(&crowd, &buyer, &mut random).await;
    for pause in buyer.asks_again_after.into_iter().cycle().take(buyer.asks_again_times as usize) {
        if served {
            sleep(pause).await.expect("a simulated timer");
            served = insist(&crowd, &buyer, &mut random).await;
        }
    }
    let is_missed = !served && buyer.is_owed();
    crowd.unserved.set(crowd.unserved.get() + usize::from(is_missed));
    crowd.under_way.set(crowd.under_way.get() - 1);
}

/// Sends the order until an answer ends the matter; whether one has.
async fn insist(crowd: &Crowd, buyer: &Buyer, random: &mut Random) -> bool {
    let mut door = pick(crowd, buyer, random);
    let (mut held, mut seed_hash) = (None, None);
    let mut in_vain = 0;
    for attempt in 0.. {
        if in_vain == buyer.attempts_max {
            return false;
        }
        let hangs_up = random.per_mille(buyer.hang_up_per_mille);
        let user = (buyer.order.product.clone(), buyer.order.user.clone());
        let first_given = crowd.first_given.borrow().get(&user).copied();
        let shown = buyer.habit.shown(held, crowd.last_given.get(), first_given, random);
        let request = Request { order: &buyer.order, attempt, wants_json: buyer.wants_json, shown, hangs_up };
        let (outcome, given) = exchange(crowd, door, request, random).await;
        if is_last_word(outcome) {
            return true;
        }
        // Who holds a place and is sent back to the line stands in it for as long as it moves: where many others take places and
        // never come, and few units are left, that may be long (docs/QUEUE.md). One that stands still ends with the run.
        let stands_in_line = matches!(outcome, Outcome::No(Refusal::Redirected | Refusal::Waiting)) && shown.is_some();
        in_vain += u32::from(!(stands_in_line && buyer.is_owed()));
        if let Some(text) = given {
            if held != given {
                (held, seed_hash) = (given, None);
            }
            crowd.last_given.set(given);
            crowd.first_given.borrow_mut().entry(user).or_insert(text);
        }
        if random.below(2) == 0 {
            door = pick(crowd, buyer, random);
        }
        // Growing pauses with jitter, as a decent client does.
        let pause_ms = (50 << attempt.min(5)) + random.below(200);
        sleep(Duration::from_millis(pause_ms)).await.expect("a simulated timer");
        if let Some(ticket) = held.filter(|_| buyer.habit == Habit::Patient) {
            line::wait_until_called(crowd, door, &buyer.order, &ticket, &mut seed_hash).await;
        }
    }
    unreachable!("nobody asks so often")
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

/// An order as it is sent once.
struct Request<'a> {
    order: &'a Arc<Order>,
    /// How often it was sent before.
    attempt: u32,
    wants_json: bool,
    shown: Option<TicketText>,
    hangs_up: bool,
}

/// One request, written down: what it came to, and the ticket that the answer brought.
async fn exchange(
    crowd: &Crowd,
    door: usize,
    request: Request<'_>,
    random: &mut Random,
) -> (Outcome, Option<TicketText>) {
    let clock = Clock::start();
    let sent_us = clock.instant().as_micros();
    let (outcome, given) = ask(&crowd.doors[door], &request, random).await;
    let answered = clock.instant();
    let answered_us = answered.as_micros();
    if let Outcome::Accepted { order_id, replayed } = outcome {
        crowd.note_made(answered, &order_id.to_string(), if replayed { "a 200, replayed" } else { "a 200" });
    }
    let Request { order, attempt, shown, hangs_up, .. } = request;
    let exchange = Exchange { order: Arc::clone(order), attempt, sent_us, answered_us, outcome };
    crowd.history.borrow_mut().exchanges.push(exchange);
    crowd.tickets.borrow_mut().push(Tickets { shown, given });
    if !hangs_up && outcome != Outcome::No(Refusal::NotSent) {
        let ended_us = (outcome != Outcome::Unknown(Doubt::Timeout)).then_some(answered_us);
        crowd.asked.borrow_mut().push(Asked { what: "/order".to_owned(), door, sent_us, ended_us, told: None });
    }
    (outcome, given)
}

async fn ask(door: &(String, u16), request: &Request<'_>, random: &mut Random) -> (Outcome, Option<TicketText>) {
    let Ok(mut stream) = Stream::connect(&address(door), CONNECT_PATIENCE).await else {
        return (Outcome::No(Refusal::NotSent), None);
    };
    let bytes = answer::request(request.order, request.wants_json, request.shown.as_ref());
    if stream.write_all(bytes).await.0.is_err() {
        return (Outcome::Unknown(Doubt::Reset), None);
    }
    if request.hangs_up {
        // Somewhere between the request's arrival and its answer.
        sleep(Duration::from_micros(random.below(3000))).await.expect("a simulated timer");
        return (Outcome::Unknown(Doubt::Reset), None);
    }
    match within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer") {
        None => (Outcome::Unknown(Doubt::Timeout), None),
        Some(Err(_)) => (Outcome::Unknown(Doubt::Reset), None),
        Some(Ok(answer)) => (Outcome::read(answer.status, &answer.body, answer.replayed), answer.ticket()),
    }
}

fn address((host, port): &(String, u16)) -> Address {
    Address::Tcp { host: host.clone(), port: *port }
}
