//! Origins of URLs, as pages and answers name them.

use flux_net::Address;

use crate::limits::shell::URL_BYTES_MAX;

/// `scheme://host[:port]` of an http or https URL that is fit for a header; `None` where it is none.
pub(crate) fn origin_of(url: &str) -> Option<String> {
    let fit = url.len() <= URL_BYTES_MAX
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'?' | b'#'));
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    if !fit || authority.contains('@') || Address::parse_tcp(authority, 80).is_err() {
        return None;
    }
    Some(url[..url.len() - rest.len() + authority.len()].to_owned())
}
