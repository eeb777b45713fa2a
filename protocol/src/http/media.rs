//! The one media type of this API and the one coding: whether a request is in it, and whether an answer may be (RFC 9110
//! sections 8.3.1, 8.4 and 12.5.1).

const JSON: &[u8] = b"application/json";

/// Whether `content_type` is `application/json`, with any parameters.
pub fn is_json(content_type: &[u8]) -> bool {
    is_json_type(parts(content_type).0)
}

/// Whether `accept` names `application/json`, other than to decline it (`q=0`). A wildcard does not name it: browsers
/// send one with every navigation.
pub fn names_json(accept: &[u8]) -> bool {
    accept.split(|&byte| byte == b',').any(|range| {
        let (media_type, parameters) = parts(range);
        is_json_type(media_type) && !parameters.split(|&byte| byte == b';').any(is_zero_weight)
    })
}

/// Whether `content_encoding` leaves the content as it is: `identity`, or nothing.
pub fn is_identity(content_encoding: &[u8]) -> bool {
    let is_none = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    content_encoding.split(|&byte| byte == b',').all(|coding| is_none(coding.trim_ascii()))
}

/// What stands before the first semicolon and what stands behind it.
fn parts(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    (value[..end].trim_ascii(), value.get(end + 1..).unwrap_or_default())
}

fn is_json_type(media_type: &[u8]) -> bool {
    media_type.eq_ignore_ascii_case(JSON)
}

/// `q=0`, `q=0.`, `q=0.0`, `q=0.00` or `q=0.000` (RFC 9110 section 12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter.trim_ascii() {
        [b'q' | b'Q', b'=', b'0', rest @ ..] => rest.iter().all(|byte| matches!(byte, b'.' | b'0')),
        _ => false,
    }
}
