//! A batch's counts by tenant and log source.

use std::collections::HashMap;

use cybervault_model::{TelemetryEvent, TenantId};
use cybervault_sigma::{KeySet, Scratch};
use cybervault_stream::Outbox;
use foldhash::fast::RandomState;
use metrics::Counter;

use super::TenantLabels;
use crate::sources::SourceBoard;

/// Of a tenant's events of no known log source in a batch, so many are looked at for their keys, …
const FIRST: u64 = 32;
/// … and then every so manieth.
const EVERY: u64 = 64;
/// Sets of keys of one tenant in one batch.
const MOST_KEYS: usize = 16;
/// Ways of events and tenants that are kept; then they are found anew.
const MOST: usize = 50_000;

/// Counts by tenant and the way that an event took, which tells its log sources.
#[derive(Debug)]
pub(super) struct SourceMeters {
    board: SourceBoard,
    labels: TenantLabels,
    /// Where each tenant's count is, by way.
    places: HashMap<u64, HashMap<TenantId, usize, RandomState>, RandomState>,
    meters: Vec<Meter>,
    /// The way and the place of the last event: the next one is mostly like it.
    last: Option<(u64, usize)>,
}

#[derive(Debug)]
struct Meter {
    tenant_id: TenantId,
    counter: Counter,
    events: u64,
    keys: Vec<(KeySet, u64)>,
}

impl SourceMeters {
    pub(super) fn new(board: SourceBoard, labels: TenantLabels) -> Self {
        Self { board, labels, places: HashMap::default(), meters: Vec::new(), last: None }
    }

    /// Counts an event that was just matched with `scratch`.
    pub(super) fn count(&mut self, tenant_id: &TenantId, event: &TelemetryEvent<'_>, scratch: &Scratch) {
        let Some(route) = scratch.last_route() else { return };
        let place = match self.last {
            Some((way, place)) if way == route.id && self.meters[place].tenant_id == *tenant_id => place,
            _ => match self.places.get(&route.id).and_then(|places| places.get(tenant_id)) {
                Some(&place) => place,
                None => {
                    let label = self.labels.of(tenant_id);
                    let counter = self.board.of_sources(tenant_id, label, route.sources);
                    let place = self.meters.len();
                    self.meters.push(Meter { tenant_id: tenant_id.clone(), counter, events: 0, keys: Vec::new() });
                    self.places.entry(route.id).or_default().insert(tenant_id.clone(), place);
                    place
                }
            },
        };
        self.last = Some((route.id, place));
        let meter = &mut self.meters[place];
        meter.events += 1;
        if route.sources.is_empty() && (meter.events <= FIRST || meter.events.is_multiple_of(EVERY)) {
            let keys = KeySet::of(event);
            match meter.keys.iter().position(|(known, _)| *known == keys) {
                Some(at) => meter.keys[at].1 += 1,
                None if meter.keys.len() < MOST_KEYS => meter.keys.push((keys, 1)),
                None => {}
            }
        }
    }

    pub(super) fn hand_over(&mut self, out: &mut Outbox) {
        for meter in &mut self.meters {
            if meter.events > 0 {
                out.count(meter.counter.clone(), std::mem::take(&mut meter.events));
            }
            for (keys, count) in meter.keys.drain(..) {
                out.count(self.board.of_keys(&meter.tenant_id, keys), count);
            }
        }
        if self.meters.len() > MOST {
            self.forget();
        }
    }

    /// Forgets the ways of events: those of other rules have other numbers. What is counted must have been handed over.
    pub(super) fn forget(&mut self) {
        self.places.clear();
        self.meters.clear();
        self.last = None;
    }
}
