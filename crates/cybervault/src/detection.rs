//! Rules, indicators and scoring together: from an event to its assessment.

use std::{mem, sync::Arc};

use cybervault_indicators::{Found, Indicators};
use cybervault_model::{Assessment, ContributionKind, Evidence, TelemetryEvent, TenantId, Timestamp};
use cybervault_scoring::{Attack, AttackTable, Hit, Scorer, Weights};
use cybervault_sigma::{
    Mappings, Matcher, PipelineFile, Pipelines, Routing, RuleFile, RuleIndex, RulePack, Scratch, load_with,
};

use crate::content::{ContentError, Source, SourceFile};

/// All rules, compiled, the indicators beside them, and how what they find weighs. Immutable, shared by threads, swapped as a whole.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) matcher: Arc<Matcher>,
    /// The indicators beside them.
    pub(crate) indicators: Arc<Indicators>,
    scorer: Scorer,
    /// What each rule's tags say of ATT&CK.
    attack: Arc<[Attack]>,
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
}

impl Detection {
    /// Reads and compiles the rules of `source`, as `pipelines` change them. Single rules that can't be used are left out,
    /// see [`Matcher::failed`].
    ///
    /// # Errors
    /// When there are no rules, or none that can be used; when a pipeline can't be used; or when the weights make no sense.
    pub(crate) fn load(source: &Source, pipelines: &[Source], weights: Weights) -> Result<Self, ContentError> {
        let invalid = |reason| ContentError::Invalid { what: "rules", place: source.to_string(), reason };
        let pack = RuleFiles::read(source, pipelines)?.pack();
        if !pack.warnings.is_empty() {
            let (warnings, first) = (pack.warnings.len(), &pack.warnings[0]);
            tracing::info!(warnings, %first, "rules are used that are probably not meant so; `cybervault rules check` names all");
        }
        let matcher = Matcher::compile_naming(pack, &Mappings::builtin(), cybervault_scoring::fields());
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
        Ok(Self { matcher: Arc::new(matcher), scorer, attack, indicators: Arc::default(), version })
    }

    /// The same rules, with these indicators beside them.
    pub(crate) fn with_indicators(&self, indicators: Arc<Indicators>) -> Self {
        let (rules, separator) = (self.matcher.version(), if indicators.is_empty() { "" } else { "+" });
        let version = format!("{rules}{separator}{}", indicators.version());
        let (matcher, attack) = (self.matcher.clone(), self.attack.clone());
        Self { matcher, scorer: self.scorer.clone(), attack, indicators, version }
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
}
