//! Tenants: who sends, under which plan.

use std::{borrow::Borrow, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::avro::long;

/// A tenant's id: 1 to 64 of `a-z`, `A-Z`, `0-9`, `.`, `_`, `-`. Cheap to clone.
///
/// The alphabet leaves out `|`, which separates tenant and entity in record keys, so one tenant's key can't be read as
/// another's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct TenantId(Arc<str>);

/// Why a text is no [`TenantId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tenant id: use 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct InvalidTenantId(String);

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks and takes `id`.
    ///
    /// # Errors
    /// When `id` is empty, too long, or has a character outside the alphabet.
    pub fn new(id: &str) -> Result<Self, InvalidTenantId> {
        if Self::is_valid(id) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidTenantId(id.chars().take(Self::MAX_LEN).collect()))
        }
    }

    /// Whether `id` could be a tenant's id.
    pub fn is_valid(id: &str) -> bool {
        (1..=Self::MAX_LEN).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    /// Whether no customer can have this id, in whatever case: it stands for something of the product's own wherever people
    /// read it.
    pub fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(&self.0))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids that no customer can have.
const RESERVED: [&str; 2] = ["cybervault", "sandbox"];

// By hand, as Avro would take a derived one for a record of one field.
impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(&id)
    }
}

impl Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

/// What a tenant has bought. The rates behind each are in the quota crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// The smallest.
    Starter,
    /// The middle one.
    Professional,
    /// The largest.
    Enterprise,
}

impl Plan {
    /// The name as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
        }
    }
}

/// Whether a tenant's events are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Its events are admitted within its quota.
    #[default]
    Active,
    /// Its events are rejected.
    Suspended,
}

/// What differs from a tenant's plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaOverride {
    /// Events a second.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "long::optional")]
    #[schemars(with = "Option<u64>")]
    pub events_per_second: Option<u64>,
    /// Payload bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "long::optional")]
    #[schemars(with = "Option<u64>")]
    pub bytes_per_second: Option<u64>,
    /// How far a second's worth may be exceeded at once, in percent of the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_percent: Option<u32>,
}

/// One customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its id.
    pub tenant_id: TenantId,
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its plan.
    pub plan: Plan,
    /// Whether its events are taken.
    #[serde(default)]
    pub status: TenantStatus,
    /// What differs from its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaOverride>,
}
