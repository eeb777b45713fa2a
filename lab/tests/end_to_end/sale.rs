//! Sales without a fault: exactly what there is, one order a key, several products, the rate limit.

use std::time::Duration;

use flux_lab::crowd::{Arrival, Order, Orders, Outcome, Refusal, Repeat};
use flux_lab::http_client;
use flux_protocol::order::order_id;
use serde_json::json;

use crate::{accepted, buyers, deployment, endless, run, settle_and_check, sold_out, stop, units_stored, wait_until};

#[test]
fn a_hundred_units_under_five_thousand_orders_are_sold_exactly() {
    let mut deployment = deployment();
    deployment.init("phone", 100).unwrap();
    let report = run(buyers(&mut deployment, "phone", 5_000, 500));
    assert_eq!((accepted(&report.history), sold_out(&report.history)), (100, 4_900), "{}", report.table());
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), 100);
    let stock = deployment.get("/stock/phone").unwrap();
    assert_eq!((stock.status, stock.json()), (200, json!({"productId": "phone", "available": 0, "state": "sold_out"})));
}

#[test]
fn a_thousand_parallel_requests_with_one_key_are_one_order() {
    let mut deployment = deployment();
    deployment.init("phone", 100).unwrap();
    let mut crowd = deployment.buyers("phone", 1_000, 500);
    crowd.orders = Orders::Same(Order::new("phone", "user-42", "one-key", 1));
    let report = run(crowd);
    let ids: std::collections::BTreeSet<_> =
        report.history.exchanges.iter().map(|exchange| exchange.outcome.order_id()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(ids.iter().all(Option::is_some), "{}", report.table());
    assert_eq!(accepted(&report.history), 1, "the others are replays");
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), 1);
}

#[test]
fn products_and_quantities_do_not_disturb_each_other() {
    let mut deployment = deployment();
    for (product, units) in [("a", 300), ("b", 40), ("c", 7)] {
        deployment.init(product, units).unwrap();
    }
    let mut crowd = deployment.buyers("a", 900, 128);
    crowd.orders = Orders::Unique {
        products: ["a", "b", "c"].map(String::from).to_vec(),
        quantities: vec![1, 2, 5, 3],
        name: "mixed".to_owned(),
    };
    crowd.repeat = Repeat { replay_share: 0.5, ..Repeat::NEVER };
    let report = run(crowd);
    settle_and_check(&deployment, &report.history);
    for (product, units) in [("a", 300), ("b", 40), ("c", 7)] {
        // The last buyer with a single unit's wish takes what is left.
        let stored = units_stored(&deployment, product);
        assert!(stored <= units && stored > units - 5, "{product}: {stored} of {units}");
    }
}

#[test]
fn the_other_answers_of_an_order() {
    let mut deployment = deployment();
    deployment.init("phone", 3).unwrap();
    let first = deployment.order("phone", "u", "k", 2).unwrap();
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let again = deployment.order("phone", "u", "k", 2).unwrap();
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(again.text(), first.text());
    let reused = deployment.order("phone", "u", "k", 1).unwrap();
    assert_eq!(
        (reused.status, reused.json()["error"].as_str()),
        (422, Some("Idempotency key reused with a different order"))
    );
    let insufficient = deployment.order("phone", "u", "k2", 2).unwrap();
    let told = json!({
        "status": "insufficient", "msg": "Not enough units left", "available": 1,
        "type": "about:blank", "title": "Conflict", "detail": "Not enough units left",
    });
    assert_eq!((insufficient.status, insufficient.json()), (409, told));
    let unknown = deployment.order("no-such-thing", "u", "k", 1).unwrap();
    let told = json!({
        "error": "Unknown product",
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "Unknown product",
    });
    assert_eq!((unknown.status, unknown.json()), (404, told));
    let last = deployment.order("phone", "u", "k3", 1).unwrap();
    assert_eq!(last.status, 200);
    let none = deployment.order("phone", "u", "k4", 1).unwrap();
    let told = json!({
        "status": "sold_out", "msg": "Inventory empty",
        "type": "about:blank", "title": "Conflict", "detail": "Inventory empty",
    });
    assert_eq!((none.status, none.json()), (409, told));
    let replayed = deployment.order("phone", "u", "k3", 1).unwrap();
    assert_eq!((replayed.status, replayed.text()), (200, last.text()), "sold out, and yet the first answer");
    let id = last.json()["orderId"].as_str().unwrap().to_owned();
    let status = deployment.get(&format!("/order/phone/{id}")).unwrap();
    assert_eq!((status.status, status.json()), (200, json!({"orderId": id, "status": "accepted"})));
    let admin = deployment.edges[0].admin();
    wait_until("the metrics tell all that", || {
        let metrics = http_client::request(admin, "GET", "/metrics", &[], b"", Duration::from_secs(5)).unwrap().text();
        let lines = [
            "flux_edge_orders_total{outcome=\"accepted\"} 2",
            "flux_edge_orders_total{outcome=\"replayed\"} 2",
            "flux_edge_orders_total{outcome=\"unknown_product\"} 1",
            "flux_edge_stock_units{product=\"phone\"} 0",
            "flux_edge_sale_state{product=\"phone\",state=\"sold_out\"} 1",
        ];
        lines.iter().all(|line| metrics.lines().any(|shown| shown == *line))
    });
}

#[test]
fn a_closed_sale_sells_nothing_and_replays_what_it_sold() {
    let mut deployment = deployment();
    deployment.init("phone", 10).unwrap();
    let first = deployment.order("phone", "u", "k", 1).unwrap();
    assert_eq!(first.status, 200);
    let busy = deployment.admin("/init", &json!({"productId": "phone", "quantity": 5})).unwrap();
    assert_eq!((busy.status, busy.json()["error"].as_str()), (409, Some("A sale of phone is under way")));
    deployment.close("phone").unwrap();
    deployment.close("phone").unwrap();
    assert_eq!(deployment.order("phone", "u", "k2", 1).unwrap().status, 409);
    let replayed = deployment.order("phone", "u", "k", 1).unwrap();
    assert_eq!((replayed.status, replayed.text()), (200, first.text()));
    wait_until("the order is stored", || units_stored(&deployment, "phone") == 1);
    deployment.init("phone", 5).unwrap();
    let other_sale = deployment.order("phone", "u", "k", 1).unwrap();
    assert_eq!(other_sale.status, 200);
    assert_ne!(other_sale.text(), first.text(), "a key is good for one sale");
}

#[test]
fn no_more_than_the_bucket_holds_are_admitted() {
    let mut deployment = deployment();
    deployment.init_with(json!({"productId": "phone", "quantity": 100_000, "rate": 100, "burst": 200})).unwrap();
    let begun = std::time::Instant::now();
    let mut crowd = deployment.buyers("phone", 3_000, 100);
    crowd.arrival = Arrival::Buyers(3_000);
    let report = run(crowd);
    // The bound holds over the time that really passed, however long that was.
    let admitted = accepted(&report.history) as f64;
    let bound = 100.0 * begun.elapsed().as_secs_f64() + 200.0;
    assert!(admitted <= bound, "{admitted} admitted, {bound} allowed");
    let redirected = report.history.count(|outcome| *outcome == Outcome::No(Refusal::Redirected));
    assert_eq!(admitted as usize + redirected, 3_000, "{}", report.table());
    assert!(redirected > 0);
    settle_and_check(&deployment, &report.history);
}

#[test]
fn a_sale_replaced_under_load_gives_every_order_the_id_of_its_own_sale() {
    let mut deployment = deployment();
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 128);
    crowd.repeat = Repeat { attempts_max: 20, ..Repeat::UNTIL_SETTLED };
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    for sale in 1..=5 {
        let accepted = crowd.progress().accepted;
        wait_until("orders are accepted", || crowd.progress().accepted > accepted + 100);
        let body = json!({"productId": "phone", "quantity": 1_000_000 + sale, "rate": 0, "force": true});
        deployment.init_with(body).unwrap();
    }
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    let rows = deployment.ledger().unwrap().query("SELECT id::text, user_id, sale_id FROM orders", &[]).unwrap();
    assert!(!rows.is_empty());
    let mut sales = std::collections::BTreeSet::new();
    for row in rows {
        let (id, user, sale): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        sales.insert(sale);
        // The crowd's user n has key n.
        let key = user.replace("-u", "-k");
        let derived = order_id(b"phone", sale as u64, user.as_bytes(), key.as_bytes());
        assert_eq!(id, derived.to_string(), "{user} of sale {sale}");
    }
    assert!(sales.len() > 1, "orders of several sales: {sales:?}");
}
