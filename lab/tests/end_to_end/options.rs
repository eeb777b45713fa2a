//! Sales with a countdown and with a limit per user, from `/init` to the ledger and back through a rebuild.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::http_client::{self, HttpAnswer};
use serde_json::json;

use crate::redis::FENCE;
use crate::{deployment, units_stored, wait_until};

/// How far edges may be apart when a sale opens (SPEC).
const APART_MS_MAX: u64 = 100;

fn order(edge: SocketAddr, key: &str, accept: &str) -> HttpAnswer {
    let body = json!({"productId": "phone", "userId": key, "quantity": 1}).to_string();
    let fields = [("content-type", "application/json"), ("x-idempotency-key", key), ("accept", accept)];
    http_client::request(edge, "POST", "/order", &fields, body.as_bytes(), Duration::from_secs(5)).unwrap()
}

fn redis_ms(connection: &mut redis::Connection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(connection).unwrap();
    1000 * seconds + micros / 1000
}

#[test]
fn every_edge_opens_a_sale_on_redis_clock() {
    let mut deployment = Deployment::start(DeploymentOptions { edges: 2, ..DeploymentOptions::default() })
        .expect("two edges and a worker");
    let mut clock = deployment.redis.connection().unwrap();
    let opens_at = redis_ms(&mut clock) + 3_000;
    let text = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(opens_at)).to_string();
    deployment.init_with(json!({"productId": "phone", "quantity": 1_000_000, "rate": 0, "opensAt": text})).unwrap();
    let edges = deployment.targets();
    for edge in &edges {
        wait_until("the edge knows the sale", || {
            let stock = http_client::request(*edge, "GET", "/stock/phone", &[], b"", Duration::from_secs(5)).unwrap();
            stock.status == 200
        });
    }
    // Both at once, until both sell. What an edge says is held against Redis' clock before and after.
    let threads: Vec<_> = edges
        .into_iter()
        .enumerate()
        .map(|(place, edge)| {
            let mut clock = deployment.redis.connection().unwrap();
            std::thread::spawn(move || {
                let (mut refused, mut number) = ([0; 2], 0);
                loop {
                    number += 1;
                    let accept = ["text/html", "application/json"][number % 2];
                    let before = redis_ms(&mut clock);
                    let answer = order(edge, &format!("user-{place}-{number}"), accept);
                    let after = redis_ms(&mut clock);
                    match answer.status {
                        200 => {
                            assert!(after >= opens_at, "sold {} ms early", opens_at - after);
                            return refused;
                        }
                        302 => assert!(answer.header("location").unwrap().ends_with("/?product=phone")),
                        429 => {
                            assert_eq!(answer.header("retry-after"), Some("1"));
                            let told = answer.json();
                            assert_eq!(told["status"], "waiting");
                            assert!(told["location"].as_str().unwrap().ends_with("/?product=phone"), "{told}");
                        }
                        other => panic!("{other}: {}", answer.text()),
                    }
                    refused[usize::from(answer.status == 429)] += 1;
                    assert!(before < opens_at + APART_MS_MAX, "sent {} ms late, and refused", before - opens_at);
                }
            })
        })
        .collect();
    for thread in threads {
        let refused = thread.join().expect("no early sale and no late one");
        assert!(refused.iter().all(|count| *count > 0), "both ways to be sent to the countdown: {refused:?}");
    }
    wait_until("both orders are stored", || units_stored(&deployment, "phone") == 2);
    let row = deployment
        .ledger()
        .unwrap()
        .query_one("SELECT per_user, (extract(epoch FROM opens_at) * 1000)::bigint FROM sales", &[]);
    let row = row.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (0, opens_at as i64));
}

#[test]
fn a_user_takes_no_more_than_the_limit_and_a_rebuild_knows_what_he_has() {
    let mut deployment = deployment();
    deployment.init_with(json!({"productId": "phone", "quantity": 100, "rate": 0, "perUser": 2})).unwrap();
    let first = deployment.order("phone", "ann", "k1", 1).unwrap();
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(deployment.order("phone", "bob", "k1", 2).unwrap().status, 200, "others have a limit of their own");
    let over = deployment.order("phone", "ann", "k2", 2).unwrap();
    assert_eq!((over.status, &over.json()["status"]), (409, &json!("limit_reached")), "two more are one too many");
    assert_eq!(deployment.order("phone", "ann", "k3", 1).unwrap().status, 200, "a refusal takes nothing");
    let over = deployment.order("phone", "ann", "k4", 1).unwrap();
    assert_eq!((over.status, &over.json()["status"]), (409, &json!("limit_reached")));
    let again = deployment.order("phone", "ann", "k1", 1).unwrap();
    assert_eq!((again.status, again.text()), (200, first.text()), "and yet the first answer");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    wait_until("all is stored", || units_stored(&deployment, "phone") == 4);

    redis::cmd("FLUSHALL").exec(&mut deployment.redis.connection().unwrap()).unwrap();
    let rebuilt = deployment.rebuild("phone", FENCE).unwrap();
    assert!(rebuilt.code == Some(0), "{rebuilt:?}");
    wait_until("the edge sells again", || {
        deployment.order("phone", "cid", "k1", 1).is_ok_and(|answer| answer.status == 200)
    });
    let over = deployment.order("phone", "ann", "k5", 1).unwrap();
    assert_eq!(
        (over.status, &over.json()["status"]),
        (409, &json!("limit_reached")),
        "the ledger knows limit and units"
    );
    let again = deployment.order("phone", "ann", "k1", 1).unwrap();
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert_eq!(deployment.order("phone", "cid", "k2", 1).unwrap().status, 200);
    assert_eq!(deployment.order("phone", "cid", "k3", 1).unwrap().status, 409);
}
