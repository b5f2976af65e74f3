//! What log sources a tenant's events belonged to, over a while: how the stream tells that no rule is tried on some of them.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One worker's count of one tenant's events. What several reports say adds up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Whose.
    pub tenant_id: String,
    /// When it was written: the events were admitted shortly before.
    pub at: Timestamp,
    /// Events that were admitted.
    pub events: u64,
    /// Those of them of no known log source, on which no rule was tried.
    pub unknown: u64,
    /// Events by log source. One that belongs to several is counted under each.
    pub sources: Vec<SourceCount>,
    /// What keys a sample of those of none has; see `KeySet` of the crate for Sigma.
    pub unknown_keys: Vec<KeysCount>,
}

/// Events of one log source, by Sigma's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCount {
    /// `windows`, `linux`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// `sysmon`, `security`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `process_creation`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How many.
    pub events: u64,
}

/// Events with the same keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysCount {
    /// The keys, with commas between.
    pub keys: String,
    /// How many of the sample.
    pub events: u64,
}

impl SourceReport {
    /// The largest one that is written, in sources and in sets of keys: a reader takes no more.
    pub const MOST_SOURCES: usize = 512;
    /// See [`Self::MOST_SOURCES`].
    pub const MOST_KEYS: usize = 16;
    /// So many events tell what most of a tenant's are.
    pub const ENOUGH: u64 = 100;

    /// Whether most of so many events are of no known log source, and they are enough to say so.
    pub fn is_mostly_unknown(events: u64, unknown: u64) -> bool {
        events >= Self::ENOUGH && unknown.saturating_mul(2) > events
    }
}
