//! Events that were not admitted.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Plan, Timestamp, avro::long};

/// Where a record lies in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Where in the record, if it is one of several there: a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// Why an event was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    /// No such tenant in the tenants file.
    UnknownTenant,
    /// The tenant is suspended.
    SuspendedTenant,
    /// More events a second than the tenant's quota.
    EventsPerSecond,
    /// More bytes a second than the tenant's quota.
    BytesPerSecond,
}

impl RejectionReason {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTenant => "unknown_tenant",
            Self::SuspendedTenant => "suspended_tenant",
            Self::EventsPerSecond => "events_per_second",
            Self::BytesPerSecond => "bytes_per_second",
        }
    }
}

/// The value on `quota.rejections`: the event itself still lies at `origin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaRejection {
    /// The tenant that the event named.
    pub tenant_id: String,
    /// Why.
    pub reason: RejectionReason,
    /// The tenant's plan, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How long after `rejected_at` the same event would be admitted, in milliseconds; absent where time does not help.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "long::optional")]
    #[schemars(with = "Option<u64>")]
    pub retry_after_ms: Option<u64>,
    /// The event's record time, on which the quota was decided.
    pub rejected_at: Timestamp,
    /// Size of the event in bytes.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub bytes: u64,
    /// Where the event lies.
    pub origin: Origin,
}
