//! Assessments to what incidents need of them, brought together by tenant with people's words.
//!
//! Why a step of its own: findings that belong together may be about different entities, so the state must be where all of a tenant's come
//! together. Assessments are keyed by entity and words by whoever writes them; what this stage writes is keyed by tenant.

use std::sync::Arc;

use cybervault_incident::Finding;
use cybervault_model::{Assessment, EncodeError, IncidentDecision, TenantId, avro::WriterSchemas};
use cybervault_stream::{Failure, Outbox, Output, Record, Stage, State};
use metrics::counter;
use serde::Serialize;

use super::{AT_HEADER, KIND_HEADER, REPROCESSED, TENANT_HEADER, agree, meters::Tally, read, unwritable};

/// What a record on `incident.candidates` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A finding.
    Finding,
    /// A person's word.
    Decision,
    /// A timer that has run out.
    Due,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Finding => "finding",
            Self::Decision => "decision",
            Self::Due => "due",
        }
    }

    pub(super) fn from_header(header: &[u8]) -> Option<Self> {
        [Self::Finding, Self::Decision, Self::Due].into_iter().find(|kind| kind.as_str().as_bytes() == header)
    }
}

/// The first half of the incidents stage. It has no state.
#[derive(Debug)]
pub(crate) struct IncidentSelect {
    schemas: Arc<dyn WriterSchemas>,
    decisions: Arc<str>,
    candidates: Arc<str>,
    passed_over: Tally,
}

impl IncidentSelect {
    /// A stage that knows decisions by their topic, and writes to `candidates`.
    pub(crate) fn new(schemas: Arc<dyn WriterSchemas>, decisions: Arc<str>, candidates: Arc<str>) -> Self {
        let passed_over = Tally::new(counter!("cybervault_incident_findings_total", "outcome" => "passed_over"));
        Self { schemas, decisions, candidates, passed_over }
    }
}

impl Stage for IncidentSelect {
    fn process(&mut self, record: &Record<'_>, _: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let at = record.timestamp;
        if record.topic == &*self.decisions {
            let decision: IncidentDecision = read(record, &*self.schemas)?;
            agree(record, &decision.tenant_id)?;
            return pass_on(&self.candidates, Kind::Decision, (&decision.tenant_id, at.as_millis()), &decision, out);
        }
        // What happened long ago opens nothing now, unless that was asked for.
        if record.headers.get(REPROCESSED.0).is_some_and(|mark| mark != REPROCESSED.1.as_bytes()) {
            self.passed_over.add(1);
            return Ok(());
        }
        let assessment: Assessment = read(record, &*self.schemas)?;
        agree(record, &assessment.tenant_id)?;
        match Finding::of(&assessment, at) {
            Some(finding) => {
                pass_on(&self.candidates, Kind::Finding, (&finding.tenant_id, at.as_millis()), &finding, out)
            }
            None => Ok(()),
        }
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        self.passed_over.hand_over(out);
    }
}

/// Writes a record for the second half.
pub(super) fn pass_on(
    candidates: &Arc<str>,
    kind: Kind,
    (tenant_id, at): (&TenantId, i64),
    value: &impl Serialize,
    out: &mut Outbox,
) -> Result<(), Failure> {
    let (tenant, at) = (tenant_id.as_str().as_bytes(), at.to_string());
    let headers = [(KIND_HEADER, kind.as_str().as_bytes()), (AT_HEADER, at.as_bytes()), (TENANT_HEADER, tenant)];
    out.push(Output { topic: candidates, key: tenant, headers: &headers }, |bytes| {
        // Internal, so always JSON: these have no schema of their own in the contract.
        let subject = kind.as_str();
        let unwritten = |error: serde_json::Error| EncodeError::Json { subject, reason: error.to_string() };
        serde_json::to_writer(bytes, value).map_err(|error| unwritable(&unwritten(error)))
    })
}
