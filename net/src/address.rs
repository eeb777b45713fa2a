//! Where a peer is: a host and port, or a socket in the file system.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use thiserror::Error;

/// A peer's address as it was configured; a host's name is looked up each time a connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// The text is no address: refused before anything was tried. Repeats no piece of it: where a URL's host was forgotten, a
/// password stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing where a host belongs.
    #[error("the host is missing")]
    NoHost,
    /// Neither name nor address.
    #[error("the host is neither a name nor an address")]
    Host,
    /// No number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
}

impl Address {
    /// Reads `host:port`, `[v6]:port`, or either without its port.
    pub fn parse_tcp(text: &str, default_port: u16) -> Result<Address, AddressError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(AddressError::Host)?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(AddressError::Host);
                }
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(AddressError::Port),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !is_name && host.parse::<IpAddr>().is_err() {
            return Err(AddressError::Host);
        }
        let port = match port {
            None => default_port,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
                _ => return Err(AddressError::Port),
            },
        };
        Ok(Address::Tcp { host: host.into(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Result<Address, AddressError> {
        Ok(Address::Tcp { host: host.into(), port })
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(Address::parse_tcp("broker-1.example:9093", 9092), tcp("broker-1.example", 9093));
        assert_eq!(Address::parse_tcp("10.0.0.7", 9092), tcp("10.0.0.7", 9092));
        assert_eq!(Address::parse_tcp("[::1]:6380", 6379), tcp("::1", 6380));
        assert_eq!(Address::parse_tcp("[::1]", 6379), tcp("::1", 6379));
        for (text, error) in [
            ("", AddressError::NoHost),
            (":6379", AddressError::NoHost),
            ("a b:1", AddressError::Host),
            ("[::1:1", AddressError::Host),
            ("[nonsense]:1", AddressError::Host),
            ("[::1]1", AddressError::Port),
            ("host:", AddressError::Port),
            ("host:0", AddressError::Port),
            ("host:+1", AddressError::Port),
            ("host:65536", AddressError::Port),
        ] {
            assert_eq!(Address::parse_tcp(text, 1), Err(error), "{text}");
        }
    }

    #[test]
    fn display_round_trips() {
        for text in ["localhost:1", "[fe80::1]:2", "127.0.0.1:3"] {
            assert_eq!(Address::parse_tcp(text, 9).expect("an address").to_string(), text);
        }
    }
}
