//! What stands in front of edges: a real HAProxy and a real nginx, with the configurations that `deploy/` shows.

use std::process::Command;
use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::crowd::{Outcome, Refusal};
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client::{self, HttpAnswer};
use flux_lab::servers::balancer::{Balancer, Kind};
use flux_test_support::skip;

use crate::{endless, settle_and_check, stop, wait_until};

/// Two edges of one core, with these variables.
fn edges(variables: &[(&str, &str)], servers: Servers) -> Deployment {
    let cores = ("FLUX_CORES", "1");
    let environment = variables.iter().chain([&cores]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = DeploymentOptions {
        edges: 2,
        edge_environment: environment.collect(),
        servers,
        ..DeploymentOptions::default()
    };
    Deployment::start(options).expect("two edges and a worker")
}

/// One that is installed, in front of them; a machine without it skips the test.
fn in_front(kind: Kind, deployment: &Deployment, is_secret: bool) -> Option<Balancer> {
    if kind.program().is_none() {
        skip(&format!("{kind:?} is not installed"));
        return None;
    }
    Some(Balancer::start(deployment.run(), kind, &deployment.edges, is_secret).expect("it takes the example"))
}

/// What comes back for `arguments`, from an address of this machine: status, and head and body.
fn curl(arguments: &[&str]) -> (String, String) {
    let ran = Command::new("curl").args(["-sik", "-w", "\n%{http_code}"]).args(arguments).output().expect("curl");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let (told, status) = text.rsplit_once('\n').expect("a status behind it");
    (status.to_owned(), told.to_owned())
}

/// What a buyer of one phone hears.
fn order_through(balancer: &Balancer, key: &str) -> HttpAnswer {
    let headers = [("content-type", "application/json"), ("x-idempotency-key", key)];
    let body = br#"{"productId":"phone","userId":"u"}"#;
    let patience = Duration::from_secs(20);
    http_client::request(balancer.address(), "POST", "/order", &headers, body, patience).expect("an answer")
}

#[test]
fn a_balancers_pool_does_not_empty_because_kafka_stands() {
    let variables = [("FLUX_PUBLISH_DEADLINE", "200ms")];
    let mut deployment = edges(&variables, Servers::own());
    let Some(balancer) = in_front(Kind::Haproxy, &deployment, false) else { return };
    deployment.init("phone", 10_000).unwrap();
    let order = |key: &str| order_through(&balancer, key);
    wait_until("the balancer has found the edges", || order("first").status == 200);
    deployment.kafka().pause().unwrap();
    let deep = |deployment: &Deployment| {
        let ask = |edge: &flux_lab::programs::Edge| {
            http_client::request(edge.admin(), "GET", "/readyz?deep", &[], b"", Duration::from_secs(15)).unwrap().status
        };
        deployment.edges.iter().map(ask).collect::<Vec<_>>()
    };
    wait_until("both edges say that Kafka is out of reach", || deep(&deployment) == [503, 503]);
    // Two hundred milliseconds each: some five checks of the balancer.
    for number in 0..50 {
        let answer = order(&format!("while-it-stands-{number}"));
        let told = (answer.status, answer.json()["status"].clone());
        assert_eq!(told, (202, "pending".into()), "order {number}: {}", answer.text());
    }
    deployment.kafka().resume();
    wait_until("the orders are accepted", || order("while-it-stands-0").status == 200);
}

#[test]
fn an_edge_that_drains_behind_a_balancer_costs_nobody_an_answer() {
    // The balancer looks every two seconds, and here it tries nothing twice: what an edge refuses, a caller sees.
    let mut deployment = edges(&[("FLUX_DRAIN_DELAY", "5s")], Servers::Shared);
    if Kind::Haproxy.program().is_none() {
        skip("HAProxy is not installed");
        return;
    }
    let balancer = Balancer::start_changed(deployment.run(), Kind::Haproxy, &deployment.edges, false, |text| {
        text.replace("    option redispatch\n", "").replace("    retries 2\n", "    retries 0\n")
    });
    let balancer = balancer.expect("it takes the example");
    deployment.init("phone", 1_000_000).unwrap();
    let mut crowd = endless(&mut deployment, "phone", 32);
    crowd.targets = vec![balancer.address()];
    let crowd = flux_lab::crowd::start(crowd).unwrap();
    wait_until("orders are being accepted", || crowd.progress().accepted > 500);
    let ended = deployment.edges[0].program.terminate(Duration::from_secs(60)).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", deployment.edges[0].program.output());
    let before = crowd.progress().accepted;
    wait_until("the other edge goes on", || crowd.progress().accepted > before + 500);
    let report = stop(crowd);
    // On a busy machine an order may be a 202, or a 503 of the edge's own; no request may be lost on the way.
    let failed: Vec<_> = report
        .history
        .exchanges
        .iter()
        .filter(|exchange| {
            let is_answered = matches!(exchange.outcome, Outcome::Accepted { .. } | Outcome::Pending { .. });
            !is_answered && exchange.outcome != Outcome::No(Refusal::Unavailable)
        })
        .map(|exchange| &exchange.outcome)
        .collect();
    assert!(failed.is_empty(), "{} failed: {:?}\n{}", failed.len(), &failed[..failed.len().min(5)], report.table());
    settle_and_check(&deployment, &report.history);
}

/// With Redis away no edge is ready, and with the edges gone none is there: callers get JSON of the contract's all the same.
#[test]
fn callers_are_told_in_the_contracts_words_where_no_edge_is_ready() {
    let mut deployment = edges(&[], Servers::Shared);
    let Some(balancer) = in_front(Kind::Haproxy, &deployment, false) else { return };
    deployment.init("phone", 10_000).unwrap();
    let order = |key: &str| order_through(&balancer, key);
    wait_until("the balancer has found the edges", || order("first").status == 200);
    deployment.redis.kill();
    let is_unready = |edge: &flux_lab::programs::Edge| {
        http_client::request(edge.admin(), "GET", "/readyz", &[], b"", Duration::from_secs(15)).unwrap().status == 503
    };
    wait_until("no edge is ready", || deployment.edges.iter().all(is_unready));
    // Five seconds: two checks of the balancer, and some.
    for number in 0..50 {
        let answer = order(&format!("without-redis-{number}"));
        assert_eq!(answer.status, 503);
        let told = answer.text();
        assert!(
            told.starts_with(r#"{"status":"unavailable","#) || told.starts_with(r#"{"status":"unknown","#),
            "{told}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    deployment.edges.iter_mut().for_each(|edge| edge.program.kill());
    // The first go by connections that were kept, and end with the edges: 502.
    for number in 0..5 {
        let answer = order(&format!("without-edges-{number}"));
        assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
        assert_eq!(answer.json()["status"], "unknown", "{}", answer.text());
    }
}

/// Each client has an address of loopback's; the balancer comes from the first, which alone is trusted.
#[test]
fn who_comes_by_a_balancer_is_limited_by_their_own_address() {
    for (kind, is_secret) in [(Kind::Nginx, true), (Kind::Haproxy, true), (Kind::HaproxyTcp, false)] {
        let mut variables =
            vec![("FLUX_TRUSTED_PROXIES", "127.0.0.1"), ("FLUX_ADDRESS_RATE", "1"), ("FLUX_ADDRESS_BURST", "5")];
        if kind == Kind::HaproxyTcp {
            variables.push(("FLUX_PROXY_PROTOCOL", "true"));
        }
        let mut deployment = edges(&variables, Servers::Shared);
        let Some(balancer) = in_front(kind, &deployment, is_secret) else { continue };
        deployment.init("phone", 10).unwrap();
        let url = format!("{}://{}/stock/phone", if is_secret { "https" } else { "http" }, balancer.address());
        let from = |address: &str, spoofed: &str| {
            let (spoofed, forwarded) = (format!("x-forwarded-for: {spoofed}"), format!("forwarded: for={spoofed}"));
            curl(&["--interface", address, "-H", &spoofed, "-H", &forwarded, &url])
        };
        wait_until("the edges are found", || from("127.0.0.3", "9.9.9.9").0 == "200");
        // Five at once of each of two edges, and one a second: sooner or later one is refused, whatever the client writes.
        let mut limited = String::new();
        let mut number = 0;
        wait_until("one who comes too often is told", || {
            let (status, told) = from("127.0.0.2", &format!("10.1.1.{}", number % 256));
            assert!(number > 0 || status == "200", "{kind:?}: {told}");
            number += 1;
            limited = told;
            status == "429"
        });
        assert!(limited.contains("\"status\":\"limited\""), "{limited}");
        assert!(limited.to_lowercase().contains("retry-after: 1"), "{limited}");
        assert_eq!(from("127.0.0.4", "127.0.0.2").0, "200", "{kind:?}: nobody pays for another");
    }
}
