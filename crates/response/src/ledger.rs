//! What is remembered of a tenant's actions, as bytes under keys that all begin with the tenant.

use cybervault_model::{ActionMode, TenantId, Timestamp, derived_id};

use crate::{Candidate, Proposed};

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

const HOUR_MS: i64 = 60 * 60 * 1000;
/// For how long a settled action is remembered, so that its replay or a second decision changes nothing.
const REMEMBERED_MS: i64 = 24 * HOUR_MS;

/// The first byte of a value says what it is; another form would get another letter.
const PENDING: u8 = b'p';
const SETTLED: u8 = b's';
const COOLING: u8 = b'c';
const WINDOW: u8 = b'w';
const COUNT: u8 = b'n';

/// What is known of an action.
pub(crate) enum Known {
    Nothing,
    Pending(Box<Proposed>),
    Settled,
}

/// One tenant's part of the store.
pub(crate) struct Ledger<'s> {
    store: &'s mut dyn Store,
    tenant: TenantId,
}

impl<'s> Ledger<'s> {
    pub(crate) fn new(store: &'s mut dyn Store, tenant: &TenantId) -> Self {
        Self { store, tenant: tenant.clone() }
    }

    pub(crate) fn action(&self, action_id: &str) -> Known {
        match self.store.get(&self.key('a', action_id)) {
            None => Known::Nothing,
            Some(value) => pending(value).map_or(Known::Settled, |proposed| Known::Pending(Box::new(proposed))),
        }
    }

    /// Keeps a proposal until it is decided on or expires.
    pub(crate) fn keep(&mut self, proposed: &Proposed) {
        let action = proposed.event();
        let mut value = vec![PENDING];
        // Plain data with string keys: writing it to memory can't fail.
        if serde_json::to_writer(&mut value, action).is_ok() {
            self.store.put(&self.key('a', &action.action_id), &value, Some(action.expires_at));
            self.set_pending(self.pending().saturating_add(1));
        }
    }

    /// Remembers of an action only that nothing more is to happen to it.
    pub(crate) fn settle(&mut self, action_id: &str, at: Timestamp) {
        self.store.put(&self.key('a', action_id), &[SETTLED], Some(at.plus_millis(REMEMBERED_MS)));
    }

    /// As [`Ledger::settle`], of one that was kept.
    pub(crate) fn settle_pending(&mut self, action_id: &str, at: Timestamp) {
        self.settle(action_id, at);
        self.set_pending(self.pending().saturating_sub(1));
    }

    /// How many proposals wait.
    pub(crate) fn pending(&self) -> u32 {
        let value = self.store.get(&self.key('n', "")).unwrap_or_default();
        match value {
            [COUNT, count @ ..] => count.try_into().map_or(0, u32::from_be_bytes),
            _ => 0,
        }
    }

    fn set_pending(&mut self, count: u32) {
        let key = self.key('n', "");
        if count == 0 {
            self.store.delete(&key);
        } else {
            let [a, b, c, d] = count.to_be_bytes();
            self.store.put(&key, &[COUNT, a, b, c, d], None);
        }
    }

    /// Whether the same was asked for the same target so recently that it is not asked again.
    pub(crate) fn is_cooling(&self, candidate: &Candidate) -> bool {
        let value = self.store.get(&self.key('c', &what_and_whom(candidate)));
        let Some([COOLING, times @ ..]) = value else { return false };
        let (&[since, until], []) = times.as_chunks() else { return false };
        let (since, until) = (i64::from_be_bytes(since), i64::from_be_bytes(until));
        // Either way round: a record slightly out of order is cooling too, but one that came with a time in the far future
        // must not silence all that follow.
        candidate.proposed_at.as_millis().abs_diff(since) < until.abs_diff(since)
    }

    pub(crate) fn start_cool_down(&mut self, candidate: &Candidate) {
        let since = candidate.proposed_at;
        let until = candidate.cool_down.after(since);
        if until > since {
            let times = [since, until].map(|time| time.as_millis().to_be_bytes());
            let value = [&[COOLING], times.as_flattened()].concat();
            self.store.put(&self.key('c', &what_and_whom(candidate)), &value, Some(until));
        }
    }

    /// Counts an action against the playbook's cap and the tenant's, both or neither, and returns the time that it
    /// counts for: `at`, or that of the latest counted if records came out of order. `None` where a cap is reached.
    pub(crate) fn count_against_caps(&mut self, playbook: (&str, u32), cap: u32, at: Timestamp) -> Option<Timestamp> {
        let (of_playbook, of_tenant) = (self.key('w', playbook.0), self.key('w', ""));
        let mut windows = [(of_playbook, playbook.1), (of_tenant, cap)].map(|(key, cap)| {
            let approvals = self.approvals(&key);
            (key, cap, approvals)
        });
        let latest = windows.iter().filter_map(|(_, _, approvals)| approvals.last().copied()).max();
        let at = at.as_millis().max(latest.unwrap_or(i64::MIN));
        for (_, cap, approvals) in &mut windows {
            approvals.retain(|&before| before > at.saturating_sub(HOUR_MS));
            if approvals.len() >= *cap as usize {
                return None;
            }
        }
        for (key, _, mut approvals) in windows {
            approvals.push(at);
            let value: Vec<u8> = [WINDOW].into_iter().chain(approvals.into_iter().flat_map(i64::to_be_bytes)).collect();
            // Far longer than it counts for: a record that comes late, by its own time within the hour, must find it.
            self.store.put(&key, &value, Some(Timestamp::from_millis(at).plus_millis(REMEMBERED_MS)));
        }
        Some(Timestamp::from_millis(at))
    }

    /// When actions went ahead by themselves, the earliest first.
    fn approvals(&self, key: &[u8]) -> Vec<i64> {
        match self.store.get(key) {
            Some([WINDOW, times @ ..]) => times.as_chunks().0.iter().map(|&time| i64::from_be_bytes(time)).collect(),
            _ => Vec::new(),
        }
    }

    /// No tenant id has a 0 in it, so no tenant's keys can be taken for another's.
    fn key(&self, what: char, which: &str) -> Vec<u8> {
        format!("{}\0{what}{which}", self.tenant).into_bytes()
    }
}

/// The proposal in an entry's value, if there is one.
pub(crate) fn pending(value: &[u8]) -> Option<Proposed> {
    let (&PENDING, action) = value.split_first()? else { return None };
    serde_json::from_slice(action).ok().and_then(Proposed::from_kept)
}

/// What is done to whom, in a bounded length. What is only said (dry run) does not keep the real thing from being done.
fn what_and_whom(candidate: &Candidate) -> String {
    let Candidate { kind, target, mode, .. } = candidate;
    let mode: &[u8] = if *mode == ActionMode::DryRun { b"said" } else { b"done" };
    let host = target.host.as_deref().unwrap_or_default();
    derived_id("cd", &[mode, kind.as_str().as_bytes(), &[target.kind as u8], target.value.as_bytes(), host.as_bytes()])
}
