//! Assessments and incidents to what playbooks ask for, brought together by tenant with people's decisions.
//!
//! Why a step of its own: caps, cool-downs and pending approvals are a tenant's, so the guard's state must be where all
//! records of a tenant come together. Assessments are keyed by entity and decisions by whoever writes them; what this
//! stage writes is keyed by tenant.

use std::sync::Arc;

use cybervault_model::{Assessment, Decision, EncodeError, Incident, TenantId, avro::WriterSchemas};
use cybervault_response::Playbooks;
use cybervault_stream::{Failure, Outbox, Output, Record, Stage, State};
use metrics::counter;
use serde::Serialize;

use super::{AT_HEADER, KIND_HEADER, REPROCESSED, TENANT_HEADER, agree, meters::Tally, read, unwritable};
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
    incidents: Arc<str>,
    decisions: Arc<str>,
    candidates: Arc<str>,
    selected: Tally,
}

impl RespondSelect {
    /// A stage that takes the playbooks in force from `live`, knows incidents and decisions by their topics, and writes to `candidates`.
    pub(crate) fn new(
        live: Arc<Live>,
        schemas: Arc<dyn WriterSchemas>,
        (incidents, decisions): (Arc<str>, Arc<str>),
        candidates: Arc<str>,
    ) -> Self {
        let selected = Tally::new(counter!("cybervault_playbook_candidates_total"));
        Self { playbooks: live.playbooks(), live, schemas, incidents, decisions, candidates, selected }
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
            let decision: Decision = read(record, &*self.schemas)?;
            agree(record, &decision.tenant_id)?;
            return self.pass_on(Kind::Decision, &decision.tenant_id, &decision, record, out);
        }
        // What happened long ago is not acted upon now, unless that was asked for.
        if record.headers.get(REPROCESSED.0).is_some_and(|mark| mark != REPROCESSED.1.as_bytes()) {
            return Ok(());
        }
        let candidates = if record.topic == &*self.incidents {
            let incident: Incident = read(record, &*self.schemas)?;
            agree(record, &incident.tenant_id)?;
            self.playbooks.select_for_incident(&incident, record.timestamp)
        } else {
            let assessment: Assessment = read(record, &*self.schemas)?;
            agree(record, &assessment.tenant_id)?;
            self.playbooks.select(&assessment, record.timestamp)
        };
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
