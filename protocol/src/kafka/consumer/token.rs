//! What a consumer asks brokers, tied to each request so that its answer finds the way back.

use std::time::Duration;

use crate::kafka::fetch::FetchId;
use crate::kafka::group::GroupRequestKind;
use crate::kafka::metadata::TopicId;

/// How long an answer may take for which the broker need not wait.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Added to what a request may wait at the broker on purpose.
pub(super) const ANSWER_SLACK: Duration = Duration::from_secs(5);
/// UNSUPPORTED_VERSION, as brokers say it: also what the owner is told where a broker is too old to be asked.
pub(super) const UNSUPPORTED_VERSION: i16 = 35;

/// What was asked.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Group(GroupRequestKind),
    Fetch(FetchId, TopicId),
    /// Where these partitions end.
    Ends(Vec<i32>),
}
