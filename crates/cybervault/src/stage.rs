//! The stages: what happens to a record between Kafka and Kafka.

mod assess;
mod correlate;
mod incident_group;
mod incident_select;
mod meters;
mod quota;
#[cfg(all(test, debug_assertions))]
mod recovery;
mod replay;
mod reprocess;
mod respond_guard;
mod respond_select;
mod sources;

use std::sync::Arc;

use cybervault_model::{
    ContentType, DecodeError, EncodeError, Encoding, Record as Value, TenantId, Timestamp, avro::WriterSchemas,
    decode_value,
};
use cybervault_stream::{Failure, Outbox, Output, Poison, Record};

pub(crate) use self::{
    assess::{Assess, AssessTopics},
    correlate::Correlate,
    incident_group::IncidentGroup,
    incident_select::IncidentSelect,
    meters::TenantLabels,
    quota::Quota,
    replay::{Replay, ReplayFilter, ReplayTally, SentBack, Stretch},
    reprocess::{Again, KnownAssessments, Reprocess, ReprocessTally},
    respond_guard::RespondGuard,
    respond_select::RespondSelect,
};

/// The header that names the tenant.
pub(crate) const TENANT_HEADER: &str = "tenant_id";
/// The header that names the log source of an event without an envelope.
pub(crate) const SOURCE_HEADER: &str = "log_source";
/// The header that says what a record on `response.candidates` or `incident.candidates` is.
pub(crate) const KIND_HEADER: &str = "kind";
/// The header with the time of the record behind a record on one of these, in milliseconds.
pub(crate) const AT_HEADER: &str = "at";

/// The header of an assessment that was written when events were assessed again, and what it says: whether playbooks look at it.
pub(crate) const REPROCESSED: (&str, &str, &str) = ("reprocessed", "respond", "record-only");

/// What becomes of a record that can't be decoded.
fn undecodable(error: &DecodeError) -> Failure {
    if error.is_retriable() {
        Failure::Unavailable(error.to_string())
    } else {
        Failure::Poison(Poison::new(error.reason(), error.to_string()))
    }
}

/// What becomes of a record whose result can't be written, a number beyond Avro's range for one: it is kept as it came.
fn unwritable(error: &EncodeError) -> Failure {
    Failure::Poison(Poison::new("not_encodable", error.to_string()))
}

/// Reads a record's value.
fn read<T: Value>(record: &Record<'_>, schemas: &dyn WriterSchemas) -> Result<T, Failure> {
    let content_type = record.headers.get(ContentType::HEADER);
    decode_value(record.value, content_type, schemas).map_err(|error| undecodable(&error))
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

/// The time of the record behind this one, which the select stages pass on.
fn sent_at(record: &Record<'_>) -> Timestamp {
    let header = record.headers.get(AT_HEADER).and_then(|text| std::str::from_utf8(text).ok());
    header.and_then(|text| text.parse().ok()).map_or(record.timestamp, Timestamp::from_millis)
}

/// Writes `value` in the configured form.
fn push<T: Value>(
    out: &mut Outbox,
    encoding: &Encoding,
    place: (&Arc<str>, &[u8]),
    tenant_id: &str,
    value: &T,
) -> Result<(), Failure> {
    push_marked(out, encoding, place, (tenant_id, None), value)
}

/// The same, with what [`REPROCESSED`] says where it says anything.
fn push_marked<T: Value>(
    out: &mut Outbox,
    encoding: &Encoding,
    (topic, key): (&Arc<str>, &[u8]),
    (tenant_id, mark): (&str, Option<&str>),
    value: &T,
) -> Result<(), Failure> {
    let headers = [
        (ContentType::HEADER, encoding.content_type().as_str().as_bytes()),
        (TENANT_HEADER, tenant_id.as_bytes()),
        (REPROCESSED.0, mark.unwrap_or_default().as_bytes()),
    ];
    let headers = &headers[..if mark.is_some() { 3 } else { 2 }];
    out.push(Output { topic, key, headers }, |bytes| encoding.encode(value, bytes)).map_err(|error| unwritable(&error))
}

#[cfg(test)]
mod tests;
