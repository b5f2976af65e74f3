//! Everything that a request may need.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use cybervault_model::TenantId;
use cybervault_stream::Journal;
use serde_json::value::RawValue;

use crate::{
    condition::Condition,
    engine::Engine,
    hub::Hub,
    known_keys::KnownKeys,
    limit::{Addresses, Limiter},
    monitor::{Latency, Monitor},
    sandbox::Sandbox,
    settings::Settings,
    store::Store,
};

/// Everything that a request may need.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store: Store,
    pub(crate) sandbox: Sandbox,
    pub(crate) journal: Journal,
    pub(crate) hub: Hub,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) condition: Arc<Condition>,
    pub(crate) keys: KnownKeys,
    pub(crate) limiter: Limiter,
    pub(crate) addresses: Addresses,
    pub(crate) recent: Recent,
    pub(crate) latency: Arc<Latency>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Assessments that were answered but may not have landed in the view yet: whoever follows `Location` at once finds them.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    documents: HashMap<(TenantId, String), Box<RawValue>>,
    order: VecDeque<(TenantId, String)>,
}

impl Recent {
    const KEPT: usize = 4_096;

    pub(crate) fn put(&self, tenant_id: &TenantId, id: &str, document: Box<RawValue>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant_id.clone(), id.to_owned());
        if kept.documents.insert(key.clone(), document).is_none() {
            kept.order.push_back(key);
        }
        if kept.order.len() > Self::KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.documents.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, tenant_id: &TenantId, id: &str) -> Option<Box<RawValue>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.documents.get(&(tenant_id.clone(), id.to_owned())).cloned()
    }
}
