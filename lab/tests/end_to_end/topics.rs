//! Two edges with a topic each on one Redis: what either of them sold is delivered into its own topic only, whichever edge is left to
//! deliver it.

use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client;
use flux_lab::programs::Edge;
use flux_lab::topic::TopicReader;
use serde_json::json;

use crate::{units_stored, wait_until};

const REQUEST_MAX: Duration = Duration::from_secs(15);

fn order(edge: &Edge, product: &str, key: &str) -> (u16, String) {
    let body = json!({"productId": product, "userId": "ann"}).to_string();
    let headers = [("content-type", "application/json"), ("x-idempotency-key", key)];
    let answer = http_client::request(edge.public(), "POST", "/order", &headers, body.as_bytes(), REQUEST_MAX).unwrap();
    (answer.status, answer.text())
}

fn records_of(deployment: &Deployment, topic: &str, product: &str) -> usize {
    let named = format!("\"productId\":\"{product}\"");
    let records = TopicReader::new(&deployment.kafka().bootstrap(), topic).read().unwrap();
    records.iter().filter(|record| String::from_utf8_lossy(&record.value).contains(&named)).count()
}

#[test]
fn edges_of_two_topics_deliver_their_own_orders_and_leave_the_others_alone() {
    let mut deployment =
        Deployment::start(DeploymentOptions { servers: Servers::own(), ..DeploymentOptions::default() }).unwrap();
    let (own_topic, other_topic) = (deployment.topic().to_owned(), format!("{}-of-others", deployment.topic()));
    deployment.kafka().create_topic(&other_topic, 2, 1).unwrap();
    let environment = [
        ("FLUX_REDIS", deployment.redis.url()),
        ("FLUX_KAFKA", deployment.kafka().bootstrap()),
        ("FLUX_TOPIC", other_topic.clone()),
        ("FLUX_CORES", "1".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let mut other = Edge::new(deployment.run(), "edge-of-others", &environment).unwrap();
    other.program.start().unwrap();

    deployment.init("ours", 10).unwrap();
    let opening = json!({"productId": "theirs", "quantity": 10, "rate": 0}).to_string();
    let headers = [("content-type", "application/json")];
    let opened =
        http_client::request(other.admin(), "POST", "/init", &headers, opening.as_bytes(), REQUEST_MAX).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    let (status, body) = order(&other, "ours", "k");
    assert!(status == 503 && body.contains("Sale of another topic"), "{status} {body}");
    let (status, body) = order(&deployment.edges[0], "theirs", "k");
    assert!(status == 503 && body.contains("Sale of another topic"), "{status} {body}");

    // What both sell now stands in the outbox, ours for longer; and the edge that sold it is gone.
    deployment.kafka().pause().unwrap();
    assert_eq!(order(&deployment.edges[0], "ours", "a").0, 202);
    assert_eq!(order(&other, "theirs", "a").0, 202);
    deployment.edges[0].program.kill();
    other.program.kill();
    deployment.kafka().resume();

    let mut redis = deployment.redis.connection().unwrap();
    let mut undelivered = |product: &str| -> u64 {
        redis::cmd("XLEN").arg(format!("product:{{{product}}}:outbox")).query(&mut redis).unwrap()
    };
    assert_eq!((undelivered("ours"), undelivered("theirs")), (1, 1));
    other.program.start().unwrap();
    wait_until("the other edge has delivered its own", || undelivered("theirs") == 0);
    assert_eq!(undelivered("ours"), 1, "which was due before");
    deployment.edges[0].program.start().unwrap();
    wait_until("our edge has delivered its own", || undelivered("ours") == 0);
    wait_until("it is stored", || units_stored(&deployment, "ours") == 1);

    let records = |topic: &str, product: &str| records_of(&deployment, topic, product);
    assert_eq!((records(&own_topic, "theirs"), records(&other_topic, "ours")), (0, 0));
    assert!(records(&own_topic, "ours") >= 2 && records(&other_topic, "theirs") >= 2, "a sale's opening and its order");
    assert_eq!(units_stored(&deployment, "theirs"), 0);
}
