//! Shapes that lead where one planted bug does its harm, so that a few seeds find it: who comes when, and what goes wrong
//! meanwhile. The programs that ship come through every one of them.

use std::sync::Arc;
use std::time::Duration;

use flux_lab::crowd::Order;
use flux_protocol::planted::Bug;

use super::faults::Fault;
use super::shape::{ATTEMPTS_MAX, Bounds, FAULT_MAX, Planned, START, Sale, Shape, UNREST};
use crate::crowd::{Buyer, Habit, Look, Looker};
use crate::kafka::ProduceFault;
use crate::random::Random;

const PRODUCT: &str = "phone-0";
const DAY: Duration = Duration::from_secs(86_400);

/// A shape in which `bug` shows, or any shape where it shows everywhere; `None`: none was made for it, drawn ones find it.
pub fn shape(bug: Bug, random: &mut Random) -> Option<Shape> {
    Some(match bug {
        Bug::AcksOne => acks_one(random),
        Bug::RelayWithoutClaim | Bug::EntryGoneWithFirstOrder => refused_record(random),
        Bug::LeaseNotExpired => two_waves(),
        Bug::ReturnedTwice => expired_keys(random),
        Bug::AgelessReservations => sleeper(random),
        Bug::LateRecordsStored => late_records(random),
        Bug::SettleBeforeAck => lost_produce(random),
        Bug::CompensateOnTimeout => slow_redis(random),
        Bug::StockDefault => lost_stock(random),
        Bug::UsersNotRebuilt => greedy_users(random),
        Bug::EndlessLine => more_than_there_is(random),
        Bug::CloseForgotten => lost_close(random),
        Bug::DrainedToTheStable => open_transaction(random),
        Bug::LineJumped | Bug::PlaceNotKept | Bug::WatermarkBack => long_line(random),
        Bug::PlaceNeverUsedUp => one_place_and_many_keys(random),
        Bug::OlderSaleBelieved => old_master(random),
        Bug::WaiterForgotten => lookers_without_redis(random),
        Bug::LostRecordsBelieved => lost_records(random),
        Bug::MovedRecordsForgotten
        | Bug::RetiredUnderWay
        | Bug::OldReturnTaken
        | Bug::SecondReservationDropped
        | Bug::LeaseFromTheReply
        | Bug::AgelessWitness
        | Bug::RaisedIsInForce
        | Bug::LeadersFromTheFirst => return None,
        _ => Shape::usual(random),
    })
}

/// One sale of `quantity` units, one worker, nobody who buys and nothing that goes wrong.
pub fn quiet(edges: &[usize], quantity: u64) -> Shape {
    Shape {
        edges: edges.to_vec(),
        workers: 1,
        nodes: 3,
        partitions: 2,
        sales: vec![Sale {
            product: PRODUCT.to_owned(),
            quantity,
            rate: 0,
            burst: 50,
            per_user: 0,
            opens_after: Duration::ZERO,
            is_fair: false,
        }],
        buyers: Vec::new(),
        lookers: Vec::new(),
        faults: Vec::new(),
        rebuilds_by_itself: false,
        rebuilds_at_once: false,
        idempotency_ttl: DAY,
        unrest: UNREST + FAULT_MAX,
        bounds: Bounds::default(),
        rares: Vec::new(),
    }
}

/// `count` buyers who come within `spread` of `at`.
pub fn wave(shape: &mut Shape, random: &mut Random, count: usize, at: Duration, spread: Duration) {
    let from = shape.buyers.len();
    for number in from..from + count {
        let comes_after = at + Duration::from_micros(random.below(spread.as_micros() as u64 + 1));
        shape.buyers.push(Buyer {
            order: Arc::new(Order::new(PRODUCT, &format!("user-{number}"), &format!("key-{number}"), 1)),
            comes_after,
            attempts_max: ATTEMPTS_MAX,
            door: None,
            hang_up_per_mille: 0,
            asks_again_after: None,
            asks_again_times: 1,
            wants_json: false,
            habit: Habit::Impatient,
        });
    }
}

/// Something goes wrong at `at_ms`, for so long where it lasts.
pub fn happens(shape: &mut Shape, at_ms: u64, lasts_ms: u64, fault: Fault) {
    let (at, lasts) = (Duration::from_millis(at_ms), Duration::from_millis(lasts_ms));
    shape.faults.push(Planned { at, lasts, fault });
    shape.faults.sort_by_key(|planned| planned.at);
}

/// Leaders move while replicas are behind.
fn acks_one(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 100);
    wave(&mut shape, random, 60, Duration::ZERO, Duration::from_secs(6));
    happens(&mut shape, 0, 8000, Fault::ReplicationSlow(Duration::from_millis(300)));
    for _ in 0..6 {
        let partition = random.below(2) as usize;
        happens(&mut shape, random.below(7000), 1, Fault::LeaderMoved(partition));
    }
    shape
}

/// A broker refuses one record for so long that the relay tries it, too.
fn refused_record(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 100);
    wave(&mut shape, random, 60, Duration::from_millis(200), Duration::from_millis(20));
    let user = format!("user-{}\"", random.below(60));
    happens(&mut shape, 100, 11_900, Fault::RecordRefused(user, 87));
    shape
}

/// A crowd that leaves tokens behind, and another when the bucket is full again.
fn two_waves() -> Shape {
    let random = &mut Random::new(0);
    let mut shape = quiet(&[1, 1], 100_000);
    shape.sales[0].rate = 10;
    shape.sales[0].burst = 100;
    wave(&mut shape, random, 60, Duration::from_millis(100), Duration::from_millis(4));
    let first = shape.buyers.len();
    wave(&mut shape, random, 300, Duration::from_secs(12), Duration::from_millis(100));
    for (number, buyer) in shape.buyers.iter_mut().enumerate() {
        buyer.attempts_max = 1;
        buyer.door = Some(if number < first { 0 } else { number % 2 });
    }
    shape
}

/// Keys whose records have run out are used again, and two workers give back what comes of it.
fn expired_keys(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 100);
    shape.workers = 2;
    shape.idempotency_ttl = Duration::from_secs(60);
    wave(&mut shape, random, 40, Duration::ZERO, Duration::from_secs(2));
    for buyer in &mut shape.buyers {
        buyer.asks_again_after = Some(Duration::from_millis(95_000 + random.below(5000)));
    }
    shape
}

/// An edge stands still with reservations in hand that Redis then forgets, and wakes after a rebuild.
fn sleeper(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 200);
    wave(&mut shape, random, 60, Duration::from_millis(1000), Duration::from_millis(30));
    for buyer in &mut shape.buyers {
        buyer.attempts_max = 1;
        buyer.door = Some(1);
    }
    happens(&mut shape, 1001 + random.below(30), 60_000, Fault::EdgePaused(1, 0));
    happens(&mut shape, 1200, 300, Fault::RedisRolledBack(Duration::from_millis(900)));
    happens(&mut shape, 5000, 1, Fault::SaleRebuilt(0));
    shape
}

/// An edge sends, is killed, and Redis loses what it had taken; what it sent was on a way that is so slow that it arrives behind the
/// rebuild. Then everything is sold.
fn late_records(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 60);
    wave(&mut shape, random, 40, Duration::from_millis(1000), Duration::from_millis(30));
    for buyer in &mut shape.buyers {
        buyer.attempts_max = 1;
        buyer.door = Some(1);
    }
    for node in 0..shape.nodes {
        happens(&mut shape, 900, 300, Fault::SlowEdgeKafka(1, node, Duration::from_secs(20)));
    }
    happens(&mut shape, 1010 + random.below(40), 20_000, Fault::EdgeKilled(1));
    happens(&mut shape, 1200, 300, Fault::RedisRolledBack(Duration::from_millis(900)));
    happens(&mut shape, 1600, 1, Fault::SaleRebuilt(0));
    wave(&mut shape, random, 80, Duration::from_secs(22), Duration::from_secs(3));
    shape
}

/// Brokers fail while edges are killed.
fn lost_produce(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 100);
    wave(&mut shape, random, 60, Duration::ZERO, Duration::from_secs(5));
    for _ in 0..4 {
        let at = random.below(5000);
        happens(&mut shape, at, 3000, Fault::ProduceSpoilt(vec![ProduceFault::Refuse(19); 20]));
        happens(&mut shape, at + 100 + random.below(200), 2000, Fault::EdgeKilled(random.below(2) as usize));
    }
    shape
}

/// The stock's key is deleted in the middle of a crowd.
fn lost_stock(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 40);
    wave(&mut shape, random, 80, Duration::ZERO, Duration::from_secs(4));
    happens(&mut shape, 500 + random.below(1000), 1, Fault::KeyDeleted("stock"));
    shape
}

/// Nothing is left, the records of those who got it are deleted, and they ask again.
fn lost_records(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 20);
    wave(&mut shape, random, 40, Duration::ZERO, Duration::from_millis(500));
    for buyer in &mut shape.buyers {
        buyer.asks_again_after = Some(Duration::from_millis(2500 + random.below(2000)));
    }
    happens(&mut shape, 3000 + random.below(1000), 1, Fault::KeyDeleted("records"));
    shape
}

/// Redis answers, but too late.
fn slow_redis(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 40);
    wave(&mut shape, random, 60, Duration::ZERO, Duration::from_secs(5));
    happens(&mut shape, 500, 3000, Fault::RedisSlow(Duration::from_millis(300 + random.below(400))));
    shape
}

/// Everybody comes a second time with another key, after Redis has lost everything and the sale was rebuilt.
fn greedy_users(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 200);
    shape.sales[0].per_user = 1;
    wave(&mut shape, random, 40, Duration::ZERO, Duration::from_secs(2));
    for (number, buyer) in shape.buyers.clone().into_iter().enumerate() {
        let order = Order { key: format!("again-{number}"), ..Order::clone(&buyer.order) };
        let comes_after = buyer.comes_after + Duration::from_secs(10);
        shape.buyers.push(Buyer { order: Arc::new(order), comes_after, ..buyer });
    }
    happens(&mut shape, 5000, 1, Fault::RedisFlushed);
    shape
}

/// A sale is closed, and Redis loses it.
fn lost_close(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 100);
    wave(&mut shape, random, 40, Duration::ZERO, Duration::from_secs(2));
    happens(&mut shape, 3000, 1, Fault::SaleClosed(0));
    happens(&mut shape, 6000, 1, Fault::RedisFlushed);
    shape
}

/// Orders are acknowledged behind somebody's open transaction, Redis loses everything, and a rebuild begins.
fn open_transaction(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 100);
    wave(&mut shape, random, 60, Duration::ZERO, Duration::from_secs(4));
    happens(&mut shape, 1000, 45_000, Fault::TransactionOpen);
    happens(&mut shape, 6000, 1, Fault::RedisFlushed);
    happens(&mut shape, 8000, 1, Fault::SaleRebuilt(0));
    shape
}

/// A fair sale and a crowd that comes before and after it opens.
fn long_line(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 100);
    let sale = &mut shape.sales[0];
    (sale.is_fair, sale.rate, sale.burst) = (true, 10, 4);
    sale.opens_after = START + Duration::from_secs(3);
    wave(&mut shape, random, 60, Duration::ZERO, Duration::from_secs(8));
    shape
}

/// In a fair sale's crowd somebody who orders under many keys by the one place that they were given.
fn one_place_and_many_keys(random: &mut Random) -> Shape {
    let mut shape = long_line(random);
    let honest = shape.buyers.len();
    wave(&mut shape, random, 12, Duration::ZERO, Duration::from_secs(2));
    for buyer in &mut shape.buyers[honest..] {
        let order = Order { user: "cheat".to_owned(), ..Order::clone(&buyer.order) };
        (buyer.order, buyer.habit) = (Arc::new(order), Habit::Cheat);
    }
    shape
}

/// A Redis that was given up and has slept through a rebuild is what everybody reaches again.
fn old_master(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1], 200);
    wave(&mut shape, random, 80, Duration::ZERO, Duration::from_secs(30));
    let missed = Duration::from_millis(random.below(300));
    happens(&mut shape, 1000 + random.below(500), 22_000, Fault::OldMasterWakes(missed));
    shape
}

/// Pages look while connections to Redis end again and again.
fn lookers_without_redis(random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 100);
    wave(&mut shape, random, 30, Duration::ZERO, Duration::from_secs(5));
    for look in [Look::Stock, Look::Queue, Look::Order, Look::MadeUp] {
        let (product, pause) = (Some(PRODUCT.to_owned()), Duration::from_millis(50 + random.below(50)));
        let (comes_after, leaves_after) = (Duration::ZERO, Duration::from_secs(6));
        shape.lookers.push(Looker { look, product, comes_after, leaves_after, pause, at_once: 3 });
    }
    for number in 0..5 {
        happens(&mut shape, 500 + 800 * number + random.below(300), 200, Fault::RedisPaused);
        happens(&mut shape, 650 + 800 * number + random.below(300), 1, Fault::RedisReset);
    }
    happens(&mut shape, 5000, 800, Fault::RedisAway);
    shape
}

/// A fair sale of few units: as many are called as there are, and the others wait.
fn more_than_there_is(random: &mut Random) -> Shape {
    let mut shape = long_line(random);
    shape.sales[0].quantity = 10;
    shape
}
