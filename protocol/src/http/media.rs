//! The media types of this API and its one coding: whether a request is in them, and whether an answer may be (RFC 9110
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

/// How welcome a media type without parameters is by `accept`, in thousandths: the weight of the most specific range that it
/// falls in; 0 where it falls in none or is declined.
pub fn weight(accept: &[u8], media_type: &str) -> u16 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut most_specific = (0, 0);
    for range in accept.split(|&byte| byte == b',') {
        let (name, parameters) = parts(range);
        let specificity = match name.strip_suffix(b"/*") {
            _ if name.eq_ignore_ascii_case(media_type.as_bytes()) => 3,
            Some(b"*") => 1,
            Some(name) if name.eq_ignore_ascii_case(kind.as_bytes()) => 2,
            _ => continue,
        };
        let weight = parameters.split(|&byte| byte == b';').find_map(weight_of).unwrap_or(1000);
        most_specific = most_specific.max((specificity, weight));
    }
    most_specific.1
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

/// `q=0.25` in thousandths (RFC 9110 section 12.4.2); `None` of another parameter.
fn weight_of(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = parameter.trim_ascii() else { return None };
    let digit = |at: usize| rest.get(at).filter(|byte| byte.is_ascii_digit()).map_or(0, |byte| u16::from(byte - b'0'));
    Some((1000 * u16::from(whole - b'0') + 100 * digit(1) + 10 * digit(2) + digit(3)).min(1000))
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
    fn a_media_type_weighs_as_its_most_specific_range_says() {
        for (accept, expected) in [
            ("text/plain", 1000),
            ("text/plain;version=0.0.4;q=0.3, */*;q=0.8", 300),
            ("text/*;q=0.5, */*;q=0.1", 500),
            ("*/*; q=0.25", 250),
            ("TEXT/Plain;Q=0.125", 125),
            ("text/plain;q=0, text/*", 0),
            ("text/html, application/json;q=1", 0),
            ("text/plain;q=1.000", 1000),
            ("text/plain;version=1;q=0.2,text/plain;q=0.4", 400),
            ("", 0),
        ] {
            assert_eq!(weight(accept.as_bytes(), "text/plain"), expected, "{accept:?}");
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
