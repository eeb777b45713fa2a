//! What a request orders: its key and its body, checked once. Behind this an identifier may stand in a Redis key, in a JSON
//! record or in a header without escaping.
//!
//! Never looks at a sale.

use flux_protocol::http::{KeyField, Request, media, order_body};
use flux_protocol::order::Identifier;
use flux_protocol::time::Now;

use crate::answer::Answer;
use crate::core::request::check_content;
use crate::core::state::orders::Wish;
use crate::counters::Counters;
use crate::identity::{Bearers, Refusal};

/// Where users are what callers say, one who is called otherwise has to be told what to do.
const USER_ID_WANTED: &str = "Invalid userId: 1 to 64 of A-Z a-z 0-9 . _ : - are taken; send a hash of any other name, or \
    give the edge the keys of your identity provider (--jwt-keys)";

/// The product and what is wanted of it, by the user whom a bearer token names (`bearers`), or, where the edge asks for no
/// token, by whom the body says.
///
/// # Errors
/// The refusal: 400, 401, 403 or 415.
pub(super) fn parse(
    now: Now,
    request: &Request<'_>,
    bearers: Option<&mut Bearers>,
    counters: &Counters,
) -> Result<(Identifier, Wish), Answer> {
    let bearer = match bearers {
        None => None,
        Some(bearers) => match bearers.user(request.fields.authorization, now.wall_ms) {
            Ok(caller) => {
                counters.tokens_verified.add(u64::from(caller.verified));
                Some((bearers, caller.user))
            }
            Err(refusal) => {
                counters.tokens_refused[refusal as usize].add(1);
                return Err(unauthorized(refusal));
            }
        },
    };
    check_content(&request.fields)?;
    let key = match request.fields.idempotency_key {
        KeyField::Absent => return Err(Answer::error(400, "Missing Idempotency Key")),
        KeyField::Conflict => return Err(Answer::error(400, "Conflicting Idempotency Keys")),
        KeyField::One(key) => Identifier::new(key).ok_or_else(|| Answer::error(400, "Invalid Idempotency Key"))?,
    };
    let body = order_body::parse(request.body).map_err(|error| Answer::error(400, &error.to_string()))?;
    let product = Identifier::new(body.product_id.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid productId"))?;
    let user = match (bearer, body.user_id) {
        (None, None) => return Err(Answer::error(400, "Missing userId")),
        (None, Some(name)) => Identifier::new(name.as_bytes()).ok_or_else(|| Answer::error(400, USER_ID_WANTED))?,
        (Some((bearers, user)), Some(name)) if !bearers.is_user(user, &name) => {
            return Err(Answer::error(403, "userId is not the user of the token: leave it out"));
        }
        (Some((_, user)), _) => user,
    };
    // A script cannot read a redirect.
    let wants_json = request.fields.accept.is_some_and(media::names_json);
    // A text of another length is no ticket.
    let shown = request.fields.x_queue_ticket.and_then(|text| text.try_into().ok());
    Ok((product, Wish { user, key, quantity: body.quantity, wants_json, shown }))
}

/// 401 as RFC 6750 section 3 has it: a caller who showed no token is told no error.
fn unauthorized(refusal: Refusal) -> Answer {
    let description = refusal.description();
    let challenge = match refusal {
        Refusal::Missing => "Bearer".to_owned(),
        _ => format!("Bearer error=\"invalid_token\", error_description=\"{description}\""),
    };
    Answer::error(401, &format!("Unauthorized: {description}")).with_field("www-authenticate", challenge)
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::{Limits, Read, Reader};
    use flux_protocol::time::{Instant, Now};

    use super::*;

    const NOW: Now = Now { instant: Instant::from_micros(0), wall_ms: 0 };

    #[test]
    fn only_a_caller_that_takes_json_is_told_in_json() {
        for (accept, wants_json) in
            [("application/json", true), ("text/html, application/json;q=0.1", true), ("application/json;q=0", false)]
        {
            let body = r#"{"productId":"p","userId":"u"}"#;
            let mut bytes = format!(
                "POST /order HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes();
            let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else {
                panic!("a whole request")
            };
            let (_, wish) = parse(NOW, &request, None, &Counters::default()).expect("an order");
            assert_eq!(wish.wants_json, wants_json, "{accept}");
        }
    }
}
