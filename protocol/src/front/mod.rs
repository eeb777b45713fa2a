//! What stands in front of an edge, and whom it says a connection or request is from: the PROXY protocol's header before a
//! connection's first byte, and the fields that proxies add to a request.
//!
//! Nothing of it is believed but from a proxy that is trusted by its address: anybody may write such a header. Pure: bytes
//! and addresses in, an address out.

mod forwarded;
mod networks;
mod proxy_header;

pub use forwarded::{ForwardedField, client_behind};
pub use networks::{NetworkError, Networks};
pub use proxy_header::{Decoded, HEADER_BYTES_MAX, decode};

use std::net::IpAddr;

/// An IPv4 address that is written as an IPv6 one is that IPv4 address: sockets that take both show it so.
pub(crate) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
