//! Who consumes which partitions: computed by the group's leader, evenly, moving as little as possible.
//!
//! Members tell the leader what they own in their subscription (version 2 of the consumer protocol: topics, owned
//! partitions, generation), so a rebalance leaves partitions where they are unless evenness wants otherwise. The bytes
//! carry an `i16` version in front that kafka-protocol leaves to its user; tools such as `kafka-consumer-groups` read
//! them.
//!
//! Never keeps state: the same members and partitions give the same answer on every machine.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_protocol_assignment::{self, ConsumerProtocolAssignment};
use kafka_protocol::messages::consumer_protocol_subscription::{self, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::reader::{Malformed, Reader};

/// The protocol type of consumer groups.
pub const PROTOCOL_TYPE: &str = "consumer";
/// The name of this assignor. Every member of a group must know it: another kind of consumer in the same group is
/// refused by the broker (INCONSISTENT_GROUP_PROTOCOL).
pub const PROTOCOL_NAME: &str = "flux-sticky";

const SUBSCRIPTION_VERSION: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 0;

/// What a member says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Whether it wants the topic at all.
    pub subscribed: bool,
    /// Partitions it had when it last was in the group.
    pub owned: Vec<i32>,
    /// Of which generation that was; -1: none. The newer claim wins where two members own one partition.
    pub generation: i32,
}

/// The subscription's bytes.
pub fn encode_subscription(topic: &str, owned: &[i32], generation: i32) -> Bytes {
    let topic = StrBytes::from_string(topic.to_owned());
    let mut owned_partitions = Vec::new();
    if !owned.is_empty() {
        owned_partitions.push(
            consumer_protocol_subscription::TopicPartition::default()
                .with_topic(TopicName(topic.clone()))
                .with_partitions(owned.to_vec()),
        );
    }
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![topic])
        .with_owned_partitions(owned_partitions)
        .with_generation_id(generation);
    versioned(SUBSCRIPTION_VERSION, &subscription)
}

/// The assignment's bytes: what one member gets.
pub fn encode_assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let assigned = consumer_protocol_assignment::TopicPartition::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.to_vec());
    versioned(ASSIGNMENT_VERSION, &ConsumerProtocolAssignment::default().with_assigned_partitions(vec![assigned]))
}

fn versioned(version: i16, message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    message.encode(&mut bytes, version).expect("names and partition lists are far below the limits of their lengths");
    bytes.freeze()
}

/// Reads a member's subscription. Versions are backward compatible: of a newer one the fields we know are read.
///
/// # Errors
/// [`Malformed`]: the member cannot be given anything.
pub fn decode_subscription(bytes: Bytes, topic: &str) -> Result<Subscription, Malformed> {
    let mut reader = Reader::new(bytes);
    let version = reader.int16()?;
    let mut subscription = Subscription { subscribed: false, owned: Vec::new(), generation: -1 };
    for _ in 0..reader.array()? {
        subscription.subscribed |= reader.string()? == topic;
    }
    reader.nullable_bytes()?;
    if version >= 1 {
        subscription.owned = topic_partitions(&mut reader, topic)?;
    }
    if version >= 2 {
        subscription.generation = reader.int32()?;
    }
    Ok(subscription)
}

/// Reads the partitions of `topic` that the leader gave us, ascending. No bytes: none.
///
/// # Errors
/// [`Malformed`]: the leader speaks another language; joining again may help.
pub fn decode_assignment(bytes: Bytes, topic: &str) -> Result<Vec<i32>, Malformed> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    reader.int16()?;
    let mut partitions = topic_partitions(&mut reader, topic)?;
    partitions.sort_unstable();
    partitions.dedup();
    if partitions.first().is_some_and(|partition| *partition < 0) {
        return Err(Malformed("a negative partition"));
    }
    Ok(partitions)
}

fn topic_partitions(reader: &mut Reader, topic: &str) -> Result<Vec<i32>, Malformed> {
    let mut ours = Vec::new();
    for _ in 0..reader.array()? {
        let is_ours = reader.string()? == topic;
        for _ in 0..reader.array()? {
            let partition = reader.int32()?;
            if is_ours {
                ours.push(partition);
            }
        }
    }
    Ok(ours)
}

/// Deals `partitions` to `members` (id and subscription): every partition to exactly one subscribed member, counts
/// differing by at most one, owners keeping what they may. The result names each member once, in order of their ids.
pub fn assign(members: &[(String, Subscription)], partitions: &[i32]) -> Vec<(String, Vec<i32>)> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| members[*a].0.cmp(&members[*b].0));
    let mut result: Vec<(String, Vec<i32>)> =
        order.iter().map(|member| (members[*member].0.clone(), Vec::new())).collect();
    let takers: Vec<usize> = (0..order.len()).filter(|at| members[order[*at]].1.subscribed).collect();
    if takers.is_empty() {
        return result;
    }
    let mut partitions = partitions.to_vec();
    partitions.sort_unstable();
    partitions.dedup();

    // Whose claim counts: the newest generation's, then the smallest id's.
    let owner_of = |partition: i32| {
        let claims = takers.iter().filter(|at| members[order[**at]].1.owned.contains(&partition));
        claims.copied().max_by_key(|at| (members[order[*at]].1.generation, std::cmp::Reverse(*at)))
    };
    // `larger` members may hold one more than `floor`; members that own enough already are the first to.
    let floor = partitions.len() / takers.len();
    let mut larger = partitions.len() % takers.len();
    let mut free = Vec::new();
    for partition in partitions {
        let Some(owner) = owner_of(partition) else {
            free.push(partition);
            continue;
        };
        let held = result[owner].1.len();
        if held < floor {
            result[owner].1.push(partition);
        } else if held == floor && larger > 0 {
            larger -= 1;
            result[owner].1.push(partition);
        } else {
            free.push(partition);
        }
    }
    for partition in free {
        let least = takers.iter().copied().min_by_key(|at| (result[*at].1.len(), *at)).expect("there is a taker");
        result[least].1.push(partition);
    }
    for (_, held) in &mut result {
        held.sort_unstable();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::Decodable;
    use proptest::prelude::*;

    fn member(id: &str, owned: &[i32], generation: i32) -> (String, Subscription) {
        (id.to_owned(), Subscription { subscribed: true, owned: owned.to_vec(), generation })
    }

    fn held<'a>(assignment: &'a [(String, Vec<i32>)], id: &str) -> &'a [i32] {
        &assignment.iter().find(|(member, _)| member == id).unwrap().1
    }

    #[test]
    fn the_bytes_are_what_the_crate_reads_behind_the_version() {
        let bytes = encode_subscription("orders", &[3, 1], 7);
        assert_eq!(bytes[..2], [0, 2]);
        let read = ConsumerProtocolSubscription::decode(&mut bytes.slice(2..), 2).unwrap();
        assert_eq!(read.owned_partitions[0].partitions, [3, 1]);
        assert_eq!(read.generation_id, 7);
        let ours = decode_subscription(bytes, "orders").unwrap();
        assert_eq!(ours, Subscription { subscribed: true, owned: vec![3, 1], generation: 7 });

        let bytes = encode_assignment("orders", &[2, 0]);
        assert_eq!(bytes[..2], [0, 0]);
        let read = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 0).unwrap();
        assert_eq!(read.assigned_partitions[0].partitions, [2, 0]);
        assert_eq!(decode_assignment(bytes.clone(), "orders").unwrap(), [0, 2]);
        assert_eq!(decode_assignment(bytes, "another").unwrap(), [0i32; 0]);
        assert_eq!(decode_assignment(Bytes::new(), "orders").unwrap(), [0i32; 0]);
    }

    #[test]
    fn cut_at_every_byte_is_an_error_or_less() {
        let subscription = encode_subscription("orders", &[3, 1], 7);
        for end in 0..subscription.len() {
            assert!(decode_subscription(subscription.slice(..end), "orders").is_err(), "cut at {end}");
        }
        let assignment = encode_assignment("orders", &[2, 0]);
        for end in 1..assignment.len() - 4 {
            assert!(decode_assignment(assignment.slice(..end), "orders").is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_newcomer_takes_only_its_share_and_a_leaver_leaves_only_its_own() {
        let two = assign(&[member("a", &[0, 1, 2, 3], 1), member("b", &[], -1)], &[0, 1, 2, 3]);
        assert_eq!(held(&two, "a"), [0, 1]);
        assert_eq!(held(&two, "b"), [2, 3]);
        let again = assign(&[member("b", &[2, 3], 2), member("a", &[0, 1], 2)], &[0, 1, 2, 3]);
        assert_eq!(again, two);
        let one = assign(&[member("b", &[2, 3], 2)], &[0, 1, 2, 3]);
        assert_eq!(held(&one, "b"), [0, 1, 2, 3]);
    }

    #[test]
    fn the_newer_claim_wins() {
        let assignment = assign(&[member("a", &[0, 1], 3), member("b", &[0, 1], 5)], &[0, 1, 2, 3]);
        assert_eq!(held(&assignment, "b"), [0, 1]);
        assert_eq!(held(&assignment, "a"), [2, 3]);
    }

    #[test]
    fn who_did_not_subscribe_gets_nothing() {
        let mut stranger = member("a", &[0], 1);
        stranger.1.subscribed = false;
        let assignment = assign(&[stranger.clone(), member("b", &[], -1)], &[0, 1]);
        assert_eq!(held(&assignment, "a"), [0i32; 0]);
        assert_eq!(held(&assignment, "b"), [0, 1]);
        assert_eq!(assign(&[stranger], &[0, 1]), [("a".to_owned(), vec![])]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(3), ..Default::default() })]

        #[test]
        fn everything_once_evenly_and_stable(
            count in 0..40i32,
            owned in proptest::collection::vec((proptest::collection::vec(0..50i32, 0..20), -1..4i32), 1..9),
        ) {
            let partitions: Vec<i32> = (0..count).collect();
            let members: Vec<_> = owned
                .into_iter()
                .enumerate()
                .map(|(index, (owned, generation))| member(&format!("m{index}"), &owned, generation))
                .collect();
            let assignment = assign(&members, &partitions);
            let mut all: Vec<i32> = assignment.iter().flat_map(|(_, held)| held.iter().copied()).collect();
            all.sort_unstable();
            prop_assert_eq!(&all, &partitions);
            let sizes = assignment.iter().map(|(_, held)| held.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);

            // The same members with what they were given change nothing.
            let settled: Vec<_> = assignment.iter().map(|(id, held)| member(id, held, 9)).collect();
            prop_assert_eq!(assign(&settled, &partitions), assignment);
        }
    }
}
