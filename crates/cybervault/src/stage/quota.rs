//! Shares of quotas: who holds what of each tenant's, and who gets it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cybervault_model::{ContentType, Timestamp};
use cybervault_quota::{Admission, Ledger, Usage};
use cybervault_stream::{Failure, Outbox, Output, Poison, Record, Stage, State};
use metrics::counter;
use serde::Serialize;

use super::meters::Tally;
use crate::{
    live::Live,
    shares::{SIGN_OF_LIFE, SIGNS_EVERY},
};

/// The quota stage. It reads `quota.usage`, which is keyed by tenant, and writes `quota.shares`.
///
/// Its state is each tenant's [`Ledger`], under the tenant's id, as long as something of its quota is lent. It is never dropped for
/// want of room before anything else: what is lent would be lent again.
#[derive(Debug)]
pub(crate) struct Quota {
    live: Arc<Live>,
    admission: Arc<Admission>,
    shares: Arc<str>,
    reports: Tally,
    grants: Tally,
    /// When each partition last gave a sign of life.
    signs: HashMap<i32, Instant>,
}

impl Quota {
    /// A stage that takes the tenants from `live`.
    pub(crate) fn new(live: Arc<Live>, shares: Arc<str>) -> Self {
        Self {
            admission: live.admission(),
            live,
            shares,
            reports: Tally::new(counter!("cybervault_quota_reports_total")),
            grants: Tally::new(counter!("cybervault_quota_grants_total")),
            signs: HashMap::new(),
        }
    }
}

impl Stage for Quota {
    fn begin_batch(&mut self) {
        self.admission = self.live.admission();
    }

    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let usage: Usage =
            serde_json::from_slice(record.value).map_err(|error| Poison::new("wrong_schema", error.to_string()))?;
        self.reports.add(1);
        let key = usage.tenant_id.as_bytes();
        let Some(tenant) = self.admission.lookup(&usage.tenant_id) else {
            // Of a tenant that was taken off the list there is nothing to share out.
            state.delete(key);
            return Ok(());
        };
        let mut ledger = state.get(key).and_then(Ledger::decode).unwrap_or_default();
        for grant in ledger.hear(tenant, &usage, record.timestamp) {
            let key = format!("{}|{}", grant.tenant_id, grant.partition);
            push_json(out, &self.shares, key.as_bytes(), &grant)?;
            self.grants.add(1);
        }
        if usage.closed {
            let key = format!("{}|{}", usage.tenant_id, usage.partition);
            let gone = Record { key: Some(key.as_bytes()), value: b"", is_tombstone: true, ..*record };
            out.pass_on(&self.shares, &gone, &[]);
        }
        if ledger.is_at_rest() {
            state.delete(key);
        } else {
            state.put(key, &ledger.encode(), None);
        }
        Ok(())
    }

    /// Says that somebody moves shares.
    fn tick(&mut self, partition: i32, now: Timestamp, _: &mut State, out: &mut Outbox) {
        let last = self.signs.get(&partition);
        if last.is_none_or(|last| last.elapsed() >= SIGNS_EVERY) {
            self.signs.insert(partition, Instant::now());
            let key = format!("{SIGN_OF_LIFE}{partition}");
            if let Err(failure) = push_json(out, &self.shares, key.as_bytes(), &now) {
                tracing::error!(?failure, "a sign of life can't be written");
            }
        }
    }

    const TICK: Duration = Duration::from_secs(1);

    fn end_batch(&mut self, out: &mut Outbox) {
        self.reports.hand_over(out);
        self.grants.hand_over(out);
    }
}

/// Writes an internal value, which is JSON whatever the outputs' encoding is.
pub(super) fn push_json<T: Serialize>(
    out: &mut Outbox,
    topic: &Arc<str>,
    key: &[u8],
    value: &T,
) -> Result<(), Failure> {
    let headers = [(ContentType::HEADER, &b"application/json"[..])];
    out.push(Output { topic, key, headers: &headers }, |bytes| serde_json::to_writer(bytes, value))
        .map_err(|error| Poison::new("not_encodable", error.to_string()).into())
}
