//! The event as it came in, borrowed from its bytes.

use crate::{Timestamp, derived_id, json::Value};

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
    /// A vendor's log as it is, without an envelope.
    Raw,
}

impl<'a> EventKind<'a> {
    /// From an envelope's `type`.
    pub fn from_type(name: &'a str) -> Self {
        match name {
            "endpoint_telemetry" => Self::EndpointTelemetry,
            "network_traffic" => Self::NetworkTraffic,
            "file_hash" => Self::FileHash,
            other => Self::Vendor(other),
        }
    }

    /// The envelope's `type`; `raw` without an envelope.
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

/// One event, decoded once and borrowed from there on.
#[derive(Clone, Copy, Debug)]
pub struct TelemetryEvent<'a> {
    /// The sender's id; see [`TelemetryEvent::event_id`] for events without one.
    pub sent_id: Option<&'a str>,
    /// Who sent it: a valid [`crate::TenantId`].
    pub tenant_id: &'a str,
    /// What the payload is.
    pub kind: EventKind<'a>,
    /// When it happened, as the envelope or the log itself says.
    pub occurred_at: Option<Timestamp>,
    /// The log source, as the envelope says.
    pub source: Source<'a>,
    /// The payload: always an object.
    pub payload: Value<'a, 'a>,
    /// The record's value, untouched.
    pub bytes: &'a [u8],
}

impl TelemetryEvent<'_> {
    /// The event's id: the sender's, or one derived from the bytes (`ev_…`), so that the same event always has the same.
    pub fn event_id(&self) -> String {
        match self.sent_id {
            Some(id) => id.to_owned(),
            None => derived_id("ev", &[self.bytes]),
        }
    }
}
