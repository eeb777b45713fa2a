//! The topic of the fences on a real broker: who writes there, and by what an edge is current.

use std::time::Duration;

use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client;
use flux_lab::topic::TopicReader;
use flux_protocol::fence::log::topic_of;
use serde_json::Value;

use crate::{logs, wait_until};

const REQUEST_MAX: Duration = Duration::from_secs(15);

fn is_current(deployment: &Deployment) -> bool {
    let asked = http_client::request(deployment.edges[0].admin(), "GET", "/metrics", &[], b"", REQUEST_MAX);
    let metrics = asked.map(|answer| answer.text()).unwrap_or_default();
    metrics.lines().any(|line| line == "flux_edge_fences_current 1")
}

/// What stands in the topic, as JSON, from where the last call stopped.
fn records(reader: &mut TopicReader) -> Vec<Value> {
    let all = reader.read().expect("the topic can be read");
    all.iter().map(|record| serde_json::from_slice(&record.value).expect("JSON")).collect()
}

#[test]
fn an_edge_is_current_by_the_heartbeats_that_it_reads_back_and_says_when_it_goes() {
    let mut deployment =
        Deployment::start(DeploymentOptions { servers: Servers::own(), ..DeploymentOptions::default() }).unwrap();
    wait_until("the edge is current", || is_current(&deployment));
    deployment.kafka().pause().unwrap();
    wait_until("it is not, without a broker", || !is_current(&deployment));
    deployment.kafka().resume();
    wait_until("it is again", || is_current(&deployment));

    let mut reader = TopicReader::new(&deployment.kafka().bootstrap(), &topic_of(deployment.topic()));
    let beats: Vec<u64> =
        records(&mut reader).iter().map(|record| record["beat"].as_u64().expect("a number")).collect();
    assert!(beats.windows(2).all(|two| two[0] < two[1]), "{beats:?}");
    // The topic is made once; what a reader has read to is said in the next heartbeat.
    let mut last = Value::Null;
    wait_until("a heartbeat says that all before it was read", || {
        last = records(&mut reader).pop().unwrap_or(last.take());
        last["obeyed"].as_u64().is_some_and(|obeyed| obeyed >= beats.len() as u64) && last["drained"] == last["obeyed"]
    });
    let ended = deployment.edges[0].program.terminate(REQUEST_MAX).unwrap();
    assert!(ended.success(), "{}", logs(&deployment));
    let end = records(&mut reader).pop().expect("its last word");
    assert_eq!((&end["event"], &end["edge"]), (&Value::from("gone"), &last["edge"]));
    assert!(end["beat"].as_u64() >= last["beat"].as_u64(), "as of its last heartbeat: {end} {last}");
}
