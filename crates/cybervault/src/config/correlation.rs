//! How correlations keep what came before.

use cybervault_correlation::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How late events of a correlation may come, and how much is kept of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Correlation {
    /// How many milliseconds an event may come after later ones of its group and still count as in time. Events are kept so much longer
    /// than their correlation's time span. Default: 300,000, at most a day.
    #[schemars(range(max = 86_400_000))]
    pub(crate) lateness_ms: u32,
    /// For how many milliseconds a worker keeps a group of which nothing comes, beyond the time for which its events count. Default:
    /// 3,600,000, at most 30 days.
    #[schemars(range(max = 2_592_000_000_u64))]
    pub(crate) idle_ms: u64,
    /// Bytes of one tenant's events that are kept; beyond, its groups that saw nothing for the longest time are dropped. Workers: in each
    /// partition. Default: 128 MiB.
    #[schemars(range(min = 1_048_576))]
    pub(crate) max_tenant_bytes: usize,
    /// The same of all tenants together; beyond, the one that has most loses its own. Default: 512 MiB.
    #[schemars(range(min = 1_048_576))]
    pub(crate) max_bytes: usize,
}

impl Default for Correlation {
    fn default() -> Self {
        let Limits { lateness_ms, tenant_bytes, total_bytes, idle_ms } = Limits::default();
        let lateness_ms = u32::try_from(lateness_ms).unwrap_or(u32::MAX);
        let idle_ms = u64::try_from(idle_ms).unwrap_or_default();
        Self { lateness_ms, idle_ms, max_tenant_bytes: tenant_bytes, max_bytes: total_bytes }
    }
}

impl Correlation {
    /// The same, for an engine.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            lateness_ms: self.lateness_ms.into(),
            tenant_bytes: self.max_tenant_bytes,
            total_bytes: self.max_bytes,
            idle_ms: i64::try_from(self.idle_ms).unwrap_or(i64::MAX),
        }
    }
}
