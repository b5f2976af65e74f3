//! The event as it came in, borrowed from its bytes.

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
