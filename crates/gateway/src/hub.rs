//! What lands in the view, told to everyone who listens: API streams and the console's live feed.
//!
//! One task reads the store for all of them. A listener that is too slow for what passes here reads up in the store.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use cybervault_model::TenantId;
use tokio::sync::{Notify, Semaphore, broadcast};

use crate::store::{FeedItem, Store, StoreError};

/// Items that pass before a listener who does not take them has to read up.
const PASSING: usize = 2_048;
/// How often the store is looked at without being told: what another replica landed.
const LOOK: Duration = Duration::from_millis(250);
/// Items read at once.
const ITEMS: i64 = 500;
/// Listeners that read up at the same time: the others wait for their turn, so that whoever is slow takes no connection from
/// requests.
const READING_UP: usize = 2;

/// What lands, told to everyone who listens.
#[derive(Debug)]
pub(crate) struct Hub {
    items: broadcast::Sender<Arc<FeedItem>>,
    /// The last that was told.
    end: AtomicI64,
    landed: Arc<Notify>,
    reading_up: Arc<Semaphore>,
}

impl Hub {
    pub(crate) fn new(end: i64, landed: Arc<Notify>) -> Self {
        Self {
            items: broadcast::Sender::new(PASSING),
            end: AtomicI64::new(end),
            landed,
            reading_up: Arc::new(Semaphore::new(READING_UP)),
        }
    }

    /// Tells what lands, for ever.
    pub(crate) async fn run(&self, store: &Store) {
        loop {
            match store.feed_after(self.end.load(Ordering::Acquire), ITEMS).await {
                Ok(items) if items.is_empty() => {
                    let _ = tokio::time::timeout(LOOK, self.landed.notified()).await;
                }
                Ok(items) => {
                    for item in items {
                        self.end.store(item.seq, Ordering::Release);
                        // Nobody may be listening.
                        let _ = self.items.send(Arc::new(item));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what lands can't be told");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// A listener to one tenant's items after `after`, or to what comes from now on.
    pub(crate) fn listen(&self, tenant_id: &TenantId, after: Option<i64>) -> Listener {
        let items = self.items.subscribe();
        let end = self.end.load(Ordering::Acquire);
        Listener {
            tenant_id: tenant_id.clone(),
            at: after.unwrap_or(end).min(end),
            behind: after.is_some_and(|after| after < end),
            waiting: VecDeque::new(),
            items,
            reading_up: self.reading_up.clone(),
        }
    }
}

/// One who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    tenant_id: TenantId,
    /// The last that it was told.
    at: i64,
    /// Whether it has to read up in the store.
    behind: bool,
    waiting: VecDeque<FeedItem>,
    items: broadcast::Receiver<Arc<FeedItem>>,
    reading_up: Arc<Semaphore>,
}

impl Listener {
    /// The next item of its tenant's.
    pub(crate) async fn next(&mut self, store: &Store) -> Result<FeedItem, StoreError> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                self.at = item.seq;
                return Ok(item);
            }
            if self.behind {
                // It is never closed.
                let _turn = self.reading_up.acquire().await;
                let found = store.feed_of(&self.tenant_id, (self.at, i64::MAX), ITEMS).await?;
                self.behind = !found.is_empty();
                self.waiting = found.into();
                continue;
            }
            match self.items.recv().await {
                Ok(item) if item.seq > self.at && item.tenant_id == self.tenant_id.as_str() => {
                    self.at = item.seq;
                    return Ok(FeedItem::clone(&item));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
                // The hub ends with the process.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
