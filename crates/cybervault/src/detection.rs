//! Rules and scoring together: from an event to its assessment.

use std::sync::Arc;

use cybervault_model::{Assessment, ContributionKind, TelemetryEvent, TenantId, Timestamp};
use cybervault_scoring::{AttackTable, Hit, Scorer, Weights};
use cybervault_sigma::{Mappings, Matcher, RuleFile, RuleIndex, RulePack, Scratch};

use crate::content::{ContentError, Source, SourceFile};

/// All rules, compiled, and how their hits weigh. Immutable, shared by threads, swapped as a whole.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) matcher: Matcher,
    scorer: Scorer,
}

/// Reads rules; what can't be used of them is in [`RulePack::failed`].
pub(crate) fn load_pack(files: &[SourceFile]) -> RulePack {
    cybervault_sigma::load(files.iter().map(|file| RuleFile { path: &file.path, text: &file.text }))
}

impl Detection {
    /// Reads and compiles the rules of `source`. Single rules that can't be used are left out, see [`Matcher::failed`].
    ///
    /// # Errors
    /// When there are no rules, or none that can be used; or when the weights make no sense.
    pub(crate) fn load(source: &Source, weights: Weights) -> Result<Self, ContentError> {
        let what = "rules";
        let invalid = |reason| ContentError::Invalid { what, place: source.to_string(), reason };
        let pack = load_pack(&source.read(what)?);
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
