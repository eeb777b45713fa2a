//! What an error code of a broker says to an operator: which right is missing, or that there is no such topic.
//!
//! Words alone; what a code means for a request, its user decides. Codes and names are those of Kafka's protocol guide.

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;

/// Whether `code` says that a right is missing.
pub fn is_denial(code: i16) -> bool {
    matches!(code, TOPIC_AUTHORIZATION_FAILED | GROUP_AUTHORIZATION_FAILED | CLUSTER_AUTHORIZATION_FAILED)
}

/// An answer with `code` has come: a right is missing, or the one that was is there.
pub(crate) fn note(denied: &mut Option<i16>, code: i16) {
    if code == 0 {
        *denied = None;
    } else if is_denial(code) {
        *denied = Some(code);
    }
}

/// What `who` lacks where a broker answers `code` to a request that needs `right` on `topic`; `None` where the code says something
/// else, which an operator cannot mend by a right.
pub fn in_words(code: i16, who: &str, right: &str, topic: &str) -> Option<String> {
    match code {
        UNKNOWN_TOPIC_OR_PARTITION => Some(format!("there is no topic {topic}, or {who} may not know of it")),
        TOPIC_AUTHORIZATION_FAILED => {
            Some(format!("{who} lacks the right {right} on topic {topic} (TOPIC_AUTHORIZATION_FAILED)"))
        }
        GROUP_AUTHORIZATION_FAILED => {
            Some(format!("{who} lacks the right Read on its group (GROUP_AUTHORIZATION_FAILED)"))
        }
        CLUSTER_AUTHORIZATION_FAILED => {
            // Of InitProducerId: whoever may write to any topic may have a producer id (KIP-679); before, it was a right of its own.
            Some(format!(
                "{who} lacks the right {right} on topic {topic}, or, of brokers before 2.8, IdempotentWrite on the cluster (CLUSTER_AUTHORIZATION_FAILED)"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_what_is_named_and_nothing_is_made_up() {
        let words = in_words(29, "user shop", "Write", "orders").expect("a denial");
        assert_eq!(words, "user shop lacks the right Write on topic orders (TOPIC_AUTHORIZATION_FAILED)");
        // What a broker says of a producer id to who may write nowhere.
        let words = in_words(31, "user shop", "Write", "orders").expect("a denial");
        assert!(words.starts_with("user shop lacks the right Write on topic orders, or"), "{words}");
        assert!(is_denial(29) && is_denial(30) && is_denial(31));
        for code in [0, 5, 6, 7, 19, 72] {
            assert!(!is_denial(code) && in_words(code, "user shop", "Write", "orders").is_none(), "{code}");
        }
    }
}
