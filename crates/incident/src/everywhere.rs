//! Which entities tell anything: what findings about them have to do with each other.
//!
//! Hosts, accounts, addresses and hashes can tell. Those do not that are known to be everywhere, the system's own accounts for one,
//! that the settings list, or that were seen with too many others on a day: an account, address or file with so many hosts, a host
//! with so many accounts. Of these, so many and one more are remembered, so the state of an entity is bounded.

use std::{borrow::Cow, collections::HashSet, net::IpAddr};

use cybervault_model::{Entity, EntityKind, Timestamp, is_system_account};
use foldhash::fast::RandomState;

use crate::{
    Finding, Settings,
    ledger::{Ledger, hash_of},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Hashes of nothing at all: MD5, SHA-1 and SHA-256 of no bytes.
const OF_NOTHING: [&str; 3] = [
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// What an entity is called wherever it is spoken of.
pub(crate) fn identity(entity: &Entity) -> Cow<'_, str> {
    match entity.kind {
        EntityKind::Host => entity.identity(),
        _ if entity.value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Cow::Owned(entity.value.to_ascii_lowercase())
        }
        _ => Cow::Borrowed(&entity.value),
    }
}

/// Whether two are one.
pub(crate) fn is_same(a: &Entity, b: &Entity) -> bool {
    a.kind == b.kind && (a.value == b.value || identity(a) == identity(b))
}

/// Says which entities tell.
#[derive(Debug)]
pub(crate) struct Telling {
    listed: HashSet<String, RandomState>,
    max_companions: usize,
}

impl Telling {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            listed: settings.everywhere.iter().map(|name| name.to_ascii_lowercase()).collect(),
            max_companions: settings.max_companions as usize,
        }
    }

    /// Of each of the finding's entities, in their order, whether it tells. Remembers whom each is seen with.
    pub(crate) fn of(&self, finding: &Finding, ledger: &mut Ledger<'_>) -> Vec<bool> {
        let day = finding.at.as_millis().div_euclid(DAY_MS);
        let tells = |at: usize| {
            let entity = &finding.entities[at].entity;
            self.may_tell(entity) && !self.is_everywhere(entity, finding, day, ledger)
        };
        (0..finding.entities.len()).map(tells).collect()
    }

    fn may_tell(&self, entity: &Entity) -> bool {
        let name = identity(entity);
        let can = match entity.kind {
            EntityKind::Host => true,
            EntityKind::User => !is_system_account(&name) && !is_built_in(&name),
            EntityKind::Ip => name.parse().is_ok_and(is_somebody),
            EntityKind::Hash => !OF_NOTHING.contains(&&*name),
            EntityKind::Domain | EntityKind::Process | EntityKind::File => false,
        };
        can && !self.listed.contains(&*name) && !self.listed.contains(&entity.value.to_ascii_lowercase())
    }

    /// Notes whom `entity` is seen with, and says whether these are too many: today, or the day before.
    fn is_everywhere(&self, entity: &Entity, finding: &Finding, day: i64, ledger: &mut Ledger<'_>) -> bool {
        let with = match entity.kind {
            EntityKind::Host => EntityKind::User,
            _ => EntityKind::Host,
        };
        let companions = finding.entities.iter().map(|found| &found.entity).filter(|other| other.kind == with);
        // The system's accounts are on every host, and say nothing of it.
        let companions = companions.filter(|other| with != EntityKind::User || self.may_tell(other));
        let seen: Vec<[u8; 8]> = companions.map(|other| short(&hash_of(other.kind, &identity(other)))).collect();
        let hash = hash_of(entity.kind, &identity(entity));
        let mut known = ledger.companions(&hash, day);
        let before = known.len();
        for companion in seen {
            if known.len() <= self.max_companions && !known.contains(&companion) {
                known.push(companion);
            }
        }
        if known.len() > before {
            let until = Timestamp::from_millis((day + 3).saturating_mul(DAY_MS));
            ledger.keep_companions(&hash, day, &known, until);
        }
        known.len() > self.max_companions || ledger.companions(&hash, day - 1).len() > self.max_companions
    }
}

fn short(hash: &[u8; 16]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [a, b, c, d, e, f, g, h]
}

/// Accounts that every host has.
fn is_built_in(name: &str) -> bool {
    const BUILT_IN: [&str; 8] =
        ["local system", "localsystem", "anonymous", "nobody", "daemon", "guest", "n/a", "defaultaccount"];
    BUILT_IN.contains(&name.rsplit('\\').next().unwrap_or(name))
}

/// Whether an address can be anyone's in particular.
fn is_somebody(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_no_one = v4.is_loopback() || v4.is_unspecified() || v4.is_link_local() || v4.is_multicast();
            !is_no_one && !v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local() && !v6.is_multicast()
        }
    }
}
