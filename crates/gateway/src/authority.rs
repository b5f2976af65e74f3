//! Whether those who listen still may: looked at for all open streams together, so that whatever ends a key, a session or a
//! tenant ends its streams within a second, however many there are.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    engine::Engine,
    key::KeyHash,
    store::{KeyRecord, Store, StoreError, now},
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(300);
/// A store that takes longer than this to answer does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everyone who listens, and by what right.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    grants: Mutex<HashMap<u64, Right>>,
    last: AtomicU64,
}

/// By what right someone listens.
#[derive(Clone, Debug)]
struct Right {
    key: Arc<KeyRecord>,
    session: Option<KeyHash>,
    ended: watch::Sender<bool>,
}

impl Authority {
    /// Lets someone listen by a key, and perhaps by a session of it, as long as both last as they are.
    pub(crate) fn grant(self: &Arc<Self>, key: &Arc<KeyRecord>, session: Option<KeyHash>) -> Grant {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let (ended, seen) = watch::channel(false);
        self.lock().insert(id, Right { key: key.clone(), session, ended });
        Grant { authority: self.clone(), id, ended: seen }
    }

    /// Ends what has no right any more, for ever.
    pub(crate) async fn watch(&self, store: &Store, engine: &dyn Engine) {
        loop {
            sleep(EVERY).await;
            let rights: Vec<Right> = self.lock().values().cloned().collect();
            if rights.is_empty() {
                continue;
            }
            let found = match timeout(PATIENCE, Facts::read(store, &rights)).await {
                Ok(found) => found,
                Err(_) => {
                    let source = sqlx::Error::PoolTimedOut;
                    Err(StoreError::Failed { what: "looking up keys of streams", source })
                }
            };
            let facts = found.unwrap_or_else(|error| {
                // Who may listen is not known; a client that comes back reads on where it was.
                tracing::warn!(%error, streams = rights.len(), "all streams are ended");
                Facts::default()
            });
            for right in rights.iter().filter(|right| !facts.allow(right, engine)) {
                right.ended.send_replace(true);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Right>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the store says of those who listen.
#[derive(Debug, Default)]
struct Facts {
    keys: HashMap<String, KeyRecord>,
    sessions: HashSet<String>,
}

impl Facts {
    async fn read(store: &Store, rights: &[Right]) -> Result<Self, StoreError> {
        let keys: HashSet<&str> = rights.iter().map(|right| &*right.key.key_id).collect();
        let sessions: HashSet<String> = rights.iter().filter_map(|right| Some(right.session?.to_hex())).collect();
        let keys = store.keys_by_id(&keys.into_iter().collect::<Vec<_>>()).await?;
        let sessions = store.sessions_of(&sessions.into_iter().collect::<Vec<_>>(), now()).await?;
        Ok(Self { keys: keys.into_iter().map(|key| (key.key_id.clone(), key)).collect(), sessions })
    }

    fn allow(&self, Right { key, session, .. }: &Right, engine: &dyn Engine) -> bool {
        let is_same =
            |now: &KeyRecord| (&now.tenant_id, now.kind, &now.scopes) == (&key.tenant_id, key.kind, &key.scopes);
        let key_lasts = self.keys.get(&key.key_id).is_some_and(|found| found.is_valid(now()) && is_same(found));
        let session_lasts = session.is_none_or(|session| self.sessions.contains(&session.to_hex()));
        let tenant_lasts = || engine.tenant(key.tenant_id.as_str()).is_some_and(|tenant| !tenant.suspended);
        key_lasts && session_lasts && tenant_lasts()
    }
}

/// The right of one who listens, until it is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    authority: Arc<Authority>,
    id: u64,
    ended: watch::Receiver<bool>,
}

impl Grant {
    /// Waits until the right has ended.
    pub(crate) async fn ended(&mut self) {
        // Whoever could say so has gone where this fails.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.authority.lock().remove(&self.id);
    }
}
