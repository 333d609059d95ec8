//! The networks by which addresses are looked up. Pure.

use core::net::IpAddr;
use std::fmt;

use ipnet::IpNet;

/// The network by which an address is looked up: /24 for IPv4, /64 for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// The network that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let network = IpNet::from(address);
        Self(IpNet::new(address, Self::prefix(network)).unwrap_or(network).trunc())
    }

    /// The networks that overlap with a range; `None` if there are more than `most`.
    pub fn all_of(range: IpNet, most: usize) -> Option<Vec<Self>> {
        let prefix = Self::prefix(range);
        if range.prefix_len() >= prefix {
            return Some(vec![Self::of(range.addr())]);
        }
        let networks = range.subnets(prefix).ok()?;
        let networks: Vec<_> = networks.take(most.saturating_add(1)).map(Self).collect();
        (networks.len() <= most).then_some(networks)
    }

    fn prefix(range: IpNet) -> u8 {
        match range {
            IpNet::V4(_) => 24,
            IpNet::V6(_) => 64,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_networks_that_it_has_a_part_in() {
        let networks = |range: &str| {
            let networks = Network::all_of(range.parse().expect("a range"), 16)?;
            Some(networks.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let some = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect());
        assert_eq!(networks("121.14.96.121/32"), some(&["121.14.96.0/24"]));
        assert_eq!(networks("121.14.96.128/25"), some(&["121.14.96.0/24"]));
        assert_eq!(networks("121.14.96.7/23"), some(&["121.14.96.0/24", "121.14.97.0/24"]));
        assert_eq!(networks("121.14.96.0/20").map(|all| all.len()), Some(16));
        assert_eq!(networks("121.14.96.0/19"), None);
        assert_eq!(networks("0.0.0.0/0"), None);
        assert_eq!(networks("2001:db8::1/128"), some(&["2001:db8::/64"]));
        assert_eq!(networks("2001:db8::/32"), None);
    }
}
