//! Ports that nobody else will take: outside the range the kernel draws client ports from, each held for this process
//! by a UDP socket of the same number (so that parallel test processes never choose the same one).
//!
//! Never hands out a default port of Redis, Kafka, PostgreSQL or Flux-Gate.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::LabError;

/// Lowest port handed out: above what services usually listen on.
const PORT_MIN: u16 = 12_000;
/// Highest where the kernel's own range cannot be read: below Linux' default range (32,768 and up).
const PORT_MAX: u16 = 32_000;

/// A TCP port on 127.0.0.1 that is ours until dropped, whether something listens on it or not.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _mark: UdpSocket,
}

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Port {
    /// A port that was free a moment ago.
    ///
    /// # Errors
    /// Where none of the range is free.
    pub fn reserve() -> Result<Port, LabError> {
        let span = ceiling() - PORT_MIN;
        // Processes begin at different places, so that they seldom meet.
        let start = (std::process::id().wrapping_mul(7919) % u32::from(span)) as u16;
        for _ in 0..span {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = PORT_MIN + ((u32::from(start) + u32::from(step)) % u32::from(span)) as u16;
            let Ok(mark) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            // On all addresses: a listener on 0.0.0.0 would be in the way as well.
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
                return Ok(Port { number, _mark: mark });
            }
        }
        Err(LabError::failed(format!("no free TCP port between {PORT_MIN} and {}", ceiling())))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its address on loopback.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

fn ceiling() -> u16 {
    let lowest_of_kernel = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next()?.parse::<u16>().ok())
        .unwrap_or(PORT_MAX);
    // Where the kernel's range begins lower than ours, some other bound is as good as any.
    if lowest_of_kernel > PORT_MIN + 1000 { lowest_of_kernel.min(PORT_MAX) } else { PORT_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_listened_on() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        TcpListener::bind(ports[0].address()).unwrap();
        assert!(UdpSocket::bind(ports[1].address()).is_err(), "the mark holds the number against others");
    }
}
