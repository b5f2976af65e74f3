//! The event as it came in, borrowed from its bytes.

use sha2::{Digest, Sha256};

use crate::{
    Timestamp,
    container::Inside,
    derived_id,
    json::{Element, Node, StaticNode},
};

/// What an event's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// `endpoint_telemetry`: what a process did on a host.
    EndpointTelemetry,
    /// `network_traffic`: a flow between two addresses.
    NetworkTraffic,
    /// `file_hash`: a file seen somewhere.
    FileHash,
    /// A vendor's log inside an envelope, by the envelope's `type`.
    Vendor(&'a str),
    /// A vendor's log as it is: without an envelope, or in one of type `raw`.
    Raw,
}

impl<'a> EventKind<'a> {
    /// From an envelope's `type`.
    pub fn from_type(name: &'a str) -> Self {
        match name {
            "endpoint_telemetry" => Self::EndpointTelemetry,
            "network_traffic" => Self::NetworkTraffic,
            "file_hash" => Self::FileHash,
            "raw" => Self::Raw,
            other => Self::Vendor(other),
        }
    }

    /// The envelope's `type`, or `raw`.
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::EndpointTelemetry => "endpoint_telemetry",
            Self::NetworkTraffic => "network_traffic",
            Self::FileHash => "file_hash",
            Self::Vendor(name) => name,
            Self::Raw => "raw",
        }
    }
}

/// Sigma's log source, where the sender names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// `windows`, `linux`, `zeek`, …
    pub product: Option<&'a str>,
    /// `sysmon`, `security`, …
    pub service: Option<&'a str>,
    /// `process_creation`, `network_connection`, …
    pub category: Option<&'a str>,
}

/// An envelope's `occurred_at`, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentTime<'a> {
    /// JSON's form, not yet looked at: only an event with findings is asked for its time.
    Text(&'a str),
    /// Avro's form.
    At(Timestamp),
}

/// One event, decoded once and borrowed from there on.
#[derive(Clone, Copy, Debug)]
pub struct TelemetryEvent<'a> {
    /// The sender's id; see [`TelemetryEvent::event_id`] for events without one.
    pub sent_id: Option<&'a str>,
    /// Who sent it: a valid [`crate::TenantId`].
    pub tenant_id: &'a str,
    /// What the payload is.
    pub kind: EventKind<'a>,
    /// What the envelope says about when it happened; see [`TelemetryEvent::occurred_at`].
    pub sent_time: Option<SentTime<'a>>,
    /// The log source, as the envelope says.
    pub source: Source<'a>,
    /// The payload: always an object.
    pub payload: Element<'a>,
    /// The record's value, untouched; that part of it that is the event, where it is inside of a container.
    pub bytes: &'a [u8],
    /// Where it was found, if inside of a container.
    pub inside: Option<Inside<'a>>,
}

/// Where logs write when something happened, the most exact first.
const TIME_FIELDS: [&str; 6] = ["@timestamp", "UtcTime", "EventTime", "TimeCreated", "timestamp", "time"];

/// Where a Windows event has it that keeps the nesting of its XML.
const TIME_IN_XML: [&str; 5] = ["Event", "System", "TimeCreated", "#attributes", "SystemTime"];

impl TelemetryEvent<'_> {
    /// The event's id: the sender's, or one derived from the bytes (`ev_…`), so that the same event always has the same. Inside of a
    /// container it depends on this and the place in it, too: two records of the same bytes are two events.
    pub fn event_id(&self) -> String {
        match (self.sent_id, self.inside) {
            (Some(id), _) => id.to_owned(),
            (None, None) => derived_id("ev", &[self.bytes]),
            (None, Some(Inside { container, place })) => {
                derived_id("ev", &[container.digest(), place.as_bytes(), self.bytes])
            }
        }
    }

    /// A SHA-256 of what the event says: type, source, time and payload, as they were read. Whitespace, escapes and the order
    /// of an object's keys are no part of it, so that whoever writes an event anew still says the same; nor are
    /// the tenant and the event's id, which stand beside it. Of a key that stands there twice, all values count.
    pub fn content(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut part = |text: Option<&str>| match text {
            Some(text) => put_text(&mut bytes, text),
            None => bytes.push(b'-'),
        };
        part(Some(self.kind.as_str()));
        for of_source in [self.source.product, self.source.service, self.source.category] {
            part(of_source);
        }
        let said = match self.sent_time {
            Some(SentTime::Text(text)) => Timestamp::parse(text).ok_or(Some(text)),
            Some(SentTime::At(time)) => Ok(time),
            None => Err(None),
        };
        match said {
            Ok(time) => put_number(&mut bytes, b't', time.as_millis().to_be_bytes()),
            Err(text) => part(text),
        }
        put(&mut bytes, self.payload);
        Sha256::digest(&bytes).into()
    }

    /// How many halves of surrogate pairs it has (`\ud800` without its other half), each of which was read as U+FFFD.
    pub fn replaced_characters(&self) -> u32 {
        self.payload.replaced_characters()
    }

    /// When it happened: the envelope's `occurred_at`, else the first that reads as a time of the payload's
    /// `@timestamp`, `UtcTime`, `EventTime`, `TimeCreated`, `timestamp` and `time`. The last two may also be numbers:
    /// milliseconds since the Unix epoch, or seconds where that would be before 1973. A Windows event with the nesting of its
    /// XML has its `TimeCreated` under `Event.System`.
    pub fn occurred_at(&self) -> Option<Timestamp> {
        let said = match self.sent_time {
            Some(SentTime::Text(text)) => Timestamp::parse(text),
            Some(SentTime::At(time)) => Some(time),
            None => None,
        };
        said.or_else(|| TIME_FIELDS.iter().find_map(|field| time_in(self.payload, field))).or_else(|| {
            let (last, above) = TIME_IN_XML.split_last()?;
            time_in(above.iter().try_fold(self.payload, |value, key| value.get(key))?, last)
        })
    }
}

/// Appends a value so that no other value has the same bytes: each begins with its kind, texts and containers with their
/// length.
fn put(bytes: &mut Vec<u8>, value: Element<'_>) {
    match value.node() {
        Node::String(text) => put_text(bytes, text),
        Node::Static(StaticNode::Null) => bytes.push(b'n'),
        Node::Static(StaticNode::Bool(truth)) => bytes.push(if truth { b'y' } else { b'z' }),
        // The same number may be read as either.
        Node::Static(StaticNode::I64(number)) => put_number(bytes, b'i', i128::from(number).to_be_bytes()),
        Node::Static(StaticNode::U64(number)) => put_number(bytes, b'i', i128::from(number).to_be_bytes()),
        Node::Static(StaticNode::F64(number)) => put_number(bytes, b'f', number.to_bits().to_be_bytes()),
        Node::Object { .. } => {
            let mut entries: Vec<_> = value.entries().collect();
            // Stable: of the same key, the order of the values counts.
            entries.sort_by_key(|(key, _)| *key);
            put_number(bytes, b'o', (entries.len() as u64).to_be_bytes());
            for (key, value) in entries {
                put_text(bytes, key);
                put(bytes, value);
            }
        }
        Node::Array { len, .. } => {
            put_number(bytes, b'a', (len as u64).to_be_bytes());
            value.elements().for_each(|element| put(bytes, element));
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, b's', (text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_number<const N: usize>(bytes: &mut Vec<u8>, kind: u8, number: [u8; N]) {
    bytes.push(kind);
    bytes.extend_from_slice(&number);
}

fn time_in(object: Element<'_>, field: &str) -> Option<Timestamp> {
    #[expect(clippy::cast_precision_loss, reason = "times are far below")]
    let number = match object.get(field)?.node() {
        Node::String(text) => return Timestamp::parse(text),
        Node::Static(StaticNode::I64(number)) => number as f64,
        Node::Static(StaticNode::U64(number)) => number as f64,
        Node::Static(StaticNode::F64(number)) => number,
        _ => return None,
    };
    if matches!(field, "timestamp" | "time") { from_epoch(number) } else { None }
}

/// Reads a number of milliseconds or seconds since the Unix epoch.
fn from_epoch(number: f64) -> Option<Timestamp> {
    // 10^11 ms are March 1973, before there were logs; 10^11 s are the year 5138.
    let millis = if number.abs() < 1e11 { number * 1000.0 } else { number };
    // Beyond the year 9999 it is some other number; a NaN fails the comparison.
    #[expect(clippy::cast_possible_truncation)]
    (millis.abs() <= 253_402_207_200_000.0).then(|| Timestamp::from_millis(millis.round() as i64))
}

#[cfg(test)]
mod tests {
    use crate::{Decoder, Incoming, json::Limits};

    fn content(decoder: &mut Decoder, value: &str) -> [u8; 32] {
        let incoming = Incoming { key: Some(b"acme"), value: value.as_bytes(), ..Incoming::default() };
        decoder.decode(&incoming).unwrap().event().content()
    }

    #[test]
    fn the_content_is_what_is_said_and_not_how() {
        let mut decoder = Decoder::new(Limits::default());
        let first = r#"{"event_id":"e1","type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1,"b":["x",{"c":null}]}}"#;
        let expected = content(&mut decoder, first);
        for same in [
            first,
            r#"{"tenant_id":"acme","type":"log","event_id":"e2","occurred_at":"2026-11-02T10:00:00.000+01:00","payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{ "payload": {"b": ["\u0078", {"c": null}], "a": 1}, "type": "log", "occurred_at": "2026-11-02T09:00:00Z", "more": 1 }"#,
        ] {
            assert_eq!(content(&mut decoder, same), expected, "{same}");
        }
        let others = [
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:01Z","payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"logs","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","source":{"product":"x"},"payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","source":{"service":"x"},"payload":{"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1.0,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":"1","b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1,"b":[{"c":null},"x"]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1,"b":["x",{}],"c":null}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":2,"a":1,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{"a":1,"a":2,"b":["x",{"c":null}]}}"#,
            r#"{"type":"log","occurred_at":"2026-11-02T09:00:00Z","payload":{}}"#,
        ];
        let mut seen = std::collections::HashSet::from([expected]);
        for other in others {
            assert!(seen.insert(content(&mut decoder, other)), "{other}");
        }
    }
}
