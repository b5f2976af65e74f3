//! The decision on one event.

use std::collections::HashMap;

use cybervault_model::{Plan, RejectionReason, Tenant, TenantId, TenantStatus};
use foldhash::fast::RandomState;

use crate::{
    InvalidRates, Plans, Rates, Spread,
    share::{Amounts, LENT, WHOLE},
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// All tenants with what each may send.
#[derive(Debug, Default)]
pub struct Admission {
    tenants: HashMap<TenantId, Compiled, RandomState>,
}

/// One tenant with what it may send, ready for decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    tenant_id: TenantId,
    plan: Plan,
    status: TenantStatus,
    rates: Rates,
    /// Over which partitions the rates are spread.
    pub(crate) spread: Spread,
    /// The partition where what is not lent lies.
    pub(crate) home: u32,
    /// What the whole bucket holds, in nanoseconds of the rate: the same for both limits.
    pub(crate) capacity: u64,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is taken, and charged.
    Admitted,
    /// It is not taken, and costs nothing.
    Rejected {
        /// Why. Of two limits, the one that takes longer.
        reason: RejectionReason,
        /// The same event this many milliseconds later would be admitted, if nothing else came in between; `None` where
        /// time does not help.
        retry_after_ms: Option<u64>,
    },
}

impl Admission {
    /// Compiles `tenants`, whose quotas are spread as `spread` says. Of a tenant that stands there twice, the last counts.
    ///
    /// # Errors
    /// When a tenant's rates are zero or too high.
    pub fn compile(tenants: Vec<Tenant>, plans: &Plans, spread: Spread) -> Result<Self, InvalidRates> {
        plans.check()?;
        let mut compiled = HashMap::with_capacity_and_hasher(tenants.len(), RandomState::default());
        for tenant in tenants {
            let rates = plans.of_tenant(&tenant)?;
            let Tenant { tenant_id, plan, status, .. } = tenant;
            let capacity = NANOS_PER_SECOND / 100 * (100 + u64::from(rates.burst_percent));
            let home = spread.home(tenant_id.as_str());
            compiled.insert(tenant_id.clone(), Compiled { tenant_id, plan, status, rates, spread, home, capacity });
        }
        Ok(Self { tenants: compiled })
    }

    /// The tenant, if there is one of this id.
    pub fn lookup(&self, tenant_id: &str) -> Option<&Compiled> {
        self.tenants.get(tenant_id)
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

impl Compiled {
    /// Its id.
    pub const fn tenant_id(&self) -> &TenantId {
        &self.tenant_id
    }

    /// Its plan.
    pub const fn plan(&self) -> Plan {
        self.plan
    }

    /// Its rates over all partitions.
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// How its quota is spread.
    pub const fn spread(&self) -> Spread {
        self.spread
    }

    /// The home partition.
    pub const fn home(&self) -> u32 {
        self.home
    }

    /// The decision on any event of a tenant that is suspended.
    pub fn suspended(&self) -> Option<Decision> {
        let rejected = Decision::Rejected { reason: RejectionReason::SuspendedTenant, retry_after_ms: None };
        (self.status == TenantStatus::Suspended).then_some(rejected)
    }

    /// The rejection of an event that has to wait so many nanoseconds of the whole rate at this share of it; the bucket is
    /// already `behind` milliseconds further than the event's time.
    pub(crate) fn rejected(&self, wait: Amounts, share: Amounts, behind: u64) -> Decision {
        // A nanosecond of the rate takes a millionth's millisecond.
        let at_share = wait.map2(share, |wait, share| wait.div_ceil(share.max(1)));
        let (reason, wait_ms) = if at_share.events >= at_share.bytes {
            (RejectionReason::EventsPerSecond, at_share.events)
        } else {
            (RejectionReason::BytesPerSecond, at_share.bytes)
        };
        // By then a share follows that lies elsewhere now.
        let soonest = wait.most().div_ceil(WHOLE).max(2 * self.spread.interval_ms());
        let lies_here = share.events >= LENT && share.bytes >= LENT;
        let wait_ms = if lies_here { wait_ms } else { wait_ms.min(soonest) };
        Decision::Rejected { reason, retry_after_ms: Some(behind.saturating_add(wait_ms)) }
    }

    /// What an event of `bytes` bytes costs, in nanoseconds of the whole rate; rounded up, so that rounding never admits more than
    /// was bought.
    pub(crate) fn cost_of(&self, bytes: u64) -> Amounts {
        Amounts { events: cost(1, self.rates.events_per_second), bytes: cost(bytes, self.rates.bytes_per_second) }
    }
}

fn cost(amount: u64, rate: u64) -> u64 {
    // Nearly always within 64 bits, whose division is many times as fast.
    if let Some(nanos) = NANOS_PER_SECOND.checked_mul(amount) {
        return nanos.div_ceil(rate);
    }
    let nanos = u128::from(amount).saturating_mul(u128::from(NANOS_PER_SECOND)).div_ceil(u128::from(rate));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
