use super::*;
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};

/// An audit looks at every partition of a topic that is being written: were a connection given up for each answer, it would
/// come to its end by reconnecting.
#[test]
fn ends_come_from_all_leaders_by_the_connections_that_there_are() {
    let mut fake = Fake::new(2, 3);
    fake.logs.entry((fake.topic_id, 1)).or_default().values.extend(["a".to_owned(), "b".to_owned()]);
    let cluster = ClusterConfig {
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: None,
        client_id: "test".to_owned(),
        topic: TOPIC.to_owned(),
        seed: 5,
    };
    let fetch = FetchConfig {
        isolation: Isolation::Committed,
        answer_bytes_min: 1,
        answer_bytes_max: 1000,
        buffered_bytes_max: 3000,
        wait: Duration::from_millis(250),
        seed: 5,
    };
    let mut reader = LogReader::new(cluster, fetch, fake.now);
    reader.ask_ends(fake.now, Isolation::Committed);
    fake.pass(1000, &mut reader);
    let ends = Ends { topic_id: uuid::Uuid::from_u128(fake.topic_id).into_bytes(), offsets: vec![0, 2, 0] };
    assert_eq!(reader.ends(), Some(ends));
    assert_eq!((fake.connections().len(), fake.closed_by_machine), (2, 0));
}
