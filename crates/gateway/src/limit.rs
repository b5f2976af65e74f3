//! How often someone may ask: a tenant by its plan, an address without a key by a fixed rate.
//!
//! A tenant's limit is one number in the store (GCRA), so all replicas count together. Asking the store for each request
//! would cost more than many a request does, so a replica takes a tenth of a second's worth at once and spends it from
//! memory. Small plans, a few requests a second, are thereby counted exactly; for a large one a replica may hold back at
//! most what it took.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cybervault_model::TenantId;

use crate::{
    app::App,
    http::{ApiError, Caller},
    store::now,
};

const MINUTE_US: i64 = 60_000_000;
/// A share is given up after this, so that a minute's worth is a minute's.
const SHARE_LASTS: Duration = Duration::from_secs(1);

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Read,
    Write,
}

impl Class {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What became of a request, and what its headers say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) granted: bool,
    pub(crate) class: Class,
    /// Requests a minute.
    pub(crate) quota: u32,
    /// How many more would be granted at once.
    pub(crate) remaining: i64,
    /// Seconds until all of it is there again.
    pub(crate) reset: i64,
    /// Seconds until the next one is granted.
    pub(crate) retry_after: u64,
}

/// What this replica has taken and not spent.
#[derive(Debug)]
struct Share {
    left: i64,
    until: Instant,
    paid_until: i64,
}

/// The limits of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// At most two a tenant, of whom there is a bounded number.
    shares: Mutex<HashMap<(TenantId, bool, Class), Share>>,
}

impl Limiter {
    /// Takes one request of the caller's tenant.
    pub(crate) async fn take(&self, app: &App, caller: &Caller, class: Class) -> Result<Verdict, ApiError> {
        let rates = app.settings.rate_limits.of(caller.tenant.plan);
        let quota = match class {
            Class::Read => rates.read_per_minute,
            Class::Write => rates.write_per_minute,
        };
        let quota = quota.max(1);
        let cost = MINUTE_US / i64::from(quota);
        let capacity = MINUTE_US / 100 * i64::from(100 + rates.burst_percent);
        let key = (caller.key.tenant_id.clone(), caller.is_sandbox(), class);
        let verdict = |granted, left: i64, paid_until: i64, now: i64| {
            let ahead = (paid_until - now).max(0);
            Verdict {
                granted,
                class,
                quota,
                remaining: ((capacity - ahead) / cost).max(0) + left,
                reset: ahead.div_euclid(1_000_000) + 1,
                retry_after: u64::try_from((ahead + cost - capacity).max(0)).unwrap_or(0).div_ceil(1_000_000).max(1),
            }
        };
        let now = now().as_millis() * 1_000;
        {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(share) = shares.get_mut(&key)
                && share.left > 0
                && share.until > Instant::now()
            {
                share.left -= 1;
                return Ok(verdict(true, share.left, share.paid_until, now));
            }
        }
        let share = (i64::from(quota) / 600).max(1);
        let spent = caller.store(app).spend(&key.0, class.as_str(), (now, cost * share, capacity)).await?;
        let left = if spent.granted { share - 1 } else { 0 };
        if left > 0 {
            let (now, mut shares) = (Instant::now(), self.shares.lock().unwrap_or_else(PoisonError::into_inner));
            // Another request may have taken a share meanwhile: what is left of it counts, too.
            let other = shares.get(&key).filter(|share| share.until > now).map_or(0, |share| share.left);
            let until = now + SHARE_LASTS;
            shares.insert(key, Share { left: left + other, until, paid_until: spent.paid_until });
        }
        Ok(verdict(spent.granted, left, spent.paid_until, now))
    }
}

/// Requests without a valid key that one address may make at once …
const BURST: f64 = 30.0;
/// … and a second.
const RATE: f64 = 5.0;
/// Addresses that are remembered.
const ADDRESSES: usize = 65_536;

/// Addresses that made requests without a valid key.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, (f64, Instant)>>);

impl Addresses {
    /// Whether the address has used up its failures: a key of it that nobody knows yet is then not even looked up.
    pub(crate) fn is_exhausted(&self, address: IpAddr) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&network(address)).is_some_and(|(left, last)| left + last.elapsed().as_secs_f64() * RATE < 1.0)
    }

    /// Takes one failed request; whether it was one too many.
    pub(crate) fn take(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESSES {
            // Whoever has been quiet for as long as a burst takes to come back is as good as unknown.
            let quiet = Duration::from_secs_f64(BURST / RATE);
            known.retain(|_, (_, last)| now.duration_since(*last) < quiet);
            if known.len() >= ADDRESSES {
                known.clear();
            }
        }
        let (left, last) = known.entry(network(address)).or_insert((BURST, now));
        *left = (*left + now.duration_since(*last).as_secs_f64() * RATE).min(BURST);
        *last = now;
        let granted = *left >= 1.0;
        if granted {
            *left -= 1.0;
        }
        granted
    }
}

/// What one sender commands: an IPv4 address, or a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_guesses_keys_is_soon_told_to_wait_and_others_are_not() {
        let addresses = Addresses::default();
        let guess = |address: &str| addresses.take(address.parse().unwrap());
        let granted = (0..200).filter(|_| guess("192.0.2.1")).count();
        assert!((30..40).contains(&granted), "{granted}");
        assert!(guess("192.0.2.2"));
        // One network, however many addresses it has.
        let granted = (0..200).filter(|n| guess(&format!("2001:db8::{n:x}"))).count();
        assert!((30..40).contains(&granted), "{granted}");
    }
}
