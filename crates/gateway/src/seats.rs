//! Places for those who listen: so many in all, so many of a tenant, so many of a key. What one takes is never all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::gauge;

use crate::{settings::StreamLimits, store::KeyRecord};

/// Open streams at the same time, of all tenants.
const SEATS: usize = 4_096;

/// Who listens, counted.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_tenant: HashMap<String, usize>,
    by_key: HashMap<String, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All of this process are taken.
    All,
    /// The tenant has so many.
    Tenant(usize),
    /// The key has so many.
    Key(usize),
}

impl Seats {
    /// Takes a place.
    pub(crate) fn take(self: &Arc<Self>, key: &KeyRecord, limits: StreamLimits) -> Result<Seat, Full> {
        let (tenant, key_id) = (key.tenant_id.as_str(), &*key.key_id);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counts: &HashMap<String, usize>, of: &str| counts.get(of).copied().unwrap_or_default();
        if count(&taken.by_key, key_id) >= limits.of_a_key as usize {
            return Err(Full::Key(limits.of_a_key as usize));
        }
        if count(&taken.by_tenant, tenant) >= limits.of_a_tenant as usize {
            return Err(Full::Tenant(limits.of_a_tenant as usize));
        }
        if taken.all >= SEATS {
            return Err(Full::All);
        }
        taken.all += 1;
        *taken.by_tenant.entry(tenant.to_owned()).or_default() += 1;
        *taken.by_key.entry(key_id.to_owned()).or_default() += 1;
        gauge!("cybervault_stream_clients").increment(1);
        Ok(Seat { seats: self.clone(), tenant: tenant.to_owned(), key_id: key_id.to_owned() })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    tenant: String,
    key_id: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        leave(&mut taken.by_tenant, &self.tenant);
        leave(&mut taken.by_key, &self.key_id);
        gauge!("cybervault_stream_clients").decrement(1);
    }
}

fn leave(counts: &mut HashMap<String, usize>, of: &str) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cybervault_model::{TenantId, Timestamp};

    use super::*;
    use crate::key::KeyKind;

    fn key(tenant: &str, key_id: &str) -> KeyRecord {
        KeyRecord {
            key_id: key_id.to_owned(),
            tenant_id: TenantId::new(tenant).unwrap(),
            kind: KeyKind::Live,
            name: String::new(),
            hint: String::new(),
            scopes: BTreeSet::new(),
            created_at: Timestamp::MIN,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn one_tenant_and_one_key_take_their_share_and_others_find_theirs() {
        let seats = Arc::new(Seats::default());
        let limits = StreamLimits { of_a_tenant: 3, of_a_key: 2 };
        let mut held: Vec<Seat> = (0..2).map(|_| seats.take(&key("acme", "a"), limits).unwrap()).collect();
        assert_eq!(seats.take(&key("acme", "a"), limits).err(), Some(Full::Key(2)));
        held.push(seats.take(&key("acme", "b"), limits).unwrap());
        assert_eq!(seats.take(&key("acme", "b"), limits).err(), Some(Full::Tenant(3)));
        held.push(seats.take(&key("globex", "c"), limits).unwrap());
        held.remove(0);
        held.push(seats.take(&key("acme", "b"), limits).unwrap());
        drop(held);
        assert_eq!(seats.0.lock().unwrap().all, 0);
        assert!(seats.0.lock().unwrap().by_key.is_empty() && seats.0.lock().unwrap().by_tenant.is_empty());

        let wide = StreamLimits { of_a_tenant: 100_000, of_a_key: 100_000 };
        let all: Vec<Seat> = (0..SEATS).map(|_| seats.take(&key("acme", "a"), wide).unwrap()).collect();
        assert_eq!(seats.take(&key("globex", "c"), wide).err(), Some(Full::All));
        drop(all);
    }
}
