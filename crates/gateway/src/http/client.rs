//! Whose address a request comes from, where there are proxies in between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Addresses of `X-Forwarded-For` that are looked at, from the end.
const MAX_HOPS: usize = 32;

/// The client's address: the peer's, unless that is a trusted proxy's; then the last one of `X-Forwarded-For` that is none.
/// What stands before that anyone may have written.
pub(super) fn client(peer: SocketAddr, headers: &HeaderMap, proxies: &[IpNet]) -> SocketAddr {
    let is_trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    if !is_trusted(&peer.ip()) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev().filter_map(|line| line.to_str().ok());
    let hops = lines.flat_map(|line| line.rsplit(',')).take(MAX_HOPS).map(|hop| address(hop.trim()));
    // One that is no address ends what can be relied on.
    let client = hops.map_while(|hop| hop).find(|hop| !is_trusted(hop));
    client.map_or(peer, |client| SocketAddr::new(client, 0))
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_as_far_as_they_go() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).into();
        for (peer, lines, expected) in [
            ("198.51.100.1:5", &["203.0.113.9"][..], "198.51.100.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:5", &["1.2.3.4, 203.0.113.9:4711, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1:5", &["1.2.3.4", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            ("[::ffff:10.0.0.1]:5", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("[fd00::1]:5", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1:5", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1:5", &["10.0.0.3, 10.0.0.2"], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            assert_eq!(
                client(peer.parse().unwrap(), &headers, &proxies).ip().to_string(),
                expected,
                "{peer} {lines:?}"
            );
        }
    }
}
