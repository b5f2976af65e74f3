//! A partition's keyed state: a bounded map that can take a batch back.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cybervault_model::Timestamp;
use foldhash::fast::RandomState;

/// How much one partition's state may hold. Beyond it the entries that expire first are dropped, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// Entries.
    pub max_entries: usize,
    /// Bytes of keys and values.
    pub max_bytes: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self { max_entries: 1_000_000, max_bytes: 256 * 1024 * 1024 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Box<[u8]>,
    /// `None` never expires and is dropped last.
    expires_at: Option<Timestamp>,
    /// The batch that last changed it: its older value is in the journal already.
    batch: u64,
}

/// The order in which entries are dropped: those that never expire come last.
type Due = (i64, Arc<[u8]>);

/// A partition's state: bytes under keys, with an optional time at which each is dropped.
///
/// Changes belong to the batch in which they are made: they are in the changelog once it is committed, and taken back if
/// it is given up. Look-ups and changes cost one hash look-up; the order of expiry is brought up to date once a batch.
#[derive(Debug)]
pub struct State {
    limits: StateLimits,
    entries: HashMap<Arc<[u8]>, Entry, RandomState>,
    bytes: usize,
    due: BTreeSet<Due>,
    batch: u64,
    /// What each key changed in this batch held before it.
    journal: HashMap<Arc<[u8]>, Option<Entry>, RandomState>,
    evicted: u64,
    lineage: u64,
}

/// A number that no state has had before.
fn new_lineage() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What takes a batch's changes back.
#[derive(Debug, Default)]
pub(crate) struct Undo(HashMap<Arc<[u8]>, Option<Entry>, RandomState>);

/// One key's change in a batch, for the changelog.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) key: &'a [u8],
    /// `None`: the key is gone.
    pub(crate) entry: Option<(&'a [u8], Option<Timestamp>)>,
}

impl State {
    /// An empty state within `limits`.
    pub fn new(limits: StateLimits) -> Self {
        Self {
            limits,
            entries: HashMap::default(),
            bytes: 0,
            due: BTreeSet::new(),
            batch: 1,
            journal: HashMap::default(),
            evicted: 0,
            lineage: new_lineage(),
        }
    }

    /// Which state this is: the same number as long as nothing but [`State::put`], [`State::delete`] and [`State::expired`] has changed it. A
    /// stage that holds something made from it knows by this when to make it anew: after a batch was taken back, or where the partition was
    /// another's meanwhile.
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// All keys and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(key, entry)| (&**key, &*entry.value))
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(|entry| &*entry.value)
    }

    /// Puts `value` under `key`, to be dropped once `expires_at` has passed.
    pub fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>) {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.batch != self.batch {
                self.journal.insert(key.into(), Some(entry.clone()));
                entry.batch = self.batch;
            }
            self.bytes = self.bytes - entry.value.len() + value.len();
            if entry.value.len() == value.len() {
                entry.value.copy_from_slice(value);
            } else {
                entry.value = value.into();
            }
            entry.expires_at = expires_at;
        } else {
            let key: Arc<[u8]> = key.into();
            self.journal.entry(key.clone()).or_insert(None);
            self.bytes += key.len() + value.len();
            self.entries.insert(key, Entry { value: value.into(), expires_at, batch: self.batch });
        }
    }

    /// Drops what is under `key`.
    pub fn delete(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= key.len() + entry.value.len();
            if entry.batch == self.batch {
                // Its value before the batch is in the journal.
            } else {
                self.due.remove(&due(&entry, &key));
                self.journal.insert(key, Some(entry));
            }
        }
    }

    /// Removes and returns up to `limit` entries that expired by `now`, the earliest first.
    pub fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys: Vec<Arc<[u8]>> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now.as_millis())
            .map(|(_, key)| key)
            // The order is a batch behind: the entry itself knows whether it has been prolonged since.
            .filter(|key| self.entries.get(*key).is_some_and(|e| e.expires_at.is_some_and(|at| at <= now)))
            .take(limit)
            .cloned()
            .collect();
        keys.into_iter()
            .map(|key| {
                let value = self.get(&key).unwrap_or_default().to_vec();
                self.delete(&key);
                (key.to_vec(), value)
            })
            .collect()
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and values in it.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Whether the batch at hand has changed anything.
    pub(crate) fn is_changed(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Takes up an entry from the changelog: no part of any batch.
    pub(crate) fn restore(&mut self, key: &[u8], entry: Option<(&[u8], Option<Timestamp>)>) {
        self.set(key.into(), entry.map(|(value, expires_at)| Entry { value: value.into(), expires_at, batch: 0 }));
    }

    /// Ends the batch: drops what exceeds the limits, tells each change to `tell`, and returns what takes it all back.
    pub(crate) fn end_batch(&mut self, mut tell: impl FnMut(Change<'_>)) -> Undo {
        self.order_changes();
        while self.entries.len() > self.limits.max_entries || self.bytes > self.limits.max_bytes {
            let Some((_, key)) = self.due.pop_first() else { break };
            self.evict(&key);
        }
        for key in self.journal.keys() {
            let entry = self.entries.get(key).map(|entry| (&*entry.value, entry.expires_at));
            tell(Change { key, entry });
        }
        self.batch += 1;
        Undo(mem::take(&mut self.journal))
    }

    /// Takes back a batch that was ended; batches are taken back in the reverse of their order.
    pub(crate) fn undo(&mut self, undo: Undo) {
        debug_assert!(self.journal.is_empty(), "an open batch is ended before another is taken back");
        if !undo.0.is_empty() {
            self.lineage = new_lineage();
        }
        for (key, before) in undo.0 {
            self.set(key, before);
        }
    }

    /// How many entries were dropped for want of room.
    pub(crate) fn take_evicted(&mut self) -> u64 {
        mem::take(&mut self.evicted)
    }

    fn order_changes(&mut self) {
        for (key, before) in &self.journal {
            if let Some(before) = before {
                self.due.remove(&due(before, key));
            }
            if let Some(entry) = self.entries.get(key) {
                self.due.insert(due(entry, key));
            }
        }
    }

    fn evict(&mut self, key: &Arc<[u8]>) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= key.len() + entry.value.len();
            self.evicted += 1;
            self.lineage = new_lineage();
            // A key that this batch had changed keeps the journal's older value.
            if let hash_map::Entry::Vacant(vacant) = self.journal.entry(key.clone()) {
                vacant.insert(Some(entry));
            }
        }
    }

    fn set(&mut self, key: Arc<[u8]>, entry: Option<Entry>) {
        if let Some(before) = self.entries.remove(&key) {
            self.bytes -= key.len() + before.value.len();
            self.due.remove(&due(&before, &key));
        }
        if let Some(entry) = entry {
            self.bytes += key.len() + entry.value.len();
            self.due.insert(due(&entry, &key));
            self.entries.insert(key, entry);
        }
    }
}

fn due(entry: &Entry, key: &Arc<[u8]>) -> Due {
    (entry.expires_at.map_or(i64::MAX, Timestamp::as_millis), key.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>;

    fn contents(state: &State) -> Model {
        state.entries.iter().map(|(key, e)| (key.to_vec(), (e.value.to_vec(), e.expires_at))).collect()
    }

    fn check(state: &State) {
        let bytes: usize = state.entries.iter().map(|(key, e)| key.len() + e.value.len()).sum();
        assert_eq!(state.bytes, bytes);
        let due_now: BTreeSet<Due> = state.entries.iter().map(|(key, e)| due(e, key)).collect();
        assert_eq!(state.due, due_now);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Put(u8, u8, Option<i64>),
        Delete(u8),
        Expire(i64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..8u8, 0..40u8, proptest::option::of(0..50i64)).prop_map(|(k, v, e)| Op::Put(k, v, e)),
            1 => (0..8u8).prop_map(Op::Delete),
            1 => (0..50i64).prop_map(Op::Expire),
        ]
    }

    fn run(state: &mut State, ops: &[Op]) {
        for op in ops {
            match *op {
                Op::Put(key, value, expires) => {
                    state.put(&[key], &vec![value; usize::from(value % 5)], expires.map(Timestamp::from_millis));
                }
                Op::Delete(key) => state.delete(&[key]),
                Op::Expire(now) => drop(state.expired(Timestamp::from_millis(now), 3)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_batch_taken_back_leaves_no_trace_and_the_changelog_rebuilds_the_rest(
            batches in proptest::collection::vec((proptest::collection::vec(op(), 0..12), any::<bool>()), 1..12)
        ) {
            let limits = StateLimits { max_entries: 5, max_bytes: 20 };
            let mut state = State::new(limits);
            let mut rebuilt = State::new(limits);
            for (ops, committed) in batches {
                let before = contents(&state);
                run(&mut state, &ops);
                let mut log = Vec::new();
                let undo = state.end_batch(|change| {
                    log.push((change.key.to_vec(), change.entry.map(|(value, at)| (value.to_vec(), at))));
                });
                check(&state);
                let lineage = state.lineage();
                prop_assert!(state.len() <= limits.max_entries && state.byte_len() <= limits.max_bytes);
                if committed {
                    for (key, entry) in &log {
                        rebuilt.restore(key, entry.as_ref().map(|(value, at)| (&value[..], *at)));
                    }
                } else {
                    let is_changed = !undo.0.is_empty();
                    state.undo(undo);
                    prop_assert_eq!(state.lineage() != lineage, is_changed);
                    check(&state);
                    prop_assert_eq!(contents(&state), before);
                }
                let told: Model =
                    state.iter().map(|(key, value)| (key.to_vec(), (value.to_vec(), state.entries[key].expires_at))).collect();
                prop_assert_eq!(&told, &contents(&state));
                prop_assert_eq!(contents(&state), contents(&rebuilt));
            }
        }
    }
}
