//! An indicator's value, in the one form in which it is stored and looked up.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest text that is read as a value.
pub(crate) const MAX_TEXT: usize = 2048;

/// What an indicator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file's SHA-256.
    Sha256,
    /// A file's SHA-1.
    Sha1,
    /// A file's MD5.
    Md5,
    /// The MD5 of what a Windows program imports.
    Imphash,
    /// An address or a network of IPv4 or IPv6.
    Ip,
    /// A domain, with all that is below it.
    Domain,
    /// A URL.
    Url,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Sha256, Self::Sha1, Self::Md5, Self::Imphash, Self::Ip, Self::Domain, Self::Url];

    /// The name as it stands in records, metrics and configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Imphash => "imphash",
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Url => "url",
        }
    }
}

/// A network, an address being one of the smallest. IPv4's are those of `::ffff:0:0/96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network {
    pub(crate) bits: u128,
    /// Of 128.
    pub(crate) prefix: u8,
}

impl Network {
    pub(crate) fn of(address: IpAddr, prefix: u8) -> Self {
        let bits = bits(address);
        Self { bits: bits & mask(prefix), prefix }
    }
}

/// An address as the number that networks are compared by.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The bits that count for a prefix.
pub(crate) fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = std::net::Ipv6Addr::from_bits(self.bits);
        let (address, prefix, longest) = match address.to_ipv4_mapped() {
            Some(v4) if self.prefix >= 96 => (IpAddr::V4(v4), self.prefix - 96, 32),
            _ => (IpAddr::V6(address), self.prefix, 128),
        };
        if prefix == longest { write!(f, "{address}") } else { write!(f, "{address}/{prefix}") }
    }
}

/// A value that can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Sha256([u8; 32]),
    Sha1([u8; 20]),
    Md5([u8; 16]),
    Imphash([u8; 16]),
    Ip(Network),
    Domain(String),
    Url(String),
}

impl Value {
    /// Reads a feed's text as a value of that kind, also where it was made harmless: `hxxp://evil[.]example`.
    pub(crate) fn read(kind: Kind, text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let text = &*refang(text.trim());
        Some(match kind {
            Kind::Sha256 => Self::Sha256(digest(text)?),
            Kind::Sha1 => Self::Sha1(digest(text)?),
            Kind::Md5 => Self::Md5(digest(text)?),
            Kind::Imphash => Self::Imphash(digest(text)?),
            Kind::Ip => Self::Ip(network(text)?),
            Kind::Domain => Self::Domain(domain(text.strip_prefix("*.").unwrap_or(text))?),
            Kind::Url => Self::Url(url(text)?),
        })
    }

    /// Reads a feed's text as what it looks like.
    pub(crate) fn guess(text: &str) -> Option<Self> {
        [Kind::Sha256, Kind::Sha1, Kind::Md5, Kind::Ip, Kind::Url, Kind::Domain]
            .into_iter()
            .find_map(|kind| Self::read(kind, text))
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Sha256(_) => Kind::Sha256,
            Self::Sha1(_) => Kind::Sha1,
            Self::Md5(_) => Kind::Md5,
            Self::Imphash(_) => Kind::Imphash,
            Self::Ip(_) => Kind::Ip,
            Self::Domain(_) => Kind::Domain,
            Self::Url(_) => Kind::Url,
        }
    }
}

/// What was written so that nobody clicks on it by accident, as it was.
fn refang(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('[')
        && !text.contains("(.)")
        && !text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("hxxp"))
    {
        return text.into();
    }
    let text =
        text.replace("[.]", ".").replace("(.)", ".").replace("[:]", ":").replace("[dot]", ".").replace("[://]", "://");
    match text.get(..4) {
        Some(start) if start.eq_ignore_ascii_case("hxxp") => format!("http{}", &text[4..]).into(),
        _ => text.into(),
    }
}

/// Hexadecimal digits, two a byte.
pub(crate) fn digest<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

/// The networks that may be listed are no larger than these: one of half the world is a slip.
const LARGEST_V4: u8 = 8;
const LARGEST_V6: u8 = 16;

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (longest, largest, before) = if address.is_ipv4() { (32, LARGEST_V4, 96) } else { (128, LARGEST_V6, 0) };
    let prefix = prefix.unwrap_or(longest);
    (largest..=longest).contains(&prefix).then(|| Network::of(address, before + prefix))
}

/// A name's last label.
pub(crate) fn top(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// A domain in lower case, without the dot at its end. Its last label has a letter, or it would be an address.
pub(crate) fn domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    is_domain(text).then(|| text.to_lowercase())
}

/// Whether it has the form of a domain of two labels or more.
pub(crate) fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |char: char| char.is_alphanumeric() || char == '-' || char == '_';
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && label.chars().all(inside)
    };
    let Some((_, last)) = text.rsplit_once('.') else { return false };
    text.len() <= 253 && last.chars().any(char::is_alphabetic) && text.split('.').all(is_label)
}

/// A URL's scheme and host in lower case, without a default port and without what is only for the browser.
pub(crate) fn url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    if !scheme.starts_with(|char: char| char.is_ascii_alphabetic()) || !scheme.chars().all(is_scheme) {
        return None;
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_lowercase());
    let default = match &*scheme {
        "http" => ":80",
        "https" => ":443",
        "ftp" => ":21",
        _ => "",
    };
    let authority = authority.strip_suffix(default).unwrap_or(&authority);
    let slash = if path.starts_with('/') { "" } else { "/" };
    (!authority.is_empty()).then(|| format!("{scheme}://{authority}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_what_it_looks_like() {
        let sha256 = "275A021BBFB6489E54D471899F7DB9D1663FC695EC2FE2A2C4538AABF651FD0F";
        for (text, kind) in [
            (sha256, Kind::Sha256),
            ("3395856ce81f2b7382dee72602f798b642f14140", Kind::Sha1),
            ("44d88612fea8a8f36de82e1278abb02f", Kind::Md5),
            ("192.0.2.1", Kind::Ip),
            ("198.51.100[.]0/24", Kind::Ip),
            ("2001:db8::1", Kind::Ip),
            ("hxxps://evil[.]example/a?b=c#d", Kind::Url),
            ("*.evil.example", Kind::Domain),
            ("Evil.Example.", Kind::Domain),
        ] {
            assert_eq!(Value::guess(text).unwrap().kind(), kind, "{text}");
        }
        for text in ["", "evil", "1.2.3", "300.1.1.1", "0.0.0.0/0", "::/0", "a b.c", "-x.example", "://x", "zz"] {
            assert_eq!(Value::guess(text), None, "{text}");
        }
    }

    #[test]
    fn one_value_has_one_form() {
        for (text, form) in [
            ("HTTP://Evil.Example:80", "http://evil.example/"),
            ("https://evil.example:443?Q=1#top", "https://evil.example/?Q=1"),
            ("https://evil.example:8443/Path", "https://evil.example:8443/Path"),
        ] {
            assert_eq!(url(text).unwrap(), form);
        }
        for (text, form) in
            [("192.0.2.9/24", "192.0.2.0/24"), ("::ffff:192.0.2.9", "192.0.2.9"), ("2001:db8::1/32", "2001:db8::/32")]
        {
            assert_eq!(network(text).unwrap().to_string(), form);
        }
    }
}
