//! What stands in the outbox: orders that part ways because Kafka takes some of them and not others; and the settings
//! that put orders at risk, as a real Redis and a real Kafka tell them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::crowd::{Arrival, CrowdOptions, Order, Orders, Outcome, Repeat, Running};
use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::http_client;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, encode_request_header_into_buffer};

use crate::{deployment, settle_and_check, units_stored, wait_until};

const CALLS: &str = "flux_edge_reserve_calls_total";
const REQUESTS: &str = "flux_edge_http_requests_total";

/// Between a batch of one record of short names and one whose buyer's name is as long as it may be, bytes.
const BATCH_BYTES: u32 = 336;

#[test]
fn a_record_that_kafka_refuses_parts_from_its_neighbours_and_is_delivered_once_kafka_takes_it() {
    let environment = [("FLUX_CORES", "1"), ("FLUX_REDIS_DEADLINE", "2500ms")];
    let mut deployment = Deployment::start(DeploymentOptions {
        edge_environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..DeploymentOptions::default()
    })
    .unwrap();
    deployment.init_with(serde_json::json!({"productId": "phone", "quantity": 100, "rate": 0})).unwrap();
    limit_batches(&deployment, BATCH_BYTES);
    // While two calls are out all others gather for one: the refused record and its neighbours share an entry.
    deployment.redis.pause().unwrap();
    let openers = ["opener-1", "opener-2"].map(|name| {
        let calls = metric(&deployment, CALLS);
        let opener = send(&mut deployment, vec![order(name)]);
        wait_until("its call is out", || metric(&deployment, CALLS) > calls);
        opener
    });
    let large = "l".repeat(64);
    let mut orders: Vec<Order> = (1..8).map(|n| order(&format!("small-{n}"))).collect();
    orders.insert(3, order(&large));
    let (before, mut asked) = (metric(&deployment, REQUESTS), 0.0);
    let crowd = send(&mut deployment, orders);
    wait_until("the edge has read them all", || {
        // Asking counts too.
        asked += 1.0;
        metric(&deployment, REQUESTS) >= before + asked + 8.0
    });
    deployment.redis.resume();
    let mut history = crowd.join().unwrap().history;
    for opener in openers {
        history.extend(&opener.join().unwrap().history);
    }
    let pending = history.count(|outcome| matches!(outcome, Outcome::Pending { .. }));
    let accepted = history.count(|outcome| matches!(outcome, Outcome::Accepted { .. }));
    assert_eq!((accepted, pending), (9, 1), "{}", deployment.edges[0].program.output());

    let mut redis = deployment.redis.connection().unwrap();
    let mut entries = || -> Vec<(String, Vec<String>)> {
        redis::cmd("XRANGE").arg("product:{phone}:outbox").arg("-").arg("+").query(&mut redis).unwrap()
    };
    wait_until("its neighbours have left the outbox", || {
        let entries = entries();
        entries.len() == 1 && entries[0].1[3].lines().count() == 1 && entries[0].1[3].contains(&large)
    });
    assert_eq!(metric(&deployment, "flux_edge_entries_parted_total"), 1.0);
    assert_eq!(metric(&deployment, "flux_edge_records_refused_total"), 1.0);
    wait_until("the relay has tried it again", || metric(&deployment, "flux_edge_records_refused_total") == 2.0);
    assert_eq!(entries().len(), 1, "it stays");
    let replayed = deployment.order("phone", "small-1", "small-1", 1).unwrap();
    assert_eq!((replayed.status, replayed.header("idempotency-replayed")), (200, Some("true")));
    let waiting = deployment.order("phone", &large, &large, 1).unwrap();
    assert_eq!((waiting.status, waiting.header("idempotency-replayed")), (202, Some("true")));
    limit_batches(&deployment, 1 << 20);
    settle_and_check(&deployment, &history);
    assert_eq!(units_stored(&deployment, "phone"), 10);
}

#[test]
fn settings_that_put_orders_at_risk_are_said_and_shown() {
    let deployment = deployment();
    let warned = |setting: &str| metric(&deployment, &format!("flux_setting_warning{{setting=\"{setting}\"}}")) == 1.0;
    // The topic has one copy, and Redis no file: what the lab is made of, and no sale should be.
    wait_until("both were looked at", || warned("replication.factor") && warned("appendonly"));
    for good in [
        "maxmemory-policy",
        "retention.ms",
        "retention.bytes",
        "cleanup.policy",
        "unclean.leader.election.enable",
        "redis_version",
    ] {
        assert!(!warned(good), "{good}");
    }
    for setting in ["replication.factor", "appendonly"] {
        let told = |log: &str| log.lines().filter(|line| line.contains(&format!("{setting} is "))).count();
        wait_until("the log says so", || told(&deployment.edges[0].program.output()) > 0);
        let log = deployment.edges[0].program.output();
        assert_eq!(told(&log), 1, "once: {log}");
    }
}

fn order(name: &str) -> Order {
    Order::new("phone", name, name, 1)
}

/// These orders at once, each once.
fn send(deployment: &mut Deployment, orders: Vec<Order>) -> Running {
    let count = orders.len();
    let mut crowd: CrowdOptions = deployment.buyers("phone", count as u64, count);
    crowd.arrival = Arrival::Buyers(count as u64);
    crowd.orders = Orders::List(orders);
    crowd.repeat = Repeat::NEVER;
    crowd.timeout = Duration::from_secs(20);
    flux_lab::crowd::start(crowd).unwrap()
}

/// A value of the first edge's `/metrics`; zero where it is not shown.
fn metric(deployment: &Deployment, name: &str) -> f64 {
    let answer =
        http_client::request(deployment.edges[0].admin(), "GET", "/metrics", &[], b"", Duration::from_secs(15))
            .unwrap();
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Sets `max.message.bytes` of the deployment's topic.
fn limit_batches(deployment: &Deployment, bytes: u32) {
    const VERSION: i16 = 1;
    const TOPIC: i8 = 2;
    const KEY: i16 = 44;
    let text = |text: String| StrBytes::from_string(text);
    let setting = AlterableConfig::default()
        .with_name(text("max.message.bytes".to_owned()))
        .with_value(Some(text(bytes.to_string())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(deployment.topic().to_owned()))
        .with_configs(vec![setting]);
    let header = RequestHeader::default()
        .with_request_api_key(KEY)
        .with_request_api_version(VERSION)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut request = bytes::BytesMut::new();
    encode_request_header_into_buffer(&mut request, &header).unwrap();
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).encode(&mut request, VERSION).unwrap();
    let mut stream = TcpStream::connect(deployment.kafka().bootstrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let mut answer = bytes::Bytes::from(answer);
    ResponseHeader::decode(&mut answer, 1).unwrap();
    let answer = IncrementalAlterConfigsResponse::decode(&mut answer, VERSION).unwrap();
    assert!(answer.responses.iter().all(|response| response.error_code == 0), "{answer:?}");
}
