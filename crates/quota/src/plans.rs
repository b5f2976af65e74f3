//! What a plan allows.

use cybervault_model::{Plan, QuotaOverride, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest rate of events: at 10^9 a second one costs 1 ns, the unit in which buckets count.
pub const MAX_EVENTS_PER_SECOND: u64 = 1_000_000_000;
/// The highest rate of bytes, 10^12 a second.
pub const MAX_BYTES_PER_SECOND: u64 = 1_000_000_000_000;
/// The largest burst: an hour's worth.
pub const MAX_BURST_PERCENT: u32 = 360_000;

/// How much may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Events a second, from 1.
    pub events_per_second: u64,
    /// Bytes of record values a second, from 1.
    pub bytes_per_second: u64,
    /// What may come at one instant beyond one second's worth, in percent of the rates.
    pub burst_percent: u32,
}

/// Rates that can't be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of}: {what} is {value}, and must be {allowed}{}", if *value == 0 { "; to stop a tenant, set its status to `suspended`" } else { "" })]
pub struct InvalidRates {
    of: String,
    what: &'static str,
    value: u64,
    allowed: String,
}

impl Rates {
    /// These rates with what `overrides` says in their place.
    #[must_use]
    pub fn with(self, overrides: QuotaOverride) -> Self {
        Self {
            events_per_second: overrides.events_per_second.unwrap_or(self.events_per_second),
            bytes_per_second: overrides.bytes_per_second.unwrap_or(self.bytes_per_second),
            burst_percent: overrides.burst_percent.unwrap_or(self.burst_percent),
        }
    }

    fn check(self, of: impl FnOnce() -> String) -> Result<Self, InvalidRates> {
        let out_of_range = [
            ("events_per_second", self.events_per_second, 1, MAX_EVENTS_PER_SECOND),
            ("bytes_per_second", self.bytes_per_second, 1, MAX_BYTES_PER_SECOND),
            ("burst_percent", self.burst_percent.into(), 0, MAX_BURST_PERCENT.into()),
        ]
        .into_iter()
        .find(|(_, value, min, max)| !(min..=max).contains(&value));
        match out_of_range {
            None => Ok(self),
            Some((what, value, min, max)) => {
                Err(InvalidRates { of: of(), what, value, allowed: format!("{min} to {max}") })
            }
        }
    }
}

/// The rates behind each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Plans {
    /// Default: 100 events/s, 256 KiB/s, burst 15 %.
    pub starter: Rates,
    /// Default: 1,000 events/s, 2 MiB/s, burst 20 %.
    pub professional: Rates,
    /// Default: 20,000 events/s, 40 MiB/s, burst 20 %.
    pub enterprise: Rates,
}

impl Default for Plans {
    fn default() -> Self {
        let rates = |events_per_second, kib_per_second: u64, burst_percent| Rates {
            events_per_second,
            bytes_per_second: kib_per_second * 1024,
            burst_percent,
        };
        Self {
            starter: rates(100, 256, 15),
            professional: rates(1_000, 2 * 1024, 20),
            enterprise: rates(20_000, 40 * 1024, 20),
        }
    }
}

impl Plans {
    /// The rates of `plan`.
    pub const fn of(&self, plan: Plan) -> Rates {
        match plan {
            Plan::Starter => self.starter,
            Plan::Professional => self.professional,
            Plan::Enterprise => self.enterprise,
        }
    }

    /// The rates of `tenant`: its plan's, with its overrides.
    ///
    /// # Errors
    /// When one is zero or beyond what a bucket can count.
    pub fn of_tenant(&self, tenant: &Tenant) -> Result<Rates, InvalidRates> {
        self.of(tenant.plan)
            .with(tenant.quota.unwrap_or_default())
            .check(|| format!("the quota of tenant `{}`", tenant.tenant_id))
    }

    /// Checks the plans themselves, which no tenant may have yet.
    ///
    /// # Errors
    /// When a rate is zero or beyond what a bucket can count.
    pub fn check(&self) -> Result<(), InvalidRates> {
        for (plan, rates) in
            [("starter", self.starter), ("professional", self.professional), ("enterprise", self.enterprise)]
        {
            rates.check(|| format!("the plan `{plan}`"))?;
        }
        Ok(())
    }
}
