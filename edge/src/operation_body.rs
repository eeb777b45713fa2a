//! The bodies of `POST /init` and `POST /close`, read and validated. Never opens or closes anything; `operation.rs` does.

use flux_protocol::http::Request;
use flux_protocol::http::order_body::OrderBodyError;
use flux_protocol::order::{Identifier, PER_USER_MAX, SALE_TOTAL_MAX};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::Answer;
use crate::core::CoreConfig;
use crate::order::check_content;

/// Largest rate and burst: the bucket is kept in millionths of a token, which must stay whole numbers in Lua.
const BUCKET_MAX: u64 = 1_000_000_000;

/// The smallest burst that a rate allows: the largest lease of a core must fit (SPEC: Rate limit).
pub(crate) fn burst_min(rate: u64) -> u64 {
    rate.div_ceil(100).max(2)
}

/// A sale as an operator wants it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: Identifier,
    /// Units in all.
    pub(crate) total: u64,
    /// Orders a second; 0 is no limit.
    pub(crate) rate: u64,
    /// Orders.
    pub(crate) burst: u64,
    /// Units that one user may take; 0 is no limit.
    pub(crate) per_user: u16,
    /// Milliseconds since the Unix epoch; 0 is at once.
    pub(crate) opens_at: u64,
    /// How a crowd waits.
    pub(crate) queue: Queue,
    /// It replaces a sale that is under way.
    pub(crate) force: bool,
}

/// What whoever is over the limit is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Queue {
    /// Wait in line for their turn.
    Fair,
    /// Try again.
    #[default]
    Retry,
}

impl Queue {
    /// As scripts and records have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Queue::Fair => "fair",
            Queue::Retry => "retry",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InitBody {
    product_id: String,
    quantity: u64,
    rate: Option<u64>,
    burst: Option<u64>,
    per_user: Option<u64>,
    opens_at: Option<String>,
    #[serde(default)]
    queue: Queue,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CloseBody {
    product_id: String,
}

impl Opening {
    /// What the body of a `POST /init` asks for; rate and burst of the configuration where it names none.
    ///
    /// # Errors
    /// The answer to a body that asks for what cannot be.
    pub(crate) fn read(request: &Request<'_>, config: &CoreConfig) -> Result<Opening, Answer> {
        let body: InitBody = body_of(request)?;
        let name = name_of(&body.product_id)?;
        if !(1..=SALE_TOTAL_MAX).contains(&body.quantity) {
            return Err(Answer::error(400, "quantity must be an integer from 1 to 1000000000"));
        }
        let rate = body.rate.unwrap_or(config.rate);
        let burst = match (body.burst, body.rate) {
            (Some(burst), _) => burst,
            (None, Some(rate)) => rate.max(2),
            (None, None) => config.burst,
        };
        if rate > 0 && burst < burst_min(rate) {
            return Err(Answer::error(400, "burst must be at least max(2, rate / 100)"));
        }
        if rate == 0 && body.queue == Queue::Fair {
            return Err(Answer::error(400, "a fair queue needs a rate above 0: without a limit nobody waits"));
        }
        if rate > BUCKET_MAX || burst > BUCKET_MAX {
            return Err(Answer::error(400, "rate and burst must be at most 1000000000"));
        }
        let per_user = match body.per_user.map(u16::try_from) {
            None => 0,
            Some(Ok(units)) if (1..=PER_USER_MAX).contains(&units) => units,
            Some(_) => return Err(Answer::error(400, "perUser must be an integer from 1 to 1000")),
        };
        let opens_at = match body.opens_at.as_deref().map(milliseconds) {
            None => 0,
            Some(Some(at)) => at,
            Some(None) => {
                return Err(Answer::error(400, "opensAt must be a time of RFC 3339, such as 2026-12-01T12:00:00Z"));
            }
        };
        Ok(Opening {
            name,
            total: body.quantity,
            rate,
            burst,
            per_user,
            opens_at,
            queue: body.queue,
            force: body.force,
        })
    }
}

/// The product that a `POST /close` names.
///
/// # Errors
/// The answer to a body that names none.
pub(crate) fn closing(request: &Request<'_>) -> Result<Identifier, Answer> {
    let body: CloseBody = body_of(request)?;
    name_of(&body.product_id)
}

/// Milliseconds from the Unix epoch to a time of RFC 3339, a part of one counted as a whole: nothing is sold before it.
fn milliseconds(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanoseconds = u128::try_from(at.unix_timestamp_nanos()).ok()?;
    u64::try_from(nanoseconds.div_ceil(1_000_000)).ok()
}

fn body_of<'a, T: Deserialize<'a>>(request: &Request<'a>) -> Result<T, Answer> {
    check_content(&request.fields)?;
    // serde takes an array for a structure, member by member.
    if request.body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Answer::error(400, OrderBodyError::NotAnObject.error()));
    }
    serde_json::from_slice(request.body).map_err(|error| Answer::error(400, &error.to_string()))
}

fn name_of(product_id: &str) -> Result<Identifier, Answer> {
    Identifier::new(product_id.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid productId"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_time_is_one_of_rfc_3339() {
        for (text, expected) in [
            ("2026-12-01T12:00:00Z", Some(1_796_126_400_000)),
            ("2026-12-01T13:30:00+01:30", Some(1_796_126_400_000)),
            ("2026-12-01T12:00:00.25Z", Some(1_796_126_400_250)),
            ("2026-12-01T12:00:00.0000001Z", Some(1_796_126_400_001)),
            ("2026-12-31T23:59:60Z", Some(1_798_761_600_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-12-01T12:00:00", None),
            ("2026-12-01", None),
            ("2026-02-30T12:00:00Z", None),
            ("1796126400000", None),
            ("noon", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }
}
