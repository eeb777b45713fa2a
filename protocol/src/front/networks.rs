//! A list of networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::net::IpAddr;

use thiserror::Error;

use super::plain;

/// Networks: which addresses are in one of them. Empty by default: none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// Bits of the address that count.
    prefix: u8,
}

/// What is no network; never a name, since names are resolved by others.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no address and no network such as 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError(String);

impl Networks {
    /// Reads a list with commas between its parts; each an address, or an address and the number of bits that count.
    ///
    /// # Errors
    /// The first part that is neither. Bits behind those that count must be zero: else one of both is a mistake.
    pub fn parse(list: &str) -> Result<Networks, NetworkError> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| Network::parse(part).ok_or_else(|| NetworkError(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Networks)
    }

    /// Whether `address` is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether one of them is the whole of IPv4 or of IPv6.
    pub fn holds_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix == 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => (address, Some(prefix)),
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        let network = Network { address, prefix };
        (prefix <= bits && masked(address, prefix) == address_bits(address)).then_some(network)
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == address_bits(self.address)
    }
}

/// The address as a number whose first bits are the network's.
fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, prefix: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    address_bits(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_by_its_first_bits() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.1,2001:db8::/32,::1").expect("four networks");
        assert_eq!(networks.len(), 4);
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::a00:1", false),
        ] {
            assert_eq!(networks.contain(address.parse().expect("an address")), is_in, "{address}");
        }
        assert!(!Networks::default().contain("10.0.0.1".parse().expect("an address")));
        let all = Networks::parse("0.0.0.0/0").expect("all of IPv4");
        assert!(all.contain("203.0.113.9".parse().expect("an address")));
        assert!(!all.contain("::1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in
            ["localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/+8", "10.0.0.0/", "::/129", "10.0.0", "1.2.3.4:80"]
        {
            assert_eq!(Networks::parse(wrong), Err(NetworkError(wrong.to_owned())));
        }
        assert_eq!(Networks::parse(" , ").map(|networks| networks.len()), Ok(0));
    }
}
