//! Networks in CIDR notation.

use std::{iter, net::IpAddr, str::FromStr};

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
        address_in(text).is_some_and(|address| self.bits.iter().copied().eq(bits(address).take(self.bits.len())))
    }
}

/// The address that a text is.
fn address_in(text: &str) -> Option<IpAddr> {
    // No address is longer; the parser need not see a megabyte.
    if text.len() > 45 { None } else { text.parse().ok() }
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
    pub(crate) fn find(&self, text: &str, found: impl FnMut(u32)) {
        if let Some(address) = address_in(text) {
            self.0.walk(bits(address), found);
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || format!("`{text}` is no network such as 10.0.0.0/8 or fe80::/10");
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        if prefix > longest {
            return Err(invalid());
        }
        Ok(Self { bits: bits(address).take(1 + usize::from(prefix)).collect() })
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
        ] {
            assert_eq!(network.parse::<Network>().unwrap().contains_text(address), expected, "{network} {address}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
    #[test]
    fn all_networks_that_an_address_lies_in_are_found_at_once() {
        let texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fe80::/10", "::/0"];
        let networks = texts.map(|text| text.parse::<Network>().unwrap());
        let all = Networks::new(networks.iter().zip(0..).collect()).unwrap();
        for (address, expected) in
            [("10.1.2.3", &[3, 0, 1, 2][..]), ("10.9.0.1", &[3, 0]), ("fe80::1", &[5, 4]), ("10.1.2", &[])]
        {
            let mut found = Vec::new();
            all.find(address, |number| found.push(number));
            assert_eq!(found, expected, "{address}");
        }
        // Bits that the prefix leaves out make no other network.
        assert_eq!("10.1.2.3/8".parse(), Ok(networks[0].clone()));
    }
}
