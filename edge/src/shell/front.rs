//! Who sends a request, where something stands in front of the edge, and whether they come too often.
//!
//! Address and fields of a client are believed from trusted proxies only. Never decides about an order.

use std::net::IpAddr;
use std::sync::Arc;

use flux_net::Stream;
use flux_protocol::front::{Decoded, ForwardedField, Networks, client_behind, decode};
use flux_protocol::http::Request;
use flux_protocol::time::Instant;

use crate::throttle::{Throttle, TooOften};

/// What is believed of whom, and how often one address may come. By default nothing is believed and nobody limited.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// The proxies whose word counts.
    pub trusted: Networks,
    /// Where they say for whom they ask.
    pub field: ForwardedField,
    /// Each connection of the public listener begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// How often one address may ask on the public listener.
    pub addresses: Option<Arc<Throttle>>,
}

impl Front {
    /// Reads the header of the PROXY protocol, before anything else is read from the stream, and nothing behind it. Gives whose
    /// connection it is: `peer`'s, where the header names nobody. `None`: the connection is to be closed, since its header is
    /// none, never came, or comes from somebody who is not trusted.
    pub(crate) async fn read_proxy_header(&self, stream: &mut Stream, peer: IpAddr) -> Option<IpAddr> {
        if !self.trusted.contain(peer) {
            return None;
        }
        let mut header = Vec::new();
        loop {
            match decode(&header) {
                Decoded::Header { source } => return Some(source.unwrap_or(peer)),
                Decoded::Malformed => return None,
                Decoded::Incomplete { missing } => {
                    // Exactly as many as belong to it: what follows may be a TLS handshake, which another reads.
                    let (read, part) = stream.read(vec![0; missing].into_boxed_slice()).await;
                    let bytes = read.ok().filter(|bytes| *bytes > 0)?;
                    header.extend_from_slice(&part[..bytes]);
                }
            }
        }
    }

    /// Counts a request that came over a connection of `peer`.
    ///
    /// # Errors
    /// Its client comes too often. A trusted proxy that names nobody asks for itself, and is not limited.
    #[inline]
    pub(crate) fn limit(&self, peer: IpAddr, request: &Request<'_>, now: Instant) -> Result<(), TooOften> {
        match &self.addresses {
            None => Ok(()),
            Some(throttle) => self.limit_by(throttle, peer, request, now),
        }
    }

    /// Counts what came over a connection of `peer` and is no request that could be read, or is none yet: a message that is refused for
    /// its framing, or the handshake that TLS begins with.
    ///
    /// # Errors
    /// As [`Front::limit`]. For whom a trusted proxy sent it is not known: it is not limited.
    pub(crate) fn limit_unread(&self, peer: IpAddr, now: Instant) -> Result<(), TooOften> {
        let client = peer.to_canonical();
        match &self.addresses {
            Some(throttle) if !self.trusted.contain(client) => throttle.take(subscriber(client), now),
            _ => Ok(()),
        }
    }

    /// Whether a connection of `peer` brings requests of others: whose a message is it tells when its head is read.
    pub(crate) fn is_by_proxy(&self, peer: IpAddr) -> bool {
        self.trusted.contain(peer.to_canonical())
    }

    fn limit_by(&self, throttle: &Throttle, peer: IpAddr, request: &Request<'_>, now: Instant) -> Result<(), TooOften> {
        let mut client = peer.to_canonical();
        if self.trusted.contain(client) {
            let fields = &request.fields;
            let lines = match self.field {
                ForwardedField::Forwarded => fields.forwarded,
                ForwardedField::XForwardedFor => fields.x_forwarded_for,
            };
            client = client_behind(client, self.field, lines.iter(), &self.trusted);
            if self.trusted.contain(client) {
                return Ok(());
            }
        }
        throttle.take(subscriber(client), now)
    }
}

/// What one subscriber has: an IPv4 address, or 64 bits of IPv6 addresses (RFC 6177), whose rest they choose as they like.
fn subscriber(address: IpAddr) -> (bool, u64) {
    match address {
        IpAddr::V4(address) => (false, u64::from(address.to_bits())),
        IpAddr::V6(address) => (true, (address.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::{Limits, Read, Reader};

    use super::*;

    /// Whether a request of `peer` with these fields is let in.
    fn is_let_in(front: &Front, peer: &str, fields: &str) -> bool {
        let mut bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into_bytes();
        let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("a request") };
        front.limit(peer.parse().expect("an address"), &request, Instant::from_micros(1_000_000)).is_ok()
    }

    fn front(trusted: &str) -> Front {
        let trusted = Networks::parse(trusted).expect("networks");
        Front { trusted, addresses: Some(Arc::new(Throttle::new(1, 2))), ..Front::default() }
    }

    #[test]
    fn who_comes_by_a_trusted_proxy_is_limited_by_their_own_address() {
        let front = front("10.0.0.0/8");
        let by = |client: &str| is_let_in(&front, "10.0.0.1", &format!("x-forwarded-for: {client}\r\n"));
        assert!(by("203.0.113.1") && by("203.0.113.1") && !by("203.0.113.1"));
        assert!(!by("198.51.100.7, 203.0.113.1"), "what the client wrote is its own affair");
        assert!(by("203.0.113.2"));
        assert!((0..9).all(|_| is_let_in(&front, "10.0.0.1", "")), "a proxy's own checks");
        assert!(!is_let_in(&front, "203.0.113.1", ""), "the same client, by whatever way");
    }

    #[test]
    fn nobody_else_is_believed() {
        let front = front("10.0.0.0/8");
        let stranger = |client: &str| is_let_in(&front, "203.0.113.9", &format!("x-forwarded-for: {client}\r\n"));
        assert!(stranger("1.1.1.1") && stranger("2.2.2.2") && !stranger("10.0.0.1"));
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_caller() {
        let front = front("");
        let from = |address: &str| is_let_in(&front, address, "");
        assert!(from("2001:db8:0:1::1") && from("2001:db8:0:1:ffff::2") && !from("2001:db8:0:1::3"));
        assert!(from("2001:db8:0:2::1"), "another subscriber");
        assert!(
            from("::ffff:203.0.113.1") && from("203.0.113.1") && !from("::ffff:203.0.113.1"),
            "one address, written twice"
        );
    }

    #[test]
    fn what_cannot_be_read_counts_too() {
        let front = front("10.0.0.0/8");
        let unread =
            |peer: &str| front.limit_unread(peer.parse().expect("an address"), Instant::from_micros(1_000_000)).is_ok();
        assert!(unread("203.0.113.1") && is_let_in(&front, "203.0.113.1", ""));
        assert!(!unread("203.0.113.1") && !is_let_in(&front, "203.0.113.1", ""), "one bucket for both");
        assert!((0..9).all(|_| unread("10.0.0.1")), "a proxy's, for whomever");
    }

    #[test]
    fn by_default_nobody_is_limited() {
        assert!((0..99).all(|_| is_let_in(&Front::default(), "203.0.113.1", "")));
    }
}
