//! Which version of which request we speak.
//!
//! The upper bounds are versions that were tried against real brokers; the lower ones are what the oldest broker we name
//! (3.9) knows and what [`super::wire`] needs: flexible versions only, with the single header form of [`super::frame`].

/// A request's key on the wire (`ApiKey` in Kafka's protocol guide).
pub type ApiKeyCode = i16;

/// Keys of the requests that are written by hand.
pub mod key {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// Fetch.
    pub const FETCH: i16 = 1;
    /// Metadata.
    pub const METADATA: i16 = 3;
    /// SaslHandshake. Not in [`super::OURS`]: it is sent in one version, which every broker that wants a login knows.
    pub const SASL_HANDSHAKE: i16 = 17;
    /// SaslAuthenticate, likewise.
    pub const SASL_AUTHENTICATE: i16 = 36;
    /// ApiVersions, the handshake.
    pub const API_VERSIONS: i16 = 18;
    /// InitProducerId.
    pub const INIT_PRODUCER_ID: i16 = 22;
}

/// Versions of one request that we can speak, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// The request.
    pub key: ApiKeyCode,
    /// Oldest.
    pub min: i16,
    /// Newest.
    pub max: i16,
}

/// How many requests we can speak.
pub const OURS_COUNT: usize = 18;

/// Every request we speak, by key.
pub const OURS: [Ours; OURS_COUNT] = [
    Ours { key: key::PRODUCE, min: 9, max: 13 },   // by topic id from 13
    Ours { key: key::FETCH, min: 13, max: 17 },    // by topic id from 13
    Ours { key: 2, min: 7, max: 9 },               // ListOffsets
    Ours { key: key::METADATA, min: 10, max: 12 }, // topic ids from 10
    Ours { key: 8, min: 8, max: 9 },               // OffsetCommit
    Ours { key: 9, min: 8, max: 9 },               // OffsetFetch
    Ours { key: 10, min: 4, max: 6 },              // FindCoordinator: `coordinator_keys` from 4
    Ours { key: 11, min: 7, max: 9 },              // JoinGroup
    Ours { key: 12, min: 4, max: 4 },              // Heartbeat
    Ours { key: 13, min: 4, max: 5 },              // LeaveGroup
    Ours { key: 14, min: 5, max: 5 },              // SyncGroup
    Ours { key: 15, min: 5, max: 5 },              // DescribeGroups
    Ours { key: key::API_VERSIONS, min: 4, max: 4 },
    Ours { key: 19, min: 7, max: 7 }, // CreateTopics: returns the topic id from 7
    Ours { key: 20, min: 6, max: 6 }, // DeleteTopics
    Ours { key: key::INIT_PRODUCER_ID, min: 4, max: 5 },
    Ours { key: 32, min: 4, max: 4 }, // DescribeConfigs
    Ours { key: 68, min: 0, max: 1 }, // ConsumerGroupHeartbeat (KIP-848)
];

/// The place of `key` in [`OURS`].
pub fn index_of(key: ApiKeyCode) -> Option<usize> {
    OURS.binary_search_by_key(&key, |ours| ours.key).ok()
}

/// The highest version of a request that we and a broker offering `min` to `max` both know.
pub fn choose(ours: Ours, min: i16, max: i16) -> Option<i16> {
    let highest = ours.max.min(max);
    (highest >= ours.min.max(min)).then_some(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::ApiKey;

    #[test]
    fn every_version_of_ours_is_flexible_and_known_to_the_crate() {
        assert!(OURS.is_sorted_by_key(|ours| ours.key));
        for ours in OURS {
            let api = ApiKey::try_from(ours.key).unwrap();
            let crates = api.valid_versions();
            assert!(ours.min >= crates.min && ours.max <= crates.max, "{api:?}");
            for version in ours.min..=ours.max {
                assert_eq!(api.request_header_version(version), 2, "{api:?} {version}");
                let header = if ours.key == key::API_VERSIONS { 0 } else { 1 };
                assert_eq!(api.response_header_version(version), header, "{api:?} {version}");
            }
        }
    }

    #[test]
    fn the_highest_that_both_know_is_chosen() {
        let ours = Ours { key: 0, min: 9, max: 13 };
        assert_eq!(choose(ours, 0, 11), Some(11));
        assert_eq!(choose(ours, 3, 20), Some(13));
        assert_eq!(choose(ours, 13, 20), Some(13));
        assert_eq!(choose(ours, 0, 8), None);
        assert_eq!(choose(ours, 14, 20), None);
        assert_eq!(choose(ours, 5, 3), None);
    }
}
