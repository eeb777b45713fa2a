//! The PROXY protocol's header, versions 1 and 2 (haproxy.org, "The PROXY protocol", 2020): what a proxy that hands on bytes as
//! they are says of the connection, before the first of them.
//!
//! A decoder that never asks for a byte more than the header has: what follows, a TLS handshake perhaps, is another's to read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest header that is taken, in bytes: addresses, and what proxies add to them (the name that TLS asked for, a certificate's
/// subject, an endpoint's id).
pub const HEADER_BYTES_MAX: usize = 1024;
/// The longest of version 1, CRLF included.
const V1_BYTES_MAX: usize = 107;
/// The shortest header: `PROXY UNKNOWN` and CRLF.
const BYTES_MIN: usize = 15;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Part of a header; so many more bytes belong to it for certain.
    Incomplete {
        /// At least one.
        missing: usize,
    },
    /// A whole header.
    Header {
        /// Whose connection it is. `None`: the proxy's own (a health check), or one of which it knows no address.
        source: Option<IpAddr>,
    },
    /// No header, or one that is longer than [`HEADER_BYTES_MAX`]: nothing on this connection can be believed.
    Malformed,
}

/// Reads `bytes`, all that has come so far. Given only as many as were missing, it never sees one behind the header.
pub fn decode(bytes: &[u8]) -> Decoded {
    let signature = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..signature] == V2_SIGNATURE[..signature] {
        return decode_v2(bytes);
    }
    let start = bytes.len().min(b"PROXY ".len());
    if bytes[..start] == b"PROXY "[..start] { decode_v1(bytes) } else { Decoded::Malformed }
}

fn decode_v1(bytes: &[u8]) -> Decoded {
    if bytes.len() < BYTES_MIN {
        return Decoded::Incomplete { missing: BYTES_MIN - bytes.len() };
    }
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        if bytes.len() >= V1_BYTES_MAX || bytes.contains(&b'\n') {
            return Decoded::Malformed;
        }
        // The last byte that there may be is asked for alone.
        let is_one = bytes.ends_with(b"\r") || bytes.len() + 1 == V1_BYTES_MAX;
        return Decoded::Incomplete { missing: if is_one { 1 } else { 2 } };
    };
    let Ok(line) = std::str::from_utf8(line) else { return Decoded::Malformed };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // Whatever follows the word is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Decoded::Header { source: None },
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address = |text: &str| match family {
                "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                _ => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            };
            let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
            match (address(source), address(destination)) {
                (Some(source), Some(_)) if is_port(from) && is_port(to) => Decoded::Header { source: Some(source) },
                _ => Decoded::Malformed,
            }
        }
        _ => Decoded::Malformed,
    }
}

fn decode_v2(bytes: &[u8]) -> Decoded {
    if bytes.len() < BYTES_MIN {
        return Decoded::Incomplete { missing: BYTES_MIN - bytes.len() };
    }
    if bytes.len() < V2_FIXED_BYTES {
        return Decoded::Incomplete { missing: V2_FIXED_BYTES - bytes.len() };
    }
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if V2_FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Decoded::Malformed;
    }
    if bytes.len() < V2_FIXED_BYTES + length {
        return Decoded::Incomplete { missing: V2_FIXED_BYTES + length - bytes.len() };
    }
    let addresses = &bytes[V2_FIXED_BYTES..V2_FIXED_BYTES + length];
    match (bytes[12], bytes[13]) {
        // LOCAL: the proxy's own.
        (0x20, _) => Decoded::Header { source: None },
        (0x21, 0x11) if length >= 12 => {
            let source: [u8; 4] = addresses[..4].try_into().expect("four bytes");
            Decoded::Header { source: Some(Ipv4Addr::from(source).into()) }
        }
        (0x21, 0x21) if length >= 36 => {
            let source: [u8; 16] = addresses[..16].try_into().expect("sixteen bytes");
            Decoded::Header { source: Some(Ipv6Addr::from(source).into()) }
        }
        (0x21, 0x11 | 0x21) => Decoded::Malformed,
        // Another family: of no address that could be limited.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Decoded::Header { source: None },
        _ => Decoded::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds only what is asked for, as a shell does; gives the verdict and how many bytes it took.
    fn fed(bytes: &[u8]) -> (Decoded, usize) {
        let mut taken = 0;
        loop {
            match decode(&bytes[..taken]) {
                Decoded::Incomplete { missing } if taken + missing <= bytes.len() => {
                    assert!(missing > 0);
                    taken += missing;
                }
                decoded => return (decoded, taken),
            }
        }
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn a_header_is_read_and_not_a_byte_behind_it() {
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
        let six: Vec<u8> = ["2001:db8::7", "::1"]
            .iter()
            .flat_map(|address| address.parse::<Ipv6Addr>().expect("an address").octets())
            .chain([0, 1, 0, 2])
            .collect();
        let with_more = [&four[..], &[0x04, 0, 3, 0, 0, 0]].concat();
        for (header, source) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n".to_vec(), Some("203.0.113.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("203.0.113.7")),
            (v2(0x21, 0x11, &with_more), Some("203.0.113.7")),
            (v2(0x21, 0x21, &six), Some("2001:db8::7")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let whole = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let source = source.map(|source| source.parse().expect("an address"));
            assert_eq!(fed(&whole), (Decoded::Header { source }, header.len()), "{}", header.escape_ascii());
            for cut in 0..header.len() {
                let cut_off = fed(&header[..cut]);
                assert!(matches!(cut_off.0, Decoded::Incomplete { .. }), "cut at {cut}: {cut_off:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_noticed_within_the_shortest_one() {
        let long_line = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
        // A CR that ends nothing makes the line's bytes come in other steps: one more than there may be is not taken.
        let a_byte_too_long = [&b"PROXY UNKNOWN \r"[..], &[b'f'; V1_BYTES_MAX - 16], b"\r\n"].concat();
        for wrong in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
            b"PROXY TCP4 2001:db8::7 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 70000\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +4711 443\r\n",
            b"PROXY TCP5 203.0.113.7 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4  203.0.113.7 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\n\r\n",
            &long_line,
            &a_byte_too_long,
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x55, &[0; 12]),
            &v2(0x21, 0x11, &[0; 2000]),
        ] {
            assert_eq!(fed(wrong).0, Decoded::Malformed, "{}", wrong.escape_ascii());
        }
    }
}
