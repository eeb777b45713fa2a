//! A sale with a fair queue on real servers: a crowd that comes early and late, patient and not, at two edges.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use flux_lab::http_client::{self, HttpAnswer};
use flux_lab::world::{World, WorldOptions};
use flux_protocol::queue::{Place, Seed, Ticket, Watermark};
use serde_json::{Value, json};

use crate::redis::FENCE;
use crate::{units_stored, wait_until, world};

const REQUEST_MAX: Duration = Duration::from_secs(30);
const RATE: u64 = 50;
const BURST: u64 = 50;
const UNITS: usize = 200;
/// Visitors who come before the opening, and after it.
const EARLY: usize = 300;
const LATE: usize = 60;
/// Every so manieth does not wait to be called but tries again and again.
const IMPATIENT_EVERY: usize = 8;

fn order(edge: SocketAddr, user: &str, ticket: Option<&str>) -> HttpAnswer {
    let body = json!({"productId": "phone", "userId": user}).to_string();
    let mut fields =
        vec![("content-type", "application/json"), ("x-idempotency-key", user), ("accept", "application/json")];
    fields.extend(ticket.map(|ticket| ("x-queue-ticket", ticket)));
    http_client::request(edge, "POST", "/order", &fields, body.as_bytes(), REQUEST_MAX).expect("the edge answers")
}

fn document(edge: SocketAddr) -> Value {
    let answer = http_client::request(edge, "GET", "/queue/phone", &[], b"", REQUEST_MAX).expect("the edge answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn watermark(document: &Value) -> Watermark {
    let number = |name: &str| document["watermark"][name].as_u64().expect("a number") as u32;
    Watermark(Place { slot: number("slot"), rank: number("rank") })
}

fn claimed(ticket: &str) -> Ticket {
    Ticket::claimed(ticket.as_bytes()).expect("a ticket")
}

/// The line as everybody reads it.
#[derive(Default)]
struct Board {
    told: Mutex<Option<(Watermark, bool)>>,
    changed: Condvar,
}

impl Board {
    /// Waits until a place is called: true; or until nothing is left: false.
    fn wait_for(&self, place: Place) -> bool {
        let waits = |told: &mut Option<(Watermark, bool)>| {
            told.is_none_or(|(mark, is_over)| !mark.has_called(place) && !is_over)
        };
        let told = self.told.lock().expect("not poisoned");
        let (told, timeout) = self.changed.wait_timeout_while(told, crate::SETTLE_MAX, waits).expect("not poisoned");
        assert!(!timeout.timed_out(), "neither called nor sold out");
        told.is_some_and(|(mark, _)| mark.has_called(place))
    }

    /// Reads the document until nothing is left. Each core has its own, some older than others: by their own time the
    /// watermark never moves back.
    fn keep(&self, edge: SocketAddr) {
        let (mut last, mut last_now) = (Watermark::default(), 0);
        loop {
            let told = document(edge);
            let (mark, is_over) = (watermark(&told), told["state"] == "sold_out");
            let now = told["now"].as_u64().expect("milliseconds");
            if now < last_now {
                continue;
            }
            assert!(mark >= last, "{last:?}, then {mark:?}");
            (last, last_now) = (mark, now);
            *self.told.lock().expect("not poisoned") = Some((mark, is_over));
            self.changed.notify_all();
            if is_over {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What became of a visitor.
struct Visit {
    user: String,
    ticket: String,
    /// When the order that was accepted was sent and answered.
    bought: Option<(Instant, Instant)>,
}

/// One visitor, until they have bought or nothing is left. `called` says whether a place was called, as Redis has it.
fn visit(
    user: String,
    edges: [SocketAddr; 2],
    ticket: Option<String>,
    impatient: bool,
    board: &Board,
    called: &dyn Fn(Place) -> bool,
) -> Visit {
    let mut ticket = ticket;
    let came = Instant::now();
    for turn in 0.. {
        assert!(came.elapsed() < 2 * crate::SETTLE_MAX, "{user}: neither served nor told that nothing is left");
        if let Some(ticket) = ticket.as_ref().filter(|_| !impatient)
            && !board.wait_for(claimed(ticket).place)
        {
            return Visit { user, ticket: ticket.clone(), bought: None };
        }
        let sent = Instant::now();
        let answer = order(edges[turn % 2], &user, ticket.as_deref());
        let answered = Instant::now();
        match answer.status {
            200 => {
                let ticket = ticket.expect("while others wait nobody buys without a place");
                assert!(called(claimed(&ticket).place), "{user} was not called");
                return Visit { user, ticket, bought: Some((sent, answered)) };
            }
            409 => return Visit { user, ticket: ticket.unwrap_or_default(), bought: None },
            429 => {
                let told = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
                if let Some(shown) = &ticket {
                    assert_eq!(claimed(shown).place, claimed(&told).place, "a place is kept");
                }
                ticket = Some(told);
                if impatient {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    unreachable!("the turns have no end")
}

#[test]
fn a_crowd_at_two_edges_is_served_by_place_and_never_faster_than_the_rate() {
    let mut world = World::start(WorldOptions {
        edges: 2,
        edge_environment: vec![("FLUX_CORES".to_owned(), "2".to_owned())],
        ..WorldOptions::default()
    })
    .expect("two edges and a worker");
    let clock: (u64, u64) = redis::cmd("TIME").query(&mut world.redis.connection().unwrap()).unwrap();
    let opens_at = Duration::new(clock.0 + 5, 0);
    let text = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + opens_at).to_string();
    let sale = json!({"productId": "phone", "quantity": UNITS, "rate": RATE, "burst": BURST, "queue": "fair", "opensAt": text});
    world.init_with(sale).unwrap();
    let edges: [SocketAddr; 2] = world.targets().try_into().expect("two");
    for edge in edges {
        wait_until("the edge knows the sale", || {
            http_client::request(edge, "GET", "/stock/phone", &[], b"", REQUEST_MAX).unwrap().status == 200
        });
    }
    let early: Vec<(String, String)> = (0..EARLY)
        .map(|number| {
            let user = format!("early-{number}");
            let answer = order(edges[number % 2], &user, None);
            assert_eq!(answer.status, 429, "{}", answer.text());
            let ticket = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
            (user, ticket)
        })
        .collect();
    let told = document(edges[0]);
    assert_eq!((&told["state"], &told["seed"]), (&json!("waiting"), &Value::Null), "{told}");
    assert!(early.iter().all(|(_, ticket)| claimed(ticket).place.slot == 0), "all came before it opened");
    wait_until("both edges have told how many wait", || {
        let issued = document(edges[1])["issued"][0].as_u64().unwrap_or(0);
        issued.abs_diff(EARLY as u64) <= EARLY as u64 / 20
    });
    wait_until("it has opened", || document(edges[0])["state"] == "open");

    let board = Arc::new(Board::default());
    let reader = {
        let board = Arc::clone(&board);
        std::thread::spawn(move || board.keep(edges[0]))
    };
    let late = (0..LATE).map(|number| (format!("late-{number}"), String::new()));
    let threads: Vec<_> = early
        .into_iter()
        .chain(late)
        .enumerate()
        .map(|(number, (user, ticket))| {
            let (board, mut connection) = (Arc::clone(&board), world.redis.connection().unwrap());
            std::thread::spawn(move || {
                let connection = std::cell::RefCell::new(&mut connection);
                let called = |place: Place| {
                    let mut command = redis::cmd("HMGET");
                    let (slot, rank): (u32, u32) = command
                        .arg("product:{phone}:queue")
                        .arg("slot")
                        .arg("rank")
                        .query(*connection.borrow_mut())
                        .unwrap();
                    Watermark(Place { slot, rank }).has_called(place)
                };
                let ticket = Some(ticket).filter(|ticket| !ticket.is_empty());
                visit(user, edges, ticket, number % IMPATIENT_EVERY == 0, &board, &called)
            })
        })
        .collect();
    let visits: Vec<Visit> = threads.into_iter().map(|thread| thread.join().expect("served in order")).collect();
    reader.join().expect("the watermark never moves back");

    let bought: Vec<(Instant, Instant)> = visits.iter().filter_map(|visit| visit.bought).collect();
    assert_eq!(bought.len(), UNITS, "all units were sold");
    // Whoever was both sent and answered within a span took a token in it.
    for (from, _) in &bought {
        for (_, to) in &bought {
            let within = bought.iter().filter(|(sent, answered)| sent >= from && answered <= to).count() as f64;
            let span = to.saturating_duration_since(*from).as_secs_f64();
            assert!(within <= RATE as f64 * span + BURST as f64, "{within} orders in {span} s");
        }
    }
    wait_until("all orders are stored", || units_stored(&world, "phone") == UNITS as i64);
    for visit in visits.iter().filter(|visit| visit.bought.is_none()).take(20) {
        assert_eq!(order(edges[0], &visit.user, Some(&visit.ticket)).status, 409, "nobody waits for nothing");
    }

    // The sale ends, its seed is told, and everybody can see that their lot was the true one.
    let hash = document(edges[0])["seedHash"].clone();
    world.close("phone").unwrap();
    wait_until("the seed is told", || document(edges[1])["seed"].is_string());
    let seed = document(edges[1])["seed"].as_str().map(str::to_owned).expect("looked at just now");
    let seed = Seed::parse(seed.as_bytes()).expect("a seed");
    assert_eq!(hash, seed.hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let tickets = visits.iter().filter(|visit| !visit.ticket.is_empty());
    assert!(tickets.clone().count() >= EARLY);
    for Visit { user, ticket, .. } in tickets {
        assert!(claimed(ticket).is_true_lot(&seed, user.as_bytes()), "{user}");
    }
}

#[test]
fn a_redis_that_lost_everything_takes_the_old_tickets_once_it_was_rebuilt() {
    let mut world = world();
    let sale =
        json!({"productId": "phone", "quantity": 10, "rate": RATE, "queue": "fair", "opensAt": "2100-01-01T00:00:00Z"});
    world.init_with(sale).unwrap();
    let edge = world.edges[0].public();
    let answer = order(edge, "ann", None);
    let ticket = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
    let hash = document(edge)["seedHash"].clone();
    wait_until("the ledger knows the sale", || {
        let row = world.ledger().unwrap().query_opt("SELECT queue FROM sales WHERE seed IS NOT NULL", &[]).unwrap();
        row.is_some_and(|row| row.get::<_, &str>(0) == "fair")
    });
    redis::cmd("FLUSHALL").exec(&mut world.redis.connection().unwrap()).unwrap();
    let rebuilt = world.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge has a line again", || {
        let answer = order(edge, "ann", Some(&ticket));
        answer.status == 429 && answer.json()["ticket"] == ticket.as_str()
    });
    assert_eq!(document(edge)["seedHash"], hash);
    assert_eq!(order(edge, "ann", None).json()["ticket"], ticket.as_str(), "the same lot");
}
