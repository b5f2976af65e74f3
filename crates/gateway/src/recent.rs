//! Events that requests brought a moment ago: the view may not have them yet.
//!
//! Whoever follows `Location` at once finds its assessment here. And of two requests that bring different events under one id
//! at the same time, one is refused: the first claims the id before anything is written.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cybervault_model::{Assessment, Signal, TenantId, Timestamp};
use metrics::gauge;
use serde_json::value::RawValue;

/// Events that are kept once they are committed.
const KEPT: usize = 4_096;

/// An assessed event.
#[derive(Debug)]
pub(crate) struct Assessed {
    pub(crate) assessment: Assessment,
    /// When.
    pub(crate) at: Timestamp,
    /// As it is shown.
    pub(crate) document: Box<RawValue>,
    /// What correlations need of it, until it is written.
    pub(crate) signals: Mutex<Vec<Signal>>,
}

/// A tenant's event, or its assessment, by id.
type Id = (TenantId, String);

#[derive(Debug, Default)]
struct Kept {
    events: HashMap<Id, Entry>,
    /// The events' ids, by those of their assessments.
    assessments: HashMap<Id, String>,
    /// Those that are committed, the oldest first.
    order: VecDeque<Id>,
}

#[derive(Debug)]
struct Entry {
    found: Arc<Assessed>,
    /// Requests that are writing it.
    writers: usize,
    is_committed: bool,
}

/// Events that requests brought a moment ago. Bounded: those that are being written by the requests that do, those that were
/// written by a number.
#[derive(Debug)]
pub(crate) struct Recent {
    kept: Mutex<Kept>,
    /// Whose, for the metric.
    of: &'static str,
}

/// What becomes of an event that a request brings.
#[derive(Debug)]
pub(crate) enum Claim<'r> {
    /// It is to be written.
    Ours(Writing<'r>),
    /// It was written.
    Known(Arc<Assessed>),
    /// Another event has this id.
    Other,
}

impl Recent {
    pub(crate) fn new(of: &'static str) -> Self {
        Self { kept: Mutex::default(), of }
    }

    /// Claims the event's id. Two requests that bring the same event write the same, the first one's: neither
    /// waits for the other, and the view takes one.
    pub(crate) fn claim(&self, assessed: Assessed) -> Claim<'_> {
        let Assessment { tenant_id, event_id, assessment_id, .. } = &assessed.assessment;
        let id = (tenant_id.clone(), event_id.clone());
        let mut kept = self.lock();
        if let Some(entry) = kept.events.get_mut(&id) {
            if entry.found.assessment.assessment_id != *assessment_id {
                return Claim::Other;
            }
            let found = entry.found.clone();
            if entry.is_committed {
                return Claim::Known(found);
            }
            entry.writers += 1;
            return Claim::Ours(Writing { recent: self, id, found });
        }
        kept.assessments.insert((tenant_id.clone(), assessment_id.clone()), event_id.clone());
        let found = Arc::new(assessed);
        kept.events.insert(id.clone(), Entry { found: found.clone(), writers: 1, is_committed: false });
        Claim::Ours(Writing { recent: self, id, found })
    }

    /// A committed assessment.
    pub(crate) fn get(&self, tenant_id: &TenantId, assessment_id: &str) -> Option<Box<RawValue>> {
        let kept = self.lock();
        let event_id = kept.assessments.get(&(tenant_id.clone(), assessment_id.to_owned()))?;
        let entry = kept.events.get(&(tenant_id.clone(), event_id.clone()))?;
        entry.is_committed.then(|| entry.found.document.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::cast_precision_loss, reason = "few")]
    fn tell(&self, kept: &Kept) {
        gauge!("cybervault_recent_events", "of" => self.of).set(kept.events.len() as f64);
    }
}

impl Kept {
    fn remove(&mut self, id: &Id) {
        if let Some(entry) = self.events.remove(id) {
            self.assessments.remove(&(id.0.clone(), entry.found.assessment.assessment_id.clone()));
        }
    }
}

/// An event that is being written. Given up where it is dropped without being committed.
#[derive(Debug)]
pub(crate) struct Writing<'r> {
    recent: &'r Recent,
    id: Id,
    pub(crate) found: Arc<Assessed>,
}

impl Writing<'_> {
    /// It is written.
    pub(crate) fn committed(&self) {
        let mut kept = self.recent.lock();
        let Some(entry) = kept.events.get_mut(&self.id) else { return };
        *entry.found.signals.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        if !std::mem::replace(&mut entry.is_committed, true) {
            kept.order.push_back(self.id.clone());
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.remove(&oldest);
        }
        self.recent.tell(&kept);
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut kept = self.recent.lock();
        let Some(entry) = kept.events.get_mut(&self.id) else { return };
        entry.writers = entry.writers.saturating_sub(1);
        if entry.writers == 0 && !entry.is_committed {
            kept.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cybervault_model::{Score, Severity, Verdict, assessment_id};

    use super::*;

    fn event(tenant: &str, event_id: &str, content: u8) -> Assessed {
        let assessment = Assessment {
            assessment_id: assessment_id(tenant, event_id, Some(&[content; 32])),
            tenant_id: TenantId::new(tenant).unwrap(),
            event_id: event_id.to_owned(),
            occurred_at: None,
            risk_score: Score::default(),
            severity: Severity::default(),
            verdict: Verdict::default(),
            contributions: Vec::new(),
            mitre_attack: Vec::new(),
            entities: Vec::new(),
            recommended_actions: Vec::new(),
            rules_version: String::new(),
            replaced_characters: None,
            correlated: None,
        };
        let document = RawValue::from_string(format!("\"{event_id}\"")).unwrap();
        Assessed { assessment, at: Timestamp::MIN, document, signals: Mutex::default() }
    }

    #[test]
    fn an_events_id_is_the_first_ones_until_that_is_given_up() {
        let recent = Recent::new("test");
        let acme = TenantId::new("acme").unwrap();
        let Claim::Ours(first) = recent.claim(event("acme", "e", 1)) else { panic!("nobody has it") };
        let id = first.found.assessment.assessment_id.clone();
        assert!(matches!(recent.claim(event("acme", "e", 2)), Claim::Other));
        assert!(matches!(recent.claim(event("globex", "e", 2)), Claim::Ours(_)));
        let Claim::Ours(second) = recent.claim(event("acme", "e", 1)) else { panic!("the same may be written twice") };
        assert!(Arc::ptr_eq(&first.found, &second.found));
        assert!(recent.get(&acme, &id).is_none(), "nobody sees what may never be written");

        // One fails, the other does not.
        drop(first);
        assert!(matches!(recent.claim(event("acme", "e", 2)), Claim::Other));
        second.committed();
        drop(second);
        assert!(matches!(recent.claim(event("acme", "e", 1)), Claim::Known(_)));
        assert!(matches!(recent.claim(event("acme", "e", 2)), Claim::Other));
        assert!(recent.get(&acme, &id).is_some());
        assert!(recent.get(&TenantId::new("globex").unwrap(), &id).is_none());

        drop(recent.claim(event("acme", "f", 1)));
        assert!(matches!(recent.claim(event("acme", "f", 2)), Claim::Ours(_)), "the first was given up");
    }

    #[test]
    fn no_more_are_kept_than_may() {
        let recent = Recent::new("test");
        for n in 0..KEPT + 10 {
            let Claim::Ours(writing) = recent.claim(event("acme", &n.to_string(), 0)) else { panic!("known: {n}") };
            writing.committed();
        }
        let kept = recent.lock();
        assert_eq!((kept.events.len(), kept.assessments.len(), kept.order.len()), (KEPT, KEPT, KEPT));
        assert!(!kept.events.contains_key(&(TenantId::new("acme").unwrap(), "9".to_owned())));
    }
}
