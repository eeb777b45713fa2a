//! Orders that need a bearer token: whom the ledger names, what is refused, and keys that change in mid-sale.

use std::path::Path;
use std::time::Duration;

use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::http_client::{self, HttpAnswer};
use flux_test_support::identity::{Signer, now_s};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{units_stored, wait_until};

const SUBJECT_KEY: &str = "0123456789abcdef";

fn write_keys(path: &Path, signers: &[&Signer]) {
    let keys: Vec<Value> = signers.iter().enumerate().map(|(place, signer)| signer.jwk(&place.to_string())).collect();
    std::fs::write(path, json!({ "keys": keys }).to_string()).expect("keys");
}

fn start(keys: &Path) -> Deployment {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let edge_environment = vec![
        variable("FLUX_CORES", "1"),
        variable("FLUX_JWT_KEYS", keys.to_str().expect("text")),
        variable("FLUX_JWT_AUDIENCE", "shop"),
        variable("FLUX_JWT_SUBJECT_KEY", SUBJECT_KEY),
    ];
    let options = DeploymentOptions { edges: 2, edge_environment, ..DeploymentOptions::default() };
    Deployment::start(options).expect("two edges and a worker")
}

fn order(deployment: &Deployment, edge: usize, token: Option<&str>, body: &Value, key: &str) -> HttpAnswer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut fields = vec![("content-type", "application/json"), ("idempotency-key", key)];
    fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let body = body.to_string();
    let address = deployment.edges[edge].public();
    http_client::request(address, "POST", "/order", &fields, body.as_bytes(), Duration::from_secs(5)).unwrap()
}

fn users_stored(deployment: &Deployment) -> Vec<String> {
    let rows = deployment.ledger().unwrap().query("SELECT DISTINCT user_id FROM orders ORDER BY user_id", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_token_says_who_orders_on_every_edge_and_through_a_change_of_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::RS256));
    write_keys(&path, &[&old]);
    let mut deployment = start(&path);
    deployment.init_with(json!({"productId": "phone", "quantity": 100, "rate": 0, "perUser": 2})).unwrap();
    let claims = |subject: &str, audience: &str| json!({ "sub": subject, "aud": audience, "exp": now_s() + 600 });
    let (mail, ann) = (old.token_of(&claims("ann@shop.example", "shop")), old.token_of(&claims("ann", "shop")));
    let nameless = json!({ "productId": "phone" });
    wait_until("both edges know the sale", || {
        (0..2).all(|edge| order(&deployment, edge, Some(&ann), &nameless, "ann-1").status == 200)
    });

    // One order a key, whichever edge, and one limit for one user however they are called.
    let first = order(&deployment, 0, Some(&mail), &nameless, "mail-1");
    assert_eq!(first.status, 200, "{}", first.text());
    let named = json!({ "productId": "phone", "userId": "ann@shop.example" });
    let again = order(&deployment, 1, Some(&mail), &named, "mail-1");
    // Through another edge it may be a 202 for some milliseconds.
    assert_eq!(again.json()["orderId"], first.json()["orderId"], "{} {}", again.status, again.text());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(order(&deployment, 1, Some(&mail), &nameless, "mail-2").status, 200);
    assert_eq!(order(&deployment, 0, Some(&mail), &nameless, "mail-3").status, 409, "their limit");

    // Nobody else's name, nobody else's audience, no token at all.
    let other = order(&deployment, 0, Some(&mail), &json!({ "productId": "phone", "userId": "bob" }), "mail-4");
    assert_eq!(other.status, 403, "{}", other.text());
    let none = order(&deployment, 0, None, &json!({ "productId": "phone", "userId": "bob" }), "bob-1");
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    let foreign = order(&deployment, 0, Some(&old.token_of(&claims("bob", "bank"))), &nameless, "bob-1");
    let challenge = foreign.header("www-authenticate").unwrap_or_default();
    assert!(foreign.status == 401 && challenge.contains("invalid_token"), "{challenge}");
    assert!(!order(&deployment, 0, Some("a.b.c"), &nameless, "bob-1").text().contains("a.b.c"));

    // The provider rolls its key: both are taken, then only the new one; a file that is no good changes nothing.
    let bob = new.token_of(&claims("bob", "shop"));
    assert_eq!(order(&deployment, 0, Some(&bob), &nameless, "bob-1").status, 401);
    write_keys(&path, &[&old, &new]);
    deployment.edges.iter_mut().for_each(|edge| edge.program.signal_reload());
    wait_until("both keys are taken", || order(&deployment, 0, Some(&bob), &nameless, "bob-1").status == 200);
    assert_eq!(order(&deployment, 0, Some(&ann), &nameless, "ann-1").status, 200);
    write_keys(&path, &[&new]);
    deployment.edges[0].program.signal_reload();
    wait_until("the old key is gone", || order(&deployment, 0, Some(&ann), &nameless, "ann-1").status == 401);
    std::fs::write(&path, "{").unwrap();
    deployment.edges[0].program.signal_reload();
    wait_until("the log says so", || deployment.edges[0].program.output().contains("stay as they were"));
    assert_eq!(order(&deployment, 0, Some(&bob), &nameless, "bob-1").status, 200);

    wait_until("all is stored", || units_stored(&deployment, "phone") == 4);
    let hashed = "h-0c36c2f9cc8760277c87b45c13f7fa48";
    assert_eq!(users_stored(&deployment), ["ann", "bob", hashed]);
    for program in deployment.edges.iter().map(|edge| &edge.program) {
        let log = program.output();
        assert!([&ann, &mail, &bob].iter().all(|token| !log.contains(&***token)), "no log holds a token");
        assert!(!log.contains(SUBJECT_KEY));
    }
}
