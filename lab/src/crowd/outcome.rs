//! What one request came to, as its buyer must believe it: made, promised, not made, or unknown.

use std::borrow::Cow;

use flux_protocol::order::Uuid;

/// The outcome of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200: reserved, and acknowledged by Kafka.
    Accepted {
        /// The order.
        order_id: Uuid,
        /// Whether the answer said that it repeats an earlier one.
        replayed: bool,
    },
    /// 202: reserved; delivered later.
    Pending {
        /// The order.
        order_id: Uuid,
        /// Whether the answer said that it repeats an earlier one.
        replayed: bool,
    },
    /// Nothing was reserved by this request.
    No(Refusal),
    /// It may have been reserved, or not.
    Unknown(Doubt),
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// 302: go to the waiting room.
    Redirected,
    /// 429: the same for a caller that reads JSON.
    Waiting,
    /// 409 `sold_out`.
    SoldOut,
    /// 409 `insufficient`.
    Insufficient,
    /// 409 `limit_reached`.
    LimitReached,
    /// 422: the key was used for another order.
    KeyReused,
    /// 404.
    UnknownProduct,
    /// 503 `unavailable`.
    Unavailable,
    /// Another 4xx.
    Rejected(u16),
    /// The connection could not be opened: no byte was sent.
    NotSent,
}

/// Why it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer.
    Reset,
    /// 503 `unknown`: the edge does not know either.
    Said,
    /// What came back is not an answer that SPEC.md knows.
    Garbled,
}

impl Outcome {
    /// What the counts call it.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Outcome::Accepted { replayed: false, .. } => "accepted",
            Outcome::Accepted { replayed: true, .. } => "accepted (replay)",
            Outcome::Pending { replayed: false, .. } => "pending",
            Outcome::Pending { replayed: true, .. } => "pending (replay)",
            Outcome::No(Refusal::Redirected) => "waiting room (302)",
            Outcome::No(Refusal::Waiting) => "waiting room (429)",
            Outcome::No(Refusal::SoldOut) => "sold out",
            Outcome::No(Refusal::Insufficient) => "not enough units left",
            Outcome::No(Refusal::LimitReached) => "limit per customer",
            Outcome::No(Refusal::KeyReused) => "key reused",
            Outcome::No(Refusal::UnknownProduct) => "unknown product",
            Outcome::No(Refusal::Unavailable) => "unavailable",
            Outcome::No(Refusal::Rejected(status)) => return Cow::Owned(format!("refused ({status})")),
            Outcome::No(Refusal::NotSent) => "no connection",
            Outcome::Unknown(Doubt::Timeout) => "unknown (no answer in time)",
            Outcome::Unknown(Doubt::Reset) => "unknown (connection lost)",
            Outcome::Unknown(Doubt::Said) => "unknown (the edge says so)",
            Outcome::Unknown(Doubt::Garbled) => "unknown (unexpected answer)",
        })
    }

    /// The order that the answer names, if any.
    pub fn order_id(&self) -> Option<Uuid> {
        match self {
            Outcome::Accepted { order_id, .. } | Outcome::Pending { order_id, .. } => Some(*order_id),
            Outcome::No(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Reads an answer's status, body, and whether it carried `idempotency-replayed: true`.
    pub fn read(status: u16, body: &[u8], replayed: bool) -> Outcome {
        let said = || json_string(body, b"\"status\":\"").unwrap_or_default();
        let order_id = || json_string(body, b"\"orderId\":\"").and_then(Uuid::parse);
        match status {
            200 => match order_id() {
                Some(order_id) => Outcome::Accepted { order_id, replayed },
                None => Outcome::Unknown(Doubt::Garbled),
            },
            202 => match order_id() {
                Some(order_id) => Outcome::Pending { order_id, replayed },
                None => Outcome::Unknown(Doubt::Garbled),
            },
            302 => Outcome::No(Refusal::Redirected),
            404 => Outcome::No(Refusal::UnknownProduct),
            409 => match said() {
                b"sold_out" => Outcome::No(Refusal::SoldOut),
                b"insufficient" => Outcome::No(Refusal::Insufficient),
                b"limit_reached" => Outcome::No(Refusal::LimitReached),
                _ => Outcome::No(Refusal::Rejected(409)),
            },
            422 => Outcome::No(Refusal::KeyReused),
            429 => Outcome::No(Refusal::Waiting),
            400..500 => Outcome::No(Refusal::Rejected(status)),
            503 => match said() {
                b"unavailable" => Outcome::No(Refusal::Unavailable),
                b"unknown" => Outcome::Unknown(Doubt::Said),
                _ => Outcome::Unknown(Doubt::Garbled),
            },
            _ => Outcome::Unknown(Doubt::Garbled),
        }
    }
}

/// The string after `member` (`"name":"`) in a flat JSON object written without spaces, as the edge writes it. A scan by
/// hand: a load client that parses JSON properly measures itself.
fn json_string<'a>(body: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    let start = body.windows(member.len()).position(|window| window == member)? + member.len();
    let length = body[start..].iter().position(|byte| *byte == b'"')?;
    Some(&body[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_specification_is_read() {
        let id = "0190163d-8694-8f4e-9f4a-1c2d3e4f5a6b";
        let order_id = Uuid::parse(id.as_bytes()).unwrap();
        let made = format!(r#"{{"status":"success","msg":"Order accepted","orderId":"{id}"}}"#);
        assert_eq!(Outcome::read(200, made.as_bytes(), true), Outcome::Accepted { order_id, replayed: true });
        let promised = format!(r#"{{"status":"pending","msg":"Order reserved","orderId":"{id}"}}"#);
        assert_eq!(Outcome::read(202, promised.as_bytes(), false), Outcome::Pending { order_id, replayed: false });
        for (status, body, expected) in [
            (302, "", Outcome::No(Refusal::Redirected)),
            (400, r#"{"error":"Missing Idempotency Key"}"#, Outcome::No(Refusal::Rejected(400))),
            (404, r#"{"error":"Unknown product"}"#, Outcome::No(Refusal::UnknownProduct)),
            (409, r#"{"status":"sold_out","msg":"Inventory empty"}"#, Outcome::No(Refusal::SoldOut)),
            (409, r#"{"status":"insufficient","msg":"…","available":3}"#, Outcome::No(Refusal::Insufficient)),
            (409, r#"{"status":"limit_reached","msg":"…"}"#, Outcome::No(Refusal::LimitReached)),
            (422, r#"{"error":"…"}"#, Outcome::No(Refusal::KeyReused)),
            (429, r#"{"status":"waiting","location":"…"}"#, Outcome::No(Refusal::Waiting)),
            (503, r#"{"status":"unavailable","msg":"…"}"#, Outcome::No(Refusal::Unavailable)),
            (503, r#"{"status":"unknown","msg":"…"}"#, Outcome::Unknown(Doubt::Said)),
            (503, "<html>", Outcome::Unknown(Doubt::Garbled)),
            (500, "", Outcome::Unknown(Doubt::Garbled)),
            (200, r#"{"orderId":"none"}"#, Outcome::Unknown(Doubt::Garbled)),
        ] {
            assert_eq!(Outcome::read(status, body.as_bytes(), false), expected, "{status} {body}");
        }
    }
}
