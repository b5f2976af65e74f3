//! The stages: what happens to a record between Kafka and Kafka.

mod assess;
mod correlate;
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

use cybervault_model::{DecodeError, EncodeError, Encoding, Record as Value};
use cybervault_stream::{Failure, Outbox, Output, Poison};

pub(crate) use self::{
    assess::{Assess, AssessTopics},
    correlate::Correlate,
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
/// The header that says what a record on `response.candidates` is.
pub(crate) const KIND_HEADER: &str = "kind";
/// The header with the time of the record behind a record on `response.candidates`, in milliseconds.
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
        (cybervault_model::ContentType::HEADER, encoding.content_type().as_str().as_bytes()),
        (TENANT_HEADER, tenant_id.as_bytes()),
        (REPROCESSED.0, mark.unwrap_or_default().as_bytes()),
    ];
    let headers = &headers[..if mark.is_some() { 3 } else { 2 }];
    out.push(Output { topic, key, headers }, |bytes| encoding.encode(value, bytes)).map_err(|error| unwritable(&error))
}

#[cfg(test)]
mod tests;
