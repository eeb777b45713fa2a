//! `forwarded` (RFC 7239) and `x-forwarded-for`: the addresses that a request came by, as each proxy saw the one before it.
//!
//! A list grows at its right end, and its left end is whatever the client wrote. So it is read from the right, for as long as who
//! wrote an element is trusted; the first address that is not a trusted proxy's is the client's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Networks, plain};

/// Which field is read. Never both: a proxy writes one of them, and hands on the other as the client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `x-forwarded-for`: addresses, a comma between them.
    #[default]
    XForwardedFor,
    /// `forwarded`: elements, of each the parameter `for`.
    Forwarded,
}

impl FromStr for ForwardedField {
    type Err = String;

    fn from_str(text: &str) -> Result<ForwardedField, String> {
        match text {
            "x-forwarded-for" => Ok(ForwardedField::XForwardedFor),
            "forwarded" => Ok(ForwardedField::Forwarded),
            _ => Err("must be x-forwarded-for or forwarded".into()),
        }
    }
}

impl std::fmt::Display for ForwardedField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ForwardedField::XForwardedFor => "x-forwarded-for",
            ForwardedField::Forwarded => "forwarded",
        })
    }
}

/// Whose request it is that came by `peer`, a trusted proxy. `lines` are those of the field, the last one first.
///
/// Where an element is no address (`unknown`, or a name that hides one), or where all of them are trusted proxies', it is the last
/// address that was told by one who is trusted.
pub fn client_behind<'b>(
    peer: IpAddr,
    field: ForwardedField,
    lines: impl Iterator<Item = &'b [u8]>,
    trusted: &Networks,
) -> IpAddr {
    let mut client = plain(peer);
    for line in lines {
        // An unbalanced quote makes one element of what may be several: nothing left of it is believed either. What a proxy wrote
        // is balanced, and read before anything that is not.
        for element in elements_from_the_right(line, field) {
            if !trusted.contain(client) {
                return client;
            }
            let told = match field {
                ForwardedField::XForwardedFor => address(element),
                ForwardedField::Forwarded => for_parameter(element).and_then(address),
            };
            match told {
                Some(address) => client = plain(address),
                None => return client,
            }
        }
    }
    client
}

/// The elements of one line, the last one first: a comma parts them, but not inside quotes. Empty ones are none (RFC 9110
/// section 5.6.1).
fn elements_from_the_right(line: &[u8], field: ForwardedField) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut is_quoted = false;
        let comma = (0..line.len()).rev().find(|at| {
            is_quoted ^= field == ForwardedField::Forwarded && is_quote(line, *at);
            line[*at] == b',' && !is_quoted
        });
        let element = &line[comma.map_or(0, |comma| comma + 1)..];
        rest = comma.map(|comma| &line[..comma]);
        Some(element.trim_ascii())
    })
    .filter(|element| !element.is_empty())
}

/// Whether a quoted string begins or ends at `at`. A quote behind a backslash is part of one, unless the backslash is (RFC 9110
/// section 5.6.4): proxies quote what clients say of themselves.
fn is_quote(line: &[u8], at: usize) -> bool {
    let backslashes = || line[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
    line[at] == b'"' && backslashes().is_multiple_of(2)
}

/// The value of `for` in an element of `forwarded`; quotes around it are dropped.
fn for_parameter(element: &[u8]) -> Option<&[u8]> {
    let (mut start, mut is_quoted) = (0, false);
    let mut parameters = (0..=element.len()).filter_map(|at| {
        is_quoted ^= at < element.len() && is_quote(element, at);
        let is_end = at == element.len() || (element[at] == b';' && !is_quoted);
        is_end.then(|| element[std::mem::replace(&mut start, at + 1)..at].trim_ascii())
    });
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => Some(value),
    }
}

/// An address, with or without a port; an IPv6 one in brackets or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(inner) = bracketed {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: ForwardedField, lines: &[&str]) -> String {
        let trusted = Networks::parse("10.0.0.0/8,2001:db8::/32").expect("networks");
        let peer = "10.0.0.1".parse().expect("an address");
        client_behind(peer, field, lines.iter().rev().map(|line| line.as_bytes()), &trusted).to_string()
    }

    #[test]
    fn the_first_from_the_right_who_is_no_proxy_of_ours_is_the_client() {
        for (lines, client) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7, 10.0.0.9,10.0.0.8"], "203.0.113.7"),
            (&["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7", "10.0.0.9"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db9::1]:80"], "2001:db9::1"),
            (&["2001:db9::1"], "2001:db9::1"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7, , "], "203.0.113.7"),
            (&["203.0.113.7, unknown"], "10.0.0.1"),
            (&["203.0.113.7, unknown, 10.0.0.9"], "10.0.0.9"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(read(ForwardedField::XForwardedFor, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn the_standard_field_is_read_by_its_own_grammar() {
        for (lines, client) in [
            (&["for=203.0.113.7"][..], "203.0.113.7"),
            (&["for=1.1.1.1, For=\"203.0.113.7:99\";proto=https;by=10.0.0.1"], "203.0.113.7"),
            (&["proto=https;for=\"[2001:db9::7]:99\", for=10.0.0.2"], "2001:db9::7"),
            (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
            (&["for=203.0.113.7;host=\"a,b\""], "203.0.113.7"),
            (&["for=203.0.113.7, for=_hidden"], "10.0.0.1"),
            (&["for=203.0.113.7, for=unknown, for=10.0.0.9"], "10.0.0.9"),
            (&["by=203.0.113.7"], "10.0.0.1"),
            (&["for=203.0.113.7\", for=10.0.0.9"], "10.0.0.9"),
            (&["203.0.113.7"], "10.0.0.1"),
        ] {
            assert_eq!(read(ForwardedField::Forwarded, lines), client, "{lines:?}");
        }
    }

    /// A proxy repeats what a client said, its `host` above all, as a quoted string (RFC 7239 section 4): none of it is a parameter.
    #[test]
    fn what_a_proxy_quotes_names_nobody() {
        for line in [
            r#"host="a;for=6.6.6.6;b";for=203.0.113.7"#,
            r#"host="a;FOR=6.6.6.6";proto=http;for="203.0.113.7:80""#,
            r#"for=203.0.113.7;host="x\",for=6.6.6.6;y=\"z""#,
            r#"for=203.0.113.7;host="x\\\",for=6.6.6.6;y=\"z\\""#,
            r#"for=6.6.6.6;host="\\", for=203.0.113.7;host="\\""#,
            r#"for=6.6.6.6;host=", for=203.0.113.7;host="a\\\",""#,
        ] {
            assert_eq!(read(ForwardedField::Forwarded, &[line]), "203.0.113.7", "{line}");
        }
    }

    #[test]
    fn nobody_who_is_not_trusted_tells_anything() {
        let stranger = "203.0.113.1".parse().expect("an address");
        let trusted = Networks::parse("10.0.0.0/8").expect("a network");
        let lines = [&b"1.1.1.1"[..]];
        assert_eq!(client_behind(stranger, ForwardedField::XForwardedFor, lines.into_iter(), &trusted), stranger);
    }
}
