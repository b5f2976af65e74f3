//! Whom and what no playbook may touch.

use std::net::IpAddr;

use cybervault_model::{ActionKind, Target, TargetKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Glob;

/// Hosts, accounts and addresses that are never contained, however sure the finding is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NeverTouch {
    /// Hosts: `dc*`, `*.pki.example.com`. A pattern also matches the name up to its first dot. Processes and files on such
    /// a host are not touched either.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Accounts: `svc-*`, `administrator`. A pattern also matches the name without its domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Addresses and networks: `192.0.2.7`, `198.51.100.0/24`, `2001:db8::/32`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// An entry that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("never_touch.addresses: `{0}` is neither an address nor a network: write `192.0.2.7` or `192.0.2.0/24`")]
pub struct InvalidNeverTouch(String);

/// [`NeverTouch`], ready to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Untouchable {
    hosts: Vec<Glob>,
    users: Vec<Glob>,
    networks: Vec<Network>,
}

impl Untouchable {
    pub(crate) fn new(lists: &NeverTouch) -> Result<Self, InvalidNeverTouch> {
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let network = |text: &String| Network::parse(text).ok_or_else(|| InvalidNeverTouch(text.clone()));
        Ok(Self {
            hosts: globs(&lists.hosts),
            users: globs(&lists.users),
            networks: lists.addresses.iter().map(network).collect::<Result<_, _>>()?,
        })
    }

    /// The entry that forbids doing `kind` to `target`. Telling someone about it is never forbidden.
    pub(crate) fn forbids(&self, kind: ActionKind, target: &Target) -> Option<&str> {
        if matches!(kind, ActionKind::Notify | ActionKind::OpenTicket) {
            return None;
        }
        match target.kind {
            TargetKind::Host => self.host(&target.value),
            TargetKind::Process | TargetKind::File => self.host(target.host.as_deref()?),
            TargetKind::Ip => self.address(&target.value),
            TargetKind::User => self.user(&target.value),
            TargetKind::Tenant => None,
        }
    }

    fn host(&self, name: &str) -> Option<&str> {
        let short = name.split('.').next().unwrap_or(name);
        first_match(&self.hosts, [name, short]).or_else(|| self.address(name))
    }

    fn user(&self, name: &str) -> Option<&str> {
        // `DOMAIN\name` and `name@domain`.
        let short = name.rsplit('\\').next().unwrap_or(name);
        let short = short.split('@').next().unwrap_or(short);
        first_match(&self.users, [name, short])
    }

    fn address(&self, address: &str) -> Option<&str> {
        let address = address.parse().ok()?;
        self.networks.iter().find(|network| network.contains(address)).map(|network| network.text.as_str())
    }
}

fn first_match<'g>(globs: &'g [Glob], names: [&str; 2]) -> Option<&'g str> {
    globs.iter().find(|glob| names.iter().any(|name| glob.matches(name))).map(Glob::as_str)
}

/// A network, or one address as the smallest network.
#[derive(Clone, Debug)]
struct Network {
    text: String,
    bits: u128,
    v4: bool,
    /// How many low bits don't count.
    free: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (bits, v4) = bits(address.parse().ok()?);
        let width: u32 = if v4 { 32 } else { 128 };
        let free = width.checked_sub(prefix.unwrap_or(width))?;
        Some(Self { text: text.to_owned(), bits, v4, free })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (bits, v4) = bits(address);
        // Shifting by the whole width is a network of everything.
        v4 == self.v4 && (bits ^ self.bits).checked_shr(self.free).unwrap_or(0) == 0
    }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u32::from(v4).into(), true),
        IpAddr::V6(v6) => (v6.into(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: TargetKind, value: &str, host: Option<&str>) -> Target {
        Target { kind, value: value.to_owned(), host: host.map(str::to_owned) }
    }

    #[test]
    fn a_name_is_recognised_in_its_short_and_long_form_and_an_address_in_its_network() {
        let list = |entries: &[&str]| entries.iter().map(|&entry| entry.to_owned()).collect();
        let lists = NeverTouch {
            hosts: list(&["dc01", "*.pki.example.com"]),
            users: list(&["administrator", "svc-*"]),
            addresses: list(&["198.51.100.0/24", "203.0.113.9", "2001:db8::/32"]),
        };
        let untouchable = Untouchable::new(&lists).unwrap();
        use {ActionKind as A, TargetKind as T};
        for (kind, target, expected) in [
            (A::IsolateHost, target(T::Host, "DC01.corp.local", None), Some("dc01")),
            (A::IsolateHost, target(T::Host, "ca.pki.example.com", None), Some("*.pki.example.com")),
            (A::IsolateHost, target(T::Host, "dc011", None), None),
            (A::IsolateHost, target(T::Host, "203.0.113.9", None), Some("203.0.113.9")),
            (A::KillProcess, target(T::Process, r"C:\x.exe", Some("dc01")), Some("dc01")),
            (A::KillProcess, target(T::Process, r"C:\x.exe", None), None),
            (A::DisableUser, target(T::User, r"CORP\Administrator", None), Some("administrator")),
            (A::DisableUser, target(T::User, "svc-backup@corp.local", None), Some("svc-*")),
            (A::BlockIp, target(T::Ip, "198.51.100.42", None), Some("198.51.100.0/24")),
            (A::BlockIp, target(T::Ip, "::ffff:198.51.100.42", None), Some("198.51.100.0/24")),
            (A::BlockIp, target(T::Ip, "198.51.101.1", None), None),
            (A::BlockIp, target(T::Ip, "2001:db8:7::1", None), Some("2001:db8::/32")),
            (A::Notify, target(T::Host, "dc01", None), None),
        ] {
            assert_eq!(untouchable.forbids(kind, &target), expected, "{target}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["198.51.100.0/33", "198.51.100", "x", "::/129", "1.2.3.4/"] {
            let lists = NeverTouch { addresses: vec![text.to_owned()], ..NeverTouch::default() };
            assert!(Untouchable::new(&lists).is_err(), "{text}");
        }
    }
}
