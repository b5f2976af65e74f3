//! What an incident says of its findings.
//!
//! There is one operation, [`merge`]: a finding is added as an incident of one. So two incidents that become one say what one would
//! say that had gained all findings of both, whatever their order, as long as no bound is met.

use std::cmp::Ordering;

use cybervault_model::{
    Entity, EntityKind, Incident, IncidentEntity, IncidentRule, IncidentStatus, IncidentTactic, LeftOut, Score,
    TenantId, TimelineEntry, incident_id,
};

use crate::{
    Finding,
    everywhere::is_same,
    fold,
    settings::{MAX_ACTIONS, MAX_ATTACK_REFS, MAX_GAINED_NAMES, MAX_MERGED, MAX_RULES, MAX_WORDS, max_of_a_kind},
};

/// ATT&CK's tactics in the order of its matrix.
const MATRIX: [&str; 14] = [
    "TA0043", "TA0042", "TA0001", "TA0002", "TA0003", "TA0004", "TA0005", "TA0006", "TA0007", "TA0008", "TA0009",
    "TA0011", "TA0010", "TA0040",
];

fn place(tactic_id: &str) -> usize {
    MATRIX.iter().position(|known| *known == tactic_id).unwrap_or(MATRIX.len())
}

/// The incident that `finding` opens; of its entities, `telling` says which tell anything.
pub(crate) fn of_one(finding: &Finding, telling: &[bool]) -> Incident {
    let at = finding.occurred_at;
    let mut tactics: Vec<IncidentTactic> = Vec::new();
    for found in finding.attack.iter().filter(|found| !found.tactic_id.is_empty()) {
        if !tactics.iter().any(|known| known.tactic_id == found.tactic_id) {
            let (tactic_id, tactic) = (found.tactic_id.clone(), found.tactic.clone());
            tactics.push(IncidentTactic { tactic_id, tactic, first_at: at });
        }
    }
    tactics.sort_by_key(|tactic| place(&tactic.tactic_id));
    let entity = |(found, joins): (&crate::FoundEntity, &bool)| IncidentEntity {
        kind: found.entity.kind,
        value: found.entity.value.clone(),
        roles: found.roles.clone(),
        joins: *joins,
        findings: 1,
        first_at: at,
        last_at: at,
    };
    let rule = |found: &crate::FoundRule| IncidentRule {
        kind: found.kind,
        id: found.id.clone(),
        title: found.title.clone(),
        level: found.level,
        weight: found.weight,
        findings: 1,
        first_at: at,
        last_at: at,
    };
    let entry = TimelineEntry {
        assessment_id: finding.assessment_id.clone(),
        title: finding.title.clone(),
        severity: finding.severity,
        rules: finding.rules.iter().map(|rule| rule.id.clone()).collect(),
        tactics: tactics.iter().map(|tactic| tactic.tactic_id.clone()).collect(),
        entities: fold::ordered(finding.entities.iter().map(|found| found.entity.clone())),
        further_entities: 0,
        findings: 1,
        first_at: at,
        last_at: at,
    };
    let mut incident = Incident {
        incident_id: incident_id(finding.tenant_id.as_str(), &finding.assessment_id),
        severity: finding.severity,
        findings: 1,
        first_at: at,
        last_at: at,
        opened_at: finding.at,
        updated_at: finding.at,
        tactics,
        mitre_attack: finding.attack.clone(),
        entities: Vec::new(),
        timeline: vec![entry],
        rules: finding.rules.iter().map(rule).collect(),
        recommended_actions: finding.actions.clone(),
        gained: vec![finding.assessment_id.clone()],
        ..empty(&finding.tenant_id)
    };
    for entity in finding.entities.iter().zip(telling).map(entity) {
        add_entity(&mut incident.entities, entity);
    }
    put_in_order(&mut incident);
    incident
}

fn empty(tenant_id: &TenantId) -> Incident {
    Incident {
        incident_id: String::new(),
        tenant_id: tenant_id.clone(),
        revision: 0,
        changes: Vec::new(),
        title: String::new(),
        status: IncidentStatus::Open,
        verdict: None,
        assignee: None,
        severity: Default::default(),
        risk_score: Score::default(),
        findings: 0,
        first_at: Default::default(),
        last_at: Default::default(),
        opened_at: Default::default(),
        updated_at: Default::default(),
        tactics: Vec::new(),
        mitre_attack: Vec::new(),
        entities: Vec::new(),
        timeline: Vec::new(),
        rules: Vec::new(),
        recommended_actions: Vec::new(),
        decisions: Vec::new(),
        gained: Vec::new(),
        merged: Vec::new(),
        merged_into: None,
        left_out: LeftOut::default(),
    }
}

/// Puts into `incident` all that `other` says; id, telling and people's words on where it stands stay its own.
pub(crate) fn merge(incident: &mut Incident, other: Incident, max_timeline: usize) {
    incident.findings = incident.findings.saturating_add(other.findings);
    incident.severity = incident.severity.max(other.severity);
    incident.first_at = incident.first_at.min(other.first_at);
    incident.last_at = incident.last_at.max(other.last_at);
    incident.updated_at = incident.updated_at.max(other.updated_at);
    for tactic in other.tactics {
        match incident.tactics.iter_mut().find(|known| known.tactic_id == tactic.tactic_id) {
            Some(known) => known.first_at = known.first_at.min(tactic.first_at),
            None => incident.tactics.push(tactic),
        }
    }
    for found in other.mitre_attack {
        if incident.mitre_attack.len() < MAX_ATTACK_REFS && !incident.mitre_attack.contains(&found) {
            incident.mitre_attack.push(found);
        }
    }
    for entity in other.entities {
        let beyond = add_entity(&mut incident.entities, entity);
        add(&mut incident.left_out.entities, beyond);
    }
    for rule in other.rules {
        let beyond = add_rule(&mut incident.rules, rule);
        add(&mut incident.left_out.rules, beyond);
    }
    for action in other.recommended_actions {
        let is_known =
            |known: &cybervault_model::RecommendedAction| (known.kind, &known.target) == (action.kind, &action.target);
        if incident.recommended_actions.len() < MAX_ACTIONS && !incident.recommended_actions.iter().any(is_known) {
            incident.recommended_actions.push(action);
        }
    }
    for word in other.decisions {
        if !incident.decisions.iter().any(|known| known.decision_id == word.decision_id) {
            incident.decisions.push(word);
        }
    }
    incident.decisions.sort_by(|a, b| (a.at, &a.decision_id).cmp(&(b.at, &b.decision_id)));
    while incident.decisions.len() > MAX_WORDS {
        incident.decisions.remove(0);
        add(&mut incident.left_out.decisions, 1);
    }
    incident.gained.extend(other.gained);
    let unnamed = incident.gained.len().saturating_sub(MAX_GAINED_NAMES);
    incident.gained.truncate(MAX_GAINED_NAMES);
    add(&mut incident.left_out.gained, unnamed as u64);
    incident.merged.extend(other.merged);
    incident.merged.truncate(MAX_MERGED);
    let LeftOut { entities, rules, timeline, decisions, gained } = other.left_out;
    let left_out = &mut incident.left_out;
    for (of, count) in [
        (&mut left_out.entities, entities),
        (&mut left_out.rules, rules),
        (&mut left_out.timeline, timeline),
        (&mut left_out.decisions, decisions),
        (&mut left_out.gained, gained),
    ] {
        add(of, count);
    }
    for entry in other.timeline {
        let beyond = fold::add(&mut incident.timeline, entry, max_timeline);
        add(&mut incident.left_out.timeline, beyond);
    }
    put_in_order(incident);
}

fn add(count: &mut u64, by: u64) {
    *count = count.saturating_add(by);
}

/// Adds an entity, and returns how many times one of its findings has no room.
fn add_entity(entities: &mut Vec<IncidentEntity>, entity: IncidentEntity) -> u64 {
    let named = |entity: &IncidentEntity| Entity { kind: entity.kind, value: entity.value.clone() };
    let this = named(&entity);
    if let Some(known) = entities.iter_mut().find(|known| known.kind == this.kind && is_same(&named(known), &this)) {
        // Of a host's short and its fully qualified name, the latter says more.
        if (entity.value.len(), &known.value) > (known.value.len(), &entity.value) {
            known.value = entity.value;
        }
        known.roles.extend(entity.roles);
        known.roles.sort();
        known.roles.dedup();
        known.joins |= entity.joins;
        add(&mut known.findings, entity.findings);
        known.first_at = known.first_at.min(entity.first_at);
        known.last_at = known.last_at.max(entity.last_at);
        return 0;
    }
    let of_kind = entities.iter().filter(|known| known.kind == entity.kind).count();
    if of_kind >= max_of_a_kind(entity.kind) {
        return entity.findings;
    }
    entities.push(entity);
    0
}

/// Adds a rule; where there are too many, the one of the lowest level has no room. Returns its findings.
fn add_rule(rules: &mut Vec<IncidentRule>, rule: IncidentRule) -> u64 {
    if let Some(known) = rules.iter_mut().find(|known| known.id == rule.id) {
        add(&mut known.findings, rule.findings);
        // The same rule may have been another version.
        if (rule.first_at, &rule.title) < (known.first_at, &known.title) {
            known.title = rule.title;
            known.kind = rule.kind;
        }
        known.level = known.level.max(rule.level);
        known.weight = known.weight.max(rule.weight);
        known.first_at = known.first_at.min(rule.first_at);
        known.last_at = known.last_at.max(rule.last_at);
        return 0;
    }
    rules.push(rule);
    if rules.len() <= MAX_RULES {
        return 0;
    }
    let lowest = (0..rules.len()).min_by(|&a, &b| {
        let (a, b) = (&rules[a], &rules[b]);
        // Of these, the one that came last.
        a.level.cmp(&b.level).then(b.first_at.cmp(&a.first_at)).then(b.id.cmp(&a.id))
    });
    lowest.map_or(0, |at| rules.remove(at).findings)
}

fn put_in_order(incident: &mut Incident) {
    incident.tactics.sort_by_key(|tactic| (tactic.first_at, place(&tactic.tactic_id)));
    incident.mitre_attack.sort_by(|a, b| {
        let key = |found: &cybervault_model::AttackRef| place(&found.tactic_id);
        key(a).cmp(&key(b)).then_with(|| (&a.tactic_id, &a.technique_id).cmp(&(&b.tactic_id, &b.technique_id)))
    });
    incident.entities.sort_by(|a, b| (a.first_at, a.kind, &a.value).cmp(&(b.first_at, b.kind, &b.value)));
    incident.rules.sort_by(|a, b| (a.first_at, &a.id).cmp(&(b.first_at, &b.id)));
    incident.recommended_actions.sort_by(|a, b| (a.kind, &a.target).cmp(&(b.kind, &b.target)));
    incident.risk_score = risk(&incident.rules);
}

/// The noisy-or of the rules' weights, 100·(1-∏(1-wᵢ)), the heaviest first.
fn risk(rules: &[IncidentRule]) -> Score {
    let mut weights: Vec<f64> = rules.iter().map(|rule| rule.weight).collect();
    weights.sort_by(|a, b| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    Score::from_share(1.0 - weights.into_iter().fold(1.0, |doubt, weight| doubt * (1.0 - weight)))
}

/// Whether entities of this kind are news by themselves.
pub(crate) const fn is_news(kind: EntityKind) -> bool {
    matches!(kind, EntityKind::Host | EntityKind::User)
}
