//! Everything that a request may need.

use std::sync::Arc;

use cybervault_stream::Journal;
use tokio::sync::Semaphore;

use crate::{
    authority::Authority,
    condition::Condition,
    engine::Engine,
    hub::Hub,
    known_keys::KnownKeys,
    limit::{Addresses, Limiter},
    lookups::Lookups,
    monitor::{Latency, Monitor},
    recent::Recent,
    sandbox::Sandboxes,
    seats::Seats,
    settings::Settings,
    store::Store,
};

/// Everything that a request may need.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: Store,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) journal: Journal,
    pub(crate) hub: Hub,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) condition: Arc<Condition>,
    pub(crate) keys: KnownKeys,
    pub(crate) limiter: Limiter,
    pub(crate) addresses: Addresses,
    pub(crate) recent: Recent,
    pub(crate) lookups: Lookups,
    pub(crate) authority: Arc<Authority>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) latency: Arc<Latency>,
    /// What is being done whether its sender is still there or not.
    pub(crate) works: Arc<Semaphore>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}
