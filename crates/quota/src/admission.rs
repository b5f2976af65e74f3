//! The decision on one event.

use std::{collections::HashMap, num::NonZeroU32};

use cybervault_model::{Plan, RejectionReason, Tenant, TenantId, TenantStatus, Timestamp};
use foldhash::fast::RandomState;

use crate::{Bucket, InvalidRates, Plans, Rates, bucket::Costs};

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
    /// Over how many partitions, each with a bucket of its own, the rates are spread.
    partitions: NonZeroU32,
    /// What a bucket holds, in nanoseconds of the rate: the same for both limits.
    capacity: u64,
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
    /// Compiles `tenants`. With a tenant's records spread over several `partitions`, each decided on apart, each gets its
    /// part of the rates; 1 where one partition sees all of them. Of a tenant that stands there twice, the last counts.
    ///
    /// # Errors
    /// When a tenant's rates are zero or too high.
    pub fn compile(tenants: Vec<Tenant>, plans: &Plans, partitions: NonZeroU32) -> Result<Self, InvalidRates> {
        plans.check()?;
        let mut compiled = HashMap::with_capacity_and_hasher(tenants.len(), RandomState::default());
        for tenant in tenants {
            let rates = plans.of_tenant(&tenant)?;
            let Tenant { tenant_id, plan, status, .. } = tenant;
            let capacity = NANOS_PER_SECOND / 100 * (100 + u64::from(rates.burst_percent));
            compiled.insert(tenant_id.clone(), Compiled { tenant_id, plan, status, rates, partitions, capacity });
        }
        Ok(Self { tenants: compiled })
    }

    /// The tenant, if there is one of this id.
    pub fn lookup(&self, tenant_id: &str) -> Option<&Compiled> {
        self.tenants.get(tenant_id)
    }

    /// [`Compiled::decide`] of `tenant`.
    pub fn decide(&self, tenant: &Compiled, bucket: Bucket, now: Timestamp, bytes: u64) -> (Bucket, Decision) {
        tenant.decide(bucket, now, bytes)
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

    /// How full `bucket` is at `now`, from 0 to 1, for a metric: at 1 the next event is likely to be rejected.
    pub fn level(&self, bucket: Bucket, now: Timestamp) -> f64 {
        bucket.at(now).level(self.capacity)
    }

    /// Decides on an event of `bytes` bytes at `now`, its record time. The bucket that is returned takes the place of
    /// `bucket`, whatever the decision; a tenant of whom nothing is kept has [`Bucket::default`].
    pub fn decide(&self, bucket: Bucket, now: Timestamp, bytes: u64) -> (Bucket, Decision) {
        if self.status == TenantStatus::Suspended {
            let decision = Decision::Rejected { reason: RejectionReason::SuspendedTenant, retry_after_ms: None };
            return (bucket, decision);
        }
        let cost = Costs {
            events: self.cost(1, self.rates.events_per_second),
            bytes: self.cost(bytes, self.rates.bytes_per_second),
        };
        let bucket = bucket.at(now);
        match bucket.wait(cost, self.capacity) {
            Costs { events: 0, bytes: 0 } => (bucket.charged(cost), Decision::Admitted),
            Costs { events, bytes } => {
                let (reason, wait) = if events >= bytes {
                    (RejectionReason::EventsPerSecond, events)
                } else {
                    (RejectionReason::BytesPerSecond, bytes)
                };
                let retry_after_ms = Some(bucket.millis_until(now, wait));
                (bucket, Decision::Rejected { reason, retry_after_ms })
            }
        }
    }

    /// What `amount` costs at this partition's part of `rate`, in nanoseconds; rounded up, so that rounding never admits
    /// more than was bought.
    fn cost(&self, amount: u64, rate: u64) -> u64 {
        // Nearly always within 64 bits, whose division is many times as fast.
        let per_unit = NANOS_PER_SECOND.checked_mul(u64::from(self.partitions.get()));
        if let Some(nanos) = per_unit.and_then(|per_unit| per_unit.checked_mul(amount)) {
            return nanos.div_ceil(rate);
        }
        let per_unit = u128::from(NANOS_PER_SECOND) * u128::from(self.partitions.get());
        let nanos = u128::from(amount).saturating_mul(per_unit).div_ceil(u128::from(rate));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}
