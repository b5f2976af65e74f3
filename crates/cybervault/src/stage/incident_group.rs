//! Findings and people's words to incidents.

use std::{collections::HashMap, sync::Arc};

use cybervault_incident::{Added, Due, Finding, Grouping, Outcome, Store};
use cybervault_model::{Encoding, Incident, IncidentDecision, Timestamp};
use cybervault_stream::{Failure, Outbox, Poison, Record, Stage, State};
use foldhash::fast::RandomState;
use metrics::counter;
use serde::de::DeserializeOwned;

use super::{
    KIND_HEADER,
    incident_select::{Kind, pass_on},
    meters::Tally,
    push, sent_at,
};

/// The second half of the incidents stage. Its state is each tenant's incidents.
#[derive(Debug)]
pub(crate) struct IncidentGroup {
    grouping: Grouping,
    candidates: Arc<str>,
    incidents: Arc<str>,
    encoding: Encoding,
    meters: Meters,
}

/// The stage's counts; all labels are of fixed sets.
#[derive(Debug)]
struct Meters {
    findings: HashMap<&'static str, Tally, RandomState>,
    told: HashMap<&'static str, Tally, RandomState>,
    decisions: HashMap<&'static str, Tally, RandomState>,
    merged: Tally,
    dropped: Tally,
}

impl Meters {
    fn new() -> Self {
        Self {
            findings: HashMap::default(),
            told: HashMap::default(),
            decisions: HashMap::default(),
            merged: Tally::new(counter!("cybervault_incidents_merged_total")),
            dropped: Tally::new(counter!("cybervault_incidents_dropped_total")),
        }
    }

    fn finding(&mut self, outcome: Outcome) {
        let name = match outcome.added {
            Added::Opened => "opened",
            Added::News => "news",
            Added::Counted => "counted",
        };
        let tally = || Tally::new(counter!("cybervault_incident_findings_total", "outcome" => name));
        self.findings.entry(name).or_insert_with(tally).add(1);
        self.merged.add(outcome.merged.into());
        self.dropped.add(outcome.dropped.into());
    }

    fn told(&mut self, incident: &Incident) {
        for change in &incident.changes {
            let name = change.as_str();
            let tally = || Tally::new(counter!("cybervault_incident_changes_total", "change" => name));
            self.told.entry(name).or_insert_with(tally).add(1);
        }
    }

    fn decision(&mut self, outcome: &'static str) {
        let tally = || Tally::new(counter!("cybervault_incident_decisions_total", "outcome" => outcome));
        self.decisions.entry(outcome).or_insert_with(tally).add(1);
    }
}

impl IncidentGroup {
    /// A stage that reads `candidates`, writes its own timers there, and incidents to `incidents`.
    pub(crate) fn new(grouping: Grouping, candidates: Arc<str>, incidents: Arc<str>, encoding: Encoding) -> Self {
        Self { grouping, candidates, incidents, encoding, meters: Meters::new() }
    }
}

impl Stage for IncidentGroup {
    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let kind = record.headers.get(KIND_HEADER).and_then(Kind::from_header);
        let (store, at) = (&mut Ledger(state), sent_at(record));
        let Self { grouping, meters, incidents, encoding, .. } = self;
        let mut written = Ok(());
        let mut tell = |incident: &Incident| {
            meters.told(incident);
            let key = incident.tenant_id.as_str();
            if written.is_ok() {
                written = push(out, encoding, (incidents, key.as_bytes()), key, incident);
            }
        };
        match kind {
            Some(Kind::Finding) => {
                let finding: Finding = read(record)?;
                let outcome = grouping.find(&finding, store, &mut tell);
                meters.finding(outcome);
                if outcome.dropped > 0 {
                    tracing::warn!(tenant = %finding.tenant_id, "too many incidents at a time: the quietest takes no more findings");
                }
            }
            Some(Kind::Decision) => {
                let decision: IncidentDecision = read(record)?;
                let outcome = grouping.decide(&decision, at, store, &mut tell);
                meters.decision(outcome.as_str());
            }
            Some(Kind::Due) => grouping.look(&read::<Due>(record)?, at, store, &mut tell),
            None => {
                let message = "header `kind` is neither `finding`, `decision` nor `due`";
                return Err(Poison::new("wrong_schema", message).into());
            }
        }
        written
    }

    /// What falls due goes on the stage's own topic first: so all that is told follows from the order of what lies there.
    fn tick(&mut self, _partition: i32, now: Timestamp, state: &mut State, out: &mut Outbox) {
        for due in Grouping::timers(now, &mut Ledger(state)) {
            if let Err(failure) = pass_on(&self.candidates, Kind::Due, (&due.tenant_id, now.as_millis()), &due, out) {
                tracing::error!(?failure, "a timer can't be written");
            }
        }
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        let Meters { findings, told, decisions, merged, dropped } = &mut self.meters;
        let counts = findings.values_mut().chain(told.values_mut()).chain(decisions.values_mut());
        counts.chain([merged, dropped]).for_each(|tally| tally.hand_over(out));
    }
}

fn read<T: DeserializeOwned>(record: &Record<'_>) -> Result<T, Failure> {
    serde_json::from_slice(record.value).map_err(|error| Poison::new("wrong_schema", error.to_string()).into())
}

/// The partition's state as the incidents' store.
struct Ledger<'s>(&'s mut State);

impl Store for Ledger<'_> {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>) {
        self.0.put(key, value, expires_at);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.expired(now, limit)
    }
}
