//! From an incident to the actions that playbooks ask for.

use cybervault_model::{
    EntityKind, EntityRole, Incident, IncidentEntity, IncidentStatus, Target, TargetKind, Timestamp,
};

use crate::{
    Candidate, IncidentMatch, Playbooks, Step,
    select::{Compiled, MAX_TITLE_CHARS, any_or_empty, is_below},
};

/// To how many of an incident's entities one step is done.
const MAX_TARGETS: usize = 8;

impl Playbooks {
    /// What they ask for because of `incident`, whose record's time is `at`. For a count or a person's word alone, and for what people
    /// have closed, they ask for nothing. What they have asked for of an incident before has the same id again, and is not done twice.
    pub fn select_for_incident(&self, incident: &Incident, at: Timestamp) -> Vec<Candidate> {
        if !incident.is_news() || incident.merged_into.is_some() || incident.status == IncidentStatus::Closed {
            return Vec::new();
        }
        self.playbooks
            .iter()
            .filter(|compiled| compiled.applies_to_incident(incident))
            .flat_map(|compiled| compiled.candidates_of_incident(incident, at))
            .collect()
    }
}

impl Compiled {
    fn applies_to_incident(&self, incident: &Incident) -> bool {
        let Some(IncidentMatch { min_severity, tactics_at_least, techniques, entities_at_least }) =
            &self.playbook.when.incident
        else {
            return false;
        };
        let at_least = |count: usize, least: &Option<u32>| least.is_none_or(|least| count as u64 >= u64::from(least));
        let counts =
            |entity: &&IncidentEntity| entity.joins && matches!(entity.kind, EntityKind::Host | EntityKind::User);
        min_severity.is_none_or(|min| incident.severity >= min)
            && self.is_for(incident.tenant_id.as_str())
            && at_least(incident.tactics.len(), tactics_at_least)
            && at_least(incident.entities.iter().filter(counts).count(), entities_at_least)
            && any_or_empty(techniques, |technique| {
                incident.mitre_attack.iter().any(|found| is_below(found, technique))
            })
    }

    fn candidates_of_incident(&self, incident: &Incident, at: Timestamp) -> impl Iterator<Item = Candidate> {
        let playbook = &self.playbook;
        let latest = incident.gained.last().or_else(|| incident.timeline.last().map(|entry| &entry.assessment_id));
        let assessment_id = latest.cloned().unwrap_or_default();
        let found: String = incident.title.chars().take(MAX_TITLE_CHARS).collect();
        (0..).zip(&playbook.actions).flat_map(move |(step, action)| {
            let (assessment_id, found) = (assessment_id.clone(), found.clone());
            targets_of(*action, incident).into_iter().map(move |target| Candidate {
                tenant_id: incident.tenant_id.clone(),
                assessment_id: assessment_id.clone(),
                incident_id: Some(incident.incident_id.clone()),
                severity: incident.severity,
                playbook_id: playbook.id.clone(),
                step,
                kind: action.kind,
                never_touch: self.untouchable.forbids(action.kind, &target).map(str::to_owned),
                target,
                reason: format!("{}: {found}, severity {}", playbook.title, incident.severity.as_str()),
                mode: playbook.mode,
                cap_per_hour: playbook.cap.per_hour,
                cool_down: playbook.cool_down,
                expires_after: playbook.expires_after,
                proposed_at: at,
            })
        })
    }
}

/// What `step` is done to.
fn targets_of(step: Step, incident: &Incident) -> Vec<Target> {
    let target = |value: &str| Target { kind: step.target, value: value.to_owned(), host: None };
    if step.target == TargetKind::Tenant {
        return vec![target(incident.tenant_id.as_str())];
    }
    let recommended = incident.recommended_actions.iter().filter(|action| action.kind == step.kind);
    let recommended = recommended.map(|action| action.target.clone()).filter(|known| known.kind == step.target);
    let is_meant = |entity: &&IncidentEntity| match step.target {
        TargetKind::Host => {
            entity.kind == EntityKind::Host && entity.joins && entity.roles.contains(&EntityRole::Affected)
        }
        TargetKind::User => entity.kind == EntityKind::User && entity.joins,
        // Which of its addresses are bad, and on which host a process or file is, is known where these are recommended alone.
        _ => false,
    };
    let entities = incident.entities.iter().filter(is_meant).map(|entity| target(&entity.value));
    let mut targets: Vec<Target> = Vec::new();
    for target in recommended.chain(entities).filter(|target| step.kind.may_touch(target)) {
        if targets.len() < MAX_TARGETS && !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}
