//! Assessments to what playbooks ask for, brought together by tenant with people's decisions.
//!
//! Why a step of its own: caps, cool-downs and pending approvals are a tenant's, so the guard's state must be where all
//! records of a tenant come together. Assessments are keyed by entity and decisions by whoever writes them; what this
//! stage writes is keyed by tenant.

use std::sync::Arc;

use cybervault_model::{
    Assessment, ContentType, Decision, DecodeError, EncodeError, Record as Value, TenantId, avro::WriterSchemas,
    decode_value,
};
use cybervault_response::Playbooks;
use cybervault_stream::{Failure, Outbox, Output, Record, Stage, State};
use metrics::counter;
use serde::Serialize;

use super::{AT_HEADER, KIND_HEADER, REPROCESSED, TENANT_HEADER, meters::Tally, undecodable, unwritable};
use crate::live::Live;

/// What a record on `response.candidates` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a playbook asks for.
    Candidate,
    /// A person's decision.
    Decision,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Decision => "decision",
        }
    }

    pub(super) fn from_header(header: &[u8]) -> Option<Self> {
        [Self::Candidate, Self::Decision].into_iter().find(|kind| kind.as_str().as_bytes() == header)
    }
}

/// The first half of the respond stage. It has no state.
#[derive(Debug)]
pub(crate) struct RespondSelect {
    live: Arc<Live>,
    playbooks: Arc<Playbooks>,
    schemas: Arc<dyn WriterSchemas>,
    decisions: Arc<str>,
    candidates: Arc<str>,
    selected: Tally,
}

impl RespondSelect {
    /// A stage that takes the playbooks in force from `live`, knows decisions by their topic, and writes to `candidates`.
    pub(crate) fn new(
        live: Arc<Live>,
        schemas: Arc<dyn WriterSchemas>,
        decisions: Arc<str>,
        candidates: Arc<str>,
    ) -> Self {
        let selected = Tally::new(counter!("cybervault_playbook_candidates_total"));
        Self { playbooks: live.playbooks(), live, schemas, decisions, candidates, selected }
    }

    fn read<T: Value>(&self, record: &Record<'_>) -> Result<T, Failure> {
        let content_type = record.headers.get(ContentType::HEADER);
        decode_value(record.value, content_type, &*self.schemas).map_err(|error| undecodable(&error))
    }

    /// Refuses what a sender says for another tenant: who may send for which is decided where the header is set.
    fn agree(record: &Record<'_>, tenant_id: &TenantId) -> Result<(), Failure> {
        match record.headers.get(TENANT_HEADER) {
            Some(header) if header != tenant_id.as_str().as_bytes() => {
                let (header, envelope) = (header.escape_ascii().to_string(), tenant_id.to_string());
                Err(undecodable(&DecodeError::TenantMismatch { header, envelope }))
            }
            _ => Ok(()),
        }
    }

    fn pass_on(
        &self,
        kind: Kind,
        tenant_id: &TenantId,
        value: &impl Serialize,
        record: &Record<'_>,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let (tenant, at) = (tenant_id.as_str().as_bytes(), record.timestamp.as_millis().to_string());
        let headers = [(KIND_HEADER, kind.as_str().as_bytes()), (AT_HEADER, at.as_bytes()), (TENANT_HEADER, tenant)];
        out.push(Output { topic: &self.candidates, key: tenant, headers: &headers }, |bytes| {
            // Internal, so always JSON: these two have no schema of their own in the contract.
            let subject = kind.as_str();
            let unwritten = |error: serde_json::Error| EncodeError::Json { subject, reason: error.to_string() };
            serde_json::to_writer(bytes, value).map_err(|error| unwritable(&unwritten(error)))
        })
    }
}

impl Stage for RespondSelect {
    fn begin_batch(&mut self) {
        self.playbooks = self.live.playbooks();
    }

    fn process(&mut self, record: &Record<'_>, _: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        if record.topic == &*self.decisions {
            let decision: Decision = self.read(record)?;
            Self::agree(record, &decision.tenant_id)?;
            return self.pass_on(Kind::Decision, &decision.tenant_id, &decision, record, out);
        }
        // What happened long ago is not acted upon now, unless that was asked for.
        if record.headers.get(REPROCESSED.0).is_some_and(|mark| mark != REPROCESSED.1.as_bytes()) {
            return Ok(());
        }
        let assessment: Assessment = self.read(record)?;
        Self::agree(record, &assessment.tenant_id)?;
        let candidates = self.playbooks.select(&assessment, record.timestamp);
        for candidate in &candidates {
            self.pass_on(Kind::Candidate, &candidate.tenant_id, candidate, record, out)?;
        }
        self.selected.add(candidates.len() as u64);
        Ok(())
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        self.selected.hand_over(out);
    }
}
