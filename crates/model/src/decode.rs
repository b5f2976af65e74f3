//! From a record's bytes to the event in them.
//!
//! An object with a string `type` and an object `payload` is an envelope; its other keys are `event_id`, `tenant_id`,
//! `occurred_at` and `source`. Unknown keys are passed over, so that senders may be newer than their reader. Of a key that
//! stands there twice, the last counts. Any other object is a raw log, which is its own payload. In Avro every event has
//! the envelope (schemas/telemetry-event.avsc).

mod avro_event;
mod envelope;
mod error;
mod tenant;

use std::{ops::Range, sync::Arc};

pub use self::error::DecodeError;
pub(crate) use self::error::excerpt;
use self::{
    avro_event::AvroEvent,
    envelope::{Envelope, KnownParts},
};
use crate::{
    ContentType, TelemetryEvent,
    avro::{self, NoRegistry, WriterSchemas},
    container::{Around, Inside},
    json::{Document, Element, Limits, ReadError, Reader},
    reshape::payload_in,
};

/// A record as it came, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming<'d> {
    /// `tenant` or `tenant|entity`.
    pub key: Option<&'d [u8]>,
    /// The event.
    pub value: &'d [u8],
    /// The header `tenant_id`.
    pub tenant_header: Option<&'d [u8]>,
    /// The header `content-type`.
    pub content_type: Option<&'d [u8]>,
    /// The header `log_source`: `product/service/category` of a sender that can't put it into an envelope.
    pub source_header: Option<&'d [u8]>,
    /// Where the value was found, if it is a part of a container.
    pub inside: Option<Inside<'d>>,
    /// The envelope around the container that it is a part of.
    pub around: Option<&'d Around>,
}

/// Decodes one record after the other into the same memory: nothing is allocated for records of usual size.
///
/// ```
/// use cybervault_model::{Decoder, EventKind, Incoming, json::Limits};
///
/// let mut decoder = Decoder::new(Limits::default());
/// let value = br#"{"type":"file_hash","payload":{"hash_sha256":"ab12"}}"#;
/// let decoded = decoder.decode(&Incoming { key: Some(b"acme|ws-17"), value, ..Incoming::default() })?;
/// let event = decoded.event();
/// assert_eq!((event.tenant_id, event.kind), ("acme", EventKind::FileHash));
/// # Ok::<_, cybervault_model::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    reader: Reader,
    /// Reads payloads that were made again.
    reshaped: Reader,
    envelopes: KnownParts,
    schemas: Arc<dyn WriterSchemas>,
}

impl Decoder {
    /// A decoder that takes what `limits` allow, and no schema ids.
    pub fn new(limits: Limits) -> Self {
        let envelopes = KnownParts::default();
        // What is added is no more than what is there.
        let more = Limits { max_bytes: limits.max_bytes.saturating_mul(3), max_depth: limits.max_depth };
        let (reader, reshaped) = (Reader::new(limits), Reader::new(more));
        Self { limits, reader, reshaped, envelopes, schemas: Arc::new(NoRegistry) }
    }

    /// The same with a schema registry, for Confluent's wire format.
    #[must_use]
    pub fn with_schemas(self, schemas: Arc<dyn WriterSchemas>) -> Self {
        Self { schemas, ..self }
    }

    /// One with the same limits and schemas that knows nothing of earlier records.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.limits).with_schemas(self.schemas.clone())
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When it is no event, or nobody's: what to tell the sender, and [`DecodeError::reason`] for the metrics. An error
    /// that [`DecodeError::is_retriable`] is about the registry rather than the record.
    pub fn decode<'d>(&'d mut self, record: &Incoming<'d>) -> Result<Decoded<'d>, DecodeError> {
        let (document, envelope, text) = match ContentType::from_header(record.content_type)? {
            ContentType::Json => {
                let document = self.reader.read(record.value)?;
                let envelope = Envelope::read(&document, self.envelopes.of(&document))?;
                let envelope = match record.around {
                    Some(around) => envelope.within(around),
                    None => envelope,
                };
                (document, envelope, record.value)
            }
            ContentType::Avro => {
                let (bytes, limit) = (record.value.len(), self.limits.max_bytes);
                if bytes > limit {
                    return Err(ReadError::TooLarge { bytes, limit }.into());
                }
                let event: AvroEvent<'d> = avro::read(record.value, &*self.schemas)?;
                let document = self.reader.read(event.payload.as_bytes())?;
                let parts = self.envelopes.of(&document);
                let (form, wraps) = (parts.form(), parts.wraps_itself(&document));
                (document, Envelope { form, wraps, ..event.envelope()? }, event.payload.as_bytes())
            }
        };
        let header = record.around.map_or(record.tenant_header, |around| Some(around.tenant_id.as_bytes()));
        let tenant_id = tenant::resolve(header, envelope.tenant_id, record.key)?;
        let envelope = envelope.sourced(record.source_header)?;
        let payload = envelope.form.and_then(|form| {
            let payload = if envelope.payload_at == 0 { Some(text) } else { payload_in(text) };
            // Where it can't be made again it stays as it is.
            self.reshaped.read(&form.reshape(payload?)?).ok()
        });
        Ok(Decoded { document, payload, envelope, tenant_id, bytes: record.value, text, inside: record.inside })
    }
}

/// A decoded record: holds the memory that [`Decoded::event`] borrows from.
#[derive(Debug)]
pub struct Decoded<'d> {
    document: Document<'d>,
    /// The payload, made again.
    payload: Option<Document<'d>>,
    envelope: Envelope<'d>,
    tenant_id: &'d str,
    bytes: &'d [u8],
    /// The JSON in it.
    text: &'d [u8],
    inside: Option<Inside<'d>>,
}

impl Decoded<'_> {
    /// Whether it looks like a container: what its events are is told by [`crate::container::Unpacker`].
    pub fn may_be_container(&self) -> bool {
        self.envelope.wraps
    }

    /// Where in the bytes the JSON stands.
    pub(crate) fn text_at(&self) -> Range<usize> {
        let start = (self.text.as_ptr() as usize).saturating_sub(self.bytes.as_ptr() as usize);
        start..start + self.text.len()
    }

    /// What its envelope says, if it has one, for the events in its payload.
    pub(crate) fn around(&self) -> Option<Around> {
        let Envelope { kind, source, is_raw, .. } = self.envelope;
        let owned = |name: Option<&str>| name.map(str::to_owned);
        (!is_raw).then(|| Around {
            tenant_id: self.tenant_id.to_owned(),
            kind: kind.as_str().to_owned(),
            product: owned(source.product),
            service: owned(source.service),
            category: owned(source.category),
        })
    }

    /// The event.
    pub fn event(&self) -> TelemetryEvent<'_> {
        TelemetryEvent {
            sent_id: self.envelope.event_id,
            tenant_id: self.tenant_id,
            kind: self.envelope.kind,
            sent_time: self.envelope.occurred_at,
            source: self.envelope.source,
            payload: match &self.payload {
                Some(payload) => payload.top(),
                None => Element::of(&self.document, self.envelope.payload_at),
            },
            bytes: self.bytes,
            inside: self.inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        EventKind, Source,
        json::{Node, StaticNode},
    };

    fn decode<'d>(decoder: &'d mut Decoder, value: &'d str) -> Result<Decoded<'d>, DecodeError> {
        decoder.decode(&Incoming { key: Some(b"acme|host"), value: value.as_bytes(), ..Incoming::default() })
    }

    #[test]
    fn an_envelope_says_all_about_its_payload() {
        let mut decoder = Decoder::new(Limits::default());
        let value = r#"{"event_id":"e1","tenant_id":"globex","type":"endpoint_telemetry","new":[{}],
            "occurred_at":"2026-01-31T12:00:00+01:00","source":{"product":"windows","service":null,"category":"x"},
            "payload":{"pid":1},"payload":{"pid":4}}"#;
        let decoded = decode(&mut decoder, value).unwrap();
        let event = decoded.event();
        assert_eq!((event.event_id().as_str(), event.tenant_id), ("e1", "globex"));
        assert_eq!(event.kind, EventKind::EndpointTelemetry);
        assert_eq!(event.occurred_at().unwrap().to_string(), "2026-01-31T11:00:00.000Z");
        assert_eq!(event.source, Source { product: Some("windows"), service: None, category: Some("x") });
        assert_eq!(event.payload.get("pid").unwrap().node(), Node::Static(StaticNode::U64(4)));
        assert_eq!(event.bytes, value.as_bytes());
    }

    #[test]
    fn any_other_object_is_its_own_payload() {
        let mut decoder = Decoder::new(Limits::default());
        for (value, occurred_at) in [
            (r#"{"EventID":1,"UtcTime":"2020-06-10 02:50:56.537"}"#, Some("2020-06-10T02:50:56.537Z")),
            (r#"{"@timestamp":"soon","EventTime":"2020-06-09 22:50:54"}"#, Some("2020-06-09T22:50:54.000Z")),
            (r#"{"type":"wineventlog","event_id":4688,"time":1591757456537}"#, Some("2020-06-10T02:50:56.537Z")),
            (r#"{"type":7,"payload":{},"timestamp":1591757456.5}"#, Some("2020-06-10T02:50:56.500Z")),
            (r#"{"timestamp":1e300,"UtcTime":1591757456537}"#, None),
            ("{}", None),
        ] {
            let decoded = decode(&mut decoder, value).unwrap();
            let event = decoded.event();
            assert_eq!(event.kind, EventKind::Raw);
            assert_eq!(event.tenant_id, "acme");
            assert!(event.event_id().starts_with("ev_"));
            assert_eq!(event.occurred_at().map(|time| time.to_string()).as_deref(), occurred_at, "{value}");
        }
    }

    #[test]
    fn a_header_names_the_log_source_where_no_envelope_does() {
        let mut decoder = Decoder::new(Limits::default());
        let raw = r#"{"query":"evil.example"}"#;
        let sealed = r#"{"type":"raw","payload":{},"source":{"product":"linux"}}"#;
        let source = |product, service, category| Ok(Source { product, service, category });
        let long = format!("zeek/{}", "x".repeat(129));
        for (value, header, expected) in [
            (raw, Some("zeek/dns"), source(Some("zeek"), Some("dns"), None)),
            (raw, Some("windows/-/process_creation"), source(Some("windows"), None, Some("process_creation"))),
            (raw, Some("//dns"), source(None, None, Some("dns"))),
            (raw, Some(""), source(None, None, None)),
            (raw, None, source(None, None, None)),
            (sealed, Some("zeek/dns"), source(Some("linux"), None, None)),
            (raw, Some("a/b/c/d"), Err("wrong_schema")),
            (raw, Some(&*long), Err("wrong_schema")),
        ] {
            let source_header = header.map(str::as_bytes);
            let record = Incoming { key: Some(b"acme"), value: value.as_bytes(), source_header, ..Incoming::default() };
            let decoded = decoder.decode(&record);
            let found = decoded.as_ref().map(|decoded| decoded.event().source).map_err(DecodeError::reason);
            assert_eq!(found, expected, "{value} {header:?}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let mut decoder = Decoder::new(Limits::default());
        let long = format!(r#"{{"type":"x","payload":{{}},"event_id":"{}"}}"#, "e".repeat(257));
        for (value, expected) in [
            (r#"{"type":"file_hash","payload":[]}"#, "`payload` must be an object"),
            (r#"{"type":"network_traffic"}"#, "`payload` must be an object"),
            (r#"{"type":"","payload":{}}"#, "`type` must not be empty"),
            (r#"{"type":"x","payload":{},"event_id":5}"#, "`event_id` must be a string"),
            (r#"{"type":"x","payload":{},"tenant_id":{}}"#, "`tenant_id` must be a string"),
            (r#"{"type":"x","payload":{},"occurred_at":1}"#, "`occurred_at` must be a string"),
            (r#"{"type":"x","payload":{},"source":"y"}"#, "`source` must be an object"),
            (r#"{"type":"x","payload":{},"source":{"product":1}}"#, "`source.product` must be a string"),
            (&long, "`event_id` has 257 bytes, more than the 256 it may have"),
        ] {
            let error = decode(&mut decoder, value).unwrap_err();
            assert_eq!(error.reason(), "wrong_schema");
            assert!(error.to_string().contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn the_header_goes_before_the_envelope_and_that_before_the_key_and_nobody_writes_as_another() {
        let mut decoder = Decoder::new(Limits::default());
        let raw = r#"{"tenant_id":"not looked at"}"#;
        let sealed = r#"{"type":"x","payload":{},"tenant_id":"acme"}"#;
        let long = "x".repeat(65);
        for (header, value, key, expected) in [
            (Some("globex"), raw, Some("acme|h"), Ok("globex")),
            (None, sealed, Some("globex|h"), Ok("acme")),
            (Some("acme"), sealed, None, Ok("acme")),
            (None, raw, Some("acme|globex|h"), Ok("acme")),
            (None, raw, Some("acme"), Ok("acme")),
            (Some("globex"), sealed, Some("acme"), Err("tenant_mismatch")),
            (Some(""), sealed, Some("acme"), Err("no_tenant")),
            (Some(&long), sealed, Some("acme"), Err("no_tenant")),
            (None, raw, Some("|acme"), Err("no_tenant")),
            (None, raw, None, Err("no_tenant")),
        ] {
            let record = Incoming {
                key: key.map(str::as_bytes),
                value: value.as_bytes(),
                tenant_header: header.map(str::as_bytes),
                ..Incoming::default()
            };
            let found = decoder.decode(&record).map(|decoded| decoded.event().tenant_id.to_owned());
            let found = found.as_deref().map_err(DecodeError::reason);
            assert_eq!(found, expected, "{header:?} {value} {key:?}");
        }
    }
}
