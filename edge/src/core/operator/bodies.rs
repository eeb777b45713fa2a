//! The bodies of `POST /init` and `POST /close`, read and validated. Never opens or closes anything; `sale_admin.rs` does.

use std::ops::RangeInclusive;

use flux_protocol::http::Request;
use flux_protocol::http::order_body::OrderBodyError;
use flux_protocol::order::{Identifier, PER_USER_MAX, SALE_TOTAL_MAX};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::Answer;
use crate::core::config::CoreConfig;
use crate::core::request::check_content;

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

/// What a buyer over the limit is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Wait in line for their turn.
    Fair,
    /// Try again.
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

/// Members as they came: a wrong type is told by the member's name and what it has to be. `null` is as good as absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InitBody {
    product_id: Value,
    quantity: Value,
    rate: Option<Value>,
    burst: Option<Value>,
    per_user: Option<Value>,
    opens_at: Option<Value>,
    queue: Option<Value>,
    force: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CloseBody {
    product_id: Value,
}

impl Opening {
    /// What the body of a `POST /init` asks for; rate and burst of the configuration where it names none.
    ///
    /// # Errors
    /// The answer to a body that asks for what cannot be.
    pub(crate) fn read(request: &Request<'_>, config: &CoreConfig) -> Result<Opening, Answer> {
        let body: InitBody = body_of(request)?;
        let name = name_of(&body.product_id)?;
        let total = integer("quantity", 1..=SALE_TOTAL_MAX, &body.quantity)?;
        let bounded = |name, member: Option<&Value>| member.map(|it| integer(name, 0..=BUCKET_MAX, it)).transpose();
        let (own_rate, own_burst) = (bounded("rate", body.rate.as_ref())?, bounded("burst", body.burst.as_ref())?);
        let rate = own_rate.unwrap_or(config.rate);
        let burst = match (own_burst, own_rate) {
            (Some(burst), _) => burst,
            (None, Some(rate)) => rate.max(2),
            (None, None) => config.burst,
        };
        if rate == 0 && own_burst.is_some() {
            return Err(Answer::error(400, "burst needs a rate above 0: without a limit there is nothing to exceed"));
        }
        if rate > 0 && burst < burst_min(rate) {
            return Err(Answer::error(400, "burst must be at least max(2, rate / 100)"));
        }
        let queue = match body.queue.as_ref().map(Value::as_str) {
            None | Some(Some("retry")) => Queue::Retry,
            Some(Some("fair")) => Queue::Fair,
            Some(_) => return Err(Answer::error(400, r#"queue must be "retry" or "fair""#)),
        };
        if rate == 0 && queue == Queue::Fair {
            return Err(Answer::error(400, "a fair queue needs a rate above 0: without a limit nobody waits"));
        }
        let per_user = match &body.per_user {
            None => 0,
            Some(units) => integer("perUser", 1..=u64::from(PER_USER_MAX), units)?,
        };
        let opens_at = match &body.opens_at {
            None => 0,
            Some(text) => text.as_str().and_then(milliseconds).ok_or_else(|| {
                Answer::error(400, "opensAt must be a time of RFC 3339, such as 2026-12-01T12:00:00Z")
            })?,
        };
        let force = match body.force {
            None => false,
            Some(force) => force.as_bool().ok_or_else(|| Answer::error(400, "force must be true or false"))?,
        };
        let per_user = u16::try_from(per_user).expect("within its bounds");
        Ok(Opening { name, total, rate, burst, per_user, opens_at, queue, force })
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

/// # Errors
/// The answer to a member that is no integer within its bounds. `1.0` is none.
fn integer(name: &str, bounds: RangeInclusive<u64>, member: &Value) -> Result<u64, Answer> {
    member.as_u64().filter(|value| bounds.contains(value)).ok_or_else(|| {
        Answer::error(400, &format!("{name} must be an integer from {} to {}", bounds.start(), bounds.end()))
    })
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

fn name_of(product_id: &Value) -> Result<Identifier, Answer> {
    let text = product_id.as_str().ok_or_else(|| Answer::error(400, "productId must be a string"))?;
    Identifier::new(text.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid productId"))
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
