//! Counts of a batch, kept in plain numbers and handed over at its end, so that only what is committed counts.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use cybervault_model::{TenantId, Timestamp};
use cybervault_quota::{Admission, Holding};
use cybervault_stream::Outbox;
use foldhash::fast::RandomState;
use metrics::{Counter, Gauge, counter, gauge};

/// The tenants that have a label of their own in metrics: the first ones that are seen, as many as are allowed. Shared by
/// all runners of a process, so that the number of time series is bounded whoever sends.
#[derive(Clone, Debug)]
pub(crate) struct TenantLabels {
    max: usize,
    named: Arc<Mutex<HashSet<TenantId>>>,
}

/// The label of all tenants without their own, and of those that are unknown.
const OTHER: &str = "other";

impl TenantLabels {
    /// Labels for up to `max` tenants.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, named: Arc::default() }
    }

    /// The tenant's own label, or that of all without one.
    pub(super) fn of<'t>(&self, tenant_id: &'t TenantId) -> &'t str {
        if self.has_own(tenant_id) { tenant_id.as_str() } else { OTHER }
    }

    /// The same of a tenant of this name.
    pub(super) fn of_name<'t>(&self, name: &'t str) -> &'t str {
        if TenantId::new(name).is_ok_and(|id| self.has_own(&id)) { name } else { OTHER }
    }

    fn has_own(&self, tenant_id: &TenantId) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.contains(tenant_id) || (named.len() < self.max && named.insert(tenant_id.clone()))
    }
}

/// Counts by tenant.
#[derive(Debug)]
pub(super) struct TenantMeters {
    labels: TenantLabels,
    places: HashMap<TenantId, usize, RandomState>,
    meters: Vec<TenantMeter>,
}

#[derive(Debug)]
struct TenantMeter {
    tenant_id: Option<TenantId>,
    admitted: Tally,
    rejected: Tally,
    bytes: Tally,
    level: Gauge,
    last: Option<(Holding, Timestamp)>,
}

impl TenantMeter {
    fn new(tenant_id: Option<TenantId>) -> Self {
        let label = tenant_id.as_ref().map_or(OTHER, TenantId::as_str).to_owned();
        let events = |outcome: &'static str| {
            Tally::new(counter!("cybervault_events_total", "tenant" => label.clone(), "outcome" => outcome))
        };
        Self {
            admitted: events("admitted"),
            rejected: events("rejected"),
            bytes: Tally::new(counter!("cybervault_event_bytes_total", "tenant" => label.clone())),
            // Of many tenants together there is no one level.
            level: match tenant_id {
                Some(_) => gauge!("cybervault_quota_level_ratio", "tenant" => label),
                None => Gauge::noop(),
            },
            tenant_id,
            last: None,
        }
    }
}

/// The most tenants whose place is remembered; the others are `other` without being remembered as such.
const MAX_PLACES: usize = 100_000;

impl TenantMeters {
    pub(super) fn new(labels: TenantLabels) -> Self {
        Self { labels, places: HashMap::default(), meters: vec![TenantMeter::new(None)] }
    }

    /// Counts an admitted event; `holding` is the partition's after it.
    pub(super) fn admitted(&mut self, tenant_id: &TenantId, bytes: usize, holding: Holding, at: Timestamp) {
        let meter = self.meter(tenant_id);
        meter.admitted.add(1);
        meter.bytes.add(bytes as u64);
        meter.last = Some((holding, at));
    }

    /// Counts a rejected event, of an unknown tenant where there is none.
    pub(super) fn rejected(&mut self, tenant: Option<(&TenantId, Holding, Timestamp)>, bytes: usize) {
        let meter = match tenant {
            Some((tenant_id, holding, at)) => {
                let meter = self.meter(tenant_id);
                meter.last = Some((holding, at));
                meter
            }
            None => &mut self.meters[0],
        };
        meter.rejected.add(1);
        meter.bytes.add(bytes as u64);
    }

    fn meter(&mut self, tenant_id: &TenantId) -> &mut TenantMeter {
        let place = match self.places.get(tenant_id) {
            Some(&place) => place,
            None => self.place(tenant_id),
        };
        &mut self.meters[place]
    }

    fn place(&mut self, tenant_id: &TenantId) -> usize {
        let place = if self.labels.has_own(tenant_id) {
            self.meters.push(TenantMeter::new(Some(tenant_id.clone())));
            self.meters.len() - 1
        } else {
            0
        };
        if place > 0 || self.places.len() < MAX_PLACES {
            self.places.insert(tenant_id.clone(), place);
        }
        place
    }

    pub(super) fn hand_over(&mut self, admission: &Admission, out: &mut Outbox) {
        for meter in &mut self.meters {
            for tally in [&mut meter.admitted, &mut meter.rejected, &mut meter.bytes] {
                tally.hand_over(out);
            }
            if let Some((holding, at)) = meter.last.take()
                && let Some(tenant) = meter.tenant_id.as_ref().and_then(|id| admission.lookup(id.as_str()))
            {
                meter.level.set(tenant.level(&holding, at));
            }
        }
    }
}

/// One counter's share of a batch.
#[derive(Debug)]
pub(super) struct Tally {
    counter: Counter,
    count: u64,
}

impl Tally {
    pub(super) fn new(counter: Counter) -> Self {
        Self { counter, count: 0 }
    }

    pub(super) fn add(&mut self, by: u64) {
        self.count += by;
    }

    pub(super) fn hand_over(&mut self, out: &mut Outbox) {
        if self.count > 0 {
            out.count(self.counter.clone(), std::mem::take(&mut self.count));
        }
    }
}

/// The most rules that have a label of their own; the hits of the others count as `other`.
const MAX_RULE_LABELS: usize = 5_000;

/// Hits by rule. A rule gets its counter when it first hits: most never do.
#[derive(Debug, Default)]
pub(super) struct RuleMeters {
    tallies: HashMap<usize, Tally, RandomState>,
}

impl RuleMeters {
    pub(super) fn hit(&mut self, rule: usize, id: &str) {
        let (place, label) = if rule < MAX_RULE_LABELS { (rule, id) } else { (MAX_RULE_LABELS, OTHER) };
        let tally = self.tallies.entry(place);
        tally.or_insert_with(|| Tally::new(counter!("cybervault_rule_hits_total", "rule" => label.to_owned()))).add(1);
    }

    pub(super) fn hand_over(&mut self, out: &mut Outbox) {
        self.tallies.values_mut().for_each(|tally| tally.hand_over(out));
    }
}
