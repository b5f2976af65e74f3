//! What an incident needs of an assessment.

use cybervault_model::{
    Assessment, AttackRef, Contribution, ContributionKind, Entity, EntityKind, EntityRole, Level, RecommendedAction,
    Severity, TenantId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// The longest texts that are kept.
const MAX_TITLE_CHARS: usize = 200;
const MAX_ID_BYTES: usize = 256;
const MAX_NAME_BYTES: usize = 512;
/// How much of an assessment is looked at; what this version writes has no more.
const MAX_RULES: usize = 64;
const MAX_ENTITIES: usize = 32;
const MAX_ATTACK_REFS: usize = 64;
const MAX_ACTIONS: usize = 16;
/// How far a finding may be ahead of its record's time: whoever sends events chooses their times.
const MAX_AHEAD_MS: i64 = 60_000;

/// A rule, indicator or correlation that was true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundRule {
    /// What it is.
    pub kind: ContributionKind,
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: Level,
    /// Its share of the risk, 0 to 1.
    pub weight: f64,
}

/// An entity, with the parts that this finding gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundEntity {
    /// It.
    #[serde(flatten)]
    pub entity: Entity,
    /// Its parts, in order.
    pub roles: Vec<EntityRole>,
}

/// What an incident needs of an assessment. It travels on an internal topic keyed by tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Whose.
    pub tenant_id: TenantId,
    /// Of which assessment.
    pub assessment_id: String,
    /// The assessment's record time.
    pub at: Timestamp,
    /// When it happened; never much later than `at`.
    pub occurred_at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// The heaviest rule's title.
    pub title: String,
    /// What was true, by id, each once.
    pub rules: Vec<FoundRule>,
    /// What ATT&CK calls it, in the order of the matrix.
    pub attack: Vec<AttackRef>,
    /// Who and what took part.
    pub entities: Vec<FoundEntity>,
    /// What would contain it.
    pub actions: Vec<RecommendedAction>,
}

impl Finding {
    /// Of an assessment whose record's time is `at`. None where nothing was found.
    pub fn of(assessment: &Assessment, at: Timestamp) -> Option<Self> {
        let title = clean(&assessment.contributions.first()?.title, MAX_TITLE_CHARS);
        let found = assessment.contributions.iter().take(MAX_RULES);
        let mut rules: Vec<FoundRule> = found.map(rule).collect();
        rules.sort_by(|a, b| (&a.id, a.kind as u8).cmp(&(&b.id, b.kind as u8)));
        rules.dedup_by(|a, b| a.id == b.id);
        let fits = |entity: &&Entity| !entity.value.is_empty() && entity.value.len() <= MAX_NAME_BYTES;
        let entities = assessment.entities.iter().filter(fits).take(MAX_ENTITIES);
        let entities = entities
            .map(|entity| FoundEntity { entity: entity.clone(), roles: roles(entity, &assessment.contributions) });
        Some(Self {
            tenant_id: assessment.tenant_id.clone(),
            assessment_id: cut(&assessment.assessment_id, MAX_ID_BYTES).to_owned(),
            at,
            occurred_at: assessment.occurred_at.unwrap_or(at).min(at.plus_millis(MAX_AHEAD_MS)),
            severity: assessment.severity,
            title,
            rules,
            attack: assessment.mitre_attack.iter().take(MAX_ATTACK_REFS).cloned().collect(),
            entities: entities.collect(),
            actions: assessment.recommended_actions.iter().take(MAX_ACTIONS).cloned().collect(),
        })
    }
}

fn rule(contribution: &Contribution) -> FoundRule {
    let Contribution { kind, id, title, level, weight, .. } = contribution;
    // A number that is none would be no share of anything.
    let weight = if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
    let id = cut(id, MAX_ID_BYTES).to_owned();
    FoundRule { kind: *kind, id, title: clean(title, MAX_TITLE_CHARS), level: *level, weight }
}

/// The parts of an entity: what kind it is, and what the fields are called in which rules have found it.
fn roles(entity: &Entity, contributions: &[Contribution]) -> Vec<EntityRole> {
    let mut roles = Vec::new();
    for contribution in contributions {
        for evidence in contribution.evidence.iter().filter(|e| e.value.eq_ignore_ascii_case(&entity.value)) {
            roles.extend(role_of_field(&evidence.field));
            if contribution.kind == ContributionKind::Indicator {
                roles.push(EntityRole::Indicator);
            }
        }
    }
    let usual = match entity.kind {
        EntityKind::Host => EntityRole::Affected,
        EntityKind::User => EntityRole::Actor,
        EntityKind::Ip | EntityKind::Domain => EntityRole::Target,
        EntityKind::Process => EntityRole::Tool,
        EntityKind::File | EntityKind::Hash => EntityRole::Artifact,
    };
    if !roles.iter().any(|role| *role != EntityRole::Indicator) {
        roles.push(usual);
    }
    roles.sort();
    roles.dedup();
    roles
}

/// What the name of a field says of the part of what is in it.
fn role_of_field(field: &str) -> Option<EntityRole> {
    const PARTS: [(&str, EntityRole); 6] = [
        ("source", EntityRole::Source),
        ("src", EntityRole::Source),
        ("target", EntityRole::Target),
        ("dest", EntityRole::Target),
        ("dst", EntityRole::Target),
        ("subject", EntityRole::Actor),
    ];
    let field = field.rsplit('/').next().unwrap_or(field);
    let begins = |part: &str| field.get(..part.len()).is_some_and(|head| head.eq_ignore_ascii_case(part));
    // A file that was written is no target of anyone.
    if begins("targetfilename") || begins("targetobject") {
        return None;
    }
    PARTS.iter().find(|(part, _)| begins(part)).map(|(_, role)| *role)
}

fn cut(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

/// One line of at most so many characters.
pub(crate) fn clean(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}
