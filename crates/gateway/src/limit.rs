//! How often someone may ask: a tenant by its plan, an address without a key by a fixed rate.
//!
//! What a tenant has spent is one row in the store, so all replicas count together. Asking the store for each request
//! would cost more than many a request does, so a replica takes a tenth of a second's worth at once and spends it from
//! memory. Small plans, a few requests a second, are thereby counted exactly; for a large one a replica may hold back at
//! most what it took.

mod spending;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cybervault_model::TenantId;
use tokio::sync::Semaphore;

pub(crate) use self::spending::{Spending, Terms};
use crate::{
    app::App,
    http::{ApiError, Caller},
    settings::RequestRates,
    store::{Spent, Store, StoreError, now},
};

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
    pub(crate) reset: u64,
    /// Seconds until the next one is granted.
    pub(crate) retry_after: u64,
}

/// What this replica has taken of a tenant's and not spent.
#[derive(Debug, Default)]
struct Share {
    left: i64,
    until: Option<Instant>,
    /// What the tenant has spent, as this replica last saw it.
    spending: Spending,
    /// Before this the store would refuse again, in microseconds since the Unix epoch.
    refused_until: i64,
    /// Whether the next one is being taken.
    is_taking: bool,
}

impl Share {
    fn has_some(&self) -> bool {
        self.left > 0 && self.until.is_some_and(|until| until > Instant::now())
    }

    /// Whether little of it is left, or little of its time.
    fn runs_out(&self, size: i64) -> bool {
        self.left * 2 < size || self.until.is_none_or(|until| until < Instant::now() + SHARE_LASTS / 4)
    }

    /// Adds what was taken. What is left of the one before is not hoarded.
    fn add(&mut self, Spent { spending, refused_until }: Spent, size: i64) {
        let left = if self.has_some() { self.left } else { 0 };
        let more = if refused_until.is_none() { size } else { 0 };
        if refused_until.is_none() {
            self.until = Some(Instant::now() + SHARE_LASTS);
        }
        self.left = (left + more).min(size + size / 2);
        (self.spending, self.refused_until) = (spending, refused_until.unwrap_or(0));
    }
}

type ShareKey = (TenantId, bool, Class);

/// The limits of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// At most four a tenant, of whom there is a bounded number. Whoever finds a share used up takes the next one, and the
    /// others wait for it: if each took one of its own, a crowd would use up the tenant's minute in an instant. A large one is
    /// followed by the next before it is used up, since the store may be busy.
    shares: Mutex<HashMap<ShareKey, Arc<tokio::sync::Mutex<Share>>>>,
}

impl Limiter {
    /// Takes one request of the caller's tenant.
    pub(crate) async fn take(&self, app: &App, caller: &Caller, class: Class) -> Result<Verdict, ApiError> {
        let rates = app.settings.rate_limits.of(caller.tenant.plan);
        let key = (caller.key.tenant_id.clone(), caller.is_sandbox(), class);
        Ok(self.take_at(caller.store(app), key, rates).await?)
    }

    async fn take_at(&self, store: &Store, key: ShareKey, rates: RequestRates) -> Result<Verdict, StoreError> {
        let class = key.2;
        let quota = match class {
            Class::Read => rates.read_per_minute,
            Class::Write => rates.write_per_minute,
        };
        let terms = Terms::new(quota, rates.burst_percent);
        let size = (i64::from(terms.quota) / 600).max(1);
        let shared = self.shares.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        let mut share = shared.lock().await;
        let now = now().as_millis() * 1_000;
        if !share.has_some() {
            share.left = 0;
            if now >= share.refused_until {
                share.add(store.spend(&key.0, class.as_str(), (size, terms), now).await?, size);
            }
        } else if size > 1 && share.runs_out(size) && !share.is_taking && now >= share.refused_until {
            share.is_taking = true;
            let (store, shared) = (store.clone(), shared.clone());
            tokio::spawn(async move {
                let spent = store.spend(&key.0, class.as_str(), (size, terms), now).await;
                let mut share = shared.lock().await;
                share.is_taking = false;
                // Whoever finds it used up tries again, and is told why that fails.
                if let Ok(spent) = spent {
                    share.add(spent, size);
                }
            });
        }
        let granted = share.left > 0;
        share.left -= i64::from(granted);
        let seconds = |until: i64| u64::try_from(until - now).unwrap_or(0).div_ceil(1_000_000).max(1);
        Ok(Verdict {
            granted,
            class,
            quota: terms.quota,
            remaining: share.spending.remaining(terms, now) + share.left,
            reset: seconds(share.spending.whole_at()),
            retry_after: seconds(share.refused_until),
        })
    }
}

/// Requests without a valid key that one address may make at once …
const BURST: f64 = 30.0;
/// … and a second.
const RATE: f64 = 5.0;
/// Addresses that are remembered.
const ADDRESSES: usize = 65_536;

/// Keys that are looked up at the same time for addresses that have used up their failures: they take no connection to the
/// store from others.
const DOUBTED: usize = 2;

/// Addresses that made requests without a valid key.
#[derive(Debug)]
pub(crate) struct Addresses {
    failures: Mutex<HashMap<IpAddr, (f64, Instant)>>,
    doubted: Semaphore,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { failures: Mutex::default(), doubted: Semaphore::new(DOUBTED) }
    }
}

impl Addresses {
    /// Waits for a turn to look up a key that an address names which has used up its failures. A valid key is never refused for
    /// where it comes from, but it queues with all that are made up there.
    pub(crate) async fn turn(&self, address: Option<IpAddr>) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if !address.is_some_and(|address| self.is_exhausted(address)) {
            return None;
        }
        // It is never closed.
        self.doubted.acquire().await.ok()
    }

    /// Whether the address has used up its failures.
    fn is_exhausted(&self, address: IpAddr) -> bool {
        let known = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&network(address)).is_some_and(|(left, last)| left + last.elapsed().as_secs_f64() * RATE < 1.0)
    }

    /// Takes one failed request; whether it was one too many.
    pub(crate) fn take(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut known = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
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
    use crate::store::Place;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_gets_what_the_plan_has_and_no_less() {
        let (store, limiter) = (Store::open(&Place::Memory).await.unwrap(), Arc::new(Limiter::default()));
        let key = || (TenantId::new("acme").unwrap(), false, Class::Write);
        let crowd = async |rates: RequestRates| {
            let asked = (0..500).map(|_| {
                let (store, limiter) = (store.clone(), limiter.clone());
                tokio::spawn(async move { limiter.take_at(&store, key(), rates).await.unwrap().granted })
            });
            let answers = futures_util::future::join_all(asked).await;
            answers.into_iter().filter(|granted| *granted.as_ref().unwrap()).count()
        };
        // A tenth of a second's worth is a thousand: one share serves all, and the plan's 72,000 are hardly touched.
        let rates = RequestRates { read_per_minute: 1, write_per_minute: 600_000, burst_percent: 20 };
        assert_eq!(crowd(rates).await, 500);
        let verdict = limiter.take_at(&store, key(), rates).await.unwrap();
        assert!(verdict.granted && verdict.remaining > 700_000, "{verdict:?}");

        let (limiter, key) = (Limiter::default(), (TenantId::new("small").unwrap(), false, Class::Write));
        let small = RequestRates { read_per_minute: 1, write_per_minute: 20, burst_percent: 15 };
        let (began, mut granted) = (Instant::now(), 0);
        for _ in 0..100 {
            granted += u64::from(limiter.take_at(&store, key.clone(), small).await.unwrap().granted);
        }
        // One comes back in three seconds, should this machine need so long.
        let refilled = began.elapsed().as_secs() / 3;
        assert!((23..=23 + refilled).contains(&granted), "a minute's worth and 15 %: {granted}");
    }

    #[test]
    fn an_address_that_guesses_keys_is_soon_told_to_wait_and_others_are_not() {
        let addresses = Addresses::default();
        let guess = |address: &str| addresses.take(address.parse().unwrap());
        // Five come back a second, should this machine need so long.
        let (began, refilled) = (Instant::now(), |began: Instant| began.elapsed().as_secs() * 5 + 5);
        let granted = (0..200).filter(|_| guess("192.0.2.1")).count() as u64;
        assert!((30..=30 + refilled(began)).contains(&granted), "{granted}");
        assert!(guess("192.0.2.2"));
        // One network, however many addresses it has.
        let began = Instant::now();
        let granted = (0..200).filter(|n| guess(&format!("2001:db8::{n:x}"))).count() as u64;
        assert!((30..=30 + refilled(began)).contains(&granted), "{granted}");
    }
}
