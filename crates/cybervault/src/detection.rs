//! Rules and scoring together: from an event to its assessment.

use std::sync::Arc;

use cybervault_model::{Assessment, ContributionKind, TelemetryEvent, TenantId, Timestamp};
use cybervault_scoring::{AttackTable, Hit, Scorer, Weights};
use cybervault_sigma::{Mappings, Matcher, PipelineFile, Pipelines, RuleFile, RuleIndex, RulePack, Scratch, load_with};

use crate::content::{ContentError, Source, SourceFile};

/// All rules, compiled, and how their hits weigh. Immutable, shared by threads, swapped as a whole.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) matcher: Matcher,
    scorer: Scorer,
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

impl Detection {
    /// Reads and compiles the rules of `source`, as `pipelines` change them. Single rules that can't be used are left out,
    /// see [`Matcher::failed`].
    ///
    /// # Errors
    /// When there are no rules, or none that can be used; when a pipeline can't be used; or when the weights make no sense.
    pub(crate) fn load(source: &Source, pipelines: &[Source], weights: Weights) -> Result<Self, ContentError> {
        let invalid = |reason| ContentError::Invalid { what: "rules", place: source.to_string(), reason };
        let pack = RuleFiles::read(source, pipelines)?.pack();
        let matcher = Matcher::compile(&pack, &Mappings::builtin());
        if matcher.rules().is_empty() {
            let first = matcher.failed().first().map(ToString::to_string).unwrap_or_default();
            return Err(invalid(format!("not one of them can be used; {first}")));
        }
        let scorer =
            Scorer::new(weights, Arc::new(AttackTable::embedded())).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { matcher, scorer })
    }

    /// Assesses an event in which the rules `hits` were found.
    pub(crate) fn assess(
        &self,
        tenant_id: &TenantId,
        event: &TelemetryEvent<'_>,
        record_time: Option<Timestamp>,
        hits: &[RuleIndex],
        scratch: &mut Scratch,
    ) -> Assessment {
        let hits = hits.iter().map(|&rule| {
            let meta = &self.matcher.rules()[rule.get()];
            Hit {
                kind: ContributionKind::Rule,
                id: &meta.id,
                title: &meta.title,
                level: meta.level,
                tags: &meta.tags,
                evidence: self.matcher.evidence(rule, event, scratch),
            }
        });
        let hits = hits.collect();
        let fields = self.matcher.fields(event);
        let fields = |name: &str| fields.values(name).into_iter().map(Into::into).collect();
        self.scorer.assess(tenant_id, event, record_time, hits, &fields, self.matcher.version())
    }
}
