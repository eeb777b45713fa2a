//! The cluster against the scripted one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::MetadataRequest;

use super::*;
use crate::kafka::client::{ClusterError, KafkaClient};
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};
use crate::kafka::limits::{CONNECT_TIMEOUT, RECONNECT_BACKOFF_MAX, RESPONSE_BYTES_MAX};
use crate::kafka::metadata::Partition;

const LIMITS: RequestLimits = RequestLimits::within(Duration::from_secs(2));

fn config(bootstrap: &[i32]) -> ClusterConfig {
    let at = |node: &i32| ("broker".to_owned(), BOOTSTRAP_PORT + *node as u16);
    ClusterConfig {
        bootstrap: bootstrap.iter().map(at).collect(),
        login: None,
        client_id: "test".to_owned(),
        topic: TOPIC.to_owned(),
        seed: 5,
    }
}

fn start(fake: &mut Fake, bootstrap: &[i32]) -> Cluster<u32> {
    let mut cluster = Cluster::new(config(bootstrap), fake.now);
    fake.pass(0, &mut cluster);
    cluster
}

#[test]
fn learns_the_topic_and_keeps_the_connection_it_came_in_by() {
    let mut fake = Fake::new(3, 4);
    let mut cluster = start(&mut fake, &[2]);
    assert_eq!(cluster.topic().unwrap().partitions.len(), 4);
    assert_eq!(
        (cluster.leader(0), cluster.leader(3), cluster.leader(4), cluster.leader(-1)),
        (Some(1), Some(1), None, None)
    );
    assert_eq!(cluster.address(3).unwrap().port, BOOTSTRAP_PORT + 3);
    assert!(cluster.is_ready(Target::Node(2, Lane::DATA)));
    cluster.connect(fake.now, 2, Lane::DATA);
    fake.pass(0, &mut cluster);
    assert_eq!(fake.connections(), [2]);
}

#[test]
fn any_of_the_bootstrap_brokers_will_do() {
    let mut fake = Fake::new(3, 1);
    fake.up = BTreeMap::from([(1, false), (2, false), (3, true)]);
    let mut cluster = start(&mut fake, &[1, 2, 3]);
    fake.pass(1000, &mut cluster);
    assert_eq!(fake.connections(), [3]);
    assert!(cluster.topic().is_some());
}

#[test]
fn waits_for_the_first_broker_without_spinning() {
    let mut fake = Fake::new(1, 1);
    fake.up.insert(1, false);
    let mut cluster = start(&mut fake, &[1]);
    let mut attempts = 0;
    for _ in 0..60 {
        fake.now = fake.now + Duration::from_secs(1);
        cluster.handle_time(fake.now);
        while let Some(action) = cluster.poll_action() {
            let BrokerAction::Connect { broker, .. } = action else { panic!("{action:?}") };
            cluster.handle_broker_closed(fake.now, broker);
            attempts += 1;
        }
        assert!(cluster.next_deadline() <= fake.now + RECONNECT_BACKOFF_MAX);
    }
    assert!((30..=60).contains(&attempts), "{attempts}");
    fake.up.insert(1, true);
    fake.pass(1000, &mut cluster);
    assert!(cluster.topic().is_some());
}

#[test]
fn a_request_comes_back_once_answered_or_lost() {
    let mut fake = Fake::new(2, 2);
    let mut cluster = start(&mut fake, &[1]);
    let request = metadata::request(TOPIC);
    let target = Target::Node(2, Lane::DATA);
    assert_eq!(cluster.request(fake.now, target, &request, 1, LIMITS), Err(RequestError::NotReady));
    cluster.connect(fake.now, 2, Lane::DATA);
    assert_eq!(cluster.request(fake.now, target, &request, 1, LIMITS), Err(RequestError::NotReady));
    fake.pass(0, &mut cluster);
    let key = cluster.request(fake.now, target, &request, 1, LIMITS).unwrap();
    fake.pass(0, &mut cluster);
    let response = cluster.poll_response().unwrap();
    assert_eq!((response.token, response.broker), (1, key));
    assert!(response.answer.unwrap().decode::<MetadataRequest>().is_ok());
    assert!(cluster.poll_response().is_none());

    cluster.request(fake.now, target, &request, 2, LIMITS).unwrap();
    fake.reset(2, &mut cluster);
    let response = cluster.poll_response().unwrap();
    assert_eq!((response.token, response.broker), (2, key));
    assert!(response.answer.is_none() && cluster.poll_response().is_none());
    // It comes back by itself, under a new key.
    fake.pass(1000, &mut cluster);
    assert_ne!(cluster.request(fake.now, target, &request, 3, LIMITS).unwrap(), key);
    assert_eq!(
        cluster.handle_broker_bytes(fake.now, key, &mut BytesMut::from(&b"late"[..])),
        Err(ClusterError::Forgotten)
    );
    assert!(cluster.poll_response().is_none());
    let unknown = cluster.request_with(fake.now, target, 3000, 4, LIMITS, |_, _| panic!("written all the same"));
    assert_eq!(unknown, Err(RequestError::Unsupported(3000)));
}

#[test]
fn in_flight_is_bounded() {
    let mut fake = Fake::new(1, 1);
    let mut cluster = start(&mut fake, &[1]);
    let request = metadata::request(TOPIC);
    let mut sent = 0;
    while cluster.request(fake.now, Target::Any, &request, sent, LIMITS).is_ok() {
        sent += 1;
    }
    assert_eq!(sent as usize, crate::kafka::limits::CONNECTION_REQUESTS_MAX);
    assert_eq!(cluster.may_send(Target::Any, 3), Err(RequestError::Full));
    fake.pass(0, &mut cluster);
    let tokens: Vec<u32> = std::iter::from_fn(|| cluster.poll_response()).map(|response| response.token).collect();
    assert_eq!(tokens, (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_coordinator_learned_elsewhere_gets_a_lane_of_its_own() {
    let mut fake = Fake::new(2, 1);
    let mut cluster = start(&mut fake, &[1]);
    cluster.connect(fake.now, 1, Lane::DATA);
    cluster.connect(fake.now, 1, Lane::GROUP);
    // Known from metadata already; this is what FindCoordinator would say.
    assert!(cluster.learn_node(fake.now, 9, "broker", i32::from(BOOTSTRAP_PORT) + 2));
    assert!(!cluster.learn_node(fake.now, 10, "broker", 0) && !cluster.learn_node(fake.now, 10, "", 9092));
    cluster.connect(fake.now, 9, Lane::GROUP);
    fake.pass(0, &mut cluster);
    let mut connections = fake.connections();
    connections.sort_unstable();
    assert_eq!(connections, [1, 1, 2]);
    assert!(cluster.is_ready(Target::Node(9, Lane::GROUP)) && !cluster.is_ready(Target::Node(9, Lane::DATA)));
    // Kept, and its address with it, when metadata does not name it.
    fake.pass(70_000, &mut cluster);
    fake.reset(2, &mut cluster);
    fake.pass(1000, &mut cluster);
    assert!(cluster.is_ready(Target::Node(9, Lane::GROUP)));
    cluster.disconnect(fake.now, 9, Lane::GROUP);
    fake.pass(5000, &mut cluster);
    let mut connections = fake.connections();
    connections.sort_unstable();
    assert_eq!(connections, [1, 1]);
}

#[test]
fn the_bootstrap_connection_is_closed_once_it_has_served() {
    let mut fake = Fake::new(1, 1);
    // The broker advertises itself under another name than it is reached by.
    let mut its = config(&[1]);
    its.bootstrap[0].0 = "alias".to_owned();
    let mut cluster: Cluster<u32> = Cluster::new(its, fake.now);
    fake.pass(0, &mut cluster);
    assert_eq!(fake.connections(), [1]);
    cluster.connect(fake.now, 1, Lane::DATA);
    fake.pass(0, &mut cluster);
    assert_eq!((fake.connections(), fake.closed_by_machine), (vec![1], 1));
    assert!(cluster.is_ready(Target::Node(1, Lane::DATA)));
}

#[test]
fn sockets_that_never_open_or_never_answer_are_given_up() {
    let mut fake = Fake::new(1, 1);
    let mut cluster: Cluster<u32> = Cluster::new(config(&[1]), fake.now);
    let Some(BrokerAction::Connect { broker, .. }) = cluster.poll_action() else { panic!() };
    assert_eq!(cluster.next_deadline(), fake.now + CONNECT_TIMEOUT);
    fake.now = fake.now + CONNECT_TIMEOUT;
    cluster.handle_time(fake.now);
    assert_eq!(cluster.poll_action(), Some(BrokerAction::Close { broker }));
    cluster.handle_broker_open(fake.now, broker); // too late
    fake.now = fake.now + RECONNECT_BACKOFF_MAX;
    cluster.handle_time(fake.now);
    let Some(BrokerAction::Connect { broker: second, .. }) = cluster.poll_action() else { panic!() };
    assert_ne!(broker, second);
    cluster.handle_broker_open(fake.now, second);
    let mut out = Vec::new();
    cluster.poll_broker_write(second, &mut out);
    assert!(!out.is_empty());
    fake.now = cluster.next_deadline();
    cluster.handle_time(fake.now);
    assert_eq!(cluster.poll_action(), Some(BrokerAction::Close { broker: second }));
}

#[test]
fn metadata_is_asked_for_no_more_often_than_its_gap() {
    let mut fake = Fake::new(1, 1);
    let mut cluster = start(&mut fake, &[1]);
    fake.requests.clear();
    for _ in 0..100 {
        cluster.refresh_metadata(fake.now);
        fake.pass(10, &mut cluster);
    }
    let asked = fake.requests.iter().filter(|key| **key == 3).count();
    assert!((9..=11).contains(&asked), "{asked}");
    fake.requests.clear();
    fake.pass(100_000, &mut cluster);
    assert_eq!(fake.requests.len(), 3);
}

#[test]
fn a_leader_learned_later_is_not_forgotten_for_an_older_answer() {
    let partition = |leader, leader_epoch| Partition { leader: Some(leader), leader_epoch };
    let mut topic = Topic { id: [1; 16], partitions: vec![partition(1, 5), partition(1, 5)] };
    topic.update(Topic { id: [1; 16], partitions: vec![partition(2, 4), partition(2, 6), partition(3, 0)] });
    assert_eq!(topic.partitions, [partition(1, 5), partition(2, 6), partition(3, 0)]);
    topic.update(Topic { id: [1; 16], partitions: vec![partition(9, 7)] });
    assert_eq!(topic.partitions, [partition(9, 7), partition(2, 6), partition(3, 0)]);
    let anew = Topic { id: [2; 16], partitions: vec![partition(4, 0)] };
    topic.update(anew.clone());
    assert_eq!(topic, anew);
}

#[test]
fn limits_of_an_answer_are_the_callers() {
    let mut fake = Fake::new(1, 1);
    let mut cluster = start(&mut fake, &[1]);
    assert_eq!(LIMITS.response_bytes_max, RESPONSE_BYTES_MAX);
    let small = RequestLimits { response_bytes_max: 20, ..LIMITS };
    cluster.request(fake.now, Target::Any, &metadata::request(TOPIC), 1, small).unwrap();
    fake.pass(0, &mut cluster);
    assert!(cluster.poll_response().unwrap().answer.is_none());
    fake.pass(1000, &mut cluster);
    assert!(cluster.is_ready(Target::Any));
}
