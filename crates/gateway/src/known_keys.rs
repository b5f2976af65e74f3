//! Keys that were looked up a moment ago.
//!
//! A key is believed for half a second, so a revoked one is refused by every replica within a second, and a client that
//! makes a thousand requests a second costs two look-ups: of those that come together when the time is over one looks it up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    key::KeyHash,
    store::{KeyRecord, Store, StoreError, now},
};

/// How long a look-up is believed.
const BELIEVED: Duration = Duration::from_millis(500);
/// How much longer while one looks it up again.
const LOOKED_UP: Duration = Duration::from_millis(250);
/// How exactly the last use of a key is known.
const USE_NOTED_MS: i64 = 60_000;
/// Keys that are remembered.
const KNOWN: usize = 16_384;

/// What is known of a key without a look-up.
#[derive(Debug)]
pub(crate) enum Known {
    /// It was looked up a moment ago.
    Now(Arc<KeyRecord>),
    /// It was found earlier: it exists, but has to be looked up again.
    Before,
    /// Nothing.
    Not,
}

/// Keys that were looked up a moment ago. Only those that exist: made-up ones take no room here.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys(Mutex<HashMap<KeyHash, Entry>>);

#[derive(Debug)]
struct Entry {
    key: Arc<KeyRecord>,
    at: Instant,
    /// Whether someone looks it up again.
    is_asked: bool,
}

impl KnownKeys {
    /// What is known of the key without a look-up.
    pub(crate) fn known(&self, hash: &KeyHash) -> Known {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Entry { key, at, is_asked }) = known.get_mut(hash) else { return Known::Not };
        let age = at.elapsed();
        if age < BELIEVED || *is_asked && age < BELIEVED + LOOKED_UP {
            return Known::Now(key.clone());
        }
        *is_asked = true;
        Known::Before
    }

    /// Looks the key up, and notes that it was used.
    pub(crate) async fn look_up(&self, store: &Store, hash: &KeyHash) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let Some(mut key) = store.key_by_hash(hash).await? else { return Ok(None) };
        let at = now();
        if key.is_valid(at) && key.last_used_at.is_none_or(|last| last.plus_millis(USE_NOTED_MS) < at) {
            store.key_was_used(&key.key_id, at).await?;
            key.last_used_at = Some(at);
        }
        let key = Arc::new(key);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.retain(|_, entry| entry.at.elapsed() < BELIEVED);
            if known.len() >= KNOWN {
                known.clear();
            }
        }
        known.insert(*hash, Entry { key: key.clone(), at: Instant::now(), is_asked: false });
        Ok(Some(key))
    }
}
