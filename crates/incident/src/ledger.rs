//! What is remembered of a tenant's incidents, as bytes under keys that all begin with the tenant.

use cybervault_model::{EntityKind, Incident, TenantId, Timestamp, derived_id};
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// Keyed state that the caller keeps, with the outputs in one transaction.
pub trait Store {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Option<&[u8]>;
    /// Puts `value` under `key`, to be returned by [`Store::expired`] once `expires_at` has passed.
    fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>);
    /// Drops what is under `key`.
    fn delete(&mut self, key: &[u8]);
    /// Removes and returns up to `limit` entries that expired by `now`, keys and values, the earliest first.
    fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
}

/// An incident's id, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u128);

impl Id {
    /// Reads `inc_…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("inc_").filter(|digits| digits.len() == 32)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        u128::from_str_radix(digits, 16).ok().filter(|_| is_hex).map(Self)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inc_{:032x}", self.0)
    }
}

/// An incident that findings are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) id: Id,
    /// When its findings happened.
    pub(crate) span: Span,
    /// The latest record time of them.
    pub(crate) seen: i64,
}

/// Bytes of an [`Active`].
const ACTIVE: usize = 40;

impl Active {
    fn to_bytes(self) -> [u8; ACTIVE] {
        let mut bytes = [0; ACTIVE];
        bytes[..16].copy_from_slice(&self.id.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.span.first.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.span.last.to_be_bytes());
        bytes[32..].copy_from_slice(&self.seen.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ACTIVE]) -> Self {
        let long = |at: usize| {
            let mut long = [0; 8];
            long.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(long)
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        Self { id: Id(u128::from_be_bytes(id)), span: Span { first: long(16), last: long(24) }, seen: long(32) }
    }
}

/// An incident as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// As it was told last, with all that was counted since.
    pub(crate) incident: Incident,
    /// Findings that were not told.
    pub(crate) untold: u64,
    /// The record time of its last telling, or of its beginning.
    pub(crate) told_at: Timestamp,
    /// What else findings are joined by, where no entity of theirs tells.
    pub(crate) alone: Vec<String>,
    /// Whether findings are added to it.
    pub(crate) is_active: bool,
}

/// How many incidents an entity may lead to at the same time: they lie further apart than a gap, as where old logs are read again.
const MAX_LED: usize = 8;

/// One tenant's part of the store.
pub(crate) struct Ledger<'s> {
    store: &'s mut dyn Store,
    tenant: TenantId,
}

/// 128 bits that tell an entity from all others.
pub(crate) fn hash_of(kind: EntityKind, name: &str) -> [u8; 16] {
    link(&[kind.as_str().as_bytes(), name.as_bytes()])
}

/// 128 bits that tell these parts from all others.
pub(crate) fn link(parts: &[&[u8]]) -> [u8; 16] {
    let text = derived_id("e", parts);
    let digits = text.get(2..).and_then(|digits| u128::from_str_radix(digits, 16).ok());
    digits.unwrap_or_default().to_be_bytes()
}

impl<'s> Ledger<'s> {
    pub(crate) fn new(store: &'s mut dyn Store, tenant: &TenantId) -> Self {
        Self { store, tenant: tenant.clone() }
    }

    /// The incidents that findings are added to.
    pub(crate) fn active(&self) -> Vec<Active> {
        let bytes = self.store.get(&self.key('h', &[])).unwrap_or_default();
        bytes.as_chunks().0.iter().map(Active::from_bytes).collect()
    }

    pub(crate) fn keep_active(&mut self, active: &[Active]) {
        let key = self.key('h', &[]);
        if active.is_empty() {
            self.store.delete(&key);
        } else {
            let bytes: Vec<u8> = active.iter().flat_map(|one| one.to_bytes()).collect();
            self.store.put(&key, &bytes, None);
        }
    }

    /// The incidents that an entity leads to.
    pub(crate) fn led(&self, link: &[u8; 16]) -> Vec<Id> {
        let bytes = self.store.get(&self.key('e', link)).unwrap_or_default();
        bytes.as_chunks().0.iter().map(|id| Id(u128::from_be_bytes(*id))).collect()
    }

    /// Has an entity lead to an incident; where it leads to too many, no longer to the first of them.
    pub(crate) fn lead(&mut self, link: &[u8; 16], to: Id) {
        let mut led = self.led(link);
        if led.contains(&to) {
            return;
        }
        if led.len() >= MAX_LED {
            led.remove(0);
        }
        led.push(to);
        self.keep_led(link, &led);
    }

    pub(crate) fn lead_no_longer(&mut self, link: &[u8; 16], to: Id) {
        let mut led = self.led(link);
        led.retain(|id| *id != to);
        self.keep_led(link, &led);
    }

    fn keep_led(&mut self, link: &[u8; 16], led: &[Id]) {
        let key = self.key('e', link);
        if led.is_empty() {
            self.store.delete(&key);
        } else {
            let bytes: Vec<u8> = led.iter().flat_map(|id| id.0.to_be_bytes()).collect();
            self.store.put(&key, &bytes, None);
        }
    }

    /// The incident under `id`.
    pub(crate) fn incident(&self, id: Id) -> Option<Kept> {
        serde_json::from_slice(self.store.get(&self.key('i', &id.0.to_be_bytes()))?).ok()
    }

    /// Keeps an incident until `until`, unless it is kept again.
    pub(crate) fn keep(&mut self, id: Id, kept: &Kept, until: Timestamp) {
        // Plain data with string keys: writing it to memory can't fail.
        if let Ok(value) = serde_json::to_vec(kept) {
            self.store.put(&self.key('i', &id.0.to_be_bytes()), &value, Some(until));
        }
    }

    /// Drops an incident that nobody was told of.
    pub(crate) fn forget(&mut self, id: Id) {
        self.store.delete(&self.key('i', &id.0.to_be_bytes()));
        self.store.delete(&self.key('t', &id.0.to_be_bytes()));
    }

    /// Sets an incident's timer, which it has one of.
    pub(crate) fn set_timer(&mut self, id: Id, at: Timestamp) {
        let text = format!("{}\n{id}", self.tenant);
        self.store.put(&self.key('t', &id.0.to_be_bytes()), text.as_bytes(), Some(at));
    }

    pub(crate) fn companions(&self, link: &[u8; 16], day: i64) -> Vec<[u8; 8]> {
        let bytes = self.store.get(&self.day_key(link, day)).unwrap_or_default();
        bytes.as_chunks().0.to_vec()
    }

    pub(crate) fn keep_companions(&mut self, link: &[u8; 16], day: i64, known: &[[u8; 8]], until: Timestamp) {
        self.store.put(&self.day_key(link, day), known.as_flattened(), Some(until));
    }

    fn day_key(&self, link: &[u8; 16], day: i64) -> Vec<u8> {
        let mut key = self.key('s', link);
        key.extend_from_slice(&day.to_be_bytes());
        key
    }

    /// No tenant id has a 0 in it, so no tenant's keys can be taken for another's.
    fn key(&self, what: char, which: &[u8]) -> Vec<u8> {
        let mut key = format!("{}\0{what}", self.tenant).into_bytes();
        key.extend_from_slice(which);
        key
    }
}

/// Tenant and incident of an entry that has expired, where it is a timer.
pub(crate) fn timer(key: &[u8], value: &[u8]) -> Option<(TenantId, String)> {
    let after = key.iter().position(|byte| *byte == 0)?;
    if key.get(after + 1) != Some(&b't') {
        return None;
    }
    let (tenant, id) = std::str::from_utf8(value).ok()?.split_once('\n')?;
    Some((TenantId::new(tenant).ok()?, id.to_owned()))
}
