//! The consumer against the scripted cluster, whose coordinator never lets anybody in.

use std::time::Duration;

use super::*;
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};

fn consumer(fake: &Fake) -> Consumer {
    let config = ConsumerConfig {
        topic: TOPIC.to_owned(),
        group: "workers".to_owned(),
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: None,
        client_id: "test".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(3),
        answer_bytes_max: 1 << 20,
        buffered_bytes_max: 1 << 20,
        fetch_wait: Duration::from_millis(500),
        seed: 3,
    };
    Consumer::new(config, fake.now)
}

#[test]
fn who_waits_for_the_group_is_told_from_who_reaches_no_broker() {
    let mut fake = Fake::new(1, 2);
    fake.up.insert(1, false);
    let mut consumer = consumer(&fake);
    fake.pass(6000, &mut consumer);
    assert_eq!(consumer.standing(fake.now), Standing::NoBroker, "nobody listens");

    fake.up.insert(1, true);
    fake.pass(6000, &mut consumer);
    assert_eq!(consumer.standing(fake.now), Standing::Waiting, "connected, and asked for membership");
    fake.pass(20_000, &mut consumer);
    assert_eq!(consumer.standing(fake.now), Standing::Waiting, "for as long as another member takes");

    fake.up.insert(1, false);
    fake.reset(1, &mut consumer);
    fake.pass(0, &mut consumer);
    assert_eq!(consumer.standing(fake.now), Standing::NoBroker);

    // It takes connections and says nothing, as one that was stopped.
    fake.up.insert(1, true);
    fake.mute.push(1);
    fake.pass(6000, &mut consumer);
    assert_eq!(consumer.standing(fake.now), Standing::NoBroker);
}
