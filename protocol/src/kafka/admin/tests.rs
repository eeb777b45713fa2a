use super::*;
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};

fn admin(fake: &mut Fake, new: Option<NewTopic>) -> Admin {
    let config = ClusterConfig {
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: None,
        client_id: "test".to_owned(),
        topic: TOPIC.to_owned(),
        seed: 1,
    };
    let mut admin = Admin::new(config, new, fake.now);
    fake.pass(10_000, &mut admin);
    admin
}

fn new() -> Option<NewTopic> {
    Some(NewTopic { partitions: 4, replicas: 1, settings: vec![("retention.ms".to_owned(), "-1".to_owned())] })
}

fn found(partitions: usize, created: bool) -> AdminEvent {
    AdminEvent::Found(TopicDescription { id: 77u128.to_be_bytes(), partitions, created })
}

#[test]
fn a_topic_that_exists_is_found_and_left_alone() {
    let mut fake = Fake::new(1, 3);
    let mut admin = admin(&mut fake, new());
    assert_eq!(admin.poll_event(), Some(found(3, false)));
    assert_eq!(admin.poll_event(), None);
    assert!(!fake.requests.contains(&19));
}

#[test]
fn a_missing_topic_is_made() {
    let mut fake = Fake::new(1, 0);
    let mut admin = admin(&mut fake, new());
    assert_eq!(admin.poll_event(), Some(found(4, true)));
    assert_eq!(fake.requests.iter().filter(|key| **key == 19).count(), 1);
}

#[test]
fn a_missing_topic_that_may_not_be_made_is_told_once_and_looked_for() {
    let mut fake = Fake::new(1, 0);
    let mut admin = admin(&mut fake, None);
    assert_eq!(admin.poll_event(), Some(AdminEvent::Missing));
    assert_eq!(admin.poll_event(), None);
    fake.leaders = vec![1, 1];
    fake.pass(1000, &mut admin);
    assert_eq!(admin.poll_event(), Some(found(2, false)));
}

#[test]
fn a_refusal_is_told_once_and_tried_again_slowly() {
    let mut fake = Fake::new(1, 0);
    fake.create_codes = VecDeque::from(vec![38; 8]);
    let mut admin = admin(&mut fake, new());
    let refused = AdminEvent::Refused { code: 38, message: "scripted".to_owned() };
    assert_eq!(admin.poll_event(), Some(refused));
    assert_eq!(admin.poll_event(), Some(found(4, true)));
}

#[test]
fn another_was_faster() {
    let mut fake = Fake::new(1, 0);
    fake.create_codes = VecDeque::from([36]);
    let mut admin = admin(&mut fake, new());
    // Error 36 and still no topic to be seen: looked for, then made.
    assert_eq!(admin.poll_event(), Some(found(4, true)));
    assert_eq!(admin.poll_event(), None);
}
