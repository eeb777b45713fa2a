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

/// Whether an answer in gzip is welcome by `accept_encoding`: named, or covered by a `*`, and not declined (`q=0`). What names
/// gzip counts, wherever a `*` stands.
pub fn accepts_gzip(accept_encoding: &[u8]) -> bool {
    let mut by_wildcard = false;
    for range in accept_encoding.split(|&byte| byte == b',') {
        let (coding, parameters) = parts(range);
        let welcome = !parameters.split(|&byte| byte == b';').any(is_zero_weight);
        if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") {
            return welcome;
        }
        by_wildcard |= coding == b"*" && welcome;
    }
    by_wildcard
}

/// Whether `if_none_match` names `tag`, by the weak comparison of RFC 9110 section 8.8.3.2. Tags of ours hold no comma.
pub fn names_tag(if_none_match: &[u8], tag: &[u8]) -> bool {
    if_none_match
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_welcome_where_it_is_named_and_not_declined() {
        for (field, welcome) in [
            ("gzip, deflate, br, zstd", true),
            ("br, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("*;q=0, gzip", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("identity, gzipped", false),
        ] {
            assert_eq!(accepts_gzip(field.as_bytes()), welcome, "{field:?}");
        }
    }

    #[test]
    fn a_tag_is_found_in_a_list_weak_or_strong() {
        let tag = b"\"abc\"";
        for known in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "\"x\",W/\"abc\" ", "*"] {
            assert!(names_tag(known.as_bytes(), tag), "{known}");
        }
        for known in ["", "abc", "\"abcd\"", "\"ab\", \"c\"", "w/\"abc\""] {
            assert!(!names_tag(known.as_bytes(), tag), "{known}");
        }
    }
}
