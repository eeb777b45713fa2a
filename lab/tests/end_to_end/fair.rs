//! A sale with a fair queue on real servers: a crowd that comes early and late, patient and not, at two edges.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use flux_lab::demo::fair_crowd::{FairCrowd, Standing};
use flux_lab::demo::fair_sale::{self, FairSale};
use flux_lab::demo::visitors::{Answer, LineReader, Patience, Visitor};
use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::http_client;
use serde_json::{Value, json};

use crate::redis::FENCE;
use crate::{deployment, units_stored, wait_until};

const REQUEST_MAX: Duration = Duration::from_secs(30);
const RATE: u64 = 50;
const BURST: u64 = 50;
const UNITS: usize = 200;
/// Visitors who come before the opening, and after it.
const EARLY: usize = 300;
const LATE: usize = 60;
/// Every so manieth does not wait to be called but tries again and again.
const IMPATIENT_EVERY: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn document(edge: SocketAddr) -> Value {
    let answer = http_client::request(edge, "GET", "/queue/phone", &[], b"", REQUEST_MAX).expect("the edge answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn visitors(name: &str, count: usize) -> impl Iterator<Item = Visitor> {
    (0..count).map(move |number| {
        let patience = if number % IMPATIENT_EVERY == 0 { Patience::Hammers } else { Patience::Waits };
        Visitor::new(format!("{name}-{number}"), patience)
    })
}

fn settle(crowd: &mut FairCrowd) {
    wait_until("all are answered", || {
        crowd.hear(LOOK_EVERY).expect("places are kept, and nobody is turned away");
        crowd.ask_again();
        crowd.under_way() == 0
    });
}

#[test]
fn a_crowd_at_two_edges_is_served_by_place_and_never_faster_than_the_rate() {
    let mut deployment = Deployment::start(DeploymentOptions {
        edges: 2,
        edge_environment: vec![("FLUX_CORES".to_owned(), "2".to_owned())],
        ..DeploymentOptions::default()
    })
    .expect("two edges and a worker");
    let clock: (u64, u64) = redis::cmd("TIME").query(&mut deployment.redis.connection().unwrap()).unwrap();
    let opens_at = Duration::new(clock.0 + 5, 0);
    let text = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + opens_at).to_string();
    let sale = json!({"productId": "phone", "quantity": UNITS, "rate": RATE, "burst": BURST, "queue": "fair", "opensAt": text});
    deployment.init_with(sale).unwrap();
    let edges: [SocketAddr; 2] = deployment.targets().try_into().expect("two");
    for edge in edges {
        wait_until("the edge knows the sale", || {
            http_client::request(edge, "GET", "/stock/phone", &[], b"", REQUEST_MAX).unwrap().status == 200
        });
    }
    let mut crowd = FairCrowd::new(&edges, &deployment.redis, "phone").unwrap();
    crowd.come(visitors("early", EARLY));
    settle(&mut crowd);
    let told = document(edges[0]);
    assert_eq!((&told["state"], &told["seed"]), (&json!("waiting"), &Value::Null), "{told}");
    let places = crowd.members().iter().map(|member| member.visitor.place());
    assert!(places.clone().all(|place| place.is_some_and(|place| place.slot == 0)), "all came before it opened");
    wait_until("both edges have told how many wait", || {
        let issued = document(edges[1])["issued"][0].as_u64().unwrap_or(0);
        issued.abs_diff(EARLY as u64) <= EARLY as u64 / 20
    });
    wait_until("it has opened", || document(edges[0])["state"] == "open");
    crowd.come(visitors("late", LATE));
    let mut reader = LineReader::new(edges[0], "phone");
    wait_until("nothing is left", || {
        crowd.hear(LOOK_EVERY).expect("places are kept, and nobody is turned away");
        let line = reader.look().expect("the watermark never moves back");
        if !line.is_over {
            crowd.call(&line);
        }
        crowd.ask_again();
        line.is_over
    });
    settle(&mut crowd);

    assert_eq!(crowd.bought(), UNITS, "all units were sold");
    for member in crowd.members() {
        let is_fair = !matches!(member.standing, Standing::Bought { was_called: None | Some(false) });
        assert!(is_fair, "while others wait nobody buys without a place, and nobody uncalled: {member:?}");
    }
    let bought: Vec<(Instant, Instant)> = crowd
        .members()
        .iter()
        .filter_map(|member| member.visitor.bought.map(|purchase| (purchase.sent, purchase.answered)))
        .collect();
    assert_eq!(bought.len(), UNITS);
    // A buyer who was both sent and answered within a span took a token in it.
    for (from, _) in &bought {
        for (_, to) in &bought {
            let within = bought.iter().filter(|(sent, answered)| sent >= from && answered <= to).count() as f64;
            let span = to.saturating_duration_since(*from).as_secs_f64();
            assert!(within <= RATE as f64 * span + BURST as f64, "{within} orders in {span} s");
        }
    }
    wait_until("all orders are stored", || units_stored(&deployment, "phone") == UNITS as i64);
    for member in crowd.members().iter().filter(|member| member.visitor.bought.is_none()).take(20) {
        let answer = member.visitor.clone().order(edges[0], "phone").unwrap();
        assert_eq!(answer, Answer::SoldOut, "nobody waits for nothing");
    }

    // The sale ends, its seed is told, and everybody can see that their lot was the true one.
    let hash = document(edges[0])["seedHash"].clone();
    deployment.close("phone").unwrap();
    let reader = LineReader::new(edges[1], "phone");
    wait_until("the seed is told", || reader.seed().unwrap().is_some());
    let seed = reader.seed().unwrap().expect("looked at just now");
    assert_eq!(hash, seed.hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    for member in crowd.members().iter().filter(|member| member.visitor.ticket.is_some()) {
        assert!(member.visitor.has_true_lot(&seed), "{member:?}");
    }
}

/// Hands of a user who has one place and orders under a new key each time.
const HANDS: usize = 4;

/// What one of them was told, but for being sent to the line: the status, and the slot to which the line had been called by then.
type Told = Vec<(u16, u32)>;

/// Orders by the first place that its user was given and by the last in turn, until `has_ended`.
fn cheat(
    deployment: &Deployment,
    edge: SocketAddr,
    product: &str,
    user: &Visitor,
    hand: usize,
    has_ended: &AtomicBool,
) -> Told {
    let first = user.ticket.as_deref().expect("a ticket");
    let mut redis = deployment.redis.connection().unwrap();
    let (mut told, mut last) = (Vec::new(), first.to_owned());
    for number in 0.. {
        if has_ended.load(Ordering::Relaxed) {
            break;
        }
        let (key, ticket) = (format!("key-{hand}-{number}"), if number % 2 == 0 { first } else { &last });
        let fields = [
            ("content-type", "application/json"),
            ("x-idempotency-key", &key),
            ("accept", "application/json"),
            ("x-queue-ticket", ticket),
        ];
        let body = json!({"productId": product, "userId": user.user}).to_string();
        let answer = http_client::request(edge, "POST", "/order", &fields, body.as_bytes(), REQUEST_MAX).unwrap();
        if answer.status == 429 {
            last = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
            continue;
        }
        if answer.status == 503 {
            continue; // Nothing was decided: the machine is busy.
        }
        let slot =
            redis::cmd("HGET").arg(format!("product:{{{product}}}:queue")).arg("slot").query(&mut redis).unwrap();
        told.push((answer.status, slot));
    }
    told
}

/// Without a limit by user nobody buys by a place but once; with one, nobody is told of it at others' cost.
#[test]
fn one_place_under_many_keys_is_one_turn() {
    let mut deployment = Deployment::start(DeploymentOptions {
        edges: 2,
        edge_environment: vec![("FLUX_CORES".to_owned(), "2".to_owned())],
        ..DeploymentOptions::default()
    })
    .expect("two edges and a worker");
    for (product, per_user) in [("many-units", 0), ("one-unit", 1)] {
        let clock: (u64, u64) = redis::cmd("TIME").query(&mut deployment.redis.connection().unwrap()).unwrap();
        let opens_at = SystemTime::UNIX_EPOCH + Duration::new(clock.0 + 5, 0);
        let sale = json!({"productId": product, "quantity": 10 * UNITS, "rate": RATE, "burst": BURST, "queue": "fair",
            "opensAt": humantime::format_rfc3339_millis(opens_at).to_string()});
        let limit = if per_user > 0 { json!({"perUser": per_user}) } else { json!({}) };
        let sale: serde_json::Map<String, Value> =
            [sale, limit].into_iter().flat_map(|part| part.as_object().expect("an object").clone()).collect();
        deployment.init_with(Value::Object(sale)).unwrap();
        let edges: [SocketAddr; 2] = deployment.targets().try_into().expect("two");
        // The luckiest of a few: the visitor who is called last has nobody behind them to harm.
        let draw = |number: usize| {
            let mut user = Visitor::new(format!("cheat-{number}"), Patience::Waits);
            wait_until("a place is given", || user.order(edges[0], product).unwrap() == Answer::InLine);
            user
        };
        let user = (0..10).map(draw).min_by_key(Visitor::place).expect("ten");
        let mut crowd = FairCrowd::new(&edges, &deployment.redis, product).unwrap();
        crowd.come((0..EARLY).map(|number| Visitor::new(format!("honest-{number}"), Patience::Waits)));
        let has_ended = AtomicBool::new(false);
        let told = std::thread::scope(|scope| {
            let (deployment, user, has_ended) = (&deployment, &user, &has_ended);
            let hands: Vec<_> = (0..HANDS)
                .map(|hand| scope.spawn(move || cheat(deployment, edges[hand % 2], product, user, hand, has_ended)))
                .collect();
            let mut reader = LineReader::new(edges[1], product);
            wait_until("all who waited have bought", || {
                crowd.hear(LOOK_EVERY).expect("places are kept, and nobody is turned away");
                crowd.call(&reader.look().expect("the watermark never moves back"));
                crowd.waiting() == 0 && crowd.under_way() == 0
            });
            has_ended.store(true, Ordering::Relaxed);
            hands.into_iter().flat_map(|hand| hand.join().expect("it did not panic")).collect::<Told>()
        });
        assert_eq!(crowd.bought(), EARLY, "{product}");
        // All of them have places of slot 0: until that was called to its end somebody waits who was not served.
        let before: Vec<_> = told.iter().filter(|(_, slot)| *slot == 0).collect();
        assert!(before.len() <= 1, "{product}: more than one turn while others waited: {before:?}");
        assert!(told.iter().all(|(status, _)| matches!(status, 200 | 202 | 409)), "{product}: {told:?}");
    }
}

const SMALL: FairSale = FairSale {
    product: "small",
    units: 120,
    rate: 50,
    opens_in: Duration::from_secs(3),
    early: 120,
    late: 200,
    late_per_second: 40,
    look_every: LOOK_EVERY,
    tell_every: Duration::from_secs(1),
};

/// What `flux-lab demo --keep` does, in small.
#[test]
fn the_sale_of_the_demo_is_sold_by_place_to_the_last_unit() {
    let mut deployment = deployment();
    let findings = fair_sale::run(&mut deployment, &SMALL, &AtomicBool::new(false)).unwrap();
    assert_eq!(findings.promises.len(), 4, "{findings:?}");
    assert!(findings.hold(), "{findings:?}");
    assert_eq!(units_stored(&deployment, SMALL.product), SMALL.units as i64);
    let stock = deployment.get("/stock/small").unwrap().json();
    assert_eq!(stock["state"], "closed", "{stock}");
}

#[test]
fn the_sale_of_the_demo_ends_when_it_is_stopped() {
    let mut deployment = deployment();
    let edge = deployment.edges[0].public();
    let is_stopped = AtomicBool::new(false);
    let findings = std::thread::scope(|scope| {
        let never = FairSale { opens_in: Duration::from_secs(3_600), ..SMALL };
        let is_stopped = &is_stopped;
        let sale = scope.spawn(move || fair_sale::run(&mut deployment, &never, is_stopped));
        wait_until("the crowd waits", || {
            let answer = http_client::request(edge, "GET", "/queue/small", &[], b"", REQUEST_MAX).unwrap();
            answer.json()["issued"][0].as_u64().is_some_and(|issued| issued > 0) || sale.is_finished()
        });
        is_stopped.store(true, Ordering::Relaxed);
        sale.join().expect("it did not panic")
    });
    assert!(matches!(findings, Ok(findings) if findings.promises.is_empty()), "nothing was found before the end");
}

#[test]
fn a_redis_that_lost_everything_takes_the_old_tickets_once_it_was_rebuilt() {
    let mut deployment = deployment();
    let sale =
        json!({"productId": "phone", "quantity": 10, "rate": RATE, "queue": "fair", "opensAt": "2100-01-01T00:00:00Z"});
    deployment.init_with(sale).unwrap();
    let edge = deployment.edges[0].public();
    let mut ann = Visitor::new("ann".to_owned(), Patience::Waits);
    assert_eq!(ann.order(edge, "phone").unwrap(), Answer::InLine);
    let ticket = ann.ticket.clone();
    let hash = document(edge)["seedHash"].clone();
    wait_until("the ledger knows the sale", || {
        let row =
            deployment.ledger().unwrap().query_opt("SELECT queue FROM sales WHERE seed IS NOT NULL", &[]).unwrap();
        row.is_some_and(|row| row.get::<_, &str>(0) == "fair")
    });
    redis::cmd("FLUSHALL").exec(&mut deployment.redis.connection().unwrap()).unwrap();
    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge has a line again", || {
        ann.order(edge, "phone").unwrap() == Answer::InLine && ann.ticket == ticket
    });
    assert_eq!(document(edge)["seedHash"], hash);
    ann.ticket = None;
    assert_eq!(ann.order(edge, "phone").unwrap(), Answer::InLine);
    assert_eq!(ann.ticket, ticket, "the same lot");
}
