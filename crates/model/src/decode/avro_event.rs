//! An event in Avro: the envelope in the record's fields, the payload as JSON in one of them.

use serde::Deserialize;

use super::{
    DecodeError,
    envelope::{Envelope, within},
};
use crate::{EventKind, SentTime, Source, Timestamp};

/// The fields of schemas/telemetry-event.avsc, borrowed.
#[derive(Debug, Deserialize)]
pub(super) struct AvroEvent<'d> {
    #[serde(borrow, default)]
    event_id: Option<&'d str>,
    #[serde(borrow, default)]
    tenant_id: Option<&'d str>,
    #[serde(borrow, rename = "type")]
    kind: &'d str,
    #[serde(default)]
    occurred_at: Option<Timestamp>,
    #[serde(borrow, default)]
    source: Option<AvroSource<'d>>,
    #[serde(borrow)]
    pub(super) payload: &'d str,
}

#[derive(Debug, Default, Deserialize)]
struct AvroSource<'d> {
    #[serde(borrow, default)]
    product: Option<&'d str>,
    #[serde(borrow, default)]
    service: Option<&'d str>,
    #[serde(borrow, default)]
    category: Option<&'d str>,
}

impl<'d> AvroEvent<'d> {
    pub(super) fn envelope(&self) -> Result<Envelope<'d>, DecodeError> {
        let source = self.source.as_ref();
        let name = |field, name: Option<&'d str>| optional(field, name, Envelope::MAX_NAME);
        Ok(Envelope {
            event_id: optional("event_id", self.event_id, Envelope::MAX_EVENT_ID)?,
            tenant_id: self.tenant_id.filter(|id| !id.is_empty()),
            kind: EventKind::from_type(within("type", self.kind, Envelope::MAX_NAME)?),
            occurred_at: self.occurred_at.map(SentTime::At),
            source: Source {
                product: name("source.product", source.and_then(|source| source.product))?,
                service: name("source.service", source.and_then(|source| source.service))?,
                category: name("source.category", source.and_then(|source| source.category))?,
            },
            payload_at: 0,
            form: None,
            is_raw: false,
            wraps: false,
        })
    }
}

fn optional<'d>(field: &str, text: Option<&'d str>, longest: usize) -> Result<Option<&'d str>, DecodeError> {
    text.filter(|text| !text.is_empty()).map(|text| within(field, text, longest)).transpose()
}
