//! Networks in CIDR notation.

use std::{
    iter,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use crate::trie::Trie;

/// A network of IPv4 or IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    /// Which family it is of, and the bits that all its addresses begin with.
    bits: Vec<u8>,
}

impl Network {
    /// Whether `text` is an address that lies within.
    pub(crate) fn contains_text(&self, text: &str) -> bool {
        let Some(address) = address_in(text) else { return false };
        let lies_in = |address| self.bits.iter().copied().eq(bits(address).take(self.bits.len()));
        lies_in(address) || mapped(address).is_some_and(lies_in)
    }
}

/// Bytes of the longest address, and of the name of an interface behind it.
const LONGEST: usize = 45 + 1 + 16;

/// The address that a text is. An IPv6 address may have an interface behind it (`fe80::1%eth0`, RFC 4007 §11).
fn address_in(text: &str) -> Option<IpAddr> {
    // The parser need not see a megabyte.
    if text.len() > LONGEST {
        return None;
    }
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address.parse().ok().map(IpAddr::V6),
        _ => text.parse().ok(),
    }
}

/// The IPv4 address that an IPv6 address stands for (`::ffff:10.1.2.3`, RFC 4291 §2.5.5.2): the same host.
fn mapped(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(address) => address.to_ipv4_mapped().map(IpAddr::V4),
        IpAddr::V4(_) => None,
    }
}

/// An address's family and bits, one by one.
fn bits(address: IpAddr) -> impl Iterator<Item = u8> {
    let (family, bits, count) = match address {
        IpAddr::V4(address) => (4, u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (6, address.to_bits(), 128),
    };
    iter::once(family).chain((0..count).map(move |at| u8::from(bits << at >> 127 == 1)))
}

/// Networks, each with a number: those that an address lies in are found at once.
#[derive(Debug)]
pub(crate) struct Networks(Trie);

impl Networks {
    /// `None` where there are none. No two are equal.
    pub(crate) fn new(networks: Vec<(&Network, u32)>) -> Option<Self> {
        let networks: Vec<_> = networks.into_iter().map(|(network, number)| (network.bits.clone(), number)).collect();
        (!networks.is_empty()).then(|| Self(Trie::new(networks)))
    }

    /// Calls `found` with the number of every network that `text` is an address in.
    pub(crate) fn find(&self, text: &str, mut found: impl FnMut(u32)) {
        let Some(address) = address_in(text) else { return };
        self.0.walk(bits(address), &mut found);
        if let Some(address) = mapped(address) {
            self.0.walk(bits(address), &mut found);
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fe80::/10`; an address alone is the network of this host.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: &str| format!("`{text}` is no network{why}; write one such as 10.0.0.0/8 or fe80::/10");
        let (address, mask) = text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
        let address: IpAddr = address.parse().map_err(|_| invalid(""))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match (mask, address) {
            (None, _) => longest,
            (Some(mask), IpAddr::V4(_)) if mask.contains('.') => {
                let mask: Ipv4Addr = mask.parse().map_err(|_| invalid(": its mask is none"))?;
                let ones = mask.to_bits().leading_ones();
                if ones + mask.to_bits().trailing_zeros() < 32 {
                    return Err(invalid(": its mask has gaps"));
                }
                ones
            }
            (Some(mask), _) => mask.parse().map_err(|_| invalid(": behind `/` is no number"))?,
        };
        if prefix > longest {
            return Err(invalid(&format!(": its prefix is longer than {longest} bits")));
        }
        Ok(Self { bits: bits(address).take(1 + prefix as usize).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_network_only() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("fe80::/10", "febf::1", true),
            ("::/0", "10.0.0.1", false),
            ("10.0.0.0/8", "10.0.0.1 ", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:a01:203", true),
            ("10.0.0.0/8", "::ffff:11.1.2.3", false),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", false),
            ("::/0", "::ffff:10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("fe80::1", "fe80:0:0::1", true),
            ("fe80::/10", "fe80::1%eth0", true),
            ("fe80::/10", "fe80::1%", false),
            ("10.0.0.0/8", "10.0.0.1%eth0", false),
            ("10.0.0.0/255.0.0.0", "10.9.9.9", true),
            ("10.0.0.0/255.255.0.0", "10.9.9.9", false),
        ] {
            assert_eq!(network.parse::<Network>().unwrap().contains_text(address), expected, "{network} {address}");
        }
        for text in ["10.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/255.0.255.0", "10.0.0.0/", "::/255.0.0.0"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
    #[test]
    fn all_networks_that_an_address_lies_in_are_found_at_once() {
        let texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fe80::/10", "::/0"];
        let networks = texts.map(|text| text.parse::<Network>().unwrap());
        let all = Networks::new(networks.iter().zip(0..).collect()).unwrap();
        for (address, expected) in [
            ("10.1.2.3", &[3, 0, 1, 2][..]),
            ("10.9.0.1", &[3, 0]),
            ("fe80::1", &[5, 4]),
            ("::ffff:10.9.0.1", &[5, 3, 0]),
            ("10.1.2", &[]),
        ] {
            let mut found = Vec::new();
            all.find(address, |number| found.push(number));
            assert_eq!(found, expected, "{address}");
        }
        // Bits that the prefix leaves out make no other network.
        assert_eq!("10.1.2.3/8".parse(), Ok(networks[0].clone()));
    }
}
