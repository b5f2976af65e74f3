//! From hits to the assessment.

use std::borrow::Cow;

use cybervault_model::{
    Assessment, AttackRef, Contribution, ContributionKind, CorrelatedEvents, Entity, Evidence, Level, Score,
    TelemetryEvent, TenantId, Timestamp, assessment_id, derived_id,
};

use crate::{
    Attack, FieldValues, InvalidWeights, Weights,
    attack::PlacedRef,
    entities::{MAX_NAME, destination, entities},
    recommend::Finding,
};

/// How many contributions an assessment keeps, the heaviest ones. The score is made of these, so that it can be made again.
const MAX_CONTRIBUTIONS: usize = 64;
/// How much evidence one contribution keeps.
const MAX_EVIDENCE: usize = 16;
const MAX_EVIDENCE_CHARS: usize = 512;
/// How many tactics and techniques an assessment names.
const MAX_ATTACK_REFS: usize = 64;
/// How many destinations are looked at.
const MAX_DESTINATIONS: usize = 64;

/// Something that was found in an event.
#[derive(Clone, Debug)]
pub struct Hit<'a> {
    /// What kind of thing.
    pub kind: ContributionKind,
    /// The rule's, indicator's or correlation's id.
    pub id: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its level, by which it weighs.
    pub level: Level,
    /// What its tags say of ATT&CK.
    pub attack: &'a Attack,
    /// What in the event made it true.
    pub evidence: Vec<Evidence>,
}

/// A correlation that has become true.
#[derive(Debug)]
pub struct Correlated<'a> {
    /// What was found: the correlation, with the values that its events have in common as evidence.
    pub hit: Hit<'a>,
    /// The event that made it true.
    pub event_id: &'a str,
    /// The latest time among its events.
    pub occurred_at: Timestamp,
    /// What tells its group from all others.
    pub key: &'a [u8],
    /// Its events.
    pub events: CorrelatedEvents,
    /// Who and what took part in the event that made it true.
    pub about: About,
}

/// Who and what took part in an event, beside what was found in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// They.
    pub entities: Vec<Entity>,
    /// Where connections went to.
    pub destinations: Vec<String>,
}

/// Makes assessments. Holds the weights; remembers nothing of an event.
#[derive(Clone, Debug)]
pub struct Scorer {
    weights: Weights,
    /// Which of the fields says where connections went to.
    destination: usize,
}

/// The noisy-or of the contributions' weights, 100·(1-∏(1-wᵢ)), in their order.
pub fn score(contributions: &[Contribution]) -> Score {
    noisy_or(contributions.iter())
}

fn noisy_or<'a>(contributions: impl Iterator<Item = &'a Contribution>) -> Score {
    Score::from_share(1.0 - contributions.fold(1.0, |doubt, contribution| doubt * (1.0 - contribution.weight)))
}

impl Scorer {
    /// A scorer with these weights.
    ///
    /// # Errors
    /// When a weight is no share of 1, or the steps are out of order.
    pub fn new(weights: Weights) -> Result<Self, InvalidWeights> {
        weights.check()?;
        Ok(Self { weights, destination: destination() })
    }

    /// Assesses `event` of `tenant_id`, in which `hits` were found. `record_time` stands in where the event does not say
    /// when it happened.
    ///
    /// The order of `hits` changes nothing, and one that stands there twice counts once.
    pub fn assess(
        &self,
        tenant_id: &TenantId,
        event: &TelemetryEvent<'_>,
        record_time: Option<Timestamp>,
        hits: Vec<Hit<'_>>,
        fields: &FieldValues<'_>,
        rules_version: &str,
    ) -> Assessment {
        let event_id = event.event_id();
        // What was found counts for this content alone, whatever else comes with the same id.
        let content = event.sent_id.map(|_| event.content());
        let id = assessment_id(tenant_id.as_str(), &event_id, content.as_ref());
        let mut assessment = self.build(tenant_id, (id, event_id), hits, self.about(fields), rules_version);
        assessment.occurred_at = event.occurred_at().or(record_time);
        assessment.replaced_characters = Some(event.replaced_characters()).filter(|count| *count > 0);
        assessment
    }

    /// Who and what took part in the event that `fields` are of.
    pub fn about(&self, fields: &FieldValues<'_>) -> About {
        let destinations = fields(self.destination).into_iter().filter(|name| name.len() <= MAX_NAME);
        About {
            entities: entities(fields),
            destinations: destinations.take(MAX_DESTINATIONS).map(Cow::into_owned).collect(),
        }
    }

    /// Assesses a correlation that has become true. The same correlation of the same group, made true by
    /// the same event at the same time, always has the same id.
    pub fn assess_correlation(
        &self,
        tenant_id: &TenantId,
        correlated: Correlated<'_>,
        rules_version: &str,
    ) -> Assessment {
        let Correlated { hit, event_id, occurred_at, key, events, about } = correlated;
        let time = occurred_at.as_millis().to_be_bytes();
        let parts = [tenant_id.as_str().as_bytes(), b"correlation", hit.id.as_bytes(), key, event_id.as_bytes(), &time];
        let ids = (derived_id("ta", &parts), event_id.to_owned());
        let mut assessment = self.build(tenant_id, ids, vec![hit], about, rules_version);
        assessment.occurred_at = Some(occurred_at);
        assessment.correlated = Some(events);
        assessment
    }

    fn build(
        &self,
        tenant_id: &TenantId,
        (assessment_id, event_id): (String, String),
        hits: Vec<Hit<'_>>,
        About { entities, destinations }: About,
        rules_version: &str,
    ) -> Assessment {
        let found = self.contributions(hits);
        let mitre_attack = named_once(found.iter().map(|(_, attack)| *attack));
        let risk_score = noisy_or(found.iter().map(|(contribution, _)| contribution));
        let severity = self.weights.severity(risk_score);
        let finding = Finding {
            tenant_id: tenant_id.as_str(),
            severity,
            contributions: &found,
            entities: &entities,
            destinations: &destinations,
        };
        let recommended_actions = finding.recommend();
        Assessment {
            assessment_id,
            tenant_id: tenant_id.clone(),
            event_id,
            occurred_at: None,
            risk_score,
            severity,
            verdict: self.weights.verdict(severity),
            contributions: found.into_iter().map(|(contribution, _)| contribution).collect(),
            mitre_attack,
            entities,
            recommended_actions,
            rules_version: rules_version.to_owned(),
            replaced_characters: None,
            correlated: None,
        }
    }

    /// The hits as contributions, heaviest first, each once and with what ATT&CK calls it.
    fn contributions<'a>(&self, hits: Vec<Hit<'a>>) -> Vec<(Contribution, &'a Attack)> {
        let mut found: Vec<_> = hits.into_iter().map(|hit| (hit.attack, self.contribution(hit))).collect();
        found.sort_by(|(a_attack, a), (b_attack, b)| {
            // All that distinguishes two of them, so that those that compare equal are equal in every byte.
            b.weight
                .total_cmp(&a.weight)
                .then_with(|| (&a.id, a.kind as u8, &a.title).cmp(&(&b.id, b.kind as u8, &b.title)))
                .then_with(|| a_attack.0.iter().map(said).cmp(b_attack.0.iter().map(said)))
                .then_with(|| a.evidence.iter().map(words).cmp(b.evidence.iter().map(words)))
        });
        let mut kept: Vec<(Contribution, &Attack)> = Vec::with_capacity(found.len().min(MAX_CONTRIBUTIONS));
        for (attack, one) in found {
            if kept.len() == MAX_CONTRIBUTIONS {
                break;
            }
            if !kept.iter().any(|(known, _)| (known.kind, &known.id) == (one.kind, &one.id)) {
                kept.push((one, attack));
            }
        }
        kept
    }

    fn contribution(&self, hit: Hit<'_>) -> Contribution {
        let mut evidence = hit.evidence;
        evidence.truncate(MAX_EVIDENCE);
        for Evidence { value, .. } in &mut evidence {
            if value.len() > MAX_EVIDENCE_CHARS
                && let Some((end, _)) = value.char_indices().nth(MAX_EVIDENCE_CHARS)
            {
                value.truncate(end);
            }
        }
        Contribution {
            kind: hit.kind,
            id: hit.id.to_owned(),
            title: hit.title.to_owned(),
            level: hit.level,
            weight: self.weights.of(hit.level),
            evidence,
        }
    }
}

fn words(evidence: &Evidence) -> (&str, &str) {
    (&evidence.field, &evidence.value)
}

fn said((place, found): &PlacedRef) -> (usize, &str, &str) {
    (*place, &found.technique_id, &found.technique)
}

/// Each tactic and technique once, in the order of the matrix.
fn named_once<'a>(attacks: impl Iterator<Item = &'a Attack>) -> Vec<AttackRef> {
    let mut refs: Vec<&PlacedRef> = attacks.flat_map(|attack| &attack.0).collect();
    refs.sort_by_key(|(place, found)| (*place, &found.technique_id));
    refs.dedup();
    refs.into_iter().take(MAX_ATTACK_REFS).map(|(_, found)| found.clone()).collect()
}
