//! A store in memory, and findings in a few words.

use std::collections::BTreeMap;

use cybervault_incident::{Decided, Due, Finding, FoundEntity, FoundRule, Grouping, Outcome, Settings, Store};
use cybervault_model::{
    AttackRef, ContributionKind, Entity, EntityKind, EntityRole, Incident, IncidentDecision, Severity, TenantId,
    Timestamp,
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;

#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>);

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(|(value, _)| &value[..])
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>) {
        self.0.insert(key.to_vec(), (value.to_vec(), expires_at));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let due = |(_, (_, at)): &(&Vec<u8>, &(Vec<u8>, Option<Timestamp>))| at.is_some_and(|at| at <= now);
        let keys: Vec<Vec<u8>> = self.0.iter().filter(due).map(|(key, _)| key.clone()).take(limit).collect();
        keys.into_iter().map(|key| (key.clone(), self.0.remove(&key).unwrap().0)).collect()
    }
}

impl Memory {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys of a kind.
    pub(crate) fn of_kind(&self, kind: u8) -> usize {
        self.0.keys().filter(|key| key[key.iter().position(|byte| *byte == 0).unwrap() + 1] == kind).count()
    }
}

/// A grouping at work, and all that it told.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) grouping: Grouping,
    pub(crate) store: Memory,
    pub(crate) told: Vec<Incident>,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { grouping: Grouping::new(settings).unwrap(), store: Memory::default(), told: Vec::new() }
    }

    pub(crate) fn find(&mut self, finding: &Finding) -> Outcome {
        let told = &mut self.told;
        self.grouping.find(finding, &mut self.store, &mut |incident| told.push(incident.clone()))
    }

    pub(crate) fn decide(&mut self, decision: &IncidentDecision, at: i64) -> Decided {
        let told = &mut self.told;
        let at = Timestamp::from_millis(at);
        self.grouping.decide(decision, at, &mut self.store, &mut |incident| told.push(incident.clone()))
    }

    /// Has all timers run out that do by `at`.
    pub(crate) fn wait_until(&mut self, at: i64) {
        let at = Timestamp::from_millis(at);
        for due in Grouping::timers(at, &mut self.store) {
            self.look(&due, at);
        }
    }

    pub(crate) fn look(&mut self, due: &Due, at: Timestamp) {
        let told = &mut self.told;
        self.grouping.look(due, at, &mut self.store, &mut |incident| told.push(incident.clone()));
    }

    /// Each incident as it was told last, those that are a part of another left out.
    pub(crate) fn last(&self) -> Vec<Incident> {
        let mut last: BTreeMap<&str, &Incident> = BTreeMap::new();
        self.told.iter().for_each(|incident| _ = last.insert(&incident.incident_id, incident));
        last.into_values().filter(|incident| incident.merged_into.is_none()).cloned().collect()
    }
}

/// Settings with which every finding is told.
pub(crate) fn telling() -> Settings {
    Settings { min_severity: Severity::Informational, ..Settings::default() }
}

pub(crate) const TACTICS: [(&str, &str); 6] = [
    ("TA0001", "Initial Access"),
    ("TA0002", "Execution"),
    ("TA0006", "Credential Access"),
    ("TA0008", "Lateral Movement"),
    ("TA0011", "Command and Control"),
    ("TA0040", "Impact"),
];

/// `rule@severity tactic host:a user:b …`, at a time in milliseconds. The id says all of it.
pub(crate) fn finding(at: i64, text: &str) -> Finding {
    let mut words = text.split(' ');
    let (rule, severity) = words.next().unwrap().split_once('@').unwrap();
    let severity = Severity::ALL.into_iter().find(|known| known.as_str() == severity).unwrap();
    let tactic = words.next().unwrap();
    let attack = TACTICS.iter().filter(|(id, _)| *id == tactic).map(|(id, name)| AttackRef {
        tactic_id: (*id).into(),
        tactic: (*name).into(),
        technique_id: "T1".into(),
        technique: "One".into(),
    });
    let entities = words.map(|word| {
        let (kind, value) = word.split_once(':').unwrap();
        let kind = EntityKind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap();
        FoundEntity { entity: Entity { kind, value: value.to_owned() }, roles: vec![EntityRole::Affected] }
    });
    let weight = [0.05, 0.15, 0.4, 0.7, 0.9][severity as usize];
    Finding {
        tenant_id: TenantId::new("acme").unwrap(),
        assessment_id: format!("ta_{at}_{text}"),
        at: Timestamp::from_millis(at),
        occurred_at: Timestamp::from_millis(at),
        severity,
        title: format!("Rule {rule}"),
        rules: vec![FoundRule {
            kind: ContributionKind::Rule,
            id: rule.to_owned(),
            title: format!("Rule {rule}"),
            level: severity,
            weight,
        }],
        attack: attack.collect(),
        entities: entities.collect(),
        actions: Vec::new(),
    }
}
