//! What stands in front of an edge: a client cannot choose the address that it is counted under, and a list of networks is read
//! as it is written.

use std::net::IpAddr;

use flux_protocol::front::{ForwardedField, Networks, client_behind};

use crate::input::Input;

/// Who connects, which field; then what a client has written in front of what proxies wrote, and that.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let trusted = Networks::parse("10.0.0.0/8,2001:db8::/32").expect("networks");
    let field = if input.byte() & 1 == 0 { ForwardedField::Forwarded } else { ForwardedField::XForwardedFor };
    let peer: IpAddr = [10, 0, input.byte(), input.byte()].into();
    let stranger: IpAddr = [203, 0, 113, input.byte()].into();
    let written = input.piece(255);
    let rest = input.rest();
    let lines: Vec<&[u8]> = rest.rsplit(|byte| *byte == b'\n').collect();

    let nobody = client_behind(stranger, field, lines.iter().copied(), &trusted);
    assert_eq!(nobody, stranger, "who is not trusted tells nothing");
    let client = client_behind(peer, field, lines.iter().copied(), &trusted);
    // What a proxy writes is well-formed; of what is not, nothing is promised but that it is read.
    if !trusted.contain(client) && lines.iter().all(|line| is_balanced(line)) {
        // Whoever it is was named by a proxy: what stands to the left of that was the client's to write.
        let longer: Vec<u8> = [written, b",", *lines.last().expect("at least one")].concat();
        let mut with_more = lines.clone();
        *with_more.last_mut().expect("at least one") = &longer;
        assert_eq!(client_behind(peer, field, with_more.into_iter(), &trusted), client);
        let below = lines.iter().copied().chain([written]);
        assert_eq!(client_behind(peer, field, below, &trusted), client);
    }
    quoted(peer, written, &trusted);
    if let Ok(list) = std::str::from_utf8(rest)
        && let Ok(networks) = Networks::parse(list)
    {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        assert_eq!(networks.len(), parts.clone().count());
        for part in parts {
            let address: IpAddr = part.split('/').next().expect("a first part").parse().expect("an address");
            assert!(networks.contain(address) || address != address.to_canonical(), "{part} is in itself");
        }
    }
}

/// Whether every quoted string ends in its line.
fn is_balanced(line: &[u8]) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for byte in line {
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    !is_quoted
}

/// A proxy repeats what a client said of itself only as a quoted string (RFC 7239 section 4): it stays one, wherever it stands.
fn quoted(peer: IpAddr, said: &[u8], trusted: &Networks) {
    let escaped: Vec<u8> = said
        .iter()
        .flat_map(|byte| if matches!(byte, b'"' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] })
        .collect();
    let quoted = [b"\"", &escaped[..], b"\""].concat();
    let client: IpAddr = [203, 0, 113, 7].into();
    for element in [
        [b"host=", &quoted[..], b";for=203.0.113.7"].concat(),
        [b"for=203.0.113.7;host=", &quoted[..]].concat(),
        [b"for=\"203.0.113.7:80\";by=10.0.0.1;host=", &quoted[..], b";proto=http"].concat(),
    ] {
        let line = [&b"for=6.6.6.6, "[..], &element].concat();
        let found = client_behind(peer, ForwardedField::Forwarded, [&line[..]].into_iter(), trusted);
        assert_eq!(found, client, "{}", line.escape_ascii());
    }
}
