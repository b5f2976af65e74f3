//! From an assessment to the actions that playbooks ask for.

use std::collections::BTreeMap;

use cybervault_model::{
    ActionKind, ActionMode, Assessment, AttackRef, EntityKind, Severity, Target, TargetKind, TenantId, Timestamp,
    derived_id,
};
use serde::{Deserialize, Serialize};

use crate::{EntityMatch, Glob, Period, Playbook, PlaybookError, Step, TenantMatch, never_touch::Untouchable};

/// How much of a finding's title goes into an action's reason.
pub(crate) const MAX_TITLE_CHARS: usize = 200;

/// An action that a playbook asks for, with all that the guard has to know about the playbook.
///
/// It travels on an internal topic keyed by tenant, so that one guard sees all of a tenant's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Whose.
    pub tenant_id: TenantId,
    /// Because of which assessment; where it is because of an incident, of the latest one that it gained.
    pub assessment_id: String,
    /// Because of which incident, where it is because of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// How bad that is.
    pub severity: Severity,
    /// By which playbook.
    pub playbook_id: String,
    /// Which of the playbook's actions, from 0.
    pub step: u32,
    /// What is done.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// To what.
    pub target: Target,
    /// Why, for people.
    pub reason: String,
    /// How far it may go by itself.
    pub mode: ActionMode,
    /// How many such go ahead by themselves in an hour.
    pub cap_per_hour: u32,
    /// For how long the same is not done again.
    pub cool_down: Period,
    /// For how long it waits for a decision.
    pub expires_after: Period,
    /// The entry of the playbook's never-touch list that forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_touch: Option<String>,
    /// The assessment's or incident's record time.
    pub proposed_at: Timestamp,
}

impl Candidate {
    /// The id of the action that it becomes: the same for the same playbook, step and assessment, or incident and target.
    pub fn action_id(&self) -> String {
        let step = self.step.to_be_bytes();
        if let Some(incident_id) = &self.incident_id {
            let host = self.target.host.as_deref().unwrap_or_default();
            let parts = [incident_id, "incident", &self.target.value, host].map(str::as_bytes);
            return derived_id("ra", &[&[self.playbook_id.as_bytes(), &step][..], &parts].concat());
        }
        derived_id("ra", &[self.playbook_id.as_bytes(), &step, self.assessment_id.as_bytes()])
    }

    /// What an executor remembers so as not to do the same twice.
    pub fn idempotency_key(&self) -> String {
        let host = self.target.host.as_deref().unwrap_or_default();
        let parts = [&self.action_id(), self.kind.as_str(), &self.target.value, host];
        derived_id("ik", &parts.map(str::as_bytes))
    }
}

/// All playbooks in force.
#[derive(Debug, Default)]
pub struct Playbooks {
    pub(crate) playbooks: Vec<Compiled>,
}

#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) playbook: Playbook,
    entities: Vec<(EntityKind, Glob)>,
    tactics: Vec<String>,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    pub(crate) untouchable: Untouchable,
}

impl Playbooks {
    /// Compiles `playbooks`; those that are not enabled are checked and left out.
    ///
    /// # Errors
    /// When one has a value out of range, or two the same id.
    pub fn compile(playbooks: Vec<Playbook>) -> Result<Self, PlaybookError> {
        // In the order of ids, so that the order of files changes nothing.
        let mut compiled = BTreeMap::new();
        for playbook in playbooks {
            let playbook = Compiled::new(playbook)?;
            if let Some(twice) = compiled.insert(playbook.playbook.id.clone(), playbook) {
                return Err(PlaybookError::Duplicate(twice.playbook.id));
            }
        }
        Ok(Self { playbooks: compiled.into_values().filter(|compiled| compiled.playbook.enabled).collect() })
    }

    /// How many are in force.
    pub fn len(&self) -> usize {
        self.playbooks.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.playbooks.is_empty()
    }

    /// Those in force, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Playbook> {
        self.playbooks.iter().map(|compiled| &compiled.playbook)
    }

    /// What they ask for because of `assessment`, whose record's time is `at`.
    pub fn select(&self, assessment: &Assessment, at: Timestamp) -> Vec<Candidate> {
        self.playbooks
            .iter()
            .filter(|compiled| compiled.playbook.when.incident.is_none() && compiled.applies_to(assessment))
            .flat_map(|compiled| compiled.candidates(assessment, at))
            .collect()
    }
}

impl Compiled {
    fn new(playbook: Playbook) -> Result<Self, PlaybookError> {
        let untouchable = playbook.check()?;
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let entity = |EntityMatch { kind, glob }: &EntityMatch| (*kind, Glob::new(glob));
        let TenantMatch { include, exclude } = &playbook.when.tenants;
        Ok(Self {
            entities: playbook.when.entities.iter().map(entity).collect(),
            tactics: playbook.when.tactics.iter().map(|tactic| tactic_name(tactic)).collect(),
            include: globs(include),
            exclude: globs(exclude),
            untouchable,
            playbook,
        })
    }

    fn applies_to(&self, assessment: &Assessment) -> bool {
        let when = &self.playbook.when;
        let attack = &assessment.mitre_attack;
        when.min_severity.is_none_or(|min| assessment.severity >= min)
            && self.is_for(assessment.tenant_id.as_str())
            && any_or_empty(&when.techniques, |technique| attack.iter().any(|found| is_below(found, technique)))
            && any_or_empty(&self.tactics, |tactic| attack.iter().any(|found| is_tactic(found, tactic)))
            && any_or_empty(&when.rules, |rule| assessment.contributions.iter().any(|found| found.id == *rule))
            && any_or_empty(&self.entities, |(kind, glob)| {
                assessment.entities.iter().any(|found| found.kind == *kind && glob.matches(&found.value))
            })
    }

    /// Whether it is for this tenant.
    pub(crate) fn is_for(&self, tenant: &str) -> bool {
        any_or_empty(&self.include, |glob| glob.matches(tenant))
            && !self.exclude.iter().any(|glob| glob.matches(tenant))
    }

    fn candidates(&self, assessment: &Assessment, at: Timestamp) -> impl Iterator<Item = Candidate> {
        let playbook = &self.playbook;
        (0..).zip(&playbook.actions).filter_map(move |(step, action)| {
            let target = target_of(*action, assessment)?;
            let found = assessment.contributions.first().map_or("", |contribution| contribution.title.as_str());
            let found: String = found.chars().take(MAX_TITLE_CHARS).collect();
            Some(Candidate {
                tenant_id: assessment.tenant_id.clone(),
                assessment_id: assessment.assessment_id.clone(),
                incident_id: None,
                severity: assessment.severity,
                playbook_id: playbook.id.clone(),
                step,
                kind: action.kind,
                never_touch: self.untouchable.forbids(action.kind, &target).map(str::to_owned),
                target,
                reason: format!("{}: {found}, severity {}", playbook.title, assessment.severity.as_str()),
                mode: playbook.mode,
                cap_per_hour: playbook.cap.per_hour,
                cool_down: playbook.cool_down,
                expires_after: playbook.expires_after,
                proposed_at: at,
            })
        })
    }
}

pub(crate) fn any_or_empty<T>(list: &[T], matches: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(matches)
}

/// Whether `found` is `technique` or one of its sub-techniques.
pub(crate) fn is_below(found: &AttackRef, technique: &str) -> bool {
    let id = found.technique_id.as_bytes();
    id.split_at_checked(technique.len()).is_some_and(|(head, tail)| {
        head.eq_ignore_ascii_case(technique.as_bytes()) && matches!(tail.first(), None | Some(b'.'))
    })
}

fn is_tactic(found: &AttackRef, tactic: &str) -> bool {
    tactic_name(&found.tactic_id) == tactic || tactic_name(&found.tactic) == tactic
}

/// A tactic's id or name in the one form in which they are compared: `lateral-movement`.
fn tactic_name(text: &str) -> String {
    text.to_ascii_lowercase().replace([' ', '_'], "-")
}

/// What `step` is done to.
fn target_of(step: Step, assessment: &Assessment) -> Option<Target> {
    let host = || assessment.entities.iter().find(|entity| entity.kind == EntityKind::Host).map(|e| e.value.clone());
    let entity_kind = match step.target {
        TargetKind::Tenant => {
            return Some(Target { kind: step.target, value: assessment.tenant_id.to_string(), host: None });
        }
        TargetKind::Host => EntityKind::Host,
        TargetKind::Ip => EntityKind::Ip,
        TargetKind::Process => EntityKind::Process,
        TargetKind::File => EntityKind::File,
        TargetKind::User => EntityKind::User,
    };
    let recommended = assessment
        .recommended_actions
        .iter()
        .filter(|action| action.kind == step.kind && action.target.kind == step.target)
        .map(|action| action.target.clone());
    let entities = assessment.entities.iter().filter(|entity| entity.kind == entity_kind).map(|entity| Target {
        kind: step.target,
        value: entity.value.clone(),
        host: if matches!(step.target, TargetKind::Process | TargetKind::File) { host() } else { None },
    });
    recommended.chain(entities).find(|target| step.kind.may_touch(target))
}
