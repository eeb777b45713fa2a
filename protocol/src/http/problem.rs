//! Bodies of errors: our own members, and those of RFC 9457 beside them for whoever reads those.
//!
//! The type is `about:blank`: what is special about an error stands in our own members, as it always has, and the title is its
//! status' phrase (RFC 9457 section 4.2.1). The media type stays `application/json`, since callers know our answers by it, and
//! since our `status` is a word where there is one: a document of type `application/problem+json` has a number there.

use super::response;

/// `{"error": …}` for a status, with the other members. `error` is escaped.
pub fn error(status: u16, error: &str) -> String {
    let error = serde_json::Value::from(error);
    let title = response::reason(status);
    format!(r#"{{"error":{error},"type":"about:blank","title":"{title}","status":{status},"detail":{error}}}"#)
}

/// `{"status": …, "msg": …}` for an HTTP status, with the other members but `status`, which is a word here. `word` and `msg` are
/// escaped.
pub fn refusal(status: u16, word: &str, msg: &str) -> String {
    let (word, msg) = (serde_json::Value::from(word), serde_json::Value::from(msg));
    let title = response::reason(status);
    format!(r#"{{"status":{word},"msg":{msg},"type":"about:blank","title":"{title}","detail":{msg}}}"#)
}

/// `{"status": …, "reasons": […]}` of a server that is not ready (503), with the other members; `word` is our status.
pub fn unready(word: &str, reasons: &[String]) -> String {
    let (title, detail) = (response::reason(503), reasons.join("; "));
    let body = serde_json::json!({
        "status": word, "reasons": reasons, "type": "about:blank", "title": title, "detail": detail
    });
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_members_stand_first_and_those_of_the_standard_beside_them() {
        assert_eq!(
            error(404, "Unknown \"product\""),
            r#"{"error":"Unknown \"product\"","type":"about:blank","title":"Not Found","status":404,"detail":"Unknown \"product\""}"#
        );
        assert_eq!(
            refusal(503, "unavailable", "Edge full"),
            r#"{"status":"unavailable","msg":"Edge full","type":"about:blank","title":"Service Unavailable","detail":"Edge full"}"#
        );
        assert_eq!(
            unready("unready", &["Redis is away".to_owned(), "so is \"Kafka\"".to_owned()]),
            r#"{"status":"unready","reasons":["Redis is away","so is \"Kafka\""],"type":"about:blank","title":"Service Unavailable","detail":"Redis is away; so is \"Kafka\""}"#
        );
    }
}
