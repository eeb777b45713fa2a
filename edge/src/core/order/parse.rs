//! What a request orders: its key and its body, checked once. Behind this an identifier may stand in a Redis key, in a JSON
//! record or in a header without escaping.
//!
//! Never looks at a sale.

use flux_protocol::http::{KeyField, Request, media, order_body};
use flux_protocol::order::Identifier;

use crate::answer::Answer;
use crate::core::request::check_content;
use crate::core::state::orders::Wish;

/// The product and what is wanted of it.
///
/// # Errors
/// The refusal: 400 or 415.
pub(super) fn parse(request: &Request<'_>) -> Result<(Identifier, Wish), Answer> {
    check_content(&request.fields)?;
    let key = match request.fields.idempotency_key {
        KeyField::Absent => return Err(Answer::error(400, "Missing Idempotency Key")),
        KeyField::Conflict => return Err(Answer::error(400, "Conflicting Idempotency Keys")),
        KeyField::One(key) => Identifier::new(key).ok_or_else(|| Answer::error(400, "Invalid Idempotency Key"))?,
    };
    let body = order_body::parse(request.body).map_err(|error| Answer::error(400, &error.to_string()))?;
    let identifier =
        |text: &str| Identifier::new(text.as_bytes()).ok_or_else(|| Answer::error(400, "Invalid identifier"));
    let (product, user) = (identifier(&body.product_id)?, identifier(&body.user_id)?);
    // A script cannot read a redirect.
    let wants_json = request.fields.accept.is_some_and(media::names_json);
    // A text of another length is no ticket.
    let shown = request.fields.x_queue_ticket.and_then(|text| text.try_into().ok());
    Ok((product, Wish { user, key, quantity: body.quantity, wants_json, shown }))
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::{Limits, Read, Reader};

    use super::*;

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
            let (_, wish) = parse(&request).expect("an order");
            assert_eq!(wish.wants_json, wants_json, "{accept}");
        }
    }
}
