//! Rules, indicators and scoring together: from an event to its assessment.

use std::{mem, sync::Arc};

use cybervault_correlation::{Finding, FoundEvent, Limits, Plan};
use cybervault_indicators::{Found, Indicators};
use cybervault_model::{
    Assessment, ContributionKind, CorrelatedEvent, CorrelatedEvents, Evidence, TelemetryEvent, TenantId, Timestamp,
};
use cybervault_scoring::{About, Attack, AttackTable, Correlated, Hit, Scorer, Weights};
use cybervault_sigma::{
    Mappings, Matcher, PipelineFile, Pipelines, Routing, RuleFile, RuleIndex, RulePack, Scratch, load_with,
};

use crate::{
    content::{ContentError, Source, SourceFile},
    correlating::Correlating,
};

/// All rules, compiled, the indicators beside them, and how what they find weighs. Immutable, shared by threads, swapped as a whole.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) matcher: Arc<Matcher>,
    /// The indicators beside them.
    pub(crate) indicators: Arc<Indicators>,
    /// The correlations over the rules.
    pub(crate) plan: Arc<Plan>,
    /// Correlations that nobody evaluates.
    pub(crate) left_out: usize,
    scorer: Scorer,
    /// What each rule's tags say of ATT&CK.
    attack: Arc<[Attack]>,
    /// The same of each correlation.
    correlated_attack: Arc<[Attack]>,
    /// That of both.
    version: String,
}

/// Rules as their files have them, and the pipelines that change them.
#[derive(Debug)]
pub(crate) struct RuleFiles {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) pipelines: Pipelines,
}

impl RuleFiles {
    /// Reads the files of both.
    ///
    /// # Errors
    /// When files can't be read, there are no rules, or a pipeline can't be used.
    pub(crate) fn read(rules: &Source, pipelines: &[Source]) -> Result<Self, ContentError> {
        let what = "pipelines";
        let mut read = Vec::new();
        for source in pipelines {
            read.append(&mut source.read(what)?);
        }
        let parsed = Pipelines::read(read.iter().map(|file| PipelineFile { path: &file.path, text: &file.text }));
        let pipelines = parsed.map_err(|error| {
            let place = pipelines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            ContentError::Invalid { what, place, reason: error.to_string() }
        })?;
        Ok(Self { files: rules.read("rules")?, pipelines })
    }

    /// The rules' files, as they are to be parsed.
    pub(crate) fn rule_files(&self) -> impl Iterator<Item = RuleFile<'_>> {
        self.files.iter().map(|file| RuleFile { path: &file.path, text: &file.text })
    }

    /// The rules; what can't be used of them is in [`RulePack::failed`].
    pub(crate) fn pack(&self) -> RulePack {
        load_with(self.rule_files(), &self.pipelines)
    }
}

/// What was found in an event; used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The rules that are true of it, …
    pub(crate) rules: Vec<RuleIndex>,
    /// … and what made each of them true.
    evidence: Vec<Vec<Evidence>>,
    /// What of it is listed.
    pub(crate) indicators: Vec<Found>,
}

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.indicators.is_empty()
    }

    /// Drops the rules that only feed correlations.
    pub(crate) fn keep_told(&mut self, matcher: &Matcher) {
        let Self { rules, evidence, .. } = self;
        let is_told = |rule: &RuleIndex| matcher.rules()[rule.get()].is_told;
        if rules.iter().all(is_told) {
            return;
        }
        let mut told = rules.iter().map(is_told);
        evidence.retain(|_| told.next().unwrap_or(true));
        rules.retain(is_told);
    }
}

/// What becomes of a pack's correlations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Correlations {
    /// They are evaluated.
    Evaluated,
    /// Nobody evaluates them. Rules that only feed them are told by themselves, unless they are informational: then there is nothing to
    /// act on, and no event is tried against them.
    LeftOut,
}

impl Detection {
    /// Reads and compiles the rules of `source`, as `pipelines` change them. Single rules that can't be used are left out,
    /// see [`Matcher::failed`].
    ///
    /// # Errors
    /// When there are no rules, or none that can be used; when a pipeline can't be used; or when the weights make no sense.
    pub(crate) fn load(
        source: &Source,
        pipelines: &[Source],
        weights: Weights,
        correlations: Correlations,
    ) -> Result<Self, ContentError> {
        let invalid = |reason| ContentError::Invalid { what: "rules", place: source.to_string(), reason };
        let mut pack = RuleFiles::read(source, pipelines)?.pack();
        if !pack.warnings.is_empty() {
            let (warnings, first) = (pack.warnings.len(), &pack.warnings[0]);
            tracing::info!(warnings, %first, "rules are used that are probably not meant so; `cybervault rules check` names all");
        }
        let plan = match correlations {
            Correlations::Evaluated => Plan::compile(&pack),
            Correlations::LeftOut => Plan::default(),
        };
        let left_out = pack.correlations.len() - plan.len();
        if left_out > 0 {
            pack.rules.retain(|rule| rule.meta.tells_alone());
        }
        let mut named: Vec<&str> = cybervault_scoring::fields().collect();
        named.extend(plan.fields().iter().map(String::as_str));
        let matcher = Matcher::compile_naming(pack, &Mappings::builtin(), named);
        if matcher.rules().is_empty() {
            let first = matcher.failed().first().map(ToString::to_string).unwrap_or_default();
            return Err(invalid(format!("not one of them can be used; {first}")));
        }
        for failure in matcher.failed() {
            tracing::warn!(%failure, "a rule can't be used");
        }
        let scorer = Scorer::new(weights).map_err(|error| invalid(error.to_string()))?;
        let table = AttackTable::embedded();
        let attack = matcher.rules().iter().map(|rule| table.refs(&rule.tags)).collect();
        let version = matcher.version().to_owned();
        let correlated_attack = plan.correlations().map(|correlation| table.refs(&correlation.meta.tags)).collect();
        let (matcher, plan, indicators) = (Arc::new(matcher), Arc::new(plan), Arc::default());
        Ok(Self { matcher, indicators, plan, left_out, scorer, attack, correlated_attack, version })
    }

    /// The same rules, with these indicators beside them.
    pub(crate) fn with_indicators(&self, indicators: Arc<Indicators>) -> Self {
        let (rules, separator) = (self.matcher.version(), if indicators.is_empty() { "" } else { "+" });
        let version = format!("{rules}{separator}{}", indicators.version());
        let (matcher, plan, scorer) = (self.matcher.clone(), self.plan.clone(), self.scorer.clone());
        let (attack, correlated_attack) = (self.attack.clone(), self.correlated_attack.clone());
        Self { matcher, indicators, plan, left_out: self.left_out, scorer, attack, correlated_attack, version }
    }

    /// The correlations, without any events.
    pub(crate) fn correlating(&self, limits: Limits) -> Correlating {
        Correlating::new(self.plan.clone(), &self.matcher, cybervault_scoring::fields().count(), limits)
    }

    /// Puts what is found in an event into `findings`. `record_time` stands in where the event does not say when it happened.
    pub(crate) fn find(
        &self,
        event: &TelemetryEvent<'_>,
        record_time: Option<Timestamp>,
        routing: Routing,
        scratch: &mut Scratch,
        findings: &mut Findings,
    ) {
        let hits = self.matcher.matches_shown(event, routing, scratch, &mut findings.evidence);
        findings.rules.clear();
        findings.rules.extend_from_slice(hits);
        findings.indicators = self.indicators.find(event, record_time);
    }

    /// Assesses an event with its findings, of which the evidence is taken.
    pub(crate) fn assess(
        &self,
        tenant_id: &TenantId,
        event: &TelemetryEvent<'_>,
        record_time: Option<Timestamp>,
        scratch: &mut Scratch,
        findings: &mut Findings,
    ) -> Assessment {
        let rules = findings.rules.iter().zip(&mut findings.evidence).map(|(rule, evidence)| {
            let meta = &self.matcher.rules()[rule.get()];
            Hit {
                kind: ContributionKind::Rule,
                id: &meta.id,
                title: &meta.title,
                level: meta.level,
                attack: &self.attack[rule.get()],
                evidence: mem::take(evidence),
            }
        });
        let none = Attack::default();
        let indicators = findings.indicators.iter_mut().map(|found| Hit {
            kind: ContributionKind::Indicator,
            id: &found.id,
            title: &found.title,
            level: found.level,
            attack: &none,
            evidence: mem::take(&mut found.evidence),
        });
        let hits = rules.chain(indicators).collect();
        let fields = self.matcher.fields(event, scratch);
        self.scorer.assess(tenant_id, event, record_time, hits, &|at| fields.values_of_named(at), &self.version)
    }

    /// Who and what took part in an event.
    pub(crate) fn about(&self, event: &TelemetryEvent<'_>, scratch: &mut Scratch) -> About {
        let fields = self.matcher.fields(event, scratch);
        self.scorer.about(&|at| fields.values_of_named(at))
    }

    /// Assesses a correlation that an event has made true in which this took part.
    pub(crate) fn assess_correlation(&self, tenant_id: &TenantId, about: About, finding: &Finding<'_>) -> Assessment {
        let meta = &finding.correlation.meta;
        let common =
            |(field, value): &(&str, &str)| Evidence { field: (*field).to_owned(), value: (*value).to_owned() };
        let hit = Hit {
            kind: ContributionKind::Correlation,
            id: &meta.id,
            title: &meta.title,
            level: meta.level,
            attack: &self.correlated_attack[finding.place],
            evidence: finding.group.iter().map(common).collect(),
        };
        let correlated = |found: &FoundEvent<'_>| CorrelatedEvent {
            event_id: found.event_id.clone(),
            occurred_at: Timestamp::from_millis(found.time),
            rules: found.rules.iter().map(|title| (*title).to_owned()).collect(),
            value: found.value.clone(),
        };
        let correlated = Correlated {
            hit,
            event_id: finding.event_id,
            occurred_at: Timestamp::from_millis(finding.time),
            key: &finding.key.0,
            events: CorrelatedEvents {
                count: u32::try_from(finding.count).unwrap_or(u32::MAX),
                events: finding.events.iter().map(correlated).collect(),
            },
            about,
        };
        self.scorer.assess_correlation(tenant_id, correlated, &self.version)
    }
}
