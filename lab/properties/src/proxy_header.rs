//! The PROXY protocol's header: fed only what it asks for, the decoder takes the header and not a byte behind it, and finds the
//! address that a second reader finds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flux_protocol::front::{Decoded, HEADER_BYTES_MAX, decode};

use crate::allocation;

/// The first bytes of a connection.
pub fn check(bytes: &[u8]) {
    let (found, taken) = allocation::within(4 * HEADER_BYTES_MAX, "a header", || fed(bytes));
    let expected = match bytes {
        _ if bytes.starts_with(SIGNATURE) => version_2(bytes),
        _ if bytes.starts_with(b"PROXY ") => version_1(bytes),
        // Too short to be told from either.
        _ if SIGNATURE.starts_with(bytes) || b"PROXY ".starts_with(bytes) => Reading::CutOff,
        _ => Reading::None,
    };
    assert!(taken <= HEADER_BYTES_MAX, "{taken} bytes were asked for");
    match (found, expected) {
        (Decoded::Header { source }, Reading::Header(wanted, length)) => assert_eq!((source, taken), (wanted, length)),
        (Decoded::Incomplete { .. }, Reading::CutOff) | (Decoded::Malformed, Reading::None) => {}
        // What can be seen to be none need not be waited for to its end; and by the steps that are asked for, it may not be seen yet.
        (Decoded::Malformed, Reading::CutOff) | (Decoded::Incomplete { .. }, Reading::None) => {
            let mut longer = bytes.to_vec();
            longer.resize(HEADER_BYTES_MAX + 1, b' ');
            assert_eq!(fed(&longer).0, Decoded::Malformed);
        }
        (found, expected) => panic!("{found:?} after {taken} bytes, {expected:?} by the second reader"),
    }
}

/// As a shell does: only what is missing is read. What was decoded, and after how many bytes.
fn fed(bytes: &[u8]) -> (Decoded, usize) {
    let mut taken = 0;
    loop {
        match decode(&bytes[..taken]) {
            Decoded::Incomplete { missing } if taken + missing <= bytes.len() => {
                assert!(missing > 0, "nothing is missing after {taken} bytes, and no header is there");
                taken += missing;
            }
            decoded => return (decoded, taken),
        }
    }
}

/// What the second reader finds.
#[derive(Debug)]
enum Reading {
    Header(Option<IpAddr>, usize),
    CutOff,
    None,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Section 2.1 of the specification, over the whole of what came.
fn version_1(bytes: &[u8]) -> Reading {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < 107 { Reading::CutOff } else { Reading::None };
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r").filter(|_| end < 107) else { return Reading::None };
    let Ok(line) = std::str::from_utf8(line) else { return Reading::None };
    let length = end + 1;
    let rest = line.strip_prefix("PROXY ").expect("looked at above");
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Reading::Header(None, length);
    }
    let mut words = rest.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (family, source, destination) = (next(), next(), next());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ports = [next(), next()];
    let source: Option<IpAddr> = match family {
        "TCP4" => source.parse::<Ipv4Addr>().ok().filter(|_| destination.parse::<Ipv4Addr>().is_ok()).map(IpAddr::V4),
        "TCP6" => source.parse::<Ipv6Addr>().ok().filter(|_| destination.parse::<Ipv6Addr>().is_ok()).map(IpAddr::V6),
        _ => None,
    };
    let are_ports = ports.iter().all(|text| is_number(text) && text.parse::<u32>().is_ok_and(|port| port < 1 << 16));
    match source {
        Some(_) if are_ports && words.next().is_none() => Reading::Header(source, length),
        _ => Reading::None,
    }
}

/// Section 2.2.
fn version_2(bytes: &[u8]) -> Reading {
    let Some(&[version_and_command, family, high, low]) = bytes.get(12..16) else { return Reading::CutOff };
    let length = 16 + (usize::from(high) << 8) + usize::from(low);
    if length > HEADER_BYTES_MAX {
        return Reading::None;
    }
    let Some(addresses) = bytes.get(16..length) else { return Reading::CutOff };
    let source = match (version_and_command, family) {
        (0x20, _) => None,
        (0x21, 0x11) if addresses.len() >= 12 => {
            Some(IpAddr::from([addresses[0], addresses[1], addresses[2], addresses[3]]))
        }
        (0x21, 0x21) if addresses.len() >= 36 => {
            let mut source = [0; 16];
            source.copy_from_slice(&addresses[..16]);
            Some(IpAddr::from(source))
        }
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Reading::None,
    };
    Reading::Header(source, length)
}
