//! What travels through CyberVault, and how it looks on the wire.
//!
//! Everything here is plain data: no clock, no network, no threads. Bytes become a [`TelemetryEvent`] once, in
//! [`decode`], and are borrowed from there on; results ([`Assessment`], [`ResponseAction`], [`QuotaRejection`]) are owned.
#![deny(unsafe_code)]

mod action;
mod assessment;
pub mod avro;
mod codec;
pub mod container;
mod content_type;
pub mod decode;
mod event;
#[doc(hidden)]
pub mod fault;
mod incident;
pub mod json;
mod keys;
mod log_line;
pub mod ocsf;
mod prefetch;
mod rejection;
mod reshape;
mod signal;
mod source_report;
mod tenant;
mod time;
mod trace;

pub use action::{
    ActionKind, ActionMode, ActionState, Decision, DecisionVerdict, Guardrail, ResponseAction, Target, TargetKind,
    is_system_account,
};
pub use assessment::{
    Assessment, AttackRef, Contribution, ContributionKind, CorrelatedEvent, CorrelatedEvents, Entity, EntityKind,
    Evidence, Level, RecommendedAction, Score, Severity, Verdict, assessment_id, derived_id, hex, host_identity,
};
pub use codec::{EncodeError, Encoding, Record, SchemaIds, decode_value};
pub use content_type::ContentType;
pub use decode::{DecodeError, Decoded, Decoder, Incoming};
pub use event::{EventKind, SentTime, Source, TelemetryEvent};
pub use incident::{
    EntityRole, Incident, IncidentChange, IncidentDecision, IncidentDecisionKind, IncidentEntity, IncidentRule,
    IncidentStatus, IncidentTactic, IncidentVerdict, IncidentWord, LeftOut, TimelineEntry, incident_id,
};
pub use log_line::scalar;
pub use prefetch::{in_turn, prefetch};
pub use rejection::{Origin, QuotaRejection, RejectionReason};
pub use signal::{Signal, SignalField, SignalValue};
pub use source_report::{KeysCount, SourceCount, SourceReport};
pub use tenant::{InvalidTenantId, Plan, QuotaOverride, Tenant, TenantId, TenantStatus};
pub use time::Timestamp;
pub use trace::{TraceContext, TraceParent};
