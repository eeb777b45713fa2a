//! The dashboard tells what `/metrics` of edge and worker tell, and calls unknown what nobody can tell.

use std::net::SocketAddr;
use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::deployment::Deployment;
use flux_lab::http_client::{self, HttpAnswer};
use serde_json::{Value, json};

use crate::{buyers, deployment, run, settle_and_check, wait_until};

fn get(admin: SocketAddr, path: &str) -> HttpAnswer {
    http_client::request(admin, "GET", path, &[], b"", Duration::from_secs(5)).expect("an answer")
}

fn figures(deployment: &Deployment) -> Value {
    get(deployment.edges[0].admin(), "/dashboard.json").json()
}

/// The value of one series.
fn metric(text: &str, series: &str) -> Value {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(Value::Null, |value| serde_json::from_str(value).expect("a number"))
}

#[test]
fn the_dashboard_agrees_with_the_metrics() {
    let mut deployment = deployment();
    deployment.init("phone", 50).unwrap();
    let report = run(buyers(&mut deployment, "phone", 200, 50));
    settle_and_check(&deployment, &report.history);
    // Gauges are handed over once a second; at rest both tell the same before long.
    wait_until("both tell the same of a settled sale", || {
        let (edge, worker) = (
            get(deployment.edges[0].admin(), "/metrics").text(),
            get(deployment.workers[0].admin(), "/metrics").text(),
        );
        let figures = figures(&deployment);
        let phone = &figures["products"][0];
        let counted = ["accepted", "pending", "redirected", "sold_out", "replayed"].iter().all(|outcome| {
            figures["orders"][outcome] == metric(&edge, &format!("flux_edge_orders_total{{outcome=\"{outcome}\"}}"))
        });
        let latencies: u64 =
            figures["latency"]["counts"].as_array().expect("buckets").iter().filter_map(Value::as_u64).sum();
        let units = |state: &str| metric(&worker, &format!("flux_units{{product=\"phone\",state=\"{state}\"}}"));
        let account = ["available", "reserved", "stored", "total", "withdrawn"]
            .iter()
            .all(|state| !units(state).is_null() && phone["account"]["units"][state] == units(state));
        counted
            && json!(latencies) == metric(&edge, "flux_edge_order_duration_seconds_count")
            && phone["product"] == "phone"
            && phone["state"] == "sold_out"
            && phone["stock"] == metric(&edge, "flux_edge_stock_units{product=\"phone\"}")
            && phone["accepted"] == metric(&edge, "flux_edge_accepted_orders_total{product=\"phone\"}")
            && phone["accepted"] == figures["orders"]["accepted"]
            && phone["line"].is_null()
            && phone["outboxOrders"] == metric(&edge, "flux_edge_outbox_orders{product=\"phone\"}")
            && account
            && units("stored") == 50
            && phone["account"]["conservation"] == "holds"
            && figures["cores"][0]["redisDownMs"] == 0
            && figures["workers"][0]["ready"] == true
            && figures["workers"][0]["lagRecords"] == 0
    });
    assert_eq!(figures(&deployment)["orders"]["accepted"], 50, "{}", report.table());
}

#[test]
fn without_the_worker_lag_and_account_are_unknown() {
    let mut deployment = deployment();
    deployment.init("phone", 50).unwrap();
    wait_until("the account holds", || figures(&deployment)["products"][0]["account"]["conservation"] == "holds");
    deployment.workers[0].program.kill();
    wait_until("the worker is missed", || figures(&deployment)["workers"][0]["ready"].is_null());
    let figures = figures(&deployment);
    assert_eq!(figures["workers"][0]["lagRecords"], Value::Null);
    assert_eq!(figures["products"][0]["account"], json!({"conservation": "unknown", "units": null}));
    assert_eq!(figures["products"][0]["stock"], 50, "the edge knows that by itself");
}

#[test]
fn the_page_is_served_and_opens_a_sale_from_its_own_origin_only() {
    let deployment = deployment();
    let admin = deployment.edges[0].admin();
    let page = get(admin, "/");
    assert_eq!((page.status, page.header("x-content-type-options")), (200, Some("nosniff")));
    let body = json!({"productId": "phone", "quantity": 5}).to_string();
    let open = |origin: &str| {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        http_client::request(admin, "POST", "/init", &headers, body.as_bytes(), Duration::from_secs(30)).unwrap()
    };
    assert_eq!(open("http://elsewhere.example").status, 403);
    let opened = open(&format!("http://{admin}"));
    assert_eq!(opened.status, 200, "{}", opened.text());
}
